"""Places in sorted arrays, membership, and what is interpolated between known points."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from graphad.numpy._arithmetic import clip, remainder
from graphad.numpy._creation import zeros_like
from graphad.numpy._joining import concatenate
from graphad.numpy._logic import isnan, where
from graphad.numpy._precision import in_float32
from graphad.numpy._shape import flip, ravel, reshape
from graphad.numpy._sorting import argsort, sort
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_floats,
    as_operand,
    beside,
    canonical_axis,
    cast,
    dtype_and_weakness,
    result_type,
    shape_text,
    with_weak,
)

#: So many elements are compared one by one; more are sorted, lest time and memory grow with the product of the sizes.
_FEW = 8


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
    return _places(cast(rows, dtype), cast(x, dtype), side == "left")


def _places(rows: Any, x: Any, left: bool) -> Array:
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
    return rows[clip(_places(rows, x, left=True), 0, rows.shape[0] - 1)] == x


#: A position in the sorted array, or several.
Kth = int | Sequence[int]


def partition(a: ArrayLike, kth: Kth, axis: int | None = -1) -> Array:
    """The elements with none greater before position ``kth`` and none smaller behind it; here, sorted.

    >>> import graphad.numpy as gnp
    >>> gnp.partition(gnp.array([3, 1, 2]), 1)
    Array([1, 2, 3], dtype=int32)
    """
    _check_place("partition", a, kth, axis)
    return sort(a, axis)


def argpartition(a: ArrayLike, kth: Kth, axis: int | None = -1) -> Array:
    """The positions that `partition` takes the elements from.

    >>> import graphad.numpy as gnp
    >>> gnp.argpartition(gnp.array([3, 1, 2]), 1)
    Array([1, 2, 0], dtype=int32)
    """
    _check_place("argpartition", a, kth, axis)
    return argsort(a, axis)


def _check_place(name: str, a: ArrayLike, kth: Kth, axis: int | None) -> None:
    x = as_operand(a, name)
    size = x.size if axis is None else x.shape[canonical_axis(axis, x.ndim, name)]
    for k in kth if isinstance(kth, Sequence) else (kth,):
        if not -size <= operator.index(k) < size:
            raise ValueError(f"{source.where()}{name} got kth={k} for {size} elements: there is no such position.")


@in_float32
def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
    period: ArrayLike | None = None,
) -> Array:
    """The piecewise linear function through the points ``(xp, fp)``, with ``xp`` rising, at ``x``.

    Outside it is ``left`` and ``right``, by default the values at the ends; with ``period`` it is repeated instead.

    >>> import graphad.numpy as gnp
    >>> gnp.interp(gnp.array([0.5, 3.0]), gnp.array([0.0, 1.0, 2.0]), gnp.array([0.0, 10.0, 20.0]))
    Array([ 5., 20.], dtype=float32)
    """
    at, knots, values = as_floats("interp", x, xp, fp)
    if knots.ndim != 1 or knots.shape != values.shape or not knots.shape[0]:
        raise ValueError(
            f"{source.where()}interp got points {shape_text(knots)} and {shape_text(values)}; it takes two arrays of "
            "one axis and of the same size, at least 1."
        )
    if period is not None:
        at, knots, values = _repeated(at, knots, values, period)
    i = clip(_places(knots, at, left=False), 1, max(knots.shape[0] - 1, 1))
    step = knots[i] - knots[i - 1]
    flat = step == 0  # behind the last of several points at one place, before the first, or there is but one
    share = where(flat & (at == at), at >= knots[i], (at - knots[i - 1]) / where(flat, 1, step))
    result = values[i - 1] + share * (values[i] - values[i - 1])
    if period is None:
        result = where(at < knots[0], values[0] if left is None else left, result)
        result = where(at > knots[-1], values[-1] if right is None else right, result)
    return with_weak(cast(result, dtype_and_weakness(values)[0]), False)


def _repeated(at: Any, knots: Any, values: Any, period: ArrayLike) -> tuple[Any, Any, Any]:
    """Everything within one period, with a point added before the first and behind the last."""
    at, knots = remainder(at, period), remainder(knots, period)
    order = argsort(knots)
    knots, values = knots[order], values[order]
    return (
        at,
        concatenate([knots[-1:] - period, knots, knots[:1] + period]),
        concatenate([values[-1:], values, values[:1]]),
    )
