"""Matrices with few diagonals, under SciPy's names. Arguments that say what SciPy may overwrite have no meaning."""

from __future__ import annotations

import operator
from typing import Any

from graphad import numpy as gnp
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.banded_solve import banded_solve
from graphad.primitives.linalg.eigh_tridiagonal import eigh_tridiagonal as eigh_tridiagonal_primitive
from graphad.primitives.linalg.tridiagonal_solve import tridiagonal_solve
from graphad.scipy.linalg._operands import checked_option
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import results_alone
from graphad.trace.semantics import as_floats, broadcast_shapes, shape_text


def solve_banded(
    l_and_u: tuple[int, int],
    ab: ArrayLike,
    b: ArrayLike,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """The ``x`` with ``a @ x == b``, where ``a`` has few diagonals.

    Time and memory are proportional to the number of elements of ``ab``, those of derivatives too.

    Parameters
    ----------
    l_and_u
        The numbers of diagonals below the main one and above, ``l`` and ``u``.
    ab
        The diagonals, as rows, the highest first: ``(..., l + u + 1, n)``, with ``ab[u + i - j, j] == a[i, j]``. The
        corners outside of the matrix are not read. Where a matrix is singular, the result is nan.
    b
        One vector, ``(n,)``, or columns, ``(..., n, k)``.

    Returns
    -------
    Array
        Of the shape of ``b``, with the leading axes of both.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> ab = gnp.array([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    >>> solve_banded((0, 1), ab, gnp.array([3.0, 3.0, 2.0]))
    Array([1., 1., 1.], dtype=float32)
    """
    del overwrite_ab, overwrite_b, check_finite
    try:
        low, high = (operator.index(n) for n in l_and_u)
    except (TypeError, ValueError):
        raise TypeError(
            f"{source.where()}solve_banded takes the numbers of diagonals below and above the main one, "
            f"not {l_and_u!r}."
        ) from None
    return _solve_banded(ab, b, low, high)


@in_float32
def _solve_banded(ab: ArrayLike, b: ArrayLike, low: int, high: int) -> Array:
    if low < 0 or high < 0:
        raise ValueError(f"{source.where()}solve_banded got ({low}, {high}) diagonals; there are none less than 0.")
    bands, right, is_vector = _system("solve_banded", ab, b, low + high + 1)
    found = _solved(bands, right, low, high)
    return found[..., 0] if is_vector else found


def _solved(bands: Array, b: Array, low: int, high: int) -> Array:
    if low == high == 1:
        above, on, below = (bands[..., k, :] for k in range(3))
        return tridiagonal_solve(gnp.roll(below, 1, -1), on, gnp.roll(above, -1, -1), b)
    return banded_solve(bands, b, low=low, high=high, transposed=False)


@in_float32
def solveh_banded(
    ab: ArrayLike,
    b: ArrayLike,
    overwrite_ab: bool = False,
    overwrite_b: bool = False,
    lower: bool = False,
    check_finite: bool = True,
) -> Array:
    """The ``x`` with ``a @ x == b``, where ``a`` is symmetric and has few diagonals.

    It need not be positive definite: it is solved as by `solve_banded`.

    Parameters
    ----------
    ab
        The main diagonal and the ``u`` above, as rows, the highest first: ``(..., u + 1, n)``, with
        ``ab[u + i - j, j] == a[i, j]``. The corner outside of the matrix is not read.
    b
        One vector, ``(n,)``, or columns, ``(..., n, k)``.
    lower
        The rows of ``ab`` are the main diagonal and the ``u`` below, downwards: ``ab[i - j, j] == a[i, j]``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> ab = gnp.array([[4.0, 5.0, 1.0], [2.0, 1.0, 0.0]])
    >>> solveh_banded(ab, gnp.array([6.0, 8.0, 2.0]), lower=True)
    Array([1., 1., 1.], dtype=float32)
    """
    del overwrite_ab, overwrite_b, check_finite
    half = gnp.shape(ab)[-2] - 1 if gnp.ndim(ab) > 1 else 0
    bands, right, is_vector = _system("solveh_banded", ab, b, half + 1)
    n = bands.shape[-1]
    rows = [bands[..., k if lower else half - k, :] for k in range(half + 1)]
    zeros = [gnp.zeros_like(rows[0][..., : min(k, n)]) for k in range(half + 1)]
    if lower:
        above = [gnp.concatenate([zeros[k], rows[k][..., : max(n - k, 0)]], -1) for k in range(half, 0, -1)]
        whole = [*above, *rows]
    else:
        below = [gnp.concatenate([rows[k][..., min(k, n) :], zeros[k]], -1) for k in range(1, half + 1)]
        whole = [*rows[::-1], *below]
    found = _solved(gnp.stack(whole, axis=-2), right, half, half)
    return found[..., 0] if is_vector else found


def _system(name: str, ab: ArrayLike, b: ArrayLike, width: int) -> tuple[Any, Any, bool]:
    """Bands of so many rows and columns with the same leading axes, and whether the right side is one vector."""
    bands, right = as_floats(name, ab, b)
    is_vector = right.ndim == 1
    columns: Any = right[:, None] if is_vector else right
    if bands.ndim < 2 or columns.ndim < 2 or bands.shape[-2] != width or bands.shape[-1] != columns.shape[-2]:
        raise ValueError(
            f"{source.where()}{name} got bands {shape_text(bands)} and a right side {shape_text(right)}; it takes "
            f"(..., {width}, n), one row for each diagonal, and (n,) or (..., n, k)."
        )
    leading = broadcast_shapes([bands.shape[:-2], columns.shape[:-2]], name)
    return *[gnp.broadcast_to(x, (*leading, *x.shape[-2:])) for x in (bands, columns)], is_vector


@in_float32
def eigh_tridiagonal(
    d: ArrayLike,
    e: ArrayLike,
    *,
    eigvals_only: bool = False,
    select: str = "a",
    select_range: tuple[int, int] | None = None,
    tol: float | None = None,
    key: Any = None,
    check_finite: bool = True,
    lapack_driver: str = "auto",
) -> Any:
    """Eigenvalues, ascending, and eigenvectors of symmetric tridiagonal matrices: ``a @ v == v * w``.

    Eigenvectors have the sign in which they point along a vector of numbers between 1 and 2. Where eigenvalues are
    equal, which needs a zero in ``e``, derivatives of eigenvectors are infinite or nan.

    Parameters
    ----------
    d
        The diagonals, ``(..., n)``.
    e
        What is below them, and above, ``(..., n - 1)``.
    eigvals_only
        Give no vectors. Where they are not needed for a derivative either, they are not computed.
    select
        'a': all eigenvalues. 'i': those from number ``select_range[0]`` to number ``select_range[1]``, which is one of
        them. Those between two numbers ('v') are not there, for how many they are depends on values.
    tol, key, check_finite, lapack_driver
        No meaning here: eigenvalues have all digits, and nan gives nan.

    Returns
    -------
    tuple[Array, Array]
        ``w`` ``(..., n)`` and ``v`` ``(..., n, n)``, with eigenvectors as columns; or the array ``w``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> eigh_tridiagonal(gnp.array([2.0, 2.0]), gnp.array([1.0]), eigvals_only=True)
    Array([1., 3.], dtype=float32)
    """
    del tol, key, check_finite, lapack_driver
    checked_option("eigh_tridiagonal", "select", select, ("a", "i"))
    diagonal, beside = as_floats("eigh_tridiagonal", d, e)
    n = diagonal.shape[-1] if diagonal.ndim else 0
    if not diagonal.ndim or not beside.ndim or beside.shape[-1] != max(n - 1, 0):
        raise ValueError(
            f"{source.where()}eigh_tridiagonal got a diagonal {shape_text(diagonal)} and {shape_text(beside)} beside "
            "it; it takes (..., n) and (..., n - 1)."
        )
    leading = broadcast_shapes([diagonal.shape[:-1], beside.shape[:-1]], "eigh_tridiagonal")
    operands = [gnp.broadcast_to(x, (*leading, x.shape[-1])) for x in (diagonal, beside)]
    start, last = _selected(select_range, n) if select == "i" else (0, n - 1)
    if eigvals_only:
        return results_alone(eigh_tridiagonal_primitive, *operands)[0][..., start : last + 1]
    v, w = eigh_tridiagonal_primitive(*operands)
    return w[..., start : last + 1], v[..., start : last + 1]


def _selected(select_range: Any, n: int) -> tuple[int, int]:
    """The numbers of the first and of the last eigenvalue."""
    try:
        start, last = (operator.index(k) for k in select_range)
    except (TypeError, ValueError):
        start, last = n, -1
    if not 0 <= start <= last < n:
        raise ValueError(
            f"{source.where()}eigh_tridiagonal got select_range={select_range!r} of {n} eigenvalues; with select='i' "
            f"it takes the numbers of the first and of the last one, 0 <= first <= last < {n}."
        )
    return start, last
