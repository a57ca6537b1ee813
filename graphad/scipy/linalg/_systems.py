"""Systems of linear equations, inverses and determinants, under SciPy's names.

Arguments that say what SciPy may overwrite, and whether it looks for nan, are accepted and have no meaning.
"""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.api.stop_gradient import stop_gradient
from graphad.lax.linalg import lu_pivots_to_permutation
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._systems import Factors, factors, solved
from graphad.primitives.linalg.cholesky import cholesky as cholesky_primitive
from graphad.primitives.linalg.triangular_solve import triangular_solve
from graphad.scipy.linalg._operands import checked_option, of_triangle, system
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, shape_text

#: What `solve` may be told of a matrix.
KINDS = ("gen", "sym", "her", "pos", "general", "symmetric", "hermitian", "positive definite")


def _divided(a: Array, b: Array, lower: bool, transposed: bool, unit: bool = False) -> Array:
    return triangular_solve(a, b, left=True, lower=lower, transposed=transposed, unit=unit)


@in_float32
def solve(
    a: ArrayLike,
    b: ArrayLike,
    lower: bool = False,
    overwrite_a: bool = False,
    overwrite_b: bool = False,
    debug: bool = False,
    check_finite: bool = True,
    assume_a: str = "gen",
) -> Array:
    """The ``x`` with ``a @ x == b``.

    Parameters
    ----------
    a
        Square matrices, ``(..., n, n)``. Singular ones give infinities or nan.
    b
        One vector, ``(n,)``, or columns, ``(..., n, k)``.
    lower
        The triangle that is read of matrices that are symmetric; derivatives are by its elements alone.
    assume_a
        'gen': any matrix. 'sym', 'her': a symmetric one. 'pos': one that is positive definite too, which takes half the
        work, and gives nan where it is not.

    Returns
    -------
    Array
        Of the shape of ``b``, with the leading axes of both.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> solve(gnp.array([[4.0, 2.0], [2.0, 5.0]]), gnp.array([8.0, 12.0]), assume_a="pos")
    Array([1., 2.], dtype=float32)
    """
    del overwrite_a, overwrite_b, debug, check_finite
    checked_option("solve", "assume_a", assume_a, KINDS)
    x, right, is_vector = system("solve", a, b)
    if assume_a in ("gen", "general"):
        found = solved(x, right, factors(x).solve)
    else:
        x = of_triangle(x, lower)
        found = solved(x, right, _of_positive(x) if assume_a[0] == "p" else factors(x).solve, symmetric=True)
    return found[..., 0] if is_vector else found


def _of_positive(x: Array) -> Any:
    """How systems of positive definite matrices are solved whose derivatives are taken elsewhere."""
    factor = cholesky_primitive(stop_gradient(x), upper=False)
    return lambda b, _: _divided(factor, _divided(factor, b, True, False), True, True)


@in_float32
def solve_triangular(
    a: ArrayLike,
    b: ArrayLike,
    trans: int | str = 0,
    lower: bool = False,
    unit_diagonal: bool = False,
    overwrite_b: bool = False,
    debug: Any = None,
    check_finite: bool = True,
) -> Array:
    """The ``x`` with ``a @ x == b``, where ``a`` is a triangle.

    Parameters
    ----------
    a
        Matrices, ``(..., n, n)``, of which one triangle is read. A zero on the diagonal gives infinities or nan.
    b
        One vector, ``(n,)``, or columns, ``(..., n, k)``.
    trans
        1, 'T', 2 or 'C': the transposes of the triangles instead of them.
    lower
        The lower triangle is read, not the upper one.
    unit_diagonal
        Take the diagonal for ones, and do not read it.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> solve_triangular(gnp.array([[2.0, 0.0], [1.0, 4.0]]), gnp.array([2.0, 9.0]), lower=True)
    Array([1., 2.], dtype=float32)
    """
    del overwrite_b, debug, check_finite
    checked_option("solve_triangular", "trans", trans, (0, 1, 2, "N", "T", "C"))
    x, right, is_vector = system("solve_triangular", a, b)
    found = _divided(x, right, bool(lower), trans not in (0, "N"), bool(unit_diagonal))
    return found[..., 0] if is_vector else found


