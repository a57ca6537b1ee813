"""The hand-written bodies of `graphad_kernels`, as code that programs call.

A body is compiled by Numba once per machine. What is kept on disk is object code that needs nothing else, so that a
program whose code is cached starts without Numba.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from typing import Final

from graphad_kernels.bodies import BODIES

from graphad.backends.cache import object_cache
from graphad.backends.llvm import native
from graphad.ir.forks import compiling
from graphad.ir.types import DType

PREFIX: Final = "gk_"
_loaded: dict[str, native.Executable] = {}


def symbol_of(name: str, dtype: DType) -> str:
    """The name under which programs ask for a body compiled for elements of ``dtype``."""
    return f"{PREFIX}{name}_{dtype.name}"


def address(symbol: str) -> int:
    """Address of a body, for the life of the process."""
    with compiling:
        if symbol not in _loaded:
            _loaded[symbol] = _load(symbol)
        return _loaded[symbol].address


def _load(symbol: str) -> native.Executable:
    name, dtype = symbol.removeprefix(PREFIX).rsplit("_", 1)
    source = inspect.getsource(inspect.getmodule(BODIES[name].function) or BODIES[name].function)
    key = native.object_key("kernel", importlib.metadata.version("numba"), symbol, source)
    return object_cache().use(
        key, lambda: _compile(name, dtype, symbol), lambda code: native.load_object(code, [symbol])
    )


def _compile(name: str, dtype: str, symbol: str) -> bytes:
    from graphad_kernels import objects  # brings in Numba

    return native.compile_object(objects.native_text(name, dtype, symbol), 2)
