"""Verifier of device programs: the rules of kernels and bundles are checked here.

Names, dtypes and bounds are checked on the program written back as loops (`sequential`), by the verifier of loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from graphad.backends.cuda.program.independence import MOST_PARAMETERS, independent
from graphad.backends.cuda.program.ir import (
    MOST_SHARED,
    Barrier,
    Bundle,
    DeviceProgram,
    DeviceStatement,
    Kernel,
    Scan,
    Spread,
)
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.loops.check import check_program, faults_of_dtypes
from graphad.backends.loops.ir import Gemm, Load, Loop, Store, While
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.text import format_gemm
from graphad.backends.loops.visit import walk
from graphad.errors import VerifyError

#: The most threads that a block can have.
_MOST_THREADS = 1024


def check_device_program(program: DeviceProgram) -> None:
    """Raise `VerifyError`, with the program printed, unless ``program`` keeps the rules of `Kernel` and `Bundle`."""
    steps = [*every_step(program.steps)]
    bundles = [s for s in steps if isinstance(s, Bundle)]
    for bundle in bundles:
        for fault in _faults_of_bundle(bundle):
            raise VerifyError(f"bundle {bundle.name}: {fault}\n{format_device_program(program)}")
    dtypes = {b.name: b.dtype for b in program.buffers}
    for product in [s for s in steps if isinstance(s, Gemm)]:
        for fault in faults_of_dtypes(product, dtypes):  # as loops, those of 16-bit floats are of f32 copies
            raise VerifyError(f"{format_gemm(product)}: {fault}\n{format_device_program(program)}")
    check_program(as_loops(program))
    for kernel in program.kernels:
        for fault in _faults(kernel):
            raise VerifyError(f"kernel {kernel.name}: {fault}\n{format_device_program(program)}")
    names = [s.name for s in (*program.kernels, *bundles)]
    if len(set(names)) < len(names):
        raise VerifyError(f"two kernels have one name\n{format_device_program(program)}")


def _faults_of_bundle(bundle: Bundle) -> Iterable[str]:
    if not bundle.parts:
        yield "it has no parts"
    if len({part.threads for part in bundle.parts}) > 1:
        yield "its parts have blocks of several sizes"
    if len(bundle.parts) > 1 and sum([part.shared_bytes for part in bundle.parts]) > MOST_SHARED:
        yield f"its parts need more shared memory than {MOST_SHARED} bytes"
    if len(bundle.parameters) > MOST_PARAMETERS:
        yield f"it is handed more than {MOST_PARAMETERS} buffers"
    for a, b in combinations(bundle.parts, 2):
        if not independent(a, b):
            yield f"{a.name} and {b.name} run at once, but one touches what the other writes"


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
        if isinstance(s, (Loop, While)):
            yield "a thread with several points has no loops"
        elif isinstance(s, (Load, Store)):
            strides = dict(s.index.terms)
            along = strides.pop(last.var, 0)
            if s.dynamic is not None or along not in (0, 1):
                yield f"an access of {s.buffer} is not of neighbouring elements"
            elif along and any(n % lanes for n in (s.index.offset, *strides.values())):
                yield f"an access of {s.buffer} is not aligned to {lanes} elements"


def _faults_of_place(statements: Iterable[DeviceStatement], within: type | None) -> Iterable[str]:
    """Misplaced statements: those of the whole group inside a `Loop`, and a `Scan` outside of a `Spread`."""
    for s in statements:
        match s:
            case Spread(body=body):
                if within is not None:
                    yield "a loop that is shared out stands inside of another loop"
                yield from _faults_of_place(body, Spread)
            case Loop(body=body) | While(body=body):
                yield from _faults_of_place(body, Loop)
            case Scan() if within is not Spread:
                yield "a scan stands outside of the loop that it runs along"
            case Barrier() if within is not None:
                yield "a barrier stands inside of a loop"
            case _:
                continue
