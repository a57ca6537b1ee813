"""Indexing as in NumPy: parsing of indices, reads and writes.

`parse` turns any index into an `Index`: one entry per axis of the array, and the order of the result's axes. Slices and
constants are read by `slice`, everything else by `gather`; writes are scatters.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1, i32, i64, u32
from graphad.primitives.cast import convert
from graphad.primitives.comparison import lt, select
from graphad.primitives.elementwise import add
from graphad.primitives.indexing import gather
from graphad.primitives.layout import reshape, transpose
from graphad.primitives.shape import concatenate, rev, slice_
from graphad.trace.array import Array, to_array
from graphad.trace.semantics import broadcast_shapes, broadcast_to, shape_text, with_weak
from graphad.trace.source import where
from graphad.trace.tracer import Tracer

NEW: Final = -1  # in `Index.layout`: an axis of size 1
ARRAYS: Final = -2  # in `Index.layout`: the axes of the index arrays


class Truth(NamedTuple):
    """True or False as an index: a mask without axes. It gives a new axis, of size 1 or 0, and is an index array."""

    size: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size,)


class Index(NamedTuple):
    """An index, resolved for an array of known shape.

    Attributes
    ----------
    axes
        Per axis of the array: an int, a range, or an integer array (an Array or Tracer, all of one shape).
    layout
        What the result's axes are: axes of the array that have a range, `NEW`, and `ARRAYS` once if there are arrays.
    array_shape
        The shape of the index arrays.
    """

    axes: tuple[Any, ...]
    layout: tuple[int, ...]
    array_shape: tuple[int, ...]

    @property
    def has_arrays(self) -> bool:
        return ARRAYS in self.layout

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what is read."""
        sizes: list[int] = []
        for k in self.layout:
            sizes.extend((1,) if k == NEW else self.array_shape if k == ARRAYS else (len(self.axes[k]),))
        return tuple(sizes)


# ---------------------------------------------------------------------------------------------------------------------
# Parsing


