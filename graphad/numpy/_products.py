"""Products of vectors and matrices in lanes, and those that no contraction says."""

from __future__ import annotations

from typing import Any

from graphad.numpy._indexing import diag
from graphad.numpy._joining import stack
from graphad.numpy._linear import matmul
from graphad.numpy._precision import in_float32
from graphad.numpy._shape import expand_dims, moveaxis, ravel, reshape
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, beside, canonical_axis, shape_text


def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The sum of products over one axis, the others broadcast.

    >>> import graphad.numpy as gnp
    >>> gnp.vecdot(gnp.ones((2, 3)), gnp.arange(3.0))
    Array([3., 3.], dtype=float32)
    """
    x, y = (_lanes("vecdot", v, axis) for v in (x1, x2))
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"{source.where()}vecdot got {x.shape[-1]} and {y.shape[-1]} elements along axis {axis}.")
    return matmul(expand_dims(x, -2), expand_dims(y, -1))[..., 0, 0]


def matvec(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Matrices times vectors, in lanes.

    >>> import graphad.numpy as gnp
    >>> gnp.matvec(gnp.ones((5, 2, 3)), gnp.ones((5, 3))).shape
    (5, 2)
    """
    return matmul(as_operand(x1, "matvec"), expand_dims(_lanes("matvec", x2), -1))[..., 0]


def vecmat(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Vectors times matrices, in lanes.

    >>> import graphad.numpy as gnp
    >>> gnp.vecmat(gnp.ones((5, 2)), gnp.ones((5, 2, 3))).shape
    (5, 3)
    """
    return matmul(expand_dims(_lanes("vecmat", x1), -2), as_operand(x2, "vecmat"))[..., 0, :]


def _lanes(name: str, x: ArrayLike, axis: int = -1) -> Any:
    """Vectors along the last axis."""
    operand = as_operand(x, name)
    if not operand.ndim:
        raise ValueError(f"{source.where()}{name} takes vectors, got a scalar. Write x * y for scalars.")
    return moveaxis(operand, canonical_axis(axis, operand.ndim, name), -1)


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
    x, y = _lanes("cross", a, axisa), _lanes("cross", b, axisb)
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


def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """The matrix with the flattened array on its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.diagflat(gnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    return diag(ravel(as_operand(v, "diagflat")), k)
