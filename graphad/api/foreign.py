"""Arrays of other libraries on a GPU, by DLPack and by ``__cuda_array_interface__``."""

from __future__ import annotations

import sys
from typing import Any, Final, cast

import numpy as np

from graphad.api.placement import on_device
from graphad.api.stages import memory_on
from graphad.backends.targets import SharingTarget, target_of
from graphad.device import Device, Memory, parse
from graphad.ir.types import Aval, aval, dtype_of
from graphad.trace import dlpack
from graphad.trace.device_array import DeviceArray
from graphad.trace.source import where

_ON_A_GPU: Final = (dlpack.KDL_CUDA, dlpack.KDL_CUDA_MANAGED)
_LEGACY_STREAM: Final = 1
_ALIGNMENT: Final = 16


def is_on_gpu(x: Any) -> bool:
    """Whether ``x`` is an array of another library on a GPU."""
    if hasattr(type(x), "__dlpack_device__"):
        return x.__dlpack_device__()[0] in _ON_A_GPU
    return hasattr(x, "__cuda_array_interface__")


def copied(x: Any) -> DeviceArray:
    """A copy, on the same GPU, of an array of another library."""
    return from_dlpack(x, copy=True) if hasattr(type(x), "__dlpack_device__") else _from_interface(x)


def from_dlpack(x: Any, copy: bool | None) -> DeviceArray:
    """The array of another library on a GPU: its memory itself, or with ``copy`` a copy of it.

    Memory that is not aligned to 16 bytes is copied, for kernels use vector accesses.
    """
    if not hasattr(type(x), "__dlpack_device__"):
        raise TypeError(
            f"{where()}from_dlpack: a {type(x).__name__} has no __dlpack__ method. graphad.numpy.asarray copies it."
        )
    device = parse(f"cuda:{x.__dlpack_device__()[1]}")
    memory: Any = memory_on(device)
    gpu = memory.runtime  # a real one, which has a stream
    try:
        given = x.__dlpack__(stream=gpu.stream, max_version=(1, 0))
    except TypeError:  # older than DLPack 1.0
        given = x.__dlpack__(stream=gpu.stream)
    try:
        tensor = dlpack.take(given)
    except BufferError as error:
        raise BufferError(f"{where()}from_dlpack: {error}") from None
    a = aval(tensor.shape, tensor.dtype)
    if not tensor.contiguous:
        raise _gaps("from_dlpack", a)
    unaligned = tensor.address % _ALIGNMENT != 0
    if unaligned and copy is False:
        raise ValueError(
            f"{where()}from_dlpack(copy=False): this {a} begins at no multiple of {_ALIGNMENT} bytes, and kernels read "
            "that many at once. Let it be copied."
        )
    borrowed = memory.borrow(tensor.address, tensor.nbytes, _AfterWork(gpu, tensor.owner))
    return _over(_own_copy(borrowed) if copy or unaligned else borrowed, a)


def _from_interface(x: Any) -> DeviceArray:
    """A copy of an array with ``__cuda_array_interface__`` (version 2 or 3)."""
    described = x.__cuda_array_interface__
    shape, (address, _) = tuple(described["shape"]), described["data"]
    dtype = dtype_of(np.dtype(described["typestr"]))
    a = aval(shape, dtype)
    if np.dtype(described["typestr"]) != dtype.numpy or described.get("mask") is not None:
        raise TypeError(f"{where()}asarray: a {type(x).__name__} with a mask, or bytes in another order, is not taken")
    strides = described.get("strides")
    if strides is not None and not _contiguous(shape, strides, dtype.numpy.itemsize):
        raise _gaps("asarray", a)
    memory: Any = memory_on(_device_of(address) if a.size else parse("cuda"))
    stream = described.get("stream") if described["version"] >= 3 else _LEGACY_STREAM
    if stream is not None:
        memory.wait_for(stream)
    return _over(_own_copy(memory.borrow(address, a.size * dtype.numpy.itemsize, x)), a)


def _device_of(address: int) -> Device:
    """The GPU on which memory of another library is."""
    return cast("SharingTarget", target_of(parse("cuda"))).device_of(address)


class _AfterWork:
    """Keeps the owner of borrowed memory alive until queued work on that memory has ended."""

    def __init__(self, runtime: Any, owner: object) -> None:
        self._runtime = runtime
        self._owner = owner

    def __del__(self) -> None:
        if not sys.is_finalizing():  # then the driver may be gone, and nobody is left to use the memory
            self._runtime.synchronize()


def _own_copy(memory: Memory) -> Memory:
    allocator: Any = memory_on(memory.device)
    own = allocator.allocate(memory.nbytes)
    if memory.nbytes:
        allocator.runtime.copy(own.address, memory.address, memory.nbytes)
        allocator.runtime.synchronize()  # then the owner may overwrite or free it
    return own


def _over(memory: Memory, a: Aval) -> DeviceArray:
    return on_device([memory], [a], [False])[0]


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for n, step in zip(reversed(shape), reversed(strides), strict=True):
        if n > 1 and step != expected:
            return 0 in shape
        expected *= n
    return True


def _gaps(function: str, a: Aval) -> ValueError:
    return ValueError(
        f"{where()}{function}: {a} on a GPU has gaps or another order, and programs read arrays without. Copy it with "
        "its own library first: x.contiguous() in PyTorch, cupy.ascontiguousarray(x) in CuPy."
    )
