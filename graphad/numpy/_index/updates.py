"""``x[index]`` and ``x.at[index]``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.errors import PrecisionWarning
from graphad.ir.primitive import Primitive
from graphad.ir.types import b1
from graphad.numpy._elementwise.arithmetic import negative
from graphad.numpy._elementwise.extrema import maximum, minimum
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import wide
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import reshape
from graphad.numpy._typing import ArrayLike
from graphad.primitives import indexing as prims
from graphad.trace import indexing, source
from graphad.trace.array import Array
from graphad.trace.device_array import DeviceArray
from graphad.trace.semantics import (
    as_operand,
    as_operands,
    beside,
    cast,
    dtype_and_weakness,
    result_type,
    shape_text,
    with_weak,
)
from graphad.trace.tracer import Tracer


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
