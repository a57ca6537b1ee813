"""Conjugate gradients."""

from __future__ import annotations

from typing import Any

from graphad.api.control_flow import while_loop
from graphad.api.implicit import custom_linear_solve
from graphad.scipy.sparse.linalg._system import Map, add, begin, enough, finite_or_nan, system, vdot
from graphad.trace.pytree import Tree
from graphad.trace.tracebacks import boundary


@boundary
def cg(
    A: Any,
    b: Tree,
    x0: Tree | None = None,
    *,
    tol: Any = 1e-5,
    atol: Any = 0.0,
    maxiter: Any = None,
    M: Any = None,
) -> tuple[Tree, None]:
    """Solve ``A x = b`` by conjugate gradients, for a symmetric positive definite ``A``.

    The derivatives are those of the solution, by ``b`` and by what ``A`` is made of: each is one more solve with the
    same matrix, to the same tolerance (`custom_linear_solve`). The loop is one loop of the compiled program, and under
    `vmap` each member of the batch stops for itself.

    Parameters
    ----------
    A
        A function ``x -> A x`` of vectors like ``b``, or a square matrix.
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
        An approximate inverse of ``A``, symmetric positive definite: a function or a matrix.

    Returns
    -------
    tuple
        The solution, in the structure, shapes and dtypes of ``b``, and None, as in JAX. Where a residual is
        not finite, the solution is nan.

    Raises
    ------
    ValueError
        A matrix is not square, or ``x0`` is not of the structure and shapes of ``b``.
    TypeError
        ``A`` gives something else than vectors like ``b``.

    References
    ----------
    J. Nocedal and S. J. Wright, Numerical Optimization, 2nd edition 2006, algorithm 5.3. The stopping rule is SciPy's.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> x, _ = cg(lambda x: gnp.array([2.0, 4.0]) * x, gnp.array([1.0, 1.0]))
    >>> gnp.round(x, 4)
    Array([0.5 , 0.25], dtype=float32)
    >>> graphad.grad(lambda a: cg(lambda x: a * x, gnp.array([1.0, 1.0]))[0].sum())(2.0)
    Array(-0.5, dtype=float32, weak_type=True)
    """
    given = system("cg", A, b, x0, M)
    limit = 10 * given.size if maxiter is None else maxiter

    def solve(matvec: Map, b: Tree) -> Tree:
        return _conjugate_gradients(matvec, b, given.start, given.precondition, enough(b, tol, atol), limit)

    return custom_linear_solve(given.product, given.b, solve, solve, symmetric=True), None


def _conjugate_gradients(A: Map, b: Tree, start: Tree | None, M: Map | None, enough: Any, limit: Any) -> Tree:
    x, r = begin(A, b, start)
    z = r if M is None else M(r)

    def goes_on(state: Any) -> Any:
        _, r, gamma, _, k = state
        return ((gamma if M is None else vdot(r, r)) > enough) & (k < limit)

    def step(state: Any) -> Any:
        x, r, gamma, p, k = state
        Ap = A(p)
        alpha = gamma / vdot(p, Ap)
        x, r = add(x, alpha, p), add(r, -alpha, Ap)
        z = r if M is None else M(r)
        next_gamma = vdot(r, z)
        return x, r, next_gamma, add(z, next_gamma / gamma, p), k + 1

    x, r, gamma, _, _ = while_loop(goes_on, step, (x, r, vdot(r, z), z, 0))
    return finite_or_nan(gamma + vdot(r, r), x)
