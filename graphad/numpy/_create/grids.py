"""Coordinates of grids, and arrays written as slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.numpy._create.ranges import arange, linspace
from graphad.numpy._shape.broadcasting import broadcast_arrays
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import atleast_1d, reshape
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import beside, canonical_dtype, canonical_shape, cast, default_int, result_type


def meshgrid(*xs: ArrayLike, sparse: bool = False, indexing: str = "xy") -> list[Array]:
    """Coordinates of a grid: one array per axis, each varying along its own axis only.

    >>> import graphad.numpy as gnp
    >>> x, y = gnp.meshgrid(gnp.arange(2), gnp.arange(3))
    >>> x.shape, y[:, 0]
    ((3, 2), Array([0, 1, 2], dtype=int32))
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"{source.where()}meshgrid got indexing={indexing!r}; it takes 'xy' and 'ij'.")
    arrays = [atleast_1d(x) for x in xs]
    if any([x.ndim > 1 for x in arrays]):
        raise ValueError(f"{source.where()}meshgrid takes arrays of one axis, got shapes {[x.shape for x in arrays]}.")
    order = list(range(len(arrays)))
    if indexing == "xy" and len(arrays) > 1:
        order[0], order[1] = 1, 0
    grids = [reshape(x, tuple([x.size if a == k else 1 for a in order])) for k, x in enumerate(arrays)]
    return grids if sparse else broadcast_arrays(*grids)


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
