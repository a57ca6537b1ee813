"""Matrices that are made of the elements of arrays. Axes in front of those that are named are batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike
from graphad.scipy.linalg._sizes import size
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_number, as_operand, broadcast_shapes, shape_text
from graphad.trace.source import where

# ---------------------------------------------------------------------------------------------------------------------
# Matrices of one array


def block_diag(*arrs: ArrayLike) -> Array:
    """Matrices along the diagonal of a matrix, zeros elsewhere.

    Vectors are matrices of one row, and numbers of one element.

    >>> import graphad.numpy as gnp
    >>> block_diag(gnp.ones((1, 2)), 3.0)
    Array([[1., 1., 0.],
           [0., 0., 3.]], dtype=float32)
    """
    blocks: list[Any] = [gnp.atleast_2d(as_operand(x, "block_diag")) for x in arrs]
    if not blocks:
        return gnp.zeros((1, 0))
    batch = broadcast_shapes([x.shape[:-2] for x in blocks], "block_diag")
    columns = sum([x.shape[-1] for x in blocks])
    rows: list[Any] = []
    before = 0
    for x in blocks:
        width = x.shape[-1]
        sides = [*[(0, 0)] * (x.ndim - 1), (before, columns - width - before)]
        rows.append(gnp.broadcast_to(gnp.pad(x, sides), (*batch, x.shape[-2], columns)))
        before += width
    return gnp.concatenate(rows, axis=-2)


def toeplitz(c: ArrayLike, r: ArrayLike | None = None) -> Array:
    """The matrix with constant diagonals whose first column and first row are given.

    Parameters
    ----------
    c
        The first column, along the last axis.
    r
        The first row, along the last axis; its first element does not count. By default it is ``c``.

    >>> import graphad.numpy as gnp
    >>> toeplitz(gnp.array([1, 2, 3]), gnp.array([0, 5, 6]))
    Array([[1, 5, 6],
           [2, 1, 5],
           [3, 2, 1]], dtype=int32)
    """
    column = gnp.atleast_1d(as_operand(c, "toeplitz"))
    row = column if r is None else gnp.atleast_1d(as_operand(r, "toeplitz"))
    n, m = column.shape[-1], row.shape[-1]
    if not n or not m:
        return _empty("toeplitz", column, row)
    return _joined("toeplitz", column[..., ::-1], row[..., 1:])[..., n - 1 - _down(n) + _across(m)]


def hankel(c: ArrayLike, r: ArrayLike | None = None) -> Array:
    """The matrix with constant antidiagonals whose first column and last row are given.

    Parameters
    ----------
    c
        The first column, along the last axis.
    r
        The last row, along the last axis; its first element does not count. By default it is zeros, as many as ``c``
        has elements.

    >>> import graphad.numpy as gnp
    >>> hankel(gnp.array([1, 2, 3]), gnp.array([0, 5, 6]))
    Array([[1, 2, 3],
           [2, 3, 5],
           [3, 5, 6]], dtype=int32)
    """
    column = _vectors("hankel", c)
    row = gnp.zeros_like(column) if r is None else _vectors("hankel", r)
    n, m = column.shape[-1], row.shape[-1]
    if not n or not m:
        return _empty("hankel", column, row)
    return _joined("hankel", column, row[..., 1:])[..., _down(n) + _across(m)]


def circulant(c: ArrayLike) -> Array:
    """The square matrix whose first column is given, and each further one is that before it, turned round by one.

    >>> import graphad.numpy as gnp
    >>> circulant(gnp.array([1, 2, 3]))
    Array([[1, 3, 2],
           [2, 1, 3],
           [3, 2, 1]], dtype=int32)
    """
    column = gnp.atleast_1d(as_operand(c, "circulant"))
    n = column.shape[-1]
    return column[..., (_down(n) - _across(n)) % max(n, 1)]


def fiedler(a: ArrayLike) -> Array:
    """The symmetric matrix of the distances between the elements of an array.

    >>> import graphad.numpy as gnp
    >>> fiedler(gnp.array([1, 4, 9]))
    Array([[0, 3, 8],
           [3, 0, 5],
           [8, 5, 0]], dtype=int32)
    """
    values = gnp.atleast_1d(as_number(a, "fiedler"))
    return gnp.abs(values[..., :, None] - values[..., None, :])


def convolution_matrix(a: ArrayLike, n: int, mode: str = "full") -> Array:
    """The matrix that convolves an array with vectors of ``n`` elements: ``convolution_matrix(a, n) @ v``.

    Parameters
    ----------
    a
        The array, along the last axis.
    mode
        As that of `graphad.numpy.convolve`: ``"full"``, ``"same"`` or ``"valid"``.

    >>> import graphad.numpy as gnp
    >>> convolution_matrix(gnp.array([-1, 4, -2]), 3, mode="same")
    Array([[ 4, -1,  0],
           [-2,  4, -1],
           [ 0, -2,  4]], dtype=int32)
    """
    values, n = _vectors("convolution_matrix", a), size("convolution_matrix", n, 1)
    m = values.shape[-1]
    if not m:
        raise ValueError(f"{where()}convolution_matrix takes at least one element, got {shape_text(values)}.")
    fewer = min(m, n) - 1
    cut = {"full": (0, 0), "same": (fewer // 2, fewer - fewer // 2), "valid": (fewer, fewer)}.get(mode)
    if cut is None:
        raise ValueError(f"{where()}convolution_matrix got mode={mode!r}; it takes 'full', 'same' and 'valid'.")
    lag = (_down(m + n - 1) - _across(n))[cut[0] : m + n - 1 - cut[1]]
    return gnp.where((lag >= 0) & (lag < m), values[..., np.clip(lag, 0, m - 1)], _number_like(values, 0))


# ---------------------------------------------------------------------------------------------------------------------
# Matrices of polynomials and populations


def companion(a: ArrayLike) -> Array:
    """The matrix whose eigenvalues are the roots of a polynomial, given by its coefficients from the highest down.

    Parameters
    ----------
    a
        The coefficients, along the last axis: at least two. They are divided by the first, which must not be 0.

    >>> import graphad.numpy as gnp
    >>> companion(gnp.array([2.0, -20.0, 62.0, -60.0]))
    Array([[ 10., -31.,  30.],
           [  1.,   0.,   0.],
           [  0.,   1.,   0.]], dtype=float32)
    """
    values = gnp.atleast_1d(as_float(a, "companion"))
    n = values.shape[-1] - 1
    if n < 1:
        raise ValueError(f"{where()}companion takes two coefficients or more, got {shape_text(values)}.")
    first_row = -values[..., 1:] / values[..., :1]
    return gnp.where(_down(n) == 0, first_row[..., None, :], _ones(values, _down(n) == _across(n) + 1))


def fiedler_companion(a: ArrayLike) -> Array:
    """A matrix with five diagonals whose eigenvalues are the roots of a polynomial.

    Parameters
    ----------
    a
        The coefficients from the highest down, along the last axis. They are divided by the first, which must not be
        0.

    References
    ----------
    M. Fiedler, A note on companion matrices, Linear Algebra and its Applications 372, 2003.

    >>> import graphad.numpy as gnp
    >>> fiedler_companion(gnp.array([1.0, -16.0, 86.0, -176.0, 105.0]))
    Array([[  16.,  -86.,    1.,    0.],
           [   1.,    0.,    0.,    0.],
           [   0.,  176.,    0., -105.],
           [   0.,    1.,    0.,    0.]], dtype=float32)
    """
    values = gnp.atleast_1d(as_float(a, "fiedler_companion"))
    n = values.shape[-1] - 1
    if n < 0:
        raise ValueError(f"{where()}fiedler_companion takes at least one coefficient, got {shape_text(values)}.")
    i, j = np.broadcast_arrays(_down(n), _across(n))
    even = i % 2 == 0
    # Rows of even number have a coefficient on either side of the diagonal, and the first one on it.
    which = np.where(even & (j == i + 1), i + 2, np.where(even & (j == i - 1), i + 1, (i == 0) & (j == 0)))
    one = np.where(even, j == i + 2, j == np.maximum(i - 2, 0))
    return gnp.where(which > 0, (-values / values[..., :1])[..., which], _ones(values, one))


def leslie(f: ArrayLike, s: ArrayLike) -> Array:
    """The matrix by which a population, counted by ages, grows: how many each age gives birth to, and how many survive.

    Parameters
    ----------
    f
        The birth rates, along the last axis: the first row.
    s
        The rates of survival, one less: they stand below the diagonal.

    >>> import graphad.numpy as gnp
    >>> leslie(gnp.array([0.5, 2.0, 1.0]), gnp.array([0.25, 0.75]))
    Array([[0.5 , 2.  , 1.  ],
           [0.25, 0.  , 0.  ],
           [0.  , 0.75, 0.  ]], dtype=float32)
    """
    births, survival = gnp.atleast_1d(as_operand(f, "leslie")), gnp.atleast_1d(as_operand(s, "leslie"))
    n = births.shape[-1]
    if n < 2 or survival.shape[-1] != n - 1:
        raise ValueError(
            f"{where()}leslie got {shape_text(births)} and {shape_text(survival)}: it takes two birth rates or more, "
            "and one rate of survival less."
        )
    columns = gnp.pad(survival, [*[(0, 0)] * (survival.ndim - 1), (0, 1)])[..., None, :]
    below = gnp.where(_down(n) == _across(n) + 1, columns, _number_like(survival, 0))
    return gnp.where(_down(n) == 0, births[..., None, :], below)


# ---------------------------------------------------------------------------------------------------------------------
# Parts


def _down(n: int) -> np.ndarray[Any, Any]:
    """The numbers of ``n`` rows, as a column."""
    return np.arange(n)[:, None]


def _across(n: int) -> np.ndarray[Any, Any]:
    """The numbers of ``n`` columns, as a row."""
    return np.arange(n)[None, :]


def _number_like(x: Any, value: int) -> Any:
    """A number in the dtype of ``x``."""
    return x.dtype.type(value)


def _ones(x: Any, mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ones in the dtype of ``x`` where the mask is true, zeros elsewhere."""
    return mask.astype(x.dtype)


def _vectors(name: str, x: ArrayLike) -> Any:
    found = as_operand(x, name)
    if not found.ndim:
        raise ValueError(f"{where()}{name} takes arrays of at least one axis, got {shape_text(found)}.")
    return found


def _joined(name: str, x: Any, y: Any) -> Any:
    """Two arrays one behind the other along their last axes, the axes in front broadcast."""
    batch = broadcast_shapes([x.shape[:-1], y.shape[:-1]], name)
    return gnp.concatenate([gnp.broadcast_to(v, (*batch, v.shape[-1])) for v in (x, y)], axis=-1)


def _empty(name: str, column: Any, row: Any) -> Array:
    """The matrix of a first column and a row of which one has no elements."""
    batch = broadcast_shapes([column.shape[:-1], row.shape[:-1]], name)
    return gnp.zeros((*batch, column.shape[-1], row.shape[-1]), gnp.result_type(column, row))
