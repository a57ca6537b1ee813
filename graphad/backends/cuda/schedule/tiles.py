"""Transposed reads tiled through shared memory.

Accesses of neighbouring threads should be coalesced. Where an elementwise nest stores along one axis and reads along
another, it is cut into square tiles: a block loads a tile along the axis of the read, and continues from shared memory
along the axis of the store. Walk of one example, ``y = x.T + b`` for ``x: f32[64,64]``::

    for i_tile0, j_tile0 in 2, 2 at once:
      for j_in0, i_in0 in 32, 32 shared out:
        t0_0 = x[2048*j_tile0 + 32*i_tile0 + 64*j_in0 + i_in0]
        tile0[i_in0 + 33*j_in0] = t0_0
      barrier
      for i_in1, j_in1 in 32, 32 shared out:
        t0 = tile0[i_in1 + 33*j_in1]
        ...

The rows of a tile in shared memory are padded by one element, so that neighbours along either axis lie in different
banks. The remainder at the edges is computed without tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from graphad.backends.cuda.program.ir import MOST_SHARED, Atomic, Axis
from graphad.backends.cuda.schedule.limits import Limits
from graphad.backends.cuda.schedule.nest import Nest, arranged
from graphad.backends.cuda.schedule.split import Splitter
from graphad.backends.loops.ir import Index, Let, Load, Loop, Position, Statement, Store
from graphad.backends.loops.rewrites import substituted

#: Threads that work on a tile.
TILE_THREADS: Final = 256
#: Bytes of shared memory that the tiles of a block may use: at least two blocks fit on every device.
_ROOM: Final = MOST_SHARED // 2

_Maker = Callable[[Index], Sequence[Statement]]


def tiled(nest: Nest, splitter: Splitter, limits: Limits) -> tuple[Nest, list[Nest]] | None:
    """``nest`` over whole tiles, for blocks of `TILE_THREADS`, and over the remainder; None where tiles do not pay."""
    nest = arranged(nest)
    along = _stored_along(nest)
    across = None if along is None else _read_along(nest, along, limits)
    if along is None or across is None or nest.points < limits.plenty:
        return None
    loads = _crossing(nest, along, across)
    size, room = limits.tile, _ROOM
    tiles: dict[str, str] = {}  # of each load, by the name that it defines
    for s in loads:
        dtype, count = splitter.buffers[s.buffer].dtype, size * (size + 1)
        room -= count * max(dtype.bits // 8, 1)
        if room >= 0:
            tiles[s.name] = splitter.temporary("tile", dtype, count)
    whole, rest = nest, list[Nest]()
    for axis in (across, along):
        whole, edge = _cut(whole, axis, size)
        rest += edge
    return _by_tiles(whole, along, across, tiles, splitter, size), rest


def _stored_along(nest: Nest) -> Axis | None:
    """The axis along which an elementwise nest stores contiguously; None for other nests."""
    if nest.private or not all(isinstance(s, (Let, Position, Load, Store)) for s in nest.body):
        return None
    stores = [s for s in nest.body if isinstance(s, Store)]
    if any(isinstance(s, Atomic) or s.dynamic is not None for s in stores):
        return None
    if not {s.buffer for s in stores}.isdisjoint([s.buffer for s in nest.body if isinstance(s, Load)]):
        return None
    found = [a for a in nest.grid if a.extent > 1 and all(abs(dict(s.index.terms).get(a.var, 0)) == 1 for s in stores)]
    return found[0] if len(found) == 1 else None


def _read_along(nest: Nest, along: Axis, limits: Limits) -> Axis | None:
    """The axis with the most loads that are contiguous along it, and strided along ``along``."""
    axes = [a for a in nest.grid if a is not along and a.extent >= limits.tile]
    across = max(axes, key=lambda a: len(_crossing(nest, along, a)), default=None)
    if across is None or along.extent < limits.tile or not _crossing(nest, along, across):
        return None
    return across


def _crossing(nest: Nest, along: Axis, across: Axis) -> list[Load]:
    found: list[Load] = []
    for s in nest.body:
        if isinstance(s, Load) and s.dynamic is None:
            strides = dict(s.index.terms)
            if abs(strides.get(across.var, 0)) == 1 and abs(strides.get(along.var, 0)) > 1:
                found.append(s)
    return found


def _cut(nest: Nest, axis: Axis, size: int) -> tuple[Nest, list[Nest]]:
    """``nest`` over the whole tiles of ``axis``, and over its remaining points."""
    whole = axis.extent - axis.extent % size
    if whole == axis.extent:
        return nest, []

    def over(extent: int) -> tuple[Axis, ...]:
        return tuple([Axis(axis.var, extent) if a.var == axis.var else a for a in nest.grid])

    body = substituted(nest.body, axis.var, Index(whole, ((axis.var, 1),)))
    return replace(nest, grid=over(whole)), [replace(nest, grid=over(axis.extent - whole), body=body)]


def _by_tiles(
    nest: Nest, along: Axis, across: Axis, tiles: dict[str, str], splitter: Splitter, size: int
) -> Nest:  # fmt: skip
    """``nest``, over whole tiles, with a point of the grid for each tile."""
    names = splitter.names
    outer = {a.var: names.fresh(f"{a.var}_tile") for a in (across, along)}
    grid = [a for a in nest.grid if a.var not in outer]
    grid += [Axis(outer[a.var], a.extent // size) for a in nest.grid if a.var in outer]

    def loops(order: tuple[Axis, Axis], make: _Maker) -> Loop:
        inner = {a.var: names.fresh(f"{a.var}_in") for a in order}
        within = Index(0, tuple(sorted([(inner[along.var], size + 1), (inner[across.var], 1)])))
        body = tuple(make(within))
        for a in order:
            place = Index(0, tuple(sorted([(outer[a.var], size), (inner[a.var], 1)])))
            body = substituted(body, a.var, place)
        first, last = (inner[a.var] for a in order)
        return Loop(first, size, (Loop(last, size, body, loc=nest.loc),), loc=nest.loc)

    def filled(within: Index) -> Sequence[Statement]:
        body: list[Statement] = []
        for s in nest.body:
            if isinstance(s, Load) and s.name in tiles:
                value = names.fresh(f"{s.name}_")
                body += [replace(s, name=value), Store(tiles[s.name], within, value, loc=s.loc)]
        return body

    def computed(within: Index) -> Sequence[Statement]:
        return [
            replace(s, buffer=tiles[s.name], index=within) if isinstance(s, Load) and s.name in tiles else s
            for s in nest.body
        ]

    body = (loops((along, across), filled), loops((across, along), computed))
    axes = tuple([a.var for a in grid])
    return Nest(tuple(grid), body, dict.fromkeys(tiles.values(), axes), nest.loc)
