"""Histograms: how many elements are in each bin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.ir.types import f64
from graphad.numpy._create.filled import full, zeros
from graphad.numpy._create.ranges import linspace
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import wide
from graphad.numpy._reduce.extrema import max as max_
from graphad.numpy._reduce.extrema import min as min_
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import ravel, reshape
from graphad.numpy._sort.searching import searchsorted
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_operand, cast, default_int, dtype_and_weakness, float_for, shape_text
from graphad.trace.tracer import Tracer

#: The least and the greatest value that counts; None for those of the elements.
Range = Sequence[ArrayLike] | None


def bincount(x: ArrayLike, weights: ArrayLike | None = None, minlength: int = 0, *, length: int | None = None) -> Array:
    """How often each of 0, 1, 2, ... occurs, or the sum of the weights where it does.

    The length of the result is ``length``; without it that of the greatest element, which must then be known: in
    compiled functions ``length`` is needed. Negative elements count as 0, those beyond the length are left out.

    >>> import graphad.numpy as gnp
    >>> gnp.bincount(gnp.array([1, 1, 3]))
    Array([0, 2, 0, 1], dtype=int32)
    >>> gnp.bincount(gnp.array([1, 1, 3]), gnp.array([0.5, 0.25, 2.0]))
    Array([0.  , 0.75, 0.  , 2.  ], dtype=float32)
    """
    found = as_operand(x, "bincount")
    dtype, _ = dtype_and_weakness(found)
    if not (dtype.is_integer or dtype.kind == "b") or found.ndim != 1:
        raise TypeError(f"{source.where()}bincount got {shape_text(found)}; it takes integers along one axis.")
    if length is None:
        if isinstance(found, Tracer):
            raise TypeError(
                f"{source.where()}bincount of a traced array has no known length. Write bincount(x, length=n)."
            )
        length = max(int(np.asarray(found).max()) + 1 if found.size else 0, minlength)
    counted = clip(cast(found, default_int()), 0, None)
    added = full(found.shape, 1, int) if weights is None else as_operand(weights, "bincount")
    if added.shape != found.shape:
        raise ValueError(
            f"{source.where()}bincount got {shape_text(found)} and weights {shape_text(added)}: give one for each."
        )
    counts = zeros(length, added.dtype)
    return counts.at[counted].add(added) if length else counts


def histogram_bin_edges(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: Range = None,  # noqa: A002
    weights: ArrayLike | None = None,
) -> Array:
    """The edges of ``bins`` equal bins from the least to the greatest element, or over ``range``; ``bins`` if an array.

    >>> import graphad.numpy as gnp
    >>> gnp.histogram_bin_edges(gnp.array([0.0, 4.0]), bins=2)
    Array([0., 2., 4.], dtype=float32)
    """
    del weights  # they move no edge
    x = ravel(as_operand(a, "histogram"))
    edges, equal = _edges(x, bins, range)
    return _of_points(edges, x) if equal else edges


def _of_points(edges: Any, points: Any) -> Any:
    """``edges`` in the dtype in which they are given out."""
    return cast(edges, float_for(dtype_and_weakness(points)[0]))


def _binned(x: Any) -> Any:
    """``x`` as it is compared with edges: integers in float64, as by NumPy, so that none changes its bin."""
    return x if dtype_and_weakness(x)[0].is_float else cast(x, f64)


def _edges(x: Any, bins: ArrayLike, range: Range) -> tuple[Any, bool]:  # noqa: A002
    """The edges that `_binned` elements are compared with, and whether they are of equal bins."""
    if isinstance(bins, str):
        raise ValueError(
            f"{source.where()}histogram got bins={bins!r}: how many bins that gives depends on values. Give the number."
        )
    given = as_operand(bins, "histogram")
    if given.ndim == 1:
        return given, False
    x = _binned(x)
    ends = (min_(x), max_(x)) if range is None and x.size else range or (0.0, 1.0)
    low, high = (cast(v, dtype_and_weakness(x)[0]) for v in ends)
    same = low == high
    low, high = where(same, low - 0.5, low), where(same, high + 0.5, high)
    return linspace(low, high, int(given) + 1), True


def histogram(
    a: ArrayLike,
    bins: ArrayLike = 10,
    range: Range = None,  # noqa: A002
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, Array]:
    """How many elements are in each bin, and the edges of the bins; the last bin has both its edges.

    >>> import graphad.numpy as gnp
    >>> gnp.histogram(gnp.array([1.0, 2.0, 4.0]), bins=3)
    (Array([1., 1., 1.], dtype=float32), Array([1., 2., 3., 4.], dtype=float32))
    """
    x = ravel(as_operand(a, "histogram"))
    added = None if weights is None else ravel(as_float(weights, "histogram"))
    counted, edges = histogramdd(x[:, None], [bins], None if range is None else [range], added, density)
    if added is None:  # counted as integers, given as floats: as by JAX
        counted = cast(counted, float_for(dtype_and_weakness(x)[0]))
    return counted, edges[0]


def histogram2d(
    x: ArrayLike,
    y: ArrayLike,
    bins: Any = 10,
    range: Sequence[Range] | None = None,  # noqa: A002
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, Array, Array]:
    """How many of the points ``(x, y)`` are in each bin, and the edges along x and y.

    >>> import graphad.numpy as gnp
    >>> gnp.histogram2d(gnp.array([0.0, 1.0]), gnp.array([0.0, 1.0]), bins=2)[0]
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    first, second = as_operand(x, "histogram2d"), as_operand(y, "histogram2d")
    points = concatenate([reshape(first, (-1, 1)), reshape(second, (-1, 1))], 1)
    each = list(bins) if isinstance(bins, (list, tuple)) and len(bins) == 2 else [bins, bins]
    counted, (along_x, along_y) = histogramdd(points, each, range, weights, density)
    return counted, along_x, along_y


