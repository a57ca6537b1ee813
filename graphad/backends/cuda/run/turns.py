"""Loops of steps, run by the host: it launches what is inside turn by turn, at addresses that move from turn to turn.

A loop of a known number of turns needs nothing of the device meanwhile. The condition of one that ends when a test says
so, and the number of turns that a `Counted` step waits for, are downloaded once they have been computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphad.backends.cuda.program.ir import reads, writes
from graphad.backends.cuda.ptx.emit import KernelLaunch, Launched
from graphad.backends.cuda.runtime.allocator import ALIGNMENT, Allocator
from graphad.backends.loops.ir import Buffer, Copy, Counted, HostCall, Repeat, RepeatWhile
from graphad.backends.loops.steps import Turns, every_step, read_in_turns
from graphad.errors import at
from graphad.ir.loc import format_loc
from graphad.ir.types import EXTENT, DType, b1, i64

#: Does one step that is no loop, its buffers being at these addresses.
Act = Callable[[Any, Mapping[str, int]], None]


class HostLoops:
    """The loops of steps of one program.

    Parameters
    ----------
    buffers
        Of the program, by name.
    memory
        Of the device.
    """

    def __init__(self, buffers: Mapping[str, Buffer], memory: Allocator) -> None:
        self._buffers = buffers
        self._memory = memory

    def run(self, step: Turns, places: Mapping[str, int], act: Act, count: int = 0) -> None:
        """All turns; the buffers outside are at ``places``, and what is carried ends where it began.

        ``count`` is what `EXTENT` stands for.
        """
        where = dict(places)
        match step:
            case Repeat(extent=extent):
                turns = count if extent == EXTENT else extent
                for turn in reversed(range(turns)) if step.reverse else range(turns):
                    for w in step.windows:
                        size = self._buffers[w.name].dtype.bits // 8
                        where[w.name] = where[w.buffer] + size * (w.offset + w.stride * turn)
                    self._turn(step, where, act, count)
            case RepeatWhile(condition=condition, once=once):
                while self._seen(where[condition], b1):
                    self._turn(step, where, act, count)
                    if once:
                        break
            case Counted():
                self._counted(step, where, act)
                return
        for a, b in step.swaps:
            if where[a] != places[a]:
                act(Copy(a, b, step.loc), places)

    def _turn(self, step: Repeat | RepeatWhile, where: dict[str, int], act: Act, count: int) -> None:
        self._steps(step.body, where, act, count)
        for a, b in step.swaps:
            where[a], where[b] = where[b], where[a]

    def _steps(self, steps: Sequence[Launched], where: Mapping[str, int], act: Act, count: int) -> None:
        for step in steps:
            if isinstance(step, (Repeat, RepeatWhile, Counted)):
                self.run(step, where, act, count)
            else:
                act(step, where)

    def _counted(self, step: Counted, where: dict[str, int], act: Act) -> None:
        """The steps inside, with the temporaries whose size is known now; they are kept until all is queued."""
        count = self._seen(where[step.count], i64)
        own = [b for name in sorted(_touched_once_counted(step)) if (b := self._buffers[name]).per_turn]
        sizes = [-(-count * b.per_turn * b.dtype.bits // 8 // ALIGNMENT) * ALIGNMENT for b in own]
        try:
            memory = self._memory.allocate(sum(sizes))
        except MemoryError as error:
            raise MemoryError(at(format_loc(step.loc), f"{count} turns: {error}")) from None
        place = memory.address
        for b, size in zip(own, sizes, strict=True):
            where[b.name] = place
            place += size
        self._steps(step.body, where, act, count)

    def _seen(self, address: int, dtype: DType) -> Any:
        """A value that the device has computed."""
        value = np.empty((), dtype.numpy)
        self._memory.runtime.download(value, address)
        return value.item()


def launches_in(step: Launched) -> int | None:
    """How many steps a loop comes to when its turns are written out; None if that is known only as it runs."""
    match step:
        case Repeat(extent=extent, body=body) if extent != EXTENT:
            inside = [launches_in(s) for s in body]
            return extent * sum([n for n in inside if n is not None]) if None not in inside else None
        case Repeat() | RepeatWhile() | Counted() | HostCall():
            return None
        case _:
            return 1


def touched(step: Launched) -> set[str]:
    """The buffers outside that a launch, or what a loop launches, reads or writes."""
    match step:
        case KernelLaunch(parameters=parameters):
            return {name for name, _ in parameters}
        case Repeat() | RepeatWhile() | Counted():
            return read_in_turns(step, touched)
        case _:
            return reads(step) | writes(step)


def _touched_once_counted(step: Counted) -> set[str]:
    """What the steps inside touch, but for `Counted` ones among them, which have temporaries of their own."""
    inner = {n for s in every_step(step.body) if isinstance(s, Counted) for n in touched(s)}
    return {n for s in step.body for n in touched(s)} - inner
