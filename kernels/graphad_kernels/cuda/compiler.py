"""``@cuda.jit`` kernel -> PTX, with no driver and no GPU: `compile_ptx`.

Two packages can do it. Each is known from the inside by one module, imported when it is to compile something:
numba-cuda by `graphad_kernels.cuda.compiler_nvvm`, numba-cuda-mlir by `graphad_kernels.cuda.compiler_mlir`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

COMPILERS: Final = {
    "numba-cuda": ("numba_cuda", "graphad_kernels.cuda.compiler_nvvm"),
    "numba-cuda-mlir": ("numba_cuda_mlir", "graphad_kernels.cuda.compiler_mlir"),
}
"""Compiler -> what it is imported as, and the module that knows it. The first that is installed is the default."""


def compile_ptx(
    kernel: Any,
    name: str,
    parameters: Sequence[tuple[str, int]],
    architecture: str,
    *,
    flush_denormals: bool = True,
    compiler: str | None = None,
) -> str:
    """A module with one entry, which takes the addresses of the kernel's arrays.

    Parameters
    ----------
    kernel
        What ``cuda.jit`` made of a function over flat arrays.
    name
        Of the entry.
    parameters
        For each of its arrays what NumPy calls the dtype, and the number of elements.
    architecture
        E.g. ``sm_90``.
    flush_denormals
        Whether float32 operations take and give 0 for denormals.
    compiler
        One of `COMPILERS`.

    Raises
    ------
    ImportError
        If that compiler, or any, is not installed.
    """
    module: Any = import_module(COMPILERS[installed(compiler)][1])
    text: str = module.compile_ptx(kernel.py_func, name, parameters, architecture, flush_denormals)
    return text


def installed(compiler: str | None = None) -> str:
    """The compiler of that name, or by default the first that is installed."""
    if compiler is not None and compiler not in COMPILERS:
        raise ValueError(f"there is no compiler {compiler!r} of kernels in Numba source, but {' and '.join(COMPILERS)}")
    names = list(COMPILERS) if compiler is None else [compiler]
    for name in names:
        if find_spec(COMPILERS[name][0]) is not None:
            return name
    raise ImportError(f"{' and '.join(names)}: not installed")
