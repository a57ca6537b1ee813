"""cbrt: a polynomial for the leading bits, then a series for what it leaves.

The estimate is rounded to a third of the bits of a number, so that its cube is exact, and multiplied by the start of
``(1 + e)**(1/3)``, e being the relative distance of the cube. The polynomials for the estimate were computed for this
file by the Remez exchange in 60-digit arithmetic; the error stated is the largest one left, relative.
"""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.helpers import (
    Number,
    absolute,
    bits,
    copysign,
    horner,
    select,
    to_f32_bits,
    to_f64_bits,
)

_f = np.float32

# cbrt(m) on 1..2, error 7.4e-5 and 1.8e-7
CBRT_F32 = (_f(0.02310484), _f(-0.16296913), _f(0.58711356), _f(0.5528237))
CBRT_F64 = (
    -0.002859693738400832, 0.030904688259333134, -0.14447269863514117, 0.38536695268069193, -0.6661810728297161,
    0.9501010617389118, 0.4471409337193764,
)  # fmt: skip
# ((1 + e)**(1/3) - 1) / e
SERIES_F32 = (_f(0.061728396), _f(-0.11111111), _f(0.33333334))
SERIES_F64 = (0.06172839506172839, -0.1111111111111111, 0.3333333333333333)
CBRT_2 = 1.2599210498948732
CBRT_4 = 1.5874010519681996
THIRD_16 = 21846  # n * THIRD_16 >> 16 is n // 3 for the exponents of floats


def cbrt_f32(x: Number) -> Number:
    """Cube root; within 1 ulp."""
    size = absolute(x)
    denormal = size < _f(1.17549435e-38)
    pattern = bits(select(denormal, size * _f(16777216.0), size))
    exponent = (pattern >> 23) + 2  # x = m 2**(exponent - 129) = (m 2**rest) 2**(3 third - 129)
    third = (exponent * THIRD_16) >> 16
    rest = exponent - 3 * third
    fraction = pattern & 0x7FFFFF
    root = select(rest == 0, _f(1.0), select(rest == 1, _f(CBRT_2), _f(CBRT_4)))
    estimate = horner(to_f32_bits(fraction | 0x3F800000), CBRT_F32) * root
    estimate = to_f32_bits((bits(estimate) + 0x8000) & -0x10000)
    cube = estimate * estimate * estimate
    m = to_f32_bits(fraction | ((rest + 127) << 23))
    e = (m - cube) / cube
    value = estimate + estimate * (e * horner(e, SERIES_F32))
    value = value * to_f32_bits((third + (127 - 43)) << 23)
    value = select(denormal, value * _f(0.00390625), value)
    return select((size > _f(0.0)) & (size < _f(np.inf)), copysign(value, x), x + x)


def cbrt_f64(x: Number) -> Number:
    """Cube root; within 1 ulp."""
    size = absolute(x)
    denormal = size < 2.2250738585072014e-308
    pattern = bits(select(denormal, size * 18014398509481984.0, size))
    exponent = pattern >> 52  # x = m 2**(exponent - 1023)
    third = (exponent * THIRD_16) >> 16
    rest = exponent - 3 * third
    fraction = pattern & 0xFFFFFFFFFFFFF
    root = select(rest == 0, 1.0, select(rest == 1, CBRT_2, CBRT_4))
    estimate = horner(to_f64_bits(fraction | 0x3FF0000000000000), CBRT_F64) * root
    estimate = to_f64_bits((bits(estimate) + 0x800000000) & -0x1000000000)
    cube = estimate * estimate * estimate
    m = to_f64_bits(fraction | ((rest + 1023) << 52))
    e = (m - cube) / cube
    value = estimate + estimate * (e * horner(e, SERIES_F64))
    value = value * to_f64_bits((third + (1023 - 341)) << 52)
    value = select(denormal, value * 3.814697265625e-06, value)
    return select((size > 0.0) & (size < np.inf), copysign(value, x), x + x)
