"""Which loops are parallel: their iterations do not depend on each other, but for memory that each could have alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from graphad.backends.loops.footprint import Access, accesses, distinct, fixed_names, meet, value_ranges
from graphad.backends.loops.ir import Buffer, Index, Load, Loop, Statement, Store, While
from graphad.backends.loops.visit import walk


def independent(
    var: str,
    extent: int,
    statements: Sequence[Statement],
    around: Mapping[str, int],
    besides: AbstractSet[str] = frozenset(),
) -> bool:
    """Whether ``var`` carries no dependence in ``statements``; buffers ``besides`` are ignored.

    ``around`` has the extents of the loops around the one over ``var``. Atomic updates, which device programs have, may
    come in any order if all have the same operator.
    """
    ranges = value_ranges(statements, {**around, var: extent})
    by_buffer: dict[str, list[Access]] = {}
    for a in distinct(accesses(statements, ranges, fixed_names(var, statements))):
        if a.buffer not in besides:
            by_buffer.setdefault(a.buffer, []).append(a)
    combines: dict[str, set[str | None]] = {}
    for s in walk(statements):
        if isinstance(s, (Load, Store)):
            combines.setdefault(s.buffer, set()).add(getattr(s, "combine", None))
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
            if type(s) is not Store or s.mask is not None or s.dynamic is not None:
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
