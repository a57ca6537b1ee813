"""Vertical fusion: successive nests become one kernel, which saves a launch, and often a pass through memory.

A producer and its consumer can be fused if they loop over the same rows (independent iterations of an outermost loop),
and each row of the consumer reads the same row of the producer only. Small nests can always be fused: a single block
runs them in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, prod
from typing import Final

from graphad.backends.cuda.program.ir import reads, writes
from graphad.backends.cuda.schedule.fission import iterations
from graphad.backends.cuda.schedule.limits import Limits
from graphad.backends.cuda.schedule.nest import Nest
from graphad.backends.loops.footprint import Access, accesses, distinct, meet, value_ranges
from graphad.backends.loops.independence import independent, is_private
from graphad.backends.loops.ir import Buffer, Index, Let, Load, Loop, LoopNest, Statement, Step, Store, While
from graphad.backends.loops.rewrites import Names, forward, is_pure, loads_forwarded, substituted
from graphad.backends.loops.visit import mapped, walk

#: How many steps back a producer is looked for.
_REACH: Final = 16
#: Most statements of independent nests without loops that are fused into one for a single thread.
_FEW: Final = 64
#: Most iterations of one thread of a small nest.
_LONGEST: Final = 128


def with_rows_fused(steps: Sequence[Step], names: Names, buffers: dict[str, Buffer], limits: Limits) -> list[Step]:
    """``steps`` with nests fused where that saves launches and leaves no threads idle."""
    return _Fuser(steps, names, buffers, limits).run(steps)


def is_deep(loop: Loop, limits: Limits) -> bool:
    """Whether a reduction loop has loops inside that need more than one thread, or private memory."""
    if not loop.carries or any(c.combine == "last" for c in loop.carries):
        return False
    inner = max([iterations(s) for s in loop.body if isinstance(s, Loop)], default=0)
    nest = LoopNest((loop,))
    alone = inner > 0 and not reads(nest).isdisjoint(writes(nest))
    return (inner >= limits.spread or alone) and loop.extent * inner > limits.small


@dataclass(frozen=True, slots=True)
class _Rows:
    """A nest as rows: ``body`` for each value of ``var``; ``own`` are temporaries private to each row."""

    var: str
    extent: int
    body: tuple[Statement, ...]
    own: frozenset[str]


class _Fuser:
    def __init__(self, steps: Sequence[Step], names: Names, buffers: dict[str, Buffer], limits: Limits) -> None:
        self.names = names
        self.buffers = buffers
        self.limits = limits
        self.users = Counter(name for s in steps for name in reads(s) | writes(s))
        self.touched: dict[int, tuple[Step, set[str], set[str]]] = {}  # what a step reads and writes, by id
        self.rows: dict[int, tuple[LoopNest, _Rows]] = {}  # of nests that were fused, by id
        self.small: dict[int, LoopNest] = {}  # nests that were fused of small ones, by id
        self.done: list[Step] = []

    def run(self, steps: Sequence[Step]) -> list[Step]:
        waiting = list(steps)[::-1]
        while waiting:
            step = waiting.pop()
            if not isinstance(step, LoopNest):
                self.done.append(step)
                continue
            if self._fuse(step):
                continue
            parts = self._as_map_and_reduction(step)
            if parts is None:
                self.done.append(step)
            elif self._fuse(parts[0]):
                waiting.append(parts[1])
            elif any(isinstance(s, Loop) and is_deep(s, self.limits) for s in step.body):
                self.done.append(parts[0])
                waiting.append(parts[1])
            else:
                self.done.append(step)
        return self.done

    def _fuse(self, step: LoopNest) -> bool:
        """Fuse ``step`` into an earlier nest, and the result into one before it, as long as there is one."""
        place = len(self.done)
        while (found := self._host(step, place)) is not None:
            if place < len(self.done):
                del self.done[place]
            place, step = found
            self.done[place] = step
        return place < len(self.done)

    def _host(self, step: LoopNest, place: int) -> tuple[int, LoopNest] | None:
        """The last nest before ``place`` that ``step`` can be fused with: its position, and the fused nest."""
        for k in range(place - 1, max(place - 1 - _REACH, -1), -1):
            earlier = self.done[k]
            if isinstance(earlier, LoopNest):
                fused = self._joined(earlier, step, k)
                if fused is not None:
                    return k, fused
            if not self._commute(earlier, step):
                return None
        return None

    # ---- two nests

    def _joined(self, first: LoopNest, second: LoopNest, place: int) -> LoopNest | None:
        """Both fused at the ``place`` of the first, if that is legal and pays; else None."""
        (first_reads, first_writes), (second_reads, second_writes) = self._touched(first), self._touched(second)
        shared = first_writes & (second_reads | second_writes)
        if not shared and not _are_few_scalars((*first.body, *second.body)):
            return None  # independent nests run side by side
        shared |= second_writes & first_reads
        if _elements(first) == _elements(second) is not None:
            fused = self._joined_rows(first, second, shared, 1)
            if fused is not None:
                return fused
        if self._is_small(first) and self._is_small(second) and not self._waits_for_more(second, first, place):
            fused = LoopNest(loads_forwarded((*first.body, *second.body)), first.loc)
            self.small[id(fused)] = fused
            return fused
        return self._joined_rows(first, second, shared, self.limits.rows)

    def _joined_rows(self, first: LoopNest, second: LoopNest, shared: set[str], least: int) -> LoopNest | None:
        """One nest over the rows of both, if there are enough, and ``shared`` is accessed row by row."""
        one, two = self._as_rows(first), self._as_rows(second)
        if one is None or two is None:
            return None
        one, two = _alike(one, two), _alike(two, one)
        if one.extent != two.extent or one.extent < least:
            return None
        var = one.var
        consumer = substituted(two.body, two.var, Index(0, ((var, 1),)))
        if not _apart(one, consumer, shared):
            return None
        body = loads_forwarded((*one.body, *consumer))
        in_lanes = any([self.buffers[name].private for name in one.own | two.own])
        fused = LoopNest((Loop(var, one.extent, body, vector=in_lanes, loc=first.loc),), first.loc)
        self.rows[id(fused)] = fused, _Rows(var, one.extent, body, one.own | two.own)
        return fused

    def _waits_for_more(self, second: LoopNest, first: LoopNest, place: int) -> bool:
        """Whether ``second`` also depends on steps that can run beside ``first``, and is too large for its block."""
        written: dict[str, int] = {}  # a buffer -> the length of the longest chain of steps up to its writer
        last_read: dict[str, int] = {}
        levels: list[int] = []
        for step in (*self.done[:place], first):
            its_reads, its_writes = self._touched(step)
            before = [written.get(b, 0) for b in its_reads | its_writes] + [last_read.get(b, 0) for b in its_writes]
            levels.append(1 + max(before, default=0))
            written.update(dict.fromkeys(its_writes, levels[-1]))
            last_read.update({b: max(levels[-1], last_read.get(b, 0)) for b in its_reads})
        return any(
            level >= levels[-1] and not self._commute(step, second)
            for step, level in zip(self.done[:place], levels, strict=False)
            if not isinstance(step, LoopNest) or not self._is_small(step)
        )

    def _touched(self, step: Step) -> tuple[set[str], set[str]]:
        """The buffers that a step reads, and those that it writes."""
        if id(step) not in self.touched:
            self.touched[id(step)] = step, reads(step), writes(step)
        return self.touched[id(step)][1:]

    def _commute(self, a: Step, b: Step) -> bool:
        """Whether two steps may be reordered."""
        (a_reads, a_writes), (b_reads, b_writes) = self._touched(a), self._touched(b)
        return a_writes.isdisjoint(b_reads | b_writes) and b_writes.isdisjoint(a_reads)

    def _as_rows(self, nest: LoopNest) -> _Rows | None:
        """``nest`` as independent rows, or None."""
        if id(nest) in self.rows:
            return self.rows[id(nest)][1]
        loop = nest.body[-1] if nest.body else None
        if not isinstance(loop, Loop) or loop.carries or not all(map(is_pure, nest.body[:-1])):
            return None
        body = (*nest.body[:-1], *forward(loop).body)
        touched = {s.buffer for s in walk(body) if isinstance(s, (Load, Store))}
        own = frozenset(
            [
                name
                for name in touched
                if self.buffers[name].role == "temporary"
                and self.users[name] == 1
                and is_private(self.buffers[name], loop, body)
            ]
        )
        if not independent(loop.var, loop.extent, body, {}, own):
            return None
        return _Rows(loop.var, loop.extent, body, own)

    def _is_small(self, nest: LoopNest) -> bool:
        """Whether one block is enough for ``nest``, and all its loops can be spread over its threads."""
        if self.limits.small == 0 or id(nest) in self.small:
            return self.limits.small > 0
        for s in nest.body:
            if isinstance(s, While) and not _is_small_branch(s):
                return False
            if isinstance(s, Loop):
                flat = forward(s)
                last = any(c.combine == "last" for c in s.carries)
                if last or iterations(s) > self.limits.small or not independent(s.var, s.extent, flat.body, {}):
                    return False
                if iterations(s) > _LONGEST * _width(s):
                    return False
        return True

    # ---- a sum over rows

    def _as_map_and_reduction(self, nest: LoopNest) -> tuple[LoopNest, LoopNest] | None:
        """A nest that reduces a value per row, split into a map that stores these values and a reduction over them."""
        k = next((k for k, s in enumerate(nest.body) if isinstance(s, Loop)), None)
        if k is None or not all(map(is_pure, nest.body[:k])):
            return None
        loop, rest = nest.body[k], nest.body[k + 1 :]
        assert isinstance(loop, Loop), "found as a loop"
        if not loop.carries or any(c.combine == "last" for c in loop.carries):
            return None
        if any(isinstance(s, Loop) for s in rest) or all(isinstance(s, Load) for s in loop.body):
            return None
        loop = forward(loop)
        here = Index(0, ((loop.var, 1),))
        stores: list[Statement] = []
        loads: list[Statement] = []
        carries = list(loop.carries)
        for n, c in enumerate(carries):
            buffer, value = self.names.fresh("row"), self.names.fresh("t")
            self.buffers[buffer] = Buffer(buffer, c.dtype, loop.extent, "temporary")
            update = c.update
            if c.factor is not None:
                update = self.names.fresh("t")
                stores.append(Let(update, c.dtype, "mul", c.reads, loop.loc))
            stores.append(Store(buffer, here, update, loc=loop.loc))
            loads.append(Load(value, buffer, here, loc=loop.loc))
            carries[n] = replace(c, update=value, factor=None)
        var = self.names.fresh(loop.var)
        rows = replace(loop, body=(*loop.body, *stores), carries=())
        summed = Loop(
            var, loop.extent, substituted(loads, loop.var, Index(0, ((var, 1),))), tuple(carries), loc=loop.loc
        )
        return LoopNest((*nest.body[:k], rows), nest.loc), LoopNest((*nest.body[:k], summed, *rest), nest.loc)


def _are_few_scalars(statements: Sequence[Statement]) -> bool:
    """Whether a single thread runs it, without loops."""
    return len(statements) <= _FEW and not any(isinstance(s, (Loop, While)) for s in statements)


def _is_small_branch(s: While) -> bool:
    """Whether all threads of a block may as well run it."""
    return s.is_branch and not any(isinstance(t, (Loop, While, Store)) for t in walk(s.body))


def _elements(nest: LoopNest) -> int | None:
    """The number of elements of an elementwise nest; None for others."""
    last = nest.body[-1] if nest.body else None
    if not isinstance(last, Loop) or last.carries or any(isinstance(s, (Loop, While)) for s in last.body):
        return None
    return last.extent if all(map(is_pure, nest.body[:-1])) else None


def _width(loop: Loop) -> int:
    """Iterations of a loop and of those perfectly nested in it."""
    inner = loop.body[0] if len(loop.body) == 1 else None
    return loop.extent * (_width(inner) if isinstance(inner, Loop) else 1)


def _alike(rows: _Rows, other: _Rows) -> _Rows:
    """``rows`` tiled into as many as ``other`` has, if it is one loop over the elements of all rows."""
    if rows.extent == other.extent or rows.extent % other.extent or rows.own:
        return rows
    inner = rows.extent // other.extent
    var, element = f"{rows.var}_row", f"{rows.var}_in"
    at = Index(0, tuple(sorted([(var, inner), (element, 1)])))
    pure: list[Statement] = []
    body = substituted(rows.body, rows.var, at)
    return _Rows(var, other.extent, (*pure, Loop(element, inner, body)), rows.own)


def _apart(rows: _Rows, consumer: Sequence[Statement], names: set[str]) -> bool:
    """Whether the consumer accesses ``names`` only in the row in which the producer does."""
    ranges = value_ranges([*rows.body, *consumer], {rows.var: rows.extent})
    first, second = _of(rows.body, ranges, names), _of(consumer, ranges, names)
    return all(
        not meet(a, b, rows.var, rows.extent, {})
        for a in first
        for b in second
        if a.buffer == b.buffer and (a.writes or b.writes)
    )


def _of(statements: Sequence[Statement], ranges: Mapping[str, tuple[int, int]], names: set[str]) -> list[Access]:
    return distinct([a for a in accesses(statements, ranges) if a.buffer in names])


# ---- memory of a row


def localised(nest: Nest, own: Mapping[str, Buffer], buffers: dict[str, Buffer]) -> Nest:
    """``nest`` with temporaries made private (contracted) where each point uses a part of its own.

    They then need only as much memory as one point uses, and can lie in shared memory.
    """
    if not any(isinstance(s, (Loop, While)) for s in nest.body):
        return nest
    ranges = value_ranges(nest.body, nest.extents)
    for name in own:
        axes = tuple([v for v in nest.extents if v not in nest.private.get(name, ())])
        points = prod([nest.extents[v] for v in axes])
        found = [a for a in accesses(nest.body, ranges) if a.buffer == name]
        computed = any(isinstance(s, (Load, Store)) and s.buffer == name and s.dynamic for s in walk(nest.body))
        part = _part(found, axes, computed=computed)
        if part is None or part[0] >= buffers[name].size or part[0] * points > buffers[name].size:
            continue
        size, apart = part
        body = _without_axes(nest.body, name, axes, apart)
        buffers[name] = replace(buffers[name], size=size)
        nest = replace(nest, body=body, private={**nest.private, name: (*nest.private.get(name, ()), *axes)})
    return nest


def _part(found: Sequence[Access], axes: Sequence[str], *, computed: bool) -> tuple[int, int] | None:
    """How many elements one point uses, and their stride, if all accesses have the same strides along the grid.

    No access may go below 0 either. Where some positions are ``computed``, the elements keep their stride.
    """
    if not found or not found[0].writes:
        return None
    strides = [{v: a.strides.get(v, 0) for v in axes} for a in found]
    if any(s != strides[0] for s in strides) or not any(strides[0].values()):
        return None
    highest, apart = 0, int(computed)
    for a in found:
        if a.constant is None:
            return None
        inner = [a.strides[v] for v in a.inner if v in a.strides]
        apart = gcd(apart, *a.constant, *inner)
        spans = [a.strides[v] * (n - 1) for v, n in a.inner.items() if v in a.strides]
        if a.constant[0] + sum(min(s, 0) for s in spans) < 0:
            return None
        highest = max(highest, a.constant[1] + sum(max(s, 0) for s in spans))
    apart = max(apart, 1)
    return highest // apart + 1, apart


def _without_axes(body: Sequence[Statement], name: str, axes: Sequence[str], apart: int) -> tuple[Statement, ...]:
    """``body`` with ``name`` contracted to the elements of one point, side by side."""

    def one(s: Statement) -> Statement:
        match s:
            case Load(buffer=buffer) | Store(buffer=buffer) if buffer == name:
                terms = tuple([(v, stride // apart) for v, stride in s.index.terms if v not in axes])
                return replace(s, index=Index(s.index.offset // apart, terms))
            case _:
                return s

    return mapped(body, one)
