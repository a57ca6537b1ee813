"""The pass `reroll`: which loops it finds in graphs, what of them is carried, stacked and left alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.types import i32
from graphad.ir.verify import effects, verify
from graphad.passes import Reroll
from graphad.primitives.crossing import Params
from graphad.primitives.scan import scan
from tests.strategies import random_graphs

LITTLE = Reroll(least=8)
RNG = np.random.default_rng(0)
VECTOR = RNG.normal(size=12)
MATRIX = RNG.normal(size=(12, 3)).astype("f")


def rolled(f: Callable[..., Any], *args: Any, notes: list[str] | None = None) -> tuple[Graph, Graph]:
    """The graph of ``f`` before and after; they give the same bits."""
    graph = graphad.make_graph(f)(*args)
    made = LITTLE.run(graph, None if notes is None else notes.append)
    verify(made, 2)
    assert effects(made) == effects(graph)
    given_arrays = [np.asarray(x) for x in args]
    given_arrays += [RNG.integers(0, 8, a.shape).astype(a.dtype.numpy) for a in graph.in_avals[len(args) :]]
    for x, y in zip(evaluate(graph, given_arrays), evaluate(made, given_arrays), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
    return graph, made


def scans(graph: Graph) -> list[tuple[Params, Graph]]:
    return [(Params(*e.params), e.regions[0]) for e in graph.eqns if e.primitive is scan]


def only_scan(f: Callable[..., Any], *args: Any) -> tuple[Params, Graph, Graph]:
    """The one loop of ``f``: its params, its body, and the graph that it is in."""
    _, made = rolled(f, *args)
    ((params, body),) = scans(made)
    return params, body, made


# ---------------------------------------------------------------------------------------------------------------------
# What a turn reads


def test_values_from_before_are_constants_and_those_of_the_turn_before_are_carried():
    def f(x: Any) -> Any:
        c = x[0]
        for _ in range(10):
            c = gnp.sin(c) * x[1] + 1.5
        return c

    params, body, made = only_scan(f, VECTOR)
    assert params == Params(length=9, reverse=False, n_consts=1, n_carry=1)
    assert [e.primitive.name for e in body.eqns] == ["sin", "mul", "add"]
    assert len(made.eqns) < 12


def test_values_of_several_turns_before_are_carried_one_by_one():
    def f(x: Any) -> Any:
        a, b, c = x[0], x[1], x[2]
        for _ in range(10):
            a, b, c = b, c, gnp.sin(a) * c
        return a, b, c

    params, _, _ = only_scan(f, VECTOR)
    assert (params.length, params.n_carry) == (10, 3)


@pytest.mark.parametrize("x", [VECTOR, MATRIX], ids=["numbers", "rows"])
@pytest.mark.parametrize(
    "elements",
    [
        lambda x: x,
        lambda x: x[::-1],
        lambda x: list(x),
        lambda x: [x[11 - i] for i in range(12)],
        lambda x: [x[2 * i] for i in range(6)],
    ],
    ids=["in order", "reversed", "taken out before", "from the end", "every other one"],
)
def test_elements_of_an_array_are_slices_of_it(elements: Callable[[Any], Any], x: Any):
    def f(x: Any) -> Any:
        c = x[0] * 0
        for e in elements(x):
            c = gnp.sin(c) * 0.5 + gnp.cos(e)
        return c

    params, body, made = only_scan(f, x)
    assert params.n_carry == 1
    assert len(body.in_avals) == params.n_consts + 2
    assert "slice" not in [e.primitive.name for e in body.eqns]
    assert "concatenate" not in [e.primitive.name for e in made.eqns]


def test_blocks_of_an_array_are_slices_of_it():
    def f(x: Any) -> Any:
        c = x[0, 0]
        for i in range(0, 12, 2):
            c = gnp.sin(c) + gnp.sum(x[i : i + 2] * x[i : i + 2])
        return c

    _, body, made = only_scan(f, MATRIX)
    assert (2, 3) in [a.shape for a in body.in_avals]
    assert "concatenate" not in [e.primitive.name for e in made.eqns]


def test_neighbours_are_read_once_and_carried():
    def f(x: Any) -> Any:
        s = 0.0
        for i in range(len(x) - 1):
            s = s + gnp.sin(x[i + 1] - x[i]) * x[i]
        return s

    params, _, _ = only_scan(f, VECTOR)
    assert params.n_carry == 2


def test_elements_in_no_order_are_put_together():
    order = [3, 1, 4, 11, 5, 9, 2, 6, 8, 7, 10, 0]

    def f(x: Any) -> Any:
        elements = [x[i] * gnp.exp(x[i]) for i in range(12)]
        s = x[0]
        for i in order:
            s = gnp.sin(s) * elements[i]
        return s

    graph, made = rolled(f, VECTOR)
    assert scans(made)
    assert len(made.eqns) < len(graph.eqns) / 2


def test_numbers_that_count_become_an_iota():
    def f(x: Any) -> Any:
        c = x[0]
        for i in range(10):
            c = gnp.sin(c) * (0.1 * i) + gnp.cos(c) * (i / 7)
        return c

    _, _, made = only_scan(f, VECTOR)
    assert "concatenate" not in [e.primitive.name for e in made.eqns]


def test_other_numbers_are_written_out():
    numbers = RNG.normal(size=10).tolist()

    def f(x: Any) -> Any:
        c = x[0]
        for number in numbers:
            c = gnp.sin(c) * number + 1.0
        return c

    only_scan(f, VECTOR)
    only_scan(f, MATRIX)


def test_places_in_a_carried_array_are_numbers_of_the_turn():
    def f(x: Any) -> Any:
        for i in range(8):
            x = x * gnp.sin(x[i]) + x[7 - i]
        return x

    _, body, _ = only_scan(f, VECTOR[:8])
    assert [e.primitive.name for e in body.eqns].count("dynamic_slice") == 2
    assert [a.dtype for a in body.in_avals].count(i32) == 2


# ---------------------------------------------------------------------------------------------------------------------
# What is read of it afterwards


def test_a_list_that_is_stacked_afterwards_is_a_result():
    def f(x: Any) -> Any:
        c, out = x[0], []
        for _ in range(10):
            c = gnp.sin(c) + gnp.cos(c) * x[1]
            out.append(c)
        return gnp.stack(out), out[3]

    params, body, made = only_scan(f, VECTOR)
    assert len(body.outputs) == params.n_carry + 1
    assert [e.primitive.name for e in made.eqns].count("reshape") < 8


def test_a_list_that_is_summed_afterwards_is_read_by_another_loop():
    def f(x: Any) -> Any:
        c, out = x[0], []
        for _ in range(12):
            c = gnp.sin(c) + gnp.cos(c) * x[1]
            out.append(c * c)
        return sum(out)

    _, made = rolled(f, VECTOR)
    assert len(scans(made)) == 2


def test_what_the_last_turn_alone_hands_on_leaves_that_turn_as_it_is():
    def f(x: Any) -> Any:
        s = u = x[0]
        for i in range(12):
            t = gnp.sin(s)
            u = gnp.cos(t)
            s = t * u + x[i]
        return s, u

    params, body, _ = only_scan(f, VECTOR)
    assert (params.n_carry, len(body.outputs)) == (1, 1)


def test_turns_without_anything_carried_are_stacked():
    params, body, made = only_scan(lambda x: gnp.stack([gnp.sin(v) * gnp.exp(v) for v in x]), VECTOR)
    assert (params.n_carry, len(body.outputs)) == (0, 1)
    assert len(made.eqns) == 3


# ---------------------------------------------------------------------------------------------------------------------
# Loops in loops


def test_nested_loops():
    def f(x: Any) -> Any:
        c = x[0]
        for i in range(8):
            for j in range(6):
                c = gnp.sin(c) * i + gnp.cos(c) * j
            c = c + x[1]
        return c

    _, made = rolled(f, VECTOR)
    _, (params, body) = scans(made)
    ((inner, _),) = scans(body)
    assert (params.length, inner.length) == (7, 5)  # first turns begin with other values


def test_loops_of_growing_length():
    def f(x: Any) -> Any:
        c = x[0]
        for i in range(4, 8):
            for j in range(i):
                c = gnp.sin(c) * i + gnp.cos(c) * j
            c = c + x[1]
        return c

    _, made = rolled(f, VECTOR)
    assert [params.length for params, _ in scans(made)] == [4, 5, 6, 7]


def test_loops_of_compiled_functions():
    step = graphad.jit(lambda c, x: gnp.sin(c) * x + 1.0)

    def f(x: Any) -> Any:
        c = x[0]
        for v in x:
            c = step(c, v)
        return c

    _, body, _ = only_scan(f, VECTOR)
    assert [e.primitive.name for e in body.eqns] == ["reshape", "jit"]


# ---------------------------------------------------------------------------------------------------------------------
# What is no loop


def test_without_repetition_the_graph_stays_itself():
    def f(x: Any) -> Any:
        for g in (gnp.sin, gnp.cos, gnp.exp, gnp.tanh, gnp.sqrt, gnp.log1p, gnp.arctan, gnp.expm1, gnp.cosh):
            x = g(x) * 0.5
        return x

    graph = graphad.make_graph(f)(VECTOR)
    assert LITTLE.run(graph) is graph


def test_taking_an_array_apart_is_no_loop():
    graph = graphad.make_graph(lambda x: tuple(x))(VECTOR)
    assert LITTLE.run(graph) is graph


def test_short_loops_stay():
    def f(x: Any) -> Any:
        for _ in range(12):
            x = gnp.sin(x) * x
        return x

    graph = graphad.make_graph(f)(VECTOR)
    assert Reroll().run(graph) is graph


def test_effects_stay_and_are_named():
    def f(x: Any) -> Any:
        c = x[0]
        for _ in range(8):
            c = gnp.sin(c) * 2 + gnp.cos(c)
            graphad.debug.print("{}", c)
        return c

    notes: list[str] = []
    graph, made = rolled(f, VECTOR, notes=notes)
    assert made is graph
    (note,) = notes
    assert note.startswith("8 turns of ")
    assert "test_reroll.py:" in note
    assert "an effect" in note


def test_arrays_of_each_turn_are_not_copied_together():
    def f(x: Any, *weights: Any) -> Any:
        for w in weights:
            x = gnp.tanh(w @ x)
        return x

    weights = [RNG.normal(size=(12, 12)) for _ in range(8)]
    notes: list[str] = []
    graph, made = rolled(f, VECTOR, *weights, notes=notes)
    assert made is graph
    assert "an array of its own" in notes[0]


def test_turns_in_two_ways():
    """The same operations, but in the second half of other values: two loops."""

    def f(x: Any) -> Any:
        c = x[0]
        for i in range(16):
            c = gnp.sin(c) * x[1] + (x[2] if i < 8 else x[3])
        return c

    _, made = rolled(f, VECTOR)
    assert len(scans(made)) >= 1


def test_the_text_of_a_loop(golden: Callable[[str, str], None]):
    """What Python unrolls of an explicit method, with parameters, times and a result in each step."""

    def f(p: Any, y: Any) -> Any:
        path = []
        for k in range(12):
            slope = p[0] * gnp.sin(y + 0.25 * k) - p[1] * y
            y = y + 0.1 * slope
            path.append(gnp.sum(y))
        return gnp.stack(path)

    graph, made = rolled(f, VECTOR[:2], VECTOR[:3])
    assert len(graph.eqns) > 5 * len(made.eqns)
    golden("reroll.txt", re.sub(" +; .*", "", str(made)))


def test_notes_say_what_became_a_loop():
    def f(x: Any) -> Any:
        c = x[0]
        for _ in range(10):
            c = gnp.sin(c) * x[1] + 1.5
        return c

    notes: list[str] = []
    rolled(f, VECTOR, notes=notes)
    (note,) = notes
    assert note.startswith("rolled 9 turns of 3 equations into a loop (test_reroll.py:")


# ---------------------------------------------------------------------------------------------------------------------
# Random programs

_OPERATIONS = (
    lambda a, b, x, i: a * b,
    lambda a, b, x, i: b + a,
    lambda a, b, x, i: gnp.sin(a) - b,
    lambda a, b, x, i: a * (0.25 * i),
    lambda a, b, x, i: x[i % 12] + b,
    lambda a, b, x, i: gnp.maximum(a, x[3]),
    lambda a, b, x, i: gnp.where(a > b, x[(3 * i + 1) % 12], b),
)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6),
    st.integers(4, 12),
    st.integers(1, 4),
    st.booleans(),
    st.booleans(),
)
def test_random_loops(body: Any, turns: int, n_state: int, collects: bool, rows: bool):
    def f(x: Any) -> Any:
        state, out = [x[k] for k in range(n_state)], []
        for i in range(turns):
            values = list(state)
            for op, a, b in body:
                values.append(_OPERATIONS[op](values[a % len(values)], values[b % len(values)], x, i))
            state = values[-n_state:]
            out.append(values[-1] * 0.5)
        return (*state, gnp.stack(out)) if collects else tuple(state)

    rolled(f, MATRIX if rows else VECTOR)


@given(random_graphs())
def test_random_graphs_keep_their_values(graph: Graph):
    made = Reroll(least=4).run(graph)
    verify(made, 2)
