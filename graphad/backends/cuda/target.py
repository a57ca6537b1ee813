"""GPUs of NVIDIA's, and the emulated one, as a target. What it calls is imported late: a call needs its part alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphad.backends.cuda import toolkit
from graphad.config import config
from graphad.device import Device
from graphad.ir.graph import Graph

if TYPE_CHECKING:
    from graphad.backends.cuda.inspection.cross import CrossCompiled
    from graphad.backends.cuda.inspection.explanation import DeviceExplanation
    from graphad.backends.cuda.run.executable import DeviceExecutable
    from graphad.backends.cuda.runtime.allocator import Allocator


class CudaTarget:
    """Compiles for GPUs, real or emulated; see `graphad.backends.targets.SharingTarget`."""

    stages = ("loops", "device", "source", "llvm", "ptx", "sass")
    has_architectures = True
    rerolls = False  # the launches of what is unrolled are captured; the host runs the turns of many loops
    has_routines = False  # there are kernels for sorts alone

    def devices(self) -> tuple[Device, ...]:
        """The GPUs that the driver shows, and the emulated one."""
        return toolkit.available()

    def memory(self, device: Device) -> Allocator:
        """The memory of a GPU, which is opened when first used."""
        from graphad.backends.cuda.runtime.runtimes import allocator

        return allocator(device)

    def device_of(self, address: int) -> Device:
        """The GPU that has this address."""
        from graphad.backends.cuda.runtime.pointers import device_of

        return device_of(address)

    def compile(self, graph: Graph, device: Device, passes: str) -> DeviceExecutable:
        """The program of ``graph``, loaded."""
        from graphad.backends.cuda.run.executable import compile_graph
        from graphad.passes import applied

        return compile_graph(applied(graph, passes), device, name=graph.name, deterministic=config.deterministic)

    def show(self, graph: Graph, device: Device, passes: str, stage: str, architecture: str | None = None) -> str:
        """The program as ``loops``, ``device`` program, Numba ``source``, ``llvm``, ``ptx`` or ``sass``."""
        return self._crossed(graph, device, passes, architecture).text(stage)

    def explain(self, graph: Graph, device: Device, passes: str, architecture: str | None = None) -> DeviceExplanation:
        """What the program does, with the resources of each kernel where the assembler is."""
        from graphad.backends.cuda.inspection.explanation import explain

        return explain(self._crossed(graph, device, passes, architecture))

    def _crossed(self, graph: Graph, device: Device, passes: str, architecture: str | None) -> CrossCompiled:
        from graphad.backends.cuda.inspection.cross import cross_compile
        from graphad.passes import applied

        return cross_compile(applied(graph, passes), device, architecture)
