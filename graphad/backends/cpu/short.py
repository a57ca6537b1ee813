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
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.loops.independence import independent
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Position,
    Statement,
    Step,
    Store,
    While,
    is_half,
    stride_of,
)
from graphad.backends.loops.rewrites import (
    Names,
    copied,
    defined,
    loops_of,
    names_of,
    renamed,
    substituted,
    used,
)
from graphad.backends.loops.steps import mapped_steps
from graphad.backends.loops.visit import walk
from graphad.ir.types import EXTENT

#: A short loop has at most so many turns. Of one without a sum, elements fill less than a vector of so many bytes.
SHORT: Final = 8
_VECTOR: Final = 32
#: A loop is long enough for lanes from so many turns.
_LONG: Final = 16
#: What is written out has at most so many statements.
_MOST: Final = 160
#: How many instructions an access by four lanes takes: to one element or neighbours, in a tile, or to places apart.
_TOGETHER: Final = 1
_TILE: Final = 3
_APART: Final = 8
#: How a loop combines, as an operator.
_OPERATORS: Final = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum", "and": "and", "or": "or"}


def short_loops_written_out(program: KernelProgram) -> KernelProgram:
    """``program`` with the lanes of its nests in long loops."""
    buffers = {b.name: b for b in program.buffers}

    def one(step: Step) -> Step:
        if not isinstance(step, LoopNest) or not _has_short(step.body) or _has_private(step.body, buffers):
            return step
        around = Around(buffers, Names([*buffers, *names_of(step.body)]), {})
        return replace(step, body=around.written_out(step.body))

    return replace(program, steps=mapped_steps(program.steps, one))


def _has_short(statements: Iterable[Statement]) -> bool:
    """Whether there is anything to do, which is quickly said for most programs."""
    return any([isinstance(s, Loop) and s.vector and s.extent <= SHORT for s in walk(statements)])


def _has_private(statements: Iterable[Statement], buffers: Mapping[str, Buffer]) -> bool:
    """Whether lanes have memory of their own."""
    return any([isinstance(s, (Load, Store)) and buffers[s.buffer].private for s in walk(statements)])


