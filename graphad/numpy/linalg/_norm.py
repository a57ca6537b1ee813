"""Norms of vectors and matrices."""

from __future__ import annotations

import math
from typing import Any

from graphad.numpy._elementwise.exponential import sqrt
from graphad.numpy._precision import in_float32, of_integers_in_float64
from graphad.numpy._reduce.extrema import max as max_
from graphad.numpy._reduce.extrema import min as min_
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._typing import ArrayLike, Axis
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, canonical_axes


@of_integers_in_float64
@in_float32
def norm(x: ArrayLike, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Array:  # noqa: A002
    """The norm of a vector (Euclidean, or the ``ord``-norm) or of a matrix (Frobenius, 1, -1, inf, -inf).

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.norm(gnp.array([3.0, 4.0]))
    Array(5., dtype=float32)
    """
    x = as_float(x, "norm")
    if ord is None:
        return sqrt(sum_(x * x, axis, keepdims=keepdims))
    axes = canonical_axes(axis, x.ndim, "norm")
    if len(axes) == 1:
        return _vector_norm(x, ord, axes[0], keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, ord, axes, keepdims)
    raise ValueError(f"{source.where()}norm with ord={ord!r} takes a vector or a matrix; name one axis, or two.")


def _vector_norm(x: Any, ord: Any, axis: int, keepdims: bool) -> Any:  # noqa: A002
    if ord == 2:
        return sqrt(sum_(x * x, axis, keepdims=keepdims))
    if ord == math.inf:
        return max_(abs(x), axis, keepdims=keepdims)
    if ord == -math.inf:
        return min_(abs(x), axis, keepdims=keepdims)
    if ord == 0:
        return sum_(x != 0, axis, dtype=x.dtype, keepdims=keepdims)
    if ord == 1:
        return sum_(abs(x), axis, keepdims=keepdims)
    if isinstance(ord, str):
        raise ValueError(f"{source.where()}norm of a vector takes a number as ord, got {ord!r}.")
    return sum_(abs(x) ** ord, axis, keepdims=keepdims) ** (1.0 / ord)


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:  # noqa: A002
    if ord == "fro":
        return sqrt(sum_(x * x, axes, keepdims=keepdims))
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(
            f"{source.where()}norm of a matrix takes ord None, 'fro', 1, -1, inf or -inf, got {ord!r}: "
            "the others need singular values."
        )
    rows, columns = axes
    inner, last = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = sum_(abs(x), inner, keepdims=True)
    result = (max_ if ord > 0 else min_)(sums, last, keepdims=True)
    return result if keepdims else result.squeeze(axes)
