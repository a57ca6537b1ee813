"""Factorizations of matrices, or of stacks of them, under SciPy's names.

Arguments that say what SciPy may overwrite, whether it looks for nan, and which routine of LAPACK it calls, are
accepted and have no meaning: nothing is overwritten, and nan gives nan.
"""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._decompositions import symmetric_part
from graphad.primitives.linalg.cholesky import cholesky as cholesky_primitive
from graphad.primitives.linalg.eigh import eigh as eigh_primitive
from graphad.primitives.linalg.lu import lu as lu_primitive
from graphad.primitives.linalg.triangular_solve import solve as solve_triangle
from graphad.scipy.linalg._operands import checked_option, matrices, of_triangle, squares
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import results_alone
from graphad.trace.semantics import as_floats, broadcast_shapes

# ---------------------------------------------------------------------------------------------------------------------
# Triangles


@in_float32
def cholesky(a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The upper triangle ``u`` with ``u.T @ u == a``, or the lower one ``l`` with ``l @ l.T == a``.

    Parameters
    ----------
    a
        Symmetric positive definite matrices, ``(..., n, n)``, of which that triangle is read. Where one is not positive
        definite, its factor is nan.
    lower
        Read and give the lower triangle.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> cholesky(gnp.array([[4.0, 2.0], [2.0, 5.0]]))
    Array([[2., 1.],
           [0., 2.]], dtype=float32)
    """
    del overwrite_a, check_finite
    return cholesky_primitive(squares("cholesky", a), upper=not lower)


def cho_factor(
    a: ArrayLike, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True
) -> tuple[Array, bool]:
    """What `cho_solve` takes: a triangle of `cholesky`, with zeros beside it, and whether it is the lower one.

    >>> import graphad.numpy as gnp
    >>> cho_factor(gnp.array([[4.0, 2.0], [2.0, 5.0]]), lower=True)
    (Array([[2., 0.],
           [1., 2.]], dtype=float32), True)
    """
    del overwrite_a, check_finite
    return cholesky(a, lower), lower


@in_float32
def lu_factor(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """What `lu_solve` takes: both triangles in one, and the pivots.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``.

    Returns
    -------
    tuple[Array, Array]
        The upper triangle and, below its diagonal, the lower one without its diagonal of ones; and for each row the
        one that it changes places with, one after the other.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> lu_factor(gnp.array([[1.0, 2.0], [4.0, 4.0]]))
    (Array([[4.  , 4.  ],
           [0.25, 1.  ]], dtype=float32), Array([1, 1], dtype=int32))
    """
    del overwrite_a, check_finite
    factors, pivots, _ = lu_primitive(matrices("lu_factor", a))
    return factors, pivots


@in_float32
def lu(a: ArrayLike, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """A permutation, a lower triangle with ones on its diagonal and an upper one: ``p @ l @ u == a``.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``.
    permute_l
        Give ``p @ l`` and ``u``.

    Returns
    -------
    tuple[Array, Array, Array]
        ``p`` ``(..., m, m)``, ``l`` ``(..., m, k)`` and ``u`` ``(..., k, n)``, where ``k`` is the lesser of ``m`` and
        ``n``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> p, l, u = lu(gnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> l, u
    (Array([[1.  , 0.  ],
           [0.25, 1.  ]], dtype=float32), Array([[4., 4.],
           [0., 1.]], dtype=float32))
    """
    del overwrite_a, check_finite
    x = matrices("lu", a)
    m, n = x.shape[-2:]
    k = min(m, n)
    factors, _, order = lu_primitive(x)
    lower = gnp.tril(factors[..., :k], -1) + gnp.eye(m, k, dtype=x.dtype)
    upper = gnp.triu(factors[..., :k, :])
    if permute_l:
        return gnp.take_along_axis(lower, gnp.argsort(order, axis=-1)[..., None], -2), upper
    return (order[..., None, :] == gnp.arange(m)[:, None]).astype(x.dtype), lower, upper


# ---------------------------------------------------------------------------------------------------------------------
# Orthonormal columns


def qr(
    a: ArrayLike,
    overwrite_a: bool = False,
    lwork: Any = None,
    mode: str = "full",
    pivoting: bool = False,
    check_finite: bool = True,
) -> Any:
    """``q`` with orthonormal columns and an upper triangle ``r``, with ``q @ r == a``.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``.
    mode
        'full': ``q`` is square; then there is no derivative if ``m > n``, as its last columns may be any. 'economic':
        ``q`` has as many columns as the lesser of ``m`` and ``n``. 'r': ``(r,)`` of 'full'.
    pivoting
        Not there: columns are not exchanged.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> q, r = qr(gnp.array([[3.0, 1.0], [4.0, 2.0]]), mode="economic")
    >>> abs(r).round(4)
    Array([[5. , 2.2],
           [0. , 0.4]], dtype=float32)
    """
    del overwrite_a, lwork, check_finite
    checked_option("qr", "mode", mode, ("full", "economic", "r"))
    if pivoting:
        raise ValueError(f"{source.where()}qr does not exchange columns. Leave out pivoting=True.")
    x = matrices("qr", a)
    if mode != "r":
        return tuple(gnp.linalg.qr(x, "complete" if mode == "full" else "reduced"))
    # the rows that 'full' has more are zeros: so r has derivatives
    r = gnp.linalg.qr(x, "r")
    m, n = x.shape[-2:]
    return (gnp.pad(r, [*[(0, 0)] * (x.ndim - 2), (0, m - min(m, n)), (0, 0)]),)


def svd(
    a: ArrayLike,
    full_matrices: bool = True,
    compute_uv: bool = True,
    overwrite_a: bool = False,
    check_finite: bool = True,
    lapack_driver: str = "gesdd",
) -> Any:
    """Singular values, descending, and vectors: ``a == (u * s) @ vh``; see `graphad.numpy.linalg.svd`.

    Returns
    -------
    tuple[Array, Array, Array]
        ``u``, ``s``, ``vh``; or the array ``s``, without ``compute_uv``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> svd(gnp.array([[3.0, 0.0], [0.0, -4.0]]), compute_uv=False)
    Array([4., 3.], dtype=float32)
    """
    del overwrite_a, check_finite, lapack_driver
    found = gnp.linalg.svd(matrices("svd", a), full_matrices, compute_uv)
    return tuple(found) if compute_uv else found


# ---------------------------------------------------------------------------------------------------------------------
# Eigenvalues


@in_float32
def eigh(
    a: ArrayLike,
    b: ArrayLike | None = None,
    lower: bool = True,
    eigvals_only: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    turbo: bool = True,
    eigvals: None = None,
    type: int = 1,  # noqa: A002
    check_finite: bool = True,
) -> Any:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices: ``a @ v == v * w``, or ``a @ v == b @ v * w``.

    Parameters
    ----------
    a
        Symmetric matrices, ``(..., n, n)``.
    b
        Symmetric positive definite matrices. Where one is not positive definite, the result is nan.
    lower
        The triangle that is read of ``a`` and ``b``, if ``b`` is given; else the symmetric part of ``a`` is taken.
    eigvals_only
        Give no vectors.
    eigvals
        Not there: all eigenvalues are found.
    type
        2: ``a @ b @ v == v * w``. 3: ``b @ a @ v == v * w``.

    Returns
    -------
    tuple[Array, Array]
        ``w`` and ``v``, with ``v.T @ b @ v == 1``, of type 3 ``v.T @ inv(b) @ v == 1``; or the array ``w``.

    Notes
    -----
    With ``b == l @ l.T``, the eigenvalues are those of ``inv(l) @ a @ inv(l).T``, or of ``l.T @ a @ l`` (G. H. Golub,
    C. F. Van Loan, Matrix Computations, 8.7.2).

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> eigh(gnp.array([[2.0, 1.0], [1.0, 2.0]]), 2 * gnp.eye(2), eigvals_only=True).round(4)
    Array([0.5, 1.5], dtype=float32)
    """
    del overwrite_a, overwrite_b, turbo, check_finite
    checked_option("eigh", "type", type, (1, 2, 3))
    if eigvals is not None:
        raise ValueError(f"{source.where()}eigh finds all eigenvalues. Leave out eigvals, and take some of the result.")
    if b is None:
        x = symmetric_part(squares("eigh", a))
        if eigvals_only:
            return results_alone(eigh_primitive, x)[0]
        v, w = eigh_primitive(x)
        return w, v
    x, y = as_floats("eigh", squares("eigh", a), squares("eigh", b))
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(f"{source.where()}eigh got matrices of shapes {x.shape} and {y.shape}; they must be as large.")
    leading = broadcast_shapes([x.shape[:-2], y.shape[:-2]], "eigh")
    x, y = (gnp.broadcast_to(z, (*leading, *z.shape[-2:])) for z in (x, y))
    w, v = _generalized(
        of_triangle(x, lower), cholesky_primitive(y if lower else gnp.matrix_transpose(y), upper=False), type
    )
    return w if eigvals_only else (w, v)


def _generalized(a: Array, factor: Array, kind: int) -> tuple[Array, Array]:
    """Eigenvalues and vectors of ``a`` with ``b == factor @ factor.T``."""
    if kind == 1:
        half = solve_triangle(factor, a, left=True, lower=True)
        reduced: Any = solve_triangle(factor, half, left=False, lower=True, transposed=True)
    else:
        reduced = gnp.matmul(gnp.matrix_transpose(factor), gnp.matmul(a, factor))
    v, w = eigh_primitive(symmetric_part(reduced))
    if kind == 3:
        return w, gnp.matmul(factor, v)
    return w, solve_triangle(factor, v, left=True, lower=True, transposed=True)