def parse(index: Any, x: Any, checked: bool = True) -> Index:
    """Resolve ``index`` for the array ``x``. Unless ``checked``, integers may be out of range, as index arrays may.

    Raises
    ------
    IndexError
        For too many indices, and for Python integers out of range.
    TypeError
        For what is no index, and for masks without known values.
    """
    if type(index) is int and x.ndim and -x.shape[0] <= index < x.shape[0]:
        return _element(index, x.shape)
    items = [_entry(item) for item in (index if type(index) is tuple else (index,))]
    used = sum([_consumed(item) for item in items])
    if used > x.ndim:
        raise IndexError(f"{where()}too many indices: {shape_text(x)} has {x.ndim} axes, got {used} indices.")
    ellipses = [k for k, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise IndexError(f"{where()}an index can have one ellipsis (...), got {len(ellipses)}.")
    at = ellipses[0] if ellipses else len(items)
    items[at : at + 1] = [slice(None)] * (x.ndim - used)

    entries: list[Any] = []  # None for a new axis, else one per axis of x
    axis = 0
    for item in items:
        entries.extend([None] if item is None else _resolve(item, x, axis, checked))
        axis += _consumed(item)
    shapes = [e.shape for e in entries if isinstance(e, (Array, Truth))]
    array_shape = broadcast_shapes(shapes, "the index") if shapes else ()
    axes = [e for e in entries if e is not None and type(e) is not Truth]
    axes = [broadcast_to(a, array_shape) if isinstance(a, Array) else a for a in axes]
    return Index(tuple(axes), _layout(entries, bool(shapes)), array_shape)


@lru_cache(maxsize=1024)  # loops over the elements of a vector ask for the same few again and again
def _element(index: int, shape: tuple[int, ...]) -> Index:
    """One integer within range, along the first axis."""
    return Index((index % shape[0], *map(range, shape[1:])), tuple(range(1, len(shape))), ())


def _entry(item: Any) -> Any:
    """One entry of an index as None, an ellipsis, an int, a slice, or an array of integers or booleans."""
    if item is None or item is Ellipsis or type(item) is int or type(item) is slice:
        return item
    if isinstance(item, (bool, np.bool_)):
        item = np.asarray(item)
    if isinstance(item, (list, tuple)):
        raise TypeError(f"{where()}a {type(item).__name__} is no index: write x[graphad.numpy.array({item!r})].")
    if isinstance(item, Array):
        array = item
    elif isinstance(item, np.ndarray):
        array = to_array(item)
    else:
        try:
            return operator.index(item)
        except TypeError:
            raise TypeError(
                f"{where()}{item!r} is no index: it takes integers, slices, ..., None, and integer or bool arrays."
            ) from None
    if array.aval.dtype.is_float:
        raise TypeError(f"{where()}{shape_text(array)} is no index. Write x[i.astype(int)] for an array of positions.")
    return array


def _is_mask(item: Any) -> bool:
    return isinstance(item, Array) and item.aval.dtype is b1


def _consumed(item: Any) -> int:
    """How many axes an entry consumes."""
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if _is_mask(item) else 1


def _resolve(item: Any, x: Any, axis: int, checked: bool) -> list[Any]:
    """Resolve an entry for ``axis``, and for those after it if it is a mask."""
    if _is_mask(item):
        return _positions(item, x, axis)
    n = x.shape[axis]
    if type(item) is slice:
        bounds = [None if v is None else operator.index(v) for v in (item.start, item.stop, item.step)]
        if bounds[2] == 0:
            raise ValueError(f"{where()}the step of a slice cannot be zero.")
        return [range(*slice(*bounds).indices(n))]
    if type(item) is int:
        if -n <= item < n:
            return [item % n]
        if checked:
            raise IndexError(f"{where()}index {item} is out of range for axis {axis} of {shape_text(x)}, of size {n}.")
        return [Array(np.asarray(n if item > 0 else -1, np.int64 if n >= 2**31 else np.int32))]
    return [wrapped(item, n)]


def _positions(mask: Any, x: Any, axis: int) -> list[Any]:
    """Where a mask holds: an array of positions for each of its axes."""
    if isinstance(mask, Tracer):
        raise TypeError(
            f"{where()}a traced mask of type {mask.aval} has no known number of true elements, so x[mask] has no "
            "shape. Write graphad.numpy.where(mask, x, 0), or x.at[mask].set(number)."
        )
    if not mask.ndim:
        return [Truth(int(mask._value))]
    if x.shape[axis : axis + mask.ndim] != mask.shape:
        raise IndexError(
            f"{where()}a mask of shape {mask.shape} does not fit {shape_text(x)} from axis {axis} on: "
            "sizes must be equal."
        )
    return [Array(p) for p in np.nonzero(mask._value)]


def wrapped(indices: Any, n: int) -> Any:
    """Integers as positions: negative ones count from the end."""
    dtype = indices.aval.dtype
    wide = i64 if dtype.bits == 64 or dtype is u32 else i32
    if dtype is not wide:
        indices = convert(indices, dtype=wide)
    return indices if dtype.kind == "u" else select(lt(indices, 0), add(indices, n), indices)


def _layout(entries: list[Any], has_arrays: bool) -> tuple[int, ...]:
    """The order of the result's axes.

    The axes of the index arrays are where the arrays are; in front, if slices or None come between these. If there are
    arrays, integers count as arrays (NumPy's rule).
    """
    layout: list[int] = []
    blocks: list[int] = []  # where in the layout index arrays or integers stand
    axis = 0
    for entry in entries:
        if entry is None:
            layout.append(NEW)
            continue
        if type(entry) is Truth:
            blocks.append(len(layout))
            continue
        if type(entry) is range:
            layout.append(axis)
        else:
            blocks.append(len(layout))
        axis += 1
    if has_arrays:
        layout.insert(blocks[0] if len(set(blocks)) == 1 else 0, ARRAYS)
    return tuple(layout)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(x: Any, index: Index, mode: str = "clip") -> Array:
    """``x[index]``. Where index arrays reach out of range: ``clip`` reads the nearest element, ``fill`` nan."""
    weak, shape = x.weak_type, index.shape
    x = _sliced(x, index)
    if index.has_arrays:
        x = _gathered(x, index, mode)
    if x.shape != shape:
        x = reshape(x, shape=shape)
    return with_weak(x, weak)


def _gathered(x: Any, index: Index, mode: str) -> Any:
    """What the arrays of the index read of ``x``, which is cut to the rest of it."""
    constant = [type(a) is int for a in index.axes]
    if any(constant):
        x = reshape(x, shape=tuple([n for n, c in zip(x.shape, constant, strict=True) if not c]))
    # Numbers of the axes once those with a constant are gone.
    number = {k: j for j, k in enumerate([k for k, c in enumerate(constant) if not c])}
    indexed = [k for k, a in enumerate(index.axes) if isinstance(a, Array)]
    if indexed:
        x = gather(x, _coordinates([index.axes[k] for k in indexed]), axes=tuple([number[k] for k in indexed]),
                   batch=0, mode=mode)  # fmt: skip
        x = _ordered(x, index)
    if 0 in index.array_shape and x.size:
        x = slice_(
            reshape(x, shape=(1, *x.shape)), start=(0,) * (x.ndim + 1), stop=(0, *x.shape), step=(1,) * (x.ndim + 1)
        )
    return x


def _sliced(x: Any, index: Index) -> Any:
    """``x`` cut to the ranges and constants of the index."""
    cut, backward = _cut(tuple([a if type(a) in (int, range) else None for a in index.axes]), x.shape)
    if cut:
        x = slice_(x, **cut)
    return rev(x, axes=backward) if backward else x


@lru_cache(maxsize=1024)
def _cut(
    axes: tuple[int | range | None, ...], shape: tuple[int, ...]
) -> tuple[dict[str, tuple[int, ...]], tuple[int, ...]]:
    """The slice that cuts ``shape`` to ``axes`` (None: all there is), if it takes one; and the axes to turn round."""
    ranges = [
        range(a, a + 1) if type(a) is int else a if type(a) is range else range(n)
        for a, n in zip(axes, shape, strict=True)
    ]
    forward = [r if r.step > 0 else r[::-1] for r in ranges]
    cut: dict[str, tuple[int, ...]] = {}
    if any([len(r) != n for r, n in zip(forward, shape, strict=True)]):
        cut["start"] = tuple([r.start if r else 0 for r in forward])
        cut["stop"] = tuple([r[-1] + 1 if r else 0 for r in forward])
        cut["step"] = tuple([r.step for r in forward])
    return cut, tuple([k for k, r in enumerate(ranges) if r.step < 0])


def _coordinates(arrays: Sequence[Any]) -> Any:
    """Index arrays of one shape side by side along a new last axis."""
    dtype = i64 if any([a.aval.dtype is i64 for a in arrays]) else i32
    columns = [reshape(a if a.aval.dtype is dtype else convert(a, dtype=dtype), shape=(*a.shape, 1)) for a in arrays]
    return columns[0] if len(columns) == 1 else concatenate(*columns, axis=columns[0].ndim - 1)


def _ordered(x: Any, index: Index) -> Any:
    """What `gather` gives, the array axes in front, with its axes in the order of the layout (`NEW` ones left out)."""
    rank = len(index.array_shape)
    window = sorted([k for k in index.layout if k >= 0])
    perm: list[int] = []
    for k in index.layout:
        if k == ARRAYS:
            perm.extend(range(rank))
        elif k >= 0:
            perm.append(rank + window.index(k))
    return x if perm == sorted(perm) else transpose(x, perm=tuple(perm))


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(x: Any, index: Index, updates: Any, scatter: Primitive, mode: str = "drop") -> Array:
    """``x`` with ``updates``, of the dtype of ``x``, combined in at ``index`` by one of the scatter primitives.

    Where index arrays reach out of range: ``drop`` leaves the update out, ``clip`` goes to the nearest element.
    """
    weak = x.weak_type
    shape = index.shape
    if broadcast_shapes((updates.shape, shape), "the update") != shape:
        raise ValueError(
            f"{where()}the update {shape_text(updates)} does not fit what the index selects of {shape_text(x)}, "
            f"an array of shape {shape}."
        )
    updates = broadcast_to(updates, shape)
    whole = [type(a) is range and a == range(n) for a, n in zip(index.axes, x.shape, strict=True)]
    cut = [k for k, w in enumerate(whole) if not w and type(index.axes[k]) is range]
    updates = _as_scattered(updates, index, cut)
    if all(whole):  # scatter needs an axis to index: a new one of size 1
        first = Array(np.zeros((*index.array_shape, 1), np.int32))
        result = scatter(reshape(x, shape=(1, *x.shape)), first, updates, axes=(0,), batch=0, mode=mode)
        return with_weak(reshape(result, shape=x.shape), weak)
    positions = index.array_shape + tuple([len(index.axes[k]) for k in cut])
    indexed = [k for k, w in enumerate(whole) if not w]
    columns = [_column(index, k, cut, positions) for k in indexed]
    return with_weak(scatter(x, _coordinates(columns), updates, axes=tuple(indexed), batch=0, mode=mode), weak)


def _column(index: Index, axis: int, cut: list[int], positions: tuple[int, ...]) -> Any:
    """The coordinates along one axis: first the axes of the index arrays, then those of the ranges."""
    at = index.axes[axis]
    if isinstance(at, Array):
        return broadcast_to(reshape(at, shape=at.shape + (1,) * len(cut)), positions)
    if type(at) is int:
        return Array(np.full(positions, at, np.int32))
    along = [1] * len(positions)
    along[len(index.array_shape) + cut.index(axis)] = len(at)
    steps = np.array(at, np.int32)
    return Array(np.ascontiguousarray(np.broadcast_to(steps.reshape(along), positions)))


def _as_scattered(updates: Any, index: Index, cut: list[int]) -> Any:
    """Updates in the result's layout with their axes as `scatter` takes them: arrays, ranges, window."""
    start: dict[int, int] = {}
    sizes: list[int] = []
    for k in index.layout:
        if k != NEW:
            start[k] = len(sizes)
            sizes.extend(index.array_shape if k == ARRAYS else (len(index.axes[k]),))
    updates = updates if updates.shape == tuple(sizes) else reshape(updates, shape=tuple(sizes))
    front = [start[ARRAYS] + j for j in range(len(index.array_shape))]
    ranges = [start[k] for k in cut]
    window = [start[k] for k in sorted(start) if k >= 0 and k not in cut]
    perm = (*front, *ranges, *window)
    return updates if perm == tuple(range(len(sizes))) else transpose(updates, perm=perm)
