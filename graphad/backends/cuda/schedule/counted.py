"""Loops of a number of turns known when they run, as loops that end when a test says so: a device has no others.

Walk of one example, in steps in which the number is ``tmp0[0]``::

    for i in n reverse, s1: f64 = last(1.0, t2):    n0 = tmp0[0]
      t0 = tmp1[2*i + 1]                            more0 = gt(n0, 0)
      t2 = mul(s1, t0)                              while more1, more1 = last(more0, more2),
                                                           turn0 = last(0, turn1), s1 = last(1.0, t2):
                                                      turn1 = add(turn0, 1)
                                                      back0 = sub(n0, turn1)
                                                      at0 = mul(back0, 2)
                                                      t0 = tmp1[at0 + 1]
                                                      t2 = mul(s1, t0)
                                                      more2 = lt(turn1, n0)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from graphad.backends.cuda.program.sequential import STEPS
from graphad.backends.loops.ir import (
    Carry,
    Counted,
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
    stride_of,
)
from graphad.backends.loops.rewrites import Names, names_of
from graphad.backends.loops.steps import every_step, mapped_steps
from graphad.backends.loops.visit import replaced, walk
from graphad.ir.types import EXTENT, b1, i64, literal

_ZERO, _ONE = literal(0, i64), literal(1, i64)


def with_counted_loops_tested(program: KernelProgram) -> KernelProgram:
    """``program`` without loops over `EXTENT`; steps and temporaries of that length stay."""
    nests = [s for s in every_step(program.steps) if isinstance(s, LoopNest)]
    names = Names([*[b.name for b in program.buffers], *[n for s in nests for n in names_of(s.body)]])

    def one(step: Step) -> Step:
        if not isinstance(step, Counted):
            return step

        def nest(inner: Step) -> Step:
            return _Nest(step.count, names).tested(inner) if isinstance(inner, LoopNest) else inner

        return replace(step, body=mapped_steps(step.body, nest))

    return replace(program, steps=mapped_steps(program.steps, one))


class _Nest:
    """Rewrites one nest, whose number of turns is in the buffer ``count``."""

    def __init__(self, count: str, names: Names) -> None:
        self.count = count
        self.names = names
        self.number = names.fresh("n")

    def tested(self, nest: LoopNest) -> LoopNest:
        """``nest`` with every loop over the number replaced."""
        if not any(isinstance(s, Loop) and s.extent == EXTENT for s in walk(nest.body)):
            return nest
        number = Load(self.number, self.count, Index(), loc=nest.loc)
        return replace(nest, body=(number, *replaced(nest.body, self.one)))

    def one(self, s: Statement) -> Sequence[Statement]:
        """A loop over the number as a `While`, and what stands before it; other statements as they are."""
        if not isinstance(s, Loop) or s.extent != EXTENT:
            return (s,)
        first, more, again = (self.names.fresh("more") for _ in range(3))
        turn, following = self.names.fresh("turn"), self.names.fresh("turn")
        head: list[Statement] = [Let(following, i64, "add", (turn, _ONE), s.loc)]
        at = turn
        if s.reverse:
            at = self.names.fresh("back")
            head.append(Let(at, i64, "sub", (self.number, following), s.loc))
        body, offsets = self.over(s, at)
        carries, tail = self.carried(s)
        tail.append(Let(again, b1, "lt", (following, self.number), s.loc))
        carries = [Carry(more, b1, "last", first, again), Carry(turn, i64, "last", _ZERO, following), *carries]
        loop = While(more, (*head, *offsets, *body, *tail), tuple(carries), s.loc)
        return Let(first, b1, "gt", (self.number, _ZERO), s.loc), loop

    def over(self, loop: Loop, at: str) -> tuple[tuple[Statement, ...], list[Statement]]:
        """The body with the coordinate of ``loop`` a value, ``at``, and statements that compute its multiples."""
        multiples: dict[int, str] = {1: at}
        offsets: list[Statement] = []

        def multiple(stride: int) -> str:
            if stride not in multiples:
                name = multiples[stride] = self.names.fresh("at")
                offsets.append(Let(name, i64, "mul", (at, literal(stride, i64)), loop.loc))
            return multiples[stride]

        def one(s: Statement) -> Sequence[Statement]:
            stride = stride_of(s.index, loop.var) if isinstance(s, (Load, Store, Position)) else 0
            if not isinstance(s, (Load, Store, Position)) or not stride:
                return (s,)
            index = replace(s.index, terms=tuple([t for t in s.index.terms if t[0] != loop.var]))
            if isinstance(s, Position) and index == Index():
                return (Let(s.name, s.dtype, "cast", (multiple(stride),), s.loc),)
            if isinstance(s, Position):
                base, total = self.names.fresh("at"), self.names.fresh("at")
                return (
                    Position(base, i64, index, s.loc),
                    Let(total, i64, "add", (base, multiple(stride)), s.loc),
                    Let(s.name, s.dtype, "cast", (total,), s.loc),
                )
            if s.dynamic is None:
                return (replace(s, index=index, dynamic=multiple(stride)),)
            total = self.names.fresh("at")
            place = Let(total, i64, "add", (s.dynamic, multiple(stride)), s.loc)
            return place, replace(s, index=index, dynamic=total)

        return replaced(loop.body, one), offsets

    def carried(self, loop: Loop) -> tuple[list[Carry], list[Statement]]:
        """The carries with ``last`` for every combination, and the statements that combine."""
        carries: list[Carry] = []
        steps: list[Statement] = []
        for c in loop.carries:
            if c.combine == "last":
                carries.append(c)
                continue
            following = self.names.fresh("t")
            if c.factor is not None:
                steps.append(Let(following, c.dtype, "fma", (*c.reads, c.name), loop.loc))
            else:
                steps.append(Let(following, c.dtype, STEPS[c.combine], (c.name, c.update), loop.loc))
            carries.append(Carry(c.name, c.dtype, "last", c.init, following))
        return carries, steps
