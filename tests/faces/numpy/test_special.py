"""Rarer functions of each element, of floats and of integers, and the primitives behind them in `lax`."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from tests.faces.cases import each, texts
from tests.faces.oracle import by_jax_together, check_equal, check_like_jax, eagerly
from tests.thinned import every

CASES = [
    *each("np.{}({})", "arcsinh arctan cbrt deg2rad radians rad2deg degrees fabs nan_to_num", "x w i 1.5 2 A h b"),
    *each("np.{}({})", "sinc", "x i 1.5 A h b"),  # at its zeros, versions of JAX differ
    *each("np.{}({})", "asinh arctanh atanh", "u w 0 0.25 h"),
    *each("np.{}({})", "arccosh acosh", "y w 3 1.5 h"),
    *each("np.{}({})", "signbit isposinf isneginf", "x w i q b h g"),
    *each("np.{}({})", "real imag conj conjugate isreal iscomplex", "x i b"),
    *each("np.{}({})", "arctan2 atan2 copysign heaviside", "x,y w,1.0 1.5,w w,w[::-1] i,2 u,A h,g"),
    *each("np.{}({})", "fmax fmin logaddexp2", "x,y w,1.0 1.5,w w,w[::-1] i,2 u,A h,g"),
    *each("np.{}({})", "fmax fmin gcd lcm", "i,j I,6 8,i c,c[::-1] q,q[::-1]"),
    *each("np.{}({})", "bitwise_count bitwise_invert", "i c q 7"),
    *each("np.{}(I, {})", "bitwise_left_shift bitwise_right_shift", "1 2"),
    *texts("""
