"""Norms of vectors and matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphad.numpy._elementwise.exponential import sqrt
from graphad.numpy._precision import in_float32, of_integers_in_float64
from graphad.numpy._reduce.extrema import max as max_
from graphad.numpy._reduce.extrema import min as min_
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.reshaping import expand_dims
from graphad.numpy._typing import ArrayLike, Axis
from graphad.numpy.linalg._decompositions import svdvals
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, canonical_axes, shape_text


@of_integers_in_float64
@in_float32
def norm(x: ArrayLike, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Array:  # noqa: A002
    """The norm of a vector (Euclidean, or the ``ord``-norm) or of a matrix (Frobenius, or that of `matrix_norm`).

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.norm(gnp.array([3.0, 4.0]))
    Array(5., dtype=float32)
    """
    x = as_float(x, "norm")
    if ord is None:
        return sqrt(sum_(x * x, axis, keepdims=keepdims))
    axes = canonical_axes(axis, x.ndim, "norm")
    if len(axes) == 1:
        return _of_vectors("norm", x, ord, axes, keepdims)
    if len(axes) == 2:
        return _of_matrices("norm", x, ord, axes, keepdims)
    raise ValueError(f"{source.where()}norm with ord={ord!r} takes a vector or a matrix; name one axis, or two.")


@of_integers_in_float64
@in_float32
def vector_norm(
    x: ArrayLike,
    /,
    *,
    axis: Axis = None,
    keepdims: bool = False,
    ord: Any = 2,  # noqa: A002
) -> Array:
    """The norms of the vectors along an axis; of several axes, or by default all, the elements are one vector.

    Parameters
    ----------
    ord
        A number p, for the p-th root of the sum of p-th powers; inf and -inf for the largest and the least magnitude,
        0 for the number of elements that are not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.vector_norm(gnp.array([[3.0, 4.0], [5.0, 12.0]]), axis=1)
    Array([ 5., 13.], dtype=float32)
    """
    x = as_float(x, "vector_norm")
    return _of_vectors("vector_norm", x, ord, canonical_axes(axis, x.ndim, "vector_norm"), keepdims)


@of_integers_in_float64
@in_float32
def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:  # noqa: A002
    """The norms of the matrices in the last two axes.

    Parameters
    ----------
    ord
        ``"fro"`` for the root of the sum of squares; 1 and -1 for the largest and the least sum of magnitudes of a
        column, inf and -inf for those of a row; 2, -2 and ``"nuc"`` for the largest and the least singular value, and
        their sum.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.matrix_norm(gnp.array([[1.0, -2.0], [3.0, 4.0]]), ord=gnp.inf)
    Array(7., dtype=float32)
    """
    x = as_float(x, "matrix_norm")
    if x.ndim < 2:
        raise ValueError(f"{source.where()}matrix_norm takes matrices, got {shape_text(x)}.")
    return _of_matrices("matrix_norm", x, ord, (x.ndim - 2, x.ndim - 1), keepdims)


def _of_vectors(name: str, x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:  # noqa: A002
    if ord is None or ord == 2:
        return sqrt(sum_(x * x, axes, keepdims=keepdims))
    if ord == math.inf:
        return _largest(abs(x), axes, keepdims)
    if ord == -math.inf:
        return min_(abs(x), axes, keepdims=keepdims)
    if ord == 0:
        return sum_(x != 0, axes, dtype=x.dtype, keepdims=keepdims)
    if ord == 1:
        return sum_(abs(x), axes, keepdims=keepdims)
    if isinstance(ord, str):
        remedy = f" Write {ord.replace('inf', 'graphad.numpy.inf')} without quotes." if ord in ("inf", "-inf") else ""
        raise ValueError(f"{source.where()}{name} of a vector takes a number as ord, got {ord!r}.{remedy}")
    return sum_(abs(x) ** ord, axes, keepdims=keepdims) ** (1.0 / ord)


def _of_matrices(name: str, x: Any, ord: Any, axes: Sequence[int], keepdims: bool) -> Any:  # noqa: A002
    if ord is None or ord in ("fro", "f"):
        return sqrt(sum_(x * x, axes, keepdims=keepdims))
    if ord in (2, -2, "nuc"):
        return _by_singular_values(x, ord, axes, keepdims)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(
            f"{source.where()}{name} of a matrix takes ord None, 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, got {ord!r}."
        )
    rows, columns = axes
    inner, last = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = sum_(abs(x), inner, keepdims=True)
    result = _largest(sums, (last,), True) if ord > 0 else min_(sums, last, keepdims=True)
    return result if keepdims else result.squeeze(axes)


def _largest(x: Any, axes: Sequence[int], keepdims: bool) -> Any:
    """The largest of magnitudes; of none, 0."""
    initial = None if all([x.shape[a] for a in axes]) else 0
    return max_(x, axes, keepdims=keepdims, initial=initial)


def _by_singular_values(x: Any, ord: Any, axes: Sequence[int], keepdims: bool) -> Any:  # noqa: A002
    """The largest singular value (2), the least (-2), or their sum ("nuc")."""
    values: Any = svdvals(moveaxis(x, axes, (-2, -1)))
    if ord == "nuc":
        result = sum_(values, -1)
    else:
        result = _largest(values, (values.ndim - 1,), False) if ord == 2 else min_(values, -1)
    return expand_dims(result, axes) if keepdims else result
