"""Calls of routines in blocks of a batch: rows to sort, matrices to factorize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from graphad_kernels.routines import ROUTINES

from graphad.backends.cpu.parallel.work import work_of
from graphad.backends.loops.ir import Index, Load, Loop, RoutineCall, Statement, Store
from graphad.backends.loops.rewrites import Names
from graphad.ir.types import literal


@dataclass(frozen=True, slots=True)
class Batch:
    """A call of a routine, cut along its batch: the first of its sizes."""

    call: RoutineCall
    least = 1

    @property
    def extent(self) -> int:
        """The members of the batch."""
        return self.call.sizes[0]

    @property
    def work(self) -> int:
        """That of a member, in additions."""
        return work_of(replace(self.call, sizes=(1, *self.call.sizes[1:])))

    @property
    def results(self) -> set[str]:
        """Buffers whose values are known when all members are done: there are none but those of members."""
        return set()

    def strides(self) -> dict[str, int]:
        """The elements of each buffer that belong to a member; 0, where all of them use the same."""
        one, two = (ROUTINES[self.call.routine].extents(batch, *self.call.sizes[1:]) for batch in (1, 2))
        names = (*self.call.reads, *self.call.writes)
        return {name: b - a for name, a, b in zip(names, one, two, strict=True)}

    def as_loop(self, names: Names) -> Loop:
        """A loop over the batch that touches what the routine touches, for analysis."""
        row, var = ROUTINES[self.call.routine], names.fresh("member")
        sizes = dict(zip((*self.call.reads, *self.call.writes), row.extents(1, *self.call.sizes[1:]), strict=True))
        body: list[Statement] = []
        for buffer, stride in self.strides().items():
            element = names.fresh("element")
            at = Index(0, ((element, 1), (var, stride)) if stride else ((element, 1),))
            if buffer in self.call.writes:
                body.append(Loop(element, sizes[buffer], (Store(buffer, at, literal(0, self.call.dtype)),)))
            if buffer in self.call.reads:
                body.append(Loop(element, sizes[buffer], (Load(names.fresh("t"), buffer, at),)))
        return Loop(var, self.extent, tuple(body), loc=self.call.loc)

    def part(self, turns: int, place: Callable[[str, int], str]) -> RoutineCall:
        """The call for so many members; ``place`` gives the buffer in which a block finds them."""
        moved = {name: place(name, stride) if stride else name for name, stride in self.strides().items()}
        call = self.call
        reads, writes = (tuple([moved[n] for n in names]) for names in (call.reads, call.writes))
        return replace(call, reads=reads, writes=writes, sizes=(turns, *call.sizes[1:]))


def has_batch(call: RoutineCall) -> bool:
    """Whether a routine has a batch, each of whose members has its own part of all that is not workspace."""
    row = ROUTINES[call.routine]
    if call.sizes[0] < 2:
        return False
    one, two = (row.extents(batch, *call.sizes[1:]) for batch in (1, 2))
    needed = row.reads + row.results
    return all([b == 2 * a for a, b in zip(one[:needed], two[:needed], strict=True)]) and all(
        [b in (a, 2 * a) for a, b in zip(one, two, strict=True)]
    )
