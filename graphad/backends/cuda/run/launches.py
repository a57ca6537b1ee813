"""The launches of a program at given addresses: queued one by one at first, then captured and replayed as one.

Guards and callbacks cut a program into segments: the host reads a predicate or operands once they are computed, before
anything after it is queued.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.backends.cuda.program.ir import DeviceProgram, FusedGemm, reads, writes
from graphad.backends.cuda.ptx.emit import KernelLaunch, Launched
from graphad.backends.cuda.run.staging import StagingBuffers
from graphad.backends.cuda.runtime.allocator import ALIGNMENT, Allocator, DeviceMemory
from graphad.backends.cuda.runtime.runtime import Launch, Runtime
from graphad.backends.loops.ir import Copy, Gemm, GuardStep, HostCall
from graphad.backends.loops.memory import Arena, buffer_bytes, lay_out
from graphad.backends.routines.host import HostRun
from graphad.ir.collector import without_collector

#: Sets of addresses that are remembered, with their captured launches.
MOST_CAPTURED: Final = 16
#: Fewer launches than this are not worth capturing.
FEWEST_CAPTURED: Final = 2


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
    """Steps that run without the host, and the guard or callback behind them with the addresses of its buffers."""

    __slots__ = ("addresses", "captured", "ending", "ran", "steps")

    def __init__(self) -> None:
        self.steps: list[_Queued] = []
        self.ending: GuardStep | HostCall | None = None
        self.addresses: tuple[int, ...] = ()
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
        self._names = [b.name for b in program.buffers if b.role != "temporary"]
        self._bytes = {b.name: buffer_bytes(b) for b in program.buffers}
        self._arena = plan_arena(program)
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
        if any([isinstance(step, HostCall) for step in self._launches]):
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
            if isinstance(segment.ending, GuardStep):
                observed = self._observed(segment.ending, *segment.addresses)
                if observed != segment.ending.expected.item():
                    return segment.ending.ordinal, observed
            elif segment.ending is not None:
                self._answer(segment.ending.slot, segment.addresses, host)
        return None

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
        runtime = self._runtime
        for step in segment.steps:
            match step:
                case Launch():
                    runtime.launch(step)
                case _Product():
                    runtime.gemm(*step)
                case _Copied():
                    runtime.copy(*step)

    def _observed(self, guard: GuardStep, address: int) -> Any:
        """The predicate of a guard, once it has been computed."""
        value = np.empty((), guard.expected.dtype.numpy)
        self._runtime.download(value, address)
        return value.item()

    def _answer(self, slot: int, addresses: Sequence[int], host: HostRun) -> None:
        """Call a function of the host: operands are downloaded once they have been computed, results uploaded."""
        given = host.slots[slot].inputs
        arrays = [np.empty(a.shape, a.dtype.numpy) for a in given]
        for array, address in zip(arrays, addresses, strict=False):
            if array.size:
                self._runtime.download(array, address)
        for result, address in zip(host.answer(slot, arrays), addresses[len(given) :], strict=True):
            if result.size:
                self._runtime.upload(address, result)

    def _prepare(self, addresses: Sequence[int], scratch: DeviceMemory | None) -> list[_Segment]:
        where = dict(zip(self._names, addresses, strict=True))
        if scratch is not None:
            start = scratch.address
            where.update({name: start + offset for name, offset in self._arena.offsets.items()})
        segments = [_Segment()]
        for step in self._launches:
            if isinstance(step, (GuardStep, HostCall)):
                touched = (step.buffer,) if isinstance(step, GuardStep) else (*step.reads, *step.writes)
                segments[-1].ending, segments[-1].addresses = step, tuple([where[name] for name in touched])
                segments.append(_Segment())
            else:
                segments[-1].steps.append(self._queued(step, where))
        return segments

    def _queued(self, step: KernelLaunch | Gemm | Copy, where: Mapping[str, int]) -> _Queued:
        match step:
            case KernelLaunch(entry=entry):
                arguments = tuple([where[name] + offset for name, offset in step.parameters])
                return Launch(self._functions[entry], step.blocks, step.threads, step.shared_bytes, arguments, step.loc)
            case Gemm(a=a, b=b, c=c):
                name = step.bias if isinstance(step, FusedGemm) else None
                bias = None if name is None else where[name]
                return _Product(step, where[a.buffer], where[b.buffer], where[c.buffer], bias)
            case Copy(target=target, source=source):
                return _Copied(where[target], where[source], self._bytes[target])


def plan_arena(program: DeviceProgram) -> Arena:
    """The layout of a program's temporaries in its scratch memory."""
    sizes = {b.name: buffer_bytes(b) for b in program.buffers if b.role == "temporary"}
    return lay_out([reads(s) | writes(s) for s in program.steps], sizes, ALIGNMENT)
