"""PTX of a device program: one module with an entry for each launch, and the list of launches.

``DeviceProgram -> LLVM text -> PTX``; launches are in `ptx.entry`, their kernels in `ptx.kernel`, matrix products in
`ptx.gemm`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from graphad.backends.cuda.program.ir import Bundle, DeviceProgram, DeviceStep, Kernel
from graphad.backends.cuda.ptx import nvptx
from graphad.backends.cuda.ptx.entry import KernelText, emit_launch
from graphad.backends.cuda.ptx.functions import definitions
from graphad.backends.cuda.ptx.gemm import GemmKernels
from graphad.backends.cuda.ptx.lines import SourceLines
from graphad.backends.loops.ir import Buffer, Copy, Counted, Gemm, GuardStep, HostCall, Repeat, RepeatWhile
from graphad.ir.loc import Loc

_FLUSH = '"denormal-fp-math-f32"="preserve-sign,preserve-sign"'


@dataclass(frozen=True, slots=True)
class KernelLaunch:
    """One launch of an entry of the module.

    Attributes
    ----------
    entry
        Its name in the PTX.
    blocks, threads
        Blocks in the grid, and threads in a block; both have one axis.
    shared_bytes
        Of shared memory beyond what the entry declares.
    parameters
        For each pointer, its buffer and an offset in bytes.
    """

    entry: str
    blocks: int
    threads: int
    shared_bytes: int
    parameters: tuple[tuple[str, int], ...]
    loc: Loc = field(default=None, compare=False)


#: A loop of steps holds others such in its body.
Launched = KernelLaunch | Gemm | Copy | GuardStep | HostCall | Repeat | RepeatWhile | Counted


@dataclass(frozen=True, slots=True)
class EmittedModule:
    """PTX, the LLVM text that it was made from, and the steps in order; steps without work are left out."""

    ptx: str
    llvm: str
    launches: tuple[Launched, ...]


def emit(
    program: DeviceProgram,
    *,
    architecture: str = "sm_90",
    has_gemm: bool = False,
    comments: bool = True,
    flush_denormals: bool = True,
) -> EmittedModule:
    """Translate ``program``.

    Buffers must start at multiples of 16 bytes, end with whole words of 4 bytes, and not overlap with others of the
    same kernel where one of them is written.

    Parameters
    ----------
    program
        What to run.
    architecture
        Of the GPU: one of `nvptx.PTX_VERSIONS`.
    has_gemm
        Whether a library computes matrix products; else each distinct one becomes a kernel.
    comments
        Whether the texts name the user's lines (in PTX as ``.loc``).
    flush_denormals
        Whether float32 operations flush denormals to 0, as operands and as results.
    """
    emitter = _Emitter(program, SourceLines() if comments else None, has_gemm, flush_denormals)
    launches = emitter.launched(program.steps)
    text = _module(program, [*emitter.texts, *emitter.products.texts], emitter.lines, flush_denormals)
    return EmittedModule(nvptx.cached_ptx(text, architecture), text, tuple(launches))


class _Emitter:
    """The entries of a module, as its steps come up."""

    def __init__(
        self, program: DeviceProgram, lines: SourceLines | None, has_gemm: bool, flush_denormals: bool
    ) -> None:
        self.buffers: dict[str, Buffer] = {b.name: b for b in program.buffers}
        self.texts: list[KernelText] = []
        self.products = GemmKernels(self.buffers)
        self.lines = lines
        self.has_gemm = has_gemm
        self.flush_denormals = flush_denormals

    def launched(self, steps: Iterable[DeviceStep]) -> list[Launched]:
        """The launches of ``steps``, whose kernels are emitted."""
        launches: list[Launched] = []
        for step in steps:
            match step:
                case Kernel() | Bundle():
                    launches += [self.launch(step)] if step.blocks else []
                case Gemm():
                    if step.m and step.n and step.batch:
                        launches.append(step if self.has_gemm else _launch_of(self.products, step))
                case Copy(source=source):
                    launches += [step] if self.buffers[source].size else []
                case GuardStep() | HostCall():
                    launches.append(step)
                case Repeat() | RepeatWhile() | Counted():
                    launches.append(replace(step, body=tuple(self.launched(step.body))))
        return launches

    def launch(self, step: Kernel | Bundle) -> KernelLaunch:
        text = emit_launch(step, self.buffers, self.lines, flush_denormals=self.flush_denormals)
        self.texts.append(text)
        parameters = tuple([(name, 0) for name in step.parameters])
        return KernelLaunch(step.name, step.blocks, step.threads, text.dynamic_shared, parameters, step.loc)


def _launch_of(products: GemmKernels, g: Gemm) -> KernelLaunch:
    entry = products.entry(g)
    size, result_size = g.dtype.bits // 8, g.c_dtype.bits // 8
    parameters = [(m.buffer, m.offset * size) for m in (g.a, g.b)]
    parameters.append((g.c.buffer, g.c.offset * result_size))
    if g.bias is not None:
        parameters.append((g.bias, g.bias_offset * result_size))
    return KernelLaunch(entry.name, entry.blocks, entry.threads, 0, tuple(parameters), g.loc)


def _module(program: DeviceProgram, texts: list[KernelText], lines: SourceLines | None, flush_denormals: bool) -> str:
    attributes = f"nounwind {_FLUSH}" if flush_denormals else "nounwind"
    declared = [line for text in texts for line in text.declarations]
    outside, functions = definitions(declared, "#0")
    head = [f"; {b.role} {b.name}: {b.dtype.name}[{b.size}]" for b in program.buffers] if lines else []
    head += [line for text in texts for line in text.globals]
    body = [text.text for text in texts]
    tail = [f"attributes #0 = {{ {attributes} }}", *(lines.definitions() if lines else [])]
    return "\n".join([*head, *outside, "", *body, "", *functions, *tail, ""])
