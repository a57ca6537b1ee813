"""A step along a line that meets the weak Wolfe conditions, in a loop of the compiled program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.control_flow import while_loop

#: Of what the first slope promises, the value must fall by this part; to this part the slope must rise.
_DECREASE: Final = 1e-4
_CURVATURE: Final = 0.9
#: Each trial at least doubles the step or takes a tenth off the interval.
_MOST_TRIALS: Final = 40
#: How many units of rounding in the value count as none.
_ROUNDING: Final = 10.0


class Point(NamedTuple):
    """A point on the line: how far along, the value and the slope along the line there."""

    t: Any
    value: Any
    slope: Any


class Search(NamedTuple):
    """The search: the step must be longer than that to ``low`` and shorter than that to ``high``.

    At ``low`` the value has fallen enough, but the slope is still steep; at ``high`` it has not. ``trial`` is the point
    tried last, ``gradient`` the gradient there.
    """

    low: Point
    high: Point
    trial: Point
    gradient: Any
    trials: Any


def step_along(
    value_and_grad: Callable[[Any], tuple[Any, Any]], x: Any, value: Any, gradient: Any, direction: Any, first: Any
) -> tuple[Search, Any]:
    """A search from ``x`` along ``direction``, that tries ``first`` first; and whether its last trial makes progress.

    Where the value falls without end, all trials are made, or one is minus infinity: the last is as good as any.

    It closes in on the step as Lewis and Overton do (Nonsmooth optimization via quasi-Newton methods, Math. Program.
    141 (2013), algorithm 2.6), but cuts the interval where a cubic has its minimum, not in halves. Where values differ
    by rounding alone, slopes say whether they fall (Hager and Zhang 2005, the approximate Wolfe conditions).
    """
    slope = gnp.vdot(gradient, direction)
    rounding = _ROUNDING * float(gnp.finfo(value.dtype).eps) * abs(value)

    def at(t: Any) -> tuple[Point, Any]:
        found, g = value_and_grad(x + t * direction)
        return Point(t, found, gnp.vdot(g, direction)), g

    def falls(p: Point) -> Any:
        by_slope = (p.value <= value + rounding) & (p.slope <= (2 * _DECREASE - 1) * slope)
        return (p.value <= value + _DECREASE * p.t * slope) | by_slope

    def is_good(p: Point) -> Any:
        return falls(p) & ((p.slope >= _CURVATURE * slope) | (p.value == -np.inf))

    def goes_on(s: Search) -> Any:
        return ~is_good(s.trial) & (s.trials < _MOST_TRIALS)

    def turn(s: Search) -> Search:
        is_low = falls(s.trial)
        low, high = _chosen(is_low, s.trial, s.low), _chosen(is_low, s.high, s.trial)
        t = gnp.where(gnp.isinf(high.t), 2 * low.t, _between(low, high))
        return Search(low, high, *at(t), s.trials + 1)

    here = Point(gnp.zeros_like(slope), value, slope)
    beyond = Point(gnp.full_like(slope, np.inf), gnp.full_like(value, np.nan), gnp.full_like(slope, np.nan))
    end = while_loop(goes_on, turn, Search(here, beyond, *at(gnp.astype(first, slope.dtype)), 1))
    return end, is_good(end.trial) | (falls(end.trial) & (end.trial.value < value))


def _chosen(condition: Any, a: Point, b: Point) -> Point:
    return Point(*[gnp.where(condition, x, y) for x, y in zip(a, b, strict=True)])


def _between(low: Point, high: Point) -> Any:
    """Where the cubic through two points has its minimum, or their middle; never near to one of them.

    Nocedal and Wright 2006, equation 3.59.
    """
    width = high.t - low.t
    d1 = low.slope + high.slope - 3 * (low.value - high.value) / (low.t - high.t)
    d2 = gnp.sqrt(d1 * d1 - low.slope * high.slope)
    t = high.t - width * (high.slope + d2 - d1) / (high.slope - low.slope + 2 * d2)
    t = gnp.where(gnp.isfinite(t), t, low.t + width / 2)
    return gnp.astype(gnp.clip(t, low.t + width / 10, high.t - width / 10), width.dtype)
