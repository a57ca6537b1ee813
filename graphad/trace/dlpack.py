"""DLPack capsules over any memory, made and read with ctypes.

NumPy makes and reads those on the CPU itself; these are for GPUs. The structures are those of ``dlpack.h`` 1.0
(https://dmlc.github.io/dlpack/latest/c_api.html).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, Final

from graphad.ir.types import DType, dtype_of

KDL_CUDA: Final = 2  # DLDeviceType
KDL_CUDA_HOST: Final = 3
KDL_CUDA_MANAGED: Final = 13
_READ_ONLY: Final = 1  # a bit of the flags
# Names of capsules, before and after they are taken. A capsule keeps the address alone: these must stay.
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
    """What a capsule says of its memory.

    Attributes
    ----------
    address
        Of the first element.
    device
        DLPack's type and number of the device.
    contiguous
        Without gaps, in C order.
    owner
        Keeps the memory alive, and gives it back when nobody holds this object any more.
    """

    address: int
    device: tuple[int, int]
    dtype: DType
    shape: tuple[int, ...]
    contiguous: bool
    owner: object

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.numpy.itemsize


# ---------------------------------------------------------------------------------------------------------------------
# Making


#: What consumers have taken and not yet given back: address of the managed tensor -> what it points to.
_lent: Final[dict[int, tuple[Any, ...]]] = {}


def capsule(
    address: int, device: tuple[int, int], dtype: DType, shape: tuple[int, ...], owner: object, *, versioned: bool
) -> Any:
    """A capsule over contiguous memory at ``address``, which lives as long as ``owner``.

    A versioned one (DLPack 1.0) says that the memory is read-only.
    """
    sizes = (ctypes.c_int64 * max(len(shape), 1))(*shape)
    strides = (ctypes.c_int64 * max(len(shape), 1))(*[prod(shape[k + 1 :]) for k in range(len(shape))])
    code, bits = _CODE_OF[dtype.name]
    pointer = ctypes.POINTER(ctypes.c_int64)
    tables = ctypes.cast(sizes, pointer), ctypes.cast(strides, pointer)
    tensor = _Tensor(address or None, *device, len(shape), code, bits, 1, *tables, 0)
    deleter = ctypes.cast(_give_back, ctypes.c_void_p).value
    managed: Any
    if versioned:
        managed = _ManagedVersioned(1, 0, None, deleter, _READ_ONLY, tensor)
    else:
        managed = _Managed(tensor, None, deleter)
    place = ctypes.addressof(managed)
    _lent[place] = (managed, sizes, strides, owner)
    name = _VERSIONED if versioned else _UNVERSIONED
    return _python("PyCapsule_New", ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
        place, name, ctypes.cast(_drop_capsule, ctypes.c_void_p)
    )


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _give_back(place: int) -> None:
    """The deleter of managed tensors."""
    _lent.pop(place, None)


@ctypes.PYFUNCTYPE(None, ctypes.c_void_p)
def _drop_capsule(object_address: int) -> None:
    """The destructor of capsules: one that nobody took gives its memory back itself."""
    for name in _USED:
        if _python("PyCapsule_IsValid", ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(object_address, name):
            get = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
            _lent.pop(get(object_address, name), None)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def take(given: Any) -> Tensor:
    """What is in a capsule, which is used up by this."""
    valid = _python("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
    get = _python("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)
    rename = _python("PyCapsule_SetName", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
    name = next((n for n in _USED if valid(given, n)), None)
    if name is None:
        raise BufferError("this is no DLPack capsule, or one that was used before")
    structure = _ManagedVersioned if name is _VERSIONED else _Managed
    managed: Any = structure.from_address(get(given, name))
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
    dense = [prod(shape[k + 1 :]) for k in range(t.ndim)]
    strides = [t.strides[k] for k in range(t.ndim)] if t.strides else dense
    contiguous = 0 in shape or all([s == d or n == 1 for s, d, n in zip(strides, dense, shape, strict=True)])
    owner = _Taken(ctypes.addressof(managed), managed.deleter)
    return Tensor((t.data or 0) + t.byte_offset, (t.device_type, t.device_id), dtype_of(name), shape, contiguous, owner)


class _Taken:
    """A managed tensor that was taken from its capsule; its deleter is called when this goes."""

    __slots__ = ("_deleter", "_place")

    def __init__(self, place: int, deleter: int | None) -> None:
        self._place = place
        self._deleter = deleter

    def __del__(self) -> None:
        if self._deleter:
            ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._deleter)(self._place)


@cache
def _python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of Python's C API."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))
