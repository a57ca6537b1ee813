"""Matrices that are made triangular, or nearly so, by orthogonal ones from both sides."""

from __future__ import annotations

from typing import Any

from graphad.lax.linalg._operands import matrices
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.schur import schur as schur_primitive
from graphad.trace import source
from graphad.trace.array import Array


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
    z, t = schur_primitive(matrices("schur", x, square=True))
    return (t, z) if compute_schur_vectors else (t,)
