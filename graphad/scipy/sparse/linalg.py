"""Linear systems whose matrix is a function: the solvers need its products with vectors alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.api.implicit import custom_linear_solve
from graphad.api.names import listing
from graphad.trace.bind import type_of
from graphad.trace.pytree import Tree, flatten, structure_text, tree_map
from graphad.trace.semantics import as_operand, result_type
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

__all__ = ["cg"]

Map = Callable[[Tree], Tree]


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
        The solution, in the structure, shapes and dtypes of ``b``, and None, as in JAX. Where a product gives nan, the
        solution is nan.

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
    product = _as_map(A, "A")
    b = tree_map(lambda x: _floating(x, A), b)
    leaves = flatten(b)[0]
    precondition = None if M is None else _as_map(M, "M")
    start = None if x0 is None else _start(x0, b)
    limit = 10 * sum([x.size for x in leaves]) if maxiter is None else maxiter

    def solve(matvec: Map, b: Tree) -> Tree:
        enough = gnp.maximum(tol * tol * _vdot(b, b), atol * atol)
        return _conjugate_gradients(matvec, b, start, precondition, enough, limit)

    return custom_linear_solve(product, b, solve, solve, symmetric=True), None


def _conjugate_gradients(A: Map, b: Tree, start: Tree | None, M: Map | None, enough: Any, limit: Any) -> Tree:
    x, r = tree_map(gnp.zeros_like, b), b
    if start is not None:
        from_start = _add(b, -1, A(start))
        is_better = _vdot(from_start, from_start) < _vdot(b, b)
        x, r = (tree_map(lambda s, z: gnp.where(is_better, s, z), a, z) for a, z in ((start, x), (from_start, b)))
    z = r if M is None else M(r)

    def goes_on(state: Any) -> Any:
        _, r, gamma, _, k = state
        return ((gamma if M is None else _vdot(r, r)) > enough) & (k < limit)

    def step(state: Any) -> Any:
        x, r, gamma, p, k = state
        Ap = A(p)
        alpha = gamma / _vdot(p, Ap)
        x, r = _add(x, alpha, p), _add(r, -alpha, Ap)
        z = r if M is None else M(r)
        next_gamma = _vdot(r, z)
        return x, r, next_gamma, _add(z, next_gamma / gamma, p), k + 1

    x, r, gamma, _, _ = while_loop(goes_on, step, (x, r, _vdot(r, z), z, 0))
    # A nan ends the loop, for it is not greater than anything: what has been found by then is no solution.
    is_nan = gnp.isnan(gamma + _vdot(r, r))
    return tree_map(lambda a: gnp.where(is_nan, np.nan, a), x)


def _vdot(x: Tree, y: Tree) -> Any:
    products = [gnp.vdot(a, b) for a, b in zip(flatten(x)[0], flatten(y)[0], strict=True)]
    return sum(products[1:], start=products[0]) if products else gnp.zeros(())


def _add(x: Tree, scale: Any, y: Tree) -> Tree:
    """``x + scale * y`` in the dtypes of ``x``."""
    return tree_map(lambda a, b: gnp.astype(a + scale * b, a.dtype), x, y)


def _floating(x: Any, A: Any) -> Any:
    """An array of ``b`` in the dtype in which the system is solved."""
    x = as_operand(x, "cg")
    dtype, _ = result_type(x) if callable(A) else result_type(x, as_operand(A, "cg"))
    return gnp.astype(x, dtype) if dtype.is_float else gnp.astype(x, float)


def _as_map(A: Any, name: str) -> Map:
    if callable(A):
        return A
    shape = type_of(A).aval.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"{where()}cg: {name} is a square matrix or a function x -> {name} x, but got an array of shape {shape}."
        )
    return lambda x: gnp.astype(gnp.matmul(A, x), x.dtype)


def _start(x0: Tree, b: Tree) -> Tree:
    (given, treedef), (leaves, wanted) = flatten(x0), flatten(b)
    if treedef != wanted:
        raise ValueError(
            f"{where()}cg: x0 is {structure_text(treedef)}, but b is {structure_text(wanted)}: both must be of one "
            "structure."
        )
    shapes = [type_of(x).aval.shape for x in given], [x.shape for x in leaves]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{where()}cg: x0 has shapes {shapes[0]}, but b has {shapes[1]}: they must be equal.")
    return tree_map(lambda s, x: gnp.astype(as_operand(s, "cg"), x.dtype), x0, b)


__dir__ = listing(globals())
