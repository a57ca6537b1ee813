"""What scalar operators give on every dtype, whoever computes it: the values where machines and languages differ.

``pointwise(lets, dtype, a, b)`` runs statements over two arrays and returns what each of them computed, by name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np

from graphad.backends.loops.ir import Let
from graphad.ir.lowering import SCALAR_OPS
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i32, i64
from tests.backends.loop_harness import Arrays, lit, same

Pointwise = Callable[..., dict[str, Any]]

INTEGERS = [d for d in DTYPES.values() if d.is_integer]
FLOATS = [f32, f64, f16, bf16]


def wrap(value: int, dtype: DType) -> int:
    value &= (1 << dtype.bits) - 1
    return value - (1 << dtype.bits) if dtype.kind == "i" and value >> (dtype.bits - 1) else value


def quotient(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def shift(op: str, a: int, b: int, dtype: DType) -> int:
    width = dtype.bits
    within = 0 <= b < width
    if op == "shl":
        return a << b if within else 0
    if op == "lshr":
        return (a & ((1 << width) - 1)) >> b if within else 0
    signed = a - (1 << width) if a >> (width - 1) == 1 else a
    return signed >> (b if within else width - 1)


INTEGER_OPS: dict[str, Callable[[int, int, DType], int]] = {
    "add": lambda a, b, d: a + b,
    "sub": lambda a, b, d: a - b,
    "mul": lambda a, b, d: a * b,
    "quo": lambda a, b, d: quotient(a, b),
    "rem": lambda a, b, d: a - quotient(a, b) * b,
    "neg": lambda a, b, d: -a,
    "abs": lambda a, b, d: abs(a),
    "maximum": lambda a, b, d: max(a, b),
    "minimum": lambda a, b, d: min(a, b),
    "and": lambda a, b, d: a & b,
    "or": lambda a, b, d: a | b,
    "xor": lambda a, b, d: a ^ b,
    "not": lambda a, b, d: ~a,
    "shl": lambda a, b, d: shift("shl", a, b, d),
    "lshr": lambda a, b, d: shift("lshr", a, b, d),
    "ashr": lambda a, b, d: shift("ashr", a, b, d),
    "popcount": lambda a, b, d: (a % (1 << d.bits)).bit_count(),
    "clz": lambda a, b, d: d.bits - (a % (1 << d.bits)).bit_length(),
}
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}


def pairs(values: list[Any], dtype: DType) -> Arrays:
    table = np.array(list(itertools.product(values, values)), dtype.numpy)
    return [np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])]


def check_integer_operators(pointwise: Pointwise, dtype: DType) -> None:
    """They wrap around, and have a result everywhere."""
    info = np.iinfo(dtype.numpy)
    values = sorted({info.min, info.min + 1, *range(max(info.min, -2), 4), 7, dtype.bits - 1, dtype.bits, info.max})
    a, b = pairs(values, dtype)
    a, b = a[: len(a) // 4 * 4], b[: len(a) // 4 * 4]
    lets = [Let(f"v_{op}", dtype, op, ("a", "b")[: SCALAR_OPS[op]]) for op in INTEGER_OPS]
    lets += [Let(f"v_{op}", b1, op, ("a", "b")) for op in COMPARISONS]
    outs = pointwise(lets, dtype, a, b)
    for op, fn in INTEGER_OPS.items():
        want = [wrap(fn(x, y, dtype), dtype) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
        assert outs[f"v_{op}"].tolist() == want, op
    for op, fn in COMPARISONS.items():
        assert outs[f"v_{op}"].tolist() == [fn(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)], op


def check_literal_divisors_and_shifts(pointwise: Pointwise, dtype: DType) -> None:
    info = np.iinfo(dtype.numpy)
    a = np.array([info.min, info.min + 1, info.max, 0, 1, 7, 100], dtype.numpy)
    amounts = [0, 1, 3, 7, dtype.bits, *([-1] if dtype.kind == "i" else [])]
    cases = [(op, n) for op in ("quo", "rem", "shl", "lshr", "ashr") for n in amounts]
    lets = [Let(f"v{k}", dtype, op, ("a", lit(n, dtype))) for k, (op, n) in enumerate(cases)]
    outs = pointwise(lets, dtype, a, a)
    for k, (op, n) in enumerate(cases):
        want = [wrap(INTEGER_OPS[op](x, n, dtype), dtype) for x in a.tolist()]
        assert outs[f"v{k}"].tolist() == want, (op, n)


def check_bool_operators(pointwise: Pointwise) -> None:
    a, b = pairs([False, True], b1)
    ops = ("and", "or", "xor", "maximum", "minimum", "not", *COMPARISONS)
    outs = pointwise([Let(f"v_{op}", b1, op, ("a", "b")[: 1 if op == "not" else 2]) for op in ops], b1, a, b)
    assert outs["v_and"].tolist() == outs["v_minimum"].tolist() == (a & b).tolist()
    assert outs["v_or"].tolist() == outs["v_maximum"].tolist() == (a | b).tolist()
    assert outs["v_xor"].tolist() == outs["v_ne"].tolist() == (a ^ b).tolist()
    assert outs["v_not"].tolist() == (~a).tolist()
    assert outs["v_lt"].tolist() == (~a & b).tolist()
    assert outs["v_eq"].tolist() == (a == b).tolist()


FLOAT_OPS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "rem": np.fmod,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "copysign": np.copysign,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
UNARY = {"neg", "abs", "sqrt", "floor", "ceil", "round", "trunc"}


def check_float_operators(pointwise: Pointwise, dtype: DType, more: tuple[float, ...] = ()) -> None:
    """They follow NumPy; ``more`` values to try."""
    info = ml_dtypes.finfo(dtype.numpy)
    values = [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, 1e-3, math.pi, -7.25, math.inf, -math.inf, math.nan]
    a, b = pairs([*values, float(info.max), -float(info.tiny), *more], dtype)
    lets = [Let(f"v_{op}", dtype, op, ("a", "b")[: 1 if op in UNARY else 2]) for op in FLOAT_OPS]
    lets += [Let(f"v_{op}", b1, op, ("a", "b")) for op in COMPARISONS]
    outs = pointwise(lets, dtype, a, b)
    with np.errstate(all="ignore"):
        for op, fn in FLOAT_OPS.items():
            want = np.asarray(fn(a) if op in UNARY else fn(a, b))
            same(outs[f"v_{op}"], want)
            if op not in ("maximum", "minimum"):  # which leave it open which zero they take
                numbers = ~np.isnan(want.astype("f8"))
                got = outs[f"v_{op}"].astype("f8")
                assert (np.signbit(got) == np.signbit(want.astype("f8")))[numbers].all(), op
        for op, fn in COMPARISONS.items():
            same(outs[f"v_{op}"], fn(a, b))


def cast_inputs(dtype: DType) -> np.ndarray[Any, Any]:
    if dtype is b1:
        return np.array([False, True, True])
    if dtype.is_integer:
        info = np.iinfo(dtype.numpy)
        ties = [2**k + d for k in (8, 24, 54, 62) for d in (0, 1, 2 ** max(k - 8, 0), 2 ** max(k - 8, 0) + 1)]
        signed = [s * n for n in ties for s in (1, -1) if info.min <= s * n <= info.max]
        return np.array([info.min, info.max, 0, 1, 100, info.max // 3, *signed], dtype.numpy)
    values = [0.0, -0.0, 0.4, -0.6, 1.5, 2.5, -2.5, 127.5, 128.0, -129.0, 255.9, 256.0, 3e9, 1e19, -1e19, math.inf]
    with np.errstate(over="ignore"):
        return np.array([*values, -math.inf, math.nan, 0.1, 1 + 2**-11 + 2**-13], np.float64).astype(dtype.numpy)


def cast_value(x: Any, of: DType, to: DType) -> Any:
    """The fixed meaning of ``cast``, by NumPy but where NumPy leaves it to the machine."""
    if of.is_float and to.is_integer:
        info = np.iinfo(to.numpy)
        value = float(x)
        return 0 if value != value else info.min if value <= info.min else info.max if value >= info.max else int(value)
    if to is bf16 and math.isfinite(x):  # ml_dtypes rounds f64 and integers to f32 first
        return nearest(x.item() if of is not f16 else float(x), to)
    with np.errstate(over="ignore"):
        return np.asarray(x).astype(to.numpy)[()]


def nearest(value: float | int, dtype: DType) -> float:
    """The number of a floating-point type that is nearest to ``value``, of two the even one, by exact arithmetic."""
    info, size = ml_dtypes.finfo(dtype.numpy), abs(Fraction(value))
    if not size:
        return value * 0.0
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent -= size < Fraction(2) ** exponent
    unit = Fraction(2) ** (max(exponent, int(info.minexp)) - int(info.nmant))
    found = round(size / unit) * unit
    return math.copysign(float(found) if found <= Fraction(float(info.max)) else math.inf, value)


def check_casts(pointwise: Pointwise, dtype: DType) -> None:
    a = cast_inputs(dtype)
    outs = pointwise([Let(f"to_{to.name}", to, "cast", ("a",)) for to in DTYPES.values()], dtype, a, a)
    for to in DTYPES.values():
        same(outs[f"to_{to.name}"], np.array([cast_value(x, dtype, to) for x in a], to.numpy))


def check_rounding_of_doubles_to_16_bits(pointwise: Pointwise) -> None:
    """1 + 2**-11 + 2**-30 is above the middle of two f16, but f32 rounds it down to the middle first."""
    a = np.array([1 + 2**-11 + 2**-30, 1 + 2**-11, 1 + 2**-8 + 2**-30, 1 + 2**-8, -(1 + 2**-11 + 2**-30)])
    outs = pointwise([Let("h", f16, "cast", ("a",)), Let("g", bf16, "cast", ("a",))], f64, a, a)
    assert outs["h"].astype(float).tolist() == [1 + 2**-10, 1.0, 1 + 2**-8, 1 + 2**-8, -1 - 2**-10]
    assert outs["g"].astype(float).tolist() == [1.0, 1.0, 1 + 2**-7, 1.0, -1.0]


def check_bitcasts(pointwise: Pointwise, of: DType) -> None:
    to = {16: DTYPES["u16"], 32: i32, 64: i64}[of.bits]
    a = cast_inputs(of)
    numbers = a[~np.isnan(a.astype(np.float64))]
    numbers = numbers[: len(numbers) // 2 * 2]
    lets = [Let("n", to, "bitcast", ("a",)), Let("back", of, "bitcast", ("n",))]
    outs = pointwise(lets, of, numbers, numbers)
    same(outs["n"], numbers.view(to.numpy))
    assert outs["back"].tobytes() == numbers.tobytes()


def check_select(pointwise: Pointwise, dtype: DType) -> None:
    a, b = pairs([0, 1] if dtype is b1 else [0, 3, 9], dtype)
    lets = [Let("c", b1, "lt", ("a", "b")), Let("v", dtype, "select", ("c", "a", lit(1, dtype)))]
    same(pointwise(lets, dtype, a, b)["v"], np.where(a < b, a, np.array(1, dtype.numpy)))
