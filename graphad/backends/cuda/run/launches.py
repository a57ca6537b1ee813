"""The launches of a program at given addresses: queued one by one at first, then captured and replayed as one.

Guards and callbacks cut a program into segments: the host reads a predicate or operands once they are computed, before
anything after it is queued. So do loops of steps, which the host runs (`turns`), but for short ones of a known number
of turns: these are written out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.backends.cuda.program.ir import DeviceProgram, reads, writes
from graphad.backends.cuda.ptx.emit import KernelLaunch, Launched
from graphad.backends.cuda.run.staging import StagingBuffers
from graphad.backends.cuda.run.turns import HostLoops, launches_in
from graphad.backends.cuda.runtime.allocator import ALIGNMENT, Allocator, DeviceMemory
from graphad.backends.cuda.runtime.runtime import Launch, Runtime
from graphad.backends.loops.ir import Copy, Counted, Gemm, GuardStep, HostCall, Repeat, RepeatWhile
from graphad.backends.loops.memory import Arena, buffer_bytes, lay_out
from graphad.backends.loops.steps import Turns, every_step
from graphad.backends.routines.host import HostRun
from graphad.ir.collector import without_collector

#: Sets of addresses that are remembered, with their captured launches.
MOST_CAPTURED: Final = 16
#: Fewer launches than this are not worth capturing.
FEWEST_CAPTURED: Final = 2
#: Loops of steps of at most so many launches are written out, and captured with what stands around them.
MOST_WRITTEN_OUT: Final = 512


class _Product(NamedTuple):
    """A matrix product of the library's at these addresses."""

    gemm: Gemm
    a: int
    b: int
    c: int
    bias: int | None


class _Copied(NamedTuple):
    target: int
    source: int
    nbytes: int


_Queued = Launch | _Product | _Copied


class _Segment:
    """Steps that run without the host, and what the host does behind them, with the addresses of the buffers."""

    __slots__ = ("captured", "ending", "places", "ran", "steps")

    def __init__(self) -> None:
        self.steps: list[_Queued] = []
        self.ending: GuardStep | HostCall | Turns | None = None
        self.places: Mapping[str, int] = {}
        self.ran = False
        self.captured: Any = None


