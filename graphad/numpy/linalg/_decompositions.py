"""Factorizations of matrices, or of stacks of them along leading axes."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphad.numpy._elementwise.arithmetic import abs as abs_
from graphad.numpy._elementwise.arithmetic import sign
from graphad.numpy._index.taking import take_along_axis
from graphad.numpy._precision import in_float32
from graphad.numpy._shape.axes import matrix_transpose
from graphad.numpy._shape.rearranging import flip
from graphad.numpy._sort.sorting import argsort, sort
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._systems import check_square
from graphad.primitives.linalg.cholesky import cholesky as cholesky_primitive
from graphad.primitives.linalg.eigh import eigh as eigh_primitive
from graphad.primitives.linalg.qr import qr as qr_primitive
from graphad.primitives.linalg.svd import svd as svd_primitive
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import results_alone
from graphad.trace.semantics import as_float


class EighResult(NamedTuple):
    """What `eigh` gives."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """What `qr` gives."""

    Q: Array
    R: Array


class SVDResult(NamedTuple):
    """What `svd` gives."""

    U: Array
    S: Array
    Vh: Array


def symmetric_part(x: Array) -> Array:
    """The mean of matrices and their transposes; 0 for denormal elements where a program flushes them."""
    return (x + matrix_transpose(x)) * 0.5


@in_float32
def cholesky(a: ArrayLike, *, upper: bool = False, symmetrize_input: bool = True) -> Array:
    """The lower triangle ``l`` with ``l @ l.T == a``, or the upper one ``u`` with ``u.T @ u == a``.

    Parameters
    ----------
    a
        Symmetric positive definite matrices, ``(..., n, n)``. Where one is not, its factor is nan.
    upper
        Give the upper triangle.
    symmetrize_input
        Take the symmetric part of ``a``, which then is all that derivatives are by. Else its lower triangle alone is
        read (with ``upper``, its upper one).

    Returns
    -------
    Array
        ``(..., n, n)``, with zeros in the other triangle.

    Raises
    ------
    ValueError
        Of what is no square matrix.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.linalg.cholesky(gnp.array([[4.0, 2.0], [2.0, 5.0]]))
    Array([[2., 0.],
           [1., 2.]], dtype=float32)
    """
    x = as_float(a, "cholesky")
    check_square(x, "cholesky")
    return cholesky_primitive(symmetric_part(x) if symmetrize_input else x, upper=bool(upper))


@in_float32
def qr(a: ArrayLike, mode: str = "reduced") -> Any:
    """``q`` with orthonormal columns and an upper triangle ``r``, with ``q @ r == a``.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``.
    mode
        'reduced': ``q`` has as many columns as the lesser of ``m`` and ``n``. 'complete': it is square; then there is
        no derivative if ``m > n``, as its last columns may be any. 'r': ``r`` alone.

    Returns
    -------
    QRResult
        ``Q`` and ``R``; or the array ``R``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> abs(gnp.linalg.qr(gnp.array([[3.0, 1.0], [4.0, 2.0]])).R).round(4)
    Array([[5. , 2.2],
           [0. , 0.4]], dtype=float32)
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"{source.where()}qr takes mode 'reduced', 'complete' or 'r', not {mode!r}.")
    q, r = qr_primitive(as_float(a, "qr"), full=mode == "complete")
    return r if mode == "r" else QRResult(q, r)


