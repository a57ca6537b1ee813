"""The routines of `lapack` for Numba."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from graphad_kernels.cpu import (
    bands,
    cholesky_derivatives,
    eigenvalues,
    factorizations,
    lapack,
    quasi_triangular,
    reflectors,
)

_POINTER = ir.IntType(8).as_pointer()
_INTEGER = ir.IntType(32)


def _is_tuple(kind: Any) -> bool:
    return isinstance(kind, types.BaseTuple)


def _dtype(args: Sequence[Any]) -> Any:
    """The dtype of the first array of floats."""
    arrays = [t.types[0] if _is_tuple(t) else t for t in args]
    (found, *_) = [t.dtype for t in arrays if isinstance(getattr(t, "dtype", None), types.Float)]
    return found


def _registered(name: str) -> Callable[..., Any]:
    """An intrinsic that calls the routine ``name``; its arguments come as one tuple."""

    def call(_context: Any, args: Any) -> Any:
        dtype = _dtype(args.types)
        symbol = lapack.symbol(name, f"f{dtype.bitwidth}")
        binding.add_symbol(symbol, lapack.address(symbol))

        def generate(context: Any, builder: Any, _signature: Any, values: Any) -> Any:
            parts = cgutils.unpack_tuple(builder, values[0])
            pointers = [_pointer(context, builder, t, v, dtype) for t, v in zip(args.types, parts, strict=True)]
            kind = ir.FunctionType(ir.VoidType(), [_POINTER] * len(pointers))
            builder.call(cgutils.get_or_insert_function(builder.module, kind, symbol), pointers)
            return context.get_dummy_value()

        return types.void(args), generate

    return intrinsic(call)


def _pointer(context: Any, builder: Any, kind: Any, value: Any, dtype: Any) -> Any:
    """Where an argument lies: numbers are put into memory."""
    if _is_tuple(kind):
        array, start = cgutils.unpack_tuple(builder, value)
        base = _data(context, builder, kind.types[0], array)
        return builder.bitcast(builder.gep(base, [start]), _POINTER)
    if isinstance(kind, (types.Array, types.CPointer)):
        return builder.bitcast(_data(context, builder, kind, value), _POINTER)
    if isinstance(kind, types.Float):
        number = context.cast(builder, value, kind, dtype)
    else:
        number = context.cast(builder, value, kind, types.int32)
    place = cgutils.alloca_once(builder, number.type)
    builder.store(number, place)
    return builder.bitcast(place, _POINTER)


def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    return context.make_array(kind)(context, builder, value).data if isinstance(kind, types.Array) else value


def _register(name: str, function: Callable[..., None]) -> None:
    called = _registered(name)

    @overload(function)
    def compiled(*_args: Any) -> Any:
        def run(*_args: Any) -> None:
            called(_args)

        return run


@cache
def register() -> None:
    """Make Numba know the routines of `lapack`, and the helpers of those that call them."""
    for name, function in lapack.ROUTINES.items():
        _register(name, function)
    helping = (factorizations, cholesky_derivatives, quasi_triangular, reflectors, bands, eigenvalues)
    for function in [function for module in helping for function in module.HELPERS]:
        register_jitable(function)
