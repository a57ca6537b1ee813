"""Arrays put together and taken apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from graphad.numpy._shape import atleast_1d, atleast_2d, broadcast_to, expand_dims, ravel, reshape
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives import shape as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    canonical_axis,
    canonical_dtype,
    cast,
    result_type,
    shape_text,
    with_weak,
)

Arrays = Sequence[ArrayLike] | Array

# ---------------------------------------------------------------------------------------------------------------------
# Joining


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
    return _joined(xs, canonical_axis(axis, xs[0].ndim, "concatenate"), dtype, "concatenate")


def operands_of(arrays: Any, name: str) -> list[Any]:
    """The arrays that are put together: those listed, or the slices of one along its first axis."""
    if isinstance(arrays, (Array, np.ndarray)):
        if not arrays.ndim:
            raise ValueError(f"{source.where()}{name} takes a sequence of arrays, got a scalar.")
        arrays = [arrays[i, ...] for i in range(arrays.shape[0])]  # NumPy's own iteration makes weak scalars
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise ValueError(f"{source.where()}{name} takes a sequence of at least one array, got {type(arrays).__name__}.")
    return beside(name, *arrays)


def _joined(xs: list[Any], axis: int, dtype: Any, name: str) -> Any:
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
    return _joined([expand_dims(x, k) for x in xs], k, dtype, "stack")


def vstack(arrays: Arrays) -> Array:
    """Rows on top of each other.

    >>> import graphad.numpy as gnp
    >>> gnp.vstack([gnp.zeros(2), gnp.ones(2)]).shape
    (2, 2)
    """
    return _joined([atleast_2d(x) for x in operands_of(arrays, "vstack")], 0, None, "vstack")


def hstack(arrays: Arrays) -> Array:
    """Arrays side by side: along axis 1, or the only one.

    >>> import graphad.numpy as gnp
    >>> gnp.hstack([gnp.zeros(2), gnp.ones(1)])
    Array([0., 0., 1.], dtype=float32)
    """
    xs = [atleast_1d(x) for x in operands_of(arrays, "hstack")]
    return _joined(xs, 0 if xs[0].ndim == 1 else 1, None, "hstack")


def column_stack(arrays: Arrays) -> Array:
    """Arrays of one axis as the columns of a matrix.

    >>> import graphad.numpy as gnp
    >>> gnp.column_stack([gnp.zeros(3), gnp.ones(3)]).shape
    (3, 2)
    """
    xs = [expand_dims(x, 1) if x.ndim == 1 else atleast_2d(x) for x in operands_of(arrays, "column_stack")]
    return _joined(xs, 1, None, "column_stack")


def append(x: ArrayLike, values: ArrayLike, axis: int | None = None) -> Array:
    """``values`` after the elements of ``x``.

    >>> import graphad.numpy as gnp
    >>> gnp.append(gnp.arange(2), 5)
    Array([0, 1, 5], dtype=int32)
    """
    return concatenate(beside("append", x, values), axis)


# ---------------------------------------------------------------------------------------------------------------------
# Splitting


def split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """Cut into so many equal parts, or before the given indices.

    >>> import graphad.numpy as gnp
    >>> gnp.split(gnp.arange(4), [1, 3])
    [Array([0], dtype=int32), Array([1, 2], dtype=int32), Array([3], dtype=int32)]
    """
    x = as_operand(x, "split")
    k = canonical_axis(axis, x.ndim, "split")
    n, parts = x.shape[k], _sections(indices_or_sections)
    if parts is None:
        return _cut_before(x, k, indices_or_sections)
    if parts < 1 or n % parts:
        raise ValueError(
            f"{source.where()}split cannot cut axis {k} of {shape_text(x)} into {parts} equal parts. "
            "Write array_split, or give the indices to cut at."
        )
    return _cut(x, k, [n // parts * i for i in range(parts + 1)])


def array_split(x: ArrayLike, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Array]:
    """Cut into so many parts whose sizes differ by one at most, or before the given indices.

    >>> import graphad.numpy as gnp
    >>> [len(part) for part in gnp.array_split(gnp.arange(5), 2)]
    [3, 2]
    """
    x = as_operand(x, "array_split")
    k = canonical_axis(axis, x.ndim, "array_split")
    parts = _sections(indices_or_sections)
    if parts is None:
        return _cut_before(x, k, indices_or_sections)
    if parts < 1:
        raise ValueError(f"{source.where()}array_split cuts into at least one part, got {parts}.")
    each, more = divmod(x.shape[k], parts)
    return _cut(x, k, [i * each + min(i, more) for i in range(parts + 1)])


def _sections(indices_or_sections: Any) -> int | None:
    """How many parts; None if it is indices that are given."""
    if isinstance(indices_or_sections, Sequence) or np.ndim(indices_or_sections):
        return None
    return int(indices_or_sections)


def _cut_before(x: Any, axis: int, indices: Any) -> list[Array]:
    n = x.shape[axis]
    return _cut(x, axis, [0, *[min(max(i + n if i < 0 else i, 0), n) for i in map(int, indices)], n])


def _cut(x: Any, axis: int, cuts: list[int]) -> list[Array]:
    return [with_weak(prims.slice_axis(x, axis, a, max(a, b)), x.weak_type) for a, b in pairwise(cuts)]


# ---------------------------------------------------------------------------------------------------------------------
# Repeating and shifting


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


def roll(x: ArrayLike, shift: int | Sequence[int], axis: Axis = None) -> Array:
    """The elements shifted along axes; what falls out comes back in at the other end.

    >>> import graphad.numpy as gnp
    >>> gnp.roll(gnp.arange(4), 1)
    Array([3, 0, 1, 2], dtype=int32)
    """
    x = as_operand(x, "roll")
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    shifts = tuple(shift) if isinstance(shift, Sequence) else (shift,)
    if len(axes) != len(shifts) and 1 not in (len(axes), len(shifts)):
        raise ValueError(f"{source.where()}roll got {len(shifts)} shifts for {len(axes)} axes: give one for each.")
    for j in range(max(len(axes), len(shifts)) if axes and shifts else 0):
        k, by = canonical_axis(axes[j % len(axes)], x.ndim, "roll"), shifts[j % len(shifts)]
        n = x.shape[k]
        cut = -int(by) % n if n else 0
        if cut:
            x = concatenate(_cut(x, k, [cut, n]) + _cut(x, k, [0, cut]), k)
    return x
