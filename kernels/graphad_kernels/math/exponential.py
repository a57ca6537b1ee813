"""exp, expm1, log, log1p and pow.

Reductions and the kernels of log and log1p follow fdlibm (Sun Microsystems 1993) in float64 and Cephes (Moshier 1992)
in float32, whose coefficients they use. The polynomials marked "Remez" were computed for this file by the Remez
exchange in 60-digit arithmetic, leading coefficients rounded first; the error stated is the largest one left.
"""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.helpers import (
    Number,
    absolute,
    bits,
    copysign,
    fma,
    horner,
    rint,
    select,
    to_f32,
    to_f32_bits,
    to_f64,
    to_f64_bits,
    two_product,
)

_f = np.float32

# Adding this and subtracting it again rounds to an integer, which the low bits of the sum then hold.
ROUND_F32 = _f(12582912.0)  # 1.5 * 2**23
ROUND_F32_BITS = 0x4B400000
ROUND_F64 = 6755399441055744.0  # 1.5 * 2**52
ROUND_F64_BITS = 0x4338000000000000

LOG2_E_F32 = _f(1.44269504)
LN2_HIGH_F32 = _f(0.693359375)  # 9 bits, so that its product with an exponent is exact
LN2_LOW_F32 = _f(-2.12194440e-4)
LOG2_E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # 32 bits
LN2_LOW = 1.90821492927058770002e-10

SQRT_HALF_F32_BITS = 0x3F3504F3
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

# (exp(r) - 1 - r) / r**2 on |r| <= log(2) / 2; Remez, error 3.4e-9 and 5.5e-20 in exp(r).
EXP_F32 = (_f(0.0013921569), _f(0.008369328), _f(0.041666586), _f(0.16666515), _f(0.5))
EXP_F64 = (
    2.097091449746594e-09, 2.511033155968381e-08, 2.755713412371534e-07, 2.755723914378842e-06,
    2.4801587437974138e-05, 0.00019841269892817545, 0.0013888888888852133, 0.008333333333318135,
    0.04166666666666669, 0.16666666666666682, 0.5,
)  # fmt: skip
# (log(1 + r) - r + r**2 / 2) / r**3 on sqrt(1/2) - 1 .. sqrt(2) - 1; Cephes logf.
LOG_F32 = (
    _f(7.0376836292e-2), _f(-1.1514610310e-1), _f(1.1676998740e-1), _f(-1.2420140846e-1), _f(1.4249322787e-1),
    _f(-1.6668057665e-1), _f(2.0000714765e-1), _f(-2.4999993993e-1), _f(3.3333331174e-1),
)  # fmt: skip
# (log(1 + f) - 2s) / (s * z), s = f / (2 + f), z = s**2; fdlibm e_log.c.
LOG_F64 = (
    1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
    2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01,
)  # fmt: skip
# 2 * (atanh(s) / s - 1 - z / 3) / z**2, z = s**2, for the same range; Remez, error 2.3e-17.
LOG_TAIL_F64 = (
    0.10791426744332576, 0.11803017986492566, 0.13330851027249657, 0.15384675167640613,
    0.1818181749853734, 0.22222222225825067, 0.2857142857142155, 0.4,
)  # fmt: skip
TWO_THIRDS = 0.6666666666666666
TWO_THIRDS_LOW = 3.700743415417188e-17
LN2_HIGH_42 = 0.6931471805598903  # 42 bits
LN2_LOW_42 = 5.497923018708371e-14


# ---------------------------------------------------------------------------------------------------------------------
# exp and expm1: x = n log 2 + r, exp(x) = 2**n exp(r)


def scaled_exp_f32(x: Number, shift: int) -> Number:
    """``2**shift * exp(x)`` for ``x`` in -104..90 or nan."""
    shifted = fma(x, LOG2_E_F32, ROUND_F32)
    n = shifted - ROUND_F32
    r = fma(-n, LN2_LOW_F32, fma(-n, LN2_HIGH_F32, x))
    value = fma(horner(r, EXP_F32), r * r, r) + _f(1.0)
    exponent = bits(shifted) - ROUND_F32_BITS
    half = exponent >> 1  # two factors, as 2**n alone may not be a number
    return value * to_f32_bits((half + 127) << 23) * to_f32_bits((exponent - half + (127 + shift)) << 23)


def scaled_exp_f64(x: Number, shift: int) -> Number:
    """``2**shift * exp(x)`` for ``x`` in -746..711 or nan."""
    shifted = fma(x, LOG2_E, ROUND_F64)
    n = shifted - ROUND_F64
    r = fma(-n, LN2_LOW, x - n * LN2_HIGH)
    value = fma(horner(r, EXP_F64), r * r, r) + 1.0
    exponent = bits(shifted) - ROUND_F64_BITS
    half = exponent >> 1
    return value * to_f64_bits((half + 1023) << 52) * to_f64_bits((exponent - half + (1023 + shift)) << 52)


def exp_f32(x: Number) -> Number:
    """Exponential function; within 1 ulp."""
    x = select(x > _f(90.0), _f(90.0), x)
    return scaled_exp_f32(select(x < _f(-104.0), _f(-104.0), x), 0)


