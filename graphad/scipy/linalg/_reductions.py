"""Matrices that are made triangular, or nearly so, by orthogonal ones from both sides, under SciPy's names."""

from __future__ import annotations

from typing import Any

from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.hessenberg import hessenberg as hessenberg_primitive
from graphad.primitives.linalg.schur import schur as schur_primitive
from graphad.scipy.linalg._operands import checked_option, squares
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import results_alone


@in_float32
def schur(a: ArrayLike, output: str = "real") -> tuple[Array, Array]:
    """The real Schur decomposition: ``a == z @ t @ z.T`` with an orthogonal ``z``.

    In a block of ``t``, the elements on the diagonal are equal, the one above is the greater one, and the one below has
    the other sign. The columns of ``z`` have the sign in which they point along a vector of numbers between 1 and 2.
    So it is differentiable, to every order, where all eigenvalues differ, and in no block both elements beside the
    diagonal are equal but for the sign; else derivatives are infinite or nan.

    Parameters
    ----------
    a
        Square matrices, ``(..., n, n)``. Those with elements that are not finite give nan.
    output
        'real' alone: there are no complex numbers.

    Returns
    -------
    tuple[Array, Array]
        ``t``, upper triangular but for one block of two rows for each pair of conjugate eigenvalues, and ``z``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> t, z = schur(gnp.array([[0.0, 4.0], [-1.0, 0.0]]))
    >>> t
    Array([[ 0.,  4.],
           [-1.,  0.]], dtype=float32)
    """
    checked_option("schur", "output", output, ("real", "complex"))
    if output == "complex":
        raise ValueError(
            f"{source.where()}schur got output='complex', and there are no complex numbers. With output='real', pairs "
            "of conjugate eigenvalues are blocks of two rows; or use "
            "scipy.linalg.schur(np.asarray(a), output='complex') outside traced functions."
        )
    z, t, _ = schur_primitive(squares("schur", a))
    return t, z


@in_float32
def hessenberg(a: ArrayLike, *, calc_q: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """The Hessenberg form: ``a == q @ h @ q.T`` with an orthogonal ``q`` whose first column is that of the identity.

    It is differentiable, to every order, where no element just below the diagonal of ``h`` is zero, the last one
    apart; else derivatives are infinite or nan.

    Parameters
    ----------
    a
        Square matrices, ``(..., n, n)``.
    calc_q
        Give ``q`` too.
    overwrite_a, check_finite
        No meaning here: nothing is overwritten, and nan gives nan.

    Returns
    -------
    tuple[Array, Array]
        ``h``, upper triangular but for the elements just below the diagonal, and ``q``; or the array ``h``.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> hessenberg(gnp.array([[1.0, 3.0, 4.0], [3.0, 1.0, 0.0], [4.0, 0.0, 1.0]])).round(4) + 0.0
    Array([[ 1., -5.,  0.],
           [-5.,  1.,  0.],
           [ 0.,  0.,  1.]], dtype=float32)
    """
    del overwrite_a, check_finite
    x = squares("hessenberg", a)
    if not calc_q:
        return results_alone(hessenberg_primitive, x)[0]
    q, h = hessenberg_primitive(x)
    return h, q
