"""A function whose Python state changes between traces: noticed, and no path is run whose guards do not hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import GuardError


class State:
    """What the functions below read beside their argument."""

    threshold = 1.0
    first = True
    depth = 1


def by_threshold(s: State, x: Any) -> Any:
    if x > s.threshold:
        return x * 10
    return x + 100


def by_line(s: State, x: Any) -> Any:
    if s.first:
        if x > 0:
            return x * 10
    elif x < 0:
        return x - 7
    return x + 100


def by_operator(s: State, x: Any) -> Any:
    if (x > 0) if s.first else (x <= 0):
        return x * 10
    return x + 100


def inside(s: State, x: Any) -> Any:
    return graphad.jit(lambda y: by_threshold(s, y))(x) + 1


def no_branch(s: State, x: Any) -> Any:
    if s.first and x > 0:
        return x * 10
    return x + 100


def later(s: State, x: Any) -> Any:
    total = x
    for _ in range(3):
        if total > s.threshold:
            total = total - 1
        else:
            total = total + 0.25
    return total


FUNCTIONS = (by_threshold, by_line, by_operator, inside, no_branch, later)


@pytest.mark.parametrize("change", [{"threshold": 0.0}, {"first": False}])
@pytest.mark.parametrize("f", FUNCTIONS, ids=lambda f: f.__name__)
def test_every_call_is_right_or_raises(f: Callable[..., Any], change: dict[str, Any]) -> None:
    """Right: as Python with the state of then or with that of now; a path that is known is not traced again."""
    messages: list[str] = []
    for start in (2.0, 0.5, -1.0):
        before, now = State(), State()
        vars(now).update(change)
        state = State()
        compiled = graphad.jit(lambda x, s=state: f(s, x))
        compiled(np.float32(start))
        vars(state).update(change)
        for x in (0.5, 2.0, -1.0, 0.0, 1.0, 0.5):
            allowed = [np.float32(f(s, np.float32(x))) for s in (before, now)]
            try:
                got = compiled(np.float32(x))
            except GuardError as error:
                messages.append(str(error))
            else:
                assert got in allowed
    same = f(before, np.float32(0.5)) == f(now, np.float32(0.5)) and f(before, np.float32(-1)) == f(now, np.float32(-1))
    assert messages or same
    assert all("test_changed_state.py" in m and "Pass those as arguments" in m for m in messages)


def test_a_constant_beyond_the_predicate_is_noticed_where_its_guard_fails() -> None:
    state = State()

    @graphad.jit
    def f(x: Any) -> Any:
        y = gnp.sin(x - state.threshold) * 2  # the predicate itself says the same
        if y > 0:
            return x * 10
        return x + 100

    assert f(np.float32(2)) == 20
    state.threshold = 0.0
    with pytest.raises(GuardError, match="Python values beside them"):
        f(np.float32(0.5))  # the first path observes no, and now Python would observe yes


def test_state_that_decides_nothing_may_change() -> None:
    calls: list[int] = []

    @graphad.jit
    def f(x: Any) -> Any:
        calls.append(1)
        return x * len(calls) if x > 0 else x - 1

    assert f(np.float32(3)) == 3
    assert f(np.float32(-3)) == -4
    assert f(np.float32(2)) == 2
    assert len(calls) == 2
