"""Which wide loops run together, block by block, and what runs before and behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from graphad.backends.cpu.parallel.blocks import Blocks
from graphad.backends.cpu.parallel.pieces import Pieces
from graphad.backends.cpu.parallel.products import ways
from graphad.backends.cpu.parallel.routines import Batch, has_batch
from graphad.backends.cpu.parallel.wide import (
    Memory,
    Wide,
    as_wide,
    columns_as_wide,
    cut_as_wide,
    leaves,
    named,
    unfolded,
    uses_of,
    with_new,
)
from graphad.backends.cpu.parallel.work import WORTH, turns_of_block
from graphad.backends.loops.independence import independent
from graphad.backends.loops.ir import (
    Gemm,
    KernelProgram,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Step,
)
from graphad.backends.loops.rewrites import Names, names_of
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step


def in_parallel(program: KernelProgram) -> KernelProgram:
    """``program`` with its wide loops in blocks; as it is, if none is worth that."""
    nests = [s for s in every_step(program.steps) if isinstance(s, LoopNest)]
    names = Names([*[b.name for b in program.buffers], *[n for nest in nests for n in names_of(nest.body)]])
    memory = Memory({b.name: b for b in program.buffers}, uses_of(program.steps), names)
    pieces = Pieces(memory).of(program.steps)
    memory.uses = uses_of(pieces)
    groups = Groups(memory)
    steps = groups.of(pieces)
    if not groups.changed:
        return program
    used = {n for s in leaves(steps) for n in named(s)}
    kept = [b for b in with_new(program.buffers, memory.made) if b.role != "temporary" or b.name in used]
    return replace(program, buffers=tuple(kept), steps=steps)


#: Loops that make so many blocks do not join others if all of them together make fewer.
_ENOUGH: Final = 8


@dataclass(slots=True)
class Group:
    """Loops that run block by block; ``ahead`` runs before them, ``late`` behind."""

    members: list[Wide] = field(default_factory=list)
    ahead: list[Step] = field(default_factory=list)
    late: list[Step] = field(default_factory=list)

    @property
    def extent(self) -> int:
        """The turns of its loops."""
        return self.members[0].loop.extent

    @property
    def reads(self) -> set[str]:
        """The buffers that its loops read."""
        return {n for m in self.members for n in m.reads}

    @property
    def writes(self) -> set[str]:
        """The buffers that its loops write."""
        return {n for m in self.members for n in m.writes}

    @property
    def blocks(self) -> int:
        """How many blocks its loops make; 1, if they are not worth more."""
        if not self.members:
            return 1
        each, least = sum([m.work for m in self.members]), max([m.least for m in self.members])
        return self.extent // turns_of_block(self.extent, each, least) if self.extent * each >= WORTH else 1


class Groups:
    """Goes through steps in order, and collects loops that can run together."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.alone = memory.alone
        self.changed = False
        self.seen: dict[str, str] = {}  # windows: the buffers that they look at

    def of(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """``steps`` with loops in blocks."""
        found: list[Step] = []
        group = Group()
        for s in steps:
            wide = self.wide(s)
            if wide:
                if not any(self.joins(group, w) for w in wide):  # the first that does
                    found += self.closed(group)
                    group = Group([wide[0]])
            elif isinstance(s, LoopNest) and group.members:
                self.aside(group, s)
            else:
                found += [*self.closed(group), self.inside(s)]
                group = Group()
        return (*found, *self.closed(group))

    def wide(self, s: Step) -> list[Wide]:
        """A step as wide loops: none, or one for each axis along which it can be cut, the best one first."""
        if isinstance(s, LoopNest):
            found = [as_wide(s, self.alone), columns_as_wide(s, self.memory)]
            if found[0] is not None and found[1] is not None and found[0].loop.extent < found[1].loop.extent:
                found.reverse()
        elif isinstance(s, (Gemm, RoutineCall)):
            cuts = ways(s) if isinstance(s, Gemm) else [Batch(s)] if has_batch(s) else []
            found = [cut_as_wide(cut, self.memory.names) for cut in cuts]
        else:
            return []
        return [w for w in found if w is not None and not self.overlap(w)]

    def inside(self, s: Step) -> Step:
        """A step with the loops in its own steps in blocks."""
        if isinstance(s, Repeat):
            self.seen |= {w.name: self.seen.get(w.buffer, w.buffer) for w in s.windows}
        return replace(s, body=self.of(s.body)) if isinstance(s, (Repeat, RepeatWhile)) else s

    def aside(self, group: Group, nest: LoopNest) -> None:
        """Put a nest that is not wide before the loops of a group, or behind them."""
        others = [m.step for m in group.members] + group.late
        (group.late if any([_depend(nest, s) for s in others]) else group.ahead).append(nest)

    def joins(self, group: Group, wide: Wide) -> bool:
        """Whether a loop runs block by block with those of a group, which it then does.

        Where one goes through elements and the other through rows of them, both go through rows.
        """
        extent = min(group.extent, wide.loop.extent) if group.members else wide.loop.extent
        alike = [unfolded(m, extent, self.memory.names)[:1] for m in group.members]
        if not all(alike):
            return False
        for form in unfolded(wide, extent, self.memory.names):
            members = [*[m for (m,) in alike], form]
            if min(group.blocks, _ENOUGH) <= Group(members).blocks and self.agree(group, form, members):
                group.members = members
                return True
        return False

    def agree(self, group: Group, wide: Wide, members: Sequence[Wide]) -> bool:
        """Whether a loop needs no more of those of a group than what they have done in the same turn."""
        reads, writes = wide.reads, wide.writes
        if any([_depend(wide.step, s) for s in group.late]) or self.overlap(*members):
            return False
        results = {n for m in group.members for n in m.results}
        if results & (reads | writes) or wide.results & (group.reads | group.writes):
            return False
        if {n for m in members for n in m.begins_with} & (group.writes | writes):
            return False
        together = self.memory.together(members)
        own = self.memory.all_own(together, members)
        return own is not None and independent(together.var, together.extent, together.body, {}, own)

    def overlap(self, *members: Wide) -> bool:
        """Whether what is written may be seen under another name, through a window."""
        if not self.seen:
            return False
        names = {n for m in members for n in m.reads | m.writes}
        several = Counter([self.seen.get(n, n) for n in names])
        return any([several[self.seen.get(n, n)] > 1 for m in members for n in m.writes])

    def closed(self, group: Group) -> list[Step]:
        """The steps of a group."""
        steps: list[Step] = [m.step for m in group.members]
        if group.blocks > 1:
            self.changed = True
            steps = Blocks(self.memory, group.members).steps()
        return [*group.ahead, *steps, *group.late]


def _depend(step: Step, other: Step) -> bool:
    """Whether the order of two steps matters."""
    reads, writes, theirs = buffers_read(step), buffers_written(step), buffers_written(other)
    return bool(reads & theirs or writes & (theirs | buffers_read(other)))
