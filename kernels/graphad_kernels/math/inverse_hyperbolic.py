"""asinh, acosh and atanh, written in log1p of an argument that keeps the digits of small results.

The rearrangements are those of fdlibm (Sun Microsystems 1993); beyond `LARGE_F32` and `LARGE_F64` a square root of
``x**2 + 1`` or ``x**2 - 1`` is the magnitude itself, and ``log(2x) = log(1 + x) + log(2)`` to the last digit.
"""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.exponential import log1p_f32, log1p_f64
from graphad_kernels.math.helpers import Number, absolute, copysign, select, sqrt

_f = np.float32

LARGE_F32 = _f(67108864.0)  # 2**26
LARGE_F64 = 36028797018963968.0  # 2**55
LN2_F32 = _f(0.6931472)
LN2 = 0.6931471805599453


def asinh_f32(x: Number) -> Number:
    """Inverse hyperbolic sine."""
    size = absolute(x)
    large = size > LARGE_F32
    square = size * size
    within = log1p_f32(select(large, size, size + square / (_f(1.0) + sqrt(square + _f(1.0)))))
    return copysign(within + select(large, LN2_F32, _f(0.0)), x)


def asinh_f64(x: Number) -> Number:
    """Inverse hyperbolic sine."""
    size = absolute(x)
    large = size > LARGE_F64
    square = size * size
    within = log1p_f64(select(large, size, size + square / (1.0 + sqrt(square + 1.0))))
    return copysign(within + select(large, LN2, 0.0), x)


def acosh_f32(x: Number) -> Number:
    """Inverse hyperbolic cosine; nan below 1."""
    large = x > LARGE_F32
    above = x - _f(1.0)
    within = log1p_f32(select(large, x, above + sqrt(above * (above + _f(2.0)))))
    return select(x < _f(1.0), _f(np.nan), within + select(large, LN2_F32, _f(0.0)))


def acosh_f64(x: Number) -> Number:
    """Inverse hyperbolic cosine; nan below 1."""
    large = x > LARGE_F64
    above = x - 1.0
    within = log1p_f64(select(large, x, above + sqrt(above * (above + 2.0))))
    return select(x < 1.0, np.nan, within + select(large, LN2, 0.0))


def atanh_f32(x: Number) -> Number:
    """Inverse hyperbolic tangent; nan outside -1..1."""
    size = absolute(x)
    double, rest = size + size, _f(1.0) - size
    ratio = select(size < _f(0.5), double + double * size / rest, double / rest)
    return copysign(_f(0.5) * log1p_f32(ratio), x)


def atanh_f64(x: Number) -> Number:
    """Inverse hyperbolic tangent; nan outside -1..1."""
    size = absolute(x)
    double, rest = size + size, 1.0 - size
    ratio = select(size < 0.5, double + double * size / rest, double / rest)
    return copysign(0.5 * log1p_f64(ratio), x)
