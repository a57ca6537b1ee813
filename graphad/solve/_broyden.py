"""Broyden's method for systems: the Jacobian is computed once, and its inverse learns from the steps."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.lax import cond
from graphad.solve._dense import inverse, jacobian, length, or_one
from graphad.solve._newton import MOST_TRIALS, RUNNING, Criteria, Found, Map, begun, ended, is_consistent, shortened
from graphad.solve._solution import Status

#: The trials along a step by an inverse that may be wrong; then it is computed anew.
_FEW_TRIALS: Final = 5


class _Model(NamedTuple):
    """The inverse of the Jacobian; ``exact`` is true where it is that at x.

    ``leads`` is true where steps led to a root when it was exact; of a singular one that is not sure.
    """

    inverse: Any
    exact: Any
    leads: Any


class _State(NamedTuple):
    x: Any
    residual: Any
    model: _Model
    status: Any
    nit: Any
    nfev: Any


def broyden(f: Map, x: Any, criteria: Criteria) -> Found:
    """Broyden 1965, his first ("good") method, on the inverse by the formula of Sherman and Morrison.

    Where no step along the direction makes the residual less, the Jacobian is computed anew.
    """

    def goes_on(s: _State) -> Any:
        return (s.status == RUNNING) & (s.nit < criteria.limit)

    def turn(s: _State) -> _State:
        model = s.model
        step = -(model.inverse @ s.residual)
        scale = or_one(gnp.max(abs(s.residual), initial=0.0))
        slope = -gnp.sum((s.residual / scale) ** 2)
        tried = shortened(f, s.x, s.residual, step, slope, gnp.where(model.exact, MOST_TRIALS, _FEW_TRIALS))
        again = ~tried.is_better & ~model.exact
        is_short = criteria.is_short(step, s.x) & (tried.is_better | model.exact) & model.leads
        status = gnp.where(tried.is_better | again, RUNNING, Status.PRECISION)
        status = gnp.where(gnp.all(gnp.isfinite(step)), status, Status.NOT_FINITE)
        status = gnp.where(is_short | gnp.all(tried.residual == 0), Status.CONVERGED, status)
        model = cond(
            again,
            lambda: _exact(f, s.x, s.residual),
            lambda: _Model(
                updated(model.inverse, tried.x - s.x, tried.residual - s.residual), gnp.zeros((), bool), model.leads
            ),
        )
        return _State(tried.x, tried.residual, model, status, s.nit + 1, s.nfev + tried.trials)

    residual = f(x)
    s = while_loop(goes_on, turn, _State(x, residual, _exact(f, x, residual), begun(residual), 0, 1))
    return s.x, s.residual, ended(s.status), s.nit, s.nfev


def _exact(f: Map, x: Any, residual: Any) -> _Model:
    J = jacobian(f, x)
    H = inverse(J)
    return _Model(H, gnp.ones((), bool), is_consistent(residual, -(J @ (H @ residual))))


def updated(H: Any, s: Any, y: Any) -> Any:
    """The inverse after a step ``s`` that changed the residual by ``y``; as it was, where that makes it singular."""
    Hy = H @ y
    along = gnp.vdot(s, Hy)
    is_sound = abs(along) > float(gnp.finfo(s.dtype).eps) ** 0.5 * length(s) * length(Hy)
    change = gnp.outer(s - Hy, s @ H) / or_one(along)
    return gnp.where(is_sound & gnp.all(gnp.isfinite(change)), H + change, H)
