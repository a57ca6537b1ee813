"""PTX of a device program: one module with an entry for each launch, and the list of launches.

``DeviceProgram -> LLVM text -> PTX``; launches are in `ptx.entry`, their kernels in `ptx.kernel`, matrix products in
`ptx.gemm`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from graphad.backends.cuda.program.ir import Bundle, DeviceProgram, FusedGemm, Kernel
from graphad.backends.cuda.ptx import nvptx
from graphad.backends.cuda.ptx.entry import KernelText, emit_launch
from graphad.backends.cuda.ptx.functions import definitions
from graphad.backends.cuda.ptx.gemm import GemmKernels
from graphad.backends.cuda.ptx.lines import SourceLines
from graphad.backends.loops.ir import Copy, Gemm, GuardStep, HostCall
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


Launched = KernelLaunch | Gemm | Copy | GuardStep | HostCall


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
    buffers = {b.name: b for b in program.buffers}
    texts: list[KernelText] = []
    launches: list[Launched] = []
    products = GemmKernels(buffers)
    lines = SourceLines() if comments else None
    for step in program.steps:
        match step:
            case Kernel() | Bundle():
                if step.blocks:
                    text = emit_launch(step, buffers, lines, flush_denormals=flush_denormals)
                    texts.append(text)
                    parameters = tuple([(name, 0) for name in step.parameters])
                    launches.append(
                        KernelLaunch(step.name, step.blocks, step.threads, text.dynamic_shared, parameters, step.loc)
                    )
            case Gemm():
                if step.m and step.n and step.batch:
                    launches.append(step if has_gemm else _launch_of(products, step))
            case Copy(source=source):
                if buffers[source].size:
                    launches.append(step)
            case GuardStep() | HostCall():
                launches.append(step)
    text = _module(program, [*texts, *products.texts], lines, flush_denormals)
    return EmittedModule(nvptx.cached_ptx(text, architecture), text, tuple(launches))


def _launch_of(products: GemmKernels, g: Gemm) -> KernelLaunch:
    entry = products.entry(g)
    size, result_size = g.dtype.bits // 8, g.c_dtype.bits // 8
    parameters = [(m.buffer, m.offset * size) for m in (g.a, g.b)]
    parameters.append((g.c.buffer, g.c.offset * result_size))
    if isinstance(g, FusedGemm) and g.bias is not None:
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
