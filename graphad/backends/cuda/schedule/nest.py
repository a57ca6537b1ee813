"""A loop nest on its way to a kernel: which of its loops are parallel, and which memory is private to which points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

from graphad.backends.cuda.program.ir import Axis
from graphad.backends.loops.independence import independent, is_private
from graphad.backends.loops.ir import Buffer, Index, Load, Loop, Position, Statement, Store
from graphad.backends.loops.rewrites import alive, forward, is_pure, mapped_indices
from graphad.backends.loops.visit import walk
from graphad.ir.loc import Loc


@dataclass(frozen=True, slots=True)
class Nest:
    """``body`` for every point of ``grid``, all points in parallel.

    ``private`` maps each temporary of which the points need copies of their own to the axes over which they do.
    """

    grid: tuple[Axis, ...]
    body: tuple[Statement, ...]
    private: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loc: Loc = None

    @property
    def extents(self) -> dict[str, int]:
        """The extent of each axis of the grid."""
        return {a.var: a.extent for a in self.grid}

    @property
    def points(self) -> int:
        """Points of the grid."""
        return prod([a.extent for a in self.grid])


def widened(nest: Nest, own: Mapping[str, Buffer]) -> Nest:
    """``nest`` with its parallel loops moved into the grid; ``own`` are temporaries that no other step uses.

    A loop can move if only scalars stand beside it: these are then computed for every point.
    """
    nest = replace(nest, body=alive(nest.body))
    while nest.body and isinstance(nest.body[-1], Loop) and all(map(is_pure, nest.body[:-1])):
        loop = forward(nest.body[-1])
        if loop.carries:
            break
        statements = (*nest.body[:-1], *loop.body)
        private = [b for b in own.values() if is_private(b, loop, statements)]
        if not independent(loop.var, loop.extent, statements, nest.extents, {b.name for b in private}):
            break
        axes = {b.name: (*nest.private.get(b.name, ()), loop.var) for b in private}
        nest = replace(
            nest,
            grid=(*nest.grid, Axis(loop.var, loop.extent)),
            body=statements,
            private={**nest.private, **axes},
            loc=nest.loc or loop.loc,
        )
    return nest


# ---- order of the grid


def arranged(nest: Nest) -> Nest:
    """``nest`` with the axis of contiguous accesses last, and with axes collapsed where all accesses allow it."""
    nest = _with_lane_last(nest)
    grid = list(nest.grid)
    k = 0
    while k + 1 < len(grid):
        outer, inner = grid[k], grid[k + 1]
        if _move_as_one(nest, outer, inner):
            grid[k : k + 2] = [Axis(inner.var, outer.extent * inner.extent)]

            def drop(index: Index, gone: str = outer.var) -> Index:
                return Index(index.offset, tuple([t for t in index.terms if t[0] != gone]))

            nest = replace(nest, grid=tuple(grid), body=mapped_indices(nest.body, drop))
        else:
            k += 1
    return nest


def _move_as_one(nest: Nest, outer: Axis, inner: Axis) -> bool:
    if any(outer.var in axes or inner.var in axes for axes in nest.private.values()):
        return False
    for s in walk(nest.body):
        if isinstance(s, (Load, Store, Position)):
            strides = dict(s.index.terms)
            if strides.get(outer.var, 0) != inner.extent * strides.get(inner.var, 0):
                return False
    return True


def _with_lane_last(nest: Nest) -> Nest:
    if len(nest.grid) < 2:
        return nest
    votes = {a.var: 0 for a in nest.grid}
    for s in walk(nest.body):
        if isinstance(s, (Load, Store)):
            for v, stride in s.index.terms:
                if v in votes and abs(stride) == 1:
                    votes[v] += 2 if isinstance(s, Store) else 1
    last = max(reversed(nest.grid), key=lambda a: (votes[a.var], a is nest.grid[-1]))
    return replace(nest, grid=(*[a for a in nest.grid if a is not last], last))


def steps_along(statements: Sequence[Statement], var: str) -> list[int]:
    """The stride along ``var`` of each load and store in ``statements``."""
    return [abs(dict(s.index.terms).get(var, 0)) for s in walk(statements) if isinstance(s, (Load, Store))]
