"""Places in sorted arrays, and membership."""

from __future__ import annotations

from typing import Any

from graphad.numpy._create.filled import zeros_like
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import isnan, where
from graphad.numpy._shape.rearranging import flip
from graphad.numpy._shape.reshaping import ravel, reshape
from graphad.numpy._sort.sorting import sort
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, beside, cast, result_type, shape_text


def searchsorted(a: ArrayLike, v: ArrayLike, side: str = "left", sorter: ArrayLike | None = None) -> Array:
    """Where to put each of ``v`` into the sorted ``a``: before its equals (``side="left"``) or behind them.

    >>> import graphad.numpy as gnp
    >>> gnp.searchsorted(gnp.array([1, 3, 3, 5]), gnp.array([0, 3, 9]))
    Array([0, 1, 4], dtype=int32)
    """
    if side not in ("left", "right"):
        raise ValueError(f"{source.where()}searchsorted got side={side!r}; it takes 'left' and 'right'.")
    rows, x = beside("searchsorted", a, v)
    if rows.ndim != 1:
        raise ValueError(f"{source.where()}searchsorted got {shape_text(rows)} to search in; it takes one axis.")
    if sorter is not None:
        rows = rows[sorter]
    dtype, _ = result_type(rows, x)
    return places(cast(rows, dtype), cast(x, dtype), side == "left")


def places(rows: Any, x: Any, left: bool) -> Array:
    """By bisection: how many elements of ``rows`` come before each of ``x``, nan after all numbers."""
    n = rows.shape[0]
    low: Any = zeros_like(x, int)
    for bit in reversed(range(n.bit_length())):
        probe = low + (1 << bit)
        element = rows[clip(probe - 1, 0, n - 1)]
        before = (element < x) | (isnan(x) & ~isnan(element)) if left else ~(x < element) & (isnan(x) | ~isnan(element))
        low = where((probe <= n) & before, probe, low)
    return low


def digitize(x: ArrayLike, bins: ArrayLike, right: bool = False) -> Array:
    """The number of the bin of each element, from 0 for what is below all ``bins``, which rise or fall.

    >>> import graphad.numpy as gnp
    >>> gnp.digitize(gnp.array([0.5, 2.5]), gnp.array([0.0, 1.0, 2.0]))
    Array([1, 3], dtype=int32)
    """
    edges = as_operand(bins, "digitize")
    if edges.ndim != 1:
        raise ValueError(f"{source.where()}digitize got bins {shape_text(edges)}; it takes one axis.")
    side = "left" if right else "right"
    rising = searchsorted(edges, x, side)
    if edges.shape[0] < 2:
        return rising
    # In rising order the edge of a bin belongs to the same side of it: the bin that is closed there is the same.
    falling = edges.shape[0] - searchsorted(flip(edges), x, side)
    return where(edges[-1] >= edges[0], rising, falling)


#: So many elements are compared one by one; more are sorted, lest time and memory grow with the product of the sizes.
_FEW = 8


def isin(element: ArrayLike, test_elements: ArrayLike, assume_unique: bool = False, invert: bool = False) -> Array:
    """Whether each element is among ``test_elements``.

    >>> import graphad.numpy as gnp
    >>> gnp.isin(gnp.arange(4), gnp.array([1, 3]))
    Array([False,  True, False,  True], dtype=bool)
    """
    del assume_unique  # it makes no difference here
    x, tested = beside("isin", element, test_elements)
    tested = ravel(tested)
    found = _is_among(x, tested) if tested.size > _FEW else (reshape(x, (*x.shape, 1)) == tested).any(-1)
    return ~found if invert else found


def _is_among(x: Any, tested: Any) -> Any:
    """By bisection: the first of the sorted elements that is not less is equal."""
    dtype, _ = result_type(x, tested)
    x, rows = cast(x, dtype), sort(cast(tested, dtype))
    return rows[clip(places(rows, x, left=True), 0, rows.shape[0] - 1)] == x