@dataclass(frozen=True)
class Around:
    """Statements stand in loops of these ``extents``."""

    buffers: Mapping[str, Buffer]
    names: Names
    extents: Mapping[str, int]

    def within(self, loop: Loop) -> Around:
        """What is around the body of a loop."""
        return Around(self.buffers, self.names, {**self.extents, loop.var: loop.extent})

    def written_out(self, statements: Sequence[Statement]) -> tuple[Statement, ...]:
        """Statements with their short loops written out, where lanes gain by it."""
        found: list[Statement] = []
        for s in statements:
            if isinstance(s, Loop) and not s.vector:
                found += self.around_short(s)
            elif isinstance(s, Loop) and self.holds_long(s):
                found += self.jammed(s)
            else:
                found.append(s)
        return self.fused(found) if len(loops_of(found)) > 1 and found != list(statements) else tuple(found)

    # ---- a long loop around short ones

    def around_short(self, loop: Loop) -> list[Statement]:
        """A loop that has no lanes."""
        inner = self.within(loop)
        loops = [s for s in loop.body if isinstance(s, (Loop, While))]
        if loops and all([inner.is_short(s) for s in loops]) and self.may_have_lanes(loop):
            out = replace(loop, body=tuple([t for s in loop.body for t in inner.as_statements(s)]))
            if len(out.body) <= _MOST:
                return _hoisted(_tidy(replace(out, vector=True)))
        body = inner.written_out(loop.body)
        if body == loop.body:
            return [loop]
        return [self.with_lanes(_tidy(replace(loop, body=body)))]

    def is_short(self, s: Statement) -> bool:
        """Whether a loop is better written out, if the one around it has lanes instead."""
        if not isinstance(s, Loop) or not s.vector or s.extent > SHORT or loops_of(s.body):
            return False
        if any([isinstance(t, While) for t in s.body]) or not _is_arithmetic(s):
            return False
        if s.carries:
            return True
        sizes = [self.buffers[t.buffer].dtype.bits // 8 for t in s.body if isinstance(t, (Load, Store))]
        return s.extent * max(sizes, default=8) < _VECTOR

    def may_have_lanes(self, loop: Loop) -> bool:
        """Whether turns of a loop, which is long, can be run in lanes."""
        return (
            _LONG <= loop.extent < EXTENT
            and not loop.reverse
            and _is_arithmetic(loop)
            and all([_is_arithmetic(s) for s in walk(loop.body) if isinstance(s, (Loop, While))])
            and _moves_in_step(loop)
            and independent(loop.var, loop.extent, loop.body, self.extents)
        )

    def as_statements(self, s: Statement) -> list[Statement]:
        """A short loop as what its turns do, one after the other."""
        if not isinstance(s, Loop):
            return [s]
        running: dict[str, object] = {c.name: c.init for c in s.carries}
        found: list[Statement] = []
        for turn in range(s.extent):
            body, own = copied(substituted(s.body, s.var, Index(turn)), self.names)
            found += body
            for c in s.carries:
                name = c.name if turn == s.extent - 1 else self.names.fresh(f"{c.name}_")
                found.append(_combined(c, name, running[c.name], own, s))
                running[c.name] = name
        return found

    # ---- a long loop within a short one

    def holds_long(self, loop: Loop) -> bool:
        """Whether a short loop holds one long loop, whose turns can have the lanes."""
        inner = _only_loop(loop.body)
        if loop.extent > SHORT or loop.carries or inner is None or loops_of(inner.body):
            return False
        return loop.extent * len(inner.body) <= _MOST and self.within(loop).may_have_lanes(inner)

    def jammed(self, loop: Loop) -> list[Statement]:
        """All turns of a short loop at once."""
        before, inner, after = _parts(loop.body)
        firsts: list[Statement] = []
        bodies: list[Statement] = []
        lasts: list[Statement] = []
        carries: list[Carry] = []
        for turn in range(loop.extent):
            at = Index(turn)
            first, own = copied(substituted(before, loop.var, at), self.names)
            body, names = copied(renamed(substituted(inner.body, loop.var, at), own), self.names)
            results = {c.name: self.names.fresh(f"{c.name}_") for c in inner.carries}
            known = {**own, **names, **results}
            ends = renamed((replace(inner, body=()),), known)
            last, _ = copied(renamed(substituted(after, loop.var, at), known), self.names)
            firsts += first
            bodies += renamed(body, results)
            lasts += last
            carries += [c for s in ends if isinstance(s, Loop) for c in s.carries]
        together = replace(inner, body=tuple(bodies), carries=tuple(carries), vector=True)
        return [*firsts, *_hoisted(_tidy(together)), *lasts]

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
        if len(first.body) + len(second.body) > _MOST:
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
        return [*between, *_hoisted(_tidy(together))]

    def with_lanes(self, loop: Loop) -> Loop:
        """A loop around one in lanes, which has the lanes instead if that reads memory in its order."""
        inner = _only_loop(loop.body)
        if inner is None or not inner.vector or loops_of(inner.body) or not self.may_have_lanes(loop):
            return loop
        if _cost(inner.body, loop.var) >= _cost(inner.body, inner.var):
            return loop
        body = tuple([replace(s, vector=False) if s is inner else s for s in loop.body])
        return replace(loop, body=body, vector=True)


def _tidy(loop: Loop) -> Loop:
    """A loop without what computes or loads a value that is there already."""
    stores = Counter([s.buffer for s in walk(loop.body) if isinstance(s, Store)])
    seen: dict[Hashable, str] = {}
    names: dict[str, str] = {}
    found: list[Statement] = []
    for s in loop.body:
        (now,) = renamed((s,), names)
        match now:
            case Let(dtype=dtype, op=op, args=args):
                key: Hashable = (op, dtype, args)
            case Position(dtype=dtype, index=index):
                key = (dtype, index)
            case Load(buffer=buffer, index=index, dynamic=dynamic):
                key = (buffer, index, dynamic)
            case Store(buffer=buffer, index=index, dynamic=None, mask=None, value=str(value)) if stores[buffer] == 1:
                seen[buffer, index, None] = value
                key = None
            case _:
                key = None
        if key is None:
            found.append(_tidy(now) if isinstance(now, Loop) else now)
        elif key in seen:
            names |= dict.fromkeys(defined(now), seen[key])
        else:
            found.append(now)
            if not isinstance(now, Load) or now.buffer not in stores:
                seen[key] = defined(now)[0]
    (ends,) = renamed((replace(loop, body=()),), names)
    return replace(ends, body=tuple(found))  # type: ignore[type-var]


def _hoisted(loop: Loop) -> list[Statement]:
    """A loop behind what is the same in all of its turns."""
    written = {s.buffer for s in walk(loop.body) if isinstance(s, Store)}
    varies = {c.name for c in loop.carries}
    before: list[Statement] = []
    kept: list[Statement] = []
    for s in loop.body:
        if varies.isdisjoint(used((s,))) and _is_fixed(s, loop.var, written):
            before.append(s)
        else:
            kept.append(s)
            varies.update(names_of((s,)))
    return [*before, replace(loop, body=tuple(kept))]


def _is_fixed(s: Statement, var: str, written: Set[str]) -> bool:
    """Whether a statement is a value that does not depend on ``var``, but for what it reads of others."""
    match s:
        case Let():
            return True
        case Position(index=index):
            return not stride_of(index, var)
        case Load(index=index, buffer=buffer):
            return not stride_of(index, var) and buffer not in written
        case _:
            return False


def _is_arithmetic(loop: Loop | While) -> bool:
    """Whether what a loop carries can be combined by an operator, in any order."""
    return isinstance(loop, Loop) and all([c.combine in _OPERATORS and not is_half(c.dtype) for c in loop.carries])


def _moves_in_step(loop: Loop) -> bool:
    """Whether all accesses to a buffer that a loop writes move alike from turn to turn, as those of lanes must."""
    accesses = [s for s in walk(loop.body) if isinstance(s, (Load, Store))]
    written = {s.buffer for s in accesses if isinstance(s, Store)}
    strides = {(s.buffer, stride_of(s.index, loop.var)) for s in accesses if s.buffer in written}
    return len(strides) == len(written) and all([stride for _, stride in strides])


def _combined(c: Carry, name: str, running: object, names: Mapping[str, str], loop: Loop) -> Let:
    """What a loop carries, after one more turn."""
    reads = [names.get(r, r) if isinstance(r, str) else r for r in c.reads]
    if c.factor is not None:
        return Let(name, c.dtype, "fma", (*reads, running), loop.loc)  # type: ignore[arg-type]
    return Let(name, c.dtype, _OPERATORS[c.combine], (running, *reads), loop.loc)  # type: ignore[arg-type]


def _only_loop(body: Sequence[Statement]) -> Loop | None:
    """The only statement that holds others, if it is a loop."""
    found = [s for s in body if isinstance(s, (Loop, While))]
    return found[0] if len(found) == 1 and isinstance(found[0], Loop) else None


def _parts(body: Sequence[Statement]) -> tuple[Sequence[Statement], Loop, Sequence[Statement]]:
    """What stands before the only loop, that, and what stands behind it."""
    ((at, inner),) = [(k, s) for k, s in enumerate(body) if isinstance(s, Loop)]
    return body[:at], inner, body[at + 1 :]


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
