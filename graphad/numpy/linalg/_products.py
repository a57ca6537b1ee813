"""Products of vectors and matrices, nearly all by way of `dot_general`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.ir.types import b1
from graphad.numpy._precision import in_float32
from graphad.numpy._shape.axes import moveaxis, transpose
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.joining import stack
from graphad.numpy._shape.reshaping import expand_dims, ravel, reshape
from graphad.numpy._typing import ArrayLike
from graphad.primitives.contract import dot_general
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    broadcast_shapes,
    canonical_axes,
    canonical_axis,
    cast,
    default_int,
    result_type,
    shape_text,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Products that `dot_general` says


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
    if x.ndim <= 2:  # the batch axes are all of y's: they come last in the product, and go in front
        product = contract(x, y, (left,), (right,))
        rows = x.ndim - 1
        batch_axes = y.ndim - 2
        return transpose(product, (*range(rows, rows + batch_axes), *range(rows), rows + batch_axes))
    batch_shape = broadcast_shapes((x.shape[:-2], y.shape[:-2]), "matmul")
    x, y = broadcast_to(x, batch_shape + x.shape[-2:]), broadcast_to(y, batch_shape + y.shape[-2:])
    both = tuple(range(len(batch_shape)))
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


# ---------------------------------------------------------------------------------------------------------------------
# Products over batch axes


def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The sum of products over one axis, the others broadcast.

    >>> import graphad.numpy as gnp
    >>> gnp.vecdot(gnp.ones((2, 3)), gnp.arange(3.0))
    Array([3., 3.], dtype=float32)
    """
    x, y = (_vectors("vecdot", v, axis) for v in (x1, x2))
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"{source.where()}vecdot got {x.shape[-1]} and {y.shape[-1]} elements along axis {axis}.")
    return matmul(expand_dims(x, -2), expand_dims(y, -1))[..., 0, 0]


def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Matrices times vectors, over broadcast batch axes.

    >>> import graphad.numpy as gnp
    >>> gnp.matvec(gnp.ones((5, 2, 3)), gnp.ones((5, 3))).shape
    (5, 2)
    """
    return matmul(as_operand(x1, "matvec"), expand_dims(_vectors("matvec", x2), -1))[..., 0]


def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Vectors times matrices, over broadcast batch axes.

    >>> import graphad.numpy as gnp
    >>> gnp.vecmat(gnp.ones((5, 2)), gnp.ones((5, 2, 3))).shape
    (5, 3)
    """
    return matmul(expand_dims(_vectors("vecmat", x1), -2), as_operand(x2, "vecmat"))[..., 0, :]


def _vectors(name: str, x: ArrayLike, axis: int = -1) -> Any:
    """Vectors along the last axis."""
    operand = as_operand(x, name)
    if not operand.ndim:
        raise ValueError(f"{source.where()}{name} takes vectors, got a scalar. Write x * y for scalars.")
    return moveaxis(operand, canonical_axis(axis, operand.ndim, name), -1)


# ---------------------------------------------------------------------------------------------------------------------
# Products that no contraction says


@in_float32
def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """The vector at right angles to two vectors of 3 elements; of 2 elements, the area between them.

    >>> import graphad.numpy as gnp
    >>> gnp.cross(gnp.array([1, 0, 0]), gnp.array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = _vectors("cross", a, axisa), _vectors("cross", b, axisb)
    if x.shape[-1] not in (2, 3) or y.shape[-1] not in (2, 3):
        raise ValueError(
            f"{source.where()}cross got {shape_text(x)} and {shape_text(y)}: it takes vectors of 2 or 3 elements."
        )
    x1, x2, y1, y2 = x[..., 0], x[..., 1], y[..., 0], y[..., 1]
    third = x1 * y2 - x2 * y1
    if x.shape[-1] == y.shape[-1] == 2:
        return third
    x3 = x[..., 2] if x.shape[-1] == 3 else x1 * 0
    y3 = y[..., 2] if y.shape[-1] == 3 else y1 * 0
    return stack([x2 * y3 - x3 * y2, x3 * y1 - x1 * y3, third], axisc)


def kron(a: ArrayLike, b: ArrayLike) -> Array:
    """The Kronecker product: ``b`` once for each element of ``a``, multiplied by it.

    >>> import graphad.numpy as gnp
    >>> gnp.kron(gnp.array([1, 10]), gnp.array([1, 2]))
    Array([ 1,  2, 10, 20], dtype=int32)
    """
    x, y = beside("kron", a, b)
    ndim = max(x.ndim, y.ndim)
    left, right = ((1,) * (ndim - v.ndim) + v.shape for v in (x, y))
    x = reshape(x, [n for size in left for n in (size, 1)])
    y = reshape(y, [n for size in right for n in (1, size)])
    return reshape(x * y, [m * n for m, n in zip(left, right, strict=True)])