np.nextafter(x, y); np.nextafter(w, 0.0); np.nextafter(1, 2); np.nextafter(x, np.inf); np.spacing(x); np.spacing(y);
np.angle(x); np.angle(w); np.angle(i); np.angle(x, deg=True); np.frexp(x); np.frexp(w); np.frexp(i); np.frexp(h);
np.frexp(g); np.ldexp(x, i); np.ldexp(w, 3); np.ldexp(h, j[:3]); np.ldexp(i, 2); np.ldexp(x, k[:, None]); np.modf(x);
np.modf(i); np.modf(A); np.nan_to_num(w, nan=1.0, posinf=2, neginf=-3.0); np.nan_to_num(w, nan=y[0]); np.sinc(0.0);
np.gcd(0, 0); np.lcm(0, 5); np.heaviside(x, i); np.logaddexp2(x, x); np.logaddexp2(1000.0, 1000.0);
np.isrealobj(x); np.arctan2(-0.0, -1.0); np.copysign(2, -0.0)
"""),
]  # fmt: skip
SOME_WIDE = CASES[::3]


@pytest.mark.parametrize(("case", "bits"), [*((c, 32) for c in CASES), *((c, 64) for c in SOME_WIDE)])
def test_like_jax(case, bits):
    check_like_jax(case, bits, CASES if bits == 32 else SOME_WIDE)


LAX = [
    *each("lax.{}({})", "asinh cbrt erfc", "x w y"),
    *each("lax.{}({})", "acosh rsqrt exp2", "y w"),
    *each("lax.atanh({})", "u s"),
    *each("lax.{}({})", "population_count clz", "i I q c"),
    *each("lax.{}({})", "atan2 nextafter", "x,y w,w[::-1] 1.0,y"),
    *texts("lax.clamp(-1.0, w, 1.0); lax.clamp(x, y, s); lax.clamp(0, i, 3)"),
]


@pytest.mark.parametrize("case", LAX)
def test_lax_like_jax(case):
    check_equal(eagerly(case, 32), by_jax_together(case, 32, LAX), ulps=8)


# ---------------------------------------------------------------------------------------------------------------------
# Where JAX's values are not NumPy's


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_fractions_and_exponents_are_numpys(dtype, rng):
    info = np.finfo(dtype)
    sizes = 2.0 ** rng.integers(-10, 10, 40)
    x = np.concatenate([
        (rng.normal(size=40) * sizes).astype(dtype), [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, -info.tiny],
        np.arange(1, 6).astype(dtype) * info.smallest_subnormal,
    ]).astype(dtype)  # fmt: skip
    fraction, exponent = gnp.frexp(x)
    wanted = np.frexp(x)
    np.testing.assert_array_equal(fraction, wanted[0])
    number = np.isfinite(x)
    np.testing.assert_array_equal(np.asarray(exponent)[number], wanted[1][number])
    np.testing.assert_array_equal(gnp.ldexp(fraction, exponent), x)
    with np.errstate(all="ignore"):
        for n in (-3000, -80, -20, 0, 13, 70, 3000):
            np.testing.assert_array_equal(gnp.ldexp(x, n), np.ldexp(x, n))


def test_parts_of_infinities_and_zeros_are_numpys():
    x = np.array([np.inf, -np.inf, 0.0, -0.0, np.nan, 2.5, -2.5, -0.25])
    for got, wanted in zip(gnp.modf(x), np.modf(x), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert np.array_equal(gnp.signbit(np.array([-np.nan, np.nan])), [True, False])
    np.testing.assert_array_equal(gnp.spacing(np.array([0.0, 1.0, -1.0, 1e300])), np.spacing([0.0, 1.0, -1.0, 1e300]))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_common_divisors_of_large_numbers(dtype, rng):
    high = np.iinfo(dtype).max
    fibonacci = [1, 1]
    while fibonacci[-1] + fibonacci[-2] <= high:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    x = np.concatenate([rng.integers(0, high, 50, dtype=dtype), np.array(fibonacci[-2:], dtype)])  # takes most steps
    y = np.concatenate([rng.integers(0, high, 50, dtype=dtype), np.array(fibonacci[-3:-1], dtype)])
    np.testing.assert_array_equal(gnp.gcd(x, y), np.gcd(x, y))
    np.testing.assert_array_equal(gnp.lcm(x // 2 % 11, y % 11), np.lcm(x // 2 % 11, y % 11))


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives

X = np.array([0.3, -0.6, 0.8])
SMOOTH = {
    "arcsinh": (gnp.arcsinh, X), "arctanh": (gnp.arctanh, X), "arccosh": (gnp.arccosh, X + 2.0), "cbrt": (gnp.cbrt, X),
    "arctan2": (gnp.arctan2, X, X[::-1] - 2), "copysign": (gnp.copysign, X, -X[::-1]), "fabs": (gnp.fabs, X),
    "sinc": (gnp.sinc, np.array([0.0, 1e-3, 0.3, 1 / np.pi, 0.5, 2.0])), "deg2rad": (gnp.deg2rad, X * 60),
    "logaddexp2": (gnp.logaddexp2, X, np.array([0.3, 2.0, -5.0])), "fmax": (gnp.fmax, X, X + 1),
    "fmin": (gnp.fmin, X, X + 1),
    "heaviside": (lambda x: gnp.heaviside(x, 0.5) * x, X), "nan_to_num": (gnp.nan_to_num, X), "modf": (gnp.modf, X),
    "frexp": (lambda x: gnp.frexp(x)[0], X), "ldexp": (lambda x: gnp.ldexp(x, 3), X), "angle": (gnp.angle, X),
    "nextafter": (lambda x: gnp.nextafter(x, 9.0), X), "erfc": (lax.erfc, X), "rsqrt": (lax.rsqrt, X + 1),
    "clamp": (lax.clamp, X - 0.1, X, X + 0.1), "atan2": (lax.atan2, X, X + 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SMOOTH)
def test_two_derivatives(name):
    f, *args = SMOOTH[name]
    graphad.check_grads(f, tuple(args), order=2)


def test_sinc_has_all_its_derivatives_at_zero():
    """sinc(x) is the sum of (-1)**k (pi x)**(2k) / (2k + 1)!."""
    f = gnp.sinc
    for n, wanted in enumerate([1, 0, -(np.pi**2) / 3, 0, np.pi**4 / 5, 0, -(np.pi**6) / 7]):
        assert float(f(np.asarray(0.0))) == pytest.approx(wanted, rel=1e-13), n
        f = graphad.grad(f)


def test_equal_operands_share_the_derivative_of_logaddexp2():
    assert graphad.grad(gnp.logaddexp2, (0, 1))(3.0, 3.0) == (0.5, 0.5)
    assert graphad.grad(gnp.fmax, (0, 1))(1.0, 1.0) == (0.0, 1.0)


@pytest.mark.parametrize("engine", every(2, ["llvm", "numba"]))
def test_compiled(engine):
    @graphad.jit
    def f(x, n):
        fraction, exponent = gnp.frexp(x)
        return gnp.ldexp(fraction, exponent + n), gnp.sinc(x), gnp.signbit(x), gnp.nextafter(x, 0.0), gnp.gcd(n, 12)

    x, n = np.array([0.75, -3.0, 1e6, 2.0], np.float32), np.array([3, -2, 8, 0], np.int32)
    with graphad.config.override(engine=engine):
        got = f(x, n)
    wanted = np.ldexp(x, n), np.sinc(x), np.signbit(x), np.nextafter(x, np.float32(0)), np.gcd(n, 12)
    for g, w in zip(got, wanted, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gnp.gcd(1.5, 2), "gcd takes integers, got float32. Convert first: x.astype(int)"),
        (lambda: gnp.bitwise_count(gnp.ones(2)), "bitwise_count takes integers"),
        (lambda: gnp.ldexp(1.0, gnp.ones(2)), "ldexp got the exponents f32[2], which must be integers"),
        (lambda: gnp.arctan2(gnp.ones(2), gnp.ones(3)), "arctan2 got shapes (2,) and (3,)"),
        (lambda: gnp.nextafter(gnp.ones(2, "float16"), 1.0), "nextafter got f16[2]"),
        (lambda: lax.population_count(gnp.ones(2)), "population_count got f32[2]; it takes i8"),
        (lambda: lax.atan2(gnp.ones(2), gnp.arange(2)), "lax.atan2 got f32[2] and i32[2]: dtypes must be equal"),
    ],
)
def test_errors_say_what_to_do(call, message):
    with pytest.raises(TypeError) as caught:
        call()
    assert message in str(caught.value)


def test_sinc_at_its_zeros_and_at_infinity_is_numpys():
    """Left out of the comparison with JAX, whose versions differ there."""
    x = np.array([1, 2, -3, np.inf, -np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(gnp.sinc(x), np.sinc(x), atol=1e-7)
