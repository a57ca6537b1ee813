"""Generalized minimal residuals."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import fori_loop, while_loop
from graphad.api.implicit import custom_linear_solve
from graphad.numpy._precision import in_float32
from graphad.primitives.linalg.triangular_solve import solve as triangular
from graphad.scipy.sparse.linalg._system import Map, add, begin, choose, enough, finite_or_nan, system, vdot
from graphad.trace.pytree import Tree, flatten, tree_map
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary


@boundary
def gmres(
    A: Any,
    b: Tree,
    x0: Tree | None = None,
    *,
    tol: Any = 1e-5,
    atol: Any = 0.0,
    restart: int = 20,
    maxiter: Any = None,
    M: Any = None,
    solve_method: str = "batched",
) -> tuple[Tree, Any]:
    """Solve ``A x = b`` by generalized minimal residuals, for a matrix that need not be symmetric.

    A cycle finds the solution with the least residual in the space of ``restart`` products with the matrix; its memory
    is that of as many vectors. The derivatives are those of the solution, by ``b`` and by what ``A`` is made of: each
    is one more solve to the same tolerance, in reverse mode with the transpose of the matrix (`custom_linear_solve`).
    Under `vmap` each member of the batch stops for itself.

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
    restart
        The number of products in a cycle, at most the number of elements of ``b``: more take fewer cycles, and more
        memory and time each.
    maxiter
        The most cycles; by default ten times the number of elements of ``b``. A cycle that finds nothing better is the
        last one.
    M
        An approximate inverse of ``A``: a linear function or a matrix. The system that is solved is ``A M y = b`` with
        ``x = M y``, so that the residual is that of ``A x = b``. Systems with the transpose of ``A`` are
        preconditioned by its transpose.
    solve_method
        ``"batched"`` makes all products of a cycle, then solves for its solution; ``"incremental"`` does both step by
        step, and ends a cycle where its residual is small enough.

    Returns
    -------
    tuple
        The solution, in the structure, shapes and dtypes of ``b``, and an integer: 0 if the end is reached, -1 where a
        residual is not finite, and the solution nan, else the number of cycles.

    Raises
    ------
    ValueError
        A matrix is not square, ``x0`` is not of the structure and shapes of ``b``, ``restart`` is less than 1, or there
        is no such ``solve_method``.
    TypeError
        ``A`` gives something else than vectors like ``b``.
    DifferentiationError
        ``M`` is not linear.

    References
    ----------
    Y. Saad and M. H. Schultz, GMRES: a generalized minimal residual algorithm for solving nonsymmetric linear systems,
    SIAM Journal on Scientific and Statistical Computing 7, 1986. Right preconditioning: Y. Saad, Iterative Methods for
    Sparse Linear Systems, 2nd edition 2003, algorithm 9.5. The stopping rule is SciPy's.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> matrix = gnp.array([[2.0, 1.0], [0.0, 4.0]])
    >>> x, info = gmres(matrix, gnp.array([3.0, 4.0]))
    >>> gnp.round(x, 4), info
    (Array([1., 1.], dtype=float32), Array(0, dtype=int32))
    >>> gnp.round(graphad.grad(lambda b: gmres(matrix, b)[0].sum())(gnp.array([3.0, 4.0])), 4)
    Array([0.5  , 0.125], dtype=float32)
    """
    given = system("gmres", A, b, x0, M)
    if solve_method not in ("batched", "incremental"):
        raise ValueError(f"{where()}gmres got solve_method={solve_method!r}; it takes 'batched' and 'incremental'.")
    if operator.index(restart) < 1:
        raise ValueError(f"{where()}gmres takes restart >= 1, got {restart}.")
    length = min(operator.index(restart), given.size)
    limit = 10 * given.size if maxiter is None else maxiter
    stepwise = solve_method == "incremental"

    def solve(matvec: Map, b: Tree) -> tuple[Tree, Any]:
        return _cycles(matvec, b, given.start, given.precondition, enough(b, tol, atol), (length, limit, stepwise))

    def transpose_solve(vecmat: Map, b: Tree) -> tuple[Tree, Any]:
        M = given.precondition_of_transpose()
        return _cycles(vecmat, b, given.start, M, enough(b, tol, atol), (length, limit, stepwise))

    return custom_linear_solve(given.product, given.b, solve, transpose_solve, has_aux=True)


def _cycles(
    A: Map, b: Tree, start: Tree | None, M: Map | None, enough: Any, how: tuple[int, Any, bool]
) -> tuple[Tree, Any]:
    """Cycles from one solution to a better one: the solution, and how it ended."""
    length, limit, stepwise = how
    if not length:
        return b, gnp.zeros((), int)

    def goes_on(state: Any) -> Any:
        _, _, square, before, k = state
        return (square > enough) & (square < before) & (k < limit)

    def cycle(state: Any) -> Any:
        x, r, square, _, k = state
        change = _minimal(lambda v: A(v if M is None else M(v)), r, gnp.sqrt(square), enough, length, stepwise)
        nearer = add(x, 1, change if M is None else M(change))
        residual = add(b, -1, A(nearer))
        found = vdot(residual, residual)
        is_no_better = found >= square  # false for a nan, which is kept
        return choose(is_no_better, x, nearer), choose(is_no_better, r, residual), found, square, k + 1

    x, r = begin(A, b, start)
    square = vdot(r, r)
    x, r, _, _, k = while_loop(goes_on, cycle, (x, r, square, gnp.full_like(square, gnp.inf), 0))
    square = vdot(r, r)
    info = gnp.where(gnp.isfinite(square), gnp.where(square > enough, k, 0), -1)
    return finite_or_nan(square, x), gnp.astype(info, int)


# ---------------------------------------------------------------------------------------------------------------------
# One cycle


class _Cycle(NamedTuple):
    """The process of Arnoldi, and the least squares problem that comes of it, after ``k`` steps.

    Attributes
    ----------
    basis
        Orthonormal vectors, along a first axis of ``length + 1``; zeros where there are none.
    columns
        The product of the matrix with basis vector j, along the basis: row j.
    sizes
        The length of that product, before it is made orthogonal.
    rotations
        The orthogonal matrix that makes the columns triangular.
    triangle
        The triangular matrix, by columns.
    """

    basis: Tree
    columns: Any
    sizes: Any
    rotations: Any
    triangle: Any


def _minimal(A: Map, r: Tree, norm: Any, enough: Any, length: int, stepwise: bool) -> Tree:
    """The vector z in the space of ``length`` products of the matrix with ``r`` for which ``r - A z`` is least."""
    dtype = gnp.result_type(*flatten(r)[0])
    basis = tree_map(lambda v: gnp.zeros((length + 1, *v.shape), v.dtype).at[0].set(gnp.astype(v / norm, v.dtype)), r)
    zeros = gnp.zeros((length, length + 1), dtype)
    state = _Cycle(basis, zeros, gnp.zeros(length, dtype), gnp.eye(length + 1, dtype=dtype), zeros)
    if stepwise:

        def goes_on(carry: Any) -> Any:
            k, state = carry
            rest = norm * state.rotations[k, 0]
            return (k < length) & (rest * rest > enough)

        def step(carry: Any) -> Any:
            k, state = carry
            return k + 1, _rotated(k, _extended(A, k, state))

        _, state = while_loop(goes_on, step, (0, state))
    else:
        state = fori_loop(0, length, lambda k, state: _extended(A, k, state), state)
        state = fori_loop(0, length, _rotated, state)
    weights = _solved(state.triangle, norm * state.rotations[:, 0], length)
    return tree_map(lambda v: gnp.astype(gnp.tensordot(weights, v[:length], 1), v.dtype), state.basis)


def _extended(A: Map, k: Any, state: _Cycle) -> _Cycle:
    """One more vector of the basis: what is new in the product of the matrix with the last one."""
    w = A(tree_map(lambda v: v[k], state.basis))
    size = gnp.sqrt(vdot(w, w))
    along = gnp.zeros_like(state.columns[0])
    for _ in range(2):  # what rounding leaves of the other vectors goes the second time
        h = _along(state.basis, w)
        w = add(w, -1, tree_map(lambda v, h=h: gnp.tensordot(h, v, 1), state.basis))
        along = along + h
    rest = gnp.sqrt(vdot(w, w))
    is_new = ~(rest <= _epsilon(rest) * size)  # true for a nan
    basis = tree_map(lambda v, w: v.at[k + 1].set(gnp.astype(gnp.where(is_new, w / rest, 0), v.dtype)), state.basis, w)
    along = along.at[k + 1].set(gnp.where(is_new, rest, 0))
    return state._replace(basis=basis, columns=state.columns.at[k].set(along), sizes=state.sizes.at[k].set(size))


def _along(basis: Tree, w: Tree) -> Any:
    """The products of all vectors of a basis with a vector."""
    pairs = zip(flatten(basis)[0], flatten(w)[0], strict=True)
    found = [gnp.matmul(gnp.reshape(v, (v.shape[0], -1)), gnp.ravel(x)) for v, x in pairs]
    return sum(found[1:], start=found[0])


def _rotated(k: Any, state: _Cycle) -> _Cycle:
    """One more column of the triangle: rotated as those before it, and by one that makes its last element zero.

    The column of a product that depends on those before it is zeros: the basis has no vector that changes the residual.
    """
    column = gnp.matmul(state.rotations, state.columns[k])
    above, below = column[k], column[k + 1]
    diagonal = gnp.hypot(above, below)
    depends = diagonal <= _epsilon(diagonal) * state.sizes[k]
    cosine = gnp.where(depends, 1, above / diagonal)
    sine = gnp.where(depends, 0, below / diagonal)
    first, second = state.rotations[k], state.rotations[k + 1]
    rotations = state.rotations.at[k].set(cosine * first + sine * second)
    rotations = rotations.at[k + 1].set(cosine * second - sine * first)
    column = column.at[k].set(diagonal).at[k + 1].set(0)
    return state._replace(
        rotations=rotations, triangle=state.triangle.at[k].set(gnp.where(depends, gnp.zeros_like(column), column))
    )


@in_float32
def _solved(triangle: Any, right: Any, length: int) -> Any:
    """The solution of a triangular system, given by columns; 0 for a column of zeros, which no other unknown sees."""
    columns = triangle[:, :length]
    is_empty = gnp.diagonal(columns) == 0
    regular = columns + gnp.diag(gnp.astype(is_empty, columns.dtype))
    found = triangular(regular, right[:length, None], left=True, lower=True, transposed=True)
    return gnp.where(is_empty, 0, found[:, 0])


def _epsilon(x: Any) -> float:
    return float(gnp.finfo(x.dtype).eps)