class Sequences:
    """A program's launches, prepared for each set of addresses that it is called with.

    Parameters
    ----------
    program
        What the launches were made from.
    launches
        What to launch, in order.
    functions
        The loaded kernels by name.
    memory
        Of the device.
    """

    def __init__(
        self,
        program: DeviceProgram,
        launches: Sequence[Launched],
        functions: Mapping[str, Any],
        memory: Allocator,
    ) -> None:
        self._launches = launches
        self._functions = functions
        self._memory = memory
        self._runtime: Runtime = memory.runtime
        self._names = [b.name for b in program.buffers if b.role in ("input", "output")]
        self._bytes = {b.name: buffer_bytes(b) for b in program.buffers}
        self._arena = plan_arena(program)
        self._loops = HostLoops({b.name: b for b in program.buffers}, memory)
        self._scratch: DeviceMemory | None = None  # that the prepared launches point into
        self._prepared: OrderedDict[tuple[int, ...], list[_Segment]] = OrderedDict()
        n_inputs = sum(b.role == "input" for b in program.buffers)
        self._staging = StagingBuffers(memory, [self._bytes[n] for n in self._names], n_inputs, len(launches))

    def run(self, addresses: Sequence[int], host: HostRun) -> tuple[int, Any] | None:
        """Queue the program for inputs and outputs at these addresses, the runtime's lock being held.

        ``host`` answers callbacks.

        Returns
        -------
        The ordinal of the guard that ended it and what it saw; None if none did.
        """
        if any([isinstance(step, HostCall) for step in every_step(self._launches)]):
            # A callback may run programs in turn, this one too: it shares no memory with them.
            own = self._memory.allocate(self._arena.size) if self._arena.size else None
            return self._run(self._prepare(addresses, own), host)
        scratch = self._memory.scratch(self._arena.size) if self._arena.size else None
        if scratch is not self._scratch:  # it has grown: prepared launches must not keep the old one
            self._prepared.clear()
            self._scratch = scratch
        places = self._staging.enter(addresses)
        prepared = self._prepared.get(places)
        if prepared is None:
            self._staging.missed(addresses)
            prepared = self._prepared[places] = self._prepare(places, scratch)
            if len(self._prepared) > MOST_CAPTURED:
                self._prepared.popitem(last=False)
        self._prepared.move_to_end(places)
        failed = self._run(prepared, host)
        if failed is None:
            self._staging.leave(addresses)
        return failed

    def _run(self, segments: Sequence[_Segment], host: HostRun) -> tuple[int, Any] | None:
        for segment in segments:
            self._queue(segment)
            places = segment.places
            match segment.ending:
                case GuardStep() as guard:
                    observed = self._observed(guard, places[guard.buffer])
                    if observed != guard.expected.item():
                        return guard.ordinal, observed
                case HostCall() as call:
                    self._answer(call, places, host)
                case Repeat() | RepeatWhile() | Counted() as loop:
                    self._loops.run(loop, places, lambda step, where: self._do(step, where, host))
                case None:
                    pass
        return None

    def _do(self, step: Any, where: Mapping[str, int], host: HostRun) -> None:
        """Queue one step in a loop, or answer a call."""
        if isinstance(step, HostCall):
            self._answer(step, where, host)
        else:
            self._queue_step(self._queued(step, where))

    def _queue(self, segment: _Segment) -> None:
        if not segment.ran or len(segment.steps) < FEWEST_CAPTURED:
            self._queue_steps(segment)
            segment.ran = True
            return
        if segment.captured is None:
            segment.captured = self._captured(segment)
        self._runtime.replay(segment.captured)

    @without_collector  # collected memory of another library would wait for the device, which a capture forbids
    def _captured(self, segment: _Segment) -> Any:
        return self._runtime.capture(lambda: self._queue_steps(segment))

    def _queue_steps(self, segment: _Segment) -> None:
        for step in segment.steps:
            self._queue_step(step)

    def _queue_step(self, step: _Queued) -> None:
        match step:
            case Launch():
                self._runtime.launch(step)
            case _Product():
                self._runtime.gemm(*step)
            case _Copied():
                self._runtime.copy(*step)

    def _observed(self, guard: GuardStep, address: int) -> Any:
        """The predicate of a guard, once it has been computed."""
        value = np.empty((), guard.expected.dtype.numpy)
        self._runtime.download(value, address)
        return value.item()

    def _answer(self, call: HostCall, where: Mapping[str, int], host: HostRun) -> None:
        """Call a function of the host: operands are downloaded once they have been computed, results uploaded."""
        addresses = [where[name] for name in (*call.reads, *call.writes)]
        given = host.slots[call.slot].inputs
        arrays = [np.empty(a.shape, a.dtype.numpy) for a in given]
        for array, address in zip(arrays, addresses, strict=False):
            if array.size:
                self._runtime.download(array, address)
        for result, address in zip(host.answer(call.slot, arrays), addresses[len(given) :], strict=True):
            if result.size:
                self._runtime.upload(address, result)

    def _prepare(self, addresses: Sequence[int], scratch: DeviceMemory | None) -> list[_Segment]:
        where = dict(zip(self._names, addresses, strict=True))
        if scratch is not None:
            start = scratch.address
            where.update({name: start + offset for name, offset in self._arena.offsets.items()})
        segments = [_Segment()]
        for step in self._launches:
            steps = segments[-1].steps
            if isinstance(step, Repeat) and is_written_out(step):
                self._loops.run(step, where, lambda inner, at, steps=steps: steps.append(self._queued(inner, at)))
            elif isinstance(step, (GuardStep, HostCall, Repeat, RepeatWhile, Counted)):
                segments[-1].ending, segments[-1].places = step, where
                segments.append(_Segment())
            else:
                steps.append(self._queued(step, where))
        return segments

    def _queued(self, step: KernelLaunch | Gemm | Copy, where: Mapping[str, int]) -> _Queued:
        match step:
            case KernelLaunch(entry=entry):
                arguments = tuple([where[name] + offset for name, offset in step.parameters])
                return Launch(self._functions[entry], step.blocks, step.threads, step.shared_bytes, arguments, step.loc)
            case Gemm(a=a, b=b, c=c, bias=name):
                bias = None if name is None else where[name]
                return _Product(step, where[a.buffer], where[b.buffer], where[c.buffer], bias)
            case Copy(target=target, source=source):
                return _Copied(where[target], where[source], self._bytes[target])


def is_written_out(loop: Repeat) -> bool:
    """Whether the launches of all turns are queued as if there were no loop."""
    count = launches_in(loop)
    return count is not None and count <= MOST_WRITTEN_OUT


def plan_arena(program: DeviceProgram) -> Arena:
    """The layout of a program's temporaries in its scratch memory."""
    sizes = {b.name: buffer_bytes(b) for b in program.buffers if b.role == "temporary" and not b.per_turn}
    return lay_out([reads(s) | writes(s) for s in program.steps], sizes, ALIGNMENT)
