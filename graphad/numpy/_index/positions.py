"""Indices: where elements are that are not 0, of triangles, diagonals and grids, one for several axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.numpy._elementwise.arithmetic import floor_divide, remainder
from graphad.numpy._elementwise.comparison import not_equal
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import where
from graphad.numpy._reduce.cumulative import cumsum
from graphad.numpy._shape.joining import stack
from graphad.numpy._shape.reshaping import ravel, reshape
from graphad.numpy._sort.searching import searchsorted
from graphad.numpy._typing import ArrayLike, Shape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, canonical_shape, cast, default_int, dtype_and_weakness, shape_text
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Where elements are not 0


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
        found = np.nonzero(known("nonzero", x))
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


def known(name: str, x: Any) -> Any:
    if isinstance(x, Tracer):
        raise TypeError(
            f"{source.where()}{name} of a traced array has a shape that depends on values. Give size=, or use "
            "graphad.numpy.where with the mask."
        )
    return np.asarray(x)


# ---------------------------------------------------------------------------------------------------------------------
# Of triangles, diagonals and grids


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The rows and columns of the elements of an ``n`` by ``m`` matrix on its ``k``-th diagonal and below.

    >>> import graphad.numpy as gnp
    >>> gnp.tril_indices(2)
    (Array([0, 1, 1], dtype=int32), Array([0, 0, 1], dtype=int32))
    """
    rows, columns = np.tril_indices(n, k, m)
    return _indices(rows), _indices(columns)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The rows and columns of the elements of an ``n`` by ``m`` matrix on its ``k``-th diagonal and above.

    >>> import graphad.numpy as gnp
    >>> gnp.triu_indices(2)
    (Array([0, 0, 1], dtype=int32), Array([0, 1, 1], dtype=int32))
    """
    rows, columns = np.triu_indices(n, k, m)
    return _indices(rows), _indices(columns)


def tril_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Array, Array]:
    """`tril_indices` for the shape of a matrix.

    >>> import graphad.numpy as gnp
    >>> gnp.tril_indices_from(gnp.ones((1, 2)))
    (Array([0], dtype=int32), Array([0], dtype=int32))
    """
    rows, columns = _matrix("tril_indices_from", arr)
    return tril_indices(rows, k, columns)


def triu_indices_from(arr: ArrayLike, k: int = 0) -> tuple[Array, Array]:
    """`triu_indices` for the shape of a matrix.

    >>> import graphad.numpy as gnp
    >>> gnp.triu_indices_from(gnp.ones((1, 2)))
    (Array([0, 0], dtype=int32), Array([0, 1], dtype=int32))
    """
    rows, columns = _matrix("triu_indices_from", arr)
    return triu_indices(rows, k, columns)


def _matrix(name: str, x: ArrayLike) -> tuple[int, int]:
    operand = as_operand(x, name)
    if operand.ndim != 2:
        raise ValueError(f"{source.where()}{name} takes a matrix, got {shape_text(operand)}.")
    return operand.shape[0], operand.shape[1]


def mask_indices(n: int, mask_func: Callable[[Any, Any], Any], k: Any = 0) -> tuple[Array, Array]:
    """The rows and columns of an ``n`` by ``n`` matrix of ones that ``mask_func`` leaves.

    >>> import graphad.numpy as gnp
    >>> gnp.mask_indices(2, gnp.tril)
    (Array([0, 1, 1], dtype=int32), Array([0, 0, 1], dtype=int32))
    """
    rows, columns = np.nonzero(np.asarray(mask_func(Array(np.ones((n, n), np.float32)), k)))
    return _indices(rows), _indices(columns)


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """The indices of the main diagonal of an array with ``ndim`` axes of size ``n``.

    >>> import graphad.numpy as gnp
    >>> gnp.diag_indices(2)
    (Array([0, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    if n < 0 or ndim < 0:
        raise ValueError(f"{source.where()}diag_indices got n={n} and ndim={ndim}; both are at least 0.")
    return (_indices(np.arange(n)),) * ndim


def diag_indices_from(arr: ArrayLike) -> tuple[Array, ...]:
    """`diag_indices` for an array, whose axes are of one size.

    >>> import graphad.numpy as gnp
    >>> gnp.diag_indices_from(gnp.ones((2, 2)))
    (Array([0, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    x = as_operand(arr, "diag_indices_from")
    if x.ndim < 2 or len(set(x.shape)) > 1:
        raise ValueError(f"{source.where()}diag_indices_from got {shape_text(x)}: it takes 2 or more axes of one size.")
    return diag_indices(x.shape[0], x.ndim)


def _indices(x: Any) -> Array:
    """Indices that NumPy counted out, in the default integer type."""
    return Array(np.asarray(x).astype(default_int().numpy))


def ix_(*args: ArrayLike) -> tuple[Array, ...]:
    """Index arrays that choose rows and columns crosswise: ``x[ix_(rows, columns)]``.

    >>> import graphad.numpy as gnp
    >>> gnp.arange(9).reshape(3, 3)[gnp.ix_(gnp.array([0, 2]), gnp.array([1]))]
    Array([[1],
           [7]], dtype=int32)
    """
    found: list[Any] = []
    for k, given in enumerate(args):
        x = as_operand(given, "ix_")
        if x.ndim != 1:
            raise ValueError(f"{source.where()}ix_ takes arrays of one axis, got {shape_text(x)}.")
        if x.dtype == bool:
            x = _indices(np.flatnonzero(_known_mask(x, "ix_ with a mask")))
        found.append(reshape(x, (1,) * k + x.shape + (1,) * (len(args) - k - 1)))
    return tuple(found)


def _known_mask(x: Any, what: str) -> Any:
    if isinstance(x, Tracer):
        raise TypeError(f"{source.where()}{what} needs values, which a traced array has not: give indices instead.")
    return np.asarray(x)


s_ = np.s_
index_exp = np.index_exp


# ---------------------------------------------------------------------------------------------------------------------
# One number for several indices


def unravel_index(indices: ArrayLike, shape: Shape) -> tuple[Array, ...]:
    """The indices along each axis of the elements at ``indices`` of the flattened array; out of range, the nearest.

    >>> import graphad.numpy as gnp
    >>> gnp.unravel_index(5, (2, 3))
    (Array(1, dtype=int32, weak_type=True), Array(2, dtype=int32, weak_type=True))
    """
    sizes = canonical_shape(shape, "unravel_index")
    flat = _positions(indices, "unravel_index")
    total = int(np.prod(sizes))
    flat = clip(where(flat < 0, flat + total, flat), 0, total - 1)
    found: list[Any] = []
    for n in reversed(sizes):
        found.append(remainder(flat, n))
        flat = floor_divide(flat, n)
    return tuple(reversed(found))


def ravel_multi_index(
    multi_index: Sequence[ArrayLike], dims: Sequence[int], mode: str = "clip", order: str = "C"
) -> Array:
    """The positions in the flattened array of elements at given indices along each axis: `unravel_index` in reverse.

    Indices out of range are brought to the nearest (``clip``) or counted on from the other end (``wrap``).

    >>> import graphad.numpy as gnp
    >>> gnp.ravel_multi_index((gnp.array([1, 0]), gnp.array([2, 1])), (2, 3))
    Array([5, 1], dtype=int32)
    """
    sizes = canonical_shape(dims, "ravel_multi_index")
    if len(multi_index) != len(sizes):
        raise ValueError(f"{source.where()}ravel_multi_index got {len(multi_index)} indices for {len(sizes)} axes.")
    if mode not in ("clip", "wrap") or order not in ("C", "F"):
        raise ValueError(
            f"{source.where()}ravel_multi_index got mode={mode!r}, order={order!r}; "
            "it takes 'clip' and 'wrap', which need no values, and 'C' and 'F'."
        )
    flat: Any = 0
    axes = range(len(sizes)) if order == "C" else reversed(range(len(sizes)))
    for k in axes:
        n = sizes[k]
        i = _positions(multi_index[k], "ravel_multi_index")
        flat = flat * n + (clip(i, 0, n - 1) if mode == "clip" else remainder(i, n))
    return flat


def _positions(x: ArrayLike, name: str) -> Any:
    i = as_operand(x, name)
    dtype, _ = dtype_and_weakness(i)
    if not (dtype.is_integer or dtype.kind == "b"):
        raise TypeError(f"{source.where()}{name} takes integers, got {shape_text(i)}. Convert them: .astype(int)")
    return i
