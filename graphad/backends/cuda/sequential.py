"""Device programs written back as loops: what a program for a device means, told in terms of the CPU's.

Everything that a device does at once is done one after the other, backwards: a schedule that took dependent iterations
for independent ones would give another result. Barriers and shared memory have no meaning here; missing barriers are
found by the emulator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Final

from graphad.backends.cuda.program import (
    Atomic,
    Barrier,
    DeviceProgram,
    DeviceStatement,
    DeviceStep,
    FusedGemm,
    Kernel,
    Scan,
    Spread,
)
from graphad.backends.cuda.scans import ASSOCIATIVE
from graphad.backends.loops import (
    Carry,
    Combine,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Statement,
    Step,
    Store,
)
from graphad.backends.scalars import identity_of
from graphad.ir.types import DType, literal

#: The operator that takes one step of a combination.
STEPS: Final[dict[Combine, str]] = {combine: op for op, combine in ASSOCIATIVE.items()}


def as_loops(program: DeviceProgram) -> KernelProgram:
    """The program with each kernel as a loop nest, and such a nest behind products that are more than that."""
    numbers = count()
    dtypes = {b.name: b.dtype for b in program.buffers}
    shared = {b.name: b for k in program.kernels for b in k.shared}
    steps = [t for s in program.steps for t in _steps(s, dtypes, numbers)]
    return KernelProgram(program.name, (*program.buffers, *shared.values()), tuple(steps))


def _steps(step: DeviceStep, dtypes: Mapping[str, DType], numbers: Iterator[int]) -> tuple[Step, ...]:
    match step:
        case Kernel():
            return (_nest(step, dtypes, numbers),)
        case FusedGemm():
            return step.alone, _epilogue(step)
        case _:
            return (step,)


def _epilogue(g: FusedGemm) -> LoopNest:
    """What is done to each element of a product."""
    at = Index(g.c.offset, (("batch", g.c_step), ("row", g.c.row_stride), ("column", 1)))
    body: list[Statement] = [Load("product", g.c.buffer, at, loc=g.loc)]
    value = "product"
    if g.bias is not None:
        body.append(Load("bias", g.bias, Index(g.bias_offset, (("column", 1),)), loc=g.loc))
        body.append(Let("sum", g.dtype, "add", (value, "bias"), g.loc))
        value = "sum"
    if g.relu:
        body.append(Let("relu", g.dtype, "maximum", (value, literal(0.0, g.dtype)), g.loc))
        value = "relu"
    nest: Statement = Loop("column", g.n, (*body, Store(g.c.buffer, at, value, loc=g.loc)), loc=g.loc)
    nest = Loop("batch", g.batch, (Loop("row", g.m, (nest,), loc=g.loc),), loc=g.loc)
    return LoopNest((nest,), g.loc)


def _nest(kernel: Kernel, dtypes: Mapping[str, DType], numbers: Iterator[int]) -> LoopNest:
    known = {**dtypes, **{b.name: b.dtype for b in kernel.shared}}
    body = tuple(_statements(kernel.body, known, numbers))
    for axis in reversed(kernel.grid):
        body = (Loop(axis.var, axis.extent, body, reverse=True, loc=kernel.loc),)
    return LoopNest(body, kernel.loc)


def _statements(
    statements: Iterable[DeviceStatement], dtypes: Mapping[str, DType], numbers: Iterator[int]
) -> Iterator[Statement]:
    for s in statements:
        match s:
            case Atomic():
                old, new = f"old{next(numbers)}", f"new{next(numbers)}"
                yield Load(old, s.buffer, s.index, s.dynamic, s.loc)
                yield Let(new, dtypes[s.buffer], STEPS[s.combine], (old, s.value), s.loc)
                yield Store(s.buffer, s.index, new, s.dynamic, s.mask, s.loc)
            case Barrier():
                pass
            case Loop():
                body = tuple(_statements(s.body, dtypes, numbers))
                yield Loop(s.var, s.extent, body, s.carries, reverse=s.reverse, loc=s.loc)
            case Spread():
                yield _loop(s, tuple(_statements(s.body, dtypes, numbers)))
            case Scan():
                yield Let(s.inclusive, s.dtype, STEPS[s.combine], (s.exclusive, s.value), s.loc)
            case _:
                yield s


def _loop(s: Spread, body: tuple[Statement, ...]) -> Loop:
    """One loop for each axis; the inner ones carry parts of what the outermost one carries."""
    scans = [t for t in s.body if isinstance(t, Scan)]
    if scans:
        (axis,) = s.axes
        running = [Carry(t.exclusive, t.dtype, "last", t.init, t.inclusive) for t in scans]
        return Loop(axis.var, axis.extent, body, (*s.carries, *running), reverse=s.reverse, loc=s.loc)
    carries = s.carries
    for axis in reversed(s.axes[1:]):
        inner: list[Carry] = []
        for c, part in zip(s.carries, carries, strict=True):
            name = f"{c.name}_{axis.var}"
            inner.append(Carry(name, c.dtype, c.combine, identity_of(c.combine, c.dtype), part.update))
        body = (Loop(axis.var, axis.extent, body, tuple(inner), reverse=True, loc=s.loc),)
        carries = tuple(
            [Carry(c.name, c.dtype, c.combine, c.init, p.name) for c, p in zip(s.carries, inner, strict=True)]
        )
    first = s.axes[0]
    return Loop(first.var, first.extent, body, carries, reverse=True, loc=s.loc)
