"""Comparisons, logic, bits, and the choice between two arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1, fits, i8, i64
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.primitives.cast import convert
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.exact import Exact
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_floats,
    as_operand,
    as_operands,
    beside,
    broadcast_shapes,
    broadcast_to,
    cast,
    dtype_and_weakness,
    elementwise,
    promoted,
    result_type,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Comparisons


def equal(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x == y``, element by element.

    >>> import graphad.numpy as gnp
    >>> gnp.equal(gnp.arange(3), 1)
    Array([False,  True, False], dtype=bool)
    """
    return compared(prims.eq, x, y, "equal")


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
# Logic


def logical_and(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether both x and y are true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.logical_and(gnp.arange(3), True)
    Array([False,  True,  True], dtype=bool)
    """
    return elementwise(prims.and_, truth(x, "logical_and"), truth(y, "logical_and"), name="logical_and")


def logical_or(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether x or y is true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.logical_or(gnp.arange(3), False)
    Array([False,  True,  True], dtype=bool)
    """
    return elementwise(prims.or_, truth(x, "logical_or"), truth(y, "logical_or"), name="logical_or")


def logical_xor(x: ArrayLike, y: ArrayLike, /) -> Array:
    """Whether exactly one of x and y is true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.logical_xor(gnp.arange(3), True)
    Array([ True, False, False], dtype=bool)
    """
    return elementwise(prims.xor, truth(x, "logical_xor"), truth(y, "logical_xor"), name="logical_xor")


def logical_not(x: ArrayLike, /) -> Array:
    """Whether x is false, that is zero.

    >>> import graphad.numpy as gnp
    >>> gnp.logical_not(gnp.arange(3))
    Array([ True, False, False], dtype=bool)
    """
    return elementwise(prims.not_, truth(x, "logical_not"))


def truth(x: Any, name: str) -> Array:
    """Whether elements are not zero: of a number before it is rounded, which may make it zero."""
    if is_scalar(x):
        return cast(bool(x), b1, type(x) is not bool)
    x = x.wide if type(x) is Exact else as_operand(x, name)
    return x if dtype_and_weakness(x)[0] is b1 else elementwise(prims.ne, x, 0)


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


# ---------------------------------------------------------------------------------------------------------------------
# What a float is


def isnan(x: ArrayLike, /) -> Array:
    """Whether x is nan.

    >>> import graphad.numpy as gnp
    >>> gnp.isnan(gnp.array([1.0, gnp.nan]))
    Array([False,  True], dtype=bool)
    """
    x = as_operand(x, "isnan")
    return elementwise(prims.ne, x, x)


def isinf(x: ArrayLike, /) -> Array:
    """Whether x is an infinity of either sign.

    >>> import graphad.numpy as gnp
    >>> gnp.isinf(gnp.array([1.0, -gnp.inf]))
    Array([False,  True], dtype=bool)
    """
    x = as_operand(x, "isinf")
    dtype, _ = dtype_and_weakness(x)
    return abs(x) == Array(np.asarray(np.inf, dtype.numpy)) if dtype.is_float else everywhere(False, x)


def isfinite(x: ArrayLike, /) -> Array:
    """Whether x is neither infinite nor nan.

    >>> import graphad.numpy as gnp
    >>> gnp.isfinite(gnp.array([1.0, gnp.nan]))
    Array([ True, False], dtype=bool)
    """
    x = as_operand(x, "isfinite")
    return elementwise(prims.is_finite, x) if dtype_and_weakness(x)[0].is_float else everywhere(True, x)


def everywhere(value: bool, x: Array) -> Array:
    """``value`` in the shape of ``x``."""
    return broadcast_to(Array(np.asarray(value)), x.shape)


# ---------------------------------------------------------------------------------------------------------------------
# Choices


def where(condition: ArrayLike, x: ArrayLike | None = None, y: ArrayLike | None = None) -> Array:
    """x where the condition holds, else y; the value not chosen has no influence, not even as nan.

    >>> import graphad.numpy as gnp
    >>> gnp.where(gnp.arange(3) > 1, 0.0, gnp.arange(3))
    Array([0., 1., 0.], dtype=float32, weak_type=True)
    """
    if x is None or y is None:
        raise TypeError(
            f"{source.where()}where takes a condition and two arrays: the positions where a condition holds have a "
            "shape that depends on values. Write where(condition, x, y), or np.nonzero of a concrete array."
        )
    condition = truth(condition, "where")
    operands, _, weak = promoted("where", x, y)
    shapes = [v.shape for v in (condition, *operands) if hasattr(v, "shape")]
    shape = broadcast_shapes(shapes, "where")
    condition = broadcast_to(condition, shape)
    operands = [broadcast_to(v, shape) if hasattr(v, "shape") else v for v in operands]
    return with_weak(prims.select(condition, *operands), weak)


def select(
    conditions: list[ArrayLike] | tuple[ArrayLike, ...],
    choices: list[ArrayLike] | tuple[ArrayLike, ...],
    default: ArrayLike = 0,
) -> Array:
    """The choice that belongs to the first condition that holds, else ``default``.

    >>> import graphad.numpy as gnp
    >>> x = gnp.arange(4)
    >>> gnp.select([x < 1, x < 3], [x, 10 * x], -1)
    Array([ 0, 10, 20, -1], dtype=int32)
    """
    if not conditions or len(conditions) != len(choices):
        raise ValueError(
            f"{source.where()}select takes as many choices as conditions, at least one; "
            f"got {len(conditions)} conditions and {len(choices)} choices."
        )
    dtype, weak = result_type(*choices, default)
    result = cast(default, dtype, weak, "select")
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        result = where(condition, cast(choice, dtype, weak, "select"), result)
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Closeness


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


invert = bitwise_not
