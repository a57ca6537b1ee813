"""Arithmetic instructions against exact numbers: rounding, special values, saturation, flushing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphad.backends.cuda.emulator.instructions import rounding
from tests.cuda.emulator.harness import elementwise, same

MAX32, TINY32, SUB32 = np.finfo("f4").max, np.finfo("f4").tiny, np.float32(1e-45)
F32 = np.array([0.0, -0.0, 1.0, -1.5, 3.1415927, 1e-30, -1e30, MAX32, TINY32, SUB32, -SUB32, 1e-40, np.inf, -np.inf,
                np.nan, 16777217, 0.1, 1 / 3], np.float32)  # fmt: skip
F64 = np.array([0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e-300, -1e300, np.finfo("f8").max, np.finfo("f8").tiny, 5e-324,
                -5e-324, 1e-310, np.inf, -np.inf, np.nan, 2.0**53 + 2], np.float64)  # fmt: skip
F16 = np.array([0.0, -0.0, 1.0, -1.5, 65504, 6e-8, 6.1e-5, 0.1, np.inf, -np.inf, np.nan, 2049], np.float16)


@pytest.fixture(autouse=True)
def quiet():
    """Expected values overflow and are invalid on purpose."""
    with np.errstate(all="ignore"):
        yield


def pairs(x):
    a, b = np.meshgrid(x, x)
    return a.ravel().copy(), b.ravel().copy()


def exact(x, y, z):
    """x * y + z in fractions, rounded to the nearest double by Python."""
    value = Fraction(x) * Fraction(y) + Fraction(z)
    if value == 0:
        return x * y + z if x == 0 or y == 0 else 0.0
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def nearest32(value):
    """The fraction as the nearest single-precision number, to even where two are as near."""
    if value == 0:
        return np.float32(0)
    if abs(value) >= Fraction(2**128) - Fraction(2**103):
        return np.float32(np.inf if value > 0 else -np.inf)
    guess = np.float32(np.clip(value.numerator / value.denominator, -MAX32, MAX32))
    near = [guess, np.nextafter(guess, np.float32(np.inf)), np.nextafter(guess, np.float32(-np.inf))]
    finite = [x for x in near if np.isfinite(x)]
    return min(finite, key=lambda x: (abs(Fraction(float(x)) - value), int(x.view(np.uint32)) & 1))


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize(("type_", "numbers"), [("f32", F32), ("f64", F64)])
def test_operations_are_rounded_to_nearest(op, type_, numbers):
    a, b = pairs(numbers)
    expected = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}[op](a, b)
    same(elementwise(f"{op}.rn.{type_} %o, %a, %b;", [a, b], a.dtype), expected)


@pytest.mark.parametrize(("type_", "numbers"), [("f32", F32), ("f64", F64)])
def test_roots_and_reciprocals(type_, numbers):
    same(elementwise(f"sqrt.rn.{type_} %o, %a;", [numbers], numbers.dtype), np.sqrt(numbers))
    same(elementwise(f"rcp.rn.{type_} %o, %a;", [numbers], numbers.dtype), 1 / numbers)


def directed32(value, mode):
    """A fraction rounded down, up or towards zero to single precision."""
    r = nearest32(value)
    if mode == "rz":
        mode = "rm" if value > 0 else "rp"
    infinite = not np.isfinite(r)
    if mode == "rm" and ((infinite and r > 0) or (not infinite and Fraction(float(r)) > value)):
        return np.nextafter(r, np.float32(-np.inf))
    if mode == "rp" and ((infinite and r < 0) or (not infinite and Fraction(float(r)) < value)):
        return np.nextafter(r, np.float32(np.inf))
    return r


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("op", ["add", "mul", "div", "fma"])
def test_directed_rounding_of_singles(op, mode, rng):
    a, b = (rng.standard_normal(200).astype("f4") * np.float32(10) ** rng.integers(-3, 3, 200) for _ in "ab")
    a, b = (x.astype("f4") for x in (a, b))
    a[:3], b[:3] = [MAX32, -MAX32, TINY32], [MAX32, MAX32, 0.3]
    c = np.roll(a, 5)
    operands = [a, b, c] if op == "fma" else [a, b]
    result = elementwise(f"{op}.{mode}.f32 %o, {', '.join(['%a', '%b', '%c'][: len(operands)])};", operands, "f4")
    for row in zip(result, *operands, strict=True):
        x, y, *z = (Fraction(float(v)) for v in row[1:])
        value = {"add": lambda: x + y, "mul": lambda: x * y, "div": lambda: x / y, "fma": lambda: x * y + z[0]}[op]()
        assert row[0] == directed32(value, mode), row


@pytest.mark.parametrize("mode", ["rz", "rm", "rp"])
@pytest.mark.parametrize("op", ["add", "mul", "div", "sqrt"])
def test_directed_rounding_of_doubles(op, mode, rng):
    a, b = np.abs(rng.standard_normal(100)), rng.standard_normal(100)
    code = "sqrt.{m}.f64 %o, %a;" if op == "sqrt" else f"{op}.{{m}}.f64 %o, %a, %b;"
    result = elementwise(code.format(m=mode), [a, b], "f8")
    for r, x, y in zip(result.tolist(), map(Fraction, a.tolist()), map(Fraction, b.tolist()), strict=True):
        if op == "sqrt":
            below = Fraction(r) ** 2 <= x
            assert below == (mode != "rp") or Fraction(r) ** 2 == x
            other = Fraction(np.nextafter(r, np.inf if below else 0))
            assert (other**2 > x) == below
            continue
        value = {"add": x + y, "mul": x * y, "div": x / y}[op]
        down = mode == "rm" or (mode == "rz" and value > 0)
        assert Fraction(r) <= value if down else Fraction(r) >= value
        next_ = Fraction(np.nextafter(r, np.inf if down else -np.inf))
        assert next_ > value if down else next_ < value


def test_fused_multiply_add_of_singles_on_hard_cases(rng):
    a, b, c = (
        np.tile(x, 1).astype("f4")
        for x in (rng.standard_normal(400), rng.standard_normal(400), rng.standard_normal(400))
    )
    # Products in the middle between two numbers, with something below that decides; cancellation; subnormal results.
    a[:5] = [1 + 2**-12, 1 + 2**-12, 1.5, TINY32, np.float32(2.0**-75)]
    b[:5] = [1 + 2**-12, 1 - 2**-12, 1 + 2**-23, 0.75, np.float32(2.0**-75)]
    c[:5] = [2.0**-80, -(2.0**-90), -1.5, SUB32, np.float32(2.0**-149)]
    c[100:200] = -(a[100:200] * b[100:200])
    c[200:300] = a[200:300] * b[200:300] * np.float32(2.0**-24)
    a[300:400] *= np.float32(2.0**-70)
    b[300:400] *= np.float32(2.0**-70)
    c[300:400] *= np.float32(2.0**-140)
    expected = np.array(
        [
            nearest32(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)))
            for x, y, z in zip(a, b, c, strict=True)
        ]
    )
    same(elementwise("fma.rn.f32 %o, %a, %b, %c;", [a, b, c], "f4") + np.float32(0), expected + np.float32(0))


def test_fused_multiply_add_of_special_singles():
    a, b = pairs(F32)
    for c in F32:
        result = elementwise("fma.rn.f32 %o, %a, %b, %c;", [a, b, np.full_like(a, c)], "f4")
        for r, x, y in zip(result, a.tolist(), b.tolist(), strict=True):
            if np.isfinite([x, y, c]).all():
                value = Fraction(x) * Fraction(y) + Fraction(float(c))
                assert r == nearest32(value), (x, y, c)
                if value == 0 and (x == 0 or y == 0):
                    assert np.signbit(r) == np.signbit(x * y + float(c))
            else:
                same(r[None], np.array([np.float32(x * y + float(c))]))


numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(numbers, numbers, numbers)
def test_fused_multiply_add_of_any_doubles(a, b, c):
    result = rounding.fma64(*(np.array([x]) for x in (a, b, c)))
    same(result, np.array([exact(a, b, c)]))


@given(st.floats(-4, 4), st.floats(-4, 4), st.integers(-3, 3), st.sampled_from([1, 1 + 2.0**-52, 2.0**-54]))
def test_fused_multiply_add_of_doubles_that_cancel(a, b, ulps, scale):
    c = -(a * b) * scale
    c += ulps * np.spacing(c)
    same(rounding.fma64(*(np.array([x]) for x in (a, b, c))), np.array([exact(a, b, c)]))


def test_fused_multiply_add_of_special_doubles():
    a, b = pairs(F64)
    for c in F64:
        result = elementwise("fma.rn.f64 %o, %a, %b, %c;", [a, b, np.full_like(a, c)], "f8")
        expected = [
            exact(x, y, float(c)) if np.isfinite([x, y, c]).all() else c if np.isfinite([x, y]).all() else x * y + c
            for x, y in zip(a.tolist(), b.tolist(), strict=True)
        ]
        same(result, np.array(expected, np.float64))


def test_minimum_and_maximum_know_nan_and_the_sign_of_zero():
    a = np.array([1, -0.0, 0.0, np.nan, 2, np.nan, np.inf], "f4")
    b = np.array([2, 0.0, -0.0, 1, np.nan, np.nan, -np.inf], "f4")
    same(elementwise("min.f32 %o, %a, %b;", [a, b], "f4"), np.array([1, -0.0, -0.0, 1, 2, np.nan, -np.inf], "f4"))
    same(elementwise("max.f32 %o, %a, %b;", [a, b], "f4"), np.array([2, 0.0, 0.0, 1, 2, np.nan, np.inf], "f4"))
    same(elementwise("max.NaN.f32 %o, %a, %b;", [a, b], "f4"), np.array([2, 0, 0, *[np.nan] * 3, np.inf], "f4"))


def test_flushing_and_saturating():
    a = np.array([SUB32, -SUB32, TINY32, 0.25, 2, np.nan, -3, 1e-40], "f4")
    one = np.ones_like(a)
    same(
        elementwise("mul.ftz.f32 %o, %a, %b;", [a, one], "f4"),
        np.array([0, -0.0, TINY32, 0.25, 2, np.nan, -3, 0], "f4"),
    )
    half = np.full_like(a, 0.5)
    same(elementwise("mul.ftz.f32 %o, %a, %b;", [a, half], "f4")[2:3], np.array([0], "f4"))
    same(elementwise("mul.f32 %o, %a, %b;", [a, one], "f4"), a)
    same(
        elementwise("mul.sat.f32 %o, %a, %b;", [a, one], "f4"), np.array([SUB32, 0, TINY32, 0.25, 1, 0, 0, 1e-40], "f4")
    )
    result = elementwise("setp.eq.ftz.f32 %p1, %a, 0f00000000; selp.u32 %o, 1, 0, %p1;", [a], "u4")
    assert result.tolist() == [1, 1, 0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_half_precision(op):
    a, b = pairs(F16)
    expected = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[op](a, b)
    same(elementwise(f"{op}.rn.f16 %o, %a, %b;", [a, b], "f2"), expected)
    packed = np.stack([a, b], axis=1).copy().view("u4")[:, 0]
    result = elementwise(f"{op}.f16x2 %o, %a, %b;", [packed, np.roll(packed, 1)], "u4").view("f2").reshape(-1, 2)
    again = {"add": np.add, "sub": np.subtract, "mul": np.multiply}[op](a, np.roll(a, 1))
    same(result[:, 0].copy(), again)


def test_fused_multiply_add_of_halves(rng):
    a, b, c = (rng.standard_normal(300).astype("f2") for _ in "abc")
    c[:100] = -(a[:100] * b[:100])
    result = elementwise("fma.rn.f16 %o, %a, %b, %c;", [a, b, c], "f2")
    values = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    for r, value in zip(result, values, strict=True):
        around = [r, np.nextafter(r, np.float16(np.inf)), np.nextafter(r, np.float16(-np.inf))]
        errors = [abs(Fraction(float(x)) - value) for x in around]
        assert errors[0] == min(errors)
        assert errors.count(errors[0]) == 1 or int(r.view(np.uint16)) % 2 == 0


def test_bfloat16(rng):
    a, b, c = (rng.standard_normal(300).astype("f4").view("u4") >> 16 for _ in "abc")
    x, y, z = ((v << 16).astype("u4").view("f4").astype("f8") for v in (a, b, c))
    bits = [v.astype("u2") for v in (a, b, c)]
    result = elementwise("fma.rn.bf16 %o, %a, %b, %c;", bits, "u2").astype("u4") << 16
    r = result.view("f4").astype("f8")
    step = np.spacing(np.abs(r).astype("f4")).astype("f8") * 2.0**16
    assert (np.abs(r - (x * y + z)) <= step / 2).all()
    same(elementwise("neg.bf16 %o, %a;", bits, "u2"), bits[0] ^ np.uint16(0x8000))


@pytest.mark.parametrize("op", ["add", "mul", "fma"])
def test_pairs_of_singles(op, rng):
    x = [rng.standard_normal((50, 2)).astype("f4") for _ in "abc"]
    x[0][0] = [np.inf, SUB32]
    packed = [v.copy().view("u8")[:, 0] for v in x]
    code = "fma.rn.f32x2 %o, %a, %b, %c;" if op == "fma" else f"{op}.f32x2 %o, %a, %b;"
    result = elementwise(code, packed, "u8").view("f4").reshape(-1, 2)
    expected = {"add": lambda: x[0] + x[1], "mul": lambda: x[0] * x[1], "fma": lambda: rounding.fma32(*x)}[op]()
    same(result.ravel(), expected.ravel())


def test_signs_of_floats():
    same(elementwise("neg.f32 %o, %a;", [F32], "f4"), -F32)
    same(elementwise("abs.f64 %o, %a;", [F64], "f8"), np.abs(F64))
    a, b = pairs(F32[~np.isnan(F32)])
    same(elementwise("copysign.f32 %o, %a, %b;", [a, b], "f4"), np.copysign(b, a))


@pytest.mark.parametrize(
    ("code", "function"),
    [
        ("ex2.approx.f32", np.exp2), ("lg2.approx.f32", np.log2), ("sin.approx.f32", np.sin),
        ("cos.approx.f32", np.cos), ("tanh.approx.f32", np.tanh), ("rsqrt.approx.f32", lambda x: 1 / np.sqrt(x)),
        ("sqrt.approx.f32", np.sqrt), ("rcp.approx.f32", lambda x: 1 / x),
    ],
)  # fmt: skip
def test_approximate_functions_are_the_rounded_ones(code, function):
    x = np.concatenate([np.linspace(-8, 8, 101, dtype="f4"), F32])
    expected = function(x.astype("f8")).astype("f4")
    same(elementwise(f"{code} %o, %a;", [x], "f4"), expected)


def test_approximate_functions_of_doubles_and_halves():
    x = np.linspace(0.1, 9, 50)
    same(elementwise("rcp.approx.ftz.f64 %o, %a;", [x], "f8"), 1 / x)
    same(elementwise("rsqrt.approx.f64 %o, %a;", [x], "f8"), 1 / np.sqrt(x))
    half = x.astype("f2")
    same(elementwise("ex2.approx.f16 %o, %a;", [half], "f2"), np.exp2(half.astype("f8")).astype("f2"))
    same(elementwise("tanh.approx.f16 %o, %a;", [half], "f2"), np.tanh(half.astype("f8")).astype("f2"))


def test_flushing_of_narrow_formats():
    one, half = np.full(4, 1, "f2"), np.array([6e-8, -6e-8, 6.2e-5, 2], "f2")
    same(elementwise("mul.ftz.f16 %o, %a, %b;", [half, one], "f2"), np.array([0, -0.0, 6.2e-5, 2], "f2"))
    bits = np.array([0x0001, 0x8001, 0x0080, 0x3F80], "u2")  # two subnormal numbers, the least normal one, one
    same(elementwise("ex2.approx.ftz.bf16 %o, %a;", [bits], "u2"), np.array([0x3F80, 0x3F80, 0x3F80, 0x4000], "u2"))
    pairs_ = np.array([[SUB32, 1], [-SUB32, TINY32]], "f4").view("u8")[:, 0]
    result = elementwise("add.rn.ftz.f32x2 %o, %a, %a;", [pairs_.copy()], "u8").view("f4")
    same(result, np.array([0, 2, -0.0, 2 * TINY32], "f4"))


def test_division_of_any_precision():
    a, b = pairs(F32)
    for mode in ("approx", "full"):
        same(elementwise(f"div.{mode}.f32 %o, %a, %b;", [a, b], "f4"), a / b)


@pytest.mark.parametrize("test", ["finite", "infinite", "number", "notanumber", "normal", "subnormal"])
def test_properties(test):
    tests = {
        "finite": np.isfinite(F32), "infinite": np.isinf(F32), "number": ~np.isnan(F32), "notanumber": np.isnan(F32),
        "normal": np.isfinite(F32) & (np.abs(F32) >= TINY32), "subnormal": (np.abs(F32) < TINY32) & (F32 != 0),
    }  # fmt: skip
    result = elementwise(f"testp.{test}.f32 %p1, %a; selp.u32 %o, 1, 0, %p1;", [F32], "u4")
    assert result.astype(bool).tolist() == tests[test].tolist()
