"""DLPack capsules over any memory, made and read with ctypes.

NumPy makes and reads those on the CPU itself, but for bfloat16; these are for that and for GPUs. The structures are
those of ``dlpack.h`` 1.0 (https://dmlc.github.io/dlpack/latest/c_api.html).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

import numpy as np

from graphad.ir.types import DType, dtype_of

NDArray = np.ndarray[Any, Any]

KDL_CUDA: Final = 2  # DLDeviceType
KDL_EXTENSION: Final = 12
KDL_CUDA_MANAGED: Final = 13
_READ_ONLY: Final = 1  # a bit of the flags
# Names of capsules, before and after they are consumed. A capsule keeps only the address, so these must stay alive.
_UNVERSIONED: Final = b"dltensor"
_VERSIONED: Final = b"dltensor_versioned"
_USED: Final = {_UNVERSIONED: b"used_dltensor", _VERSIONED: b"used_dltensor_versioned"}

#: DLDataTypeCode and bits of each dtype.
_CODES: Final = {
    (6, 8): "bool", (0, 8): "i8", (0, 16): "i16", (0, 32): "i32", (0, 64): "i64",
    (1, 8): "u8", (1, 16): "u16", (1, 32): "u32", (1, 64): "u64",
    (2, 16): "f16", (2, 32): "f32", (2, 64): "f64", (4, 16): "bf16",
}  # fmt: skip
_CODE_OF: Final = {name: code for code, name in _CODES.items()}


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


@dataclass(frozen=True)
class Tensor:
    """The contents of a capsule.

    Attributes
    ----------
    address
        Of the first element.
    device
        DLPack's type and number of the device.
    strides
        In elements, for each axis.
    read_only
        Nobody may write to it; capsules before DLPack 1.0 do not have this flag.
    owner
        Keeps the memory alive, and releases it when it is collected.
    """

    address: int
    device: tuple[int, int]
    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    read_only: bool
    owner: object

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.numpy.itemsize

    @property
    def contiguous(self) -> bool:
        """Without gaps, in C order."""
        expected = _dense(self.shape)
        return 0 in self.shape or all(
            [s == d or n == 1 for s, d, n in zip(self.strides, expected, self.shape, strict=True)]
        )

    def on_host(self) -> NDArray:
        """The memory itself, which must be the host's, as an array of NumPy's."""
        dtype, strides = self.dtype.numpy, self.strides
        if 0 in self.shape:
            return np.empty(self.shape, dtype)
        first = sum([(n - 1) * s for n, s in zip(self.shape, strides, strict=True) if s < 0])
        last = sum([(n - 1) * s for n, s in zip(self.shape, strides, strict=True) if s > 0])
        size = dtype.itemsize
        memory: Any = (ctypes.c_char * ((last - first + 1) * size)).from_address(self.address + first * size)
        memory.owner = self.owner  # which the array keeps alive through it
        array = np.ndarray(self.shape, dtype, memory, -first * size, [s * size for s in strides])
        array.flags.writeable = not self.read_only
        return array


# ---------------------------------------------------------------------------------------------------------------------
# Export


def capsule(
    address: int, device: tuple[int, int], dtype: DType, shape: tuple[int, ...], owner: object, *, versioned: bool
) -> Any:
    """A capsule over contiguous memory at ``address``, which lives as long as ``owner``.

    A versioned one (DLPack 1.0) is marked read-only. It is a capsule of NumPy's, over an array that nobody reads, with
    device and dtype overwritten: a deleter may run while another library's error is pending, and without the GIL, so it
    cannot be a Python function.
    """
    size = dtype.numpy.itemsize
    memory: Any = (ctypes.c_char * (prod(shape) * size)).from_address(address)
    memory.owner = owner  # which the array keeps alive through it
    array = np.ndarray(shape, f"u{size}", memory)
    array.flags.writeable = not versioned
    made = array.__dlpack__(max_version=(1, 0) if versioned else None)
    name, structure = (_VERSIONED, _ManagedVersioned) if versioned else (_UNVERSIONED, _Managed)
    tensor: Any = structure.from_address(_pointer(made, name)).tensor
    tensor.data, tensor.byte_offset = address or None, 0
    tensor.device_type, tensor.device_id = device
    tensor.code, tensor.bits = _CODE_OF[dtype.name]
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Import


def take(given: Any) -> Tensor:
    """Consume a capsule, and return its contents."""
    valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
    rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
    name = next((n for n in _USED if valid(given, n)), None)
    if name is None:
        raise BufferError("this is no DLPack capsule, or one that was used before")
    structure = _ManagedVersioned if name is _VERSIONED else _Managed
    managed: Any = structure.from_address(_pointer(given, name))
    if name is _VERSIONED and managed.major != 1:
        raise BufferError(f"a DLPack capsule of version {managed.major}.{managed.minor}; 1.x are understood")
    tensor = _described(managed)
    rename(given, _USED[name])
    return tensor


def _described(managed: Any) -> Tensor:
    t = managed.tensor
    shape = tuple([t.shape[k] for k in range(t.ndim)])
    name = _CODES.get((t.code, t.bits)) if t.lanes == 1 else None
    if name is None:
        raise BufferError(f"a DLPack tensor of type code {t.code}, {t.bits} bits: graphad has no such dtype")
    strides = tuple([t.strides[k] for k in range(t.ndim)]) if t.strides else _dense(shape)
    read_only = isinstance(managed, _ManagedVersioned) and bool(managed.flags & _READ_ONLY)
    address, device = (t.data or 0) + t.byte_offset, (t.device_type, t.device_id)
    owner = _Taken(ctypes.addressof(managed), managed.deleter)
    return Tensor(address, device, dtype_of(name), shape, strides, read_only, owner)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a C-contiguous array."""
    return tuple([prod(shape[k + 1 :]) for k in range(len(shape))])


class _Taken:
    """A managed tensor that was taken from its capsule; its deleter is called when this goes."""

    __slots__ = ("_deleter", "_place")

    def __init__(self, place: int, deleter: int | None) -> None:
        self._place = place
        self._deleter = deleter

    def __del__(self) -> None:
        if self._deleter:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._deleter)(self._place)


def _pointer(given: Any, name: bytes) -> int:
    """What a capsule holds."""
    return _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(given, name)


@cache
def _python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C API."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))
