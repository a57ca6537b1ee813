"""What a device program moves between the device's memory and its multiprocessors, and what it computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphad.backends.cuda.program.ir import Atomic, Bundle, DeviceProgram, Kernel, Scan, Spread
from graphad.backends.loops.costs import Cost, Tally, total_cost


def costs(program: DeviceProgram) -> Cost:
    """The cost of each step of ``program``. Shared memory is not counted, nor what threads compute alike."""
    return total_cost(program.buffers, [(s, _DeviceTally(program.buffers)) for s in program.steps])


class _DeviceTally(Tally):
    """`Tally` for steps of a device; an atomic update is a write, for it is made where the memory is."""

    def step(self, step: Any) -> str:
        match step:
            case Kernel() | Bundle():
                for part in step.parts:
                    self.statements(part.body, {axis.var: axis.extent for axis in part.grid})
                return step.name
            case _:
                return super().step(step)

    def statement(self, s: Any, extents: Mapping[str, int]) -> None:
        match s:
            case Spread(axes=axes, carries=carries, body=body):
                self.loop(carries, body, {**extents, **{axis.var: axis.extent for axis in axes}})
            case Scan() | Atomic():
                self.operate(extents)
                super().statement(s, extents)
            case _:
                super().statement(s, extents)
