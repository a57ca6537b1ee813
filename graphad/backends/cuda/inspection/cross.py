"""Cross-compilation for a GPU that need not be there: every text on the way to the GPU's machine code.

`executable` runs programs; this module only shows them, for any architecture, with neither GPU nor driver.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.numba import source as emit_cuda_numba
from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.ptx.assemble import Assembled, sass
from graphad.backends.cuda.ptx.cubins import cubin
from graphad.backends.cuda.ptx.emit import EmittedModule, emit
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Gemm, KernelProgram
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.text import format_gemm, format_program
from graphad.backends.lower.fuse import lower
from graphad.backends.traits import cuda_traits
from graphad.config import config
from graphad.device import Device
from graphad.ir.graph import Graph

#: The architecture if none is named and no GPU is there to ask.
ARCHITECTURE: Final = "sm_90"


class CrossCompiled:
    """The stages of a graph's program for a GPU, each made when asked for.

    Parameters
    ----------
    graph
        What to compile, simplified.
    name
        The program's name.
    architecture
        Of the GPU, such as ``"sm_80"``.
    has_gemm
        Whether a library computes matrix products, as cuBLASLt does on a GPU; else they are kernels.
    """

    def __init__(self, graph: Graph, name: str, architecture: str = ARCHITECTURE, *, has_gemm: bool = True) -> None:
        self.architecture = architecture
        self.has_gemm = has_gemm
        traits = cuda_traits(has_gemm=has_gemm, fast_math=config.fast_math)
        self.program: KernelProgram = lower(graph, name, traits=traits).program

    @property
    def target(self) -> str:
        """What the program is for, in words."""
        return self.architecture if self.has_gemm else f"an emulated {self.architecture}"

    @cached_property
    def device_program(self) -> DeviceProgram:
        """The launches, as plain data."""
        return schedule(self.program, deterministic=config.deterministic)

    @cached_property
    def emitted(self) -> EmittedModule:
        """The PTX, and the LLVM text that it is made from."""
        return self._emit(comments=True)

    @cached_property
    def launched(self) -> EmittedModule:
        """The same without the user's lines, as it is launched: equal programs are assembled once."""
        return self._emit(comments=False)

    @cached_property
    def assembled(self) -> Assembled:
        """The machine code, and the assembler's report; `DeviceError` where the assembler is not installed."""
        return cubin(self.launched.ptx, self.architecture)

    def text(self, stage: str) -> str:
        """The program in one of its forms: ``loops``, ``device``, ``source``, ``llvm``, ``ptx`` or ``sass``."""
        match stage:
            case "loops":
                return format_program(self.program)
            case "device":
                return format_device_program(self.device_program)
            case "source":
                return emit_cuda_numba.source(self.device_program)
            case "llvm":
                return self.emitted.llvm
            case "ptx":
                return self._about_products() + self.emitted.ptx
            case "sass":
                return self._about_products() + sass(self.assembled.cubin)
            case _:
                raise ValueError(f"a program for a GPU has no stage {stage!r}")

    def _about_products(self) -> str:
        """A comment for each step that is not among the kernels because a library computes it."""
        products = [s for s in every_step(self.launched.launches) if isinstance(s, Gemm)]
        note = "computed by cuBLASLt; for the device cuda:emulated it is a kernel"
        return "".join([f"// {format_gemm(g)}: {note}\n" for g in products])

    def _emit(self, *, comments: bool) -> EmittedModule:
        return emit(
            self.device_program,
            architecture=self.architecture,
            has_gemm=self.has_gemm,
            comments=comments,
            flush_denormals=config.flush_denormals,
        )


def cross_compile(graph: Graph, device: Device, architecture: str | None = None) -> CrossCompiled:
    """Compile ``graph`` for ``device``; by default for the architecture of that GPU, if it is there."""
    return CrossCompiled(graph, graph.name, architecture or _architecture_of(device), has_gemm=not device.is_emulated)


def _architecture_of(device: Device) -> str:
    reachable = device.index < toolkit.gpu_count() and toolkit.version_of("cuda-bindings") is not None
    return allocator(device).runtime.architecture if device.is_emulated or reachable else ARCHITECTURE
