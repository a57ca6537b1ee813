"""Newton's method for systems, along a line if the full step is too long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.solve._dense import jacobian, length, or_one, solved
from graphad.solve._solution import Status

Map = Callable[[Any], Any]
#: What a method gives: x, the residual there, the status, the numbers of steps and of values.
Found = tuple[Any, Any, Any, Any, Any]

RUNNING: Final = -1
#: Of what the slope promises, half the square of the residual must fall by this part.
_DECREASE: Final = 1e-4
MOST_TRIALS: Final = 30


class Criteria(NamedTuple):
    """When a search ends: the last step is not longer than ``xtol + rtol * norm(x)``, or ``limit`` steps are made."""

    xtol: Any
    rtol: Any
    limit: Any

    def is_short(self, step: Any, x: Any) -> Any:
        return length(step) <= self.xtol + self.rtol * length(x)


class _State(NamedTuple):
    x: Any
    residual: Any
    status: Any
    nit: Any
    nfev: Any


def begun(residual: Any) -> Any:
    """The status of a search that begins with this residual."""
    status = gnp.where(gnp.all(residual == 0), Status.CONVERGED, RUNNING)
    return gnp.where(gnp.all(gnp.isfinite(residual)), status, Status.NOT_FINITE)


def ended(status: Any) -> Any:
    """The status of a search that has ended."""
    return gnp.where(status == RUNNING, Status.MAXITER, status)


def is_flat(J: Any, residual: Any) -> Any:
    """Whether the residual's square has no slope, but for rounding."""
    slope = length(residual @ J)
    eps = float(gnp.finfo(J.dtype).eps)
    return slope <= eps * length(gnp.ravel(J)) * length(residual)


def is_consistent(residual: Any, change: Any) -> Any:
    """Whether a step that changes the residual so leads to a root: where the slope is zero none does."""
    return length(residual + change) <= length(residual) / 2


def newton(f: Map, x: Any, criteria: Criteria) -> Found:
    """Dennis and Schnabel 1996, algorithm D6.1.1; where the Jacobian is singular the step is that of least squares."""

    def goes_on(s: _State) -> Any:
        return (s.status == RUNNING) & (s.nit < criteria.limit)

    def turn(s: _State) -> _State:
        J = jacobian(f, s.x)
        step = solved(J, -s.residual)
        scale = or_one(gnp.max(abs(s.residual), initial=0.0))
        slope = gnp.vdot(s.residual / scale, J @ step / scale)
        tried = shortened(f, s.x, s.residual, step, slope, MOST_TRIALS)
        is_short = criteria.is_short(step, s.x) & is_consistent(s.residual, J @ step)
        status = gnp.where(tried.is_better, RUNNING, Status.PRECISION)
        status = gnp.where(is_flat(J, s.residual), Status.FLAT, status)
        status = gnp.where(gnp.all(gnp.isfinite(step)), status, Status.NOT_FINITE)
        status = gnp.where(is_short | gnp.all(tried.residual == 0), Status.CONVERGED, status)
        return _State(tried.x, tried.residual, status, s.nit + 1, s.nfev + tried.trials)

    residual = f(x)
    s = while_loop(goes_on, turn, _State(x, residual, begun(residual), 0, 1))
    return s.x, s.residual, ended(s.status), s.nit, s.nfev


class Trial(NamedTuple):
    """A step along a line: where it leads, which is where it began unless it ``is_better``."""

    t: Any
    x: Any
    residual: Any
    is_better: Any
    trials: Any


def shortened(f: Map, x: Any, residual: Any, step: Any, slope: Any, most: Any) -> Trial:
    """The step, shortened until the square of the residual falls enough; ``slope`` in units of the largest residual.

    The next length is where a parabola has its minimum (Dennis and Schnabel 1996, algorithm A6.3.1).
    """
    scale = or_one(gnp.max(abs(residual), initial=0.0))
    before = _half_square(residual / scale)

    def is_enough(t: Any, found: Any) -> Any:
        return _half_square(found / scale) <= before + _DECREASE * t * slope

    def goes_on(state: Any) -> Any:
        t, found, k = state
        return ~is_enough(t, found) & (k < most)

    def turn(state: Any) -> Any:
        t, found, k = state
        value = _half_square(found / scale)
        best = -slope * t * t / (2 * (value - before - slope * t))
        t = gnp.where(gnp.isfinite(best), gnp.clip(best, 0.1 * t, 0.5 * t), 0.1 * t)
        return t, f(x + t * step), k + 1

    t = gnp.ones((), x.dtype)
    t, found, trials = while_loop(goes_on, turn, (t, f(x + step), 1))
    is_better = is_enough(t, found)
    return Trial(
        gnp.where(is_better, t, 0),
        gnp.where(is_better, x + t * step, x),
        gnp.where(is_better, found, residual),
        is_better,
        trials,
    )


def _half_square(x: Any) -> Any:
    square = gnp.vdot(x, x) / 2
    return gnp.where(gnp.isfinite(square), square, np.inf)
