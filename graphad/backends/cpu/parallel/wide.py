"""Wide loops: those whose turns are independent but for sums, and which are worth several threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from graphad.backends.cpu.parallel.columns import Columns, as_columns
from graphad.backends.cpu.parallel.products import Product
from graphad.backends.cpu.parallel.routines import Batch
from graphad.backends.cpu.parallel.work import LANES, LEAST, work
from graphad.backends.cpu.signals import look_within
from graphad.backends.loops.independence import independent, is_private
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Counted,
    Gemm,
    Index,
    Load,
    Loop,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Statement,
    Step,
    Store,
)
from graphad.backends.loops.memory import buffer_bytes
from graphad.backends.loops.rewrites import (
    Names,
    forward,
    is_pure,
    names_of,
    renamed,
    substituted,
    with_unique_variables,
)
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.loops.visit import walk
from graphad.backends.lower.scalars import identity_of
from graphad.ir.types import EXTENT, Literal, literal

#: What each turn may have alone, in bytes, for each thread has it.
_ALONE: Final = 1 << 20


#: What counts the turns of loops that are looked at together.
_TURN: Final = "turn of all"


@dataclass(eq=False)
class Wide:
    """A nest that is one wide loop: what is loaded before it, and stores of what it has combined behind.

    Or a product, a routine or a nest of two loops that is ``cut`` along an axis; ``loop`` then touches what that does.
    """

    step: LoopNest | Gemm | RoutineCall
    before: tuple[Statement, ...]
    loop: Loop
    stores: tuple[Store, ...]
    cut: Product | Batch | Columns | None = None
    alike: tuple[Statement, ...] | None = field(default=None, init=False)  # what `Memory.alike` has made of it

    @property
    def results(self) -> set[str]:
        """The buffers whose values are known when all turns have run."""
        return {s.buffer for s in self.stores} if self.cut is None else self.cut.results

    @cached_property
    def work(self) -> int:
        """That of a turn."""
        return self.cut.work if isinstance(self.cut, (Product, Batch)) else work(self.loop.body)

    @property
    def least(self) -> int:
        """How many turns a block has at least: whole vectors of lanes."""
        if isinstance(self.cut, (Product, Batch)):
            return self.cut.least
        return LANES if self.loop.vector else 1

    @cached_property
    def begins_with(self) -> set[str]:
        """The buffers that are read before the loop."""
        return {s.buffer for s in self.before if isinstance(s, Load)}

    @cached_property
    def reads(self) -> set[str]:
        """The buffers that are read."""
        return buffers_read(self.step)

    @cached_property
    def writes(self) -> set[str]:
        """The buffers that are written."""
        return buffers_written(self.step)


@dataclass(slots=True)
class Memory:
    """The buffers of a program, how many steps name each, and new names and buffers."""

    buffers: dict[str, Buffer]
    uses: Mapping[str, int]
    names: Names
    made: list[Buffer] = field(default_factory=list)

    @property
    def alone(self) -> dict[str, Buffer]:
        """The temporaries that one step alone uses."""
        return {n: b for n, b in self.buffers.items() if b.role == "temporary" and self.uses.get(n) == 1}

    def new(self, buffer: Buffer) -> Buffer:
        """Note a buffer that was made."""
        self.made.append(buffer)
        self.buffers[buffer.name] = buffer
        return buffer

    def is_of(self, name: str, members: Sequence[Wide]) -> bool:
        """Whether a buffer is a temporary that these loops use, and nothing else does."""
        uses = sum([name in m.reads or name in m.writes for m in members])
        return self.buffers[name].role == "temporary" and self.uses.get(name) == uses

    def all_own(self, together: Loop, members: Sequence[Wide]) -> set[str] | None:
        """The temporaries that each turn can have alone; None, where these are more than there is room for."""
        found = {b for b in touched(together.body) if self.is_own(b, together, members)}
        return found if sum([buffer_bytes(self.buffers[b]) for b in found]) <= _ALONE else None

    def is_own(self, name: str, together: Loop, members: Sequence[Wide]) -> bool:
        """Whether each turn of these loops together can have a temporary alone, which it writes before it reads it."""
        return self.is_of(name, members) and is_private(self.buffers[name], together, together.body)

    def together(self, members: Sequence[Wide]) -> Loop:
        """One loop with the bodies of all, for analysis."""
        body = [s for m in members for s in self.alike(m)]
        return Loop(_TURN, members[0].loop.extent, tuple(body), vector=all([m.loop.vector for m in members]))

    def alike(self, m: Wide) -> tuple[Statement, ...]:
        """The body of a loop over `_TURN`, with names that no other has."""
        if m.alike is None:
            names = {n: self.names.fresh(n) for n in names_of((m.loop, *m.before)) if n != m.loop.var}
            inner = with_unique_variables(m.loop.body, self.names)
            m.alike = renamed(substituted(inner, m.loop.var, Index(0, ((_TURN, 1),))), names)
        return m.alike


def is_wide(s: Statement, alone: Mapping[str, Buffer]) -> bool:
    """Whether a statement is a loop of independent turns that is worth blocks.

    ``alone`` are the temporaries that only its step uses. Loops that look for signals are not wide: blocks do not look.
    """
    if not isinstance(s, Loop) or not 2 <= s.extent < EXTENT or s.extent * work(s.body) < LEAST:
        return False
    if any([c.combine == "last" for c in s.carries]) or any([_has_no_known_end(t) for t in walk((s,))]):
        return False
    body = forward(s).body
    own = {b for b in touched(body) if b in alone and is_private(alone[b], s, body)}
    if sum([buffer_bytes(alone[b]) for b in own]) > _ALONE:
        return False
    return independent(s.var, s.extent, body, {}, own)


def _has_no_known_end(s: Statement) -> bool:
    return look_within(s) or (isinstance(s, Loop) and s.extent >= EXTENT)


def as_wide(nest: LoopNest, alone: Mapping[str, Buffer]) -> Wide | None:
    """A nest as a wide loop, if it is one."""
    places = [k for k, s in enumerate(nest.body) if is_wide(s, alone)]
    if len(places) != 1:
        return None
    before, loop, behind = nest.body[: places[0]], nest.body[places[0]], nest.body[places[0] + 1 :]
    assert isinstance(loop, Loop)
    combined = {c.name for c in loop.carries}
    stores = tuple([s for s in behind if isinstance(s, Store) and _is_result(s) and s.value in combined])
    if len(stores) != len(behind) or not all(map(is_pure, before)):
        return None
    found = Wide(nest, before, forward(loop), stores)
    return None if found.begins_with & found.writes else found


def columns_as_wide(nest: LoopNest, memory: Memory) -> Wide | None:
    """A nest as one that is cut along its inner loop."""
    columns = as_columns(nest, memory.buffers)
    if columns is None or not is_wide(columns.as_loop(), {}):
        return None
    found = Wide(nest, columns.begins_with, columns.as_loop(), (), columns)
    return None if found.begins_with & found.writes else found


def cut_as_wide(cut: Product | Batch, names: Names) -> Wide | None:
    """A product or a routine that is cut along an axis, if that is worth it."""
    step = cut.gemm if isinstance(cut, Product) else cut.call
    return Wide(step, (), cut.as_loop(names), (), cut) if cut.extent * cut.work >= LEAST else None


def unfolded(wide: Wide, extent: int, names: Names) -> list[Wide]:
    """A loop over all elements as one over ``extent`` rows of them, or over ``extent`` columns, if it has these."""
    loop = wide.loop
    if loop.extent == extent:
        return [wide]
    each, rest = divmod(loop.extent, extent)
    if rest or wide.cut is not None:
        return []
    found: list[Wide] = []
    for outer, inner in ((each, 1), (1, extent)):  # how far the loops move
        one, other = names.fresh("row"), names.fresh(loop.var)
        body = substituted(loop.body, loop.var, Index(0, tuple(sorted([(one, outer), (other, inner)]))))
        parts = {c.name: names.fresh(c.name) for c in loop.carries}
        nothing = [replace(c, name=parts[c.name], init=nothing_of(c)) for c in loop.carries]
        in_rows = inner == 1
        part = Loop(other, each, body, tuple(nothing), loop.vector and in_rows, loc=loop.loc)
        carries = tuple([Carry(c.name, c.dtype, c.combine, c.init, parts[c.name]) for c in loop.carries])
        whole = Loop(one, extent, (part,), carries, loop.vector and not in_rows, loc=loop.loc)
        found.append(replace(wide, loop=whole))
    return found


def nothing_of(c: Carry) -> Literal:
    """What a carry of a part of its loop begins with."""
    return literal(-0.0, c.dtype) if c.combine == "sum" and c.dtype.is_float else identity_of(c.combine, c.dtype)


def _is_result(s: Store) -> bool:
    return not s.index.terms and s.dynamic is None and s.mask is None


# ---- what steps name


def touched(statements: Iterable[Statement]) -> list[str]:
    """The buffers that statements load from or store to, in alphabetical order."""
    return sorted({s.buffer for s in walk(statements) if isinstance(s, (Load, Store))})


def uses_of(steps: Iterable[Step]) -> Counter[str]:
    """In how many steps each buffer is named; steps with steps inside count by themselves."""
    return Counter([name for s in leaves(steps) for name in named(s)])


def leaves(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps; those with steps inside without these."""
    for s in every_step(steps):
        yield replace(s, body=()) if isinstance(s, (Repeat, RepeatWhile, Counted)) else s


def named(s: Step) -> set[str]:
    """The buffers that a step names."""
    found = buffers_read(s) | buffers_written(s)
    if isinstance(s, Repeat):
        found |= {n for w in s.windows for n in (w.name, w.buffer)} | {*s.private}
    return found


def with_new(buffers: Sequence[Buffer], made: Sequence[Buffer]) -> tuple[Buffer, ...]:
    """``buffers`` with more temporaries and windows."""
    both = [*buffers, *made]
    return tuple([b for b in both if b.role != "window"] + [b for b in both if b.role == "window"])
