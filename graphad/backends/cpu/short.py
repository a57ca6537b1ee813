"""Short loops written out, so that a longer loop around them, or one within, has the lanes.

A loop of three turns leaves lanes idle, and a sum over it is one across lanes. Written out it is some more statements,
and the long loop fills its vectors::

    for j in 300:                                        for j in 300 vector:
      for k in 3 vector, s = sum(0.0, t * t):              t0, t1, t2 = x[3*j], x[3*j + 1], x[3*j + 2]
        t = x[3*j + k]                            ->       s0 = fma(t0, t0, 0.0)
      y[j] = s                                             s1 = fma(t1, t1, s0)
                                                           y[j] = fma(t2, t2, s1)

    for j in 3 vector:                                   for k in 300 vector, s0 = sum(0.0, t0), s1 = ..., s2 = ...:
      for k in 300, s = sum(0.0, t):              ->       t0, t1, t2 = x[3*k], x[3*k + 1], x[3*k + 2]
        t = x[3*k + j]                                   y[0], y[1], y[2] = s0, s1, s2
      y[j] = s

Neighbours that are over one axis then become one loop, and of two loops, one within the other, that one has the lanes
along which memory is read in its order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.loops.independence import independent
from graphad.backends.loops.ir import (
    Buffer,
    Counted,
    Index,
    KernelProgram,
    Load,
    Loop,
    LoopNest,
    Repeat,
    RepeatWhile,
    Statement,
    Step,
    Store,
    While,
    stride_of,
)
from graphad.backends.loops.rewrites import Names, loops_of, names_of, substituted, used
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step, mapped_steps
from graphad.backends.loops.unrolled import combines, hoisted, jammed, tidied, turns_of
from graphad.backends.loops.visit import walk
from graphad.ir.types import EXTENT

#: A short loop has at most so many turns. Of one without a sum, elements fill less than a vector of so many bytes.
SHORT: Final = 8
_VECTOR: Final = 32
#: A loop is long enough for lanes from so many turns.
_LONG: Final = 16
#: What is written out has at most so many statements.
_MOST: Final = 700
#: How many instructions an access by four lanes takes: to one element or neighbours, in a tile, or to places apart.
_TOGETHER: Final = 1
_TILE: Final = 3
_APART: Final = 8


def short_loops_written_out(program: KernelProgram) -> KernelProgram:
    """``program`` with the lanes of its nests in long loops."""
    buffers = {b.name: b for b in program.buffers}
    accesses = _accesses(program)

    def one(step: Step) -> Step:
        if not isinstance(step, LoopNest) or not _has_short(step.body) or _has_private(step.body, buffers):
            return step
        around = Around(buffers, accesses, Names([*buffers, *names_of(step.body)]), {})
        return replace(step, body=around.written_out(step.body))

    steps = mapped_steps(program.steps, one)
    if steps == program.steps:
        return program
    made = replace(program, steps=steps)
    left = _accesses(made)
    return replace(made, buffers=tuple([b for b in program.buffers if b.role != "temporary" or left[b.name]]))


def _accesses(program: KernelProgram) -> Counter[str]:
    """How many loads and stores there are of each buffer, and steps that name it."""
    found: Counter[str] = Counter()
    for s in every_step(program.steps):
        match s:
            case LoopNest():
                found.update([t.buffer for t in walk(s.body) if isinstance(t, (Load, Store))])
            case Repeat(swaps=swaps, windows=windows):
                found.update([*[name for pair in swaps for name in pair], *[w.buffer for w in windows]])
            case RepeatWhile(swaps=swaps, condition=condition):
                found.update([*[name for pair in swaps for name in pair], condition])
            case Counted(count=count):
                found[count] += 1
            case _:
                found.update(buffers_read(s) | buffers_written(s))
    return found


def _has_short(statements: Iterable[Statement]) -> bool:
    """Whether there is anything to do, which is quickly said for most programs."""
    return any([isinstance(s, Loop) and s.vector and s.extent <= SHORT for s in walk(statements)])


def _has_private(statements: Iterable[Statement], buffers: Mapping[str, Buffer]) -> bool:
    """Whether lanes have memory of their own."""
    return any([isinstance(s, (Load, Store)) and buffers[s.buffer].private for s in walk(statements)])


@dataclass(frozen=True)
class Around:
    """What is known of statements.

    Attributes
    ----------
    buffers
        Those of the program.
    accesses
        How many loads, stores and other steps access each.
    names
        New names of values.
    extents
        The loops around.
    """

    buffers: Mapping[str, Buffer]
    accesses: Mapping[str, int]
    names: Names
    extents: Mapping[str, int]

    def within(self, loop: Loop) -> Around:
        """What is around the body of a loop."""
        return Around(self.buffers, self.accesses, self.names, {**self.extents, loop.var: loop.extent})

    def written_out(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Statements with their short loops written out, where lanes gain by it."""
        found: list[Statement] = []
        for s in statements:
            if isinstance(s, Loop) and not s.vector:
                found += self.around_short(s)
            elif isinstance(s, Loop) and self.holds_long(s):
                found += self.at_once(s)
            else:
                found.append(s)
        return self.fused(found) if len(loops_of(found)) > 1 and found != list(statements) else tuple(found)

    # ---- a long loop around short ones

    def around_short(self, loop: Loop) -> list[Statement]:
        """A loop that has no lanes."""
        out = self.in_lanes(loop)
        if out is not None:
            return hoisted(out)
        body = self.within(loop).written_out(loop.body)
        if body == loop.body:
            return [loop]
        return [self.with_lanes(tidied(replace(loop, body=body)))]

    def in_lanes(self, loop: Loop) -> Loop | None:
        """A long loop with lanes, that holds only short ones; None if it stays as it is."""
        loops = [s for s in walk(loop.body) if isinstance(s, (Loop, While))]
        if not loops or not all([combines(s) and isinstance(s, Loop) and s.extent <= SHORT for s in loops]):
            return None
        if _size(loop.body) > _MOST or not any([self.gains(s) for s in loops]):
            return None
        body = tuple([t for s in loop.body for t in turns_of(s, self.names)])
        out = self.without_own(tidied(replace(loop, body=body, vector=True)), loop)
        return out if self.may_have_lanes(out) else None

    def gains(self, s: Loop | While) -> bool:
        """Whether a loop in lanes is better without them, as lanes would be idle or sum up what is in them."""
        if not isinstance(s, Loop) or not s.vector:
            return False
        return bool(s.carries) or not self.fills(s)

    def fills(self, s: Loop) -> bool:
        """Whether the elements of all turns fill a vector."""
        sizes = [self.buffers[t.buffer].dtype.bits // 8 for t in walk(s.body) if isinstance(t, (Load, Store))]
        return s.extent * max(sizes, default=8) >= _VECTOR

    def without_own(self, out: Loop, loop: Loop) -> Loop:
        """A loop without what it stores for itself alone, and does not load any more."""
        accesses = Counter([s.buffer for s in walk(loop.body) if isinstance(s, (Load, Store))])
        loaded = {s.buffer for s in walk(out.body) if isinstance(s, Load)}
        own = {b for b, n in accesses.items() if self.buffers[b].role == "temporary" and self.accesses[b] == n}
        body = [s for s in out.body if not isinstance(s, Store) or s.buffer not in own - loaded]
        return replace(out, body=tuple(body))

    def may_have_lanes(self, loop: Loop) -> bool:
        """Whether turns of a loop, which is long, can be run in lanes."""
        return (
            _LONG <= loop.extent < EXTENT
            and not loop.reverse
            and combines(loop)
            and all([combines(s) for s in walk(loop.body) if isinstance(s, (Loop, While))])
            and _moves_in_step(loop)
            and independent(loop.var, loop.extent, loop.body, self.extents)
        )

    # ---- a long loop within a short one

    def holds_long(self, loop: Loop) -> bool:
        """Whether a short loop, whose lanes are not all busy, holds one long loop, whose turns can have them."""
        inner = _only_loop(loop.body)
        if loop.extent > SHORT or loop.carries or inner is None or self.fills(loop):
            return False
        loops = loops_of(inner.body)
        if any([loops_of(s.body) or s.extent > SHORT for s in loops]) or loop.extent * _size(inner.body) > _MOST:
            return False
        return self.within(loop).may_have_lanes(inner)

    def at_once(self, loop: Loop) -> list[Statement]:
        """All turns of a short loop in one long loop, which has the lanes."""
        body: list[Statement] = []
        for s in loop.body:
            if isinstance(s, Loop):
                inner = tuple([t for u in s.body for t in turns_of(u, self.names)])
                body.append(replace(s, body=inner, vector=True))
            else:
                body.append(s)
        return [
            t
            for s in jammed(replace(loop, body=tuple(body)), self.names)
            for t in (hoisted(tidied(s)) if isinstance(s, Loop) else [s])
        ]

    # ---- tidying up

    def fused(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Neighbouring loops in lanes over one axis as one loop, where no turn waits for another."""
        found: list[Statement] = []
        for s in statements:
            k = max([k for k, t in enumerate(found) if isinstance(t, (Loop, While, Store))], default=-1)
            first = found[k] if k >= 0 else None
            one = self.one_loop(first, s, found[k + 1 :]) if isinstance(first, Loop) and isinstance(s, Loop) else None
            if one is None:
                found.append(s)
            else:
                found[k:] = one
        return tuple(found)

    def one_loop(self, first: Loop, second: Loop, between: Sequence[Statement]) -> list[Statement] | None:
        """Two loops as one, if that computes the same; None otherwise."""
        if not (first.vector and second.vector) or first.extent != second.extent or loops_of(first.body + second.body):
            return None
        if _size(first.body) + _size(second.body) > _MOST:
            return None
        results = {c.name for c in first.carries}
        behind = [*between, second]
        written = {s.buffer for s in walk(first.body) if isinstance(s, Store)}
        if not results.isdisjoint(used(behind)) or any([isinstance(s, Load) and s.buffer in written for s in between]):
            return None
        body = first.body + substituted(second.body, second.var, Index(0, ((first.var, 1),)))
        together = replace(first, body=body, carries=first.carries + second.carries)
        if not self.may_have_lanes(together):
            return None
        return [*between, *hoisted(tidied(together))]

    def with_lanes(self, loop: Loop) -> Loop:
        """A loop around one in lanes, which has the lanes instead if that reads memory in its order."""
        inner = _only_loop(loop.body)
        if inner is None or not inner.vector or loops_of(inner.body) or not self.may_have_lanes(loop):
            return loop
        if _cost(inner.body, loop.var) >= _cost(inner.body, inner.var):
            return loop
        body = tuple([replace(s, vector=False) if s is inner else s for s in loop.body])
        return replace(loop, body=body, vector=True)


def _moves_in_step(loop: Loop) -> bool:
    """Whether all accesses to a buffer that a loop writes move alike from turn to turn, as those of lanes must."""
    accesses = [s for s in walk(loop.body) if isinstance(s, (Load, Store))]
    written = {s.buffer for s in accesses if isinstance(s, Store)}
    strides = {(s.buffer, stride_of(s.index, loop.var)) for s in accesses if s.buffer in written}
    return len(strides) == len(written) and all([stride for _, stride in strides])


def _size(statements: Iterable[Statement]) -> int:
    """How many statements these are when they are written out."""
    return sum([s.extent * (_size(s.body) + len(s.carries)) if isinstance(s, Loop) else 1 for s in statements])


def _only_loop(body: Sequence[Statement]) -> Loop | None:
    """The only statement that holds others, if it is a loop."""
    found = [s for s in body if isinstance(s, (Loop, While))]
    return found[0] if len(found) == 1 and isinstance(found[0], Loop) else None


def _cost(statements: Sequence[Statement], var: str) -> int:
    """What it costs that ``var`` counts the lanes of these accesses."""
    accesses = [s for s in statements if isinstance(s, (Load, Store))]
    return sum([_cost_of(s, var, accesses) for s in accesses])


def _cost_of(s: Load | Store, var: str, accesses: Sequence[Load | Store]) -> int:
    stride = abs(stride_of(s.index, var))
    if s.dynamic is not None:
        return _APART
    if stride < 2:
        return _TOGETHER
    beside = {t.index.offset for t in accesses if t.buffer == s.buffer and t.index.terms == s.index.terms}
    return _TILE if len(beside) > stride // 2 else _APART
