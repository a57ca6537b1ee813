"""Polar decompositions: what of a matrix turns, and what of it stretches.

Of ``A == U @ P`` with at least as many rows as columns, ``U.T @ dU == K`` is skew-symmetric, with
``P @ K + K @ P == U.T @ dA - dA.T @ U``, and what of ``dU`` is orthogonal to ``U`` is the same of ``dA @ inv(P)`` [1]_.
Both are systems of symmetric matrices, so that derivatives exist to every order wherever the rank is full, also of
equal singular values.

.. [1] N. J. Higham, Functions of matrices, SIAM, 2008, chapter 8.
"""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.api.custom import custom_jvp
from graphad.api.implicit import custom_linear_solve
from graphad.api.stop_gradient import stop_gradient
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._decompositions import symmetric_part
from graphad.scipy.linalg._operands import checked_option, matrices
from graphad.trace.array import Array


@in_float32
def polar(
    a: ArrayLike,
    side: str = "right",
    *,
    method: str = "qdwh",
    eps: float | None = None,
    max_iterations: int | None = None,
) -> tuple[Array, Array]:
    """``u`` with orthonormal columns, or rows, and a positive semidefinite ``p``, with ``u @ p == a``.

    Parameters
    ----------
    a
        Matrices, ``(..., m, n)``. Where the rank is not full, there is no derivative: it is infinite or nan.
    side
        'right': ``u @ p == a``, with ``p`` ``(..., n, n)``. 'left': ``p @ u == a``, with ``p`` ``(..., m, m)``.
    method
        'qdwh' or 'svd', with the same result: singular values are found for both.
    eps, max_iterations
        Of the iterations of 'qdwh' in JAX; no meaning here.

    Returns
    -------
    tuple[Array, Array]
        ``u`` and ``p``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> u, p = polar(gnp.array([[0.0, -2.0], [3.0, 0.0]]))
    >>> u.round(4) + 0.0, p.round(4) + 0.0
    (Array([[ 0., -1.],
           [ 1.,  0.]], dtype=float32), Array([[3., 0.],
           [0., 2.]], dtype=float32))
    """
    del eps, max_iterations
    checked_option("polar", "side", side, ("right", "left"))
    checked_option("polar", "method", method, ("qdwh", "svd"))
    x = matrices("polar", a)
    is_wide = x.shape[-2] < x.shape[-1]
    unitary = gnp.matrix_transpose(_unitary(gnp.matrix_transpose(x))) if is_wide else _unitary(x)
    turned = gnp.matrix_transpose(unitary)
    return unitary, symmetric_part(gnp.matmul(turned, x) if side == "right" else gnp.matmul(x, turned))


@custom_jvp
def _unitary(x: Array) -> Array:
    """The factor with orthonormal columns, of at least as many rows as columns."""
    u, _, vt = gnp.linalg.svd(x, full_matrices=False)
    return gnp.matmul(u, vt)


@_unitary.defjvp
def _unitary_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (t,) = primals, tangents
    u = _unitary(x)
    ut = gnp.matrix_transpose(u)
    p = symmetric_part(gnp.matmul(ut, x))
    s, v = gnp.linalg.eigh(stop_gradient(p))
    vt = gnp.matrix_transpose(v)

    def skew(_: Any, y: Any) -> Any:
        inner = gnp.matmul(vt, gnp.matmul(y, v))
        return gnp.matmul(v, gnp.matmul(inner / (s[..., :, None] + s[..., None, :]), vt))

    inner = gnp.matmul(ut, t)
    turning = custom_linear_solve(
        lambda k: gnp.matmul(p, k) + gnp.matmul(k, p), inner - gnp.matrix_transpose(inner), skew, symmetric=True
    )
    rate = gnp.matmul(u, turning)
    if x.shape[-2] == x.shape[-1]:
        return u, rate
    beside = t - gnp.matmul(u, inner)
    return u, rate + custom_linear_solve(
        lambda y: gnp.matmul(y, p),
        beside,
        lambda _, y: gnp.matmul(gnp.matmul(y, v) / s[..., None, :], vt),
        symmetric=True,
    )
