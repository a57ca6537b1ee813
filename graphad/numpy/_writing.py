"""NumPy's functions that write into an array, as functions that give a new one; and choices by index or mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._arithmetic import clip, remainder
from graphad.numpy._cumulative import cumsum
from graphad.numpy._joining import stack
from graphad.numpy._logic import not_equal, where
from graphad.numpy._search import searchsorted
from graphad.numpy._shape import broadcast_arrays, broadcast_to, moveaxis, ravel, reshape
from graphad.numpy._stacking import resize
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    canonical_axis,
    cast,
    default_int,
    dtype_and_weakness,
    shape_text,
)
from graphad.trace.tracer import Tracer


def put(a: ArrayLike, ind: ArrayLike, v: ArrayLike, mode: str | None = None, *, inplace: bool = True) -> Array:
    """A new array with the values ``v``, repeated as needed, at the positions ``ind`` of the flattened array.

    Arrays do not change: say ``inplace=False``. Positions out of range are left out, or as ``mode`` says:
    ``clip`` or ``wrap``. ``x.at[i].set(v)`` does more.

    >>> import graphad.numpy as gnp
    >>> gnp.put(gnp.zeros(3), 1, 5, inplace=False)
    Array([0., 5., 0.], dtype=float32)
    """
    _refuse("put", inplace, "x.at[i].set(v)")
    x, at = as_operand(a, "put"), ravel(as_operand(ind, "put"))
    if not at.size:
        return x
    at = _placed("put", at, x.size, mode)
    values = resize(cast(v, dtype_and_weakness(x)[0], name="put"), at.shape)
    return reshape(ravel(x).at[at].set(values), x.shape)


def put_along_axis(
    arr: ArrayLike,
    indices: ArrayLike,
    values: ArrayLike,
    axis: int | None,
    inplace: bool = True,
    *,
    mode: str | None = None,
) -> Array:
    """A new array with ``values`` along an axis at ``indices``, chosen anew at each position of the other axes.

    >>> import graphad.numpy as gnp
    >>> x = gnp.array([[1, 3], [6, 4]])
    >>> gnp.put_along_axis(x, gnp.argmax(x, 1, keepdims=True), 0, axis=1, inplace=False)
    Array([[1, 0],
           [0, 4]], dtype=int32)
    """
    _refuse("put_along_axis", inplace, "x.at[i, j].set(v)")
    x, at = as_operand(arr, "put_along_axis"), as_operand(indices, "put_along_axis")
    if axis is None:
        flat = put_along_axis(ravel(x), at, values, 0, inplace=False, mode=mode)
        return reshape(flat, x.shape)
    k = canonical_axis(axis, x.ndim, "put_along_axis")
    if at.ndim != x.ndim:
        raise ValueError(
            f"{source.where()}put_along_axis got {shape_text(x)} and indices {shape_text(at)}: "
            "they must have the same number of axes."
        )
    shape = tuple([at.shape[j] if j == k else n for j, n in enumerate(x.shape)])
    at = broadcast_to(_placed("put_along_axis", at, x.shape[k], mode), shape)
    grid = np.indices(shape, sparse=True)
    index = tuple([at if j == k else g for j, g in enumerate(grid)])
    return x.at[index].set(broadcast_to(cast(values, dtype_and_weakness(x)[0], name="put_along_axis"), shape))


def place(arr: ArrayLike, mask: ArrayLike, vals: ArrayLike, *, inplace: bool = True) -> Array:
    """A new array with ``vals``, one after the other and from the first again, where ``mask`` holds.

    >>> import graphad.numpy as gnp
    >>> x = gnp.arange(4)
    >>> gnp.place(x, x > 1, gnp.array([7, 8]), inplace=False)
    Array([0, 1, 7, 8], dtype=int32)
    """
    _refuse("place", inplace, "where(mask, values, x)")
    x = as_operand(arr, "place")
    values = ravel(cast(vals, dtype_and_weakness(x)[0], name="place"))
    chosen = not_equal(as_operand(mask, "place"), 0)
    if chosen.shape != x.shape or not values.size:
        raise ValueError(
            f"{source.where()}place got {shape_text(x)}, a mask {shape_text(chosen)} and {values.size} values: "
            "the mask must have the shape of the array, and there must be a value."
        )
    nth = remainder(cumsum(ravel(chosen)) - 1, values.size)
    return reshape(where(ravel(chosen), values[nth], ravel(x)), x.shape)


def fill_diagonal(a: ArrayLike, val: ArrayLike, wrap: bool = False, *, inplace: bool = True) -> Array:
    """A new array with ``val``, repeated as needed, on the main diagonal; with ``wrap`` again behind the end of it.

    >>> import graphad.numpy as gnp
    >>> gnp.fill_diagonal(gnp.zeros((2, 2)), 5, inplace=False)
    Array([[5., 0.],
           [0., 5.]], dtype=float32)
    """
    _refuse("fill_diagonal", inplace, "x.at[i, i].set(v)")
    x = as_operand(a, "fill_diagonal")
    if x.ndim < 2 or (x.ndim > 2 and len(set(x.shape)) > 1):
        raise ValueError(f"{source.where()}fill_diagonal got {shape_text(x)}: a matrix, or more axes of one size.")
    step = x.shape[1] + 1 if x.ndim == 2 else sum([x.shape[0] ** k for k in range(x.ndim)])
    end = x.size if wrap or x.ndim > 2 else min(x.size, x.shape[1] * x.shape[1])
    return put(x, np.arange(0, end, step), val, inplace=False)


def _refuse(name: str, inplace: bool, instead: str) -> None:
    if inplace:
        raise ValueError(
            f"{source.where()}{name} writes into its array, and arrays do not change. Write "
            f"x = {name}(x, ..., inplace=False), or {instead}."
        )


def _placed(name: str, at: Any, n: int, mode: str | None) -> Any:
    """``at`` such that writing at it does what ``mode`` says."""
    if mode in (None, "drop", "fill", "promise_in_bounds"):
        return at
    if mode == "clip":
        return clip(at, 0, n - 1)
    if mode == "wrap":
        return remainder(at, n)
    raise ValueError(f"{source.where()}{name} got mode={mode!r}; it takes None, 'clip' and 'wrap'.")


# ---------------------------------------------------------------------------------------------------------------------
# Choices


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


def nonzero(a: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> tuple[Array, ...]:
    """The indices of the elements that are not zero, an array for each axis.

    How many there are depends on values. Of a traced array, ``size`` says how many to give: those beyond are left out,
    and missing ones are ``fill_value``, by default 0.

    >>> import graphad.numpy as gnp
    >>> gnp.nonzero(gnp.array([5, 0, 7]))
    (Array([0, 2], dtype=int32),)
    >>> gnp.nonzero(gnp.array([5, 0, 7]), size=3, fill_value=-1)
    (Array([ 0,  2, -1], dtype=int32),)
    """
    x = as_operand(a, "nonzero")
    if not x.ndim:
        raise ValueError(f"{source.where()}nonzero got a scalar; write atleast_1d(x) first.")
    if size is None:
        found = np.nonzero(_known("nonzero", x))
        return tuple([Array(i.astype(default_int().numpy)) for i in found])
    reached = cumsum(ravel(not_equal(x, 0)))
    wanted = np.arange(1, size + 1)
    flat = searchsorted(reached, wanted)
    there = flat < x.size
    fills = fill_value if isinstance(fill_value, (tuple, list)) else [0 if fill_value is None else fill_value] * x.ndim
    results: list[Any] = []
    for n, fill in zip(reversed(x.shape), reversed(fills), strict=True):
        results.append(where(there, remainder(flat, max(n, 1)), cast(fill, default_int())))
        flat = flat // max(n, 1)
    return tuple(reversed(results))


def flatnonzero(a: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The positions in the flattened array of the elements that are not zero; ``size`` as for `nonzero`.

    >>> import graphad.numpy as gnp
    >>> gnp.flatnonzero(gnp.array([5, 0, 7]))
    Array([0, 2], dtype=int32)
    """
    return nonzero(ravel(as_operand(a, "flatnonzero")), size=size, fill_value=fill_value)[0]


