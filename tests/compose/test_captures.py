"""Values that functions close over: arrays and tracers as operands of regions; what nobody reads is pruned."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import TracerLeakError
from tests.compose.tools import close, count, f64

BIG = gnp.array(np.arange(12.0, dtype=np.float32).reshape(3, 4))


def test_an_array_is_one_input_however_often_it_is_used():
    f = lambda x: ((x @ BIG) * (BIG * x[:, None])).sum()
    graph = graphad.make_graph(f)(np.ones(3, np.float32))
    assert graph.n_inputs == 2
    graph = graphad.make_graph(lambda x: graphad.jit(f)(x) + graphad.grad(lambda y: graphad.jit(f)(y) + f(y))(x).sum())(
        np.ones(3, np.float32)
    )
    assert graph.n_inputs == 2


def test_a_numpy_array_is_one_input_however_often_it_is_used():
    table = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    graph = graphad.make_graph(lambda x: ((x @ table) * table[0] + (table * x[:, None]).sum()).sum())(
        np.ones(3, np.float32)
    )
    assert graph.n_inputs <= 3  # table, and the row that NumPy cut out of it


def test_a_buffer_that_changes_between_two_uses_is_two_values():
    buffer = np.zeros(3, np.float32)

    def f(x):
        total = x * 0.0
        for k in range(3):
            buffer[:] = k
            total = total + x * buffer
        return total.sum()

    assert float(f(gnp.ones(3))) == 9.0
    assert float(graphad.jit(f)(np.ones(3, np.float32))) == 9.0
    close(graphad.grad(f)(np.ones(3, np.float32)), [3.0, 3.0, 3.0])


def test_arrays_of_the_caller_are_snapshots():
    weights = np.ones(3, np.float32)
    f = graphad.jit(lambda x: (x * weights).sum())
    assert float(f(np.ones(3, np.float32))) == 3.0
    weights[:] = 100.0
    assert float(f(np.ones(3, np.float32))) == 3.0


def test_results_do_not_alias_arguments():
    for f in (
        lambda x: graphad.jvp(lambda x: x, (x,), (np.ones(3),))[0],
        lambda x: graphad.vjp(lambda x: x.reshape(3, 1), x)[0],
        lambda x: graphad.vmap(lambda x: x)(x),
        lambda x: graphad.jit(lambda x: x)(x),
        lambda x: graphad.value_and_grad(lambda x: (x.sum(), x), has_aux=True)(x)[0][1],
        lambda x: graphad.checkpoint(lambda x: gnp.asarray(x))(x),
    ):
        x = f64([1.0, 2.0, 3.0])
        y = f(x)
        x[:] = 9.0
        close(np.asarray(y).ravel(), [1.0, 2.0, 3.0])


def test_residuals_do_not_alias_arguments():
    x = f64([1.0, 2.0, 3.0])
    _, pullback = graphad.vjp(lambda x: x * x, x)
    _, linear = graphad.linearize(lambda x: x * x, x)
    x[:] = 100.0
    close(pullback(np.ones(3))[0], [2.0, 4.0, 6.0])
    close(linear(np.ones(3)), [2.0, 4.0, 6.0])


def test_results_do_not_alias_each_other_or_the_capture():
    first = graphad.jit(lambda x: (x, x, BIG))(np.ones(3, np.float32))
    assert not np.shares_memory(np.asarray(first[0]), np.asarray(first[1]))
    close(first[2], BIG)


def test_tracers_of_enclosing_traces_become_operands():
    def f(w):
        a, b = w * 2.0, w * 2.0  # one value, two tracers
        return graphad.jit(lambda z: z * a + b)(w)

    graph = graphad.make_graph(f)(1.0)
    (call,) = [e for e in graph.eqns if e.primitive.name == "jit"]
    assert call.regions[0].n_inputs == len(call.inputs) == 2


def test_an_operation_on_outer_values_belongs_to_the_innermost_trace():
    graph = graphad.make_graph(lambda w: graphad.jit(lambda x: x * gnp.exp(w))(w))(1.0)
    assert count(graph, "exp") == 1
    (call,) = graph.eqns
    assert count(call.regions[0], "exp") == 1


def test_captures_through_three_levels():
    def f(w):
        return graphad.jit(
            lambda x: graphad.vmap(lambda y: graphad.grad(lambda z: z * w * y * x)(y))(gnp.ones(2)).sum()
        )(w)

    assert float(graphad.grad(f)(3.0)) == 2 * 2 * 3.0
    assert float(graphad.jit(graphad.grad(f))(3.0)) == 12.0


def test_dead_results_and_inputs_of_regions_are_pruned():
    region = graphad.jit(lambda y, z: (gnp.exp(y), gnp.sin(z), gnp.tanh(y)))
    graph = graphad.make_graph(lambda x, z: region(x, z)[1])(1.0, 2.0)
    (call,) = graph.eqns
    assert (count(graph, "exp"), count(graph, "sin"), count(graph, "tanh")) == (0, 1, 0)
    assert len(call.inputs) == len(call.outputs) == call.regions[0].n_inputs == 1


def test_pruning_reaches_into_nested_regions():
    inner = graphad.jit(lambda y: (gnp.exp(y), gnp.sin(y)))
    outer = graphad.jit(lambda y: (*inner(y), gnp.tanh(y)))
    graph = graphad.make_graph(lambda x: outer(x)[1])(1.0)
    assert (count(graph, "exp"), count(graph, "sin"), count(graph, "tanh")) == (0, 1, 0)


def test_what_is_pruned_is_not_differentiated():
    region = graphad.jit(lambda y: (gnp.exp(y), gnp.sin(y)))
    graph = graphad.make_graph(graphad.grad(lambda x: region(x)[1]))(1.0)
    assert count(graph, "exp") == 0


def test_numbers_are_literals_not_inputs():
    scalar = gnp.array(2.0)
    graph = graphad.make_graph(lambda x: x * scalar + np.float32(3.0) + gnp.zeros(3))(np.ones(3, np.float32))
    assert graph.n_inputs == 1


def test_weak_and_strong_numbers_share_a_value():
    def f(x):
        weak, strong = x * 2.0, x * np.float32(2.0)
        assert weak.weak_type
        assert not strong.weak_type
        return weak, strong

    graph = graphad.make_graph(f)(gnp.asarray(3.0))
    assert len(graph.eqns) == 1
    assert graph.weak == (True, False)


def test_commuted_operands_are_one_value():
    assert len(graphad.make_graph(lambda x: (2.0 * x) + (x * 2.0))(gnp.asarray(1.0)).eqns) == 2


def test_an_inner_jit_that_closed_over_a_tracer_is_not_used_again():
    layers = []

    def f(w, x):
        if not layers:
            layers.append(graphad.jit(lambda y: y * w))
        return layers[0](x)

    assert float(graphad.grad(f)(3.0, 2.0)) == 2.0
    # The `w` that the layer closes over is gone with the first trace: an error rather than a stale number.
    with pytest.raises(TracerLeakError, match="outlived the trace of f"):
        graphad.grad(f)(5.0, 7.0)
