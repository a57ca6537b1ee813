"""Indices and coordinates counted out: of triangles, diagonals and grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.ir.types import f64
from graphad.numpy._arithmetic import clip, floor_divide, power, remainder
from graphad.numpy._creation import arange, linspace
from graphad.numpy._joining import concatenate
from graphad.numpy._logic import where
from graphad.numpy._math import exp, log
from graphad.numpy._shape import atleast_1d, expand_dims, meshgrid, reshape
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    beside,
    canonical_dtype,
    canonical_shape,
    cast,
    default_float,
    default_int,
    dtype_and_weakness,
    float_for,
    result_type,
    shape_text,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Triangles and diagonals


def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones on the ``k``-th diagonal and below, zeros above.

    >>> import graphad.numpy as gnp
    >>> gnp.tri(2)
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    return Array(np.tri(N, M, k, wanted.numpy))


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The rows and columns of the elements of an ``n`` by ``m`` matrix on its ``k``-th diagonal and below.

    >>> import graphad.numpy as gnp
    >>> gnp.tril_indices(2)
    (Array([0, 1, 1], dtype=int32), Array([0, 0, 1], dtype=int32))
    """
    rows, columns = np.tril_indices(n, k, m)
    return _index(rows), _index(columns)


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[Array, Array]:
    """The rows and columns of the elements of an ``n`` by ``m`` matrix on its ``k``-th diagonal and above.

    >>> import graphad.numpy as gnp
    >>> gnp.triu_indices(2)
    (Array([0, 0, 1], dtype=int32), Array([0, 1, 1], dtype=int32))
    """
    rows, columns = np.triu_indices(n, k, m)
    return _index(rows), _index(columns)


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
    return _index(rows), _index(columns)


def diag_indices(n: int, ndim: int = 2) -> tuple[Array, ...]:
    """The indices of the main diagonal of an array with ``ndim`` axes of size ``n``.

    >>> import graphad.numpy as gnp
    >>> gnp.diag_indices(2)
    (Array([0, 1], dtype=int32), Array([0, 1], dtype=int32))
    """
    if n < 0 or ndim < 0:
        raise ValueError(f"{source.where()}diag_indices got n={n} and ndim={ndim}; both are at least 0.")
    return (_index(np.arange(n)),) * ndim


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


def _index(x: Any) -> Array:
    """Indices that NumPy counted out, in the default integer type."""
    return Array(np.asarray(x).astype(default_int().numpy))


# ---------------------------------------------------------------------------------------------------------------------
# Grids


def indices(dimensions: Sequence[int], dtype: DTypeLike | None = None, sparse: bool = False) -> Any:
    """The coordinates of each element of an array of this shape, axis by axis; with ``sparse`` a tuple, unrepeated.

    >>> import graphad.numpy as gnp
    >>> gnp.indices((2, 2))
    Array([[[0, 0],
            [1, 1]],
    <BLANKLINE>
           [[0, 1],
            [0, 1]]], dtype=int32)
    """
    shape = canonical_shape(dimensions, "indices")
    wanted = (default_int() if dtype is None else canonical_dtype(dtype)).numpy
    if sparse:
        return tuple([Array(x) for x in np.indices(shape, wanted, sparse=True)])
    return Array(np.indices(shape, wanted))


def fromfunction(function: Callable[..., Any], shape: Shape, *, dtype: DTypeLike = float, **kwargs: Any) -> Any:
    """``function`` of the coordinates of each element.

    >>> import graphad.numpy as gnp
    >>> gnp.fromfunction(lambda i, j: i + j, (2, 2), dtype=int)
    Array([[0, 1],
           [1, 2]], dtype=int32)
    """
    sizes = canonical_shape(shape, "fromfunction")
    grids = indices(sizes, dtype)
    return function(*[grids[k] for k in range(len(sizes))], **kwargs)


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
            x = _index(np.flatnonzero(_known(x, "ix_ with a mask")))
        found.append(reshape(x, (1,) * k + x.shape + (1,) * (len(args) - k - 1)))
    return tuple(found)


