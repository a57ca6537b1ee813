"""Differences, slopes and areas of sampled functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.numpy._elementwise.arithmetic import remainder
from graphad.numpy._elementwise.comparison import not_equal
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import in_float32, of_integers_in_float64
from graphad.numpy._reduce.cumulative import cumsum
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import ravel
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    as_operands,
    beside,
    canonical_axes,
    canonical_axis,
    cast,
    dtype_and_weakness,
    result_type,
    shape_text,
    with_weak,
)


@in_float32
def diff(
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Array:
    """Each element minus the one before it along an axis, ``n`` times; of booleans, whether they differ.

    >>> import graphad.numpy as gnp
    >>> gnp.diff(gnp.array([1, 4, 9, 16]))
    Array([3, 5, 7], dtype=int32)
    """
    x = as_operand(a, "diff")
    if n < 0:
        raise ValueError(f"{source.where()}diff takes n >= 0, got {n}.")
    k = canonical_axis(axis, x.ndim, "diff")
    if n == 0:
        return x
    ends = [_end(v, x, k) for v in (prepend, append)]
    parts = [v for v in (ends[0], x, ends[1]) if v is not None]
    x = concatenate(parts, k) if len(parts) > 1 else x
    for _ in range(n):
        behind, before = _between(x, k, 1, None), _between(x, k, None, -1)
        x = not_equal(behind, before) if x.dtype == bool else behind - before
    return x


def _between(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    return x[(slice(None),) * axis + (slice(start, stop),)]


def _end(values: ArrayLike | None, x: Any, axis: int) -> Any:
    if values is None:
        return None
    _, v = beside("diff", x, values)
    return v if v.ndim else broadcast_to(v, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> Array:
    """The differences of the flattened array, with something put before and behind.

    >>> import graphad.numpy as gnp
    >>> gnp.ediff1d(gnp.array([1, 4, 9]), to_begin=0)
    Array([0, 3, 5], dtype=int32)
    """
    x = ravel(as_operand(ary, "ediff1d"))
    dtype, _ = dtype_and_weakness(x)
    ends = [None if v is None else ravel(cast(v, dtype, name="ediff1d")) for v in (to_begin, to_end)]
    parts = [v for v in (ends[0], diff(x), ends[1]) if v is not None]
    return concatenate(parts) if len(parts) > 1 else parts[0]


@of_integers_in_float64
@in_float32
def gradient(f: ArrayLike, *varargs: ArrayLike, axis: int | Sequence[int] | None = None, edge_order: int = 1) -> Any:
    """The slope along each axis: from neighbours on both sides, at the ends from one; a list for several axes.

    ``varargs`` is the spacing, one number for all axes, or for each axis a number or its coordinates. With
    ``edge_order=2`` the slopes at the ends are those of the parabola through the three outermost points.

    >>> import graphad.numpy as gnp
    >>> gnp.gradient(gnp.array([0.0, 1.0, 4.0]))
    Array([1., 2., 3.], dtype=float32)
    """
    x = as_float(f, "gradient")
    axes = canonical_axes(tuple(axis) if isinstance(axis, Sequence) else axis, x.ndim, "gradient")
    steps = list(as_operands("gradient", *varargs)) or [1.0]
    steps = steps * len(axes) if len(steps) == 1 else steps
    if len(steps) != len(axes):
        raise TypeError(f"{source.where()}gradient got {len(steps)} spacings for {len(axes)} axes: give one for each.")
    if edge_order not in (1, 2):
        raise ValueError(f"{source.where()}gradient takes edge_order=1 or 2, got {edge_order}.")
    slopes = [_slope(x, k, h, edge_order) for k, h in zip(axes, steps, strict=True)]
    return slopes[0] if len(axes) == 1 else slopes


def _slope(x: Any, k: int, spacing: Any, edge_order: int) -> Array:
    n = x.shape[k]
    if n < edge_order + 1:
        raise ValueError(
            f"{source.where()}gradient of {shape_text(x)}: axis {k} needs at least {edge_order + 1} elements."
        )
    x = moveaxis(x, k, -1)
    if not np.ndim(spacing):
        h: Any = None
        inner = (x[..., 2:] - x[..., :-2]) / (2.0 * spacing)
    else:
        if spacing.shape != (n,):
            raise ValueError(f"{source.where()}gradient got coordinates {shape_text(spacing)} for an axis of {n}.")
        h = diff(as_float(spacing, "gradient"))
        before, behind = h[:-1], h[1:]
        low, high = -behind / (before * (before + behind)), before / (behind * (before + behind))
        inner = low * x[..., :-2] + (behind - before) / (before * behind) * x[..., 1:-1] + high * x[..., 2:]

    def at_end(outer: int, next_one: int) -> Any:
        """The slope between the two outermost points; of order 2 carried on to the end by how it changes."""
        widths = [spacing if h is None else h[j] for j in (outer, next_one)[:edge_order]]
        slopes = [diff(x)[..., j, None] / w for j, w in zip((outer, next_one), widths, strict=False)]
        if edge_order == 1:
            return slopes[0]
        return slopes[0] + (slopes[0] - slopes[1]) * (widths[0] / (widths[0] + widths[1]))

    return with_weak(moveaxis(concatenate([at_end(0, 1), inner, at_end(-1, -2)], -1), -1, k), False)


@of_integers_in_float64
@in_float32
def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: ArrayLike = 1.0, axis: int = -1) -> Array:
    """The area under the points along an axis, at the places ``x`` or ``dx`` apart, joined by straight lines.

    >>> import graphad.numpy as gnp
    >>> gnp.trapezoid(gnp.array([1.0, 2.0, 3.0]), dx=2.0)
    Array(8., dtype=float32)
    """
    heights = as_float(y, "trapezoid")
    k = canonical_axis(axis, heights.ndim, "trapezoid")
    widths: Any = dx
    if x is not None:
        places = as_float(x, "trapezoid")
        wanted, _ = result_type(heights, places)
        heights, places = cast(heights, wanted), cast(places, wanted)
        widths = diff(places) if places.ndim == 1 else moveaxis(diff(places, axis=k), k, -1)
    rows = moveaxis(heights, k, -1)
    return with_weak(0.5 * sum_(widths * (rows[..., 1:] + rows[..., :-1]), -1), False)


@in_float32
def unwrap(
    p: ArrayLike, discont: ArrayLike | None = None, axis: int = -1, period: ArrayLike = 6.283185307179586
) -> Array:
    """The elements with multiples of ``period`` added so that neighbours differ by no more than half of it.

    Differences below ``discont`` stay as they are.

    >>> import graphad.numpy as gnp
    >>> gnp.unwrap(gnp.array([0, 1, 3, 0, 1]), period=4)
    Array([0, 1, 3, 4, 5], dtype=int32)
    """
    x = as_operand(p, "unwrap")
    whole = dtype_and_weakness(x)[0].is_integer and dtype_and_weakness(period)[0].is_integer
    x = x if whole else as_float(x, "unwrap")
    k = canonical_axis(axis, x.ndim, "unwrap")
    if x.shape[k] < 2:
        return x
    step = diff(x, axis=k)
    _, turn = beside("unwrap", x, period)
    half = turn // 2 if whole else turn / 2
    jump = remainder(step + half, period) - half
    jump = where((jump == -half) & (step > 0), half, jump)
    added = where(abs(step) < (half if discont is None else discont), 0, jump - step)
    rest = _between(x, k, 1, None) + cumsum(added, k)
    return with_weak(cast(concatenate([_between(x, k, None, 1), rest], k), dtype_and_weakness(x)[0]), False)
