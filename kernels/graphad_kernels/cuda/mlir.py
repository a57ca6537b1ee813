"""Kernels for numba-cuda-mlir: `jit`, and every other word of ``cuda`` as that package has it.

The package compiles what Numba compiles, but what is declared to Numba it does not know. A kernel may still call all
functions of `graphad_kernels`: each becomes a device function of the package, in which what is declared to Numba is
exchanged for the same in MLIR (`graphad_kernels.cuda.mlir_operations`). One line tells kernels for the two apart::

    from numba import cuda
    from graphad_kernels.cuda import mlir as cuda
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any, Final
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numba import cuda as numba_cuda

from graphad_kernels.cuda.group import TEXTS
from graphad_kernels.cuda.mlir_operations import MEANINGS, cuda, package_module, types

_DEVICE_FUNCTIONS: Final[WeakKeyDictionary[Callable[..., Any], Any]] = WeakKeyDictionary()
_numba_types: Any = numba.types
_extending: Any = package_module("extending")
_AS_THEY_ARE: Any = (type, package_module("descriptor").MLIRDispatcher, _extending._Intrinsic)
_GREATEST: Final = np.iinfo(np.int64).max


def __getattr__(name: str) -> Any:
    return getattr(cuda, name)


def jit(function: Callable[..., Any] | None = None, *, device: bool = False) -> Any:
    """A kernel, which ``kernel[blocks, threads, stream, shared_bytes](*arrays)`` launches, or a device function.

    Functions that it calls must be defined before it, and be called by their names alone, without a module's.
    """
    if function is None:
        return lambda function: jit(function, device=device)
    return device_function(function) if device else cuda.jit(exchanged(function))


def device_function(function: Callable[..., Any]) -> Any:
    """A function that kernels call."""
    made = _DEVICE_FUNCTIONS.get(function)
    if made is None:
        # Of a device function that is not inlined at once the package loses the shared arrays.
        options = {"inline": "always"} if "shared" in function.__code__.co_names else {}
        made = _DEVICE_FUNCTIONS[function] = cuda.jit(device=True, **options)(exchanged(function))
    return made


def exchanged(function: Any) -> FunctionType:
    """The function, with what it refers to exchanged for what that is to the package."""
    home = function.__globals__
    namespace = {name: _exchanged(home[name], home) for name in _names(function.__code__) if name in home}
    namespace |= {name: home[name] for name in ("__name__", "__builtins__") if name in home}
    cells = tuple([CellType(_exchanged(cell.cell_contents, home)) for cell in function.__closure__ or ()])
    made = FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, cells)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__qualname__ = function.__qualname__
    return made


def _exchanged(value: Any, home: dict[str, Any]) -> Any:
    """What a value is to the package, that a function of the module with the names ``home`` refers to."""
    if value is numba_cuda or getattr(value, "__name__", "") == __name__:
        return cuda
    if type(value) is np.uint64 and value > _GREATEST:
        raise TypeError(f"numba-cuda-mlir takes no constant like {value!r} from outside of a function: write it inside")
    if isinstance(value, _numba_types.Type):
        return _of_same_name(value, types)
    if not callable(value) or isinstance(value, _AS_THEY_ARE):
        return value
    if value in MEANINGS:
        return MEANINGS[value]
    if value in TEXTS:
        return _chosen(value)
    if (function := getattr(value, "py_func", None)) is not None:
        return device_function(function)
    if isinstance(value, FunctionType):
        is_ours = value.__globals__ is home or value.__module__.startswith("graphad_kernels.")
        return device_function(value) if is_ours else value
    if type(value).__module__.startswith("numba."):
        raise TypeError(f"{value} is declared to Numba alone: `graphad_kernels.cuda.mlir_operations` must have it too")
    return value


@cache
def _chosen(function: Callable[..., Any]) -> Any:
    """A function that is another device function for other types of its arguments."""
    made: dict[tuple[Any, ...], Any] = {}

    def definition(typing: Any, *arguments: Any) -> Any:
        kinds = tuple([getattr(kind, "literal_type", kind) for kind in arguments])
        if kinds not in made:
            made[kinds] = device_function(TEXTS[function](*[_of_same_name(kind, _numba_types) for kind in kinds]))
        result = typing.resolve_function_type(typing.resolve_value_type(made[kinds]), kinds, {}).return_type

        def generate(builder: Any, target: Any, args: Any, _keywords: Any) -> None:
            builder.store_var(target, builder.build_user_defined_function_call(target, made[kinds], args))

        return result(*kinds), generate

    declared = _extending.intrinsic(definition)
    _extending.refresh_registries()
    return declared


def _of_same_name(kind: Any, home: Any) -> Any:
    """A type of scalars, of the other package."""
    name = str(kind)
    return getattr(home, "boolean" if name == "bool" else name)


def _names(code: CodeType) -> set[str]:
    """All that the code may look up in its module, that of functions within it included."""
    inner = [_names(constant) for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*inner)
