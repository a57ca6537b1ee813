"""Numbers, slices and values of the turns of a loop, put together in arrays whose leading axis is that of the turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, literal
from graphad.primitives.elementwise import add, div, mul
from graphad.primitives.layout import broadcast, moved_to_front, positions, reshape
from graphad.primitives.shape import concatenate, rev, slice_


def stacked(values: Sequence[Ref]) -> Ref:
    """Values of one type, in one array."""
    return joined([reshape(x, shape=(1, *x.shape)) for x in values])


def joined(parts: Sequence[Ref]) -> Ref:
    """Arrays, one after the other along the first axis."""
    return parts[0] if len(parts) == 1 else concatenate(*parts, axis=0)


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def stacked_literals(builder: Builder, numbers: Sequence[Literal]) -> Ref:
    """Numbers as an array: computed of their positions where that gives the same bits, else written out."""
    found = _affine(builder, numbers)
    if found is not None:
        return found
    runs: list[tuple[Literal, int]] = []
    for number in numbers:
        if runs and runs[-1][0] is number:
            runs[-1] = number, runs[-1][1] + 1
        else:
            runs.append((number, 1))
    return joined([broadcast(Ref(builder, number), shape=(n,), dims=()) for number, n in runs])


def _affine(builder: Builder, numbers: Sequence[Literal]) -> Ref | None:
    """The numbers computed of the turns ``t``: integers as ``t b + a``, floats as ``(t + a) b`` or ``(t + a) / b``."""
    dtype, n = numbers[0].dtype, len(numbers)
    values = np.array([x.value for x in numbers], dtype.numpy)
    if dtype.is_integer:
        with np.errstate(over="ignore"):
            step = values[1] - values[0]
            same = np.array_equal(values[0] + np.arange(n).astype(dtype.numpy) * step, values)
        if not same:
            return None
        return add(mul(positions(builder, (n,), 0, dtype), literal(step, dtype)), numbers[0])
    if dtype.bits < 32 or not dtype.is_float or not np.all(np.isfinite(values)):
        return None
    magnitude = np.abs(values[values != 0])
    if magnitude.min(initial=1) < np.finfo(dtype.numpy).tiny or values[1] == values[0]:
        return None  # programs may take denormal numbers for zero
    turns = np.arange(n).astype(dtype.numpy)
    number = dtype.numpy.type
    step = values[1] - values[0]
    begin = number(np.round(values[0] / step))
    scale = values[0] / begin if begin else step
    parts = number(np.round(1 / step))
    t = positions(builder, (n,), 0, dtype)
    with np.errstate(all="ignore"):
        if _same_bits((turns + begin) * scale, values):
            return mul(add(t, literal(begin, dtype)), literal(scale, dtype))
        if parts and _same_bits((turns + begin) / parts, values):
            return div(add(t, literal(begin, dtype)), literal(parts, dtype))
    return None


def _same_bits(x: Any, y: Any) -> bool:
    word = f"u{x.itemsize}"
    return np.array_equal(x.view(word), y.view(word))


# ---------------------------------------------------------------------------------------------------------------------
# Slices of one array


def stacked_slices(x: Ref, starts: Sequence[tuple[int, ...]], params: tuple[Any, ...], a: Aval) -> Ref:
    """Slices of ``x`` of the type ``a`` that begin at ``starts`` and are else as ``params``."""
    start, stop, step = params
    begins = np.array(starts, np.int64)
    strides = np.diff(begins, axis=0)
    axes = np.flatnonzero(strides.any(axis=0)).tolist()
    sizes = tuple([b - c for b, c in zip(stop, start, strict=True)])
    if len(axes) == 1 and (strides == strides[0]).all():
        found = _along(x, begins, axes[0], sizes, step, a)
        if found is not None:
            return found
    ends = [tuple([b + n for b, n in zip(s, sizes, strict=True)]) for s in starts]
    return stacked([slice_(x, start=s, stop=e, step=step) for s, e in zip(starts, ends, strict=True)])


def _along(x: Ref, begins: Any, axis: int, sizes: tuple[int, ...], step: tuple[int, ...], a: Aval) -> Ref | None:
    """Slices that follow each other along one axis: a view."""
    n, extent = len(begins), a.shape[axis]
    stride = int(begins[1, axis] - begins[0, axis])
    by = abs(stride)
    if extent != 1 and (step[axis] != 1 or by != extent):
        return None
    low = begins.min(axis=0).tolist()
    high = [b + size for b, size in zip(low, sizes, strict=True)]
    high[axis] = low[axis] + (n - 1) * by + (1 if extent == 1 else extent)
    part = slice_(
        x, start=tuple(low), stop=tuple(high), step=(*step[:axis], by if extent == 1 else 1, *step[axis + 1 :])
    )
    part = reshape(part, shape=(*part.shape[:axis], n, extent, *part.shape[axis + 1 :]))
    if stride < 0:
        part = rev(part, axes=(axis,))
    return moved_to_front(part, axis)
