"""Matrices that are made triangular, or nearly so, by orthogonal ones from both sides."""

from __future__ import annotations

from typing import Any

from graphad.lax.linalg._operands import check_one_dtype, floats, matrices
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.hessenberg import hessenberg_reflectors
from graphad.primitives.linalg.householder_product import householder_product as householder_primitive
from graphad.primitives.linalg.schur import schur as schur_primitive
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import shape_text


def schur(
    x: ArrayLike,
    *,
    compute_schur_vectors: bool = True,
    sort_eig_vals: bool = False,
    select_callable: Any = None,
) -> tuple[Array, ...]:
    """The real Schur decomposition: ``x == z @ t @ z.T``; see `graphad.scipy.linalg.schur`.

    Parameters
    ----------
    x
        Square matrices, ``(..., n, n)``. Those with elements that are not finite give nan.
    compute_schur_vectors
        Give ``z`` too.
    sort_eig_vals, select_callable
        Not there: eigenvalues are in the order in which they are found.

    Returns
    -------
    tuple[Array, Array]
        ``t``, upper triangular but for one block of two rows for each pair of conjugate eigenvalues, and ``z``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> t, z = schur(gnp.array([[0.0, 4.0], [-1.0, 0.0]]))
    >>> t, z
    (Array([[ 0.,  4.],
           [-1.,  0.]], dtype=float32), Array([[1., 0.],
           [0., 1.]], dtype=float32))
    """
    if sort_eig_vals or select_callable is not None:
        raise ValueError(
            f"{source.where()}lax.linalg.schur does not sort eigenvalues. Leave out sort_eig_vals and select_callable."
        )
    z, t, _ = schur_primitive(matrices("schur", x, square=True))
    return (t, z) if compute_schur_vectors else (t,)


def hessenberg(a: ArrayLike) -> tuple[Array, Array]:
    """The Hessenberg form ``h`` of square matrices, and the reflectors that give it.

    They have no derivatives, as in JAX; what `graphad.scipy.linalg.hessenberg` gives has.

    Parameters
    ----------
    a
        Square matrices, ``(..., n, n)``.

    Returns
    -------
    tuple[Array, Array]
        ``h`` and, below its subdiagonal, the reflectors; and their factors, ``(..., n - 1)``. With these named ``p``
        and ``taus``, ``householder_product(p[1:, :-1], taus)`` is what ``q`` of ``a == q @ h @ q.T`` has behind its
        first row and column, which are those of the identity.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> packed, taus = hessenberg(gnp.array([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0], [4.0, 0.0, 1.0]]))
    >>> packed[:, 0], taus
    (Array([ 1. , -5. ,  0.5], dtype=float32), Array([1.6, 0. ], dtype=float32))
    """
    packed, taus = hessenberg_reflectors(matrices("hessenberg", a, square=True))
    return packed, taus


def householder_product(a: ArrayLike, taus: ArrayLike) -> Array:
    """The first columns of a product of reflectors ``1 - taus[k] * outer(v, v)``, as many as ``a`` has.

    Parameters
    ----------
    a
        Matrices ``(..., m, n)`` with ``m >= n``. Of reflector ``k``, ``v`` has a one in row ``k``, zeros before, and
        column ``k`` of ``a`` behind.
    taus
        ``(..., k)`` with ``k <= n``.

    Returns
    -------
    Array
        Of the shape of ``a``, differentiable in both, whether its columns are orthonormal or not.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> householder_product(gnp.array([[0.0], [0.5]]), gnp.array([1.6])).round(4)
    Array([[-0.6],
           [-0.8]], dtype=float32)
    """
    name = "householder_product"
    x, scales = matrices(name, a), floats(name, taus)
    check_one_dtype(name, x, scales)
    m, n = x.shape[-2:]
    if m < n:
        raise ValueError(f"{source.where()}lax.linalg.{name} takes as many rows as columns, or more: {shape_text(x)}.")
    if scales.ndim != x.ndim - 1 or scales.shape[:-1] != x.shape[:-2] or scales.shape[-1] > n:
        raise ValueError(
            f"{source.where()}lax.linalg.{name} got {shape_text(x)} and taus {shape_text(scales)}; these must have "
            f"the leading axes {x.shape[:-2]} and then {n} elements or less."
        )
    return householder_primitive(x, scales)
