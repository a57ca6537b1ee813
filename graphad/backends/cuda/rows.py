"""Neighbouring nests made one kernel: a launch saved, and often a way through memory.

Two nests can be one if they go over the same rows (independent iterations of an outermost loop), and what one writes
the other touches in the same row only. Small nests can be one in any case: a single block runs them in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.cuda.footprint import Access, accesses, distinct, meet, value_ranges
from graphad.backends.cuda.limits import Limits
from graphad.backends.cuda.nest import Nest, is_private, points_independent
from graphad.backends.cuda.program import reads, writes
from graphad.backends.cuda.rewrites import Names, forward, handed_on, is_pure, substituted
from graphad.backends.loops import (
    Buffer,
    Index,
    Load,
    Loop,
    LoopNest,
    Statement,
    Step,
    Store,
    walk,
)

#: How many steps back a nest is fused.
_REACH: Final = 4
#: Iterations that one thread of a small nest may make.
_LONGEST: Final = 128


def with_rows_fused(steps: Sequence[Step], names: Names, buffers: dict[str, Buffer], limits: Limits) -> list[Step]:
    """``steps`` with nests fused where that saves launches without leaving threads idle."""
    return _Fuser(steps, names, buffers, limits).run(steps)


def is_deep(loop: Loop, limits: Limits) -> bool:
    """Whether a loop that is combined over has loops inside that need more threads than one, or memory of their own."""
    if not loop.carries or any(c.combine == "last" for c in loop.carries):
        return False
    inner = max([_iterations(s) for s in loop.body if isinstance(s, Loop)], default=0)
    nest = LoopNest((loop,))
    alone = inner > 0 and not reads(nest).isdisjoint(writes(nest))
    return (inner >= limits.spread or alone) and loop.extent * inner > limits.small


@dataclass(frozen=True, slots=True)
class _Rows:
    """A nest as rows: ``body`` for each value of ``var``; ``own`` are temporaries that every row fills anew."""

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
            parts = self._without_sum(step)
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
        """Make ``step`` part of an earlier nest, if there is one that it can join."""
        for k in range(len(self.done) - 1, max(len(self.done) - 1 - _REACH, -1), -1):
            earlier = self.done[k]
            if isinstance(earlier, LoopNest):
                fused = self._joined(earlier, step)
                if fused is not None:
                    self.done[k] = fused
                    return True
            if not _commute(earlier, step):
                return False
        return False

    # ---- two nests

    def _joined(self, first: LoopNest, second: LoopNest) -> LoopNest | None:
        shared = writes(first) & (reads(second) | writes(second))
        if self._is_small(first) and self._is_small(second):
            fused = LoopNest(handed_on((*first.body, *second.body)), first.loc)
            self.small[id(fused)] = fused
            return fused
        if not shared:
            return None
        one, two = self._as_rows(first), self._as_rows(second)
        if one is None or two is None:
            return None
        one, two = _alike(one, two), _alike(two, one)
        if one.extent != two.extent or one.extent < self.limits.rows:
            return None
        var = one.var
        follower = substituted(two.body, two.var, Index(0, ((var, 1),)))
        if not _apart(one, follower, shared | (writes(second) & reads(first))):
            return None
        body = (*one.body, *follower)
        fused = LoopNest((Loop(var, one.extent, body, loc=first.loc),), first.loc)
        self.rows[id(fused)] = fused, _Rows(var, one.extent, body, one.own | two.own)
        return fused

    def _as_rows(self, nest: LoopNest) -> _Rows | None:
        """``nest`` as independent rows, if that is what it is."""
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
                and is_private(self.buffers[name], loop.var, body)
            ]
        )
        if not points_independent(loop.var, loop.extent, body, {}, own):
            return None
        return _Rows(loop.var, loop.extent, body, own)

    def _is_small(self, nest: LoopNest) -> bool:
        """Whether one block is enough, and can share out all that is in ``nest``."""
        if self.limits.small == 0 or id(nest) in self.small:
            return self.limits.small > 0
        for s in nest.body:
            if isinstance(s, Loop):
                flat = forward(s)
                last = any(c.combine == "last" for c in s.carries)
                if last or _iterations(s) > self.limits.small or not points_independent(s.var, s.extent, flat.body, {}):
                    return False
                if _iterations(s) > _LONGEST * _width(s):
                    return False
        return True

    # ---- a sum over rows

    def _without_sum(self, nest: LoopNest) -> tuple[LoopNest, LoopNest] | None:
        """A nest that reduces what it computes for each row, as one that stores it and one that reduces that."""
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
            stores.append(Store(buffer, here, c.update, loc=loop.loc))
            loads.append(Load(value, buffer, here, loc=loop.loc))
            carries[n] = replace(c, update=value)
        var = self.names.fresh(loop.var)
        rows = replace(loop, body=(*loop.body, *stores), carries=())
        summed = Loop(
            var, loop.extent, substituted(loads, loop.var, Index(0, ((var, 1),))), tuple(carries), loc=loop.loc
        )
        return LoopNest((*nest.body[:k], rows), nest.loc), LoopNest((*nest.body[:k], summed, *rest), nest.loc)


def _commute(a: Step, b: Step) -> bool:
    """Whether two steps may change places."""
    return writes(a).isdisjoint(reads(b) | writes(b)) and writes(b).isdisjoint(reads(a))


def _width(loop: Loop) -> int:
    """Iterations of a loop and of those that are all its body."""
    inner = loop.body[0] if len(loop.body) == 1 else None
    return loop.extent * (_width(inner) if isinstance(inner, Loop) else 1)


def _iterations(loop: Loop) -> int:
    inside = [_iterations(s) for s in loop.body if isinstance(s, Loop)]
    return loop.extent * max(sum(inside), 1)


def _alike(rows: _Rows, other: _Rows) -> _Rows:
    """``rows`` cut into as many as ``other`` has, if it is one loop over the elements of all rows."""
    if rows.extent == other.extent or rows.extent % other.extent or rows.own:
        return rows
    inner = rows.extent // other.extent
    var, element = f"{rows.var}_row", f"{rows.var}_in"
    at = Index(0, tuple(sorted([(var, inner), (element, 1)])))
    pure: list[Statement] = []
    body = substituted(rows.body, rows.var, at)
    return _Rows(var, other.extent, (*pure, Loop(element, inner, body)), rows.own)


def _apart(rows: _Rows, follower: Sequence[Statement], names: set[str]) -> bool:
    """Whether the follower touches ``names`` only in the row in which the first nest touches them."""
    ranges = value_ranges([*rows.body, *follower], {rows.var: rows.extent})
    first, second = _of(rows.body, ranges, names), _of(follower, ranges, names)
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
    """``nest`` with the temporaries of which each point uses a part of its own taken for private ones.

    They then need only as much memory as one point uses, and can lie in shared memory.
    """
    if not any(isinstance(s, Loop) for s in nest.body):
        return nest
    ranges = value_ranges(nest.body, nest.extents)
    axes = tuple(nest.extents)
    for name in own:
        if name in nest.private:
            continue
        found = [a for a in accesses(nest.body, ranges) if a.buffer == name]
        part = _part(found, axes)
        if part is None or part >= buffers[name].size:
            continue
        body = _without_axes(nest.body, name, axes)
        buffers[name] = replace(buffers[name], size=part)
        nest = replace(nest, body=body, private={**nest.private, name: axes})
    return nest


def _part(found: Sequence[Access], axes: Sequence[str]) -> int | None:
    """How many elements one point uses, if all accesses move alike from point to point, and none goes below 0."""
    if not found or not found[0].writes:
        return None
    strides = [{v: a.strides.get(v, 0) for v in axes} for a in found]
    if any(s != strides[0] for s in strides) or not any(strides[0].values()):
        return None
    highest = 0
    for a in found:
        if a.constant is None:
            return None
        spans = [a.strides[v] * (n - 1) for v, n in a.inner.items() if v in a.strides]
        if a.constant[0] + sum(min(s, 0) for s in spans) < 0:
            return None
        highest = max(highest, a.constant[1] + sum(max(s, 0) for s in spans))
    return highest + 1


def _without_axes(body: Sequence[Statement], name: str, axes: Sequence[str]) -> tuple[Statement, ...]:
    def one(s: Statement) -> Statement:
        match s:
            case Load(buffer=buffer) | Store(buffer=buffer) if buffer == name:
                return replace(s, index=Index(s.index.offset, tuple([t for t in s.index.terms if t[0] not in axes])))
            case Loop():
                return replace(s, body=_without_axes(s.body, name, axes))
            case _:
                return s

    return tuple([one(s) for s in body])
