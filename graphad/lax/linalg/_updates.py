"""Products of matrices with their transposes, and what they add to a factorization."""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.lax._control_flow import scan
from graphad.lax.linalg._operands import check_one_dtype, floats, matrices
from graphad.numpy._typing import ArrayLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import shape_text


def symmetric_product(
    a_matrix: ArrayLike,
    c_matrix: ArrayLike,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    symmetrize_output: bool = False,
) -> Array:
    """``alpha * a @ a.T + beta * c``.

    Parameters
    ----------
    a_matrix
        Matrices, ``(..., m, n)``.
    c_matrix
        Symmetric matrices, ``(..., m, m)``.
    symmetrize_output
        What is above the diagonal is what is below it; else it follows from all of ``c``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> symmetric_product(gnp.array([[1.0], [2.0]]), gnp.eye(2), beta=3.0)
    Array([[4., 2.],
           [2., 7.]], dtype=float32)
    """
    a, c = matrices("symmetric_product", a_matrix), matrices("symmetric_product", c_matrix, square=True)
    check_one_dtype("symmetric_product", a, c)
    if c.shape != (*a.shape[:-1], a.shape[-2]):
        raise ValueError(
            f"{source.where()}lax.linalg.symmetric_product got {shape_text(a)} and {shape_text(c)}; the second one "
            f"must have the shape {(*a.shape[:-1], a.shape[-2])}."
        )
    found = alpha * gnp.matmul(a, gnp.matrix_transpose(a)) + beta * c
    if not symmetrize_output:
        return found
    return gnp.tril(found) + gnp.matrix_transpose(gnp.tril(found, -1))


def cholesky_update(r_matrix: ArrayLike, w_vector: ArrayLike) -> Array:
    """The upper triangle of ``r.T @ r + outer(w, w)``, by one rotation for each row: with no negative diagonal.

    Parameters
    ----------
    r_matrix
        Upper triangles, ``(..., n, n)``, with zeros below: the factors ``r`` of ``r.T @ r``.
    w_vector
        Vectors, ``(..., n)``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> cholesky_update(3 * gnp.eye(2), gnp.array([4.0, 0.0]))
    Array([[5., 0.],
           [0., 3.]], dtype=float32)
    """
    r, w = matrices("cholesky_update", r_matrix, square=True), floats("cholesky_update", w_vector)
    check_one_dtype("cholesky_update", r, w)
    if w.shape != r.shape[:-1]:
        raise ValueError(
            f"{source.where()}lax.linalg.cholesky_update got {shape_text(r)} and {shape_text(w)}; the vectors must "
            f"have the shape {r.shape[:-1]}."
        )

    if not r.size:
        return r

    def rotated(w: Any, row_and_place: Any) -> Any:
        row, k = row_and_place
        x, y = row[..., k], w[..., k]
        some = (x != 0) | (y != 0)  # else there is nothing to rotate
        length = gnp.hypot(gnp.where(some, x, 1.0), y)
        cosine, sine = gnp.where(some, x / length, 1.0)[..., None], (y / length)[..., None]
        return cosine * w - sine * row, cosine * row + sine * w

    _, rows = scan(rotated, w, (gnp.moveaxis(r, -2, 0), gnp.arange(r.shape[-1])))
    return gnp.moveaxis(rows, 0, -2)
