"""Runs device programs on the emulator, from PTX for a given architecture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator import Memory, Module, launch
from graphad.backends.cuda.program.ir import Axis, DeviceProgram, DeviceStatement, DeviceStep, Kernel, Spread
from graphad.backends.cuda.ptx.emit import EmittedModule, KernelLaunch, emit
from graphad.backends.loops.ir import Buffer, Copy
from graphad.ir.types import DType
from tests.backends.loop_harness import Arrays, at, buffers, lit, same

__all__ = [
    "Arrays",
    "at",
    "axes",
    "buffers",
    "emitted",
    "kernel",
    "lit",
    "program",
    "run",
    "run_module",
    "same",
    "spread",
]

FILL = 1  # the byte that outputs are full of


def axes(**extents: int) -> tuple[Axis, ...]:
    return tuple(Axis(var, extent) for var, extent in extents.items())


def spread(body: Iterable[DeviceStatement], *carries: Any, reverse: bool = False, **extents: int) -> Spread:
    return Spread(axes(**extents), tuple(body), carries, reverse)


def kernel(
    grid: tuple[Axis, ...], *body: DeviceStatement, uses: Sequence[str] = (), shared: Sequence[Buffer] = (), **how: int
) -> Kernel:
    """A kernel over the buffers ``uses``."""
    return Kernel("example", tuple(uses), tuple(shared), grid, body, **how)


def program(*parts: list[Buffer] | DeviceStep) -> DeviceProgram:
    """A program from lists of buffers and steps."""
    listed = [b for part in parts if isinstance(part, list) for b in part]
    return DeviceProgram("p", tuple(listed), tuple(part for part in parts if not isinstance(part, list)))


def emitted(p: DeviceProgram, **options: Any) -> EmittedModule:
    return emit(p, **options)


def run(p: DeviceProgram, inputs: Sequence[Any] = (), **options: Any) -> Arrays:
    """The outputs, which hold `FILL` in every byte before."""
    return run_module(p, emit(p, **options), inputs)


def run_module(p: DeviceProgram, module: EmittedModule, inputs: Sequence[Any]) -> Arrays:
    """`run`, with what was made of the program."""
    loaded, memory = Module(module.ptx), Memory()
    given, addresses = iter(inputs), {}
    for b in p.buffers:
        nbytes = b.size * b.dtype.bits // 8
        addresses[b.name] = memory.allocate(-(-nbytes // 4) * 4 or 4)  # whole words, as atomic updates need
        if nbytes and b.role == "input":
            memory.view(addresses[b.name], nbytes)[:] = np.ascontiguousarray(next(given)).reshape(-1).view(np.uint8)
        elif b.role == "input":
            next(given)
        elif nbytes and b.role == "output":
            memory.view(addresses[b.name], nbytes)[:] = FILL
    for step in module.launches:
        if isinstance(step, KernelLaunch):
            arguments = tuple(addresses[name] + offset for name, offset in step.parameters)
            blocks, threads = (step.blocks, 1, 1), (step.threads, 1, 1)
            launch(loaded.kernels[step.entry], memory, blocks, threads, step.shared_bytes, arguments)
        else:
            assert isinstance(step, Copy)
            size = next(b.size * b.dtype.bits // 8 for b in p.buffers if b.name == step.source)
            memory.view(addresses[step.target], size)[:] = memory.view(addresses[step.source], size)
    return [_read(memory, addresses[b.name], b.dtype, b.size) for b in p.buffers if b.role == "output"]


def _read(memory: Memory, address: int, dtype: DType, size: int) -> np.ndarray[Any, Any]:
    if not size:
        return np.empty(0, dtype.numpy)
    return memory.view(address, size * dtype.bits // 8).copy().view(dtype.numpy)
