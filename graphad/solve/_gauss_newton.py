"""Searches for the least sum of squares, with the linear model of the residuals: damped, or in a region of trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.lax import cond
from graphad.scipy.linalg import solve_triangular
from graphad.solve._dense import jacobian, length, or_one
from graphad.solve._hybrid import dogleg, down_the_slope
from graphad.solve._newton import RUNNING, ended
from graphad.solve._solution import Status

Map = Callable[[Any], Any]
#: x, the status, the numbers of steps and of values.
Found = tuple[Any, Any, Any, Any]

#: The first damping, in units of the squares of the scales, and the first radius, of the start.
_FIRST_DAMPING: Final = 1e-3
_FIRST_RADIUS: Final = 1.0
#: Where a step keeps less of its promise than the first, the region becomes smaller; more than the last, larger.
_POOR, _GOOD = 0.25, 0.75

#: How many units of rounding in the sum of squares count as none.
_ROUNDING: Final = 10.0


class Criteria(NamedTuple):
    """When a search ends; see `graphad.solve.least_squares`."""

    ftol: Any
    xtol: Any
    gtol: Any
    limit: Any


class _Point(NamedTuple):
    """A place, its residuals, their Jacobian, and the scales: the greatest length that each column has had."""

    x: Any
    residual: Any
    J: Any
    scales: Any


class _State(NamedTuple):
    """``trust`` is the damping and the factor by which it grows next, or the radius."""

    at: _Point
    trust: Any
    status: Any
    nit: Any
    nfev: Any


def levenberg_marquardt(f: Map, x: Any, criteria: Criteria) -> Found:
    """Madsen, Nielsen and Tingleff 2004, algorithm 3.16, in scaled unknowns.

    The damped system is solved as one of least squares, ``[J; sqrt(mu) D] step = [-r; 0]``, by orthogonal factors.
    """

    def step(at: _Point, trust: Any) -> tuple[Any, Any]:
        damping = gnp.sqrt(trust[0]) * at.scales
        rows = gnp.concatenate([at.J, gnp.diag(damping)])
        q, r = gnp.linalg.qr(rows)
        found = solve_triangular(r, -(at.residual @ q[: at.J.shape[0]]))
        return found, length(at.scales * found)

    def adapted(trust: Any, ratio: Any, _: Any) -> Any:
        damping, factor = trust
        less = damping * gnp.maximum(1 / 3, 1 - (2 * gnp.minimum(ratio, 2) - 1) ** 3)
        return gnp.where(ratio > 0, less, damping * factor), gnp.where(ratio > 0, 2, 2 * factor)

    dtype = x.dtype
    trust = gnp.full((), _FIRST_DAMPING, dtype), gnp.full((), 2, dtype)
    return _search(f, x, criteria, step, adapted, lambda _: trust)


def dogleg_search(f: Map, x: Any, criteria: Criteria) -> Found:
    """Madsen, Nielsen and Tingleff 2004, algorithm 3.21, in scaled unknowns."""

    def step(at: _Point, radius: Any) -> tuple[Any, Any]:
        D = at.scales
        slope = (at.residual @ at.J) / D
        q, r = gnp.linalg.qr(at.J)
        newton = D * solve_triangular(r, -(at.residual @ q))
        scaled = dogleg(down_the_slope(slope, at.J @ (slope / D)), newton, radius)
        return scaled / D, length(scaled)

    def adapted(radius: Any, ratio: Any, size: Any) -> Any:
        larger = gnp.where(ratio > _GOOD, gnp.maximum(radius, 3 * size), radius)
        return gnp.where(ratio < _POOR, gnp.minimum(radius, size) / 2, larger)

    return _search(f, x, criteria, step, adapted, lambda at: _FIRST_RADIUS * or_one(length(at.scales * at.x)))


def _search(f: Map, x: Any, criteria: Criteria, step: Any, adapted: Any, first: Any) -> Found:
    """Steps that are made where they lessen the sum of squares; ``adapted`` says how far the next one is trusted."""

    def goes_on(s: _State) -> Any:
        return (s.status == RUNNING) & (s.nit < criteria.limit)

    def turn(s: _State) -> _State:
        at = s.at
        move, size = step(at, s.trust)
        there = f(at.x + move)
        before, after = length(at.residual), length(there)
        # Of the half sums of squares, in units of the first. What is promised is the fall of the linear model.
        gain = (1 - after / before) * (1 + after / before)
        modelled = length(at.residual + at.J @ move) / before
        promised = (1 - modelled) * (1 + modelled)
        ratio = gnp.where(gnp.isfinite(gain) & (promised > 0), gain / or_one(promised), -1)
        # What is rounding in the sums says nothing: then a step is good that lessens the slope.
        is_rounding = gnp.maximum(abs(gain), abs(promised)) <= _ROUNDING * float(gnp.finfo(x.dtype).eps)
        now = cond((ratio > 0) | is_rounding, lambda: _point(f, at.x + move, there, at.scales), lambda: at)
        is_better = gnp.where(is_rounding, _slope(now) < _slope(at), ratio > 0)
        ratio = gnp.where(is_rounding & is_better, 1, gnp.where(is_better, ratio, gnp.minimum(ratio, 0)))
        now = _Point(*[gnp.where(is_better, a, b) for a, b in zip(now, at, strict=True)])
        is_small = (abs(gain) <= criteria.ftol) & (promised <= criteria.ftol) & (ratio <= 2)
        is_small = is_small & ~(is_rounding & is_better)
        is_short = length(move) <= criteria.xtol * (criteria.xtol + length(at.x))
        end = gnp.where(gnp.isfinite(gain), Status.CONVERGED, Status.NOT_FINITE)
        status = gnp.where(is_small | is_short, end, _status(now, criteria))
        return _State(now, adapted(s.trust, ratio, size), status, s.nit + 1, s.nfev + 1)

    at = _point(f, x, f(x), gnp.zeros_like(x))
    s = while_loop(goes_on, turn, _State(at, first(at), _status(at, criteria), 0, 1))
    return s.at.x, ended(s.status), s.nit, s.nfev


def _point(f: Map, x: Any, residual: Any, scales: Any) -> _Point:
    J = jacobian(f, x)
    columns = gnp.sqrt(gnp.sum(J * J, axis=0))
    known = gnp.where(gnp.all(scales == 0), or_one(columns), scales)  # at first ones where columns are zero
    return _Point(x, residual, J, gnp.maximum(known, columns))


def _slope(at: _Point) -> Any:
    return gnp.max(abs(at.residual @ at.J), initial=0.0)


def _status(at: _Point, criteria: Criteria) -> Any:
    slope = _slope(at)
    is_finite = gnp.isfinite(length(at.residual)) & gnp.all(gnp.isfinite(at.J))
    return gnp.where(is_finite, gnp.where(slope <= criteria.gtol, Status.CONVERGED, RUNNING), Status.NOT_FINITE)
