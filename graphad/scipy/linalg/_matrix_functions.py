"""Sylvester equations, and functions of matrices by their Schur decompositions [1]_.

Decompositions are not differentiated where a solution fulfils an equation: that is, so that equal eigenvalues, of which
the decomposition has no derivative, do no harm.

.. [1] N. J. Higham, Functions of matrices, SIAM, 2008, chapters 4, 6 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.api.custom import custom_jvp
from graphad.api.implicit import custom_linear_solve
from graphad.api.stop_gradient import stop_gradient
from graphad.lax import scan
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives.linalg.quasi_sylvester import quasi_sqrt, quasi_sylvester
from graphad.primitives.linalg.schur import schur as schur_primitive
from graphad.primitives.linalg.triangular_solve import solve as solve_triangle
from graphad.scipy.linalg._operands import checked_option, squares
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_floats, broadcast_shapes, shape_text

# ---------------------------------------------------------------------------------------------------------------------
# Sylvester equations


@in_float32
def solve_sylvester(A: ArrayLike, B: ArrayLike, C: ArrayLike, *, method: str = "schur", tol: float = 1e-8) -> Array:
    """The ``x`` with ``A @ x + x @ B == C``, by the Schur decompositions of both matrices.

    Parameters
    ----------
    A, B
        Square matrices, ``(..., m, m)`` and ``(..., n, n)``.
    C
        ``(..., m, n)``; leading axes are broadcast.
    method
        'schur' or 'eigen', with the same result.
    tol
        Where an eigenvalue of ``A`` and one of ``-B`` are closer to each other, all is nan.

    Returns
    -------
    Array
        ``(..., m, n)``. Its derivatives are those of a solution, also where eigenvalues are equal.

    References
    ----------
    R. H. Bartels, G. W. Stewart, Solution of the matrix equation AX + XB = C, Communications of the ACM 15, 1972.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> a, b = gnp.array([[1.0, 1.0], [0.0, 2.0]]), gnp.array([[3.0]])
    >>> solve_sylvester(a, b, gnp.array([[6.0], [10.0]]))
    Array([[1.],
           [2.]], dtype=float32)
    """
    name = "solve_sylvester"
    checked_option(name, "method", method, ("schur", "eigen"))
    left, right, whole = as_floats(name, squares(name, A), squares(name, B), C)
    if whole.ndim < 2 or whole.shape[-2:] != (left.shape[-1], right.shape[-1]):
        raise ValueError(
            f"{source.where()}{name} got {shape_text(left)}, {shape_text(right)} and {shape_text(whole)}; the last one "
            f"must be (..., {left.shape[-1]}, {right.shape[-1]})."
        )
    leading = broadcast_shapes([x.shape[:-2] for x in (left, right, whole)], name)
    left, right, whole = [gnp.broadcast_to(x, (*leading, *x.shape[-2:])) for x in (left, right, whole)]
    if not whole.size:
        return whole
    of_left, p, p_pairs = schur_primitive(stop_gradient(left))
    of_right, q, q_pairs = schur_primitive(stop_gradient(right))
    too_near = gnp.min(_gaps(p, q), axis=(-2, -1)) < tol

    def solve(y: Any, across: bool) -> Any:
        inner = gnp.matmul(gnp.matmul(gnp.matrix_transpose(of_left), y), of_right)
        found = quasi_sylvester(p, p_pairs, q, q_pairs, inner, across=across)
        return gnp.matmul(gnp.matmul(of_left, found), gnp.matrix_transpose(of_right))

    found = custom_linear_solve(
        lambda x: gnp.matmul(left, x) + gnp.matmul(x, right),
        whole,
        lambda _, y: solve(y, False),
        lambda _, y: solve(y, True),
    )
    return found * _nan_if(too_near)[..., None, None]


def _nan_if(condition: Any) -> Any:
    """A factor that makes a result nan, and its derivatives too."""
    return gnp.where(condition, np.nan, 1.0)


def _eigenvalues(t: Array) -> tuple[Any, Any]:
    """Of quasi-triangular matrices: the real parts, and the magnitudes of the imaginary ones."""
    beside = gnp.diagonal(t, -1, -2, -1) * gnp.diagonal(t, 1, -2, -1)
    turns = gnp.sqrt(gnp.maximum(-beside, 0.0))
    outside = [(0, 0)] * (t.ndim - 2)
    return gnp.diagonal(t, 0, -2, -1), gnp.pad(turns, [*outside, (0, 1)]) + gnp.pad(turns, [*outside, (1, 0)])


def _gaps(p: Array, q: Array) -> Any:
    """How far each eigenvalue of ``p`` is from the nearest one of a pair of ``-q``."""
    (real_p, turn_p), (real_q, turn_q) = _eigenvalues(p), _eigenvalues(q)
    real = real_p[..., :, None] + real_q[..., None, :]
    return gnp.hypot(real, turn_p[..., :, None] - turn_q[..., None, :])


# ---------------------------------------------------------------------------------------------------------------------
# Functions of matrices


@in_float32
def sqrtm(A: ArrayLike, blocksize: int = 1) -> Array:
    """The principal square root: the ``x`` with ``x @ x == A`` whose eigenvalues have positive real parts.

    Parameters
    ----------
    A
        Square matrices, ``(..., n, n)``. Where an eigenvalue is a negative number, the root is complex, and all is nan.
        Where one is zero, there may be no root, and there is no derivative: it is infinite or nan.
    blocksize
        No meaning here.

    Returns
    -------
    Array
        Of the shape of ``A``. Its derivatives are those of a solution, also where eigenvalues are equal.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> sqrtm(gnp.array([[4.0, 5.0], [0.0, 9.0]]))
    Array([[2., 1.],
           [0., 3.]], dtype=float32)
    """
    del blocksize
    x = squares("sqrtm", A)
    return _root(x) if x.size else x


def _factors_of_root(x: Array) -> tuple[Array, Array, Array]:
    """``z``, ``r`` and its pairs, where the root is ``z @ r @ z.T``."""
    z, t, pairs = schur_primitive(stop_gradient(x))
    return z, quasi_sqrt(t, pairs), pairs


@custom_jvp
def _root(x: Array) -> Array:
    z, r, _ = _factors_of_root(x)
    return gnp.matmul(gnp.matmul(z, r), gnp.matrix_transpose(z))


@_root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    root = _root(*primals)
    z, r, pairs = _factors_of_root(*primals)
    zt = gnp.matrix_transpose(z)

    def solve(y: Any, across: bool) -> Any:
        inner = quasi_sylvester(r, pairs, r, pairs, gnp.matmul(gnp.matmul(zt, y), z), across=across)
        return gnp.matmul(gnp.matmul(z, inner), zt)

    return root, custom_linear_solve(
        lambda y: gnp.matmul(root, y) + gnp.matmul(y, root),
        tangents[0],
        lambda _, y: solve(y, False),
        lambda _, y: solve(y, True),
    )


@in_float32
def funm(A: ArrayLike, func: Callable[[Any], Any], disp: bool = True) -> Any:
    """A function of a matrix with real eigenvalues, by Parlett's recurrence.

    It loses digits where eigenvalues are close to each other, and has no value where they are equal: infinities or nan.
    `expm` and `sqrtm` have no such limits.

    Parameters
    ----------
    A
        A square matrix. Where it has complex eigenvalues, all is nan, as there are no complex numbers: use
        ``scipy.linalg.funm(np.asarray(a), f)`` outside traced functions.
    func
        The function of numbers; it is called with an array of all eigenvalues, and may be differentiated.
    disp
        Give the matrix alone, without an estimate of its error.

    Returns
    -------
    tuple[Array, Array]
        The matrix, and an estimate of its relative error; or the matrix.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> funm(gnp.array([[1.0, 2.0], [0.0, 3.0]]), lambda x: x * x)
    Array([[1., 8.],
           [0., 9.]], dtype=float32)
    """
    x = squares("funm", A)
    if x.ndim != 2:
        raise ValueError(f"{source.where()}funm takes one square matrix, not {shape_text(x)}. Use vmap for more.")
    n = x.shape[-1]
    if not n:
        return x if disp else (x, gnp.zeros((), x.dtype))
    z, t, pairs = schur_primitive(x)
    values = gnp.diagonal(t)
    images = func(values)
    if gnp.shape(images) != (n,):
        raise ValueError(
            f"{source.where()}funm got a function that gives {shape_text(images)} for ({n},) eigenvalues; it must give "
            "one number for each."
        )
    inner = _parlett(t, values, images.astype(x.dtype))
    found = gnp.matmul(gnp.matmul(z, inner), gnp.matrix_transpose(z))
    found = found * _nan_if(gnp.any(pairs != 0))
    if disp:
        return found
    return found, _error_of(found, t)


def _parlett(t: Array, values: Any, images: Any) -> Any:
    """The upper triangle ``f`` with ``f @ t == t @ f`` and the given diagonal, column by column."""
    n = t.shape[-1]
    places = gnp.arange(n)
    one = gnp.eye(n, dtype=t.dtype)

    def column(f: Any, k: Any) -> tuple[Any, None]:
        above = places < k
        kept = above[:, None] & above[None, :]
        shifted = gnp.where(kept, gnp.triu(t) - values[k] * one, one)
        right = gnp.where(above, gnp.matmul(f, t[:, k]) - t[:, k] * images[k], 0.0)
        found = solve_triangle(shifted, right[:, None], left=True, lower=False)
        return f + found * (places == k), None

    return scan(column, gnp.diag(images), places)[0]


def _error_of(found: Any, t: Array) -> Any:
    """SciPy's estimate."""
    n, eps = t.shape[-1], float(np.finfo(t.dtype.name).eps)
    values = gnp.diagonal(t)
    gaps = gnp.abs(values[:, None] - values[None, :]) + gnp.where(gnp.eye(n) > 0, np.inf, 0.0)
    least = gnp.minimum(gnp.abs(t[0, 0]), gnp.min(gaps))
    least = gnp.where(least == 0, eps, least)
    size = gnp.max(gnp.sum(gnp.abs(gnp.triu(t, 1)), axis=0))
    return gnp.where(gnp.any(gnp.isinf(found)), np.inf, gnp.clip(eps / least * size, eps, 1.0))
