"""Routines for Numba: as functions it can call, and as LLVM text with the calling convention of C."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numba
from numba.core import compiler, types
from numba.core.registry import cpu_target

from graphad_kernels.cpu import lapack_calls
from graphad_kernels.routines import ROUTINES

_TYPES: Final = {
    "f32": types.float32, "f64": types.float64,
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
}  # fmt: skip
lapack_calls.register()


@cache
def jitted(name: str) -> Callable[..., None]:
    """The routine as a function that Numba code calls with arrays."""
    function: Callable[..., None] = numba.njit(error_model="numpy", boundscheck=False, nogil=True)(
        ROUTINES[name].function
    )
    return function


def native_text(name: str, dtype: str, symbol: str) -> str:
    """An LLVM module with the routine, for elements of ``dtype``, as ``void symbol(pointers..., i64 sizes...)``.

    It refers to nothing outside but `lapack.symbol`, so it can be loaded where Numba is not.
    """
    row = ROUTINES[name]
    pointers = [types.CPointer(_TYPES[dtype if t == "T" else t]) for t in row.buffers]
    n_sizes = row.function.__code__.co_argcount - len(pointers)
    flags: Any = compiler.Flags()
    flags.no_cpython_wrapper, flags.no_cfunc_wrapper = True, True
    flags.error_model, flags.nrt = "numpy", False
    compiled: Any = compiler.compile_extra(
        cpu_target.typing_context, cpu_target.target_context, row.function,
        (*pointers, *[types.int64] * n_sizes), types.void, flags, {},
    )  # fmt: skip
    # Numba's own convention has two more parameters: where to put the result, and what was raised.
    kinds = ["ptr"] * len(pointers) + ["i64"] * n_sizes
    arguments = ", ".join(f"{kind} %a{k}" for k, kind in enumerate(kinds))
    wrapper = (
        f"define void @{symbol}({arguments}) nounwind {{\n"
        "  %result = alloca ptr\n  %raised = alloca ptr\n"
        f'  %status = call i32 @"{compiled.fndesc.llvm_func_name}"(ptr %result, ptr %raised, {arguments})\n'
        "  ret void\n}\n"
    )
    return f"{compiled.library.get_llvm_str()}\n{wrapper}"
