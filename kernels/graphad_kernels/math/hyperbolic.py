"""sinh, cosh and tanh, and the derivative of tanh.

Away from 0 they are written in exp. Near it, tanh in float64 uses the coefficients of Cephes (Moshier 1992), and sinh
polynomials computed for this file by the Remez exchange in 60-digit arithmetic. tanh in float32 is the rational
function that XLA uses: the well-known printed results of JAX come from it, digit for digit.
"""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.exponential import scaled_exp_f32, scaled_exp_f64
from graphad_kernels.math.helpers import Number, absolute, copysign, fma, horner, select

_f = np.float32

# (sinh(x) - x) / x**3 in x**2 on |x| <= 1; Remez, error 3.2e-10 and 2.7e-19
SINH_F32 = (_f(2.7839226e-06), _f(0.00019842635), _f(0.008333311), _f(0.16666667))
SINH_F64 = (
    7.776476547932432e-13, 1.6056663256272457e-10, 2.5052130951512228e-08, 2.7557319106981475e-06,
    0.00019841269841593042, 0.008333333333332912, 0.16666666666666669,
)  # fmt: skip
# tanh(x) = x * P(x*x) / Q(x*x) in float32, |error| < 5 ulp: the minimax approximation of Eigen (MathFunctionsImpl.h,
# `generic_fast_tanh_float`). Beyond TANH_IS_ONE the result rounds to 1, below TANH_IS_X to x.
TANH_P_F32 = (
    _f(-2.76076847742355e-16), _f(2.00018790482477e-13), _f(-8.60467152213735e-11), _f(5.12229709037114e-08),
    _f(1.48572235717979e-05), _f(6.37261928875436e-04), _f(4.89352455891786e-03),
)  # fmt: skip
TANH_Q_F32 = (_f(1.19825839466702e-06), _f(1.18534705686654e-04), _f(2.26843463243900e-03), _f(4.89352518554385e-03))
TANH_IS_ONE = _f(7.998811721801758)
TANH_IS_X = _f(0.0004)
# Up to here the derivative of tanh in float32 has the digits that JAX prints, those of 1 - tanh(x)**2.
SLOPE_AS_JAX = _f(3.25)
# (tanh(x) - x) / x**3 in x**2 on |x| <= 0.625, a quotient in float64
TANH_P = (-9.64399179425052238628e-1, -9.92877231001918586564e1, -1.61468768441708447952e3)
TANH_Q = (1.0, 1.12811678491632931402e2, 2.23548839060100448583e3, 4.84406305325125486048e3)


def half_exp_f32(size: Number) -> Number:
    """``exp(size) / 2`` of a magnitude, without overflow where that is a number."""
    return scaled_exp_f32(select(size > _f(90.0), _f(90.0), size), -1)


def half_exp_f64(size: Number) -> Number:
    """``exp(size) / 2`` of a magnitude, without overflow where that is a number."""
    return scaled_exp_f64(select(size > 711.0, 711.0, size), -1)


def sinh_f32(x: Number) -> Number:
    """Hyperbolic sine."""
    size = absolute(x)
    z = size * size
    near = fma(horner(z, SINH_F32), z * size, size)
    half = half_exp_f32(size)
    return copysign(select(size < _f(1.0), near, half - _f(0.25) / half), x)


def sinh_f64(x: Number) -> Number:
    """Hyperbolic sine."""
    size = absolute(x)
    z = size * size
    near = fma(horner(z, SINH_F64), z * size, size)
    half = half_exp_f64(size)
    return copysign(select(size < 1.0, near, half - 0.25 / half), x)


def cosh_f32(x: Number) -> Number:
    """Hyperbolic cosine."""
    half = half_exp_f32(absolute(x))
    return half + _f(0.25) / half


def cosh_f64(x: Number) -> Number:
    """Hyperbolic cosine."""
    half = half_exp_f64(absolute(x))
    return half + 0.25 / half


def tanh_f32(x: Number) -> Number:
    """Hyperbolic tangent."""
    size = absolute(x)
    within = select(size > TANH_IS_ONE, TANH_IS_ONE, size)
    z = within * within
    quotient = within * horner(z, TANH_P_F32) / horner(z, TANH_Q_F32)
    return copysign(select(size < TANH_IS_X, size, quotient), x)


def tanh_f64(x: Number) -> Number:
    """Hyperbolic tangent."""
    size = absolute(x)
    z = size * size
    near = fma(horner(z, TANH_P) / horner(z, TANH_Q), z * size, size)
    square = scaled_exp_f64(2.0 * select(size > 20.0, 20.0, size), 0)
    return copysign(select(size < 0.625, near, 1.0 - 2.0 / (square + 1.0)), x)


def tanh_slope_f32(x: Number, tangent: Number) -> Number:
    """``1 - tangent**2`` of ``tangent = tanh(x)``, where that cancels as 1 / cosh(x)**2.

    With ``1 / cosh(x) = exp(-|x|) (1 + |tanh(x)|)`` that takes no division.
    """
    size = absolute(x)
    gap = _f(1.0) - tangent
    sech = scaled_exp_f32(-select(size > _f(90.0), _f(90.0), size), 0) * (_f(1.0) + absolute(tangent))
    return select(size <= SLOPE_AS_JAX, gap * -gap + gap * _f(2.0), sech * sech)


def tanh_slope_f64(x: Number, tangent: Number) -> Number:
    """1 / cosh(x)**2 from ``tangent = tanh(x)``, as in `tanh_slope_f32`."""
    size = absolute(x)
    sech = scaled_exp_f64(-select(size > 400.0, 400.0, size), 0) * (1.0 + absolute(tangent))
    return sech * sech
