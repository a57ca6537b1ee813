"""What singular values tell of matrices: inverses of any, ranks, condition numbers, least squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphad.api.custom import custom_jvp
from graphad.api.stop_gradient import stop_gradient
from graphad.numpy._elementwise.arithmetic import abs as abs_
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import in_float32
from graphad.numpy._reduce.extrema import max as max_
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import matrix_transpose
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._decompositions import svd
from graphad.numpy.linalg._norm import norm
from graphad.numpy.linalg._products import matmul
from graphad.numpy.linalg._systems import check_square, inv
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_floats


def _ratio(rtol: Any, x: Array) -> Array:
    """What a singular value must be above, in parts of the largest one; by default a rounding error for each row."""
    return as_float(np.finfo(x.dtype).eps * max(x.shape[-2:]) if rtol is None else rtol, "rtol").astype(x.dtype)


def _cutoff(s: Array, ratio: Array) -> Array:
    """What singular values must be above."""
    return (ratio * max_(s, axis=-1, initial=0.0))[..., None]


@in_float32
def pinv(
    a: ArrayLike, rtol: ArrayLike | None = None, hermitian: bool = False, *, rcond: ArrayLike | None = None
) -> Array:
    """The Moore-Penrose inverses, with singular values up to ``rtol`` times the largest one taken for zero.

    The derivative is that of matrices of constant rank (Golub and Pereyra, SIAM J. Numerical Analysis 10, 1973).

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.pinv(gnp.array([[2.0], [0.0]]))
    Array([[0.5, 0. ]], dtype=float32)
    """
    x = as_float(a, "pinv")
    if x.ndim < 2:
        raise ValueError(f"{source.where()}pinv takes matrices, (..., m, n), not an array of shape {x.shape}.")
    if hermitian:
        check_square(x, "pinv with hermitian=True")
    limit = _ratio(rtol if rcond is None else rcond, x)
    return (_pinv_of_symmetric if hermitian else _pinv)(x, limit)


def _inverse(hermitian: bool) -> Any:
    """`pinv` of matrices and of the ratio up to which singular values count as zero, with its derivative."""

    @custom_jvp
    def inverse(x: Array, ratio: Array) -> Array:
        u, s, vt = svd(x, full_matrices=False, hermitian=hermitian)
        kept = s > _cutoff(s, ratio)
        scale = where(kept, 1.0 / where(kept, s, 1.0), 0.0)
        return matmul(matrix_transpose(vt) * scale[..., None, :], matrix_transpose(u))

    @inverse.defjvp
    def _tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
        (x, ratio), (t, _) = primals, tangents
        p = inverse(x, ratio)
        pt, tt = matrix_transpose(p), matrix_transpose(t)
        rows = tt - matmul(matmul(tt, x), p)
        columns = tt - matmul(p, matmul(x, tt))
        return p, matmul(matmul(p, pt), rows) + matmul(columns, matmul(pt, p)) - matmul(matmul(p, t), p)

    return inverse


_pinv, _pinv_of_symmetric = _inverse(False), _inverse(True)


@in_float32
def matrix_rank(M: ArrayLike, rtol: ArrayLike | None = None, *, tol: ArrayLike | None = None) -> Array:
    """The number of singular values above ``rtol`` times the largest one, or above ``tol``.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.matrix_rank(gnp.ones((3, 3)))
    Array(1, dtype=int32)
    """
    x = as_float(M, "matrix_rank")
    if x.ndim < 2:
        return (abs_(x) > 0).any().astype("int32")
    s = svd(x, compute_uv=False)
    limit = _cutoff(s, _ratio(rtol, x)) if tol is None else as_float(tol, "tol")[..., None]
    return sum_(s > limit, axis=-1)


@in_float32
def cond(x: ArrayLike, p: Any = None) -> Array:
    """The condition number: of norm ``p``, by default 2, the ratio of the largest and the least singular value.

    Of singular matrices it is infinite, very large or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.cond(gnp.array([[4.0, 0.0], [0.0, 2.0]]))
    Array(2., dtype=float32)
    """
    a = as_float(x, "cond")
    if p in (None, 2, -2):
        s = svd(a, compute_uv=False)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    check_square(a, "cond")
    return norm(a, p, (-2, -1)) * norm(inv(a), p, (-2, -1))


class LstsqResult(NamedTuple):
    """What `lstsq` gives, as NumPy does."""

    x: Array
    residuals: Array
    rank: Array
    s: Array


@in_float32
def lstsq(a: ArrayLike, b: ArrayLike, rcond: float | None = None, *, numpy_resid: bool = False) -> LstsqResult:
    """The ``x`` for which ``a @ x - b`` is shortest, of several the shortest one.

    Parameters
    ----------
    a
        One matrix, ``(m, n)``.
    b
        A vector, ``(m,)``, or columns, ``(m, k)``.
    rcond
        Singular values up to ``rcond`` times the largest one are taken for zero.
    numpy_resid
        Give no residuals where NumPy gives none. That depends on the rank, so it cannot be traced.

    Returns
    -------
    LstsqResult
        ``x``, the sums of squares of ``a @ x - b``, the rank of ``a``, and its singular values.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> gnp.linalg.lstsq(gnp.array([[1.0], [1.0]]), gnp.array([1.0, 3.0])).x.round(4)
    Array([2.], dtype=float32)
    """
    a, b = as_floats("lstsq", a, b)
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != a.shape[0]:
        raise ValueError(
            f"{source.where()}lstsq takes one matrix (m, n) and a right side (m,) or (m, k), not arrays of shapes "
            f"{a.shape} and {b.shape}."
        )
    right = b[:, None] if b.ndim == 1 else b
    x = matmul(pinv(a, rcond), right)
    s = svd(stop_gradient(a), compute_uv=False)
    rank = sum_(s > _cutoff(s, _ratio(rcond, a)))
    difference = matmul(a, x) - right
    residuals = sum_(difference * difference, axis=0)
    if numpy_resid and (int(rank) < a.shape[1] or a.shape[0] <= a.shape[1]):
        residuals = residuals[:0]
    return LstsqResult(x[:, 0] if b.ndim == 1 else x, residuals, rank, s)
