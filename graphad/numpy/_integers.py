"""Functions of integers: common divisors and multiples, and the bits that are set."""

from __future__ import annotations

from graphad.ir.types import u8
from graphad.numpy._logic import bitwise_not, left_shift, right_shift, where
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_number, beside, cast, dtype_and_weakness, elementwise, result_type


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


def bitwise_count(x: ArrayLike, /) -> Array:
    """The number of ones among the bits of ``abs(x)``.

    >>> import graphad.numpy as gnp
    >>> gnp.bitwise_count(gnp.array([7, -8]))
    Array([3, 1], dtype=uint8)
    """
    (size,) = _magnitudes("bitwise_count", x)
    return cast(elementwise(prims.population_count, size), u8)


def _magnitudes(name: str, *xs: ArrayLike) -> list[Array]:
    numbers = [as_number(x, name) for x in beside(name, *xs)]
    for x in numbers:
        dtype, _ = dtype_and_weakness(x)
        if not dtype.is_integer:
            raise TypeError(f"{source.where()}{name} takes integers, got {dtype.numpy}. Convert first: x.astype(int).")
    return [abs(x) for x in numbers]


bitwise_invert = bitwise_not
bitwise_left_shift = left_shift
bitwise_right_shift = right_shift
