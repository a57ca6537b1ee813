"""hypot and atan2: the distance and the angle of a point of the plane."""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.helpers import Number, absolute, copysign, fma, horner, select, sqrt, to_f32, to_f64
from graphad_kernels.math.trigonometric import (
    ATAN_F32,
    ATAN_F64,
    PI_OVER_2,
    PI_OVER_2_F32,
    PI_OVER_2_LOW,
    PI_OVER_2_LOW_F32,
    PI_OVER_4,
    PI_OVER_4_F32,
    PI_OVER_4_LOW,
    PI_OVER_4_LOW_F32,
    TAN_3_PI_8,
    TAN_PI_8,
)

_f = np.float32

# Powers of two: what is larger than the first or smaller than its inverse is scaled before it is squared.
FAR, FAR_SCALE = 2.0**500, 2.0**600
# Before a sum of two coordinates that might overflow; their quotient stays the same.
HUGE_F32, HUGE_F64 = _f(2.0**126), 2.0**1022


# ---------------------------------------------------------------------------------------------------------------------
# Distance


def hypot_f32(x: Number, y: Number) -> Number:
    """``sqrt(x*x + y*y)``, computed in float64."""
    a, b = to_f64(absolute(x)), to_f64(absolute(y))
    value = sqrt(a * a + b * b)
    return to_f32(select((a == np.inf) | (b == np.inf), np.inf, value))


def hypot_f64(x: Number, y: Number) -> Number:
    """``sqrt(x*x + y*y)``; within 1 ulp."""
    a, b = absolute(x), absolute(y)
    swapped = a < b
    long, short = select(swapped, b, a), select(swapped, a, b)
    far, near = long > FAR, long < 1.0 / FAR
    scale = select(far, 1.0 / FAR_SCALE, select(near, FAR_SCALE, 1.0))
    back = select(far, FAR_SCALE, select(near, 1.0 / FAR_SCALE, 1.0))
    long, short = long * scale, short * scale
    value = back * sqrt(fma(long, long, short * short))
    return select((a == np.inf) | (b == np.inf), np.inf, value)


# ---------------------------------------------------------------------------------------------------------------------
# Angle: atan(|y| / |x|) by the reduction of `trigonometric.atan_f64`, its quotients left undivided, then by quadrants


def atan2_f32(y: Number, x: Number) -> Number:
    """Angle of the point (x, y), from -pi to pi."""
    above, below = absolute(y), absolute(x)
    infinite = (above == _f(np.inf)) & (below == _f(np.inf))
    scale = select((above > HUGE_F32) | (below > HUGE_F32), _f(0.25), _f(1.0))
    above, below = select(infinite, _f(1.0), above * scale), select(infinite, _f(1.0), below * scale)
    middle, far = above > _f(TAN_PI_8) * below, above > _f(TAN_3_PI_8) * below
    divisor = select(far, above, select(middle, above + below, below))
    dividend = select(far, -below, select(middle, above - below, above))
    r = dividend / select(divisor == _f(0.0), _f(1.0), divisor)
    z = r * r
    base = select(far, PI_OVER_2_F32, select(middle, PI_OVER_4_F32, _f(0.0)))
    base_low = select(far, PI_OVER_2_LOW_F32, select(middle, PI_OVER_4_LOW_F32, _f(0.0)))
    low = r + fma(horner(z, ATAN_F32), z * r, base_low)
    # pi - (base + low), where pi - base is exact
    left = copysign(_f(1.0), x) < _f(0.0)
    base, low = select(left, _f(2.0) * PI_OVER_2_F32 - base, base), select(left, _f(2.0) * PI_OVER_2_LOW_F32 - low, low)
    return copysign(base + low, y)


def atan2_f64(y: Number, x: Number) -> Number:
    """Angle of the point (x, y), from -pi to pi."""
    above, below = absolute(y), absolute(x)
    infinite = (above == np.inf) & (below == np.inf)
    scale = select((above > HUGE_F64) | (below > HUGE_F64), 0.25, 1.0)
    above, below = select(infinite, 1.0, above * scale), select(infinite, 1.0, below * scale)
    middle, far = above > TAN_PI_8 * below, above > TAN_3_PI_8 * below
    divisor = select(far, above, select(middle, above + below, below))
    dividend = select(far, -below, select(middle, above - below, above))
    r = dividend / select(divisor == 0.0, 1.0, divisor)
    z = r * r
    base = select(far, PI_OVER_2, select(middle, PI_OVER_4, 0.0))
    base_low = select(far, PI_OVER_2_LOW, select(middle, PI_OVER_4_LOW, 0.0))
    low = r - fma(horner(z, ATAN_F64), z * r, -base_low)
    left = copysign(1.0, x) < 0.0
    base, low = select(left, 2.0 * PI_OVER_2 - base, base), select(left, 2.0 * PI_OVER_2_LOW - low, low)
    return copysign(base + low, y)
