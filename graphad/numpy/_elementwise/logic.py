"""Logic, tests of what a number is, and the choice between two arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import b1
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.exact import Exact
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_operand,
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
# What a number is


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


def isposinf(x: ArrayLike, /) -> Array:
    """Whether x is infinite and positive.

    >>> import graphad.numpy as gnp
    >>> gnp.isposinf(gnp.array([1.0, gnp.inf, -gnp.inf]))
    Array([False,  True, False], dtype=bool)
    """
    x = as_operand(x, "isposinf")
    return isinf(x) & (x > 0)


def isneginf(x: ArrayLike, /) -> Array:
    """Whether x is infinite and negative.

    >>> import graphad.numpy as gnp
    >>> gnp.isneginf(gnp.array([1.0, gnp.inf, -gnp.inf]))
    Array([False, False,  True], dtype=bool)
    """
    x = as_operand(x, "isneginf")
    return isinf(x) & (x < 0)


def everywhere(value: bool, x: Array) -> Array:
    """``value`` in the shape of ``x``."""
    return broadcast_to(Array(np.asarray(value)), x.shape)


# ---------------------------------------------------------------------------------------------------------------------
# Choices


@of_keys("x", "y")
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


@of_keys("choices", "default")
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
