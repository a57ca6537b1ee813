"""More ways to put arrays together, to take them apart and to turn them round."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.numpy._joining import Arrays, concatenate, operands_of, split
from graphad.numpy._shape import broadcast_to, flip, moveaxis, ravel, reshape, swapaxes
from graphad.numpy._typing import ArrayLike, Shape
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
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Together


def atleast_3d(*arys: ArrayLike) -> Any:
    """``x`` with at least three axes; a list for several.

    >>> import graphad.numpy as gnp
    >>> gnp.atleast_3d(gnp.ones(3)).shape, gnp.atleast_3d(gnp.ones((2, 3))).shape
    ((1, 3, 1), (2, 3, 1))
    """
    results = [_with_three(as_operand(x, "atleast_3d")) for x in arys]
    return results[0] if len(results) == 1 else results


def _with_three(x: Any) -> Any:
    shapes = ((1, 1, 1), (1, *x.shape, 1), (*x.shape, 1))
    return reshape(x, shapes[x.ndim]) if x.ndim < 3 else x


def concat(arrays: Arrays, /, *, axis: int | None = 0) -> Array:
    """`concatenate` as the array API standard names it.

    >>> import graphad.numpy as gnp
    >>> gnp.concat([gnp.arange(2), gnp.arange(1)])
    Array([0, 1, 0], dtype=int32)
    """
    return concatenate(arrays, axis)


def dstack(tup: Sequence[ArrayLike] | Array, dtype: Any = None) -> Array:
    """Arrays behind each other, along axis 2.

    >>> import graphad.numpy as gnp
    >>> gnp.dstack([gnp.arange(2), gnp.arange(2)])
    Array([[[0, 0],
            [1, 1]]], dtype=int32)
    """
    return concatenate([_with_three(x) for x in operands_of(tup, "dstack")], 2, dtype)


def block(arrays: Any) -> Array:
    """An array put together from nested lists of blocks: the innermost lists along the last axis, and so outwards.

    >>> import graphad.numpy as gnp
    >>> gnp.block([[gnp.eye(1), gnp.zeros((1, 1))], [gnp.ones((1, 2))]])
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    return _block(arrays, iter(beside("block", *_blocks(arrays))))[0]


def _blocks(arrays: Any) -> list[Any]:
    if isinstance(arrays, tuple):
        raise TypeError(f"{source.where()}block takes nested lists, got a tuple. Write list(...) around it.")
    return [block for x in arrays for block in _blocks(x)] if isinstance(arrays, list) else [arrays]


def _block(arrays: Any, operands: Iterator[Any]) -> tuple[Any, int]:
    """The block made of ``operands``, one for each that is in the lists, and how deep these go."""
    if not isinstance(arrays, list):
        return next(operands), 0
    found = [_block(x, operands) for x in arrays]
    parts, depths = [x for x, _ in found], [depth for _, depth in found]
    if len(set(depths)) != 1:
        raise ValueError(f"{source.where()}block got lists of unequal depth or an empty one: {depths}.")
    depth = depths[0] + 1
    ndim = max(depth, *[x.ndim for x in parts])
    lifted = [reshape(x, (1,) * (ndim - x.ndim) + x.shape) for x in parts]
    return concatenate(lifted, -depth), depth


# ---------------------------------------------------------------------------------------------------------------------
# Apart

Sections = int | Sequence[int]


def hsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 1, or the only one.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.hsplit(gnp.ones((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    x = as_operand(ary, "hsplit")
    return split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


def vsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 0.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.vsplit(gnp.ones((4, 2)), 2)]
    [(2, 2), (2, 2)]
    """
    return split(ary, indices_or_sections, 0)


def dsplit(ary: ArrayLike, indices_or_sections: Sections) -> list[Array]:
    """`split` along axis 2.

    >>> import graphad.numpy as gnp
    >>> [part.shape for part in gnp.dsplit(gnp.ones((1, 1, 4)), 2)]
    [(1, 1, 2), (1, 1, 2)]
    """
    return split(ary, indices_or_sections, 2)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along an axis, one by one.

    >>> import graphad.numpy as gnp
    >>> gnp.unstack(gnp.arange(2))
    (Array(0, dtype=int32), Array(1, dtype=int32))
    """
    operand = as_operand(x, "unstack")
    k = canonical_axis(axis, operand.ndim, "unstack")
    return tuple([operand[(slice(None),) * k + (i,)] for i in range(operand.shape[k])])


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
# Round


def rot90(m: ArrayLike, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Array:
    """Turned ``k`` times by 90 degrees, from the first of ``axes`` towards the second.

    >>> import graphad.numpy as gnp
    >>> gnp.rot90(gnp.array([[1, 2], [3, 4]]))
    Array([[2, 4],
           [1, 3]], dtype=int32)
    """
    x = as_operand(m, "rot90")
    a, b = (canonical_axis(axis, x.ndim, "rot90") for axis in axes)
    if a == b:
        raise ValueError(f"{source.where()}rot90 of {shape_text(x)} got axes={axes}; give two axes.")
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return flip(x, (a, b))
    return swapaxes(flip(x, b), a, b) if turns == 1 else flip(swapaxes(x, a, b), b)


def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> Array:
    """The axis moved to before ``start``; `moveaxis` is plainer.

    >>> import graphad.numpy as gnp
    >>> gnp.rollaxis(gnp.ones((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    x = as_operand(a, "rollaxis")
    k = canonical_axis(axis, x.ndim, "rollaxis")
    if not -x.ndim <= start <= x.ndim:
        raise ValueError(
            f"{source.where()}rollaxis got start={start} for {shape_text(x)}; -{x.ndim}..{x.ndim} are legal."
        )
    before = start + x.ndim if start < 0 else start
    return moveaxis(x, k, before - 1 if k < before else before)
