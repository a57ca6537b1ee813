"""Nonlinear least squares: what users call, of the methods of Levenberg and Marquardt and of Powell's dog leg."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphad import numpy as gnp
from graphad.api.grad import grad
from graphad.api.implicit import custom_root
from graphad.errors import did_you_mean
from graphad.flatten_util import ravel_pytree
from graphad.solve._dense import condition, jacobian, tangent_solve
from graphad.solve._gauss_newton import Criteria, dogleg_search, levenberg_marquardt
from graphad.solve._solution import Solution, checked
from graphad.solve._start import started, vector_type
from graphad.trace.pytree import Tree, tree_map
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

_METHODS = {"lm": levenberg_marquardt, "dogleg": dogleg_search}


@boundary
def least_squares(
    residual: Callable[..., Tree],
    x0: Tree,
    args: Sequence[Any] = (),
    method: str = "lm",
    *,
    ftol: Any = None,
    xtol: Any = None,
    gtol: Any = None,
    maxiter: Any = None,
    throw: bool = True,
) -> Solution:
    """A local minimum of ``sum(residual(x)**2) / 2``, with derivatives by ``args`` and what ``residual`` closes over.

    The search is one loop of the compiled program, whose steps are not differentiated. They use the Jacobian J of the
    residuals r alone, by forward mode. The derivatives are those of a point where ``J^T r`` is zero, with the whole
    Hessian, ``J^T J`` and the curvature of the residuals: they are right where residuals are large, too.

    Parameters
    ----------
    residual
        ``residual(x, *args)``: a container of arrays, of as many numbers as there are observations. It is traced: for
        branches use `graphad.lax.cond`.
    x0
        Where to begin: an array of any shape, or a container of arrays and numbers, which together are the parameters.
    args
        Further arguments of ``residual``.
    method
        ``"lm"``: the method of Levenberg and Marquardt, with the scales of [1]_ and the damping of [2]_; it takes fewer
        observations than parameters, and a Jacobian of any rank. ``"dogleg"``: Powell's dog leg in a region of trust
        [2]_, for at least as many observations as parameters. Both use QR factors, which GPUs do not have yet.
    ftol, xtol, gtol
        The end is reached where a step changes the sum by no more than that part of it; where a step is not longer than
        ``xtol * (xtol + norm(x))``; or where no element of the gradient ``J^T r`` is greater than ``gtol``. By default
        eps, ``eps ** (2 / 3)``, and 1e-8, but not less than ``sqrt(eps)`` of the dtype.
    maxiter
        The most steps, those that are not made included; by default 100 times the number of parameters and one.
    throw
        Raise if no minimum is found. Where values are traced (in `jit`, `grad`, `vmap`) nothing is raised: look at
        ``status``.

    Returns
    -------
    Solution
        With ``x`` in the structure of ``x0``, ``fun`` the residuals as ``residual`` gives them, and ``jac`` the
        Jacobian, a matrix of a row for each observation. ``condition`` is that of the Hessian, whose systems are
        regularised where it is ``singular``, as by `root`.

    Raises
    ------
    ConvergenceError
        The steps did not suffice, or a value is nan or infinite.
    ValueError
        The method is unknown, or is not for so few observations.

    Warns
    -----
    SingularJacobianWarning
        Outside of transformations, where the Hessian is singular: some parameters are not determined.

    References
    ----------
    .. [1] J. J. Moré, The Levenberg-Marquardt algorithm: implementation and theory, Lecture Notes in Mathematics 630,
       1978.
    .. [2] K. Madsen, H. B. Nielsen and O. Tingleff, Methods for Non-Linear Least Squares Problems, 2nd edition 2004,
       algorithms 3.16 and 3.21.

    Examples
    --------
    >>> import numpy as np, graphad, graphad.numpy as gnp
    >>> from graphad.solve import least_squares
    >>> t = np.arange(5.0)
    >>> def misfit(p, y):
    ...     return p["height"] * gnp.exp(-p["rate"] * t) - y
    >>> y = 3 * np.exp(-0.5 * t)
    >>> found = least_squares(misfit, {"height": 1.0, "rate": 1.0}, (y,))
    >>> found.x["height"].round(6), found.x["rate"].round(6)
    (Array(3., dtype=float64), Array(0.5, dtype=float64))

    How much faster the decay seems for each unit that the first observation is higher:

    >>> graphad.grad(lambda y: least_squares(misfit, {"height": 1.0, "rate": 1.0}, (y,)).x["rate"])(y)[0].round(4)
    Array(0.155, dtype=float64)
    """
    if method not in _METHODS:
        raise ValueError(f"{where()}solve.least_squares has no method {method!r}. {did_you_mean(method, _METHODS)}")
    of_value = vector_type(lambda x: residual(x, *args), x0)
    start, unravel = ravel_pytree(tree_map(lambda x: started(x, of_value, "solve.least_squares"), x0))
    n, m = start.shape[0], of_value.shape[0]
    if method == "dogleg" and m < n:
        raise ValueError(
            f"{where()}solve.least_squares: 'dogleg' needs as many observations as parameters, but there are {m} for "
            f"{n}. Use method='lm'."
        )
    eps = float(gnp.finfo(start.dtype).eps)
    criteria = Criteria(
        eps if ftol is None else ftol,
        eps ** (2 / 3) if xtol is None else xtol,
        max(1e-8, eps**0.5) if gtol is None else gtol,
        100 * (n + 1) if maxiter is None else maxiter,
    )

    def residuals(x: Any) -> Any:
        return gnp.astype(ravel_pytree(residual(unravel(x), *args))[0], x.dtype)

    gradient = grad(lambda x: gnp.sum(residuals(x) ** 2) / 2)

    def solve(gradient: Any, x: Any) -> Any:
        x, *known = _METHODS[method](residuals, x, criteria)
        return x, (*known, condition(jacobian(gradient, x)))

    x, (status, nit, nfev, known) = custom_root(gradient, start, solve, tangent_solve, has_aux=True)
    found = Solution(unravel(x), residual(unravel(x), *args), status, nit, nfev, jacobian(residuals, x), known)

    def place() -> str:
        slope = float(gnp.max(abs(gradient(x)), initial=0.0))
        return f"where the sum of squares is {float(gnp.sum(residuals(x) ** 2)):.6g} and its slope at most {slope:.3g}"

    return checked(found, f"solve.least_squares (method {method!r})", throw, place)