def exp_f64(x: Number) -> Number:
    """Exponential function; within 1 ulp."""
    x = select(x > 710.0, 710.0, x)
    return scaled_exp_f64(select(x < -746.0, -746.0, x), 0)


def expm1_f32(x: Number) -> Number:
    """exp(x) - 1, accurate near 0."""
    y = select(x > _f(89.0), _f(89.0), x)
    y = select(y < _f(-30.0), _f(-30.0), y)
    shifted = fma(y, LOG2_E_F32, ROUND_F32)
    n = shifted - ROUND_F32
    high = fma(-n, LN2_HIGH_F32, y)
    r = fma(-n, LN2_LOW_F32, high)
    lost = (high - r) - n * LN2_LOW_F32
    value = r + fma(horner(r, EXP_F32), r * r, fma(lost, r, lost))
    half = to_f32_bits((bits(shifted) - ROUND_F32_BITS + 126) << 23)  # 2**(n - 1): 2**n may overflow
    value = select(n == _f(0.0), value, fma(half, value, half - _f(0.5)) * _f(2.0))
    return copysign(value, x)


def expm1_f64(x: Number) -> Number:
    """exp(x) - 1, accurate near 0."""
    y = select(x > 710.0, 710.0, x)
    y = select(y < -60.0, -60.0, y)
    shifted = fma(y, LOG2_E, ROUND_F64)
    n = shifted - ROUND_F64
    high = y - n * LN2_HIGH
    r = fma(-n, LN2_LOW, high)
    lost = (high - r) - n * LN2_LOW
    value = r + fma(horner(r, EXP_F64), r * r, fma(lost, r, lost))
    half = to_f64_bits((bits(shifted) - ROUND_F64_BITS + 1022) << 52)
    value = select(n == 0.0, value, fma(half, value, half - 0.5) * 2.0)
    return copysign(value, x)


# ---------------------------------------------------------------------------------------------------------------------
# log and log1p: x = 2**e (1 + f), log(x) = e log 2 + log(1 + f)


def log_sum_f32(exponent: Number, f: Number, lost: Number) -> Number:
    """``exponent * log(2) + log(1 + f) + lost``."""
    square = f * f
    value = fma(horner(f, LOG_F32), f * square, fma(exponent, LN2_LOW_F32, lost))
    return fma(exponent, LN2_HIGH_F32, fma(_f(-0.5), square, value) + f)


def log_sum_f64(exponent: Number, f: Number, lost: Number) -> Number:
    """``exponent * log(2) + log(1 + f) + lost``."""
    s = f / (f + 2.0)
    z = s * s
    half = 0.5 * f * f
    tail = fma(s, half + z * horner(z, LOG_F64), fma(exponent, LN2_LOW, lost))
    return exponent * LN2_HIGH - ((half - tail) - f)


def log_domain_f32(x: Number, value: Number) -> Number:
    """``value`` where a logarithm of ``x`` has one."""
    value = select(x > _f(0.0), value, select(x == _f(0.0), _f(-np.inf), _f(np.nan)))
    return select(x == _f(np.inf), x, value)


def log_domain_f64(x: Number, value: Number) -> Number:
    """``value`` where a logarithm of ``x`` has one."""
    value = select(x > 0.0, value, select(x == 0.0, -np.inf, np.nan))
    return select(x == np.inf, x, value)


def log_f32(x: Number) -> Number:
    """Natural logarithm; within 1 ulp."""
    denormal = x < _f(1.17549435e-38)
    pattern = bits(select(denormal, x * _f(8388608.0), x))
    exponent = (pattern - SQRT_HALF_F32_BITS) >> 23
    f = to_f32_bits(pattern - (exponent << 23)) - _f(1.0)
    e = to_f32(exponent)
    return log_domain_f32(x, log_sum_f32(select(denormal, e - _f(23.0), e), f, _f(0.0)))


def finite_log_f64(x: Number) -> Number:
    """Logarithm of a positive number."""
    denormal = x < 2.2250738585072014e-308
    pattern = bits(select(denormal, x * 4503599627370496.0, x))
    exponent = (pattern - SQRT_HALF_BITS) >> 52
    f = to_f64_bits(pattern - (exponent << 52)) - 1.0
    e = to_f64(exponent)
    return log_sum_f64(select(denormal, e - 52.0, e), f, 0.0)


def log_f64(x: Number) -> Number:
    """Natural logarithm; within 1 ulp."""
    return log_domain_f64(x, finite_log_f64(x))


def log1p_f32(x: Number) -> Number:
    """log(1 + x), accurate near 0."""
    u = x + _f(1.0)
    pattern = bits(u)
    exponent = (pattern - SQRT_HALF_F32_BITS) >> 23
    near = exponent == 0
    lost = select(x > _f(1.0), _f(1.0) - (u - x), x - (u - _f(1.0))) / u
    f = select(near, x, to_f32_bits(pattern - (exponent << 23)) - _f(1.0))
    value = log_sum_f32(to_f32(exponent), f, select(near, _f(0.0), lost))
    return select(x == _f(0.0), x, log_domain_f32(u, value))


