"""Diagonals and triangles of matrices."""

from __future__ import annotations

from typing import Any

from graphad.numpy._create.counting import counted
from graphad.numpy._elementwise.logic import where
from graphad.numpy._padding import pad
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.reshaping import ravel
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, dtype_and_weakness, shape_text


def diagonal(x: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The elements on a diagonal of two axes, along a new last axis.

    >>> import graphad.numpy as gnp
    >>> gnp.diagonal(gnp.arange(9).reshape(3, 3))
    Array([0, 4, 8], dtype=int32)
    """
    x = as_operand(x, "diagonal")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    first, count = (-offset * columns, rows + offset) if offset < 0 else (offset, columns - offset)
    count = max(min(count, rows, columns), 0)
    flat = x.reshape((*x.shape[:-2], rows * columns))
    return flat[..., first : first + count * (columns + 1) : columns + 1]


def diag(x: ArrayLike, k: int = 0) -> Array:
    """The ``k``-th diagonal of a matrix, or the matrix with this diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.diag(gnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    x = as_operand(x, "diag")
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"{source.where()}diag takes a vector or a matrix, got {shape_text(x)}.")
    n = x.shape[0] + abs(k)
    shifted = pad(x, (max(k, 0), max(-k, 0)))  # element j stands in column j
    return where(_diagonals(x, (n, n)) == k, shifted, _zero(x))


def diagflat(v: ArrayLike, k: int = 0) -> Array:
    """The matrix with the flattened array on its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.diagflat(gnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    return diag(ravel(as_operand(v, "diagflat")), k)


def trace(x: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of the elements on a diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.trace(gnp.eye(3))
    Array(3., dtype=float32)
    """
    return diagonal(x, offset, axis1, axis2).sum(-1)


def tril(x: ArrayLike, k: int = 0) -> Array:
    """The matrix with zeros above its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.tril(gnp.ones((2, 2)))
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    x = as_operand(x, "tril")
    return where(_above(x, "tril") <= k, x, _zero(x))


def triu(x: ArrayLike, k: int = 0) -> Array:
    """The matrix with zeros below its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.triu(gnp.ones((2, 2)))
    Array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    x = as_operand(x, "triu")
    return where(_above(x, "triu") < k, _zero(x), x)


def _above(x: Any, name: str) -> Any:
    """Of each element of matrices, the number of its diagonal."""
    if x.ndim < 2:
        raise ValueError(f"{source.where()}{name} takes matrices, got {shape_text(x)}.")
    return _diagonals(x, x.shape[-2:])


def _diagonals(like: Any, shape: tuple[int, ...]) -> Any:
    return counted(like, shape, 1) - counted(like, shape, 0)


def _zero(x: Any) -> Any:
    return dtype_and_weakness(x)[0].numpy.type(0)
