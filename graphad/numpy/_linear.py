"""Products of vectors and matrices, all by way of `dot_general`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.ir.types import b1
from graphad.numpy._shape import broadcast_to, ravel, transpose
from graphad.numpy._typing import ArrayLike
from graphad.primitives.contract import dot_general
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    broadcast_shapes,
    canonical_axes,
    cast,
    default_int,
    result_type,
    shape_text,
    with_weak,
)

Axes = tuple[int, ...]


def dot(x: ArrayLike, y: ArrayLike) -> Array:
    """The sum of products over the last axis of ``x`` and the last but one (or the only) axis of ``y``.

    >>> import graphad.numpy as gnp
    >>> gnp.dot(gnp.ones((2, 3)), gnp.arange(3.0))
    Array([3., 3.], dtype=float32)
    """
    x, y = beside("dot", x, y)
    if not x.ndim or not y.ndim:
        return x * y
    axis = max(y.ndim - 2, 0)
    _check_sizes("dot", x, y, (x.ndim - 1,), (axis,))
    return contract(x, y, (x.ndim - 1,), (axis,))


def vdot(x: ArrayLike, y: ArrayLike) -> Array:
    """The sum of the products of all elements, of both arrays flattened.

    >>> import graphad.numpy as gnp
    >>> gnp.vdot(gnp.ones((2, 2)), gnp.ones((2, 2)))
    Array(4., dtype=float32)
    """
    x, y = beside("vdot", x, y)
    return dot(ravel(x), ravel(y))


def inner(x: ArrayLike, y: ArrayLike) -> Array:
    """The sum of products over the last axis of both.

    >>> import graphad.numpy as gnp
    >>> gnp.inner(gnp.ones((2, 3)), gnp.ones((4, 3))).shape
    (2, 4)
    """
    x, y = beside("inner", x, y)
    if not x.ndim or not y.ndim:
        return x * y
    _check_sizes("inner", x, y, (x.ndim - 1,), (y.ndim - 1,))
    return contract(x, y, (x.ndim - 1,), (y.ndim - 1,))


def outer(x: ArrayLike, y: ArrayLike) -> Array:
    """Each element of ``x`` times each of ``y``, both flattened.

    >>> import graphad.numpy as gnp
    >>> gnp.outer(gnp.arange(2), gnp.arange(3))
    Array([[0, 0, 0],
           [0, 1, 2]], dtype=int32)
    """
    x, y = beside("outer", x, y)
    return ravel(x)[:, None] * ravel(y)[None, :]


def matmul(x: ArrayLike, y: ArrayLike) -> Array:
    """The matrix product ``x @ y``; further axes in front broadcast.

    >>> import graphad.numpy as gnp
    >>> gnp.matmul(gnp.ones((5, 2, 3)), gnp.ones((3, 4))).shape
    (5, 2, 4)
    """
    x, y = as_operand(x, "matmul"), as_operand(y, "matmul")
    if not x.ndim or not y.ndim:
        raise ValueError(f"{source.where()}matmul got {shape_text(x)} and {shape_text(y)}: write x * y for scalars.")
    left, right = x.ndim - 1, max(y.ndim - 2, 0)
    _check_sizes("matmul", x, y, (left,), (right,))
    if y.ndim <= 2:
        return contract(x, y, (left,), (right,))
    if x.ndim <= 2:  # the lanes are all of y's: they come last in the product, and go in front
        product = contract(x, y, (left,), (right,))
        rows = x.ndim - 1
        lanes = y.ndim - 2
        return transpose(product, (*range(rows, rows + lanes), *range(rows), rows + lanes))
    lanes = broadcast_shapes((x.shape[:-2], y.shape[:-2]), "matmul")
    x, y = broadcast_to(x, lanes + x.shape[-2:]), broadcast_to(y, lanes + y.shape[-2:])
    both = tuple(range(len(lanes)))
    return contract(x, y, (x.ndim - 1,), (y.ndim - 2,), both, both)


def tensordot(x: ArrayLike, y: ArrayLike, axes: int | Sequence[Any] = 2) -> Array:
    """The sum of products over ``axes``: so many last ones of ``x`` and first ones of ``y``, or a pair of lists.

    >>> import graphad.numpy as gnp
    >>> gnp.tensordot(gnp.ones((2, 3, 4)), gnp.ones((3, 4, 5))).shape
    (2, 5)
    """
    x, y = beside("tensordot", x, y)
    if isinstance(axes, int):
        if not 0 <= axes <= min(x.ndim, y.ndim):
            raise ValueError(
                f"{source.where()}tensordot got axes={axes} for {shape_text(x)} and {shape_text(y)}: "
                "it is the number of axes summed over."
            )
        left, right = tuple(range(x.ndim - axes, x.ndim)), tuple(range(axes))
    else:
        left, right = (canonical_axes(_listed(a), v.ndim, "tensordot") for a, v in zip(axes, (x, y), strict=True))
    _check_sizes("tensordot", x, y, left, right)
    return contract(x, y, left, right)


def _listed(axes: Any) -> Any:
    return tuple(axes) if isinstance(axes, Sequence) else (axes,)


def contract(x: Any, y: Any, left: Axes, right: Axes, batch_left: Axes = (), batch_right: Axes = ()) -> Any:
    """`dot_general` with the dtypes promoted; booleans are or-ed and and-ed."""
    dtype, weak = result_type(x, y)
    working = default_int() if dtype is b1 else dtype
    product = dot_general(cast(x, working), cast(y, working), contract=(left, right), batch=(batch_left, batch_right))
    return product != 0 if dtype is b1 else with_weak(product, weak)


def _check_sizes(name: str, x: Any, y: Any, left: Axes, right: Axes) -> None:
    for a, b in zip(left, right, strict=False):
        if x.shape[a] != y.shape[b]:
            raise TypeError(
                f"{source.where()}{name} got {shape_text(x)} and {shape_text(y)}: axis {a - x.ndim} of the first, of "
                f"size {x.shape[a]}, must equal axis {b - y.ndim} of the second, of size {y.shape[b]}."
                + _transposed_fits(name, x, y)
            )
    if len(left) != len(right):
        raise ValueError(f"{source.where()}{name} takes as many axes of the first as of the second: {left}, {right}.")


def _transposed_fits(name: str, x: Any, y: Any) -> str:
    """A proposal where transposing one operand would do."""
    if name not in ("dot", "matmul") or y.ndim != 2 or x.shape[-1] != y.shape[1]:
        return ""
    return " Write y.T for the second to sum over its last axis."
