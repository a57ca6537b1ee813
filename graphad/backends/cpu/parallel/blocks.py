"""Loops over one axis, written as blocks: the parallel turns, what does not fill one, and the sums of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from graphad.backends.cpu.parallel.products import Product
from graphad.backends.cpu.parallel.routines import Batch
from graphad.backends.cpu.parallel.wide import Memory, Wide, named, nothing_of, touched
from graphad.backends.cpu.parallel.work import turns_of_block
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Gemm,
    Index,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Operand,
    Position,
    Repeat,
    RoutineCall,
    Statement,
    Step,
    Store,
    While,
    Window,
    index_range,
)
from graphad.backends.loops.rewrites import needed, substituted, used
from graphad.backends.loops.steps import over
from graphad.backends.loops.visit import mapped
from graphad.ir.types import DType, Literal, f64, literal

#: What a block may have of arrays over all turns, in bytes: it lies on the stack, and should stay in the second cache.
_ROOM: Final = 1 << 18


class Blocks:
    """Writes the loops ``members`` as blocks."""

    def __init__(self, memory: Memory, members: Sequence[Wide]) -> None:
        self.memory, self.members, self.names = memory, members, memory.names
        extent = members[0].loop.extent
        self.turns = turns_of_block(extent, sum([m.work for m in members]), max([m.least for m in members]))
        self.count, self.rest = divmod(extent, self.turns)
        self.var = self.names.fresh("block")
        self.together = memory.together(members)
        self.own = [b for b in touched(self.together.body) if memory.is_own(b, self.together, members)]
        self.stretches = self.sliced()
        sizes = self.count + bool(self.rest)
        self.parts = {
            (k, j): memory.new(Buffer(self.names.fresh("part"), summed_in(c), sizes, "temporary"))
            for k, m in enumerate(members)
            for j, c in enumerate(m.loop.carries)
        }
        for k, m in enumerate(members):
            if isinstance(m.cut, Product) and m.results:
                g = m.cut.gemm
                part = Buffer(self.names.fresh("part"), g.dtype, sizes * g.m * g.n, "temporary")
                self.parts[k, 0] = memory.new(part)
        self.windows: list[Window] = []

    def steps(self) -> list[Step]:
        """The steps in the place of the loops."""
        loc = self.members[0].step.loc
        stretches = self.with_stretches(self.turns)
        at = Index(0, ((self.var, self.turns),))
        body = tuple([self.block(k, at, self.turns, stretches) for k in range(len(self.members))])
        windows, private = tuple(self.windows), (*self.own, *[b.name for b in stretches.values()])
        found: list[Step] = [Repeat(self.var, self.count, windows, (), body, parallel=True, private=private, loc=loc)]
        if self.rest:
            found += self.tail()
        return [*found, *[self.sums(k) for k, m in enumerate(self.members) if m.results]]

    def tail(self) -> list[Step]:
        """What does not fill a block, with temporaries of its own."""
        stretches, at = self.with_stretches(self.rest), Index(self.count * self.turns)
        whole = {n: self.memory.buffers[n] for n in self.own}
        names = {n: self.memory.new(replace(b, name=self.names.fresh("own"))).name for n, b in whole.items()}
        self.windows.clear()
        steps = [self.block(k, at, self.rest, stretches) for k in range(len(self.members))]
        own = tuple([over(s, {n: names.get(n, n) for n in named(s)}, tuple) for s in steps])
        if not self.windows:
            return [*own]
        return [Repeat(self.names.fresh("rest"), 1, tuple(self.windows), (), own, loc=self.members[0].step.loc)]

    # ---- blocks

    def block(self, k: int, at: Index, turns: int, stretches: Mapping[str, Buffer]) -> LoopNest | Gemm | RoutineCall:
        """So many turns of a loop, from ``at`` on."""
        match self.members[k].cut:
            case Product() as product:
                return self.product(k, product, at, turns, stretches)
            case Batch() as batch:
                return batch.part(turns, lambda name, stride: self.place(name, 0, stride, at, stretches)[0])
            case None:
                return self.nest(k, at, turns, stretches)

    def product(self, k: int, p: Product, at: Index, turns: int, stretches: Mapping[str, Buffer]) -> Gemm:
        """So many units of the axis of a product."""

        def place(matrix: Matrix, stride: int) -> Matrix:
            buffer, offset = self.place(matrix.buffer, matrix.offset, stride, at, stretches)
            return replace(matrix, buffer=buffer, offset=offset)

        target = None
        if p.axis == "sum":
            size, number = p.gemm.m * p.gemm.n, Index(at.offset // self.turns, tuple([(v, 1) for v, _ in at.terms]))
            buffer, offset = self.place(self.parts[k, 0].name, 0, size, number, {})
            target = Matrix(buffer, offset, p.gemm.n)
        return p.part(turns, place, target)

    def place(
        self, buffer: str, offset: int, stride: int, at: Index, stretches: Mapping[str, Buffer]
    ) -> tuple[str, int]:
        """Where a block that begins ``at`` finds what moves by ``stride`` a turn: a buffer, and the offset there."""
        if buffer in stretches:
            return stretches[buffer].name, offset
        start, whole = offset + at.offset * stride, self.memory.buffers[buffer]
        step = sum([by for _, by in at.terms]) * stride
        size = whole.size - start - step * (self.count - 1 if at.terms else 0)
        seen = self.memory.new(Buffer(self.names.fresh("seen"), whole.dtype, size, "window"))
        self.windows.append(Window(seen.name, buffer, start, step))
        return seen.name, 0

    def nest(self, k: int, at: Index, turns: int, stretches: Mapping[str, Buffer]) -> LoopNest:
        """So many turns of a loop of statements."""
        m, loop = self.members[k], self.members[k].loop
        var = self.names.fresh(loop.var)
        here = Index(at.offset, tuple(sorted([*at.terms, (var, 1)])))

        def access(s: Statement) -> Statement:
            if isinstance(s, (Load, Store)) and s.buffer in stretches:
                return substituted((replace(s, buffer=stretches[s.buffer].name),), loop.var, Index(0, ((var, 1),)))[0]
            return substituted((s,), loop.var, here)[0] if isinstance(s, (Load, Store, Position)) else s

        carries = tuple([replace(c, init=nothing_of(c)) for c in loop.carries])
        part = replace(loop, var=var, extent=turns, body=mapped(loop.body, access), carries=carries)
        number = Index(0, ((self.var, 1),)) if at.terms else Index(self.count)
        behind = [s for j, c in enumerate(loop.carries) for s in self.stored(c, self.parts[k, j], number, loop)]
        return LoopNest((*needed(used((part,)), m.before), part, *behind), m.step.loc)

    def stored(self, c: Carry, part: Buffer, number: Index, loop: Loop) -> list[Statement]:
        """What a block has combined, kept for the sums."""
        if part.dtype is c.dtype:
            return [Store(part.name, number, c.name, loc=loop.loc)]
        wide = self.names.fresh("wide")
        cast = Let(wide, part.dtype, "cast", (c.name,), loop.loc)
        return [cast, Store(part.name, number, wide, loc=loop.loc)]

    # ---- what is combined

    def sums(self, k: int) -> LoopNest:
        """What a loop has combined: that of its blocks, in order."""
        m, loop = self.members[k], self.members[k].loop
        if isinstance(m.cut, Product):
            return m.cut.sums(self.parts[k, 0], self.names)
        body: list[Statement] = needed({c.init for c in loop.carries if isinstance(c.init, str)}, m.before)
        for j, c in enumerate(loop.carries):
            part = self.parts[k, j]
            is_wider = part.dtype is not c.dtype
            var, value = self.names.fresh("b"), self.names.fresh("t")
            total = self.names.fresh("total") if is_wider else c.name
            init: Operand = c.init
            if is_wider and isinstance(init, Literal):
                init = literal(init.item(), part.dtype)
            elif is_wider:
                init = self.names.fresh("first")
                body.append(Let(init, part.dtype, "cast", (c.init,), loop.loc))
            load = Load(value, part.name, Index(0, ((var, 1),)), loc=loop.loc)
            carry = Carry(total, part.dtype, c.combine, init, value)
            body.append(Loop(var, part.size, (load,), (carry,), loc=loop.loc))
            if is_wider:
                body.append(Let(c.name, c.dtype, "cast", (total,), loop.loc))
        return LoopNest((*body, *m.stores), m.step.loc)

    # ---- memory

    def sliced(self) -> dict[str, int]:
        """Temporaries of which each turn uses a stretch of its own, with its size: as many as there is room for."""
        found: dict[str, int] = {}
        room = _ROOM
        for name in touched(self.together.body):
            each = self.stretch(name)
            room -= each * self.turns * self.memory.buffers[name].dtype.bits // 8 if each else 0
            if each and room >= 0:
                found[name] = each
        return found

    def stretch(self, name: str) -> int:
        """How many elements of a temporary belong to a turn, and to no other; 0 if that is not so, or others use it."""
        extent, var = self.together.extent, self.together.var
        if not self.memory.is_of(name, self.members):
            return 0
        buffer = self.memory.buffers[name]
        each, rest = divmod(buffer.size, extent)
        if rest or buffer.private:
            return 0
        return (
            each if all([_stays(s, around, var, each) for s, around in _accesses(self.together.body, name, {})]) else 0
        )

    def with_stretches(self, turns: int) -> dict[str, Buffer]:
        """Buffers for the stretches of so many turns."""
        return {
            name: self.memory.new(replace(self.memory.buffers[name], name=self.names.fresh("own"), size=each * turns))
            for name, each in self.stretches.items()
        }


def _accesses(
    body: Sequence[Statement], name: str, around: Mapping[str, int]
) -> Iterator[tuple[Load | Store, Mapping[str, int]]]:
    """The accesses to a buffer, each with the extents of the loops around it."""
    for s in body:
        match s:
            case Load(buffer=buffer) | Store(buffer=buffer):
                if buffer == name:
                    yield s, around
            case Loop(var=var, extent=extent, body=inner):
                yield from _accesses(inner, name, {**around, var: extent})
            case While(body=inner):
                yield from _accesses(inner, name, around)
            case _:
                pass


def _stays(s: Load | Store, around: Mapping[str, int], var: str, each: int) -> bool:
    """Whether an access stays in the stretch of its turn."""
    strides = dict(s.index.terms)
    if s.dynamic is not None or strides.pop(var, 0) != each:
        return False
    low, high = index_range(Index(s.index.offset, tuple(strides.items())), around)
    return low >= 0 and high < each


def summed_in(c: Carry) -> DType:
    """The dtype in which what blocks have combined is combined."""
    return f64 if c.combine in ("sum", "prod") and c.dtype.is_float else c.dtype
