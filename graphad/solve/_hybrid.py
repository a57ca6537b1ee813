"""Powell's hybrid method for systems: steps of Newton's method and down the slope, within a region of trust."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.lax import cond
from graphad.solve._dense import inverse, jacobian, length, or_one
from graphad.solve._newton import RUNNING, Criteria, Found, Map, begun, ended, is_consistent, is_flat
from graphad.solve._solution import Status

#: The first step is no longer than so many times the start.
_FIRST_RADIUS: Final = 100.0
#: A step that keeps less of its promise than the first makes the region smaller, less than the last is not made.
_POOR, _FAIR, _LEAST = 0.1, 0.5, 1e-4
#: Failures before the Jacobian is computed anew, and steps without progress that end the search.
_FAILURES, _SLOW, _SLOW_JACOBIANS = 2, 10, 5


class _Model(NamedTuple):
    """The Jacobian as it is known, its inverse, and the scales of the unknowns.

    ``exact`` is true where it has just been computed.
    """

    J: Any
    inverse: Any
    scales: Any
    exact: Any


class _Counts(NamedTuple):
    """Of good steps and failures in a row, and of steps and Jacobians that brought no progress."""

    good: Any
    failed: Any
    slow: Any
    slow_jacobians: Any


class _State(NamedTuple):
    x: Any
    residual: Any
    model: _Model
    radius: Any
    counts: _Counts
    status: Any
    nit: Any
    nfev: Any


def hybrid(f: Map, x: Any, criteria: Criteria) -> Found:
    """As the code HYBRJ of MINPACK (Moré, Garbow and Hillstrom 1980, chapter 2) after Powell 1970.

    Broyden's updates are made of the Jacobian and its inverse, in place of its orthogonal factors.
    """

    def goes_on(s: _State) -> Any:
        return (s.status == RUNNING) & (s.nit < criteria.limit)

    residual = f(x)
    model = _exact(f, x, gnp.zeros_like(x))
    radius = _FIRST_RADIUS * or_one(length(model.scales * x))
    start = _State(x, residual, model, radius, _Counts(0, 0, 0, 0), begun(residual), 0, 1)
    s = while_loop(goes_on, lambda s: _turn(f, s, criteria), start)
    return s.x, s.residual, ended(s.status), s.nit, s.nfev


def _exact(f: Map, x: Any, scales: Any) -> _Model:
    """With the Jacobian at ``x``. The scales are the lengths of its columns, the greatest that there were."""
    J = jacobian(f, x)
    columns = gnp.sqrt(gnp.sum(J * J, axis=0))
    scales = gnp.maximum(gnp.where(gnp.all(scales == 0), or_one(columns), scales), columns)
    return _Model(J, inverse(J), scales, gnp.ones((), bool))


def _turn(f: Map, s: _State, criteria: Criteria) -> _State:
    D = s.model.scales
    slope = (s.residual @ s.model.J) / D
    downhill = down_the_slope(slope, s.model.J @ (slope / D))
    newton = -(s.model.inverse @ s.residual)
    scaled = dogleg(downhill, D * newton, s.radius)
    step, size = scaled / D, length(scaled)
    found = f(s.x + step)

    before, after = length(s.residual), length(found)
    predicted = s.residual + s.model.J @ step
    gain = gnp.where(after < before, 1 - (after / before) ** 2, -1)
    promised = 1 - (length(predicted) / before) ** 2
    ratio = gnp.where(promised > 0, gain / or_one(promised), 0)
    radius = gnp.where(s.nit == 0, gnp.minimum(s.radius, size), s.radius)
    radius, counts = _adapted(radius, size, ratio, gain, s)
    is_better = ratio >= _LEAST

    x = gnp.where(is_better, s.x + step, s.x)
    residual = gnp.where(is_better, found, s.residual)
    again = counts.failed == _FAILURES
    model = cond(
        again,
        lambda: _exact(f, x, D),
        lambda: _updated(s.model, scaled / or_one(size), (found - predicted) / or_one(size)),
    )
    counts = counts._replace(failed=gnp.where(again, 0, counts.failed))
    is_short = criteria.is_short(newton, s.x) & (is_better | s.model.exact)
    is_short = is_short & is_consistent(s.residual, s.model.J @ newton)
    status = gnp.where(is_short, Status.CONVERGED, _status(s, model, radius, size, counts))
    status = gnp.where(s.model.exact & is_flat(s.model.J, s.residual), Status.FLAT, status)
    status = gnp.where(gnp.all(residual == 0), Status.CONVERGED, status)
    return _State(x, residual, model, radius, counts, status, s.nit + 1, s.nfev + 1)


def down_the_slope(slope: Any, image: Any) -> Any:
    """The minimum of the linear model along its steepest descent, in scaled unknowns."""
    g = or_one(length(slope))
    bend = length(image / g)
    return -slope / or_one(bend) ** 2


def dogleg(downhill: Any, newton: Any, radius: Any) -> Any:
    """To the end of the second step, if it lies in the ball of this radius; else down the slope, then towards it."""
    to_slope, to_newton = length(downhill), length(newton)
    between = newton - downhill
    # Where the second leg leaves the ball: |downhill + t between| = radius, in units of it.
    a, b = gnp.sum((between / radius) ** 2), gnp.vdot(downhill / radius, between / radius)
    c = 1 - (to_slope / radius) ** 2
    root = gnp.sqrt(gnp.maximum(b * b + a * c, 0))
    t = gnp.where(b > 0, c / or_one(b + root), (root - b) / or_one(a))
    bent = downhill + gnp.clip(t, 0, 1) * between
    cut = gnp.where(to_slope >= radius, downhill * (radius / or_one(to_slope)), bent)
    is_inside = (to_newton <= radius) & gnp.isfinite(to_newton)
    return gnp.where(is_inside, newton, gnp.where(gnp.isfinite(to_newton), cut, downhill))


def _adapted(radius: Any, size: Any, ratio: Any, gain: Any, s: _State) -> tuple[Any, _Counts]:
    """The radius and the counts after a step that keeps ``ratio`` of its promise."""
    is_poor = ratio < _POOR
    good = gnp.where(is_poor, 0, s.counts.good + 1)
    failed = gnp.where(is_poor, s.counts.failed + 1, 0)
    larger = gnp.where((ratio >= _FAIR) | (good > 1), gnp.maximum(radius, 2 * size), radius)
    larger = gnp.where(abs(ratio - 1) <= _POOR, 2 * size, larger)
    slow = gnp.where(gain >= 0.001, 0, s.counts.slow + 1)
    slow_jacobians = gnp.where(gain >= 0.1, 0, s.counts.slow_jacobians + s.model.exact)
    return gnp.where(is_poor, radius / 2, larger), _Counts(good, failed, slow, slow_jacobians)


def _updated(model: _Model, v: Any, u: Any) -> _Model:
    """Broyden's update in scaled unknowns, ``J + u (D v)^T``; none where that is singular."""
    row = model.scales * v
    Hu = model.inverse @ u
    below = 1 + gnp.vdot(row, Hu)
    inverse = model.inverse - gnp.outer(Hu, row @ model.inverse) / or_one(below)
    is_sound = (abs(below) > float(gnp.finfo(v.dtype).eps) ** 0.5) & gnp.all(gnp.isfinite(inverse))
    J = gnp.where(is_sound, model.J + gnp.outer(u, row), model.J)
    return _Model(J, gnp.where(is_sound, inverse, model.inverse), model.scales, gnp.zeros((), bool))


def _status(s: _State, model: _Model, radius: Any, size: Any, counts: _Counts) -> Any:
    """The status of a search that is not at its end."""
    eps = float(gnp.finfo(s.x.dtype).eps)
    is_slow = (counts.slow == _SLOW) | (counts.slow_jacobians == _SLOW_JACOBIANS)
    is_slow = is_slow | (0.1 * gnp.maximum(0.1 * radius, size) <= eps * length(model.scales * s.x))
    status = gnp.where(is_slow, Status.PRECISION, RUNNING)
    return gnp.where(gnp.all(gnp.isfinite(model.J)) & gnp.isfinite(size), status, Status.NOT_FINITE)
