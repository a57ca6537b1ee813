"""Integration up to an event: the first zero of a function of state and time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad import lax
from graphad import numpy as gnp
from graphad.api.linear_maps import jvp
from graphad.api.stop_gradient import stop_gradient
from graphad.solve._ode_control import OK, TOO_MANY_STEPS, Progress, Rate, State
from graphad.solve._ode_integrate import ODEInfo, Options, begun, info_of
from graphad.trace.pytree import Tree

_NEWTON_STEPS = 2  # from the root itself: they give it its derivatives, up to the third

Function = Callable[[State, Any], Any]


class ODEEvent(NamedTuple):
    """Where an integration with ``event=`` has ended; see `graphad.solve.odeint`.

    Attributes
    ----------
    time
        The time of the event, or the last of the times given if there was none.
    state
        The state then.
    found
        Whether there was an event (bool).
    """

    time: Any
    state: Tree
    found: Any


def up_to_event(
    rate: Rate, constants: Sequence[Any], value_of: Function, state: State, times: Any, options: Options
) -> tuple[ODEEvent, ODEInfo]:
    """Where ``value_of(state, time)`` is zero first, at the start or after a change of its sign."""
    course = begun(rate, constants, state, times, options)
    end = course.times[-1]
    sign = gnp.sign(stop_gradient(value_of(state, times[0])))

    def goes_on(carried: tuple[Progress, Any]) -> Any:
        at, found = carried
        return course.is_short_of(at, end) & ~found & (at.status == OK) & (at.n_steps < options.max_steps)

    def step(carried: tuple[Progress, Any]) -> tuple[Progress, Any]:
        at = course.advanced(carried[0], options.tolerance)
        return at, sign * stop_gradient(value_of(at.piece.after, at.time + course.field.shift)) <= 0

    at, found = lax.while_loop(goes_on, step, (course.start, sign == 0))
    stopped = (at.status == OK) & ~found & course.is_short_of(at, end)
    at = at._replace(status=gnp.where(stopped, TOO_MANY_STEPS, at.status))

    def along(time: Any) -> Any:
        return value_of(course.method.interpolated(at.piece, time), time + course.field.shift)

    root = gnp.where(sign == 0, course.times[0], _bisected(along, at, sign))
    time = gnp.where(found, _with_derivatives(along, root), times[-1] - course.field.shift)
    fine = at.status == OK
    states = [gnp.where(fine, y, np.nan) for y in course.method.interpolated(at.piece, time)]
    return ODEEvent(gnp.where(fine, time + course.field.shift, np.nan), states, found & fine), info_of(
        at, course.method
    )


def _bisected(along: Callable[[Any], Any], at: Progress, sign: Any) -> Any:
    """The end of the shortest interval in the last step in which ``along`` loses its ``sign``."""

    def halved(_: Any, interval: tuple[Any, Any]) -> tuple[Any, Any]:
        low, high = interval
        middle = low + (high - low) / 2
        before = sign * along(middle) > 0
        return gnp.where(before, middle, low), gnp.where(before, high, middle)

    digits = int(np.finfo(at.time.dtype).nmant) + 1
    return stop_gradient(lax.fori_loop(0, digits, halved, (at.piece.start, at.time))[1])


def _with_derivatives(along: Callable[[Any], Any], root: Any) -> Any:
    """``root``, with the derivatives of the implicit function that it is."""
    time = root
    for _ in range(_NEWTON_STEPS):
        value, slope = jvp(along, (time,), (gnp.ones_like(root),))
        step = value / gnp.where(slope == 0, 1.0, slope)
        time = time - (step - stop_gradient(step))
    return time
