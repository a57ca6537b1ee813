"""Roots: what users call, and for functions of a number Brent's method between two ends, Newton's from a start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.api.implicit import custom_root
from graphad.api.linear_maps import jvp
from graphad.errors import did_you_mean
from graphad.solve._newton import Criteria
from graphad.solve._solution import Solution, Status, checked
from graphad.solve._start import number_type, started
from graphad.solve._systems import SYSTEMS, is_number, root_of_system
from graphad.trace.bind import type_of
from graphad.trace.pytree import Tree
from graphad.trace.semantics import as_operand, result_type
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

Function = Callable[[Any], Any]
#: What a method gives: x, and what is known of it: the value there, the status, the numbers of steps and of values.
Found = tuple[Any, tuple[Any, Any, Any, Any]]


@boundary
def root(
    f: Callable[..., Any],
    x0: Tree = None,
    args: Sequence[Any] = (),
    *,
    bracket: Sequence[Any] | None = None,
    method: str | None = None,
    xtol: Any = None,
    rtol: Any = None,
    maxiter: Any = None,
    throw: bool = True,
    derivative: Literal["dense", "gmres"] = "dense",
) -> Solution:
    """A root of a function or of a system, with the derivatives of a root by ``args`` and by what ``f`` closes over.

    The whole search is one loop of the compiled program. Its steps are not differentiated: the derivative is that of
    the implicit function theorem, ``dx = -J^-1 df`` with the Jacobian J at the root (`graphad.lax.custom_root`).

    Parameters
    ----------
    f
        ``f(x, *args)``, from a number to a number; or from containers of arrays to others, with as many numbers as
        ``x`` has. It is traced: for branches use `graphad.lax.cond`.
    x0
        Where the search begins: a number; or of a system an array of any shape, or a container of arrays and numbers,
        which together are the vector.
    args
        Further arguments of ``f``.
    bracket
        Two ends between which a function of a number changes its sign, for Brent's method. A value there may be
        infinite.
    method
        By default ``"brent"`` [1]_ with a bracket, else ``"newton"`` for a number and ``"hybrid"`` for a system.
        Of systems, ``"newton"`` computes the Jacobian in each step, by forward mode, and shortens steps that do not
        make the residual less [2]_; ``"broyden"`` computes it once, and learns the changes of its inverse from the
        steps [3]_; ``"hybrid"`` does so too, and goes from Newton's step to one down the slope where the linear model
        is not trusted [4]_ [5]_: it comes from farther away.
    xtol, rtol
        The root is known to ``xtol + rtol * abs(x)``: of Brent's method the interval is no longer, of others the last
        step, in the Euclidean norm. By default ``xtol`` is 2e-12, and not less than 4 eps of the dtype but for Brent's
        method; ``rtol`` is 4 eps, ``sqrt(eps)`` for Newton's method, whose error is about the square of its last step,
        and ``eps ** (2 / 3)`` for "broyden" and "hybrid".
    maxiter
        The most steps; by default 100 of Brent's method, 50 of Newton's for a number and 100 for a system, and of the
        others 200 times the number of unknowns and one.
    throw
        Raise if no root is found. Where values are traced (in `jit`, `grad`, `vmap`) nothing is raised: look at
        ``status``.
    derivative
        How systems for derivatives of roots of systems are solved: ``"dense"``, with the Jacobian written out and
        factored, or ``"gmres"``, with products with it alone (`graphad.scipy.sparse.linalg.gmres`).

    Returns
    -------
    Solution
        With ``x`` and ``fun`` of the dtype of the start and of ``f`` together, ``x`` in the structure of the start.
        ``x`` is nan where ``f`` has one sign at both ends. Under `vmap` each member of the batch has its own. Of
        systems, with "dense", ``condition`` is that of the Jacobian. Where it is more than 0.1 / eps, ``singular`` is
        true, and derivatives are regularised: the shortest ones that fulfil the equations as nearly as any, to about
        ``sqrt(eps)``.

    Raises
    ------
    ConvergenceError
        There is no change of sign in the bracket, a value is nan, the slope is zero, no step makes the residual less,
        or the steps did not suffice.
    ValueError
        Neither a start nor a bracket is given, or the method is unknown or is for the other one.
    TypeError
        ``f`` gives something else than as many numbers as it takes.

    Warns
    -----
    SingularJacobianWarning
        Outside of transformations, where the Jacobian is singular.

    References
    ----------
    .. [1] R. P. Brent, Algorithms for Minimization without Derivatives, 1973, chapter 4 (procedure ``zero``).
    .. [2] J. E. Dennis and R. B. Schnabel, Numerical Methods for Unconstrained Optimization and Nonlinear Equations,
       1996, chapter 6.
    .. [3] C. G. Broyden, A class of methods for solving nonlinear simultaneous equations, Math. Comp. 19 (1965).
    .. [4] M. J. D. Powell, A hybrid method for nonlinear equations, in Numerical Methods for Nonlinear Algebraic
       Equations, 1970.
    .. [5] J. J. Moré, B. S. Garbow and K. E. Hillstrom, User Guide for MINPACK-1, Argonne ANL-80-74, 1980.

    Examples
    --------
    >>> import graphad
    >>> from graphad.solve import root
    >>> found = root(lambda x, a: x**3 - a, bracket=(0.0, 10.0), args=(8.0,))
    >>> round(float(found.x), 6), found.message
    (2.0, 'converged')
    >>> graphad.grad(lambda a: root(lambda x: x**3 - a, 1.0).x)(8.0).round(6)
    Array(0.083333, dtype=float32, weak_type=True)

    A circle and a line:

    >>> import graphad.numpy as gnp
    >>> def meet(p, radius):
    ...     x, y = p
    ...     return x**2 + y**2 - radius**2, 3 * x - 4 * y
    >>> x, y = root(meet, (1.0, 1.0), (5.0,)).x
    >>> x.round(4), y.round(4)
    (Array(4., dtype=float32), Array(3., dtype=float32))
    >>> graphad.jacfwd(lambda r: gnp.stack(root(meet, (1.0, 1.0), (r,)).x))(5.0).round(3)
    Array([0.8, 0.6], dtype=float32)
    """
    if derivative not in ("dense", "gmres"):
        raise ValueError(f"{where()}solve.root: derivative is 'dense' or 'gmres', not {derivative!r}.")
    method = _method(method, x0, bracket)
    criteria = Criteria(xtol, rtol, maxiter)
    if method in SYSTEMS:
        return root_of_system(lambda x: f(x, *args), x0, SYSTEMS[method], criteria, derivative, throw)
    return _root_of_number(lambda x: f(x, *args), x0, bracket, method, criteria, throw)


def _root_of_number(
    f: Function, x0: Any, bracket: Sequence[Any] | None, method: str, criteria: Criteria, throw: bool
) -> Solution:
    starts, of_x = _problem(f, [x0] if bracket is None or method == "newton" else list(bracket))
    eps = float(gnp.finfo(starts[0].dtype).eps)
    xtol, rtol, maxiter = criteria
    if method == "newton":
        xtol, rtol = max(2e-12, 4 * eps) if xtol is None else xtol, eps**0.5 if rtol is None else rtol
    else:
        xtol, rtol = 2e-12 if xtol is None else xtol, 4 * eps if rtol is None else rtol
    limit = maxiter if maxiter is not None else 50 if method == "newton" else 100

    def solve(f: Function, _: Any) -> Found:
        return (_newton if method == "newton" else _brent)(f, starts, xtol, rtol, limit)

    x, known = custom_root(of_x, starts[0], solve, lambda g, y: y / g(gnp.ones_like(y)), has_aux=True)
    found = Solution(x, *known)

    def place() -> str:
        if int(found.status) == Status.NO_SIGN_CHANGE:
            return f"with {', '.join([f'f({float(s):.6g}) = {float(of_x(s)):.6g}' for s in starts])}"
        return f"at x = {float(found.x):.6g} with f(x) = {float(found.fun):.6g}"

    return checked(found, f"solve.root (method {method!r})", throw, place)


def _method(method: str | None, x0: Any, bracket: Sequence[Any] | None) -> str:
    """The method to use: ``"brent"``, ``"newton"`` of a number, or a key of `SYSTEMS`."""
    known = ("brent", "newton", "broyden", "hybrid")
    if method not in (None, *known):
        raise ValueError(f"{where()}solve.root has no method {method!r}. {did_you_mean(str(method), known)}")
    if method == "brent" or (method is None and bracket is not None):
        if bracket is None or len(bracket) != 2:
            raise ValueError(f"{where()}solve.root: Brent's method searches between two ends: give bracket=(a, b).")
        return "brent"
    if x0 is None:
        raise ValueError(
            f"{where()}solve.root: give x0, where the search begins, or bracket=(a, b), to search between."
        )
    if is_number(x0):
        return method or "newton"
    return "newton of systems" if method == "newton" else method or "hybrid"


def _problem(f: Function, given: list[Any]) -> tuple[list[Any], Function]:
    """The starts, and the function of a number of their dtype, which gives a number of that dtype."""
    for x in given:
        if as_operand(x, "solve.root").shape:
            raise TypeError(
                f"{where()}solve.root: a bracket is two numbers, but has {type_of(x).aval}. For many roots at once "
                "vmap it; for systems give x0."
            )
    of_value = number_type(f, given[0], "solve.root")
    starts = [started(x, of_value, "solve.root") for x in given]
    dtype = result_type(*starts)[0].numpy
    return [gnp.astype(x, dtype) for x in starts], lambda x: gnp.astype(f(x), dtype)


# ---------------------------------------------------------------------------------------------------------------------
# Brent's method


class _Bracket(NamedTuple):
    """``b`` is the best point and ``c`` on the other side of the root, ``a`` the best one before.

    ``step`` is the last step, ``before`` the one before that; both are the length of the interval after a bisection.
    """

    a: Any
    b: Any
    c: Any
    fa: Any
    fb: Any
    fc: Any
    step: Any
    before: Any


def _brent(f: Function, ends: Sequence[Any], xtol: Any, rtol: Any, limit: Any) -> Found:
    """Brent 1973, procedure ``zero``; the interval is closed in on until it is no longer than the tolerance."""
    a, b = ends
    fa, fb = f(a), f(b)
    is_nan = gnp.isnan(fa) | gnp.isnan(fb)
    one_sign = gnp.sign(fa) * gnp.sign(fb) > 0

    def is_there(s: _Bracket) -> Any:
        return (s.fb == 0) | (abs(s.c - s.b) <= xtol + rtol * abs(s.b))

    def goes_on(state: tuple[_Bracket, Any]) -> Any:
        s, k = state
        return ~(is_there(s) | gnp.isnan(s.fb) | is_nan | one_sign) & (k < limit)

    def turn(state: tuple[_Bracket, Any]) -> tuple[_Bracket, Any]:
        s, k = state
        return _brent_step(f, s, (xtol + rtol * abs(s.b)) / 2), k + 1

    start = _best_first(_Bracket(a, b, a, fa, fb, fa, b - a, b - a))
    s, nit = while_loop(goes_on, turn, (start, 0))
    status = gnp.where(is_there(s), Status.CONVERGED, Status.MAXITER)
    status = gnp.where(one_sign, Status.NO_SIGN_CHANGE, status)
    status = gnp.where(is_nan | gnp.isnan(s.fb), Status.NOT_FINITE, status)
    fun = gnp.where(is_nan, fa + fb, s.fb)
    return gnp.where(one_sign, np.nan, s.b), (fun, status, nit, nit + 2)


def _brent_step(f: Function, s: _Bracket, tolerance: Any) -> _Bracket:
    """One step: by inverse quadratic interpolation or the secant where that is safe, by bisection elsewhere."""
    half = (s.c - s.b) / 2
    # Interpolated, the root is at b + p / q with p >= 0. An infinite value makes this nan, and the step a bisection.
    ratio, of_a, of_b = s.fb / s.fa, s.fa / s.fc, s.fb / s.fc
    by_secant = s.a == s.c
    quadratic = ratio * (2 * half * of_a * (of_a - of_b) - (s.b - s.a) * (of_b - 1))
    p = gnp.where(by_secant, 2 * half * ratio, quadratic)
    q = gnp.where(by_secant, 1 - ratio, (of_a - 1) * (of_b - 1) * (ratio - 1))
    p, q = abs(p), gnp.where(p > 0, -q, q)
    is_safe = (2 * p < 3 * half * q - abs(tolerance * q)) & (p < abs(s.before * q / 2))
    is_safe = is_safe & (abs(s.before) >= tolerance) & (abs(s.fa) > abs(s.fb))
    step, before = gnp.where(is_safe, p / q, half), gnp.where(is_safe, s.step, half)
    least = gnp.where(half > 0, tolerance, -tolerance)
    b = s.b + gnp.where(abs(step) > tolerance, step, least)
    fb = f(b)
    on_one_side = gnp.sign(fb) * gnp.sign(s.fc) > 0  # then the root is between b and the point before
    c, fc = gnp.where(on_one_side, s.b, s.c), gnp.where(on_one_side, s.fb, s.fc)
    width = b - s.b
    step, before = gnp.where(on_one_side, width, step), gnp.where(on_one_side, width, before)
    return _best_first(_Bracket(s.b, b, c, s.fb, fb, fc, step, before))


def _best_first(s: _Bracket) -> _Bracket:
    """``b`` and ``c`` exchanged where c is the better one."""
    swap = abs(s.fc) < abs(s.fb)
    a, b, c = (gnp.where(swap, x, y) for x, y in ((s.b, s.a), (s.c, s.b), (s.b, s.c)))
    fa, fb, fc = (gnp.where(swap, x, y) for x, y in ((s.fb, s.fa), (s.fc, s.fb), (s.fb, s.fc)))
    return s._replace(a=a, b=b, c=c, fa=fa, fb=fb, fc=fc)


# ---------------------------------------------------------------------------------------------------------------------
# Newton's method


def _newton(f: Function, starts: Sequence[Any], xtol: Any, rtol: Any, limit: Any) -> Found:
    (x,) = starts

    def at(x: Any) -> tuple[Any, Any]:
        return jvp(f, (x,), (gnp.ones_like(x),))

    def is_there(x: Any, y: Any, moved: Any) -> Any:
        return (y == 0) | (moved <= xtol + rtol * abs(x))

    def goes_on(state: Any) -> Any:
        x, y, slope, moved, k = state
        return ~is_there(x, y, moved) & gnp.isfinite(y) & (slope != 0) & (k < limit)

    def turn(state: Any) -> Any:
        x, y, slope, _, k = state
        moved = -y / slope
        return x + moved, *at(x + moved), abs(moved), k + 1

    x, y, slope, moved, nit = while_loop(goes_on, turn, (x, *at(x), gnp.full_like(x, np.inf), 0))
    status = gnp.where(slope == 0, Status.FLAT, Status.MAXITER)
    status = gnp.where(is_there(x, y, moved), Status.CONVERGED, status)
    status = gnp.where(gnp.isfinite(y), status, Status.NOT_FINITE)
    return x, (y, status, nit, nit + 1)