def histogramdd(
    sample: ArrayLike,
    bins: Any = 10,
    range: Sequence[Range] | None = None,  # noqa: A002
    weights: ArrayLike | None = None,
    density: bool | None = None,
) -> tuple[Array, list[Array]]:
    """How many of the points, which are the rows of ``sample``, are in each bin, and the edges along each axis.

    >>> import graphad.numpy as gnp
    >>> counted, edges = gnp.histogramdd(gnp.zeros((5, 3)), bins=2)
    >>> counted.shape, counted.sum()
    ((2, 2, 2), Array(5, dtype=int32))
    """
    points = as_operand(sample, "histogramdd")
    if points.ndim != 2:
        raise ValueError(f"{source.where()}histogramdd got {shape_text(points)}; it takes one row for each point.")
    count, ndim = points.shape
    axes = tuple(np.arange(ndim).tolist())
    each = list(bins) if isinstance(bins, (list, tuple)) else [bins] * ndim
    ranges: Sequence[Range] = [None] * ndim if range is None else range
    if len(each) != ndim or len(ranges) != ndim:
        raise ValueError(f"{source.where()}histogramdd takes {ndim} bins and ranges for points of {ndim} coordinates.")
    columns = [points[:, k] for k in axes]
    made = [_edges(x, b, r) for x, b, r in zip(columns, each, ranges, strict=True)]
    edges = [e for e, _ in made]
    added = full(count, 1, int) if weights is None else as_operand(weights, "histogramdd")
    if added.shape != (count,):
        raise ValueError(f"{source.where()}histogram got weights {shape_text(added)} for {count} points: one for each.")
    wanted = dtype_and_weakness(added)[0]
    added = cast(added, wide(wanted))
    sizes = [e.shape[0] - 1 for e in edges]
    place: Any = 0
    for x, e, n in zip(map(_binned, columns), edges, sizes, strict=True):
        k = where(x == e[-1], n - 1, searchsorted(e, x, "right") - 1)
        added = where((x >= e[0]) & (x <= e[-1]), added, 0)
        place = place * n + clip(k, 0, n - 1)
    cells = int(np.prod(sizes))
    counted = reshape(zeros(cells, added.dtype).at[place].add(added), sizes)
    if density:
        counted = counted / sum_(counted)
        for k, e in enumerate(edges):
            widths = cast(e[1:] - e[:-1], wide(float_for(dtype_and_weakness(points)[0])))
            counted = counted / reshape(widths, [-1 if j == k else 1 for j in axes])
    counted = cast(counted, wanted) if wide(wanted) is not wanted else counted
    return counted, [_of_points(e, points) if equal else e for e, equal in made]
