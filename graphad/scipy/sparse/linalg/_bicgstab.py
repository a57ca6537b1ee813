"""Biconjugate gradients, stabilized."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.api.implicit import custom_linear_solve
from graphad.scipy.sparse.linalg._system import Map, add, begin, enough, finite_or_nan, system, vdot
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.tracebacks import boundary


@boundary
def bicgstab(
    A: Any,
    b: Tree,
    x0: Tree | None = None,
    *,
    tol: Any = 1e-5,
    atol: Any = 0.0,
    maxiter: Any = None,
    M: Any = None,
) -> tuple[Tree, None]:
    """Solve ``A x = b`` by stabilized biconjugate gradients, for a matrix that need not be symmetric.

    A step takes two products with the matrix, and the memory of a few vectors. The derivatives are those of the
    solution, by ``b`` and by what ``A`` is made of: each is one more solve to the same tolerance, in reverse mode with
    the transpose of the matrix (`custom_linear_solve`). Under `vmap` each member of the batch stops for itself.

    Parameters
    ----------
    A
        A linear function ``x -> A x`` of vectors like ``b``, or a square matrix.
    b
        The right side: an array of any shape, or a container of arrays, which together are the vector. Integers are
        taken as floats.
    x0
        Where to begin, of the structure and shapes of ``b``; by default zeros, which also take its place where it is
        no better. It has no influence on derivatives.
    tol, atol
        The end is reached where ``norm(b - A x) <= max(tol * norm(b), atol)``.
    maxiter
        The most steps; by default ten times the number of elements of ``b``.
    M
        An approximate inverse of ``A``: a linear function or a matrix. Systems with the transpose of ``A`` are
        preconditioned by its transpose.

    Returns
    -------
    tuple
        The solution, in the structure, shapes and dtypes of ``b``, and None, as in JAX. Where a residual is not finite,
        the solution is nan. Where the method breaks down, for a product of vectors by which it divides is zero, the
        solution is that of the steps before: `gmres` does not break down.

    Raises
    ------
    ValueError
        A matrix is not square, or ``x0`` is not of the structure and shapes of ``b``.
    TypeError
        ``A`` gives something else than vectors like ``b``.
    DifferentiationError
        ``M`` is not linear.

    References
    ----------
    H. A. van der Vorst, Bi-CGSTAB: a fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric
    linear systems, SIAM Journal on Scientific and Statistical Computing 13, 1992. The stopping rule is SciPy's.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> matrix = gnp.array([[2.0, 1.0], [0.0, 4.0]])
    >>> x, _ = bicgstab(matrix, gnp.array([3.0, 4.0]))
    >>> gnp.round(x, 4)
    Array([1., 1.], dtype=float32)
    >>> graphad.grad(lambda b: bicgstab(matrix, b)[0].sum())(gnp.array([3.0, 4.0]))
    Array([0.5  , 0.125], dtype=float32)
    """
    given = system("bicgstab", A, b, x0, M)
    limit = 10 * given.size if maxiter is None else maxiter

    def solve(matvec: Map, b: Tree) -> Tree:
        return _stabilized(matvec, b, given.start, given.precondition, enough(b, tol, atol), limit)

    def transpose_solve(vecmat: Map, b: Tree) -> Tree:
        return _stabilized(vecmat, b, given.start, given.precondition_of_transpose(), enough(b, tol, atol), limit)

    return custom_linear_solve(given.product, given.b, solve, transpose_solve), None


class _State(NamedTuple):
    """Between steps.

    Attributes
    ----------
    x, r
        The solution so far, and its residual.
    p
        The direction of the next step, before it is preconditioned.
    rho
        The residual along that of the start.
    goes_on
        Whether nothing by which the next step divides is zero.
    k
        The number of steps.
    """

    x: Tree
    r: Tree
    p: Tree
    rho: Any
    goes_on: Any
    k: Any


def _stabilized(A: Map, b: Tree, start: Tree | None, M: Map | None, enough: Any, limit: Any) -> Tree:
    x, first = begin(A, b, start)

    def preconditioned(x: Tree) -> Tree:
        return x if M is None else M(x)

    def goes_on(state: _State) -> Any:
        return (vdot(state.r, state.r) > enough) & state.goes_on & (state.k < limit)

    def step(state: _State) -> _State:
        direction = preconditioned(state.p)
        v = A(direction)
        along = vdot(first, v)
        alpha = gnp.where(along == 0, 0, state.rho / along)
        s = add(state.r, -alpha, v)
        stabilizer = preconditioned(s)
        t = A(stabilizer)
        length = vdot(t, t)
        # Half a step is enough where its residual is: the other half would divide what is left of it by itself.
        is_there = (vdot(s, s) <= enough) | (length == 0)
        omega = gnp.where(is_there, 0, vdot(t, s) / length)
        x = add(add(state.x, alpha, direction), omega, stabilizer)
        r = add(s, -omega, t)
        rho = vdot(first, r)
        p = add(r, rho / state.rho * (alpha / omega), add(state.p, -omega, v))
        return _State(x, r, p, rho, (along != 0) & (omega != 0) & (rho != 0), state.k + 1)

    rho = vdot(first, first)
    end = while_loop(goes_on, step, _State(x, first, tree_map(lambda r: r, first), rho, rho != 0, 0))
    return finite_or_nan(vdot(end.r, end.r), end.x)
