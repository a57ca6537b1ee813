"""Comparisons, exact, close and of whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1, fits, i8, i64
from graphad.numpy._elementwise.logic import isfinite, isnan
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.primitives.cast import convert
from graphad.trace.array import Array
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_floats,
    as_operand,
    as_operands,
    beside,
    broadcast_to,
    cast,
    dtype_and_weakness,
    elementwise,
    result_type,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Element by element


@of_keys("x", "y", joined=lambda words: words.all(-1))
def equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x == y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.equal(gnp.arange(3), 1)
    Array([False,  True, False], dtype=bool)
    """
    return compared(prims.eq, x, y, "equal")


@of_keys("x", "y", joined=lambda words: words.any(-1))
def not_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x != y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.not_equal(gnp.arange(3), 1)
    Array([ True, False,  True], dtype=bool)
    """
    return compared(prims.ne, x, y, "not_equal")


def less(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x < y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.less(gnp.arange(3), 1)
    Array([ True, False, False], dtype=bool)
    """
    return _ordered(prims.lt, x, y, "less")


def less_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x <= y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.less_equal(gnp.arange(3), 1)
    Array([ True,  True, False], dtype=bool)
    """
    return _ordered(prims.le, x, y, "less_equal")


def greater(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x > y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.greater(gnp.arange(3), 1)
    Array([False, False,  True], dtype=bool)
    """
    return _ordered(prims.gt, x, y, "greater")


def greater_equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x >= y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.greater_equal(gnp.arange(3), 1)
    Array([False,  True,  True], dtype=bool)
    """
    return _ordered(prims.ge, x, y, "greater_equal")


def _ordered(primitive: Primitive, x: ArrayLike, y: ArrayLike, name: str) -> Array:
    """Compare; booleans as the integers 0 and 1."""
    x, y = as_operands(name, x, y)
    if result_type(x, y)[0] is b1:
        x = convert(as_operand(x), dtype=i8)
    return compared(primitive, x, y, name)


def compared(primitive: Primitive, x: ArrayLike, y: ArrayLike, name: str) -> Array:
    """Compare; with an integer that the type of the other does not hold as well: it is beyond all that do."""
    if type(y) is int and (sign := _beyond(y, x)):
        return _settled(primitive, 0, sign, x)
    if type(x) is int and (sign := _beyond(x, y)):
        return _settled(primitive, sign, 0, y)
    return elementwise(primitive, *_widened(x, y), name=name)


def _settled(primitive: Primitive, left: int, right: int, x: ArrayLike) -> Array:
    """What all elements of ``x`` give, being left or right of a number that is beyond them."""
    x = as_operand(x) if type(x) is not int else Array(np.zeros((), np.int32), True)
    return broadcast_to(with_weak(elementwise(primitive, left, right), x.weak_type), x.shape)


def _beyond(n: int, x: ArrayLike) -> int:
    """1 or -1 if the integer type of ``x`` holds no number as large, or as small, as ``n``; else 0."""
    if type(x) is int:
        return (n > x) - (n < x)
    dtype, weak = dtype_and_weakness(x)
    if dtype.is_float or fits(n, i64 if weak or dtype is b1 else dtype):
        return 0
    return 1 if n > 0 else -1


def _widened(x: Any, y: Any) -> tuple[Any, Any]:
    """x and y as int64 where a weak scalar is that and the other is narrower, which it would yield to."""
    for wide, other in ((x, y), (y, x)):
        if getattr(wide, "weak_type", False) and wide.aval.dtype is i64 and not is_scalar(other):
            dtype, _ = dtype_and_weakness(other)
            if dtype.is_integer and dtype.bits < 64:
                return cast(x, i64), cast(y, i64)
    return x, y


# ---------------------------------------------------------------------------------------------------------------------
# Closeness and equality of arrays


def isclose(x: ArrayLike, y: ArrayLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Array:
    """Whether ``|x - y| <= atol + rtol * |y|``; infinities are close to themselves.

    >>> import graphad.numpy as gnp
    >>> gnp.isclose(1.0, gnp.array([1.000001, 1.1]))
    Array([ True, False], dtype=bool)
    """
    x, y = as_floats("isclose", x, y)
    near = (abs(x - y) <= atol + rtol * abs(y)) & isfinite(x) & isfinite(y)
    close = near | (x == y)
    return close | (isnan(x) & isnan(y)) if equal_nan else close


def allclose(x: ArrayLike, y: ArrayLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Array:
    """Whether all elements are close in the sense of `isclose`.

    >>> import graphad.numpy as gnp
    >>> gnp.allclose(gnp.ones(3), 1.0)
    Array(True, dtype=bool)
    """
    return isclose(x, y, rtol, atol, equal_nan).all()


@of_keys("x", "y", joined=lambda words: words.all(-1))
def array_equal(x: ArrayLike, y: ArrayLike, equal_nan: bool = False) -> Array:
    """Whether two arrays have the same shape and elements.

    >>> import graphad.numpy as gnp
    >>> gnp.array_equal(gnp.ones(3), gnp.ones(4))
    Array(False, dtype=bool)
    """
    x, y = beside("array_equal", x, y)
    if x.shape != y.shape:
        return Array(np.asarray(False))
    same = equal(x, y)
    return (same | (isnan(x) & isnan(y)) if equal_nan else same).all()


def array_equiv(a1: ArrayLike, a2: ArrayLike) -> Array:
    """Whether two arrays broadcast to the same elements.

    >>> import graphad.numpy as gnp
    >>> gnp.array_equiv(gnp.ones(2), gnp.ones((3, 2)))
    Array(True, dtype=bool)
    """
    x, y = beside("array_equiv", a1, a2)
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return Array(np.asarray(False))
    return equal(x, y).all()
