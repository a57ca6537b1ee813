"""Kernels in Numba source -> PTX, without a GPU, by numba-cuda or numba-cuda-mlir (`graphad_kernels.cuda.compiler`)."""

from __future__ import annotations

import linecache
from typing import Any

from graphad_kernels.cuda.compiler import compile_ptx

from graphad.backends.cuda.numba.source import source
from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS
from graphad.backends.loops.ir import is_half
from graphad.errors import DeviceError, LoweringError, did_you_mean


def ptx(
    program: DeviceProgram,
    kernel: str,
    architecture: str = "sm_90",
    *,
    flush_denormals: bool = True,
    compiler: str | None = None,
) -> str:
    """PTX of one kernel of `source`: a module with an entry of that name, which takes the addresses of its arrays.

    Parameters
    ----------
    program
        What to run.
    kernel
        The name of one of its kernels.
    architecture
        Of the GPU: one of `PTX_VERSIONS`.
    flush_denormals
        Whether float32 operations take and give 0 for denormals.
    compiler
        ``"numba-cuda"`` or ``"numba-cuda-mlir"``; by default the first that is installed.

    Raises
    ------
    DeviceError
        If that compiler, or any, is not installed.
    """
    kernels = {launch.name: launch for launch in program.launches if launch.blocks}
    if kernel not in kernels:
        raise LoweringError(f"{program.name} has no kernel {kernel}. {did_you_mean(kernel, kernels)}")
    if architecture not in PTX_VERSIONS:
        known = did_you_mean(architecture, PTX_VERSIONS)
        raise LoweringError(f"no code can be generated for the architecture {architecture!r}. {known}")
    buffers = {b.name: b for b in program.buffers}
    parameters: list[tuple[str, int]] = []
    for name in kernels[kernel].parameters:
        b = buffers[name]
        parameters.append(("uint16" if is_half(b.dtype) else b.dtype.numpy.name, b.size))
    function = load(program)[kernel]
    try:
        return compile_ptx(
            function, kernel, parameters, architecture, flush_denormals=flush_denormals, compiler=compiler
        )
    except ImportError as error:
        raise DeviceError(
            f"Compiling CUDA kernels in Numba source needs numba-cuda or numba-cuda-mlir: {error}. "
            "`pip install graphad[cuda-numba]` brings the one, `pip install graphad[cuda-numba-mlir]` the other. "
            "(engine='llvm' needs neither, nor a GPU.)"
        ) from None


def load(program: DeviceProgram) -> dict[str, Any]:
    """The module of `source`, by name: its kernels, and the function ``program.name`` that launches them."""
    text, filename = source(program), f"<graphad {program.name} cuda>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"graphad_{program.name}"}
    exec(compile(text, filename, "exec"), namespace)
    return namespace
