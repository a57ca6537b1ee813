"""Blocks at positions that are known only when the program runs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.ir.types import i32, i64, literal
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike
from graphad.primitives import dynamic
from graphad.primitives import shape as shapes
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    canonical_axis,
    canonical_shape,
    cast,
    dtype_and_weakness,
    shape_text,
    with_weak,
)

Starts = Sequence[ArrayLike] | ArrayLike


@of_keys("operand")
def dynamic_slice(operand: ArrayLike, start_indices: Starts, slice_sizes: Sequence[int]) -> Array:
    """A block of static size at a computed position.

    Negative starts count from the end of the axis; a block that would reach outside is moved inside.

    >>> import graphad.numpy as gnp
    >>> dynamic_slice(gnp.arange(5), (gnp.asarray(3),), (4,))
    Array([1, 2, 3, 4], dtype=int32)
    """
    x = as_operand(operand, "lax.dynamic_slice")
    sizes = canonical_shape(slice_sizes, "lax.dynamic_slice")
    starts = _starts("lax.dynamic_slice", x, start_indices)
    if len(sizes) == x.ndim and all([type(s) is int for s in starts]):
        first = tuple([max(min(s, n - size), 0) for s, n, size in zip(starts, x.shape, sizes, strict=True)])
        stop = tuple([s + size for s, size in zip(first, sizes, strict=True)])
        return with_weak(shapes.slice_(x, start=first, stop=stop, step=(1,) * x.ndim), x.weak_type)
    operands = _typed(starts)
    return with_weak(dynamic.dynamic_slice(x, *operands, sizes=sizes, batch=0), x.weak_type)


@of_keys("operand", "update")
def dynamic_update_slice(operand: ArrayLike, update: ArrayLike, start_indices: Starts) -> Array:
    """The array with ``update`` in place of the block at a computed position, as `dynamic_slice` finds it.

    >>> import graphad.numpy as gnp
    >>> dynamic_update_slice(gnp.zeros(4), gnp.ones(2), (gnp.asarray(1),))
    Array([0., 1., 1., 0.], dtype=float32)
    """
    x, block = beside("lax.dynamic_update_slice", operand, update)
    starts = _typed(_starts("lax.dynamic_update_slice", x, start_indices))
    weak = x.weak_type and block.weak_type
    return with_weak(dynamic.dynamic_update_slice(x, block, *starts, batch=0), weak)


@of_keys("operand")
def dynamic_slice_in_dim(operand: ArrayLike, start_index: ArrayLike, slice_size: int, axis: int = 0) -> Array:
    """`dynamic_slice` along one axis; the others are taken whole.

    >>> import graphad.numpy as gnp
    >>> dynamic_slice_in_dim(gnp.arange(5), gnp.asarray(1), 2)
    Array([1, 2], dtype=int32)
    """
    x = as_operand(operand, "lax.dynamic_slice_in_dim")
    k = canonical_axis(axis, x.ndim, "lax.dynamic_slice_in_dim")
    sizes = (*x.shape[:k], operator.index(slice_size), *x.shape[k + 1 :])
    return dynamic_slice(x, _along(x, start_index, k), sizes)


@of_keys("operand")
def dynamic_index_in_dim(operand: ArrayLike, index: ArrayLike, axis: int = 0, keepdims: bool = True) -> Array:
    """The elements at one computed index of an axis.

    >>> import graphad.numpy as gnp
    >>> dynamic_index_in_dim(gnp.arange(5), gnp.asarray(3), keepdims=False)
    Array(3, dtype=int32)
    """
    found = dynamic_slice_in_dim(operand, index, 1, axis)
    return found if keepdims else gnp.squeeze(found, axis)


@of_keys("operand", "update")
def dynamic_update_slice_in_dim(operand: ArrayLike, update: ArrayLike, start_index: ArrayLike, axis: int) -> Array:
    """`dynamic_update_slice` along one axis, from the beginning of the others.

    >>> import graphad.numpy as gnp
    >>> dynamic_update_slice_in_dim(gnp.zeros(3), gnp.ones(1), gnp.asarray(2), 0)
    Array([0., 0., 1.], dtype=float32)
    """
    x = as_operand(operand, "lax.dynamic_update_slice_in_dim")
    k = canonical_axis(axis, x.ndim, "lax.dynamic_update_slice_in_dim")
    return dynamic_update_slice(x, update, _along(x, start_index, k))


@of_keys("operand", "update")
def dynamic_update_index_in_dim(operand: ArrayLike, update: ArrayLike, index: ArrayLike, axis: int) -> Array:
    """The array with ``update`` at one computed index of an axis.

    >>> import graphad.numpy as gnp
    >>> dynamic_update_index_in_dim(gnp.zeros(3), 5.0, gnp.asarray(1), 0)
    Array([0., 5., 0.], dtype=float32)
    """
    x = as_operand(operand, "lax.dynamic_update_index_in_dim")
    block = cast(update, x.aval.dtype, name="lax.dynamic_update_index_in_dim")
    if block.ndim != x.ndim:
        block = gnp.expand_dims(block, canonical_axis(axis, x.ndim, "lax.dynamic_update_index_in_dim"))
    return dynamic_update_slice_in_dim(x, block, index, axis)


def _along(x: Any, start: ArrayLike, axis: int) -> list[ArrayLike]:
    return [start if k == axis else 0 for k in range(x.ndim)]


def _starts(name: str, x: Any, starts: Starts) -> list[Any]:
    """One start for each axis, counted from its beginning: ints where they are known, else scalar operands."""
    listed = list(starts) if isinstance(starts, (tuple, list)) else list(as_operand(starts, name))
    if len(listed) != x.ndim:
        raise TypeError(
            f"{source.where()}{name} got {len(listed)} starts for {shape_text(x)}; give one for each of its axes."
        )
    found: list[Any] = []
    for start, n in zip(listed, x.shape, strict=True):
        if isinstance(start, (int, np.integer)):
            found.append(int(start) + n if start < 0 else int(start))
            continue
        at = as_operand(start, name)
        if at.ndim or not dtype_and_weakness(at)[0].is_integer:
            raise TypeError(f"{source.where()}{name} got the start {shape_text(at)}; a start is an integer scalar.")
        wide = cast(at, i64 if dtype_and_weakness(at)[0].bits + (at.dtype.kind == "u") > 32 else i32)
        found.append(gnp.where(wide < 0, wide + n, wide))
    return found


def _typed(starts: list[Any]) -> list[Any]:
    """Known starts as literals: bare numbers would take the dtype of the array."""
    return [literal(max(s, 0), i64 if s >= 1 << 31 else i32) if type(s) is int else s for s in starts]
