"""Roots of systems: a function of containers as one of vectors, the search, and derivatives of what it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from graphad import numpy as gnp
from graphad.api.implicit import custom_root
from graphad.flatten_util import ravel_pytree
from graphad.scipy.sparse.linalg import gmres
from graphad.solve._broyden import broyden
from graphad.solve._dense import condition, jacobian, tangent_solve
from graphad.solve._hybrid import hybrid
from graphad.solve._newton import Criteria, Found, Map, newton
from graphad.solve._solution import Solution, checked
from graphad.solve._start import started, vector_type
from graphad.trace.pytree import Tree, flatten, tree_map
from graphad.trace.semantics import as_operand
from graphad.trace.source import where

#: The methods by the names that `root` gives them, for users the first is "newton".
SYSTEMS: Final[dict[str, Callable[[Map, Any, Criteria], Found]]] = {
    "newton of systems": newton,
    "broyden": broyden,
    "hybrid": hybrid,
}


def is_number(x: Tree) -> bool:
    """Whether ``x`` is one number, in no container."""
    leaves, treedef = flatten(x)
    return treedef.is_leaf() and not as_operand(leaves[0], "solve.root").shape


def root_of_system(
    f: Callable[[Tree], Tree],
    x0: Tree,
    search: Callable[[Map, Any, Criteria], Found],
    criteria: Criteria,
    derivative: str,
    throw: bool,
) -> Solution:
    """A root of a function of vectors, as `graphad.solve.root` says."""
    of_value = vector_type(f, x0)
    start, unravel = ravel_pytree(tree_map(lambda x: started(x, of_value, "solve.root"), x0))
    n = start.shape[0]
    if of_value.shape != (n,):
        raise TypeError(
            f"{where()}solve.root: x0 has {n} numbers, but f gives {of_value.shape[0]}: a system has as many equations "
            "as unknowns. For more equations use solve.least_squares."
        )
    criteria = _with_defaults(criteria, search, n, float(gnp.finfo(start.dtype).eps))

    def residual(x: Any) -> Any:
        return gnp.astype(ravel_pytree(f(unravel(x)))[0], x.dtype)

    def solve(f: Map, x: Any) -> tuple[Any, tuple[Any, ...]]:
        x, *known = search(f, x, criteria)
        return x, (*known, condition(jacobian(f, x)) if derivative == "dense" else ())

    x, (found, status, nit, nfev, known) = custom_root(
        residual, start, solve, tangent_solve if derivative == "dense" else _by_products, has_aux=True
    )
    solution = Solution(unravel(x), f(unravel(x)), status, nit, nfev, None, known if derivative == "dense" else None)
    name = search.__name__
    return checked(
        solution,
        f"solve.root (method {name!r})",
        throw,
        lambda: f"where f(x) is at most {float(gnp.max(abs(found), initial=0.0)):.3g}",
    )


def _with_defaults(criteria: Criteria, search: Callable[..., Any], n: int, eps: float) -> Criteria:
    xtol, rtol, limit = criteria
    is_newton = search is newton
    return Criteria(
        max(2e-12, 4 * eps) if xtol is None else xtol,
        eps ** (1 / 2 if is_newton else 2 / 3) if rtol is None else rtol,
        (100 if is_newton else 200 * (n + 1)) if limit is None else limit,
    )


def _by_products(g: Map, y: Any) -> Any:
    return gmres(g, y, tol=float(gnp.finfo(y.dtype).eps) ** 0.75)[0]
