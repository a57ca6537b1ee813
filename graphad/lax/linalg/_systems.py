"""Systems of equations whose matrices need no factorization, and the order in which pivots leave rows."""

from __future__ import annotations

import operator
from typing import Any

from graphad import numpy as gnp
from graphad.lax._control_flow import fori_loop
from graphad.lax.linalg._operands import check_one_dtype, floats, matrices
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.triangular_solve import triangular_solve as triangular_solve_primitive
from graphad.primitives.linalg.tridiagonal_solve import tridiagonal_solve as tridiagonal_solve_primitive
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, shape_text


def triangular_solve(
    a: ArrayLike,
    b: ArrayLike,
    *,
    left_side: bool = False,
    lower: bool = False,
    transpose_a: bool = False,
    conjugate_a: bool = False,
    unit_diagonal: bool = False,
) -> Array:
    """The ``x`` with ``x @ a == b``, or ``a @ x == b``, where ``a`` is a triangle.

    Parameters
    ----------
    a
        Matrices, ``(..., n, n)``, of which one triangle is read.
    b
        Right sides, ``(..., m, n)``, or ``(..., n, m)`` with ``left_side``; or one vector a matrix, ``(..., n)``.
    left_side
        The matrix is on the left of ``x``.
    lower
        The lower triangle is read, not the upper one.
    transpose_a
        The transposes of the triangles instead of them.
    conjugate_a
        No meaning for real matrices.
    unit_diagonal
        Take the diagonal for ones, and do not read it.

    Returns
    -------
    Array
        Of the shape of ``b``; a zero on the diagonal gives infinities or nan.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> triangular_solve(gnp.array([[2.0, 0.0], [1.0, 4.0]]), gnp.array([[2.0], [9.0]]), left_side=True, lower=True)
    Array([[1.],
           [2.]], dtype=float32)
    """
    del conjugate_a
    name = "triangular_solve"
    x, right = matrices(name, a, square=True), floats(name, b)
    check_one_dtype(name, x, right)
    vectors = right.ndim == x.ndim - 1
    if vectors:
        right = right[..., None] if left_side else right[..., None, :]
    side = -2 if left_side else -1
    if right.ndim != x.ndim or right.shape[:-2] != x.shape[:-2] or right.shape[side] != x.shape[-1]:
        wanted = (*x.shape[:-2], *((x.shape[-1], "m") if left_side else ("m", x.shape[-1])))
        raise ValueError(
            f"{source.where()}lax.linalg.triangular_solve got matrices {shape_text(x)} and right sides of shape "
            f"{gnp.shape(b)}; with left_side={bool(left_side)} these must be ({', '.join(map(str, wanted))}), or one "
            "vector a matrix."
        )
    found = triangular_solve_primitive(
        x, right, left=bool(left_side), lower=bool(lower), transposed=bool(transpose_a), unit=bool(unit_diagonal)
    )
    if not vectors:
        return found
    return found[..., 0] if left_side else found[..., 0, :]


def tridiagonal_solve(
    dl: ArrayLike, d: ArrayLike, du: ArrayLike, b: ArrayLike, *, perturb_singular: bool = False
) -> Array:
    """The ``x`` with ``a @ x == b``, where ``a`` has a diagonal and what is beside it, and zeros elsewhere.

    Parameters
    ----------
    dl
        What is left of the diagonal in each row, ``(..., n)``: ``dl[i] == a[i, i - 1]``; the first one is not used.
    d
        The diagonal, ``(..., n)``.
    du
        What is right of the diagonal in each row, ``(..., n)``: ``du[i] == a[i, i + 1]``; the last one is not used.
    b
        Right sides, ``(..., n, k)``.
    perturb_singular
        Not there: a singular matrix gives nan.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> tridiagonal_solve(gnp.array([0.0, 1.0]), gnp.array([2.0, 4.0]), gnp.zeros(2), gnp.array([[2.0], [9.0]]))
    Array([[1.],
           [2.]], dtype=float32)
    """
    name = "tridiagonal_solve"
    if perturb_singular:
        raise ValueError(f"{source.where()}lax.linalg.{name} changes no matrix. Leave out perturb_singular=True.")
    right = matrices(name, b)
    diagonals = [floats(name, x) for x in (dl, d, du)]
    check_one_dtype(name, right, *diagonals)
    for which, x in zip(("dl", "d", "du"), diagonals, strict=True):
        if x.shape != right.shape[:-1]:
            raise ValueError(
                f"{source.where()}lax.linalg.{name} got {shape_text(x)} as {which} and right sides "
                f"{shape_text(right)}; {which} must have the shape {right.shape[:-1]}."
            )
    return tridiagonal_solve_primitive(*diagonals, right)


def lu_pivots_to_permutation(pivots: ArrayLike, permutation_size: int) -> Array:
    """The order in which rows are after row ``k`` has changed places with row ``pivots[k]``, one after the other.

    Parameters
    ----------
    pivots
        Integers, ``(..., k)``, as `lu` gives them.
    permutation_size
        The number of rows, ``k`` or more.

    Returns
    -------
    Array
        Of int32, ``(..., permutation_size)``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> lu_pivots_to_permutation(gnp.array([2, 2, 2]), 4)
    Array([2, 0, 1, 3], dtype=int32)
    """
    swaps: Any = as_operand(pivots, "lax.linalg.lu_pivots_to_permutation")
    size = operator.index(permutation_size)
    if swaps.dtype.kind not in "iu" or not swaps.ndim:
        raise TypeError(
            f"{source.where()}lax.linalg.lu_pivots_to_permutation takes integers (..., k), not {shape_text(swaps)}."
        )
    if size < swaps.shape[-1]:
        raise ValueError(
            f"{source.where()}lax.linalg.lu_pivots_to_permutation got {swaps.shape[-1]} pivots and "
            f"permutation_size={size}; it must be as many or more."
        )
    places = gnp.arange(size, dtype="int32")

    def exchanged(k: Any, order: Any) -> Any:
        other = swaps[..., k][..., None]
        mine, theirs = order[..., k][..., None], gnp.take_along_axis(order, other, -1)
        return gnp.where(places == k, theirs, gnp.where(places == other, mine, order))

    start = gnp.broadcast_to(places, (*swaps.shape[:-1], size))
    return fori_loop(0, swaps.shape[-1], exchanged, start) if swaps.size else start