def cho_solve(
    c_and_lower: tuple[ArrayLike, bool], b: ArrayLike, overwrite_b: bool = False, check_finite: bool = True
) -> Array:
    """The ``x`` with ``a @ x == b``, by the factor that `cho_factor` gives of ``a``.

    >>> import graphad.numpy as gnp
    >>> from graphad.scipy.linalg import cho_factor
    >>> cho_solve(cho_factor(gnp.array([[4.0, 2.0], [2.0, 5.0]])), gnp.array([8.0, 12.0]))
    Array([1., 2.], dtype=float32)
    """
    del overwrite_b, check_finite
    c, lower = _pair("cho_solve", c_and_lower, "cho_factor")
    return _cho_solve(c, b, bool(lower))


@in_float32
def _cho_solve(c: ArrayLike, b: ArrayLike, lower: bool) -> Array:
    x, right, is_vector = system("cho_solve", c, b)
    found = _divided(x, _divided(x, right, lower, not lower), lower, lower)
    return found[..., 0] if is_vector else found


def lu_solve(
    lu_and_piv: tuple[ArrayLike, ArrayLike],
    b: ArrayLike,
    trans: int = 0,
    overwrite_b: bool = False,
    check_finite: bool = True,
) -> Array:
    """The ``x`` with ``a @ x == b``, by what `lu_factor` gives of ``a``; with ``trans`` 1 or 2, ``a.T @ x == b``.

    >>> import graphad.numpy as gnp
    >>> from graphad.scipy.linalg import lu_factor
    >>> lu_solve(lu_factor(gnp.array([[1.0, 2.0], [4.0, 4.0]])), gnp.array([5.0, 12.0]))
    Array([1., 2.], dtype=float32)
    """
    del overwrite_b, check_finite
    checked_option("lu_solve", "trans", trans, (0, 1, 2))
    packed, pivots = _pair("lu_solve", lu_and_piv, "lu_factor")
    return _lu_solve(packed, b, as_operand(pivots, "lu_solve"), trans != 0)


@in_float32
def _lu_solve(packed: ArrayLike, b: ArrayLike, pivots: Array, transposed: bool) -> Array:
    x, right, is_vector = system("lu_solve", packed, b)
    if pivots.ndim < 1 or pivots.shape[-1] != x.shape[-1] or pivots.ndim >= x.ndim:
        raise ValueError(
            f"{source.where()}lu_solve got factors of shape {gnp.shape(packed)} and pivots {shape_text(pivots)}; it "
            "takes both as lu_factor gives them."
        )
    order = lu_pivots_to_permutation(pivots, x.shape[-1])
    found = Factors(x, gnp.broadcast_to(order, x.shape[:-1])).solve(right, transposed)
    return found[..., 0] if is_vector else found


def _pair(name: str, given: Any, maker: str) -> tuple[Any, Any]:
    try:
        first, second = given
    except (TypeError, ValueError):
        raise TypeError(
            f"{source.where()}{name} takes the pair that {maker} gives as its first argument, not {given!r}."
        ) from None
    return first, second


def inv(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The inverses of square matrices; singular ones give infinities or nan.

    >>> import graphad.numpy as gnp
    >>> inv(gnp.array([[2.0, 0.0], [0.0, 4.0]]))
    Array([[0.5 , 0.  ],
           [0.  , 0.25]], dtype=float32)
    """
    del overwrite_a, check_finite
    return gnp.linalg.inv(a)


def det(a: ArrayLike, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The determinants of square matrices; see `graphad.numpy.linalg.det`.

    >>> import graphad.numpy as gnp
    >>> det(gnp.array([[1.0, 2.0], [3.0, 4.0]]))
    Array(-2., dtype=float32)
    """
    del overwrite_a, check_finite
    return gnp.linalg.det(a)
