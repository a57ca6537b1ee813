"""Reads and writes at indices, in the form of `definitions`; the scheme is that of `graphad.primitives.indexing`."""

from __future__ import annotations

from typing import Any

from graphad.backends.lower.affine import Shape, axes_view, row_major
from graphad.backends.lower.definitions import (
    Block,
    ConstantValue,
    FlatProgram,
    GatherValue,
    IndexedAxis,
    MapValue,
    ScatterValue,
)
from graphad.backends.lower.scalars import copy_template
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim
from graphad.ir.types import Aval, literal
from graphad.primitives.indexing import fill_literal


def gather(flat: FlatProgram, operands: list[int], params: dict[str, Any], out: Aval, loc: Loc) -> int:
    """Append ``gather``."""
    source, indices = operands
    shape, mode = flat.values[source].aval.shape, params["mode"]
    if not out.size or any(shape[a] == 0 for a in params["axes"]):
        return flat.add(ConstantValue(out, loc, fill_literal(mode, out.dtype)))
    block = flat.block(source)
    strides, axes = _addresses(flat, shape, block.strides, indices, params["axes"], params["batch"])
    fill = None if mode == "clip" else fill_literal(mode, out.dtype)
    return flat.add(GatherValue(out, loc, Block(block.value, block.offset, strides), axes, fill))


def scatter(flat: FlatProgram, operands: list[int], combine: str, params: dict[str, Any], out: Aval, loc: Loc) -> int:
    """Append ``scatter_*``: a copy of the target, which is then changed in place."""
    target, indices, updates = operands
    if not flat.values[updates].aval.size or any(out.shape[a] == 0 for a in params["axes"]):
        return target
    copy = flat.add(MapValue(out, loc, copy_template(out.dtype), (target,)))
    strides, axes = _addresses(flat, out.shape, row_major(out.shape), indices, params["axes"], params["batch"])
    window = out.ndim - params["batch"] - len(params["axes"])
    return flat.add(ScatterValue(out, loc, copy, updates, strides, window, axes, combine, params["mode"] == "clip"))


def dynamic_slice(flat: FlatProgram, operands: list[int], batch: int, out: Aval, loc: Loc) -> int:
    """Append ``dynamic_slice``: a gather of which every axis is a window that begins at an index."""
    source, *starts = operands
    if not out.size:
        return flat.add(ConstantValue(out, loc, literal(0, out.dtype)))
    block = flat.block(source)
    axes = _starts(flat.values[source].aval.shape, out.shape, block.strides, starts, batch)
    return flat.add(GatherValue(out, loc, block, axes, None)) if axes else source


def dynamic_update_slice(flat: FlatProgram, operands: list[int], batch: int, out: Aval, loc: Loc) -> int:
    """Append ``dynamic_update_slice``: a copy of the target, in which one block is then overwritten."""
    target, update, *starts = operands
    block = flat.values[update].aval
    if not block.size:
        return target
    strides = row_major(out.shape)
    axes = _starts(out.shape, block.shape, strides, starts, batch)
    if not axes:
        return update
    copy = flat.add(MapValue(out, loc, copy_template(out.dtype), (target,)))
    return flat.add(ScatterValue(out, loc, copy, update, strides, out.ndim - batch, axes, "set", clip=True))


def _starts(shape: Shape, block: Shape, strides: Shape, starts: list[int], batch: int) -> tuple[IndexedAxis, ...]:
    """The axes along which a block can lie in more than one place."""
    batch_axes = axes_view(range(batch))
    rows = zip(strides[batch:], shape[batch:], block[batch:], starts, strict=True)
    return tuple([IndexedAxis(stride, n - size, start, batch_axes) for stride, n, size, start in rows if n > size])


def _addresses(
    flat: FlatProgram, shape: Shape, strides: Shape, indices: int, indexed: Shape, batch: int
) -> tuple[Shape, tuple[IndexedAxis, ...]]:
    """The strides of the axes of [*batch, *positions, *window], and the indexed axes."""
    positions = flat.values[indices].aval.ndim - 1 - batch
    window = [strides[a] for a in range(batch, len(shape)) if a not in indexed]
    place = axes_view(range(batch + positions))
    axes = [
        IndexedAxis(strides[a], shape[a] - 1, indices, (*place, AffineDim(number))) for number, a in enumerate(indexed)
    ]
    return (*strides[:batch], *([0] * positions), *window), tuple(axes)
