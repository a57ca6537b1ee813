"""What `gather` and the `scatter_*` family share; see `graphad.primitives.indexing` for the scheme of their params."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from graphad.ir.types import Aval, DType, Literal, OperandType, aval, b1, f32, i32, i64, literal
from graphad.primitives.families_shape import Array, Shape


class IndexLayout(NamedTuple):
    """The parts of a gather's output, and of a scatter's updates."""

    batch: Shape
    positions: Shape
    window: Shape

    @property
    def shape(self) -> Shape:
        return self.batch + self.positions + self.window


def index_layout(operand: Shape, indices: Shape, axes: Shape, batch: int) -> IndexLayout:
    """How the shapes of operand and indices make up the shape of what is read or written."""
    window = tuple(n for a, n in enumerate(operand) if a >= batch and a not in axes)
    return IndexLayout(indices[:batch], indices[batch:-1], window)


def fill_literal(mode: str, dtype: DType) -> Literal:
    """What ``gather`` reads out of range.

    With ``zero`` 0; with ``fill`` nan, the least signed or the greatest unsigned integer, or True.
    """
    if mode == "zero":
        return literal(0, dtype)
    if dtype.is_float:
        return literal(np.nan, dtype)
    if dtype is b1:
        return literal(True, dtype)
    info = np.iinfo(dtype.numpy)
    return literal(info.min if dtype.kind == "i" else info.max, dtype)


def checked_layout(
    name: str, x: OperandType, indices: OperandType, axes: Shape, batch: int, mode: str, modes: tuple[str, ...]
) -> IndexLayout:
    """The layout, once operand, indices and params are found to agree: the common part of the type rules."""
    rank = len(x.shape)
    if indices.dtype not in (i32, i64):
        raise TypeError(f"{name} got indices {indices}; they must be i32 or i64. Convert them, or masks to positions.")
    if mode not in modes:
        raise ValueError(f"{name} got mode={mode!r}; choose one of {', '.join(map(repr, modes))}.")
    if not axes or list(axes) != sorted(set(axes)) or not 0 <= batch <= axes[0] or axes[-1] >= rank:
        raise ValueError(
            f"{name} got axes={axes} and batch={batch} for {x}; axes must increase, in range({batch}, {rank}). "
            "Order the coordinates in indices likewise."
        )
    wanted = x.shape[:batch]
    if len(indices.shape) <= batch or indices.shape[:batch] != wanted or indices.shape[-1] != len(axes):
        raise ValueError(
            f"{name} got indices {indices} for axes {axes} of {x}; their shape must be "
            f"[{', '.join([*map(str, wanted), '...', str(len(axes))])}]: a coordinate for each axis comes last."
        )
    layout = index_layout(x.shape, indices.shape, axes, batch)
    empty = [a for a in axes if x.shape[a] == 0]
    if empty and mode == "clip" and prod(layout.shape):
        raise ValueError(f"{name} got {x}: axis {empty[0]} is empty, no index is valid. Check the size first.")
    return layout


def address(x: Array, indices: Array, axes: Shape, batch: int) -> tuple[Array, tuple[Array, ...], Array]:
    """For the references: ``x`` seen as [*batch, *axes, *window], clipped index arrays for it, which were in range."""
    seen = x.transpose(*range(batch), *axes, *(a for a in range(batch, x.ndim) if a not in axes))
    sizes = np.array([x.shape[a] for a in axes], indices.dtype)
    inside = np.all((indices >= 0) & (indices < sizes), axis=-1)
    clipped = np.clip(indices, 0, np.maximum(sizes - 1, 0))
    elements = np.indices(inside.shape, sparse=True)[:batch]
    return seen, (*elements, *np.moveaxis(clipped, -1, 0)), inside


# ---------------------------------------------------------------------------------------------------------------------
# Samples

#: Shape of the operand, of the positions, and the params. Odd sizes, batch axes, empty parts, windows on every side.
_CASES: list[tuple[Shape, Shape, Shape, int]] = [
    ((7,), (), (0,), 0),
    ((7,), (5,), (0,), 0),
    ((1,), (3,), (0,), 0),
    ((5, 3), (4,), (0,), 0),
    ((5, 3), (4,), (1,), 0),
    ((5, 3), (2, 3), (0, 1), 0),
    ((4, 3, 5), (3,), (0, 2), 0),
    ((2, 5), (4,), (1,), 1),
    ((2, 3, 5), (3,), (2,), 1),
    ((2, 5, 3), (), (1, 2), 1),
    ((2, 3, 4, 5), (3,), (3,), 2),
    ((5, 3), (0,), (0,), 0),
    ((5, 0), (2,), (0,), 0),
    ((0, 3), (0,), (0,), 0),
    ((0, 5), (2,), (1,), 1),
]
_EMPTY_AXIS: tuple[Shape, Shape, Shape, int] = ((0, 3), (2,), (0,), 0)


def index_samples(
    rng: np.random.Generator, modes: tuple[str, ...]
) -> Iterator[tuple[Shape, Array, dict[str, Any], Shape, bool]]:
    """(operand shape, indices, params, shape of updates, whether all indices are in range)."""
    for k, (shape, at, axes, batch) in enumerate([*_CASES, *_CASES[1:7], _EMPTY_AXIS]):
        outside = k >= len(_CASES)
        mode = modes[1 + k % (len(modes) - 1)] if outside and (k % 3 or 0 in shape) else modes[0]
        columns = [rng.integers(0, max(shape[a], 1), (*shape[:batch], *at)) for a in axes]
        if outside:
            columns[0].flat[0], columns[-1].flat[-1] = -1, shape[axes[-1]] + 1
        indices = np.stack(columns, axis=-1).astype(np.int64 if k % 2 else np.int32)
        params = {"axes": axes, "batch": batch, "mode": mode}
        yield shape, indices, params, index_layout(shape, indices.shape, axes, batch).shape, not outside


FIRST_AXIS = {"axes": (0,), "batch": 0, "mode": "clip"}
INDEX_ERRORS: tuple[tuple[Aval, Aval, dict[str, Any], str], ...] = (
    (aval((3,), f32), aval((2, 1), f32), {}, "indices f32[2,1]; they must be i32 or i64"),
    (aval((3,), f32), aval((2, 1), i32), {"mode": "wrap"}, "choose one of 'clip'"),
    (aval((3,), f32), aval((2, 1), i32), {"axes": (1,)}, "in range(0, 1)"),
    (aval((3, 3), f32), aval((2, 2), i32), {"axes": (1, 0)}, "axes must increase"),
    (aval((3,), f32), aval((2, 2), i32), {}, "[..., 1]: a coordinate for each axis comes last"),
    (aval((3, 2), f32), aval((2, 4, 1), i32), {"axes": (1,), "batch": 1}, "[3, ..., 1]"),
    (aval((0,), f32), aval((2, 1), i32), {}, "axis 0 is empty, no index is valid"),
)
