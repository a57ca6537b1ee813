"""What a program does on a GPU: `graphad.backends.loops.explanation`, with each kernel's resources and occupancy.

Registers, spills and occupancy are known where the assembler is installed; a GPU is not needed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.inspection.cross import CrossCompiled
from graphad.backends.cuda.program.ir import Bundle, DeviceStep, Kernel
from graphad.backends.cuda.ptx.assemble import KernelReport
from graphad.backends.cuda.ptx.emit import KernelLaunch
from graphad.backends.cuda.ptx.occupancy import Occupancy, occupancy
from graphad.backends.cuda.run.launches import is_written_out, plan_arena
from graphad.backends.cuda.run.turns import launches_in
from graphad.backends.loops.costs import StepCost
from graphad.backends.loops.explanation import (
    KINDS,
    Column,
    Explanation,
    StepExplanation,
    format_bytes,
    held_bytes,
    kind_of,
    lines_of,
)
from graphad.backends.loops.ir import Counted, Gemm, GuardStep, HostCall, Repeat, RepeatWhile
from graphad.backends.loops.steps import Turns, every_step
from graphad.backends.loops.visit import walk
from graphad.errors import DeviceError
from graphad.ir.loc import format_loc

_SHARED: Final = re.compile(r"\.shared\b.*?\b(\w+)_shared\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class KernelExplanation(StepExplanation):
    """A step that is a launch; of one that is not (a copy, a product by a library) the numbers are 0.

    Attributes
    ----------
    blocks, threads
        Blocks in the grid, and threads in a block.
    parts
        Kernels in the launch.
    group, lanes
        Threads that work on one point of the grid together, or points that one thread takes; of the kernel, if it is
        one.
    shared_bytes
        Shared memory of a block.
    registers, spill_bytes
        Of a thread; None where the assembler is not installed. Spills are stores and loads of registers in memory.
    occupancy
        How many blocks a multiprocessor holds, and what keeps it from holding more.
    """

    blocks: int = 0
    threads: int = 0
    parts: int = 1
    group: int = 1
    lanes: int = 1
    shared_bytes: int = 0
    registers: int | None = None
    spill_bytes: int | None = None
    occupancy: Occupancy | None = None


@dataclass(frozen=True, slots=True, repr=False)
class DeviceExplanation(Explanation):
    """`Explanation` of a program for a GPU, whose steps are `KernelExplanation`.

    Attributes
    ----------
    architecture
        Of the GPU.
    """

    architecture: str = ""

    def launch_columns(self) -> list[Column]:
        """The grid, and how points are shared among threads."""
        return [
            ("grid x block", lambda s: f"{s.blocks} x {s.threads}" if s.blocks else ""),
            ("share", _share),
        ]

    def code_columns(self) -> list[Column]:
        """The resources of a multiprocessor that a kernel takes."""
        return [
            ("shared", lambda s: format_bytes(s.shared_bytes) if s.shared_bytes else ""),
            ("registers", lambda s: "" if s.registers is None else str(s.registers)),
            ("spills", lambda s: "" if s.spill_bytes is None else format_bytes(s.spill_bytes)),
            ("occupancy", _occupancy_text),
        ]


def explain(compiled: CrossCompiled) -> DeviceExplanation:
    """What a program does on a GPU."""
    program = compiled.device_program
    cost = costs(program)
    reports, missing = _reports(compiled)
    shared = {name: int(count) for name, count in _SHARED.findall(compiled.launched.ptx)}
    working = [(s, c) for s, c in zip(program.steps, cost.steps, strict=True) if _has_work(s, c)]
    steps: list[KernelExplanation] = []
    for (step, counted), launch in zip(working, compiled.launched.launches, strict=True):
        explained = _explained(step, counted)
        if isinstance(launch, KernelLaunch):
            nbytes = shared.get(launch.entry, 0) + launch.shared_bytes
            explained = _launched(explained, launch, nbytes, reports.get(launch.entry), compiled.architecture)
        steps.append(explained)
    missing += [_about(s) for s in compiled.launched.launches if isinstance(s, (Repeat, RepeatWhile, Counted))]
    temporaries = sum(b.role == "temporary" for b in program.buffers)
    by_library = compiled.has_gemm and any(isinstance(s, Gemm) for s in program.steps)
    return DeviceExplanation(
        tuple(steps), cost.minimum_bytes, program.name, compiled.target, temporaries, plan_arena(program).size,
        held_bytes(program.buffers),
        tuple([*missing, *(["Matrix products are computed by cuBLASLt."] if by_library else [])]),
        architecture=compiled.architecture,
    )  # fmt: skip


def _reports(compiled: CrossCompiled) -> tuple[dict[str, KernelReport], list[str]]:
    """The assembler's report on each kernel; without an assembler, a note on how to get it."""
    if not any(isinstance(launch, KernelLaunch) for launch in compiled.launched.launches):
        return {}, []
    try:
        toolkit.nvjitlink()
    except DeviceError:
        note = (
            "Registers, spills and occupancy are known where NVIDIA's assembler is: pip install graphad[cuda-assemble]"
        )
        return {}, [note]
    return {report.name: report for report in compiled.assembled.kernels}, []


