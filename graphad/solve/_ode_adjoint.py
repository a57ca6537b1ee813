"""The continuous adjoint: derivatives of a solution by integrating the equation of its adjoint backwards in time.

For a solution of ``y' = f(y, t, p)`` and a loss L of its values, the adjoint ``a = dL/dy`` satisfies
``a' = -(df/dy)ᵀ a`` between the times, jumps by the cotangents at the times, and ``dL/dp`` is the integral of
``(df/dp)ᵀ a`` over the way. The state is integrated backwards with it, anew from the known one at each of the times.

References
----------
.. [1] L. S. Pontryagin et al., "The Mathematical Theory of Optimal Processes", 1962.
.. [2] R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, "Neural ordinary differential equations", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad import lax
from graphad import numpy as gnp
from graphad.api.custom import custom_vjp
from graphad.api.linear_maps import vjp
from graphad.solve._ode_control import State
from graphad.solve._ode_integrate import ODEInfo, Options, integrated
from graphad.solve._ode_problem import Problem
from graphad.trace.bind import type_of


def with_continuous_adjoint(problem: Problem, options: Options) -> tuple[State, ODEInfo]:
    """What `integrated` gives for the problem, with derivatives by its adjoint equation."""

    @custom_vjp
    def solution(state: State, times: Any, captures: list[Any]) -> tuple[State, ODEInfo]:
        return integrated(problem.rate, captures, state, times, options)

    def forwards(state: State, times: Any, captures: list[Any]) -> Any:
        result = solution(state, times, captures)
        return result, (result[0], times, captures)

    def backwards(residuals: Any, cotangents: tuple[State, ODEInfo]) -> tuple[State, Any, list[Any]]:
        states, times, captures = residuals
        return _pulled_back(problem, options, states, times, captures, cotangents[0])

    solution.defvjp(forwards, backwards)
    return solution(problem.state, problem.times, problem.captures)


def _pulled_back(
    problem: Problem, options: Options, states: State, times: Any, captures: list[Any], cotangents: State
) -> tuple[State, Any, list[Any]]:
    """The cotangents of initial state, times and captures."""
    n = len(states)
    marks = [type_of(x).aval.is_float for x in captures]
    parameters = [x for x, m in zip(captures, marks, strict=True) if m]

    def all_captures(parameters: Sequence[Any]) -> list[Any]:
        it = iter(parameters)
        return [next(it) if m else x for x, m in zip(captures, marks, strict=True)]

    def augmented_rate(augmented: State, time: Any, captures: Sequence[Any], _: bool) -> State:
        def rate(state: State, parameters: Sequence[Any]) -> State:
            return problem.rate(state, time, all_captures(parameters), True)

        parameters = [x for x, m in zip(captures, marks, strict=True) if m]
        rates, pull = vjp(rate, augmented[:n], parameters)
        by_state, by_parameters = pull(augmented[n : 2 * n])
        return [*rates, *[-g for g in (*by_state, *by_parameters)]]

    def turn(carried: tuple[State, State], at_time: Any) -> tuple[tuple[State, State], Any]:
        adjoint, sums = carried
        start, end, state, jump = at_time  # `start` is the later one
        by_time = _inner(jump, problem.rate(state, start, captures, True), times)
        adjoint = [a + j for a, j in zip(adjoint, jump, strict=True)]
        augmented = [*state, *adjoint, *sums]
        found, _ = integrated(augmented_rate, captures, augmented, gnp.stack([start, end]), options)
        ends = [x[1] for x in found]
        return (ends[n : 2 * n], ends[2 * n :]), by_time

    carried = ([gnp.zeros_like(y[0]) for y in states], [gnp.zeros_like(p) for p in parameters])
    behind = ([y[1:] for y in states], [c[1:] for c in cotangents])
    (adjoint, sums), by_times = lax.scan(turn, carried, (times[1:], times[:-1], *behind), reverse=True)
    # The solution from a later start, with the same state, is at all times what it was a little earlier.
    first = problem.rate([y[0] for y in states], times[0], captures, True)
    by_times = gnp.concatenate([-_inner(adjoint, first, times)[None], by_times])
    adjoint = [a + c[0] for a, c in zip(adjoint, cotangents, strict=True)]
    found = iter(sums)
    return adjoint, by_times, [next(found) if m else None for m in marks]


def _inner(a: State, b: State, like: Any) -> Any:
    """The sum of products, in the dtype of ``like``."""
    total = gnp.zeros((), like.dtype)
    for x, y in zip(a, b, strict=True):
        total = total + gnp.sum(x * y).astype(like.dtype)
    return total
