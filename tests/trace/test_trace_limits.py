"""Loops that do not end while they are traced: a warning, then an error, at a cost for each turn that does not grow."""

from __future__ import annotations

import sys
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphad
from graphad.config import config
from graphad.errors import EndlessTraceError, GrowthWarning
from graphad.trace import trace_limits


def to_a_tolerance(x: Any) -> Any:
    error = abs(x)
    while error > 1e-10:
        x, previous = x - 0.25 * (x * x - 2) / x, x
        error = error * 0 + abs(previous * previous - 2)
    return x


def upwards(x: Any) -> Any:
    while x > 0:
        x = x + 1
    return x


def standing_still(x: Any) -> Any:
    y = x
    while x > 0:
        y = x * 2  # the same equation in every turn
    return y


def called(x: Any) -> Any:
    step = graphad.jit(lambda y: y * 0.5 if y > 1 else y + 3)
    while x != 100:
        x = step(x)
    return x


def by_count(x: Any) -> Any:
    for _ in range(10**9):
        x = x + 1
    return x


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "jit": graphad.jit,
    "grad": graphad.grad,
    "jit of grad": lambda f: graphad.jit(graphad.grad(f)),
    "compile_grad": graphad.compile_grad,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "f",
    [to_a_tolerance, standing_still, *[pytest.param(f, marks=pytest.mark.slow) for f in (upwards, called, by_count)]],
    ids=lambda f: f.__name__,
)
def test_a_loop_without_end_is_refused(
    f: Callable[[Any], Any], transform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_limits, "WARN_EQUATIONS", 500)
    monkeypatch.setattr("graphad.trace.recording.WARN_EQUATIONS", 500)
    tracemalloc.start()
    try:
        with (
            config.override(max_equations=2000),
            pytest.warns(GrowthWarning, match=r"test_trace_limits\.py:\d+: tracing") as warned,
            pytest.raises(EndlessTraceError, match=r"test_trace_limits\.py:\d+: tracing") as caught,
        ):
            TRANSFORMS[transform](f)(np.float32(2))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    message = str(caught.value)
    assert "config.max_equations = 2,000" in message
    assert [w.filename for w in warned] == [__file__]
    if f is not by_count:
        assert "turns of a loop" in message
        assert "float32" in message
        assert "    while " in message


def test_it_says_float32_where_the_values_are() -> None:
    for dtype in ("float32", "float64"):
        with config.override(max_equations=2000), pytest.raises(EndlessTraceError) as caught:
            graphad.jit(upwards)(np.ones((), dtype))
        assert ("float32" in str(caught.value)) == (dtype == "float32")


def test_long_programs_that_end_are_traced_without_a_word() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = graphad.jit(lambda x: sum((x * k for k in range(2, 3000)), x)).trace(np.float32(1)).graph
    assert len(graph.eqns) > 5000


def test_a_turn_costs_as_much_late_as_early() -> None:
    """Python instructions executed, counted: of 400 turns, the last hundred take what the second did."""
    executed = 0
    marks: list[int] = []

    def count(_frame: Any, _event: str, _argument: Any) -> Any:
        nonlocal executed
        executed += 1
        return count

    def f(x: Any) -> Any:
        turns = 0
        while x < 1000:
            x = x + 1
            turns += 1
            if turns % 100 == 0:
                marks.append(executed)
            if turns == 400:
                return x
        return x

    before = sys.gettrace()
    sys.settrace(count)
    try:
        graphad.jit(f).trace(np.float32(1))
    finally:
        sys.settrace(before)
    second, last = marks[1] - marks[0], marks[3] - marks[2]
    assert last < 1.1 * second
