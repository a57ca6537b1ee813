"""Reading and writing elements at computed positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.errors import PrecisionWarning
from graphad.ir.primitive import Primitive
from graphad.ir.types import b1
from graphad.numpy._arithmetic import maximum, minimum, remainder
from graphad.numpy._logic import where
from graphad.numpy._math import negative
from graphad.numpy._padding import pad
from graphad.numpy._precision import wide
from graphad.numpy._shape import broadcast_to, expand_dims, moveaxis, ravel, reshape
from graphad.numpy._typing import ArrayLike
from graphad.primitives import indexing as prims
from graphad.trace import indexing, source
from graphad.trace.array import Array, to_array
from graphad.trace.device_array import DeviceArray
from graphad.trace.semantics import (
    as_operand,
    as_operands,
    beside,
    canonical_axis,
    cast,
    dtype_and_weakness,
    result_type,
    shape_text,
    with_weak,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# x[index] and x.at[index]


def getitem(x: Any, index: Any) -> Any:
    """``x[index]``: NumPy's basic and advanced indexing."""
    return indexing.read(x, indexing.parse(index, x))


class UpdateAt:
    """What ``x.at`` is: ``x.at[index]`` has the methods that write at an index, and return a new array.

    >>> import graphad.numpy as gnp
    >>> gnp.zeros(3).at[1].set(5)
    Array([0., 5., 0.], dtype=float32)
    """

    __slots__ = ("_x",)

    def __init__(self, x: Any) -> None:
        self._x = x

    def __getitem__(self, index: Any) -> Update:
        return Update(self._x, index)

    def __repr__(self) -> str:
        return f"UpdateAt({self._x!r})"


