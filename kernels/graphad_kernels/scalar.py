"""Scalar operators whose results are fixed where hardware and languages differ.

Plain Python functions over NumPy scalars, which Numba compiles into whatever ``njit`` function calls them. Programs in
Numba source use them: the division of integers by zero, shifts by more than the width, float to integer casts out of
range, maxima of nan, fused multiply-adds, and the 16-bit floats, which are computed with as float32.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import inf, isfinite
from typing import Any

import numpy as np
from numba.extending import overload, register_jitable

from graphad_kernels.instructions import fused


def fma(a: Any, b: Any, c: Any) -> Any:
    """``a * b + c`` of three float32 or three float64, rounded once."""
    kind = type(a)
    if not (isfinite(a) and isfinite(b)):
        return a * b + c
    if not isfinite(c):
        return c
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c  # which has the sign
    try:
        near = float(exact)
    except OverflowError:
        return kind(inf if exact > 0 else -inf)
    if kind is np.float32 and Fraction(near) != exact:
        near = _odd(near, Fraction(near) < exact)
    return kind(near)


def _odd(near: float, below: bool) -> float:
    """A float64 beside which a number lies, as rounded to odd, after which rounding to float32 is as if done once."""
    pattern = np.float64(near).view(np.int64)
    return near if pattern & 1 else float(np.nextafter(near, inf if below else -inf))


_overload: Any = overload


@_overload(fma, jit_options={"fastmath": False}, strict=False)
def _overload_fma(a: Any, b: Any, c: Any) -> Any:
    return lambda a, b, c: fused(a, b, c)


@register_jitable
def maximum(a: Any, b: Any) -> Any:
    """The greater of two floats; nan if either is nan."""
    return a if a > b or a != a else b


@register_jitable
def minimum(a: Any, b: Any) -> Any:
    """The lesser of two floats; nan if either is nan."""
    return a if a < b or a != a else b


@register_jitable
def quo(a: Any, b: Any) -> Any:
    """Quotient of signed integers, rounded toward zero; x quo 0 is 0, and the least integer quo -1 is itself."""
    if b == 0:
        return b
    if b == -1:
        return -a
    q = a // b
    if q < 0 and q * b != a:
        return q + 1
    return q


@register_jitable
def rem(a: Any, b: Any) -> Any:
    """What `quo` leaves, with the sign of ``a``; x rem 0 is x."""
    if b == 0:
        return a
    if b == -1:
        return a - a
    r = a % b
    if r != 0 and (r < 0) != (a < 0):
        return r - b
    return r


@register_jitable
def unsigned_quo(a: Any, b: Any) -> Any:
    """`quo` of unsigned integers."""
    return a // b if b != 0 else b


@register_jitable
def unsigned_rem(a: Any, b: Any) -> Any:
    """`rem` of unsigned integers."""
    return a % b if b != 0 else a


@register_jitable
def shl(a: Any, by: Any, width: Any) -> Any:
    """``a << by``; 0 where ``by`` is not in ``range(width)``."""
    return a << by if 0 <= by < width else a ^ a


@register_jitable
def lshr(a: Any, by: Any, width: Any) -> Any:
    """``a >> by`` of an unsigned integer; 0 where ``by`` is not in ``range(width)``."""
    return a >> by if 0 <= by < width else a ^ a


@register_jitable
def ashr(a: Any, by: Any, width: Any) -> Any:
    """``a >> by`` of a signed integer; its sign (0 or -1) where ``by`` is not in ``range(width)``."""
    if 0 <= by < width:
        return a >> by
    return a >> (width - 1)


@register_jitable
def popcount(a: Any, width: Any) -> Any:
    """The number of ones among the ``width`` bits of an integer."""
    pattern = np.uint64(a) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width))
    count = 0
    while pattern != np.uint64(0):
        pattern = pattern & (pattern - np.uint64(1))  # clears the lowest one
        count += 1
    return count


@register_jitable
def clz(a: Any, width: Any) -> Any:
    """The number of zeros above the highest one among the ``width`` bits of an integer."""
    pattern = np.uint64(a) & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - width))
    count = width
    while pattern != np.uint64(0):
        pattern = pattern >> np.uint64(1)
        count -= 1
    return count


def _saturating(integer: Any) -> Callable[[Any], Any]:
    info = np.iinfo(integer)
    least, zero = integer(info.min), integer(0)
    # Both bounds are 0 or powers of two, hence exact in every float type.
    low, high = float(info.min), float(info.max // 2 + 1) * 2.0

    @register_jitable
    def cast(x: Any) -> Any:
        if x != x:
            return zero
        if x <= low:
            return least
        if x >= high:
            return integer(~least)  # the greatest
        return integer(x)

    cast.__doc__ = f"A float as {info.dtype}: cut off toward zero, saturated at both ends, nan to 0."
    return cast


to_i8, to_i16, to_i32, to_i64 = map(_saturating, (np.int8, np.int16, np.int32, np.int64))
to_u8, to_u16, to_u32, to_u64 = map(_saturating, (np.uint8, np.uint16, np.uint32, np.uint64))


@register_jitable
def bf16_to_f32(bits: Any) -> Any:
    """The float32 of which ``bits`` (uint16) is the upper half."""
    return np.uint32(np.uint32(bits) << np.uint32(16)).view(np.float32)


@register_jitable
def f32_to_bf16(x: Any) -> Any:
    """The upper half of a float32, rounded to even, as uint16."""
    bits = np.float32(x).view(np.uint32)
    high = np.uint32(bits >> np.uint32(16))
    if x != x:
        return np.uint16(high | np.uint32(0x40))
    return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + (high & np.uint32(1))) >> np.uint32(16))


@register_jitable
def f16_to_f32(bits: Any) -> Any:
    """The float32 equal to the float16 ``bits`` (uint16)."""
    word = np.uint32(bits)
    sign = np.uint32((word & np.uint32(0x8000)) << np.uint32(16))
    if word & np.uint32(0x7C00) == np.uint32(0x7C00):
        kept = np.uint32((word & np.uint32(0x3FF)) << np.uint32(13))
        return np.uint32(sign | np.uint32(0x7F800000) | kept).view(np.float32)
    moved = np.uint32((word & np.uint32(0x7FFF)) << np.uint32(13))
    if word & np.uint32(0x7C00) == np.uint32(0):  # a denormal: what 2**-14 has more with these bits than without
        more = np.uint32(moved | np.uint32(0x38800000)).view(np.float32) - np.float32(2.0**-14)
        return np.uint32(sign | np.float32(more).view(np.uint32)).view(np.float32)
    return np.uint32(sign | np.uint32(moved + np.uint32(112 << 23))).view(np.float32)


@register_jitable
def f32_to_f16(x: Any) -> Any:
    """The nearest float16 (ties to even) as uint16."""
    bits = np.float32(x).view(np.uint32)
    sign = np.uint32((bits >> np.uint32(16)) & np.uint32(0x8000))
    size = np.uint32(bits & np.uint32(0x7FFFFFFF))
    if size > np.uint32(0x7F800000):
        payload = np.uint32((size >> np.uint32(13)) & np.uint32(0x1FF))
        return np.uint16(sign | np.uint32(0x7E00) | payload)
    if size >= np.uint32(0x477FF000):  # half way between the greatest float16 and the next power of two
        return np.uint16(sign | np.uint32(0x7C00))
    if size < np.uint32(0x38800000):  # below 2**-14: adding 0.5 leaves multiples of 2**-24 in the low bits
        shifted = np.float32(size.view(np.float32) + np.float32(0.5)).view(np.uint32)
        return np.uint16(sign | np.uint32(shifted - np.uint32(0x3F000000)))
    odd = np.uint32((size >> np.uint32(13)) & np.uint32(1))
    rounded = np.uint32(np.uint32(size + np.uint32(0xFFF) + odd) >> np.uint32(13))
    return np.uint16(sign | np.uint32(rounded - np.uint32(112 << 10)))


@register_jitable
def to_odd(x: Any) -> Any:
    """A float64 as float32 rounded to odd, after which rounding to 16 bits is as if done in one step."""
    near = np.float32(x)
    size, rounded = abs(x), abs(np.float64(near))
    if x != x or size == rounded:
        return near
    bits = near.view(np.uint32)
    if rounded > size:
        bits = np.uint32(bits - np.uint32(1))
    return np.uint32(bits | np.uint32(1)).view(np.float32)


@register_jitable
def without_low_digits_i64(x: Any) -> Any:
    """An int64 that float64 holds: beyond 2**53 a sticky bit replaces the low ones, far below the precision of
    bfloat16.
    """
    low = np.int64(x) & np.int64(0xFFF)
    if low == np.int64(0) or (np.int64(-(1 << 53)) <= x <= np.int64(1 << 53)):
        return np.int64(x)
    return np.int64(np.int64(x) - low + np.int64(0x800))


@register_jitable
def without_low_digits_u64(x: Any) -> Any:
    """`without_low_digits_i64` of a uint64."""
    low = np.uint64(x) & np.uint64(0xFFF)
    if low == np.uint64(0) or x <= np.uint64(1 << 53):
        return np.uint64(x)
    return np.uint64(np.uint64(x) - low + np.uint64(0x800))


@register_jitable
def round_f16(x: Any) -> Any:
    """The float32 nearest to ``x`` that a float16 holds."""
    return f16_to_f32(f32_to_f16(x))


@register_jitable
def round_bf16(x: Any) -> Any:
    """The float32 nearest to ``x`` that a bfloat16 holds."""
    return bf16_to_f32(f32_to_bf16(x))
