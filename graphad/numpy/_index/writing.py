"""NumPy's functions that write into an array, as functions that give a new one."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.numpy._elementwise.arithmetic import remainder
from graphad.numpy._elementwise.comparison import not_equal
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import where
from graphad.numpy._reduce.cumulative import cumsum
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import ravel, reshape
from graphad.numpy._shape.resizing import resize
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_axis, cast, dtype_and_weakness, shape_text


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
