"""Arrays of data that there are: numbers, sequences, buffers, arrays of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.api import foreign
from graphad.api.devices import device_put
from graphad.api.placement import named
from graphad.ir.rounding import array_of, converted
from graphad.ir.types import DType, b1, bf16
from graphad.numpy._keys import of_keys
from graphad.numpy._shape.joining import stack
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.trace import source
from graphad.trace.array import Array, refuse_masked, snapshot
from graphad.trace.device_array import DeviceArray
from graphad.trace.interop import import_dlpack
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import as_operand, canonical_dtype, cast, default_float, default_int, result_type
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Arrays, numbers and sequences


@of_keys("object")
def array(object: Any, dtype: DTypeLike | None = None, copy: bool = True, ndmin: int = 0) -> Array:  # noqa: A002
    """An array of numbers, (nested) lists of numbers, NumPy arrays, or traced values among these.

    Numbers, and lists of them, become float32 or int32 (``config.default_dtype_bits``); arrays keep their dtype. What
    another library has on a GPU is copied there (`from_dlpack` shares it).

    >>> import graphad.numpy as gnp
    >>> gnp.array([[1, 2], [3, 4.5]])
    Array([[1. , 2. ],
           [3. , 4.5]], dtype=float32)
    """
    del copy  # nobody can change an Array: a copy would be the same
    wanted = None if dtype is None else canonical_dtype(dtype)
    if isinstance(object, (list, tuple)):
        result = _from_sequence(object, wanted)
    elif not isinstance(object, (Array, np.ndarray, np.generic)) and foreign.is_on_gpu(object):
        result = foreign.copied(object)
    else:
        result = as_operand(object, "array") if wanted is None else cast(object, wanted, name="array")
    if wanted is not None:
        result = cast(result, wanted)
    return result if result.ndim >= ndmin else result.reshape((1,) * (ndmin - result.ndim) + result.shape)


def asarray(object: Any, dtype: DTypeLike | None = None) -> Array:  # noqa: A002
    """``object`` as an array; itself, if it is one already.

    >>> import graphad.numpy as gnp
    >>> gnp.asarray(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return array(object, dtype)


def copy(a: ArrayLike, order: str | None = None) -> Array:
    """The array: it does not change, so that a copy would be the same.

    >>> import graphad.numpy as gnp
    >>> gnp.copy(gnp.arange(2))
    Array([0, 1], dtype=int32)
    """
    if order not in (None, "K", "A", "C"):
        raise ValueError(f"{source.where()}copy got order={order!r}; arrays are row-major.")
    return array(a)


def astype(x: ArrayLike, dtype: DTypeLike) -> Array:
    """``x`` converted to another element type; floats become integers toward zero.

    >>> import graphad.numpy as gnp
    >>> gnp.astype(gnp.array([1.7, -1.7]), int)
    Array([ 1, -1], dtype=int32)
    >>> gnp.astype(gnp.array([1.7, -1.7]), "float16")
    Array([ 1.7, -1.7], dtype=float16)
    """
    return cast(x, canonical_dtype(dtype), name="astype")


def _from_sequence(items: list[Any] | tuple[Any, ...], dtype: DType | None) -> Any:
    leaves = _leaves(items)
    typed = [x for x in leaves if not is_scalar(x)]
    if not typed:
        return _from_numbers(items, dtype)
    if dtype is None:
        dtype, _ = result_type(*leaves)
    if any([isinstance(x, (Tracer, DeviceArray)) for x in typed]):
        return _stacked(items, dtype)
    nested = _map_leaves(items, lambda x: x if is_scalar(x) else np.asarray(x))
    return Array(_regular(nested, dtype))


def _from_numbers(items: list[Any] | tuple[Any, ...], dtype: DType | None) -> Array:
    """Of Python numbers alone: the default type of the widest kind among them."""
    data = _regular(items, None)
    if dtype is None:
        kinds = {"b": b1, "i": default_int(), "u": default_int(), "f": default_float()}
        found = kinds.get(data.dtype.kind)
        if found is None:
            raise TypeError(f"{source.where()}array got {items!r}, which is not made of real numbers.")
        dtype = found
    if dtype.is_integer and data.dtype.kind in "iu" and data.size:
        limits = np.iinfo(dtype.numpy)
        if data.min() < limits.min or data.max() > limits.max:
            raise OverflowError(
                f"{source.where()}array got a Python integer too large for {dtype.numpy}. "
                "Give a wider dtype=, or config.update('default_dtype_bits', 64)."
            )
    return Array(snapshot(converted(data, dtype.numpy)))


def _regular(items: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    try:
        return np.array(items) if dtype is None else array_of(items, dtype.numpy)
    except ValueError as error:
        raise ValueError(f"{source.where()}array got sequences of unequal lengths or shapes: {error}.") from None


def _stacked(items: Any, dtype: DType) -> Any:
    """Nested sequences with traced values, or arrays on a device, among them: one `stack` a level."""
    if isinstance(items, (list, tuple)):
        return stack([_stacked(x, dtype) for x in items])
    return cast(items, dtype, name="array")


def _leaves(items: Any) -> list[Any]:
    if not isinstance(items, (list, tuple)):
        return [items]
    return [leaf for x in items for leaf in _leaves(x)]


def _map_leaves(items: Any, f: Any) -> Any:
    return [_map_leaves(x, f) for x in items] if isinstance(items, (list, tuple)) else f(items)


# ---------------------------------------------------------------------------------------------------------------------
# Buffers, iterators, texts


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Array:
    """The array of another library, through the DLPack protocol.

    Memory that nobody can write to is shared, other memory is copied: an Array never changes. ``copy=False`` shares it
    all the same; what its owner writes there later is undefined in every value that was computed from it. Memory on a
    GPU is shared unless ``copy`` is True, and the array belongs to that GPU. ``device`` moves the result elsewhere.

    >>> import numpy as np, graphad.numpy as gnp
    >>> gnp.from_dlpack(np.arange(3.0))
    Array([0., 1., 2.], dtype=float64)
    """
    refuse_masked(x)
    if isinstance(x, DeviceArray):
        array: Array = x.copied() if copy else x
    else:
        array = foreign.from_dlpack(x, copy) if foreign.is_on_gpu(x) else Array(import_dlpack(x, copy))
    return array if device is None or array.device == named(device) else device_put(array, device)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Array:
    """The bytes of a buffer as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.frombuffer(bytes([1, 2]), dtype="uint8")
    Array([1, 2], dtype=uint8)
    """
    return array(np.frombuffer(buffer, canonical_dtype(dtype).numpy, count, offset))


def fromiter(iterable: Any, dtype: Any, count: int = -1) -> Array:
    """The elements of an iterable as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.fromiter((n * n for n in range(3)), int)
    Array([0, 1, 4], dtype=int32)
    """
    wanted = canonical_dtype(dtype)
    if wanted is bf16:
        return Array(converted(np.fromiter(iterable, np.float64, count), wanted.numpy))
    return Array(np.fromiter(iterable, wanted.numpy, count))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Array:
    """The numbers in a text as an array of one axis.

    >>> import graphad.numpy as gnp
    >>> gnp.fromstring("1 2", sep=" ")
    Array([1., 2.], dtype=float32)
    """
    return Array(np.fromstring(string, canonical_dtype(dtype).numpy, count, sep=sep))