@in_float32
def eigh(a: ArrayLike, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices: ``a @ v == v * w``.

    Eigenvectors have the sign in which they point along a vector of numbers between 1 and 2. Where eigenvalues are
    equal, eigenvectors are one basis of many, and their derivatives infinite or nan; a function that is the same for
    all of them has its derivative by the eigenvalues alone.

    Parameters
    ----------
    a
        Symmetric matrices, ``(..., n, n)``. Those with elements that are not finite give nan.
    UPLO
        'L' or 'U': the triangle that is read, if the symmetric part is not taken.
    symmetrize_input
        Take the symmetric part of ``a``, which then is all that derivatives are by.

    Returns
    -------
    EighResult
        ``eigenvalues`` ``(..., n)`` and ``eigenvectors`` ``(..., n, n)``, as columns.

    References
    ----------
    M. B. Giles, An extended collection of matrix derivative results, Oxford University, report 08/01, 2008.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.linalg.eigh(gnp.array([[2.0, 1.0], [1.0, 2.0]])).eigenvalues
    Array([1., 3.], dtype=float32)
    """
    v, w = eigh_primitive(_lower_triangles("eigh", a, UPLO, symmetrize_input))
    return EighResult(w, v)


def _lower_triangles(name: str, a: ArrayLike, UPLO: str | None, symmetrize_input: bool) -> Array:
    """Of symmetric matrices, of which the triangle ``UPLO`` is read or the symmetric part taken."""
    if UPLO not in (None, "L", "U"):
        raise ValueError(f"{source.where()}{name} takes UPLO='L' or 'U', not {UPLO!r}.")
    x = as_float(a, name)
    check_square(x, name)
    return symmetric_part(x) if symmetrize_input else matrix_transpose(x) if UPLO == "U" else x


@in_float32
def eigvalsh(a: ArrayLike, UPLO: str | None = None, *, symmetrize_input: bool = True) -> Array:
    """The eigenvalues of symmetric matrices, ascending; see `eigh`.

    Where some are equal, the first derivatives of a smooth function that is the same for them in any order are right,
    and its second ones infinite or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.eigvalsh(gnp.array([[2.0, 1.0], [1.0, 2.0]]))
    Array([1., 3.], dtype=float32)
    """
    return results_alone(eigh_primitive, _lower_triangles("eigvalsh", a, UPLO, symmetrize_input))[0]


@in_float32
def svd(a: ArrayLike, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    """Singular values, descending, and vectors: ``a == (u * s) @ vh``.

    The columns of ``u`` have the sign in which they point along a vector of numbers between 1 and 2. Where singular
    values are equal, or zero, derivatives of vectors are infinite or nan.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``. Those with elements that are not finite give nan.
    full_matrices
        ``u`` and ``vh`` are square. If ``m != n``, they then have no derivative.
    compute_uv
        Give the vectors too.
    hermitian
        ``a`` is symmetric: eigenvalues are found instead.

    Returns
    -------
    SVDResult
        ``U``, ``S``, ``Vh``; or the array ``S``.

    References
    ----------
    J. Townsend, Differentiating the singular value decomposition, 2016.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.linalg.svd(gnp.array([[3.0, 0.0], [0.0, -4.0]])).S
    Array([4., 3.], dtype=float32)
    """
    x = as_float(a, "svd")
    if hermitian:
        check_square(x, "svd with hermitian=True")
        return _of_symmetric(x, compute_uv)
    if not compute_uv:
        return results_alone(svd_primitive, x, full=False)[0]
    return SVDResult(*svd_primitive(x, full=bool(full_matrices)))


def _of_symmetric(x: Array, compute_uv: bool) -> Any:
    if not compute_uv:
        return flip(sort(abs_(eigvalsh(x))), -1)
    w, v = eigh(x)
    order = flip(argsort(abs_(w)), -1)
    w = take_along_axis(w, order, -1)
    v = take_along_axis(v, order[..., None, :], -1)
    return SVDResult(v, abs_(w), matrix_transpose(v * sign(w)[..., None, :]))


def svdvals(x: ArrayLike, /) -> Array:
    """The singular values, descending; see `svd`.

    Where some are equal, the first derivatives of a smooth function that is the same for them in any order are right,
    and its second ones infinite or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.svdvals(gnp.array([[3.0, 0.0], [0.0, -4.0]]))
    Array([4., 3.], dtype=float32)
    """
    return svd(x, compute_uv=False)
