"""Loops over one axis, written as blocks: the parallel turns, what does not fill one, and the sums of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.cpu.parallel.columns import Columns
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

#: What a block has of arrays over all turns, in bytes: it should stay in the second cache.
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
        self.own = sorted(memory.all_own(self.together, members) or ())
        self.stretches = self.sliced()
        sizes = self.count + bool(self.rest)
        self.parts = {
            (k, j): memory.new(Buffer(self.names.fresh("part"), dtype, sizes * size, "temporary"))
            for k, m in enumerate(members)
            for j, (dtype, size) in enumerate(parts_of(m))
        }
        self.windows: list[Window] = []

    def steps(self) -> list[Step]:
        """The steps in the place of the loops."""
        loc = self.members[0].step.loc
        stretches = self.with_stretches(self.turns)
        at = Index(0, ((self.var, self.turns),))
        body = tuple([self.block(k, at, self.turns, stretches) for k in range(len(self.members))])
        windows, private = tuple(self.windows), (*self.own, *[s.buffer.name for s in stretches.values()])
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

    def block(self, k: int, at: Index, turns: int, stretches: Mapping[str, Stretch]) -> LoopNest | Gemm | RoutineCall:
        """So many turns of a loop, from ``at`` on."""
        match self.members[k].cut:
            case Product() as product:
                return self.product(k, product, at, turns, stretches)
            case Batch() as batch:
                return batch.part(turns, lambda name, stride: self.place(name, 0, stride, at, stretches)[0])
            case Columns() as columns:
                return self.columns(k, columns, at, turns, stretches)
            case None:
                return self.nest(k, at, turns, stretches)

    def product(self, k: int, p: Product, at: Index, turns: int, stretches: Mapping[str, Stretch]) -> Gemm:
        """So many units of the axis of a product."""

        def place(matrix: Matrix, stride: int) -> Matrix:
            if matrix.buffer in stretches:
                return stretches[matrix.buffer].matrix(matrix)
            buffer, offset = self.place(matrix.buffer, matrix.offset, stride, at, stretches)
            return replace(matrix, buffer=buffer, offset=offset)

        target = None
        if p.axis == "sum":
            size, number = p.gemm.m * p.gemm.n, Index(at.offset // self.turns, tuple([(v, 1) for v, _ in at.terms]))
            buffer, offset = self.place(self.parts[k, 0].name, 0, size, number, {})
            target = Matrix(buffer, offset, p.gemm.n)
        return p.part(turns, place, target)

    def place(
        self, buffer: str, offset: int, stride: int, at: Index, stretches: Mapping[str, Stretch]
    ) -> tuple[str, int]:
        """Where a block that begins ``at`` finds what moves by ``stride`` a turn: a buffer, and the offset there."""
        if buffer in stretches:
            return stretches[buffer].buffer.name, offset
        start, whole = offset + at.offset * stride, self.memory.buffers[buffer]
        step = sum([by for _, by in at.terms]) * stride
        size = whole.size - start - step * (self.count - 1 if at.terms else 0)
        seen = self.memory.new(Buffer(self.names.fresh("seen"), whole.dtype, size, "window"))
        self.windows.append(Window(seen.name, buffer, start, step))
        return seen.name, 0

    def nest(self, k: int, at: Index, turns: int, stretches: Mapping[str, Stretch]) -> LoopNest:
        """So many turns of a loop of statements."""
        m = self.members[k]
        part = self.part(m.loop, at, turns, stretches)
        number = Index(0, ((self.var, 1),)) if at.terms else Index(self.count)
        behind = [s for j, c in enumerate(m.loop.carries) for s in self.stored(c, self.parts[k, j], number, m.loop)]
        return LoopNest((*needed(used((part,)), m.before), part, *behind), m.step.loc)

    def columns(self, k: int, n: Columns, at: Index, turns: int, stretches: Mapping[str, Stretch]) -> LoopNest:
        """So many turns of the inner loop of a nest."""
        part, row, width = self.part(n.inner, at, turns, stretches), self.names.fresh(n.outer.var), n.outer.extent
        place = Index(0, ((self.var, width), (row, 1))) if at.terms else Index(self.count * width, ((row, 1),))
        inside = substituted((*needed(used((part,)), n.ahead), part), n.outer.var, Index(0, ((row, 1),)))
        behind = [s for j, c in enumerate(n.inner.carries) for s in self.stored(c, self.parts[k, j], place, n.inner)]
        outer = replace(n.outer, var=row, body=(*inside, *behind))
        return LoopNest((*needed(used((outer,)), n.before), outer), self.members[k].step.loc)

    def part(self, loop: Loop, at: Index, turns: int, stretches: Mapping[str, Stretch]) -> Loop:
        """So many turns of a loop, which combines nothing else."""
        var = self.names.fresh(loop.var)
        here = Index(at.offset, tuple(sorted([*at.terms, (var, 1)])))

        def access(s: Statement) -> Statement:
            if isinstance(s, (Load, Store)) and s.buffer in stretches:
                return stretches[s.buffer].access(s, loop.var, var)
            return substituted((s,), loop.var, here)[0] if isinstance(s, (Load, Store, Position)) else s

        carries = tuple([replace(c, init=nothing_of(c)) for c in loop.carries])
        return replace(loop, var=var, extent=turns, body=mapped(loop.body, access), carries=carries)

    def stored(self, c: Carry, part: Buffer, place: Index, loop: Loop) -> list[Statement]:
        """What a block has combined, kept for the sums."""
        if part.dtype is c.dtype:
            return [Store(part.name, place, c.name, loc=loop.loc)]
        wide = self.names.fresh("wide")
        cast = Let(wide, part.dtype, "cast", (c.name,), loop.loc)
        return [cast, Store(part.name, place, wide, loc=loop.loc)]

    # ---- what is combined

    def sums(self, k: int) -> LoopNest:
        """What a loop has combined: that of its blocks, in order."""
        m = self.members[k]
        match m.cut:
            case Product() as product:
                return product.sums(self.parts[k, 0], self.names)
            case Columns() as n:
                totals = self.totals(k, n.inner, n.outer.extent, ((n.outer.var, 1),))
                inside = (*needed(used((*totals, *n.behind)), n.ahead), *totals, *n.behind)
                outer = replace(n.outer, body=inside)
                return LoopNest((*needed(used((outer,)), n.before), outer), m.step.loc)
            case _:
                totals = self.totals(k, m.loop, 1, ())
                return LoopNest((*needed(used(totals), m.before), *totals, *m.stores), m.step.loc)

    def totals(self, k: int, loop: Loop, width: int, row: tuple[tuple[str, int], ...]) -> list[Statement]:
        """What a loop has carried to its end; of each block there are ``width`` parts, and ``row`` says which."""
        body: list[Statement] = []
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
            load = Load(value, part.name, Index(0, tuple(sorted([(var, width), *row]))), loc=loop.loc)
            carry = Carry(total, part.dtype, c.combine, init, value)
            body.append(Loop(var, part.size // width, (load,), (carry,), loc=loop.loc))
            if is_wider:
                body.append(Let(c.name, c.dtype, "cast", (total,), loop.loc))
        return body

    # ---- memory

    def sliced(self) -> dict[str, bool]:
        """Temporaries of which each turn uses its own elements, as many as there is room for; whether in columns."""
        found: dict[str, bool] = {}
        room = _ROOM
        for name in touched(self.together.body):
            in_columns = self.layout(name)
            if in_columns is not None:
                room -= self.size(name, self.turns) * self.memory.buffers[name].dtype.bits // 8
                if room >= 0:
                    found[name] = in_columns
        return found

    def layout(self, name: str) -> bool | None:
        """Whether what belongs to a turn alone is a column of a temporary, or a row; None, where neither is so."""
        buffer, extent, var = self.memory.buffers[name], self.together.extent, self.together.var
        if not self.memory.is_of(name, self.members) or buffer.private or buffer.size % extent:
            return None
        found = list(_accesses(self.together.body, name, {}))
        each = buffer.size // extent
        if all([_is_in_row(s, around, var, each) for s, around in found]):
            return False
        return True if all([_is_in_column(s, var, extent) for s, _ in found]) else None

    def size(self, name: str, turns: int) -> int:
        """How many elements of a temporary belong to so many turns."""
        return self.memory.buffers[name].size // self.together.extent * turns

    def with_stretches(self, turns: int) -> dict[str, Stretch]:
        """Buffers for what belongs to so many turns."""
        found: dict[str, Stretch] = {}
        for name, in_columns in self.stretches.items():
            own = replace(self.memory.buffers[name], name=self.names.fresh("own"), size=self.size(name, turns))
            found[name] = Stretch(self.memory.new(own), turns, self.together.extent if in_columns else 0)
        return found


@dataclass(frozen=True, slots=True)
class Stretch:
    """What belongs to ``turns`` turns of a temporary: whole rows, or as many of its ``columns``, if it has these."""

    buffer: Buffer
    turns: int
    columns: int

    def scaled(self, stride: int) -> int:
        """A distance between elements here; in columns, one between rows of them."""
        return stride // self.columns * self.turns if self.columns else stride

    def access(self, s: Load | Store, old: str, new: str) -> Statement:
        """An access to the temporary, here: ``old`` counts turns of all, ``new`` those of the block."""
        terms = [(new, by) if v == old else (v, self.scaled(by)) for v, by in s.index.terms]
        return replace(s, buffer=self.buffer.name, index=Index(self.scaled(s.index.offset), tuple(sorted(terms))))

    def matrix(self, m: Matrix) -> Matrix:
        """A matrix in the temporary, here."""
        return replace(m, buffer=self.buffer.name, offset=self.scaled(m.offset), row_stride=self.scaled(m.row_stride))


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


def _is_in_row(s: Load | Store, around: Mapping[str, int], var: str, each: int) -> bool:
    """Whether an access stays in the row of its turn."""
    strides = dict(s.index.terms)
    if s.dynamic is not None or strides.pop(var, 0) != each:
        return False
    low, high = index_range(Index(s.index.offset, tuple(strides.items())), around)
    return low >= 0 and high < each


def _is_in_column(s: Load | Store, var: str, extent: int) -> bool:
    """Whether an access stays in the column of its turn, where rows are ``extent`` long."""
    strides = dict(s.index.terms)
    if s.dynamic is not None or strides.pop(var, 0) != 1:
        return False
    return not any([by % extent for by in (s.index.offset, *strides.values())])


def parts_of(m: Wide) -> list[tuple[DType, int]]:
    """What each block of a loop combines: dtypes, and how many values."""
    match m.cut:
        case Product() as product:
            return [(product.gemm.dtype, product.gemm.m * product.gemm.n)] if m.results else []
        case Columns() as columns:
            return [(summed_in(c), columns.outer.extent) for c in columns.inner.carries]
        case _:
            return [(summed_in(c), 1) for c in m.loop.carries]


def summed_in(c: Carry) -> DType:
    """The dtype in which what blocks have combined is combined."""
    return f64 if c.combine in ("sum", "prod") and c.dtype.is_float else c.dtype
