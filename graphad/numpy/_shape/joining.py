"""Arrays put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.numpy._keys import of_keys
from graphad.numpy._shape.reshaping import atleast_1d, atleast_2d, expand_dims, ravel, reshape, with_three_axes
from graphad.numpy._typing import ArrayLike
from graphad.primitives import shape as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import beside, canonical_axis, canonical_dtype, cast, result_type, shape_text, with_weak

Arrays = Sequence[ArrayLike] | Array


@of_keys("arrays")
def concatenate(arrays: Arrays, axis: int | None = 0, dtype: Any = None) -> Array:
    """The arrays one after the other along an axis they have; flattened first if ``axis`` is None.

    >>> import graphad.numpy as gnp
    >>> gnp.concatenate([gnp.arange(2), gnp.zeros(1)])
    Array([0., 1., 0.], dtype=float32)
    """
    xs = operands_of(arrays, "concatenate")
    if axis is None:
        xs, axis = [ravel(x) for x in xs], 0
    if any([not x.ndim for x in xs]):
        raise ValueError(f"{source.where()}concatenate takes arrays with axes, got a scalar: write stack for scalars.")
    return joined(xs, canonical_axis(axis, xs[0].ndim, "concatenate"), dtype, "concatenate")


def concat(arrays: Arrays, /, *, axis: int | None = 0) -> Array:
    """`concatenate` as the array API standard names it.

    >>> import graphad.numpy as gnp
    >>> gnp.concat([gnp.arange(2), gnp.arange(1)])
    Array([0, 1, 0], dtype=int32)
    """
    return concatenate(arrays, axis)


def operands_of(arrays: Any, name: str) -> list[Any]:
    """The arrays that are put together: those listed, or the slices of one along its first axis."""
    if isinstance(arrays, (Array, np.ndarray)):
        if not arrays.ndim:
            raise ValueError(f"{source.where()}{name} takes a sequence of arrays, got a scalar.")
        arrays = [arrays[i, ...] for i in range(arrays.shape[0])]  # NumPy's own iteration makes weak scalars
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise ValueError(f"{source.where()}{name} takes a sequence of at least one array, got {type(arrays).__name__}.")
    return beside(name, *arrays)


def joined(xs: list[Any], axis: int, dtype: Any, name: str) -> Any:
    wanted, weak = result_type(*xs)
    if dtype is not None:
        wanted, weak = canonical_dtype(dtype), False
    first = xs[0].shape
    for x in xs:
        same = len(x.shape) == len(first) and all([k == axis or n == first[k] for k, n in enumerate(x.shape)])
        if not same:
            raise TypeError(
                f"{source.where()}{name} got {shape_text(xs[0])} and {shape_text(x)}: "
                f"their sizes must be equal but for axis {axis}."
            )
    xs = [cast(x, wanted) for x in xs]
    return with_weak(prims.concatenate(*xs, axis=axis), weak) if len(xs) > 1 else cast(xs[0], wanted, weak)


@of_keys("arrays")
def stack(arrays: Arrays, axis: int = 0, dtype: Any = None) -> Array:
    """Arrays of one shape, side by side along a new axis.

    >>> import graphad.numpy as gnp
    >>> gnp.stack([gnp.zeros(2), gnp.ones(2)])
    Array([[0., 0.],
           [1., 1.]], dtype=float32)
    """
    xs = operands_of(arrays, "stack")
    for x in xs:
        if x.shape != xs[0].shape:
            raise ValueError(
                f"{source.where()}stack got {shape_text(xs[0])} and {shape_text(x)}: all shapes must be equal."
            )
    k = canonical_axis(axis, xs[0].ndim + 1, "stack")
    return joined([expand_dims(x, k) for x in xs], k, dtype, "stack")


@of_keys("arrays")
def vstack(arrays: Arrays) -> Array:
    """Rows on top of each other.

    >>> import graphad.numpy as gnp
    >>> gnp.vstack([gnp.zeros(2), gnp.ones(2)]).shape
    (2, 2)
    """
    return joined([atleast_2d(x) for x in operands_of(arrays, "vstack")], 0, None, "vstack")


@of_keys("arrays")
def hstack(arrays: Arrays) -> Array:
    """Arrays side by side: along axis 1, or the only one.

    >>> import graphad.numpy as gnp
    >>> gnp.hstack([gnp.zeros(2), gnp.ones(1)])
    Array([0., 0., 1.], dtype=float32)
    """
    xs = [atleast_1d(x) for x in operands_of(arrays, "hstack")]
    return joined(xs, 0 if xs[0].ndim == 1 else 1, None, "hstack")


@of_keys("tup")
def dstack(tup: Sequence[ArrayLike] | Array, dtype: Any = None) -> Array:
    """Arrays behind each other, along axis 2.

    >>> import graphad.numpy as gnp
    >>> gnp.dstack([gnp.arange(2), gnp.arange(2)])
    Array([[[0, 0],
            [1, 1]]], dtype=int32)
    """
    return concatenate([with_three_axes(x) for x in operands_of(tup, "dstack")], 2, dtype)


@of_keys("arrays")
def column_stack(arrays: Arrays) -> Array:
    """Arrays of one axis as the columns of a matrix.

    >>> import graphad.numpy as gnp
    >>> gnp.column_stack([gnp.zeros(3), gnp.ones(3)]).shape
    (3, 2)
    """
    xs = [expand_dims(x, 1) if x.ndim == 1 else atleast_2d(x) for x in operands_of(arrays, "column_stack")]
    return joined(xs, 1, None, "column_stack")


@of_keys("arrays")
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
