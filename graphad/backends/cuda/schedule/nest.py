"""A loop nest on its way to a kernel: which of its loops are parallel, and which memory is private to which points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from math import prod

from graphad.backends.cuda.program.ir import Atomic, Axis
from graphad.backends.loops.footprint import Access, accesses, distinct, fixed_names, meet, value_ranges
from graphad.backends.loops.ir import Buffer, Index, Load, Loop, Position, Statement, Store, While
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
        if not points_independent(loop.var, loop.extent, statements, nest.extents, {b.name for b in private}):
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


def points_independent(
    var: str,
    extent: int,
    statements: Sequence[Statement],
    around: Mapping[str, int],
    besides: AbstractSet[str] = frozenset(),
) -> bool:
    """Whether ``var`` carries no dependence in ``statements``; buffers ``besides`` are ignored.

    Atomic updates with the same operator may come in any order.
    """
    ranges = value_ranges(statements, {**around, var: extent})
    by_buffer: dict[str, list[Access]] = {}
    for a in distinct(accesses(statements, ranges, fixed_names(var, statements))):
        if a.buffer not in besides:
            by_buffer.setdefault(a.buffer, []).append(a)
    combines: dict[str, set[str | None]] = {}
    for s in walk(statements):
        if isinstance(s, (Load, Store)):
            combines.setdefault(s.buffer, set()).add(s.combine if isinstance(s, Atomic) else None)
    return all(
        not meet(a, b, var, extent, around)
        for name, group in by_buffer.items()
        if len(combines[name]) > 1 or None in combines[name]
        for k, a in enumerate(group)
        for b in group[k:]
        if a.writes or b.writes
    )


def is_private(buffer: Buffer, loop: Loop, statements: Sequence[Statement]) -> bool:
    """Whether each iteration of ``loop`` can have its own ``buffer``: it uses the same part, and writes it first.

    ``statements`` are those of an iteration. Lanes have their own by the rules of loop programs.
    """
    if buffer.private and loop.vector:
        return True
    var = loop.var
    home: tuple[While, ...] | None = None  # the branches around the first write: all else must be in these
    for s, inner, tests in _with_loops(statements, {}, ()):
        if not isinstance(s, (Load, Store)) or s.buffer != buffer.name:
            continue
        if any(v == var for v, _ in s.index.terms):
            return False
        if home is None:
            if not isinstance(s, Store) or isinstance(s, Atomic) or s.mask is not None or s.dynamic is not None:
                return False
            if not _covers(s.index, inner, buffer.size):
                return False
            home = tests
        elif [id(t) for t in tests[: len(home)]] != [id(t) for t in home]:
            return False
    return home is not None


def _with_loops(
    statements: Sequence[Statement], inner: Mapping[str, int], tests: tuple[While, ...]
) -> list[tuple[Statement, Mapping[str, int], tuple[While, ...]]]:
    """Every statement with the extents of the loops around it, and those that only run if a test says so."""
    found: list[tuple[Statement, Mapping[str, int], tuple[While, ...]]] = []
    for s in statements:
        found.append((s, inner, tests))
        if isinstance(s, Loop):
            found += _with_loops(s.body, {**inner, s.var: s.extent}, tests)
        elif isinstance(s, While):
            found += _with_loops(s.body, inner, (*tests, s))
    return found


def _covers(index: Index, inner: Mapping[str, int], size: int) -> bool:
    """Whether ``index`` takes every value from 0 up to ``size`` while the loops ``inner`` run."""
    reached = 1
    if index.offset or any(v not in inner for v, _ in index.terms):
        return False
    for v, stride in sorted(index.terms, key=lambda term: term[1]):
        if stride != reached:
            return False
        reached *= inner[v]
    return reached == size


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
