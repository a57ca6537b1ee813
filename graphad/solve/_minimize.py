"""Minima of functions of vectors: what users call, and quasi-Newton methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import scan, while_loop
from graphad.api.grad import grad, value_and_grad
from graphad.api.implicit import custom_root
from graphad.errors import did_you_mean
from graphad.flatten_util import ravel_pytree
from graphad.scipy.sparse.linalg import cg
from graphad.solve._line_search import step_along
from graphad.solve._newton_cg import newton_direction, trust_region
from graphad.solve._solution import Solution, Status, checked
from graphad.solve._start import number_type, started
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

_METHODS: Final = ("bfgs", "l-bfgs", "newton-cg", "trust-ncg")


@boundary
def minimize(
    f: Callable[..., Any],
    x0: Tree,
    args: Sequence[Any] = (),
    method: str = "bfgs",
    *,
    gtol: Any = None,
    maxiter: Any = None,
    maxcor: int = 10,
    throw: bool = True,
) -> Solution:
    """A local minimum of ``f``, with derivatives by ``args`` and by what ``f`` closes over.

    The search is one loop of the compiled program, whose steps are not differentiated. The derivatives are those of a
    point without slope, ``dx = -H^-1 d(grad f)``, where products with the Hessian H are all that is needed: the
    system is solved by conjugate gradients (`graphad.scipy.sparse.linalg.cg`).

    Parameters
    ----------
    f
        ``f(x, *args)``, which gives one number. It is traced: for branches use `graphad.lax.cond`.
    x0
        Where to begin: an array of any shape, or a container of arrays and numbers, which together are the vector.
    args
        Further arguments of ``f``.
    method
        ``"bfgs"``, which keeps an approximate inverse of the Hessian, of n times n elements; or ``"l-bfgs"``, which
        keeps the last ``maxcor`` steps. Or with products with the Hessian at hand: ``"newton-cg"``, Newton's method
        with a search along the line, and ``"trust-ncg"``, in a region of trust, for functions that curve downwards on
        the way. Both solve for a step by conjugate gradients.
    gtol
        The end is reached where no element of the gradient is greater. By default 1e-5, and not less than ``sqrt(eps)``
        of the dtype, which is 3e-4 in float32.
    maxiter
        The most steps; by default 200 times the number of elements.
    maxcor
        How many steps ``"l-bfgs"`` keeps.
    throw
        Raise if no minimum is found. Where values are traced (in `jit`, `grad`, `vmap`) nothing is raised: look at
        ``status``.

    Returns
    -------
    Solution
        With ``x`` and the gradient ``jac`` in the structure of ``x0``, and ``fun``, a scalar.

    Raises
    ------
    ConvergenceError
        The steps did not suffice, no step makes the value less, or a value is nan or infinite.
    ValueError
        The method is unknown, or ``maxcor`` is less than 1.
    TypeError
        ``f`` gives something else than one number.

    References
    ----------
    J. Nocedal and S. J. Wright, Numerical Optimization, 2nd edition 2006, algorithms 6.1, 7.4, 7.1 and 7.2.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> from graphad.solve import minimize
    >>> def valley(x, a):  # Rosenbrock 1960
    ...     return (a - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2
    >>> found = minimize(valley, gnp.array([-1.2, 1.0], float), (1.0,), gtol=1e-3)
    >>> found.x.round(2), found.message
    (Array([1., 1.], dtype=float32), 'converged')
    >>> graphad.jacfwd(lambda a: minimize(valley, gnp.array([-1.2, 1.0]), (a,)).x)(1.0).round(1)
    Array([1., 2.], dtype=float32)
    """
    if method not in _METHODS:
        raise ValueError(f"{where()}solve.minimize has no method {method!r}. {did_you_mean(str(method), _METHODS)}")
    if maxcor < 1:
        raise ValueError(f"{where()}solve.minimize: 'l-bfgs' keeps one step or more, but maxcor is {maxcor}.")
    of_value = number_type(lambda x: f(x, *args), x0, "solve.minimize")
    start, unravel = ravel_pytree(tree_map(lambda x: started(x, of_value, "solve.minimize"), x0))
    n = start.shape[0]
    gtol = max(1e-5, float(gnp.finfo(start.dtype).eps) ** 0.5) if gtol is None else gtol
    limit = 200 * n if maxiter is None else maxiter

    def value(x: Any) -> Any:
        return f(unravel(x), *args)

    def solve(_: Any, x: Any) -> tuple[Any, tuple[Any, ...]]:
        of_x = value_and_grad(value)
        if method == "trust-ncg":
            return trust_region(of_x, grad(value), x, gtol, limit)
        if method == "newton-cg":
            return _along_lines(of_x, x, _Exact(), lambda _, x, g: newton_direction(grad(value), x, g), gtol, limit)
        model = _Dense.of(n, x.dtype) if method == "bfgs" else _Limited.of(maxcor, n, x.dtype)
        return _along_lines(of_x, x, model, lambda model, _, g: model.direction(g), gtol, limit)

    def tangent_solve(g: Callable[[Any], Any], y: Any) -> Any:
        return cg(g, y, tol=float(gnp.finfo(y.dtype).eps) ** 0.75)[0]

    x, (gradient, status, nit, nfev) = custom_root(grad(value), start, solve, tangent_solve, has_aux=True)
    found = Solution(unravel(x), value(x), status, nit, nfev, unravel(gradient))

    def place() -> str:
        slope = float(gnp.max(abs(gradient), initial=0.0))
        return f"where f(x) is {float(found.fun):.6g} and the greatest element of its gradient {slope:.3g}"

    return checked(found, f"solve.minimize (method {method!r})", throw, place)


# ---------------------------------------------------------------------------------------------------------------------
# The search


class _Model(Protocol):
    """What is known of the Hessian, and how a step teaches it more.

    ``has_scale`` is true if the first direction that it gives has the scale of x, not that of the gradient.
    """

    @property
    def has_scale(self) -> bool: ...

    def after(self, s: Any, y: Any) -> Any: ...


class _Exact(NamedTuple):
    """Nothing is kept of the Hessian: products with it are computed at each place."""

    @property
    def has_scale(self) -> bool:
        return True

    def after(self, s: Any, y: Any) -> _Exact:
        return self


class _State(NamedTuple):
    """Where the search is; ``failed`` if no step from there makes the value less."""

    x: Any
    value: Any
    gradient: Any
    model: Any
    failed: Any
    nit: Any
    nfev: Any


def _along_lines(
    value_and_gradient: Callable[[Any], tuple[Any, Any]],
    x: Any,
    model: _Model,
    direction: Callable[[Any, Any, Any], Any],
    gtol: Any,
    limit: Any,
) -> tuple[Any, tuple[Any, ...]]:
    """Nocedal and Wright 2006, algorithm 6.1: x, then the gradient, the status, and the numbers of steps and values."""

    def is_there(s: _State) -> Any:
        return gnp.max(abs(s.gradient), initial=0.0) <= gtol

    def is_finite(s: _State) -> Any:
        return gnp.isfinite(s.value) & gnp.all(gnp.isfinite(s.gradient))

    def goes_on(s: _State) -> Any:
        return ~is_there(s) & is_finite(s) & ~s.failed & (s.nit < limit)

    def turn(s: _State) -> _State:
        ahead = direction(s.model, s.x, s.gradient)
        is_descent = gnp.vdot(ahead, s.gradient) < 0
        ahead = gnp.where(is_descent, ahead, -s.gradient)
        length = gnp.sqrt(gnp.vdot(ahead, ahead))
        is_gradient = ~is_descent if s.model.has_scale else ~is_descent | (s.nit == 0)  # it has not the scale of x
        first = gnp.where(is_gradient, 1 / gnp.maximum(length, 1), 1)
        search, is_better = step_along(value_and_gradient, s.x, s.value, s.gradient, ahead, first)
        moved = search.trial.t * ahead
        model = s.model.after(moved, search.gradient - s.gradient)
        reached = _State(
            s.x + moved, search.trial.value, search.gradient, model, ~is_better, s.nit + 1, s.nfev + search.trials
        )
        stayed = s._replace(failed=~is_better, nit=s.nit + 1, nfev=s.nfev + search.trials)
        return tree_map(lambda a, b: gnp.where(is_better, a, b), reached, stayed)

    value, gradient = value_and_gradient(x)
    end = while_loop(goes_on, turn, _State(x, value, gradient, model, np.False_, 0, 1))
    status = gnp.where(end.failed, Status.PRECISION, Status.MAXITER)
    status = gnp.where(is_there(end), Status.CONVERGED, status)
    status = gnp.where(is_finite(end), status, Status.NOT_FINITE)
    return end.x, (end.gradient, status, end.nit, end.nfev)


class _Dense(NamedTuple):
    """An approximate inverse of the Hessian, by the formula of Broyden, Fletcher, Goldfarb and Shanno."""

    inverse: Any
    is_new: Any

    @property
    def has_scale(self) -> bool:
        return False

    @classmethod
    def of(cls, n: int, dtype: Any) -> _Dense:
        return cls(gnp.eye(n, dtype=dtype), np.True_)

    def direction(self, gradient: Any) -> Any:
        return -gnp.matmul(self.inverse, gradient)

    def after(self, s: Any, y: Any) -> _Dense:
        """Nocedal and Wright 2006, equations 6.17 and, for the scale of the first, 6.20."""
        curvature, weight = _curvature(s, y)
        is_first = self.is_new & (weight > 0)
        H = self.inverse * gnp.where(is_first, curvature / _or_one(gnp.vdot(y, y)), 1)
        Hy = gnp.matmul(H, y)
        crossed = gnp.outer(s, Hy)
        grown = (weight * weight * gnp.vdot(y, Hy) + weight) * gnp.outer(s, s)
        return _Dense(H - weight * (crossed + crossed.T) + grown, self.is_new & (weight == 0))


class _Limited(NamedTuple):
    """The last steps, the newest first: of x, of the gradient, and the inverse of their product.

    Of steps not made yet these are zeros.
    """

    s: Any
    y: Any
    weights: Any
    scale: Any

    @property
    def has_scale(self) -> bool:
        return False

    @classmethod
    def of(cls, memory: int, n: int, dtype: Any) -> _Limited:
        return cls(
            gnp.zeros((memory, n), dtype), gnp.zeros((memory, n), dtype), gnp.zeros(memory, dtype), gnp.ones((), dtype)
        )

    def direction(self, gradient: Any) -> Any:
        """Nocedal and Wright 2006, algorithm 7.4."""

        def back(q: Any, step: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            s, y, weight = step
            along = weight * gnp.vdot(s, q)
            return q - along * y, along

        def forth(r: Any, step: tuple[Any, Any, Any, Any]) -> tuple[Any, None]:
            s, y, weight, along = step
            return r + (along - weight * gnp.vdot(y, r)) * s, None

        q, alongs = scan(back, gradient, (self.s, self.y, self.weights))
        return -scan(forth, self.scale * q, (self.s, self.y, self.weights, alongs), reverse=True)[0]

    def after(self, s: Any, y: Any) -> _Limited:
        curvature, weight = _curvature(s, y)
        made = _Limited(
            gnp.concatenate([s[None], self.s[:-1]]),
            gnp.concatenate([y[None], self.y[:-1]]),
            gnp.concatenate([weight[None], self.weights[:-1]]),
            curvature / _or_one(gnp.vdot(y, y)),
        )
        return tree_map(lambda a, b: gnp.where(weight > 0, a, b), made, self)


def _curvature(s: Any, y: Any) -> tuple[Any, Any]:
    """The product of a step and of what it changed of the gradient; and its inverse, zero where it is rounding."""
    product = gnp.vdot(s, y)
    eps = float(gnp.finfo(s.dtype).eps)
    is_known = product > eps * gnp.sqrt(gnp.vdot(s, s) * gnp.vdot(y, y))
    return product, gnp.where(is_known, 1 / _or_one(product), 0)


def _or_one(x: Any) -> Any:
    return gnp.where(x == 0, 1, x)
