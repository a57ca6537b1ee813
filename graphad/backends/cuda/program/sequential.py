"""Device programs written back as loops: their semantics, in terms of the CPU's loop programs.

Everything that a device runs in parallel runs sequentially, in reverse order: a schedule that ran dependent iterations
in parallel would give another result. Barriers and shared memory have no meaning here; the emulator finds missing
barriers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Final

from graphad.backends.cuda.program.ir import (
    Atomic,
    Barrier,
    Bundle,
    DeviceProgram,
    DeviceStatement,
    DeviceStep,
    Kernel,
    Scan,
    Spread,
)
from graphad.backends.cuda.program.scans import ASSOCIATIVE, scan_steps
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Combine,
    Counted,
    Gemm,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Repeat,
    RepeatWhile,
    Statement,
    Step,
    Store,
    While,
    is_half,
)
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.lower.scalars import identity_of
from graphad.ir.types import DType, f32, literal

#: The operator of each combination.
STEPS: Final[dict[Combine, str]] = {combine: op for op, combine in ASSOCIATIVE.items()}


def as_loops(program: DeviceProgram) -> KernelProgram:
    """The program with each kernel as a loop nest, and each epilogue of a product as a nest after it.

    Products of 16-bit floats read copies of their factors in f32.
    """
    numbers = count()
    dtypes = {b.name: b.dtype for b in program.buffers}
    shared = {b.name: b for k in program.kernels for b in k.shared}
    sizes = {b.name: b.size for b in program.buffers}
    steps = [t for s in program.steps for t in _steps(s, dtypes, sizes, numbers)]
    products = [s for s in every_step(program.steps) if isinstance(s, Gemm) and is_half(s.dtype)]
    halves = sorted({n for g in products for n in buffers_read(g) | buffers_written(g)})
    wide = [Buffer(_wide(n), f32, sizes[n], "temporary") for n in halves]
    windows = [b for b in program.buffers if b.role == "window"]
    others = [b for b in program.buffers if b.role != "window"]
    return KernelProgram(program.name, (*others, *shared.values(), *wide, *windows), tuple(steps))


def _steps(
    step: DeviceStep, dtypes: Mapping[str, DType], sizes: Mapping[str, int], numbers: Iterator[int]
) -> tuple[Step, ...]:
    match step:
        case Kernel() | Bundle():
            return tuple([_nest(part, dtypes, numbers) for part in reversed(step.parts)])
        case Gemm() if is_half(step.dtype):
            return _in_f32(step, sizes)
        case Repeat() | RepeatWhile() | Counted():
            body = [t for s in step.body for t in _steps(s, dtypes, sizes, numbers)]
            return (replace(step, body=tuple(body)),)
        case Gemm() if step.is_fused:
            return step.alone, _epilogue(step, step.c.buffer)
        case _:
            return (step,)


def _in_f32(g: Gemm, sizes: Mapping[str, int]) -> tuple[Step, ...]:
    """A product of 16-bit floats: computed from its factors in f32, and rounded at the end."""
    at = Index(0, (("i", 1),))
    copies: list[Step] = []
    for name in sorted(buffers_read(g)):
        load, wide = Load("given", name, at, loc=g.loc), Let("wide", f32, "cast", ("given",), g.loc)
        copies.append(LoopNest((Loop("i", sizes[name], (load, wide, Store(_wide(name), at, "wide"))),), g.loc))
    a, b, c = [replace(m, buffer=_wide(m.buffer)) for m in (g.a, g.b, g.c)]
    return *copies, replace(g.alone, dtype=f32, result=None, a=a, b=b, c=c), _epilogue(g, c.buffer)


def _wide(name: str) -> str:
    """The name of a buffer's copy in f32."""
    return f"{name}_wide"


def _epilogue(g: Gemm, source: str) -> LoopNest:
    """The epilogue of a product whose plain result is in ``source``, as a nest."""
    at = Index(g.c.offset, (("batch", g.c_step), ("row", g.c.row_stride), ("column", 1)))
    body: list[Statement] = [Load("product", source, at, loc=g.loc)]
    value, dtype = "product", f32 if is_half(g.dtype) else g.dtype
    if g.bias is not None:
        bias = Index(g.bias_offset, (("column", 1),))
        body += [Load("given", g.bias, bias, loc=g.loc), Let("bias", dtype, "cast", ("given",), g.loc)]
        body.append(Let("sum", dtype, "add", (value, "bias"), g.loc))
        value = "sum"
    if g.relu:
        body.append(Let("relu", dtype, "maximum", (value, literal(0.0, dtype)), g.loc))
        value = "relu"
    body.append(Let("result", g.c_dtype, "cast", (value,), g.loc))
    nest: Statement = Loop("column", g.n, (*body, Store(g.c.buffer, at, "result", loc=g.loc)), loc=g.loc)
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
            case While():
                yield replace(s, body=tuple(_statements(s.body, dtypes, numbers)))
            case Spread():
                yield _loop(s, tuple(_statements(s.body, dtypes, numbers)))
            case Scan():
                yield from scan_steps(s.combine, s.inclusive, s.dtype, s.exclusive, s.value, s.decay, s.loc)
            case _:
                yield s


def _loop(s: Spread, body: tuple[Statement, ...]) -> Loop:
    """One loop for each axis; the inner ones carry the partial results of the outermost one."""
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
            inner.append(replace(part, name=name, init=identity_of(c.combine, c.dtype)))
        body = (Loop(axis.var, axis.extent, body, tuple(inner), reverse=True, loc=s.loc),)
        carries = tuple(
            [Carry(c.name, c.dtype, c.combine, c.init, p.name) for c, p in zip(s.carries, inner, strict=True)]
        )
    first = s.axes[0]
    return Loop(first.var, first.extent, body, carries, reverse=True, loc=s.loc)
