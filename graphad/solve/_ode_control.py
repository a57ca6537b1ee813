"""Adaptive steps of an integration: their sizes by the error that a method estimates, and what is carried.

A state is a list of arrays here. The numbers that control the integration (times, step sizes, error estimates) have no
derivatives.

References
----------
.. [1] E. Hairer, S. P. Nørsett, G. Wanner, "Solving Ordinary Differential Equations I", 2nd edition, 1993: II.4 for the
   control of the step size and the first step.
.. [2] E. Hairer, G. Wanner, "Solving Ordinary Differential Equations II", 2nd edition, 1996: IV.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphad import numpy as gnp
from graphad.api.stop_gradient import stop_gradient
from graphad.trace.pytree import tree_map

State = list[Any]
Rate = Callable[[State, Any, Sequence[Any], bool], State]

# Step size control with a proportional and an integral part ([2], as in the code "dopri5").
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 10.0
_INTEGRAL = 0.04
_PROPORTIONAL = 0.2 - 0.75 * _INTEGRAL
_LEAST_LOG_ERROR = float(np.log(1e-4))  # what is remembered of a step: one lucky step shall not hold back the next

OK, TOO_MANY_STEPS, STEP_TOO_SMALL, NOT_FINITE, NOT_MONOTONIC = range(5)


class Tolerance(NamedTuple):
    """How exact steps are to be, and how long at most."""

    relative: Any
    absolute: Any
    longest: Any


class Field(NamedTuple):
    """The right side of the equation, ``rate(state, time, constants, again)``; called, as a function of state and time.

    ``shift`` is zero, with the derivative of the time at which the integration begins: all its times move with that.
    Where the rate is computed ``again``, it prints nothing.
    """

    rate: Rate
    shift: Any
    constants: Sequence[Any]
    again: bool = False

    def __call__(self, state: State, time: Any) -> State:
        return self.rate(state, time + self.shift, self.constants, self.again)


class Piece(Protocol):
    """What the solution follows in a step; a pytree."""

    @property
    def start(self) -> Any: ...

    @property
    def after(self) -> State: ...


class Method(NamedTuple):
    """A method whose error estimate is of order 4.

    Attributes
    ----------
    begun
        Time, size, state and rate at the start -> a piece of no extent that ends there.
    step
        Field, what is carried, size, tolerance -> a piece, and the mean square of its error in units of the tolerance.
    interpolated
        Piece, time within it -> the state; its derivative with respect to the time is right, too.
    rates
        Evaluations of the right side in a step.
    """

    begun: Callable[[Any, Any, State, State], Any]
    step: Callable[[Field, Progress, Any, Tolerance], tuple[Any, Any]]
    interpolated: Callable[[Any, Any], State]
    rates: int


class Progress(NamedTuple):
    """What an integration carries from step to step. Its end is that of ``piece``."""

    time: Any
    piece: Any
    next_size: Any
    log_error: Any  # of the last accepted step, for the integral part of the control
    rejected: Any  # whether the last step tried was
    status: Any
    n_steps: Any
    n_accepted: Any


def initial(method: Method, field: Field, state: State, time: Any, end: Any, tolerance: Tolerance) -> Progress:
    """Before the first step; ``time`` and ``end`` have no derivatives."""
    first = field(state, time)
    size = stop_gradient(_first_size(field, state, first, time, end, tolerance))
    piece = method.begun(time, gnp.where(size == 0, 1.0, size), state, first)
    finite = gnp.all(gnp.stack([gnp.all(gnp.isfinite(x)) for x in (*state, *first)]))
    return Progress(
        time=time,
        piece=piece,
        next_size=size,
        log_error=gnp.full_like(time, _LEAST_LOG_ERROR),
        rejected=gnp.zeros((), bool),
        status=gnp.where(finite, OK, NOT_FINITE).astype(np.int32),
        n_steps=gnp.zeros((), np.int32),
        n_accepted=gnp.zeros((), np.int32),
    )


def advanced(method: Method, field: Field, at: Progress, end: Any, tolerance: Tolerance) -> Progress:
    """After one more step, which may be rejected.

    What goes into a rejected step has no derivatives. Where such a step has left the domain of the equation they are
    nan, and the zero cotangent of the step, times nan, would be nan. Only the step tells whether it is rejected, so it
    is written twice: once the derivatives are taken, both are the same equations, and compiled as one.
    """
    left = end - at.time
    last = abs(left) <= 1.01 * abs(at.next_size)  # rather a step a little longer than a tiny one behind it
    h = gnp.where(last, left, at.next_size)
    _, error = method.step(field, at, h, tolerance)
    accepted = error <= 1.0

    def if_accepted(x: Any) -> Any:
        return gnp.where(accepted, x, stop_gradient(x))

    reached = at._replace(piece=tree_map(if_accepted, at.piece))
    constants = [if_accepted(c) for c in field.constants]
    piece, _ = method.step(Field(field.rate, if_accepted(field.shift), constants, again=True), reached, h, tolerance)
    log_error = 0.5 * gnp.log(error)
    size = _next_size(h, log_error, at, accepted, tolerance)
    time = gnp.where(accepted, gnp.where(last, end, at.time + h), at.time)
    goes_on = (abs((time + size) - time) > 0) | (time == end)
    why = gnp.where(error < np.inf, STEP_TOO_SMALL, NOT_FINITE)
    return Progress(
        time=time,
        piece=tree_map(lambda new, old: gnp.where(accepted, new, old), piece, at.piece),
        next_size=size,
        log_error=gnp.where(accepted, gnp.maximum(log_error, _LEAST_LOG_ERROR), at.log_error),
        rejected=~accepted,
        status=gnp.where(goes_on, at.status, why),
        n_steps=at.n_steps + 1,
        n_accepted=at.n_accepted + accepted.astype(np.int32),
    )


def as_like(x: Any, y: Any) -> Any:
    """``x`` in the dtype of ``y``."""
    return x if x.dtype == y.dtype else x.astype(y.dtype)


def error_of(error: State, before: State, after: State, tolerance: Tolerance) -> Any:
    """The mean square of the error of a step in units of the tolerance; without derivatives."""
    scale = [
        tolerance.absolute + tolerance.relative * gnp.maximum(abs(y0), abs(y1))
        for y0, y1 in zip(before, after, strict=True)
    ]
    return stop_gradient(mean_square(error, scale))


def mean_square(state: State, scale: Sequence[Any]) -> Any:
    """The mean over all elements of the squares of ``state / scale``."""
    squares = [gnp.sum((y / s) ** 2) for y, s in zip(state, scale, strict=True)]
    total = squares[0]
    for x in squares[1:]:
        total = total + x
    return total / max(sum(y.size for y in state), 1)


def _next_size(h: Any, log_error: Any, at: Progress, accepted: Any, tolerance: Tolerance) -> Any:
    """The size of the step to try next ([2])."""
    integral = gnp.where(accepted, _INTEGRAL * at.log_error, 0.0)
    log_factor = _PROPORTIONAL * log_error - integral - np.log(_SAFETY)
    least = gnp.where(accepted & ~at.rejected, -np.log(_GROW), 0.0)  # it does not grow right after a rejection
    log_factor = gnp.where(log_error < np.inf, gnp.clip(log_factor, least, -np.log(_SHRINK)), -np.log(_SHRINK))
    size = h * gnp.exp(-log_factor)
    return stop_gradient(gnp.clip(size, -tolerance.longest, tolerance.longest))


def _first_size(field: Field, state: State, first: State, time: Any, end: Any, tolerance: Tolerance) -> Any:
    """The size of the first step, with the sign of the direction ([1])."""
    scale = [tolerance.absolute + tolerance.relative * abs(y) for y in state]
    d0, d1 = gnp.sqrt(mean_square(state, scale)), gnp.sqrt(mean_square(first, scale))
    left = end - time
    guess = gnp.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / gnp.maximum(d1, 1e-5))
    guess = gnp.sign(left) * gnp.minimum(as_like(guess, time), abs(left))
    euler = [y + as_like(guess, f) * f for y, f in zip(state, first, strict=True)]
    change = [b - a for a, b in zip(first, field(euler, time + guess), strict=True)]
    d2 = gnp.sqrt(mean_square(change, scale)) / gnp.maximum(as_like(abs(guess), d0), np.finfo(d0.dtype).tiny)
    most = gnp.maximum(d1, d2)
    second = gnp.where(most <= 1e-15, gnp.maximum(1e-6, 1e-3 * abs(guess)), (0.01 / gnp.maximum(most, 1e-15)) ** 0.2)
    size = gnp.minimum(gnp.minimum(100.0 * abs(guess), as_like(second, time)), tolerance.longest)
    least = 16.0 * np.finfo(time.dtype).eps * abs(time)  # it changes the time
    return gnp.sign(left) * gnp.minimum(gnp.maximum(size, least), abs(left))
