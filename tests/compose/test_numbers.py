"""Constants as inputs: programs that differ in numbers are one, and compute what they did."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad.ir.evaluate import evaluate
from graphad.ir.types import Literal, b1, f32, f64, i32
from graphad.ir.verify import verify
from graphad.transforms.lift_constants import lift_constants
from tests.strategies import arguments, random_graphs


def lifted(f, *args):
    return lift_constants(graphad.make_graph(f)(*args))


@given(random_graphs(dtypes=(f32, f64, i32, b1)), st.booleans())
def test_random_graphs(graph, special):
    new, numbers = lift_constants(graph)
    args = arguments(graph, special=special)
    wanted, got = (evaluate(g, a, on_effect=lambda *_: None) for g, a in ((graph, args), (new, [*args, *numbers])))
    for x, y in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(x, y)
    verify(new, 2)
    assert new.out_avals == graph.out_avals
    assert new.weak == graph.weak


def test_graphs_that_differ_in_numbers_are_one():
    def step(rate, shift):
        return lambda x, y: gnp.where(x > shift, x - rate * gnp.sin(y), 1.5)

    x = np.ones((2, 3), np.float32)
    one, numbers = lifted(step(0.25, 2.5), x, x)
    other, others = lifted(step(0.5, -3.0), x, x)
    assert one == other
    assert sorted(numbers[0].tolist()) == [0.25, 1.5, 2.5]
    assert sorted(others[0].tolist()) == [-3.0, 0.5, 1.5]
    assert lifted(step(0.25, 2.5), x[0], x[0]).graph != one


def test_zero_one_and_integers_stay():
    def f(x):
        return gnp.maximum(x, 0.0) + (1.0 - x) * (x.astype(int) // 3)

    graph = graphad.make_graph(f)(np.ones(3, np.float32))
    assert lift_constants(graph) == (graph, ())


def test_a_vector_for_each_dtype():
    new, numbers = lifted(lambda x, y: (x * 2.5 + 3.5, y * 2.5 + x * 3.5, 4.5), np.ones(2, np.float32), np.ones(2))
    assert {v.dtype.name: v.tolist() for v in numbers} == {"float32": [2.5, 3.5, 4.5], "float64": [2.5]}
    assert not any(isinstance(a, Literal) for eqn in new.eqns for a in eqn.inputs)
    assert not any(isinstance(a, Literal) for a in new.outputs)


def test_numbers_of_regions_and_effects_stay():
    def f(x):
        graphad.debug.print("{}", 2.5)
        return graphad.jit(lambda x: x * 3.5)(x)

    graph = graphad.make_graph(f)(np.ones(2))
    assert lift_constants(graph).graph == graph


def test_places_stay():
    graph = graphad.make_graph(lambda x: gnp.sin(x * 2.5))(np.ones(3, np.float32))
    new = lift_constants(graph).graph
    assert None not in graph.locs
    assert set(new.locs) == set(graph.locs)
