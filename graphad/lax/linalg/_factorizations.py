"""Matrices as products of triangles, of orthonormal columns, and of what is diagonal."""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.lax.linalg._operands import matrices
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._decompositions import symmetric_part
from graphad.primitives.linalg.cholesky import cholesky as cholesky_primitive
from graphad.primitives.linalg.eigh import eigh as eigh_primitive
from graphad.primitives.linalg.lu import lu as lu_primitive
from graphad.primitives.linalg.qr import qr as qr_primitive
from graphad.primitives.linalg.svd import svd as svd_primitive
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import results_alone


def cholesky(x: ArrayLike, *, symmetrize_input: bool = True) -> Array:
    """The lower triangle ``l`` with ``l @ l.T == x``, with zeros above; nan where a matrix is not positive definite.

    Parameters
    ----------
    x
        Symmetric positive definite matrices, ``(..., n, n)``.
    symmetrize_input
        Take the symmetric part of ``x``; else its lower triangle alone is read.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> cholesky(gnp.array([[4.0, 2.0], [2.0, 5.0]]))
    Array([[2., 0.],
           [1., 2.]], dtype=float32)
    """
    a = matrices("cholesky", x, square=True)
    return cholesky_primitive(symmetric_part(a) if symmetrize_input else a, upper=False)


def lu(x: ArrayLike) -> tuple[Array, Array, Array]:
    """Factors with ``x[permutation] == l @ u``, by elimination with partial pivoting.

    Parameters
    ----------
    x
        Matrices, ``(..., m, n)``.

    Returns
    -------
    tuple[Array, Array, Array]
        ``u`` and, below its diagonal, ``l`` without its diagonal of ones, ``(..., m, n)``; the pivots: row ``k``
        changed places with row ``pivots[k]``, one after the other; and the permutation of rows, ``(..., m)``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> factors, pivots, permutation = lu(gnp.array([[1.0, 2.0], [4.0, 4.0]]))
    >>> factors
    Array([[4.  , 4.  ],
           [0.25, 1.  ]], dtype=float32)
    >>> pivots, permutation
    (Array([1, 1], dtype=int32), Array([1, 0], dtype=int32))
    """
    factors, pivots, permutation = lu_primitive(matrices("lu", x))
    return factors, pivots, permutation


def qr(
    x: ArrayLike, *, pivoting: bool = False, full_matrices: bool = True, use_magma: bool | None = None
) -> tuple[Array, Array]:
    """``q`` with orthonormal columns and an upper triangle ``r``, with ``q @ r == x``.

    Parameters
    ----------
    x
        Matrices, ``(..., m, n)``.
    pivoting
        Not there: columns are not exchanged.
    full_matrices
        ``q`` is square. If ``m > n``, it then has no derivative, as its last columns may be any.
    use_magma
        No meaning here.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> q, r = qr(gnp.array([[3.0, 1.0], [4.0, 2.0]]))
    >>> abs(r).round(4)
    Array([[5. , 2.2],
           [0. , 0.4]], dtype=float32)
    """
    del use_magma
    if pivoting:
        raise ValueError(f"{source.where()}lax.linalg.qr does not exchange columns. Leave out pivoting=True.")
    q, r = qr_primitive(matrices("qr", x), full=bool(full_matrices))
    return q, r


def eigh(
    x: ArrayLike,
    *,
    lower: bool = True,
    symmetrize_input: bool = True,
    sort_eigenvalues: bool = True,
    subset_by_index: tuple[int, int] | None = None,
    implementation: None = None,
) -> tuple[Array, Array]:
    """Eigenvectors and eigenvalues of symmetric matrices: ``x @ v == v * w``.

    Eigenvectors have the sign in which they point along a vector of numbers between 1 and 2. Where eigenvalues are
    equal, the derivatives of eigenvectors are infinite or nan.

    Parameters
    ----------
    x
        Symmetric matrices, ``(..., n, n)``. Those with elements that are not finite give nan.
    lower
        The triangle that is read, if the symmetric part is not taken.
    symmetrize_input
        Take the symmetric part of ``x``.
    sort_eigenvalues
        Eigenvalues are in ascending order; without, they may be in any, and are in that too.
    subset_by_index
        ``(start, end)``: eigenvalues from one number to before another, and their vectors.
    implementation
        Not there: `None` alone.

    Returns
    -------
    tuple[Array, Array]
        ``v``, with eigenvectors as columns, and ``w``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> v, w = eigh(gnp.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> w
    Array([1., 3.], dtype=float32)
    """
    del sort_eigenvalues
    _check_default("eigh", "implementation", implementation)
    a = matrices("eigh", x, square=True)
    v, w = eigh_primitive(symmetric_part(a) if symmetrize_input else a if lower else gnp.matrix_transpose(a))
    if subset_by_index is None:
        return v, w
    start, end = _range("eigh", subset_by_index, a.shape[-1])
    return v[..., :, start:end], w[..., start:end]


def svd(
    x: ArrayLike,
    *,
    full_matrices: bool = True,
    compute_uv: bool = True,
    subset_by_index: tuple[int, int] | None = None,
    algorithm: None = None,
) -> Any:
    """Singular values, descending, and vectors: ``x == (u * s) @ vh``.

    The columns of ``u`` have the sign in which they point along a vector of numbers between 1 and 2. Where singular
    values are equal, or zero, derivatives of vectors are infinite or nan.

    Parameters
    ----------
    x
        Matrices, ``(..., m, n)``. Those with elements that are not finite give nan.
    full_matrices
        ``u`` and ``vh`` are square. If ``m != n``, they then have no derivative.
    compute_uv
        Give the vectors too.
    subset_by_index
        ``(start, end)``: singular values from one number to before another, and their vectors; only with
        ``full_matrices=False``, or without vectors.
    algorithm
        Not there: `None` alone.

    Returns
    -------
    tuple[Array, Array, Array]
        ``u``, ``s``, ``vh``; or the array ``s``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> svd(gnp.array([[3.0, 0.0], [0.0, -4.0]]), compute_uv=False)
    Array([4., 3.], dtype=float32)
    """
    _check_default("svd", "algorithm", algorithm)
    a = matrices("svd", x)
    full = bool(full_matrices and compute_uv)
    if full and subset_by_index is not None:
        raise ValueError(f"{source.where()}lax.linalg.svd takes subset_by_index with full_matrices=False.")
    least = min(a.shape[-2:])
    start, end = (0, least) if subset_by_index is None else _range("svd", subset_by_index, least)
    if not compute_uv:
        return results_alone(svd_primitive, a, full=False)[0][..., start:end]
    u, s, vh = svd_primitive(a, full=full)
    return (u, s, vh) if subset_by_index is None else (u[..., :, start:end], s[..., start:end], vh[..., start:end, :])


def _range(name: str, subset: Any, n: int) -> tuple[int, int]:
    """The first number and that behind the last one, of ``n``."""
    start, end = subset
    if not 0 <= start < end <= n:
        raise ValueError(
            f"{source.where()}lax.linalg.{name} got subset_by_index={subset!r} of {n} values; it takes (start, end) "
            f"with 0 <= start < end <= {n}."
        )
    return start, end


def _check_default(name: str, option: str, value: Any) -> None:
    if value is not None:
        raise ValueError(f"{source.where()}lax.linalg.{name} has one method of its own. Leave out {option}={value!r}.")
