"""Integration through given times, as one loop: `lax.scan` over the times, in whose turns `lax.while_loop` makes steps.

Reverse mode stores of each of these while loops what it begins with and computes its steps again, so that the memory is
that of the results and of the steps between two of the times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad import lax
from graphad import numpy as gnp
from graphad.api.stop_gradient import stop_gradient
from graphad.solve._ode_control import (
    NOT_FINITE,
    NOT_MONOTONIC,
    OK,
    TOO_MANY_STEPS,
    Field,
    Method,
    Progress,
    Rate,
    State,
    Tolerance,
    advanced,
    as_like,
    initial,
)
from graphad.solve._ode_dopri5 import DOPRI5
from graphad.solve._ode_rodas5p import RODAS5P

#: The methods that choose their steps.
ADAPTIVE: Final = {"dopri5": DOPRI5, "rodas5p": RODAS5P}
_RATES_AT_FIRST = 2


class ODEInfo(NamedTuple):
    """How an integration went; see `graphad.solve.odeint`.

    Attributes
    ----------
    nsteps
        Steps tried (int32).
    naccepted
        Steps whose error was within the tolerance (int32).
    nfev
        Evaluations of ``func`` (int32).
    status
        0 if all is well. Else the results are nan from the time on at which: 1 ``mxstep`` steps did not lead from one
        time to the next; 2 the step size became too small to change the time; 3 the state or its derivative was nan or
        infinite; 4 the times neither increase nor decrease throughout (int32).
    """

    nsteps: Any
    naccepted: Any
    nfev: Any
    status: Any


class Options(NamedTuple):
    """The options of `graphad.solve.odeint` that concern steps."""

    method: str
    tolerance: Tolerance
    max_steps: int
    substeps: int


def integrated(
    rate: Rate, constants: Sequence[Any], state: State, times: Any, options: Options
) -> tuple[State, ODEInfo]:
    """The states at all times, stacked; ``rate`` takes state, time and ``constants``."""
    integrate = _fixed_steps if options.method == "rk4" else _adaptive_steps
    return integrate(rate, constants, state, times, options)


class Course(NamedTuple):
    """An adaptive integration that has not made a step.

    Times that control the steps are constants to derivatives. What depends on the first time, by ``field.shift``, is
    where all steps lie in time; what depends on others is where the polynomials of the steps are evaluated.
    """

    method: Method
    field: Field
    times: Any  # without derivatives
    forwards: Any  # the sign of the direction
    start: Progress

    def advanced(self, at: Progress, tolerance: Tolerance) -> Progress:
        """After one more step, which may be rejected."""
        return advanced(self.method, self.field, at, self.times[-1], tolerance)

    def is_short_of(self, at: Progress, time: Any) -> Any:
        """Whether the integration has not come to ``time``."""
        return self.forwards * (time - at.time) > 0


def begun(rate: Rate, constants: Sequence[Any], state: State, times: Any, options: Options) -> Course:
    """An integration through ``times``; what it carries says if they are not in order."""
    fixed = stop_gradient(times)
    field = Field(rate, times[0] - fixed[0], constants)
    method = ADAPTIVE[options.method]
    start = initial(method, field, state, fixed[0], fixed[-1], options.tolerance)
    gaps = fixed[1:] - fixed[:-1]
    monotonic = gnp.all(gaps >= 0) | gnp.all(gaps <= 0)
    start = start._replace(status=gnp.where(monotonic, start.status, NOT_MONOTONIC))
    return Course(method, field, fixed, gnp.sign(fixed[-1] - fixed[0]), start)


def info_of(at: Progress, method: Method) -> ODEInfo:
    """How the integration went that has come to ``at``."""
    return ODEInfo(at.n_steps, at.n_accepted, _RATES_AT_FIRST + method.rates * at.n_steps, at.status)


def _adaptive_steps(
    rate: Rate, constants: Sequence[Any], state: State, times: Any, options: Options
) -> tuple[State, ODEInfo]:
    course = begun(rate, constants, state, times, options)

    def turn(at: Progress, pair: Any) -> tuple[Progress, State]:
        time, fixed_time = pair
        steps_before = at.n_steps

        def goes_on(at: Progress) -> Any:
            allowed = at.n_steps - steps_before < options.max_steps
            return course.is_short_of(at, fixed_time) & (at.status == OK) & allowed

        at = lax.while_loop(goes_on, lambda at: course.advanced(at, options.tolerance), at)
        stopped = (at.status == OK) & course.is_short_of(at, fixed_time)
        at = at._replace(status=gnp.where(stopped, TOO_MANY_STEPS, at.status))
        states = course.method.interpolated(at.piece, time - course.field.shift)
        return at, [gnp.where(at.status == OK, y, np.nan) for y in states]

    at, states = lax.scan(turn, course.start, (times, course.times))
    return states, info_of(at, course.method)


def _fixed_steps(
    rate: Rate, constants: Sequence[Any], state: State, times: Any, options: Options
) -> tuple[State, ODEInfo]:
    """The classical method of Runge and Kutta, of order 4, with as many steps between any two times."""
    field = Field(rate, 0.0, constants)

    def turn(state: State, pair: Any) -> tuple[State, State]:
        start, end = pair
        h = (end - start) / options.substeps

        def step(k: Any, y: State) -> State:
            return _runge_kutta(field, y, start + as_like(k, h) * h, h)

        state = lax.fori_loop(0, options.substeps, step, state)
        return state, state

    _, states = lax.scan(turn, state, (times[:-1], times[1:]))
    states = [gnp.concatenate([y0[None], ys]) for y0, ys in zip(state, states, strict=True)]
    finite = gnp.all(gnp.stack([gnp.all(gnp.isfinite(ys[-1])) for ys in states]))
    n_steps = gnp.full((), options.substeps * (times.shape[0] - 1), np.int32)
    return states, ODEInfo(n_steps, n_steps, 4 * n_steps, gnp.where(finite, OK, NOT_FINITE).astype(np.int32))


def _runge_kutta(field: Field, y: State, t: Any, h: Any) -> State:
    def moved(by: Any, k: State) -> State:
        return [a + as_like(by, a) * b for a, b in zip(y, k, strict=True)]

    k1 = field(y, t)
    k2 = field(moved(h / 2, k1), t + h / 2)
    k3 = field(moved(h / 2, k2), t + h / 2)
    k4 = field(moved(h, k3), t + h)
    return moved(h / 6, [a + 2 * (b + c) + d for a, b, c, d in zip(k1, k2, k3, k4, strict=True)])
