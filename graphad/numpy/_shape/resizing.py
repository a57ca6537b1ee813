"""Elements repeated, added and taken away."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.numpy._keys import of_keys
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import expand_dims, ravel, reshape
from graphad.numpy._typing import ArrayLike, Shape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, beside, canonical_axis, canonical_shape, cast, dtype_and_weakness
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Repeated


@of_keys("x")
def tile(x: ArrayLike, reps: int | Sequence[int]) -> Array:
    """``x`` laid side by side ``reps`` times along each axis.

    >>> import graphad.numpy as gnp
    >>> gnp.tile(gnp.arange(2), 2)
    Array([0, 1, 0, 1], dtype=int32)
    """
    x = as_operand(x, "tile")
    times = (reps,) if isinstance(reps, int) else tuple(reps)
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    interleaved = tuple([m for n in shape for m in (1, n)])
    repeated = tuple([m for r, n in zip(times, shape, strict=True) for m in (r, n)])
    return reshape(broadcast_to(reshape(x, interleaved), repeated), tuple(map(int.__mul__, times, shape)))


@of_keys("x")
def repeat(
    x: ArrayLike, repeats: int | Sequence[int] | Array, axis: int | None = None, total_repeat_length: int | None = None
) -> Array:
    """Each element (slice along ``axis``) so many times in a row.

    >>> import graphad.numpy as gnp
    >>> gnp.repeat(gnp.arange(3), 2)
    Array([0, 0, 1, 1, 2, 2], dtype=int32)
    """
    x = as_operand(x, "repeat")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "repeat")
    counts = np.asarray(repeats, int if np.size(repeats) == 0 else None)  # NumPy makes floats of []
    if counts.ndim == 0 and total_repeat_length is None:
        each = int(counts)
        repeated = broadcast_to(expand_dims(x, k + 1), (*x.shape[: k + 1], each, *x.shape[k + 1 :]))
        return reshape(repeated, (*x.shape[:k], x.shape[k] * each, *x.shape[k + 1 :]))
    indices = np.repeat(np.arange(x.shape[k]), counts)
    if total_repeat_length is not None:
        missing = total_repeat_length - len(indices)
        indices = np.pad(indices, (0, max(missing, 0)), mode="edge")[:total_repeat_length]
    return x[(slice(None),) * k + (indices,)]


@of_keys("a")
def resize(a: ArrayLike, new_shape: Shape) -> Array:
    """The elements again and again until the new shape is full.

    >>> import graphad.numpy as gnp
    >>> gnp.resize(gnp.arange(3), (2, 2))
    Array([[0, 1],
           [2, 0]], dtype=int32)
    """
    x, shape = ravel(as_operand(a, "resize")), canonical_shape(new_shape, "resize")
    size = math.prod(shape)
    if not x.size or not size:
        return broadcast_to(cast(0, *dtype_and_weakness(x)), shape)
    return reshape(concatenate([x] * -(-size // x.size))[:size], shape)


# ---------------------------------------------------------------------------------------------------------------------
# Added and taken away


@of_keys("x", "values")
def append(x: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """``values`` after the elements of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.append(gnp.arange(2), 5)
    Array([0, 1, 5], dtype=int32)
    """
    return concatenate(beside("append", x, values), axis)


@of_keys("arr", "values")
def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> Array:
    """With ``values`` put in before the positions ``obj``: an index, several, a slice or a mask, which are known.

    >>> import graphad.numpy as gnp
    >>> gnp.insert(gnp.arange(3), 1, 9)
    Array([0, 9, 1, 2], dtype=int32)
    """
    x = as_operand(arr, "insert")
    added = cast(values, dtype_and_weakness(x)[0], name="insert")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "insert")
    at, n = _positions("insert", obj), x.shape[k]
    single = isinstance(at, int)
    if single:  # NumPy: all values go before the one position
        added = moveaxis(reshape(added, (1,) * (x.ndim - added.ndim) + added.shape), 0, k)
        count = added.shape[k]
    else:
        count = len(np.insert(np.zeros(n), at, 0)) - n
        added = reshape(added, (1,) * (x.ndim - added.ndim) + added.shape)
    sizes = (*x.shape[:k], count, *x.shape[k + 1 :])
    added = broadcast_to(added, sizes)
    where_at: Any = [at] * count if single else at
    order = np.insert(np.arange(n), where_at, n + np.arange(count))
    return concatenate([x, added], k)[(slice(None),) * k + (order,)]


@of_keys("arr")
def delete(arr: ArrayLike, obj: Any, axis: int | None = None) -> Array:
    """Without the elements (slices along an axis) at ``obj``: an index, several, a slice or a mask, which are known.

    >>> import graphad.numpy as gnp
    >>> gnp.delete(gnp.arange(4), 1)
    Array([0, 2, 3], dtype=int32)
    """
    x = as_operand(arr, "delete")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "delete")
    kept = np.delete(np.arange(x.shape[k]), _positions("delete", obj))
    return x[(slice(None),) * k + (kept,)]


def _positions(name: str, obj: Any) -> Any:
    """What says where, as NumPy takes it."""
    if isinstance(obj, Tracer):
        raise TypeError(
            f"{source.where()}{name} takes positions that are known when the function is traced, for the shape of the "
            "result depends on them. Give numbers or a NumPy array, or choose elements with graphad.numpy.where."
        )
    if isinstance(obj, slice):
        return obj
    found = np.asarray(obj, int if np.size(obj) == 0 else None)  # NumPy makes floats of []
    return found if found.ndim else operator.index(found.item())