class Update:
    """``x.at[index]``.

    Where index arrays reach out of range, updates are left out; ``mode="clip"`` brings them to the nearest element.
    An integer out of range raises, unless a ``mode`` is given.
    Several updates of one element are all applied, but of several `set` the last one stays.
    """

    __slots__ = ("_index", "_x")

    def __init__(self, x: Any, index: Any) -> None:
        self._x = x
        self._index = index

    def get(self, *, mode: str | None = None, fill_value: ArrayLike | None = None) -> Any:
        """``x[index]``; with ``mode="fill"`` nan, or ``fill_value``, where the index is out of range."""
        index = indexing.parse(self._index, self._x, checked=mode is None)
        if mode == "fill" and fill_value is not None and index.has_arrays:
            inside = indexing.read(broadcast_to(Array(np.asarray(True)), self._x.shape), index, "zero")
            return where(inside, indexing.read(self._x, index), cast(fill_value, self._x.aval.dtype))
        return indexing.read(self._x, index, _read_mode(mode))

    def set(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array with ``values`` at the index."""
        return self._write("set", prims.scatter_set, lambda _, v: v, values, mode, hints)

    def add(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array with ``values`` added at the index."""
        if self._in_16_bits(values):  # any number of them may meet in one element
            return cast(self._widened().add(values, mode=mode, **hints), self._x.aval.dtype)
        return self._write("add", prims.scatter_add, lambda x, v: x + v, values, mode, hints)

    def subtract(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array with ``values`` subtracted at the index."""
        _, values = beside("x.at[i].subtract", self._x, values)
        return self.add(negative(values), mode=mode, **hints)

    def multiply(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array multiplied by ``values`` at the index."""
        if self._in_16_bits(values):
            return cast(self._widened().multiply(values, mode=mode, **hints), self._x.aval.dtype)
        return self._write("multiply", prims.scatter_mul, lambda x, v: x * v, values, mode, hints)

    def divide(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array divided by ``values`` at the index."""
        return self._x / self._ones(values).at[self._index].multiply(values, mode=mode, **hints)

    def power(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array to the power of ``values`` at the index."""
        return self._x ** self._ones(values).at[self._index].multiply(values, mode=mode, **hints)

    def min(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array with the smaller of element and value at the index."""
        return self._write("min", prims.scatter_min, minimum, values, mode, hints)

    def max(self, values: ArrayLike, *, mode: str | None = None, **hints: bool) -> Any:
        """The array with the greater of element and value at the index."""
        return self._write("max", prims.scatter_max, maximum, values, mode, hints)

    def apply(self, function: Callable[[Any], Any], *, mode: str | None = None, **hints: bool) -> Any:
        """The array with ``function`` applied to the elements at the index: once, however often it names one."""
        return self.set(function(self.get(mode=None if mode is None else "clip")), mode=mode, **hints)

    mul = multiply
    div = divide

    def _in_16_bits(self, values: ArrayLike) -> bool:
        dtype = self._x.aval.dtype
        return wide(dtype) is not dtype and result_type(self._x, values)[0] is dtype

    def _widened(self) -> Update:
        return Update(cast(self._x, wide(self._x.aval.dtype)), self._index)

    def _ones(self, values: ArrayLike) -> Any:
        dtype, _ = dtype_and_weakness(self._x)
        if not dtype.is_float:
            dtype, _ = result_type(self._x, values)
        return broadcast_to(Array(np.ones((), dtype.numpy)), self._x.shape)

    def _write(
        self,
        name: str,
        scatter: Primitive,
        combine: Callable[[Any, Any], Any],
        values: ArrayLike,
        mode: str | None,
        hints: dict[str, bool],
    ) -> Any:
        unknown = set(hints) - {"indices_are_sorted", "unique_indices"}
        if unknown:
            raise TypeError(f"{source.where()}x.at[i].{name} takes no argument {min(unknown)!r}.")
        x = self._x
        updates = self._updates(values, name)
        if isinstance(self._index, Tracer) and self._index.aval.dtype is b1:
            return self._write_masked(combine, updates, name)
        index = indexing.parse(self._index, x, checked=mode is None)
        return indexing.write(x, index, updates, scatter, _write_mode(mode))

    def _updates(self, values: ArrayLike, name: str) -> Any:
        """``values`` in the dtype of ``x``, as by JAX; with a warning where that takes digits from them."""
        x = self._x
        dtype, weak = dtype_and_weakness(x)
        wider, _ = result_type(x, *as_operands(f"x.at[i].{name}", values))
        if wider is dtype or (weak and dtype.kind == wider.kind):
            return cast(values, dtype, name=f"x.at[i].{name}")
        updates = as_operand(values)
        what = f"{source.where()}x.at[i].{name} got values of type {updates.aval} for x of type {x.aval}, which"
        remedy = f"Write x.astype({wider.numpy}) first, or values.astype({dtype.numpy})."
        if wider.is_float != dtype.is_float or dtype is b1:
            raise TypeError(f"{what} cannot hold them. {remedy}")
        result = cast(updates, dtype)
        known = values if isinstance(values, np.ndarray) else updates
        if type(known) in (Tracer, DeviceArray) or _loses_digits(np.asarray(known), dtype.numpy):
            source.warn(f"{what} takes digits from them. {remedy}", PrecisionWarning)
        return result

    def _write_masked(self, combine: Callable[[Any, Any], Any], updates: Any, name: str) -> Any:
        """A traced mask: a choice for each element. The updates cannot depend on the number of true elements."""
        x, mask = self._x, self._index
        if x.shape[: mask.ndim] != mask.shape or updates.ndim > x.ndim - mask.ndim:
            raise TypeError(
                f"{source.where()}x.at[mask].{name} with a traced mask of type {mask.aval} takes one number (or one "
                f"slice of x behind the mask's axes) for all, got {shape_text(updates)}. "
                "Write graphad.numpy.where(mask, values, x)."
            )
        mask = reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
        return with_weak(where(mask, combine(x, updates), x), x.weak_type)


def _loses_digits(x: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> bool:
    with np.errstate(all="ignore"):
        return bool(((x.astype(dtype).astype(x.dtype) != x) & (x == x)).any())


def _read_mode(mode: str | None) -> str:
    if mode in (None, "clip", "promise_in_bounds"):
        return "clip"
    if mode == "fill":
        return "fill"
    raise ValueError(f"{source.where()}reading at an index takes mode 'clip' or 'fill', got {mode!r}.")


def _write_mode(mode: str | None) -> str:
    if mode in (None, "drop", "fill", "promise_in_bounds"):
        return "drop"
    if mode == "clip":
        return "clip"
    raise ValueError(f"{source.where()}writing at an index takes mode 'drop' or 'clip', got {mode!r}.")


# ---------------------------------------------------------------------------------------------------------------------
# Functions


def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None, mode: str | None = None) -> Array:
    """The elements (slices along ``axis``) at ``indices``; of the flattened array if no axis is named.

    Out of range it gives nan (for integers the extreme value); ``mode="clip"`` the nearest element, and
    ``mode="wrap"`` counts on from the other end.

    >>> import graphad.numpy as gnp
    >>> gnp.take(gnp.array([10, 20, 30]), gnp.array([2, 0]))
    Array([30, 10], dtype=int32)
    """
    x, indices = as_operand(x, "take"), _known(indices, "take")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "take")
    indices = _in_mode(indices, x.shape[k], mode)
    index = indexing.parse((slice(None),) * k + (indices,), x)
    return indexing.read(x, index, "fill" if mode in (None, "fill") else "clip")


def _known(indices: ArrayLike, name: str) -> Array:
    """``indices`` as an operand; those of NumPy keep their values in a trace: no equation computes with them."""
    return to_array(indices) if isinstance(indices, np.ndarray) else as_operand(indices, name)


def _in_mode(indices: Any, n: int, mode: str | None) -> Any:
    """``indices`` such that reading them with ``fill`` or ``clip`` does what ``mode`` says."""
    if mode in (None, "fill", "promise_in_bounds"):
        return indices
    if mode == "clip":
        return maximum(indices, 0)
    if mode == "wrap":
        return remainder(indices, n)
    raise ValueError(f"{source.where()}take got mode={mode!r}; it takes 'fill', 'clip' and 'wrap'.")


def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int | None, mode: str | None = None) -> Array:
    """Along one axis, the elements at ``indices``, which are chosen anew at each position of the other axes.

    >>> import graphad.numpy as gnp
    >>> x = gnp.array([[1.0, 3.0, 2.0], [6.0, 4.0, 5.0]])
    >>> gnp.take_along_axis(x, gnp.argmax(x, 1, keepdims=True), 1)
    Array([[3.],
           [6.]], dtype=float32)
    """
    x, indices = as_operand(x, "take_along_axis"), _known(indices, "take_along_axis")
    if axis is None:
        x, axis = ravel(x), 0
    if x.ndim != indices.ndim:
        raise ValueError(
            f"{source.where()}take_along_axis got {shape_text(x)} and indices {shape_text(indices)}: "
            "they must have the same number of axes."
        )
    k = canonical_axis(axis, x.ndim, "take_along_axis")
    indices = moveaxis(_in_mode(indices, x.shape[k], mode), k, -1)
    x = moveaxis(x, k, -1)
    lanes = np.broadcast_shapes(x.shape[:-1], indices.shape[:-1])
    x, indices = broadcast_to(x, (*lanes, x.shape[-1])), broadcast_to(indices, (*lanes, indices.shape[-1]))
    at = expand_dims(indexing.wrapped(indices, x.shape[-1]), -1)
    mode = "fill" if mode in (None, "fill") else "clip"
    result = prims.gather(x, at, axes=(x.ndim - 1,), batch=x.ndim - 1, mode=mode)
    return moveaxis(with_weak(result, x.weak_type), -1, k)


def diagonal(x: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The elements on a diagonal of two axes, along a new last axis.

    >>> import graphad.numpy as gnp
    >>> gnp.diagonal(gnp.arange(9).reshape(3, 3))
    Array([0, 4, 8], dtype=int32)
    """
    x = as_operand(x, "diagonal")
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = x.shape[-2:]
    start_row, start_column = max(-offset, 0), max(offset, 0)
    along = np.arange(max(min(rows - start_row, columns - start_column), 0))
    return x[..., along + start_row, along + start_column]


def diag(x: ArrayLike, k: int = 0) -> Array:
    """The ``k``-th diagonal of a matrix, or the matrix with this diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.diag(gnp.array([1, 2]))
    Array([[1, 0],
           [0, 2]], dtype=int32)
    """
    x = as_operand(x, "diag")
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"{source.where()}diag takes a vector or a matrix, got {shape_text(x)}.")
    n = x.shape[0] + abs(k)
    shifted = pad(x, (max(k, 0), max(-k, 0)))  # element j stands in column j
    return where(np.eye(n, k=k, dtype=bool), shifted, _zero(x))


def trace(x: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of the elements on a diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.trace(gnp.eye(3))
    Array(3., dtype=float32)
    """
    return diagonal(x, offset, axis1, axis2).sum(-1)


def tril(x: ArrayLike, k: int = 0) -> Array:
    """The matrix with zeros above its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.tril(gnp.ones((2, 2)))
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    x = as_operand(x, "tril")
    return where(_lower(x, k, "tril"), x, _zero(x))


def triu(x: ArrayLike, k: int = 0) -> Array:
    """The matrix with zeros below its ``k``-th diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.triu(gnp.ones((2, 2)))
    Array([[1., 1.],
           [0., 1.]], dtype=float32)
    """
    x = as_operand(x, "triu")
    return where(_lower(x, k - 1, "triu"), _zero(x), x)


def _lower(x: Any, k: int, name: str) -> Any:
    if x.ndim < 2:
        raise ValueError(f"{source.where()}{name} takes matrices, got {shape_text(x)}.")
    return np.tri(x.shape[-2], x.shape[-1], k, bool)


def _zero(x: Any) -> Any:
    return dtype_and_weakness(x)[0].numpy.type(0)
