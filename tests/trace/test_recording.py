"""Traces as data: inputs, captures, constants, examples, and arrays written out as literals."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.text import parse_graph
from graphad.ir.types import aval, f32, f64
from graphad.primitives.elementwise import cos, sin
from graphad.trace.array import Array, snapshot, to_array
from graphad.trace.bind import Spec, trace_function, type_of
from graphad.trace.pytree import flatten
from graphad.trace.recording import NO_EXAMPLE, Trace, state
from graphad.trace.runs import written_out

GRAPH = """graph @f(%x: f32[3], %y: f32[3]) -> (f32[3], f32[3]) {
  %a: f32[3] = sin %x
  %b: f32[3] = mul %y, %a
  return %b, %x
}"""


def trace(f, *args, **options):
    leaves, treedef = flatten(args)
    return trace_function(lambda tree: f(*tree), leaves, treedef, **options)


def test_type_of_leaves():
    assert type_of(1.0) == Spec(aval((), f32), True, exact=True)
    assert type_of(np.float64(1.0)) == Spec(aval((), f64), True)
    assert type_of(np.float32(1)) == Spec(aval((), f32), False)
    assert type_of(np.ones(3)) == Spec(aval((3,), f64), False)
    assert type_of(gnp.ones(3)) == Spec(aval((3,), f32), False)
    assert type_of(Spec(aval((2,), f32), True)).weak


def test_a_trace_ends_and_leaves_nothing_behind():
    traced = trace(lambda x: gnp.sin(x), 1.0, name="f")
    assert state.stack == []
    assert state.forced == []
    assert traced.graph.name == "f"
    assert traced.captures == []
    assert not traced.branched


def test_results_that_need_no_equation():
    traced = trace(lambda x: (x, 2.0, np.ones(3), None, x), 1.0)
    assert traced.graph.eqns == ()
    assert len(traced.captures) == 1
    assert traced.graph.outputs[0] == traced.graph.outputs[-1] == 0
    values = evaluate(traced.graph, [np.float32(1.0), *[np.asarray(c) for c in traced.captures]])
    assert [v.tolist() for v in values] == [1.0, 2.0, [1.0, 1.0, 1.0], 1.0]


def test_predicates_of_a_region_are_outputs():
    region = trace(lambda x: x * 2.0 if x > 0 else x, 1.0, region=True, path=True)
    assert len(region.graph.outputs) == 2
    assert [e.item() for e in region.expected] == [True]
    assert region.branched
    path = trace(lambda x: x * 2.0 if x > 0 else x, 1.0, path=True)
    assert [e.primitive.name for e in path.graph.eqns].count("guard") == 1


def test_examples_of_outputs_that_are_known_already():
    traced = trace(lambda x: (x * 2.0, (x * 2.0 > 0) and x), np.float32(1.0), region=True, path=True)
    assert traced.examples[0] == 2.0


def test_examples_may_be_hidden():
    with pytest.raises(graphad.errors.TracerBoolError):
        trace(lambda x: x if x > 0 else -x, 1.0, examples=False)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(12.0).reshape(3, 4),
        np.eye(5, dtype=np.int8),
        np.tri(20, dtype=bool),
        np.array([[1.5]]),
        np.array([0.0, -0.0, np.nan, np.nan, np.inf], np.float32),
        np.array([True, True, False]),
        np.arange(6)[::-1],
    ],
)
def test_arrays_written_out(value):
    builder = Trace("f")
    number = written_out(builder, value)
    graph = builder.close([number])
    assert graph.n_inputs == 0
    (found,) = evaluate(graph, [])
    assert found.dtype == value.dtype
    assert found.shape == value.shape
    assert found.tobytes() == value.tobytes()


def test_large_arrays_are_not_written_out():
    assert written_out(Trace("f"), np.random.default_rng(0).normal(size=200)) is None
    assert written_out(Trace("f"), np.zeros(0)) is None


def test_constants_are_recognised_while_they_stay_the_same():
    outer = Trace("f")
    x = np.arange(3.0)
    first = outer.constant(x)
    assert outer.constant(x) is first
    x[0] = 7.0
    second = outer.constant(x)
    assert second is not first
    assert np.asarray(first).tolist() == [0.0, 1.0, 2.0]
    y = np.zeros(3)
    zero = outer.constant(y)
    y[1] = -0.0
    assert outer.constant(y) is not zero


def test_snapshots_copy_what_can_still_be_written_to():
    x = np.arange(3.0)
    assert not np.shares_memory(snapshot(x), x)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    assert snapshot(frozen) is frozen
    view = np.arange(3.0)[:]
    view.flags.writeable = False  # the base can be written to
    assert not np.shares_memory(snapshot(view), view)
    assert snapshot(np.arange(3.0).astype(">f8")).dtype == np.float64
    assert not np.shares_memory(to_array(x)._value, x)


def test_values_without_an_example_have_none():
    seen = []

    def f(x):
        seen.append(x.builder.example((x * 2.0).atom))
        return x

    graphad.vmap(f)(np.ones(3))
    graphad.grad(f)(3.0)
    assert seen[0] is NO_EXAMPLE
    assert seen[1] == 6.0


def test_isinstance_and_what_tracers_have_of_arrays():
    def f(x):
        assert isinstance(x, Array)
        assert isinstance(x, graphad.Array)
        assert (x.shape, x.ndim, x.size, x.dtype, x.itemsize, x.nbytes, len(x)) == ((2, 3), 2, 6, np.float32, 4, 24, 2)
        assert not x.weak_type
        assert repr(x) == "Tracer(f32[2,3]) of f"
        assert f"{x}" == repr(x)
        return np.ones((2, 3), np.float32) * x  # NumPy defers

    assert graphad.jit(f)(np.ones((2, 3), np.float32)).dtype == np.float32
    assert not isinstance(np.ones(3), graphad.Array)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_a_graph_recorded_in_an_empty_trace_is_as_in_any_other(swapped, first):
    graph, vector = parse_graph(GRAPH), aval((3,), f32)
    trace, builder = Trace("f"), Builder()
    results = []
    for b in (trace, builder):
        inputs = [b.input(vector), b.input(vector)][:: -1 if swapped else 1]
        if first:
            b.emit(cos, (0,))
        outputs = b.inline(graph, inputs)
        (again,) = b.emit(sin, (inputs[0],))
        assert len(b.eqns) == 2 + first  # what the graph has computed is known
        results.append(b.close([*outputs, again]))
    assert results[0] == results[1]
    assert results[0].locs == results[1].locs
