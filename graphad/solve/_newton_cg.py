"""Newton's methods for minima that multiply by the Hessian and no more: along a line, and in a region of trust.

The system for a step is solved by conjugate gradients, as exactly as it is worth, and no further than to a direction in
which the function does not curve upwards. Products with the Hessian are derivatives of the gradient, forward over
reverse; what they have in common at a place is computed once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop
from graphad.api.linear_maps import linearize
from graphad.solve._dense import length, or_one
from graphad.solve._newton import RUNNING, ended
from graphad.solve._solution import Status

Map = Callable[[Any], Any]

_FIRST_RADIUS: Final = 1.0
#: A step that keeps less of its promise than the first is not made; than the second, makes the region smaller; more
#: than the last, larger.
_LEAST, _POOR, _GOOD = 0.15, 0.25, 0.75
#: How many units of rounding in the value count as none.
_ROUNDING: Final = 10.0


class _Inner(NamedTuple):
    """Conjugate gradients: the step, its residual, the next direction; ``done`` if the step is to be taken."""

    z: Any
    r: Any
    d: Any
    done: Any
    k: Any


def newton_direction(gradient: Map, x: Any, g: Any) -> Any:
    """A direction of descent, nearly that of Newton's method (Nocedal and Wright 2006, algorithm 7.1)."""

    def along(s: _Inner, _: Any) -> Any:
        return gnp.where(s.k == 0, -g, s.z)

    return _conjugate(linearize(gradient, x)[1], g, np.inf, along)


def _to_the_edge(s: _Inner, radius: Any) -> Any:
    """Where the line from ``z`` along ``d`` leaves the ball of this radius; ``z`` itself lies inside."""
    z, d = s.z / radius, s.d / or_one(length(s.d))
    b = gnp.vdot(z, d)
    t = -b + gnp.sqrt(gnp.maximum(b * b + 1 - gnp.vdot(z, z), 0))
    return radius * (z + t * d)


def _conjugate(product: Map, g: Any, radius: Any, edge: Callable[[_Inner, Any], Any]) -> Any:
    """The step that conjugate gradients find; ``edge`` is the step where there is no minimum within the radius."""
    size = length(g)
    enough = gnp.minimum(0.5, gnp.sqrt(size)) * size

    def goes_on(s: _Inner) -> Any:
        return ~s.done & (s.k < 2 * g.shape[0] + 10)

    def turn(s: _Inner) -> _Inner:
        Bd = product(s.d)
        curvature = gnp.vdot(s.d, Bd)
        squared = gnp.vdot(s.r, s.r)
        a = squared / or_one(curvature)
        z = s.z + a * s.d
        r = s.r + a * Bd
        leaves = (curvature <= float(gnp.finfo(g.dtype).eps) * gnp.vdot(s.d, s.d)) | ~(length(z) < radius)
        d = gnp.vdot(r, r) / or_one(squared) * s.d - r
        return _Inner(gnp.where(leaves, edge(s, radius), z), r, d, leaves | (length(r) <= enough), s.k + 1)

    start = _Inner(gnp.zeros_like(g), g, -g, size == 0, 0)
    return while_loop(goes_on, turn, start).z


class _State(NamedTuple):
    x: Any
    value: Any
    gradient: Any
    radius: Any
    status: Any
    nit: Any
    nfev: Any


def trust_region(
    value_and_gradient: Callable[[Any], tuple[Any, Any]], gradient: Map, x: Any, gtol: Any, limit: Any
) -> tuple[Any, tuple[Any, ...]]:
    """Nocedal and Wright 2006, algorithm 4.1 with the steps of algorithm 7.2, after Steihaug 1983.

    Where a step changes the value by rounding alone, but makes the gradient less, its promise counts as kept (Conn,
    Gould and Toint, Trust-Region Methods, 2000, section 17.4.2).
    """
    eps = float(gnp.finfo(x.dtype).eps)

    def status_of(value: Any, g: Any) -> Any:
        is_finite = gnp.isfinite(value) & gnp.all(gnp.isfinite(g))
        is_there = gnp.max(abs(g), initial=0.0) <= gtol
        return gnp.where(is_finite, gnp.where(is_there, Status.CONVERGED, RUNNING), Status.NOT_FINITE)

    def goes_on(s: _State) -> Any:
        return (s.status == RUNNING) & (s.nit < limit)

    def turn(s: _State) -> _State:
        product = linearize(gradient, s.x)[1]
        step = _conjugate(product, s.gradient, s.radius, _to_the_edge)
        value, g = value_and_gradient(s.x + step)
        promised = -gnp.vdot(s.gradient, step) - gnp.vdot(step, product(step)) / 2
        rounding = _ROUNDING * eps * abs(s.value) * (length(g) < length(s.gradient))
        ratio = (s.value - value + rounding) / (promised + rounding)
        ratio = gnp.where(gnp.isnan(ratio) | ~gnp.all(gnp.isfinite(g)), gnp.where(value == -np.inf, 1, -1), ratio)
        is_better = ratio > _LEAST
        size = length(step)
        larger = gnp.where((ratio > _GOOD) & (size >= 0.99 * s.radius), 2 * s.radius, s.radius)
        radius = gnp.where(ratio < _POOR, 0.25 * gnp.minimum(s.radius, size), larger)
        x, value, g = (gnp.where(is_better, a, b) for a, b in ((s.x + step, s.x), (value, s.value), (g, s.gradient)))
        is_stuck = ~is_better & (radius <= eps * gnp.maximum(length(s.x), eps))
        status = gnp.where(is_stuck, Status.PRECISION, status_of(value, g))
        return _State(x, value, g, radius, status, s.nit + 1, s.nfev + 1)

    value, g = value_and_gradient(x)
    radius = gnp.full((), _FIRST_RADIUS, x.dtype)
    s = while_loop(goes_on, turn, _State(x, value, g, radius, status_of(value, g), 0, 1))
    return s.x, (s.gradient, ended(s.status), s.nit, s.nfev)
