"""A graph compiled for a GPU, real or emulated: lowered, scheduled, emitted, loaded, launched.

Equal graphs share kernels; the texts that are shown of a program belong to the graph that was compiled. A program is
first launched kernel by kernel. When it is called again with the same addresses, its launches are captured in a graph
of the driver, which is replayed from then on as one launch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.ptx.emit import EmittedModule, KernelLaunch, emit
from graphad.backends.cuda.run.launches import Sequences
from graphad.backends.cuda.runtime.allocator import Allocator, DeviceMemory
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import KernelProgram
from graphad.backends.loops.memory import buffer_bytes
from graphad.backends.loops.steps import every_step
from graphad.backends.lower.fuse import Lowered, lower
from graphad.backends.outcome import Answers, GuardFailure, guard_error
from graphad.backends.routines.host import HostRun
from graphad.backends.traits import cuda_traits
from graphad.config import config
from graphad.device import Device, Memory
from graphad.ir.graph import Graph
from graphad.ir.loc import format_loc
from graphad.ir.types import literal
from graphad.primitives.effects import printed_lines

NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How a program is compiled.

    Attributes
    ----------
    flush_denormals
        Treat float32 denormals as zero.
    deterministic
        Floats at scattered positions are summed in order, not by atomic updates.
    fast_math
        Assume no NaNs.
    """

    flush_denormals: bool
    deterministic: bool
    fast_math: bool


class _Code:
    """Loaded kernels of a program, shared by the executables of equal graphs."""

    def __init__(self, program: DeviceProgram, emitted: EmittedModule, memory: Allocator) -> None:
        entries = {step.entry for step in every_step(emitted.launches) if isinstance(step, KernelLaunch)}
        functions = memory.runtime.load(emitted.ptx, sorted(entries)) if entries else {}
        self.output_bytes = tuple([buffer_bytes(b) for b in program.buffers if b.role == "output"])
        self.sequences = Sequences(program, emitted.launches, functions, memory)


_codes: WeakValueDictionary[Hashable, _Code] = WeakValueDictionary()


