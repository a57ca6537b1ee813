"""Functions of integers: their bits, shifts, common divisors and multiples."""

from __future__ import annotations

from graphad.ir.types import u8
from graphad.numpy._elementwise.logic import where
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_number, as_operands, beside, cast, dtype_and_weakness, elementwise, result_type

# ---------------------------------------------------------------------------------------------------------------------
# Bits


def bitwise_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x & y``: of booleans, or of each bit of integers.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_and(gnp.arange(4), 1)
    Array([0, 1, 0, 1], dtype=int32)
    """
    return elementwise(prims.and_, x, y, name="bitwise_and")


def bitwise_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x | y``: of booleans, or of each bit of integers.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_or(gnp.arange(4), 1)
    Array([1, 1, 3, 3], dtype=int32)
    """
    return elementwise(prims.or_, x, y, name="bitwise_or")


def bitwise_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x ^ y``: of booleans, or of each bit of integers.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_xor(gnp.arange(4), 1)
    Array([1, 0, 3, 2], dtype=int32)
    """
    return elementwise(prims.xor, x, y, name="bitwise_xor")


def bitwise_not(x: ArrayLike, /) -> Array:
    """``~x``: of booleans, or of each bit of integers.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_not(gnp.arange(4))
    Array([-1, -2, -3, -4], dtype=int32)
    """
    return elementwise(prims.not_, x, name="bitwise_not")


def left_shift(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x << y``; 0 where y is as large as the number of bits.

    >>> import graphad.numpy as gnp
    >>> gnp.left_shift(gnp.arange(4), 1)
    Array([0, 2, 4, 6], dtype=int32)
    """
    return elementwise(prims.shift_left, x, y, name="left_shift")


def right_shift(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x >> y``, keeping the sign.

    >>> import graphad.numpy as gnp
    >>> gnp.right_shift(gnp.array([8, -8]), 1)
    Array([ 4, -4], dtype=int32)
    """
    x, y = as_operands("right_shift", x, y)
    signed = result_type(x, y)[0].kind == "i"
    shift = prims.shift_right_arithmetic if signed else prims.shift_right_logical
    return elementwise(shift, x, y, name="right_shift")


def bitwise_count(x: ArrayLike, /) -> Array:
    """The number of ones among the bits of ``abs(x)``.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_count(gnp.array([7, -8]))
    Array([3, 1], dtype=uint8)
    """
    (size,) = _magnitudes("bitwise_count", x)
    return cast(elementwise(prims.population_count, size), u8)


# ---------------------------------------------------------------------------------------------------------------------
# Divisors and multiples


def gcd(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The greatest common divisor, not negative; that of x and 0 is ``abs(x)``.

    >>> import graphad.numpy as gnp
    >>> gnp.gcd(gnp.array([12, -9, 0]), 6)
    Array([6, 3, 6], dtype=int32)
    """
    a, b = _magnitudes("gcd", x, y)
    # Euclid's algorithm; by Lame's theorem it takes less than 1.45 steps a bit, and one to exchange a and b.
    for _ in range(result_type(a, b)[0].bits * 3 // 2 + 2):
        done = b == 0
        a, b = where(done, a, b), where(done, b, elementwise(prims.rem, a, b))
    return a


def lcm(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The least common multiple, not negative; 0 where x or y is.

    >>> import graphad.numpy as gnp
    >>> gnp.lcm(gnp.array([4, -3, 0]), 6)
    Array([12,  6,  0], dtype=int32)
    """
    a, b = _magnitudes("lcm", x, y)
    return elementwise(prims.quo, a, gcd(a, b)) * b


def _magnitudes(name: str, *xs: ArrayLike) -> list[Array]:
    numbers = [as_number(x, name) for x in beside(name, *xs)]
    for x in numbers:
        dtype, _ = dtype_and_weakness(x)
        if not dtype.is_integer:
            raise TypeError(f"{source.where()}{name} takes integers, got {dtype.numpy}. Convert first: x.astype(int).")
    return [abs(x) for x in numbers]


invert = bitwise_not
bitwise_invert = bitwise_not
bitwise_left_shift = left_shift
bitwise_right_shift = right_shift
