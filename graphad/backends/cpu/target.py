"""The CPU as a target. What it calls is imported late: programs that are found on disk need no compiler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from graphad.config import config
from graphad.device import CPU, Device
from graphad.errors import DeviceError
from graphad.ir.graph import Graph

if TYPE_CHECKING:
    from graphad.backends.cpu.executable import Executable
    from graphad.backends.loops.explanation import Explanation


class CpuTarget:
    """Compiles for the CPU, of which there is one; see `graphad.backends.targets.Target`."""

    stages = ("loops", "source", "llvm", "asm")
    has_architectures = False
    rerolls = True
    has_routines = True

    def devices(self) -> tuple[Device, ...]:
        """The CPU."""
        return (CPU,)

    def memory(self, device: Device) -> NoReturn:
        """There is none but the host's."""
        raise DeviceError(f"arrays on {device} are those of the host: it has no memory of its own")

    def compile(self, graph: Graph, device: Device, passes: str) -> Executable:
        """The program of ``graph``, found on disk or made. Memoised."""
        from graphad.backends.cpu.executable import compile_graph

        key = ("executable", device, passes, config.trace_key)
        return graph.memoize(key, lambda: compile_graph(graph, passes=passes))

    def show(self, graph: Graph, device: Device, passes: str, stage: str, _architecture: str | None = None) -> str:
        """The program as ``loops``, Numba ``source``, ``llvm`` or ``asm``."""
        from graphad.backends.loops.text import format_program

        made = self.compile(graph, device, passes)
        match stage:
            case "loops":
                return format_program(made.program)
            case "source":
                return made.source
            case "llvm":
                return made.llvm
            case "asm":
                return made.asm
            case _:
                raise ValueError(f"a program for the CPU has no stage {stage!r}")

    def explain(self, graph: Graph, _device: Device, passes: str, _architecture: str | None = None) -> Explanation:
        """What the program does, and which loops the passes have changed."""
        from graphad.backends.cpu.compiler import lowered
        from graphad.backends.loops.explanation import explain
        from graphad.passes import Fission, GatherProducts, applied

        made, notes = explain(lowered(graph, passes, graph.name).program, "the CPU"), list[str]()
        for p in (GatherProducts(), Fission()):
            p.run(applied(graph, passes.partition(f",{p.name}")[0]), notes.append)
        return replace(made, notes=(*made.notes, *notes))
