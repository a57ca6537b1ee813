"""Making arrays: from data, filled, counted out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.api import foreign
from graphad.api.devices import device_put
from graphad.api.placement import named
from graphad.ir.rounding import array_of, converted
from graphad.ir.types import DType, b1, f64, literal
from graphad.numpy._joining import concatenate, stack
from graphad.numpy._math import floor
from graphad.numpy._precision import wide
from graphad.numpy._shape import moveaxis
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.trace import source
from graphad.trace.array import Array, refuse_masked, snapshot
from graphad.trace.device_array import DeviceArray
from graphad.trace.interop import import_dlpack
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_operand,
    broadcast_to,
    canonical_dtype,
    canonical_shape,
    cast,
    default_float,
    default_int,
    dtype_and_weakness,
    float_for,
    result_type,
    size_is_traced,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# From data


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


def astype(x: ArrayLike, dtype: DTypeLike) -> Array:
    """``x`` converted to another element type; floats become integers toward zero.

    >>> import graphad.numpy as gnp
    >>> gnp.astype(gnp.array([1.7, -1.7]), int)
    Array([ 1, -1], dtype=int32)
    >>> gnp.astype(gnp.array([1.7, -1.7]), "float16")
    Array([ 1.7, -1.7], dtype=float16)
    """
    return cast(x, canonical_dtype(dtype), name="astype")


# ---------------------------------------------------------------------------------------------------------------------
# Filled


def full(shape: Shape, fill_value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """An array with ``fill_value`` everywhere.

    >>> import graphad.numpy as gnp
    >>> gnp.full(2, 7.0, dtype="float32")
    Array([7., 7.], dtype=float32)
    """
    value = as_operand(fill_value, "full") if dtype is None else cast(fill_value, canonical_dtype(dtype), name="full")
    return broadcast_to(value, canonical_shape(shape, "full"))


def zeros(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """An array of zeros, float32 by default.

    >>> import graphad.numpy as gnp
    >>> gnp.zeros((2, 2))
    Array([[0., 0.],
           [0., 0.]], dtype=float32)
    """
    return _filled(shape, 0, dtype, "zeros")


def ones(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """An array of ones, float32 by default.

    >>> import graphad.numpy as gnp
    >>> gnp.ones(3, dtype=int)
    Array([1, 1, 1], dtype=int32)
    """
    return _filled(shape, 1, dtype, "ones")


def empty(shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """The same as `zeros`: arrays do not change, so there is nothing to leave out.

    >>> import graphad.numpy as gnp
    >>> gnp.empty(2)
    Array([0., 0.], dtype=float32)
    """
    return _filled(shape, 0, dtype, "empty")


def _filled(shape: Shape, value: int, dtype: DTypeLike | None, name: str) -> Array:
    """One number seen through zero strides: a trace takes it as a literal."""
    element = literal(value, default_float() if dtype is None else canonical_dtype(dtype)).value
    return Array(np.broadcast_to(np.asarray(element), canonical_shape(shape, name)))


def full_like(x: ArrayLike, fill_value: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """An array like ``x`` in shape and dtype, with ``fill_value`` everywhere.

    >>> import graphad.numpy as gnp
    >>> gnp.full_like(gnp.zeros(2), 7)
    Array([7., 7.], dtype=float32)
    """
    x = as_operand(x, "full_like")
    like, weak = dtype_and_weakness(x)
    wanted = like if dtype is None else canonical_dtype(dtype)
    value = cast(fill_value, wanted, weak and dtype is None, "full_like")
    return broadcast_to(value, x.shape if shape is None else canonical_shape(shape, "full_like"))


def zeros_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """Zeros in the shape and dtype of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.zeros_like(gnp.arange(3))
    Array([0, 0, 0], dtype=int32)
    """
    return full_like(x, 0, dtype, shape)


def ones_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """Ones in the shape and dtype of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.ones_like(gnp.arange(3))
    Array([1, 1, 1], dtype=int32)
    """
    return full_like(x, 1, dtype, shape)


def empty_like(x: ArrayLike, dtype: DTypeLike | None = None, shape: Shape | None = None) -> Array:
    """The same as `zeros_like`.

    >>> import graphad.numpy as gnp
    >>> gnp.empty_like(gnp.arange(3))
    Array([0, 0, 0], dtype=int32)
    """
    return full_like(x, 0, dtype, shape)


def eye(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones on the ``k``-th diagonal, zeros elsewhere.

    >>> import graphad.numpy as gnp
    >>> gnp.eye(2)
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    return Array(np.eye(N, M, k, wanted.numpy))


def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    """The square matrix with ones on its diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.identity(2, dtype=int)
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    return eye(n, dtype=dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Counted out


def arange(
    start: ArrayLike, stop: ArrayLike | None = None, step: ArrayLike | None = None, dtype: DTypeLike | None = None
) -> Array:
    """``start``, ``start + step``, ... below ``stop``; from 0 if only one number is given.

    >>> import graphad.numpy as gnp
    >>> gnp.arange(4)
    Array([0, 1, 2, 3], dtype=int32)
    >>> gnp.arange(0, 1, 0.25)
    Array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    given = [x for x in (start, stop, step) if x is not None]
    wanted = result_type(*given)[0] if dtype is None else canonical_dtype(dtype)
    first, last, by = [_number(x, "arange") for x in ((0, start, step) if stop is None else (start, stop, step))]
    size = max(0, _steps(last - first, 1 if by is None else by))
    working = wanted.numpy if wanted.bits >= 32 or not wanted.is_float else np.dtype(np.float32)
    counted = np.arange(size).astype(working)
    if by is not None:
        counted = counted * working.type(by)
    if first:
        counted = counted + working.type(first)
    return Array(converted(counted, wanted.numpy))


def _steps(span: Any, by: Any) -> int:
    """How many steps of ``by`` it takes to come as far as ``span``: exactly, where these are integers."""
    return -(span // -by) if isinstance(span, int) and isinstance(by, int) else math.ceil(span / by)


def _number(x: Any, name: str) -> Any:
    """A Python number that the shape of a result depends on. A traced integer is observed, and guarded."""
    if x is None or isinstance(x, (bool, int, float)):
        return x
    x = as_operand(x, name)
    if x.ndim:
        raise ValueError(f"{source.where()}{name} takes numbers, got an array of shape {x.shape}.")
    if dtype_and_weakness(x)[0].is_integer:
        return int(x)
    if isinstance(x, Tracer):
        raise TypeError(f"{source.where()}{size_is_traced(name, x)}")
    return float(x)


def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which may be arrays; with ``retstep`` also the step.

    >>> import graphad.numpy as gnp
    >>> gnp.linspace(0.0, 1.0, 5)
    Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    if num < 0:
        raise ValueError(f"{source.where()}linspace takes num >= 0, got {num}.")
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wide(wanted) if wanted.is_float else f64
    start, stop = cast(start, working, name="linspace"), cast(stop, working, name="linspace")
    divisor = num - 1 if endpoint else num
    shape = np.broadcast_shapes(start.shape, stop.shape)
    counted = np.arange(divisor if num > 1 else num).astype(working.numpy).reshape((-1,) + (1,) * len(shape))
    # By whole steps, so that numbers which the step divides are hit.
    result = start + Array(counted) * ((stop - start) / max(divisor, 1))
    if endpoint and num > 1:
        last = broadcast_to(stop, shape).reshape((1, *shape))
        result = concatenate([result, last])
    if not wanted.is_float:
        result = floor(result)
    result = moveaxis(cast(result, wanted), 0, axis)
    if not retstep:
        return result
    step = (stop - start) / (divisor if divisor > 0 else np.nan)
    return result, cast(step, wanted) if wanted.is_float else step