def _known(x: Any, what: str) -> Any:
    if isinstance(x, Tracer):
        raise TypeError(f"{source.where()}{what} needs values, which a traced array has not: give indices instead.")
    return np.asarray(x)


class _Grid:
    """`mgrid` and `ogrid`: indexed with slices, whose step is a count of points if it is imaginary."""

    __slots__ = ("_sparse",)

    def __init__(self, sparse: bool) -> None:
        self._sparse = sparse

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Any:
        several = isinstance(key, tuple)
        lines = [_line(s) for s in (key if several else (key,))]
        if not several:
            return lines[0]
        dtype, _ = result_type(*lines)
        grids = meshgrid(*[cast(x, dtype) for x in lines], indexing="ij", sparse=self._sparse)
        return tuple(grids) if self._sparse else concatenate([x[None] for x in grids])


def _line(s: Any) -> Array:
    """The points of one slice."""
    if not isinstance(s, slice):
        raise TypeError(f"{source.where()}mgrid and ogrid take slices, got {s!r}. Write mgrid[0:3, 0:4].")
    start = 0 if s.start is None else s.start
    if isinstance(s.step, complex):
        return linspace(start, s.stop, int(abs(s.step)))
    return arange(start, s.stop, 1 if s.step is None else s.step)


class _Joined:
    """`r_` and `c_`: arrays, numbers and slices between brackets, put together."""

    __slots__ = ("_columns",)

    def __init__(self, columns: bool) -> None:
        self._columns = columns

    def __getitem__(self, key: Any) -> Array:
        for x in (parts := key if isinstance(key, tuple) else (key,)):
            if isinstance(x, str):
                raise TypeError(
                    f"{source.where()}r_ and c_ take no directives such as {x!r}. Write concatenate or stack."
                )
        operands = beside("r_", *[_line(x) if isinstance(x, slice) else x for x in parts])
        return concatenate([self._part(x) for x in operands], -1)

    def _part(self, x: Any) -> Any:
        found = atleast_1d(x)
        return found[:, None] if self._columns and found.ndim == 1 else found


#: ``mgrid[0:2, 0:3]`` gives the coordinates of a grid, each repeated to its whole shape.
mgrid = _Grid(sparse=False)
#: As `mgrid`, each coordinate along its own axis only.
ogrid = _Grid(sparse=True)
#: ``r_[1:4, 0, x]`` puts numbers, ranges and arrays one after the other.
r_ = _Joined(columns=False)
#: ``c_[x, y]`` puts them side by side as columns.
c_ = _Joined(columns=True)
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


# ---------------------------------------------------------------------------------------------------------------------
# Spaced by powers


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """``base`` to the power of ``num`` evenly spaced numbers.

    >>> import graphad.numpy as gnp
    >>> gnp.logspace(0.0, 2.0, 3)
    Array([  1.,  10., 100.], dtype=float32)
    """
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wanted if wanted.is_float else f64
    exponents = linspace(start, stop, num, endpoint, dtype=working, axis=axis)
    return cast(power(cast(base, working, name="logspace"), exponents), wanted)


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """``num`` numbers from ``start`` to ``stop``, of one sign, each the same factor greater than the one before.

    >>> import graphad.numpy as gnp
    >>> gnp.geomspace(1.0, 1000.0, 4).round(2)
    Array([   1.,   10.,  100., 1000.], dtype=float32)
    """
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wanted if wanted.is_float else f64
    first, last = (cast(x, working, name="geomspace") for x in (start, stop))
    sign = where(first < 0, -1.0, 1.0)
    exponents = linspace(log(first * sign), log(last * sign), num, endpoint, axis=axis)
    return cast(exp(exponents) * (expand_dims(sign, axis) if sign.ndim else sign), wanted)