def log1p_f64(x: Number) -> Number:
    """log(1 + x), accurate near 0."""
    u = x + 1.0
    pattern = bits(u)
    exponent = (pattern - SQRT_HALF_BITS) >> 52
    near = exponent == 0
    lost = select(x > 1.0, 1.0 - (u - x), x - (u - 1.0)) / u
    f = select(near, x, to_f64_bits(pattern - (exponent << 52)) - 1.0)
    value = log_sum_f64(to_f64(exponent), f, select(near, 0.0, lost))
    return select(x == 0.0, x, log_domain_f64(u, value))


# ---------------------------------------------------------------------------------------------------------------------
# pow: exp(y log |x|), the logarithm in twice the precision


def double_log_f64(x: Number) -> tuple[Number, Number]:
    """The logarithm of a positive number as an unevaluated sum of two float64, to about 65 bits."""
    denormal = x < 2.2250738585072014e-308
    pattern = bits(select(denormal, x * 4503599627370496.0, x))
    exponent = (pattern - SQRT_HALF_BITS) >> 52
    m = to_f64_bits(pattern - (exponent << 52))
    e = to_f64(exponent)
    e = select(denormal, e - 52.0, e)
    # s = (m - 1) / (m + 1), then log(m) = 2s + (2/3) s z + s z**2 T(z) with z = s**2
    d = m + 1.0
    inverse = 1.0 / d
    s = (m - 1.0) * inverse
    p, p_low = two_product(s, d)
    s_low = (((m - 1.0) - p) - p_low - s * (m - (d - 1.0))) * inverse
    z, z_low = two_product(s, s)
    z_low = z_low + 2.0 * s * s_low
    cube, cube_low = two_product(s, z)
    cube_low = cube_low + s * z_low + s_low * z
    third, third_low = two_product(cube, TWO_THIRDS)
    third_low = third_low + cube * TWO_THIRDS_LOW + cube_low * TWO_THIRDS
    tail = cube * z * horner(z, LOG_TAIL_F64)
    scale = e * LN2_HIGH_42
    first = scale + 2.0 * s
    first_low = 2.0 * s - (first - scale)
    second = first + third
    second_low = third - (second - first)
    low = (first_low + second_low) + (((e * LN2_LOW_42 + 2.0 * s_low) + third_low) + tail)
    high = second + low
    return high, low - (high - second)


def double_exp_f64(x: Number, x_low: Number) -> Number:
    """exp(x + x_low) for ``x`` in -746..711 or nan and a small ``x_low``."""
    shifted = fma(x, LOG2_E, ROUND_F64)
    n = shifted - ROUND_F64
    high = x - n * LN2_HIGH
    shift = n * LN2_LOW
    first = high - shift
    r = first + x_low
    lost = ((high - first) - shift) + (x_low - (r - first))
    value = (r + fma(horner(r, EXP_F64), r * r, fma(lost, r, lost))) + 1.0
    exponent = bits(shifted) - ROUND_F64_BITS
    half = exponent >> 1
    return value * to_f64_bits((half + 1023) << 52) * to_f64_bits((exponent - half + 1023) << 52)


def power_cases(x: Number, y: Number, magnitude: Number) -> Number:
    """pow(x, y) from ``magnitude``, which is right for positive finite |x|; the special cases of C99 F.10.4.4."""
    size = absolute(x)
    falls = select(size < 1.0, y > 0.0, y < 0.0)
    limit = select(falls, 0.0, np.inf)
    value = select((size == 0.0) | (size == np.inf), limit, magnitude)
    integral = rint(y) == y
    odd = integral & (rint(0.5 * y) != 0.5 * y)
    value = select(odd, copysign(value, x), value)
    value = select((x < 0.0) & (size < np.inf) & (rint(y) != y), np.nan, value)
    value = select((x != x) | (y != y), np.nan, value)
    return select((y == 0.0) | (x == 1.0), 1.0, value)


def clamped_exponent(size: Number, product: Number) -> Number:
    """``product = y log(size)`` brought into the range of `double_exp_f64`; 0 where ``size`` is 1."""
    product = select(product > 711.0, 711.0, product)
    product = select(product < -746.0, -746.0, product)
    return select(size == 1.0, 0.0, product)


def pow_f32(x: Number, y: Number) -> Number:
    """``x`` to the power ``y``, computed in float64."""
    x, y = to_f64(x), to_f64(y)
    size = absolute(x)
    magnitude = scaled_exp_f64(clamped_exponent(size, y * finite_log_f64(size)), 0)
    return to_f32(power_cases(x, y, magnitude))


def pow_f64(x: Number, y: Number) -> Number:
    """``x`` to the power ``y``; within 1 ulp."""
    size = absolute(x)
    log, log_low = double_log_f64(size)
    product, product_low = two_product(y, log)
    product_low = fma(y, log_low, product_low)
    # Where the low part counts: elsewhere, and for 0 * y with the greatest y, it may be nan.
    within = (absolute(product) < 1000.0) & (size != 1.0)
    magnitude = double_exp_f64(clamped_exponent(size, product), select(within, product_low, 0.0))
    return power_cases(x, y, magnitude)
