"""Addresses of the routines that programs call: BLAS, and the hand-written bodies of `graphad_kernels`.

A body is compiled by Numba once per machine. What is kept on disk is object code that needs nothing else, so that a
program whose code is cached starts without Numba.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import sys
import threading
from typing import Final

from graphad_kernels.bodies import BODIES

from graphad.backends import cpu
from graphad.backends.cache import key_of, object_cache
from graphad.ir.types import DType

_PREFIX: Final = "gk_"
_loaded: dict[str, cpu.Executable] = {}
_lock = threading.Lock()


def symbol_of(name: str, dtype: DType) -> str:
    """The name under which programs ask for a body compiled for elements of ``dtype``."""
    return f"{_PREFIX}{name}_{dtype.name}"


def routine(symbol: str) -> int:
    """Address of an external routine of a program, for the life of the process."""
    if not symbol.startswith(_PREFIX):
        return cpu.routine(symbol)
    with _lock:
        if symbol not in _loaded:
            _loaded[symbol] = cpu.load_object(_object(symbol), [symbol])
        return _loaded[symbol].address


def _object(symbol: str) -> bytes:
    name, dtype = symbol.removeprefix(_PREFIX).rsplit("_", 1)
    machine, source = cpu.host(), inspect.getsource(inspect.getmodule(BODIES[name].function) or BODIES[name].function)
    versions = importlib.metadata.version("numba"), cpu.llvm_version()
    key = key_of("kernel", *versions, machine.cpu, machine.features, sys.platform, symbol, source)
    return object_cache().get_or_make(key, lambda: _compile(name, dtype, symbol))


def _compile(name: str, dtype: str, symbol: str) -> bytes:
    from graphad_kernels import objects  # brings in Numba

    return cpu.compile_object(objects.native_text(name, dtype, symbol), 2)