def argwhere(a: ArrayLike, *, size: int | None = None, fill_value: ArrayLike | None = None) -> Array:
    """The indices of the elements that are not zero, each as a row; ``size`` as for `nonzero`.

    >>> import graphad.numpy as gnp
    >>> gnp.argwhere(gnp.array([5, 0, 7]))
    Array([[0],
           [2]], dtype=int32)
    """
    return stack(nonzero(a, size=size, fill_value=fill_value), 1)


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
    if held.shape[0] > n and size is None and np.asarray(_known("compress", held))[n:].any():
        raise ValueError(f"{source.where()}compress got a condition of {held.shape[0]} for an axis of {n}.")
    at = flatnonzero(held[:n], size=size, fill_value=n)
    rows = moveaxis(x, k, 0)
    if size is None:
        return moveaxis(rows[at], 0, k)
    inside = reshape(at < n, (-1,) + (1,) * (rows.ndim - 1))
    return moveaxis(where(inside, rows[at], cast(fill_value, dtype_and_weakness(x)[0])), 0, k)


def _known(name: str, x: Any) -> Any:
    if isinstance(x, Tracer):
        raise TypeError(
            f"{source.where()}{name} of a traced array has a shape that depends on values. Give size=, or use "
            "graphad.numpy.where with the mask."
        )
    return np.asarray(x)
