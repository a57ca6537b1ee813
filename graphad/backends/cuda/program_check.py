"""Verifier of device programs: that its kernels are well formed, and that they are a program at all.

Names, dtypes and bounds are checked on the program written back as loops (`sequential`), by the verifier of those.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphad.backends.cuda.program import (
    MOST_SHARED,
    Barrier,
    DeviceProgram,
    DeviceStatement,
    Kernel,
    Scan,
    Spread,
    walk,
)
from graphad.backends.cuda.program_text import format_device_program
from graphad.backends.cuda.sequential import as_loops
from graphad.backends.loops import Load, Loop, Store
from graphad.backends.loops_check import check_program
from graphad.errors import VerifyError

#: The most threads that a block can have.
_MOST_THREADS = 1024


def check_device_program(program: DeviceProgram) -> None:
    """Raise `VerifyError`, with the program printed, unless ``program`` keeps the rules of `Kernel`."""
    check_program(as_loops(program))
    names = [k.name for k in program.kernels]
    for kernel in program.kernels:
        for fault in _faults(kernel):
            raise VerifyError(f"kernel {kernel.name}: {fault}\n{format_device_program(program)}")
    if len(set(names)) < len(names):
        raise VerifyError(f"two kernels have one name\n{format_device_program(program)}")


def _faults(kernel: Kernel) -> Iterable[str]:
    group, threads, lanes = kernel.group, kernel.threads, kernel.lanes
    if threads % 32 or not 0 < threads <= _MOST_THREADS:
        yield f"{threads} threads are no block"
    if group not in (1, 2, 4, 8, 16, 32, threads):
        yield f"{group} threads are neither a power of two up to a warp nor the block"
    room = sum([b.size * max(b.dtype.bits // 8, 1) for b in kernel.shared]) * (threads // group)
    if room > MOST_SHARED:
        yield f"{room} bytes of shared memory are more than {MOST_SHARED}"
    accessed = {s.buffer for s in walk(kernel.body) if isinstance(s, (Load, Store))}
    if accessed != {*kernel.parameters, *[b.name for b in kernel.shared]}:
        yield f"it is handed {kernel.parameters}, but touches {sorted(accessed)}"
    if group == 1 and (kernel.shared or any(isinstance(s, (Spread, Scan, Barrier)) for s in walk(kernel.body))):
        yield "a thread on its own shares nothing out"
    if lanes > 1:
        yield from _faults_of_lanes(kernel)
    yield from _faults_of_place(kernel.body, within=None)


def _faults_of_lanes(kernel: Kernel) -> Iterable[str]:
    last, lanes = kernel.grid[-1], kernel.lanes
    if lanes not in (2, 4) or kernel.group > 1 or last.extent % lanes:
        yield f"a thread cannot take {lanes} points of {last.extent}"
    for s in walk(kernel.body):
        if isinstance(s, Loop):
            yield "a thread with several points has no loops"
        elif isinstance(s, (Load, Store)):
            strides = dict(s.index.terms)
            along = strides.pop(last.var, 0)
            if s.dynamic is not None or along not in (0, 1):
                yield f"an access of {s.buffer} is not of neighbouring elements"
            elif along and any(n % lanes for n in (s.index.offset, *strides.values())):
                yield f"an access of {s.buffer} is not aligned to {lanes} elements"


def _faults_of_place(statements: Iterable[DeviceStatement], within: type | None) -> Iterable[str]:
    """What stands where it may not: in a loop nothing that takes the whole group; a scan outside of a spread loop."""
    for s in statements:
        match s:
            case Spread(body=body):
                if within is not None:
                    yield "a loop that is shared out stands inside of another loop"
                yield from _faults_of_place(body, Spread)
            case Loop(body=body):
                yield from _faults_of_place(body, Loop)
            case Scan() if within is not Spread:
                yield "a scan stands outside of the loop that it runs along"
            case Barrier() if within is not None:
                yield "a barrier stands inside of a loop"
            case _:
                continue
