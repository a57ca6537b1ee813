"""The routines of `graphad_kernels`, as code that programs call.

The Python function of a routine is compiled by Numba once per machine. What is kept on disk is object code, which needs
nothing else but the symbols of LAPACK that it calls, so that a program whose code is cached starts without Numba.
"""

from __future__ import annotations

from typing import Final

from graphad_kernels.cpu import lapack
from graphad_kernels.routines import ROUTINES

from graphad.backends.artifact import Artifact
from graphad.backends.llvm import loader
from graphad.backends.llvm.library import object_key
from graphad.backends.sources import installed
from graphad.ir.forks import compiling
from graphad.ir.types import DType

PREFIX: Final = "gk_"
_loaded: dict[str, loader.Executable] = {}


def symbol_of(name: str, dtype: DType) -> str:
    """The name under which programs ask for a routine compiled for elements of ``dtype``."""
    return f"{PREFIX}{name}_{dtype.name}"


def address(symbol: str) -> int:
    """Address of a routine, for the life of the process."""
    with compiling:
        if symbol not in _loaded:
            _loaded[symbol] = _load(symbol)
        return _loaded[symbol].address


def _load(symbol: str) -> loader.Executable:
    name, dtype = symbol.removeprefix(PREFIX).rsplit("_", 1)
    row = ROUTINES[name]
    imports = {s: lapack.address(s) for s in [lapack.symbol(r, dtype) for r in row.lapack]}
    if not row.function.__module__.startswith("graphad_kernels."):  # its name does not say what it computes
        return loader.find_text(Artifact(b"", symbol), _text(symbol), 2, imports)
    return loader.find(object_key("routine", installed("numba"), symbol), symbol, lambda: _compile(symbol), imports)


def _compile(symbol: str) -> Artifact:
    from graphad.backends.llvm import native  # late: what was found on disk needs neither this nor Numba

    return Artifact(native.compile_object(_text(symbol), 2), symbol)


def _text(symbol: str) -> str:
    from graphad_kernels import objects

    name, dtype = symbol.removeprefix(PREFIX).rsplit("_", 1)
    return objects.native_text(name, dtype, symbol)