class DeviceExecutable:
    """A compiled graph; made by `compile_graph`. Calling it takes and returns arrays of the host.

    Attributes
    ----------
    graph, name, device, options
        What was compiled, for what, and how.
    memory
        The memory of the device.
    """

    def __init__(self, graph: Graph, name: str, memory: Allocator, options: Options) -> None:
        self.graph = graph
        self.name = name
        self.memory = memory
        self.device: Device = memory.runtime.device
        self.options = options
        self._in_bytes = tuple([a.size * a.dtype.bits // 8 for a in graph.in_avals])
        self._code = self._find_code()

    def run(self, memories: Sequence[Memory], answers: Answers = ()) -> tuple[DeviceMemory, ...] | GuardFailure:
        """The outputs in new memory, or the `GuardFailure` that ended the run; what the program prints is printed.

        The outputs may still be being computed when this returns. ``answers`` are those of the run that this one takes
        the place of.
        """
        self._check(memories)
        host = HostRun(self.lowered.calls, answers)
        with self.memory.runtime.lock:
            outputs = tuple([self.memory.allocate(n) for n in self._code.output_bytes])
            addresses = [m.address for m in (*memories, *outputs)]
            failed = self._code.sequences.run(addresses, host)
        if failed is not None:
            ordinal, observed = failed
            expected = self.lowered.guards[ordinal].expected
            return GuardFailure(ordinal, literal(observed, expected.dtype), tuple(host.answers))
        for p in self.lowered.prints:
            values = [self._download(outputs[k], k) for k in p.outputs]
            for line in printed_lines(values, fmt=p.fmt, batch_axes=p.batch_axes):
                print(line)  # noqa: T201 - what the user asked for
        return outputs[: self.lowered.n_outputs]

    def __call__(self, *arrays: Any) -> tuple[NDArray, ...]:
        given = [np.asarray(x, a.dtype.numpy) for x, a in zip(arrays, self.graph.in_avals, strict=True)]
        outcome = self.run([self.memory.upload(x) for x in given])
        if isinstance(outcome, GuardFailure):
            failed = self.lowered.guards[outcome.ordinal]
            raise guard_error(self.name, failed.expected, outcome.observed, failed.loc)
        return tuple([self._download(m, k) for k, m in enumerate(outcome)])

    # ---- stages

    @cached_property
    def lowered(self) -> Lowered:
        """The loop program, and the meaning of its outputs."""
        traits = cuda_traits(has_gemm=self.memory.runtime.has_gemm, fast_math=self.options.fast_math)
        return lower(self.graph, self.name, traits=traits)

    @property
    def program(self) -> KernelProgram:
        """The loop program."""
        return self.lowered.program

    @cached_property
    def device_program(self) -> DeviceProgram:
        """The launches, as plain data."""
        return schedule(self.program, deterministic=self.options.deterministic)

    @cached_property
    def emitted(self) -> EmittedModule:
        """The LLVM text, with the user's lines, and the PTX made from it."""
        return self._emit(comments=True)

    def __repr__(self) -> str:
        return f"<DeviceExecutable {self.name} ({self.device}): {len(self.device_program.steps)} steps>"

    # ---- inside

    def _find_code(self) -> _Code:
        # The emulator names the user's lines, so there only programs of the same lines share code. For a GPU they are
        # left out, so that a program is not assembled again for other lines.
        lines = self._lines() if self.device.is_emulated else None
        key = (self.graph, self.device, self.options, id(self.memory), lines)
        code = _codes.get(key)
        if code is None:
            emitted = self._emit(comments=False) if lines is None else self.emitted
            code = _codes[key] = _Code(self.device_program, emitted, self.memory)
        return code

    def _lines(self) -> Hashable:
        """The program with the user's lines."""
        return self.emitted.ptx, *[format_loc(step.loc) for step in every_step(self.emitted.launches)]

    def _emit(self, *, comments: bool) -> EmittedModule:
        return emit(
            self.device_program,
            architecture=self.memory.runtime.architecture,
            has_gemm=self.memory.runtime.has_gemm,
            comments=comments,
            flush_denormals=self.options.flush_denormals,
        )

    def _check(self, memories: Sequence[Memory]) -> None:
        if len(memories) != len(self._in_bytes):
            raise TypeError(f"{self.name} takes {len(self._in_bytes)} arrays, but {len(memories)} were given.")
        for k, (memory, nbytes) in enumerate(zip(memories, self._in_bytes, strict=True)):
            if memory.nbytes != nbytes:
                wanted = self.graph.in_avals[k]
                raise TypeError(f"{self.name}: argument {k} must be {wanted}, {nbytes} bytes, not {memory.nbytes}.")
            if memory.device != self.device:
                raise ValueError(f"{self.name} runs on {self.device}, but argument {k} is on {memory.device}.")

    def _download(self, memory: DeviceMemory, output: int) -> NDArray:
        a = self.lowered.outputs[output]
        array = np.empty(a.shape, a.dtype.numpy)
        memory.download(array)
        return array


def compile_graph(
    graph: Graph,
    device: Device,
    *,
    name: str | None = None,
    flush_denormals: bool | None = None,
    deterministic: bool | None = None,
) -> DeviceExecutable:
    """Compile ``graph`` for a device that is not the CPU.

    Parameters
    ----------
    graph
        What to compile; its regions become part of the program.
    device
        A GPU, or the emulated one.
    name
        The program's name; by default that of the graph.
    flush_denormals
        Treat denormal numbers as zero; by default `config.flush_denormals`.
    deterministic
        Floats at scattered positions are summed in order, not by atomic updates; by default `config.deterministic`.

    Raises
    ------
    LoweringError
        Where an equation has no compiled form; the message names it and the user's line.
    DeviceError
        If the device, or what is needed for it, is not there.
    """
    flush = config.flush_denormals if flush_denormals is None else flush_denormals
    in_order = config.deterministic if deterministic is None else deterministic
    options = Options(flush, in_order, config.fast_math)
    return DeviceExecutable(graph, name or graph.name, allocator(device), options)
