"""sin, cos, tan and their inverses.

The kernels on -pi/4..pi/4 and the inverse functions use the coefficients of fdlibm (Sun Microsystems 1993) in float64
and of Cephes (Moshier 1992) in float32. Arguments are reduced with four words of pi/2, and large ones, rarely met, by
multiplying with the bits of 2/pi that matter (Payne and Hanek 1983).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from graphad_kernels.math.exponential import ROUND_F32, ROUND_F64
from graphad_kernels.math.helpers import (
    Number,
    absolute,
    bits,
    copysign,
    fma,
    horner,
    lookup,
    patch,
    select,
    sqrt,
    to_f32,
    to_f64,
    two_product,
)

_f = np.float32

TWO_OVER_PI_F32 = _f(0.63661977)
TWO_OVER_PI = 0.6366197723675814
PI_OVER_2_F32 = _f(1.5707964)
PI_OVER_2_LOW_F32 = _f(-4.371139e-08)
PI_OVER_4_F32 = _f(0.7853982)
PI_OVER_4_LOW_F32 = _f(-2.1855694e-08)
PI_OVER_2 = 1.5707963267948966
PI_OVER_2_LOW = 6.123233995736766e-17
PI_OVER_4 = 0.7853981633974483
PI_OVER_4_LOW = 3.061616997868383e-17

# pi/2 in parts whose products with a quadrant number are exact: 11 + 11 + 11 + 24 and 33 + 33 + 33 + 53 bits.
PARTS_F32 = (_f(1.5703125), _f(0.0004837512969970703), _f(7.549533620476723e-08), _f(2.5633440682570896e-12))
PARTS_F64 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
LARGE_F32 = _f(12000.0)  # the quadrant number stays below 2**13
LARGE_F64 = 1.6e6  # ... below 2**20

# (sin(r) - r) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4 in r**2
SIN_F32 = (_f(-1.9515295891e-4), _f(8.3321608736e-3), _f(-1.6666654611e-1))
COS_F32 = (_f(2.443315711809948e-5), _f(-1.388731625493765e-3), _f(4.166664568298827e-2))
SIN_F64 = (
    1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
    -1.98412698298579493134e-04, 8.33333333332248946124e-03,
)  # fmt: skip
SIN_FIRST = -1.66666666666666324348e-01
COS_F64 = (
    -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
    2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02,
)  # fmt: skip

# (asin(r) - r) / r**3 on |r| <= 1/2, a quotient in float64
ASIN_F32 = (_f(4.2163199048e-2), _f(2.4181311049e-2), _f(4.5470025998e-2), _f(7.4953002686e-2), _f(1.6666752422e-1))
ASIN_P = (
    3.47933107596021167570e-05, 7.91534994289814532176e-04, -4.00555345006794114027e-02,
    2.01212532134862925881e-01, -3.25565818622400915405e-01, 1.66666666666666657415e-01,
)  # fmt: skip
ASIN_Q = (7.70381505559019352791e-02, -6.88283971605453293030e-01, 2.02094576023350569471, -2.40339491173441421878, 1.0)
# (atan(r) - r) / r**3 on |r| <= tan(pi / 8)
ATAN_F32 = (_f(8.05374449538e-2), _f(-1.38776856032e-1), _f(1.99777106478e-1), _f(-3.33329491539e-1))
ATAN_F64 = (
    1.62858201153657823623e-02, -3.65315727442169155270e-02, 4.97687799461593236017e-02, -5.83357013379057348645e-02,
    6.66107313738753120669e-02, -7.69187620504482999495e-02, 9.09088713343650656196e-02, -1.11111104054623557880e-01,
    1.42857142725034663711e-01, -1.99999999998764832476e-01, 3.33333333333329318027e-01,
)  # fmt: skip
TAN_PI_8 = 0.41421356237309503
TAN_3_PI_8 = 2.414213562373095


# ---------------------------------------------------------------------------------------------------------------------
# Reduction: x = n pi/2 + r


def reduce_f32(x: Number) -> tuple[Number, Number]:
    """Quadrant bits and ``r`` for |x| up to `LARGE_F32`."""
    shifted = fma(x, TWO_OVER_PI_F32, ROUND_F32)
    n = shifted - ROUND_F32
    r = fma(-n, PARTS_F32[1], fma(-n, PARTS_F32[0], x))
    return bits(shifted), fma(-n, PARTS_F32[3], fma(-n, PARTS_F32[2], r))


def two_difference(a: Number, b: Number) -> tuple[Number, Number]:
    """The difference of two float64 and its rounding error (Knuth's TwoSum)."""
    difference = a - b
    kept = difference - a
    return difference, (a - (difference - kept)) - (b + kept)


def reduce_f64(x: Number) -> tuple[Number, Number, Number]:
    """Quadrant bits and ``r`` as an unevaluated sum of two numbers, for |x| up to `LARGE_F64`."""
    shifted = fma(x, TWO_OVER_PI, ROUND_F64)
    n = shifted - ROUND_F64
    r, second = two_difference(x - n * PARTS_F64[0], n * PARTS_F64[1])
    r, third = two_difference(r, n * PARTS_F64[2])
    rest = n * PARTS_F64[3] - (second + third)
    high = r - rest
    return bits(shifted), high, (r - high) - rest


CHUNK = 27  # bits of a limb: the products of two limbs, and sums of a few, fit an int64
MASK = (1 << CHUNK) - 1


def _two_over_pi_words() -> np.ndarray:
    """The bits of 2/pi, after 64 zero bits, as 64-bit words that start every 32 bits.

    pi comes from Machin's formula in integer arithmetic: pi/4 = 4 atan(1/5) - atan(1/239).
    """
    precision = 1400

    def inverse_tangent(k: int) -> int:
        term = total = (1 << precision) // k
        for divisor in range(3, precision, 2):
            term //= -k * k
            total += term // divisor
        return total

    pi = 4 * (4 * inverse_tangent(5) - inverse_tangent(239))
    fraction = (2 << (2 * precision)) // pi
    starts = range(0, 1248, 32)
    words = [(fraction >> (precision - (start - 64) - 64)) & ((1 << 64) - 1) for start in starts]
    return np.array(words, np.uint64).view(np.int64)


TWO_OVER_PI_WORDS: Final = _two_over_pi_words()


def limb(start: Number, i: int) -> Number:
    """Limb ``i`` of the window of 2/pi that begins at bit ``start``."""
    position = start + CHUNK * i
    return (lookup(TWO_OVER_PI_WORDS, position >> 5) >> (64 - CHUNK - (position & 31))) & MASK


def reduce_large_f64(x: Number) -> tuple[Number, Number, Number]:
    """`reduce_f64` for any finite |x| >= 1: the product with a window of 2/pi, modulo 4."""
    pattern = bits(x)
    mantissa = (pattern & 0xFFFFFFFFFFFFF) | 0x10000000000000
    low, high = mantissa & MASK, mantissa >> CHUNK
    # x = mantissa * 2**s. Bits of 2/pi above the window, which starts at weight 2**(1 - s), add multiples of 4.
    start = ((pattern >> 52) & 0x7FF) - 1075 + (64 - 2)
    w0, w1, w2, w3 = limb(start, 0), limb(start, 1), limb(start, 2), limb(start, 3)
    w4, w5, w6 = limb(start, 4), limb(start, 5), limb(start, 6)
    # Limbs of the product, most significant first; what is above p0 are multiples of 4 again. Of the 189 bits 2 are the
    # quadrant, 53 are lost at the end, where the window cuts off 2/pi, and cancellation may take 62.
    carry = low * w6 >> CHUNK
    p5 = carry + low * w5 + high * w6
    p4 = (p5 >> CHUNK) + low * w4 + high * w5
    p3 = (p4 >> CHUNK) + low * w3 + high * w4
    p2 = (p3 >> CHUNK) + low * w2 + high * w3
    p1 = (p2 >> CHUNK) + low * w1 + high * w2
    p0 = (p1 >> CHUNK) + low * w0 + high * w1
    top = ((p0 & MASK) << CHUNK) | (p1 & MASK)  # 2 bits of quadrant, 52 of fraction
    quadrant = (top + (1 << 51)) >> 52
    # the signed fraction in quarter turns, in four exact parts
    a = to_f64(top - (quadrant << 52)) * 2.0**-52
    b = to_f64(p2 & MASK) * 2.0**-79
    c = to_f64(p3 & MASK) * 2.0**-106
    d = to_f64(p4 & MASK) * 2.0**-133
    tail, tail_low = two_difference(c, -d)
    middle, middle_low = two_difference(b, -tail)
    fraction, fraction_low = two_difference(a, -middle)
    fraction_low = fraction_low + (middle_low + tail_low)
    r, r_low = two_product(fraction, PI_OVER_2)
    r_low = fma(fraction, PI_OVER_2_LOW, fma(fraction_low, PI_OVER_2, r_low))
    sign = copysign(1.0 + 0.0 * r, x)
    return select(x < 0.0, -quadrant, quadrant), sign * r, sign * r_low


# ---------------------------------------------------------------------------------------------------------------------
# sin, cos, tan


def sin_kernel_f32(r: Number) -> Number:
    """sin on -pi/4..pi/4."""
    z = r * r
    return copysign(fma(horner(z, SIN_F32), z * r, r), r)  # -0.0 would become 0.0


def cos_kernel_f32(r: Number) -> Number:
    """cos on -pi/4..pi/4."""
    z = r * r
    return fma(horner(z, COS_F32), z * z, fma(_f(-0.5), z, _f(1.0)))


def sin_kernel_f64(r: Number, low: Number) -> Number:
    """sin(r + low) on -pi/4..pi/4."""
    z = r * r
    cube = z * r
    return r - ((z * (0.5 * low - cube * horner(z, SIN_F64)) - low) - cube * SIN_FIRST)


def cos_kernel_f64(r: Number, low: Number) -> Number:
    """cos(r + low) on -pi/4..pi/4."""
    z = r * r
    half = 0.5 * z
    first = 1.0 - half
    return first + (((1.0 - first) - half) + (z * (z * horner(z, COS_F64)) - r * low))


def turn_f32(quadrant: Number, r: Number) -> Number:
    """sin(quadrant pi/2 + r)."""
    value = select((quadrant & 1) == 0, sin_kernel_f32(r), cos_kernel_f32(r))
    return select((quadrant & 2) == 0, value, -value)


def turn_f64(quadrant: Number, r: Number, low: Number) -> Number:
    """sin(quadrant pi/2 + r + low)."""
    value = select((quadrant & 1) == 0, sin_kernel_f64(r, low), cos_kernel_f64(r, low))
    return select((quadrant & 2) == 0, value, -value)


def tan_turn_f64(quadrant: Number, r: Number, low: Number) -> Number:
    """tan(quadrant pi/2 + r + low)."""
    sine, cosine = sin_kernel_f64(r, low), cos_kernel_f64(r, low)
    even = (quadrant & 1) == 0
    return select(even, sine, -cosine) / select(even, cosine, sine)


def sin_large_f64(x: Number) -> Number:
    """Sine of a large number; nan of an infinite one."""
    quadrant, r, low = reduce_large_f64(x)
    return select(absolute(x) < np.inf, turn_f64(quadrant, r, low), np.nan)


def cos_large_f64(x: Number) -> Number:
    """Cosine of a large number; nan of an infinite one."""
    quadrant, r, low = reduce_large_f64(x)
    return select(absolute(x) < np.inf, turn_f64(quadrant + 1, r, low), np.nan)


def tan_large_f64(x: Number) -> Number:
    """Tangent of a large number; nan of an infinite one."""
    quadrant, r, low = reduce_large_f64(x)
    return select(absolute(x) < np.inf, tan_turn_f64(quadrant, r, low), np.nan)


def sin_large_f32(x: Number) -> Number:
    """Sine of a large number."""
    return to_f32(sin_large_f64(to_f64(x)))


def cos_large_f32(x: Number) -> Number:
    """Cosine of a large number."""
    return to_f32(cos_large_f64(to_f64(x)))


def tan_large_f32(x: Number) -> Number:
    """Tangent of a large number."""
    return to_f32(tan_large_f64(to_f64(x)))


def sin_f32(x: Number) -> Number:
    """Sine; within 1.8 ulp for any argument."""
    quadrant, r = reduce_f32(x)
    return patch(absolute(x) > LARGE_F32, sin_large_f32, x, turn_f32(quadrant, r))


def cos_f32(x: Number) -> Number:
    """Cosine; within 1.8 ulp for any argument."""
    quadrant, r = reduce_f32(x)
    return patch(absolute(x) > LARGE_F32, cos_large_f32, x, turn_f32(quadrant + 1, r))


def tan_f32(x: Number) -> Number:
    """Tangent; within 3.7 ulp for any argument."""
    quadrant, r = reduce_f32(x)
    sine, cosine = sin_kernel_f32(r), cos_kernel_f32(r)
    even = (quadrant & 1) == 0
    value = select(even, sine, -cosine) / select(even, cosine, sine)
    return patch(absolute(x) > LARGE_F32, tan_large_f32, x, value)


def sin_f64(x: Number) -> Number:
    """Sine; within 1 ulp for any argument."""
    quadrant, r, low = reduce_f64(x)
    return patch(absolute(x) > LARGE_F64, sin_large_f64, x, turn_f64(quadrant, r, low))


def cos_f64(x: Number) -> Number:
    """Cosine; within 1 ulp for any argument."""
    quadrant, r, low = reduce_f64(x)
    return patch(absolute(x) > LARGE_F64, cos_large_f64, x, turn_f64(quadrant + 1, r, low))


def tan_f64(x: Number) -> Number:
    """Tangent; within 2 ulp for any argument."""
    quadrant, r, low = reduce_f64(x)
    return patch(absolute(x) > LARGE_F64, tan_large_f64, x, tan_turn_f64(quadrant, r, low))


# ---------------------------------------------------------------------------------------------------------------------
# asin, acos, atan


def asin_parts_f32(x: Number) -> tuple[Number, Number, Number]:
    """``(outer, r, s)``: asin of |x| is ``r + s``, or pi/2 less twice that where ``outer`` holds (|x| > 1/2)."""
    size = absolute(x)
    outer = size > _f(0.5)
    z = select(outer, _f(0.5) * (_f(1.0) - size), size * size)
    r = select(outer, sqrt(z), size)
    return outer, r, r * z * horner(z, ASIN_F32)


def asin_parts_f64(x: Number) -> tuple[Number, Number, Number]:
    """``(outer, r, s)``: asin of |x| is ``r + s``, or pi/2 less twice that where ``outer`` holds (|x| > 1/2)."""
    size = absolute(x)
    outer = size > 0.5
    z = select(outer, 0.5 * (1.0 - size), size * size)
    r = select(outer, sqrt(z), size)
    return outer, r, r * (z * horner(z, ASIN_P) / horner(z, ASIN_Q))


def asin_f32(x: Number) -> Number:
    """Inverse sine; nan outside -1..1."""
    outer, r, s = asin_parts_f32(x)
    far = (PI_OVER_2_F32 - _f(2.0) * r) - (_f(2.0) * s - PI_OVER_2_LOW_F32)
    return copysign(select(outer, far, r + s), x)


def asin_f64(x: Number) -> Number:
    """Inverse sine; nan outside -1..1."""
    outer, r, s = asin_parts_f64(x)
    far = (PI_OVER_2 - 2.0 * r) - (2.0 * s - PI_OVER_2_LOW)
    return copysign(select(outer, far, r + s), x)


def acos_f32(x: Number) -> Number:
    """Inverse cosine; nan outside -1..1."""
    outer, r, s = asin_parts_f32(x)
    r_signed, s_signed = copysign(r, x), copysign(s, x)
    near = PI_OVER_2_F32 - (r_signed - (PI_OVER_2_LOW_F32 - s_signed))
    below = _f(2.0) * (PI_OVER_2_F32 - (r + (s - PI_OVER_2_LOW_F32)))
    return select(outer, select(x < _f(0.0), below, _f(2.0) * (r + s)), near)


def acos_f64(x: Number) -> Number:
    """Inverse cosine; nan outside -1..1."""
    outer, r, s = asin_parts_f64(x)
    r_signed, s_signed = copysign(r, x), copysign(s, x)
    near = PI_OVER_2 - (r_signed - (PI_OVER_2_LOW - s_signed))
    below = 2.0 * (PI_OVER_2 - (r + (s - PI_OVER_2_LOW)))
    return select(outer, select(x < 0.0, below, 2.0 * (r + s)), near)


def atan_f32(x: Number) -> Number:
    """Inverse tangent."""
    size = absolute(x)
    middle, far = size > _f(TAN_PI_8), size > _f(TAN_3_PI_8)
    above = select(far, _f(-1.0), select(middle, size - _f(1.0), size))
    below = select(far, size, select(middle, size + _f(1.0), _f(1.0)))
    r = above / below
    z = r * r
    base = select(far, PI_OVER_2_F32, select(middle, PI_OVER_4_F32, _f(0.0)))
    base_low = select(far, PI_OVER_2_LOW_F32, select(middle, PI_OVER_4_LOW_F32, _f(0.0)))
    return copysign(base + (r + fma(horner(z, ATAN_F32), z * r, base_low)), x)


def atan_f64(x: Number) -> Number:
    """Inverse tangent."""
    size = absolute(x)
    middle, far = size > TAN_PI_8, size > TAN_3_PI_8
    above = select(far, -1.0, select(middle, size - 1.0, size))
    below = select(far, size, select(middle, size + 1.0, 1.0))
    r = above / below
    z = r * r
    base = select(far, PI_OVER_2, select(middle, PI_OVER_4, 0.0))
    base_low = select(far, PI_OVER_2_LOW, select(middle, PI_OVER_4_LOW, 0.0))
    return copysign(base + (r - fma(horner(z, ATAN_F64), z * r, -base_low)), x)
