"""Roots of scalar functions: Brent's method between two ends, Newton's from a start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.api.implicit import custom_root
from graphad.api.linear_maps import jvp
from graphad.solve._solution import Solution, Status, checked
from graphad.solve._start import number_type, started
from graphad.trace.bind import type_of
from graphad.trace.semantics import as_operand, result_type
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

Function = Callable[[Any], Any]
#: What a method gives: x, and what is known of it: the value there, the status, the numbers of steps and of values.
Found = tuple[Any, tuple[Any, Any, Any, Any]]


@boundary
def root(
    f: Callable[..., Any],
    x0: Any = None,
    args: Sequence[Any] = (),
    *,
    bracket: Sequence[Any] | None = None,
    method: str | None = None,
    xtol: Any = None,
    rtol: Any = None,
    maxiter: Any = None,
    throw: bool = True,
) -> Solution:
    """A root of a scalar function, with the derivatives of a root by ``args`` and by what ``f`` closes over.

    The whole search is one loop of the compiled program. Its steps are not differentiated: the derivative is that of
    the implicit function theorem, ``dx = -df / f'(x)``, at the root (`graphad.lax.custom_root`).

    Parameters
    ----------
    f
        ``f(x, *args)``, from a number to a number. It is traced: for branches use `graphad.lax.cond`.
    x0
        Where Newton's method begins.
    args
        Further arguments of ``f``.
    bracket
        Two ends between which ``f`` changes its sign, for Brent's method. A value there may be infinite.
    method
        ``"brent"`` or ``"newton"``; by default the one that the other arguments are for.
    xtol, rtol
        The root is known to ``xtol + rtol * abs(x)``: of Brent's method the interval is no longer, of Newton's the last
        step. By default ``xtol`` is 2e-12, and for Newton's method not less than 4 eps of the dtype; ``rtol`` is 4 eps,
        and ``sqrt(eps)`` for Newton's method, whose error is about the square of its last step.
    maxiter
        The most steps; by default 100 of Brent's method, 50 of Newton's.
    throw
        Raise if no root is found. Where values are traced (in `jit`, `grad`, `vmap`) nothing is raised: look at
        ``status``.

    Returns
    -------
    Solution
        With ``x`` and ``fun`` scalars, of the dtype of the start and of ``f`` together. ``x`` is nan where ``f`` has
        one sign at both ends. Under `vmap` each member of the batch has its own.

    Raises
    ------
    ConvergenceError
        There is no change of sign in the bracket, a value is nan, the slope is zero, or the steps did not suffice.
    ValueError
        Neither a start nor a bracket is given, or the method is unknown or is for the other one.
    TypeError
        The start is no scalar, or ``f`` gives something else than one number.

    References
    ----------
    R. P. Brent, Algorithms for Minimization without Derivatives, 1973, chapter 4 (procedure ``zero``).

    Examples
    --------
    >>> import graphad
    >>> from graphad.solve import root
    >>> found = root(lambda x, a: x**3 - a, bracket=(0.0, 10.0), args=(8.0,))
    >>> round(float(found.x), 6), found.message
    (2.0, 'converged')
    >>> graphad.grad(lambda a: root(lambda x: x**3 - a, 1.0).x)(8.0).round(6)
    Array(0.083333, dtype=float32, weak_type=True)
    """
    method = _method(method, x0, bracket)
    starts, of_x = _problem(lambda x: f(x, *args), [x0] if method == "newton" else list(bracket or ()))
    eps = float(gnp.finfo(starts[0].dtype).eps)
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
    if method not in (None, "brent", "newton"):
        raise ValueError(f"{where()}solve.root: method is 'brent' or 'newton', not {method!r}.")
    found = method if method is not None else "newton" if bracket is None else "brent"
    if found == "brent" and (bracket is None or len(bracket) != 2):
        raise ValueError(f"{where()}solve.root: Brent's method searches between two ends: give bracket=(a, b).")
    if found == "newton" and x0 is None:
        raise ValueError(
            f"{where()}solve.root: give x0, where the search begins, or bracket=(a, b), to search between."
        )
    return found


def _problem(f: Function, given: list[Any]) -> tuple[list[Any], Function]:
    """The starts, and the function of a number of their dtype, which gives a number of that dtype."""
    for x in given:
        if as_operand(x, "solve.root").shape:
            raise TypeError(
                f"{where()}solve.root is about functions of a number, but starts from {type_of(x).aval}. For many "
                "roots at once vmap it; for vectors use solve.fixed_point or solve.minimize."
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
