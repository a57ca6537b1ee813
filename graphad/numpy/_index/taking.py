"""Elements taken at positions and by masks."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._elementwise.arithmetic import remainder
from graphad.numpy._elementwise.extrema import clip, maximum
from graphad.numpy._elementwise.logic import where
from graphad.numpy._index.positions import flatnonzero, known
from graphad.numpy._keys import of_keys
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.broadcasting import broadcast_arrays, broadcast_to
from graphad.numpy._shape.reshaping import expand_dims, ravel, reshape
from graphad.numpy._typing import ArrayLike
from graphad.primitives import indexing as prims
from graphad.trace import indexing, source
from graphad.trace.array import Array, to_array
from graphad.trace.semantics import as_operand, beside, canonical_axis, cast, dtype_and_weakness, shape_text, with_weak

# ---------------------------------------------------------------------------------------------------------------------
# At positions


@of_keys("x")
def take(x: ArrayLike, indices: ArrayLike, axis: int | None = None, mode: str | None = None) -> Array:
    """The elements (slices along ``axis``) at ``indices``; of the flattened array if no axis is named.

    Out of range it gives nan (for integers the extreme value); ``mode="clip"`` the nearest element, and
    ``mode="wrap"`` counts on from the other end.

    >>> import graphad.numpy as gnp
    >>> gnp.take(gnp.array([10, 20, 30]), gnp.array([2, 0]))
    Array([30, 10], dtype=int32)
    """
    x, indices = as_operand(x, "take"), _as_indices(indices, "take")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "take")
    indices = _in_mode(indices, x.shape[k], mode)
    index = indexing.parse((slice(None),) * k + (indices,), x)
    return indexing.read(x, index, "fill" if mode in (None, "fill") else "clip")


@of_keys("x")
def take_along_axis(x: ArrayLike, indices: ArrayLike, axis: int | None, mode: str | None = None) -> Array:
    """Along one axis, the elements at ``indices``, which are chosen anew at each position of the other axes.

    >>> import graphad.numpy as gnp
    >>> x = gnp.array([[1.0, 3.0, 2.0], [6.0, 4.0, 5.0]])
    >>> gnp.take_along_axis(x, gnp.argmax(x, 1, keepdims=True), 1)
    Array([[3.],
           [6.]], dtype=float32)
    """
    x, indices = as_operand(x, "take_along_axis"), _as_indices(indices, "take_along_axis")
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
    batch_shape = np.broadcast_shapes(x.shape[:-1], indices.shape[:-1])
    x, indices = broadcast_to(x, (*batch_shape, x.shape[-1])), broadcast_to(indices, (*batch_shape, indices.shape[-1]))
    at = expand_dims(indexing.wrapped(indices, x.shape[-1]), -1)
    mode = "fill" if mode in (None, "fill") else "clip"
    result = prims.gather(x, at, axes=(x.ndim - 1,), batch=x.ndim - 1, mode=mode)
    return moveaxis(with_weak(result, x.weak_type), -1, k)


def _as_indices(indices: ArrayLike, name: str) -> Array:
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


def choose(a: ArrayLike, choices: Any, mode: str = "clip") -> Array:
    """Where ``a`` is k, the element of ``choices[k]``; out of range the nearest, or with ``mode="wrap"`` counted on.

    >>> import graphad.numpy as gnp
    >>> gnp.choose(gnp.array([1, 0]), [gnp.array([0.5, 0.25]), 2.0])
    Array([2.  , 0.25], dtype=float32)
    """
    if mode not in ("clip", "wrap"):
        raise ValueError(f"{source.where()}choose got mode={mode!r}; it takes 'clip' and 'wrap', which need no values.")
    at = as_operand(a, "choose")
    if not dtype_and_weakness(at)[0].is_integer:
        raise TypeError(f"{source.where()}choose got {shape_text(at)} to choose by; give integers.")
    at, *options = broadcast_arrays(at, *beside("choose", *choices))
    at = clip(at, 0, len(options) - 1) if mode == "clip" else remainder(at, len(options))
    result: Any = options[-1]
    for k, option in reversed(list(enumerate(options[:-1]))):
        result = where(at == k, option, result)
    return result


# ---------------------------------------------------------------------------------------------------------------------
# By masks


def extract(condition: ArrayLike, arr: ArrayLike, *, size: int | None = None, fill_value: ArrayLike = 0) -> Array:
    """The elements of the flattened array where ``condition`` holds; ``size`` as for `nonzero`.

    >>> import graphad.numpy as gnp
    >>> gnp.extract(gnp.array([True, False, True]), gnp.arange(3))
    Array([0, 2], dtype=int32)
    """
    mask, x = ravel(as_operand(condition, "extract")), ravel(as_operand(arr, "extract"))
    return compress(mask, x, 0, size=size, fill_value=fill_value)


def compress(
    condition: ArrayLike,
    a: ArrayLike,
    axis: int | None = None,
    *,
    size: int | None = None,
    fill_value: ArrayLike = 0,
) -> Array:
    """The elements (slices along an axis) where ``condition`` holds; ``size`` as for `nonzero`.

    >>> import graphad.numpy as gnp
    >>> gnp.compress(gnp.array([False, True]), gnp.arange(4).reshape(2, 2), axis=0)
    Array([[2, 3]], dtype=int32)
    """
    x, held = as_operand(a, "compress"), as_operand(condition, "compress")
    if axis is None:
        x, axis = ravel(x), 0
    k = canonical_axis(axis, x.ndim, "compress")
    n = x.shape[k]
    if held.ndim != 1:
        raise ValueError(f"{source.where()}compress got the condition {shape_text(held)}; it takes one axis.")
    if held.shape[0] > n and size is None and np.asarray(known("compress", held))[n:].any():
        raise ValueError(f"{source.where()}compress got a condition of {held.shape[0]} for an axis of {n}.")
    at = flatnonzero(held[:n], size=size, fill_value=n)
    rows = moveaxis(x, k, 0)
    if size is None:
        return moveaxis(rows[at], 0, k)
    inside = reshape(at < n, (-1,) + (1,) * (rows.ndim - 1))
    return moveaxis(where(inside, rows[at], cast(fill_value, dtype_and_weakness(x)[0])), 0, k)