def _has_work(step: DeviceStep, cost: StepCost) -> bool:
    """Whether anything is launched for a step."""
    if isinstance(step, (GuardStep, HostCall, Repeat, RepeatWhile, Counted)):
        return True
    return step.blocks > 0 if isinstance(step, (Kernel, Bundle)) else cost.written_bytes > 0


def _explained(step: DeviceStep, cost: StepCost) -> KernelExplanation:
    counted = (cost.read_bytes, cost.written_bytes, cost.operations)
    if isinstance(step, Kernel):
        lines = lines_of([step.loc, *[s.loc for s in walk(step.body)]])
        return KernelExplanation(step.name, *counted, "kernel", lines, group=step.group, lanes=step.lanes)
    if isinstance(step, Bundle):
        lines = lines_of([step.loc, *[s.loc for part in step.parts for s in (part, *walk(part.body))]])
        return KernelExplanation(step.name, *counted, "kernel", lines, parts=len(step.parts))
    if isinstance(step, (Gemm, HostCall)):
        kind = KINDS[Gemm if isinstance(step, Gemm) else HostCall]
        return KernelExplanation(cost.name, *counted, kind, lines_of([step.loc]))
    if isinstance(step, (Repeat, RepeatWhile, Counted)):
        kernels = [k for s in every_step((step,)) if isinstance(s, (Kernel, Bundle)) for k in s.parts]
        locs = [s.loc for s in (*every_step((step,)), *[t for k in kernels for t in (k, *walk(k.body))])]
        return KernelExplanation(cost.name, *counted, kind_of(step), lines_of(locs))
    return KernelExplanation("", *counted, kind_of(step), lines_of([step.loc]))


def _about(loop: Turns) -> str:
    """How a loop or branch of steps is run."""
    inside = sum([not isinstance(s, (Repeat, RepeatWhile)) for s in every_step(loop.body)])
    launches = f"{inside} launch" + "es" * (inside != 1)
    where = format_loc(loop.loc)
    what = "branch" if isinstance(loop, RepeatWhile) and loop.once else "loop"
    text = f"The {what} of steps of {where} is " if where else f"A {what} of steps is "
    match loop:
        case Repeat() if is_written_out(loop):
            return f"{text}written out, {launches_in(loop)} launches in all."
        case Repeat():
            return f"{text}run by the host, {launches} a turn."
        case RepeatWhile(once=True):
            return f"{text}chosen by the host, which reads the test back: {launches}."
        case RepeatWhile():
            return f"{text}run by the host, which reads the test back before each turn of {launches}."
        case Counted():
            return f"{text}run by the host, which reads the number of turns back and allocates what depends on it."


def _launched(
    step: KernelExplanation, launch: KernelLaunch, shared_bytes: int, report: KernelReport | None, architecture: str
) -> KernelExplanation:
    """``step`` with its launch parameters and the assembler's report."""
    step = replace(step, blocks=launch.blocks, threads=launch.threads, shared_bytes=shared_bytes)
    if report is None:
        return step
    return replace(
        step,
        registers=report.registers,
        spill_bytes=report.spill_stores + report.spill_loads,
        occupancy=occupancy(architecture, launch.threads, report.registers, shared_bytes),
    )


def _share(step: KernelExplanation) -> str:
    if step.parts > 1:
        return f"{step.parts} kernels side by side"
    if step.group > 1:
        return f"{step.group} threads a point"
    return f"{step.lanes} points a thread" if step.lanes > 1 else ""


def _occupancy_text(step: KernelExplanation) -> str:
    found = step.occupancy
    return "" if found is None else f"{found.fraction:.0%} ({found.limit})" if found.fraction < 1 else "100%"
