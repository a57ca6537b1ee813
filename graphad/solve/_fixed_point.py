"""Fixed points of functions of vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad import numpy as gnp
from graphad.api.abstract import eval_shape
from graphad.api.implicit import custom_linear_solve, custom_root
from graphad.flatten_util import ravel_pytree
from graphad.solve._anderson import Map, iterated
from graphad.solve._solution import Solution, Status, checked
from graphad.solve._start import started
from graphad.trace.pytree import Tree, flatten, structure_text, unflatten
from graphad.trace.semantics import as_operand
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary


@boundary
def fixed_point(
    f: Callable[..., Tree],
    x0: Tree,
    args: Sequence[Any] = (),
    *,
    xtol: Any = None,
    rtol: Any = None,
    maxiter: Any = 500,
    memory: int = 5,
    throw: bool = True,
) -> Solution:
    """The ``x`` with ``f(x) == x``, with derivatives by ``args`` and by what ``f`` closes over.

    It iterates ``x = f(x)``, accelerated by what the last steps have shown (Anderson's acceleration). The derivative
    ``dx = df + J dx`` is solved for in the same way, with products with the Jacobian J alone, forward and in reverse.

    Parameters
    ----------
    f
        ``f(x, *args)``, of the structure and shapes of x. It is traced: for branches use `graphad.lax.cond`.
    x0
        Where to begin: an array of any shape, or a container of arrays and numbers, which together are the vector.
    args
        Further arguments of ``f``.
    xtol, rtol
        The end is reached where ``abs(f(x) - x) <= xtol + rtol * abs(x)`` in every element. By default both are
        ``eps ** (2 / 3)`` of the dtype: 4e-11 in float64, 2e-5 in float32.
    maxiter
        The most steps, of the search and of each solve for a derivative.
    memory
        How many of the last steps the acceleration uses; 0 is ``x = f(x)`` as it stands. It needs as many times the
        memory of x, twice.
    throw
        Raise if no fixed point is found. Where values are traced (in `jit`, `grad`, `vmap`) nothing is raised: look at
        ``status``.

    Returns
    -------
    Solution
        With ``x`` and ``fun``, which is ``f(x) - x``, in the structure of ``x0``. Derivatives are nan where the solve
        for them does not converge.

    Raises
    ------
    ConvergenceError
        The steps did not suffice, or a value is nan or infinite.
    TypeError
        ``f`` gives another structure or other shapes than those of ``x0``.
    ValueError
        ``memory`` is negative.

    References
    ----------
    H. F. Walker and P. Ni, Anderson Acceleration for Fixed-Point Iterations, SIAM J. Numer. Anal. 49 (2011), 1715-1735.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> from graphad.solve import fixed_point
    >>> found = fixed_point(lambda x, a: gnp.cos(a * x), 1.0, (1.0,))
    >>> round(float(found.x), 4), found.message
    (0.7391, 'converged')
    >>> graphad.grad(lambda a: fixed_point(lambda x: gnp.cos(a * x), 1.0).x)(1.0).round(4)
    Array(-0.2975, dtype=float32, weak_type=True)
    """
    if memory < 0:
        raise ValueError(f"{where()}solve.fixed_point: memory is a number of steps, or 0 for none, not {memory}.")
    start, unravel = ravel_pytree(_start(lambda x: f(x, *args), x0))
    eps = float(gnp.finfo(start.dtype).eps)
    xtol, rtol = eps ** (2 / 3) if xtol is None else xtol, eps ** (2 / 3) if rtol is None else rtol

    def residual(x: Any) -> Any:
        return gnp.astype(ravel_pytree(f(unravel(x), *args))[0], x.dtype) - x

    def is_there(x: Any, r: Any) -> Any:
        return gnp.all(abs(r) <= xtol + rtol * abs(x))

    def solve(residual: Map, x: Any) -> tuple[Any, tuple[Any, Any, Any]]:
        end, converged = iterated(residual, x, memory, maxiter, is_there)
        status = gnp.where(converged, Status.CONVERGED, Status.MAXITER)
        status = gnp.where(gnp.all(gnp.isfinite(end.r)), status, Status.NOT_FINITE)
        return end.x, (end.r, status, end.nit)

    def tangent_solve(g: Map, y: Any) -> Any:
        linear = _linear_solver(max(memory, 1), maxiter)
        return custom_linear_solve(g, y, linear, linear)

    x, (r, status, nit) = custom_root(residual, start, solve, tangent_solve, has_aux=True)
    found = Solution(unravel(x), unravel(r), status, nit, nit + 1)
    return checked(
        found, "solve.fixed_point", throw, lambda: f"where f(x) - x is at most {float(gnp.max(abs(r), initial=0)):.3g}"
    )


def _linear_solver(memory: int, limit: Any) -> Callable[[Map, Any], Any]:
    """Solves ``g(x) == y`` for a linear ``g`` near ``-x``, as the derivative of ``f(x) - x`` is."""

    def solve(g: Map, y: Any) -> Any:
        eps = float(gnp.finfo(y.dtype).eps)
        length = gnp.sqrt(gnp.vdot(y, y))

        def is_below(part: float, r: Any) -> Any:
            return gnp.sqrt(gnp.vdot(r, r)) <= part * length

        end, _ = iterated(lambda x: g(x) - y, gnp.zeros_like(y), memory, limit, lambda _, r: is_below(eps**0.75, r))
        return gnp.where(is_below(eps**0.5, end.r), end.x, np.nan)

    return solve


def _start(f: Callable[[Any], Tree], x0: Tree) -> Tree:
    """The start, in the dtypes that ``f`` makes of it."""
    given, treedef = flatten(x0)
    leaves = [as_operand(x, "solve.fixed_point") for x in given]
    results, of_result = flatten(eval_shape(f, x0))
    if of_result != treedef:
        raise TypeError(
            f"{where()}solve.fixed_point: x0 is {structure_text(treedef)}, but f gives {structure_text(of_result)}: "
            "both must be of one structure."
        )
    shapes = [x.shape for x in leaves], [y.shape for y in results]
    if shapes[0] != shapes[1]:
        raise TypeError(
            f"{where()}solve.fixed_point: x0 has shapes {shapes[0]}, but f gives {shapes[1]}: they must be equal."
        )
    return unflatten(treedef, [started(x, y, "solve.fixed_point") for x, y in zip(given, results, strict=True)])
