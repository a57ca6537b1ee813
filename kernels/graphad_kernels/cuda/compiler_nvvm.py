"""Kernel -> PTX, by numba-cuda. Written against version 0.30."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import numpy as np
from numba import cuda, types
from numba.extending import intrinsic

_intrinsic: Any = intrinsic
#: What numba-cuda asks for and NumPy 2.5 has no more.
_DROPPED: Final = {"row_stack": np.vstack}


def compile_ptx(
    function: Callable[..., None],
    name: str,
    parameters: Sequence[tuple[str, int]],
    architecture: str,
    flush_denormals: bool,
) -> str:
    """`graphad_kernels.cuda.compiler.compile_ptx` of the kernel's Python function."""
    number = architecture.removeprefix("sm_")
    capability = int(number[:-1]), int(number[-1])
    pointers = [types.CPointer(getattr(types, "boolean" if dtype == "bool" else dtype)) for dtype, _ in parameters]
    with _compiling_for(capability):
        library, _ = _module("compiler")._compile_pyfunc_with_fixup(
            _entry(function, [size for _, size in parameters]), types.void(*pointers),
            debug=False, lineinfo=False, device=False, fastmath=False, cc=capability, opt=True,
            abi="numba", abi_info={"abi_name": name}, forceinline=False, launch_bounds=None, lto=False,
        )  # fmt: skip
        # Multiply-adds are fused where the text says so: the elementary functions rely on that.
        text: bytes = _module("cudadrv.nvvm").compile_ir(
            library.llvm_strs,
            arch=f"compute_{number}",
            opt=3,
            fma=False,
            ftz=flush_denormals,
            prec_div=True,
            prec_sqrt=True,
        )
    return text.decode().rstrip("\0\n") + "\n"


def _module(name: str) -> Any:
    return import_module(f"numba.cuda.{name}")


def _entry(function: Callable[..., None], sizes: Sequence[int]) -> Callable[..., None]:
    """A function of pointers that calls ``function`` with arrays."""
    names = [f"p{k}" for k in range(len(sizes))]
    arrays = ", ".join([f"as_array({name}, {size})" for name, size in zip(names, sizes, strict=True)])
    namespace: dict[str, Any] = {"body": cuda.jit(device=True)(function), "as_array": _as_array}
    exec(f"def entry({', '.join(names)}):\n    body({arrays})", namespace)
    return namespace["entry"]


@_intrinsic
def _as_array(_typing: Any, pointer: Any, size: Any) -> Any:
    """The array of so many elements at an address."""
    kind = types.Array(pointer.dtype, 1, "C")

    def generate(context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        data, count = args
        arrays = _module("np.arrayobj")
        array = arrays.make_array(kind)(context, builder)
        stride = context.get_constant(types.intp, context.get_abi_sizeof(data.type.pointee))
        arrays.populate_array(array, data, [count], [stride], stride, None)
        return array._getvalue()

    return kind(pointer, types.intp), generate


@contextmanager
def _compiling_for(capability: tuple[int, int]) -> Generator[None]:
    """Device functions are compiled for the GPU at hand: give numba-cuda one of this capability."""

    class Named:
        compute_capability = capability

    dispatcher = _module("dispatcher")
    before, dispatcher.get_current_device = dispatcher.get_current_device, Named
    dropped = [name for name in _DROPPED if name not in vars(np)]
    for name in dropped:
        setattr(np, name, _DROPPED[name])
    try:
        yield
    finally:
        dispatcher.get_current_device = before
        for name in dropped:
            delattr(np, name)
