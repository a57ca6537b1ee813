"""Kernels in Numba source -> PTX, without a GPU. numba-cuda is known to `graphad_kernels.cuda.compiler` alone."""

from __future__ import annotations

import linecache
from typing import Any

from graphad.backends.cuda.emit_cuda_numba import source
from graphad.backends.cuda.nvptx import PTX_VERSIONS
from graphad.backends.cuda.program import DeviceProgram
from graphad.backends.loops import is_half
from graphad.errors import DeviceError, LoweringError, did_you_mean


def ptx(program: DeviceProgram, kernel: str, architecture: str = "sm_90", *, flush_denormals: bool = True) -> str:
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

    Raises
    ------
    DeviceError
        If numba-cuda is not installed.
    """
    kernels = {k.name: k for k in program.kernels if k.blocks}
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
    from graphad_kernels.cuda.compiler import compile_ptx  # it brings in Numba

    try:
        return compile_ptx(load(program)[kernel], kernel, parameters, architecture, flush_denormals=flush_denormals)
    except ImportError as error:
        raise DeviceError(
            f"Compiling CUDA kernels in Numba source needs numba-cuda: {error}. `pip install graphad[cuda-numba]` "
            "brings it. (engine='llvm' needs neither it nor a GPU.)"
        ) from None


def load(program: DeviceProgram) -> dict[str, Any]:
    """The module of `source`, by name: its kernels, and the function ``program.name`` that launches them."""
    text, filename = source(program), f"<graphad {program.name} cuda>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    namespace: dict[str, Any] = {"__name__": f"graphad_{program.name}"}
    exec(compile(text, filename, "exec"), namespace)
    return namespace
