"""`lax.optimization_barrier`: the identity, past which nothing is merged, rewritten or fused."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.stages import compiled, simplify
from graphad.backends.loops.ir import LoopNest

X = np.linspace(0.5, 2.0, 5)
each_way = pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit])


def names(f, *args):
    return [eqn.primitive.name for eqn in simplify(graphad.make_graph(f)(*args)).eqns]


@each_way
def test_it_is_the_identity_of_a_tree(wrap):
    tree = {"x": gnp.asarray(X), "n": gnp.int32(3), "flags": (gnp.zeros(2, bool), None), "w": 2.0}
    found = wrap(lax.optimization_barrier)(tree)
    np.testing.assert_array_equal(found["x"], X)
    assert (int(found["n"]), found["flags"][1], float(found["w"])) == (3, None, 2.0)
    assert found["w"].weak_type
    assert not found["x"].weak_type
    assert lax.optimization_barrier(()) == ()


def test_nothing_is_merged_or_rewritten_past_it():
    def twice(between):
        return names(lambda x: gnp.sin(x) + gnp.sin(between(x)), X).count("sin")

    assert twice(lambda x: x) == 1
    assert twice(lax.optimization_barrier) == 2
    assert names(lambda x: -(-x), X) == []
    assert names(lambda x: -lax.optimization_barrier(-x), X) == ["neg", "optimization_barrier", "neg"]


def test_one_that_nobody_reads_is_dropped():
    assert names(lambda x: (lax.optimization_barrier(gnp.sin(x)), x)[1], X) == []


def test_no_loop_is_fused_across_it():
    def program(barrier):
        executable = compiled(graphad.make_graph(lambda x: gnp.exp(barrier(x * x) + 1.0))(X))
        return [s for s in executable.program.steps if isinstance(s, LoopNest)], executable

    fused, _ = program(lambda x: x)
    apart, executable = program(lax.optimization_barrier)
    assert len(fused) == 1
    assert len(apart) == 2
    assert any(b.role == "temporary" and b.size == X.size for b in executable.program.buffers)
    np.testing.assert_allclose(executable(X)[0], np.exp(X * X + 1), rtol=1e-12)


def test_all_operands_come_before_every_result():
    def f(x, y):
        a, b = lax.optimization_barrier((gnp.cumsum(x), y @ y))
        return a + 1.0, b

    y = np.eye(5)
    steps = compiled(graphad.make_graph(f)(X, y)).program.steps
    assert type(steps[-1]) is LoopNest
    found = graphad.jit(f)(X, y)
    np.testing.assert_allclose(found[0], np.cumsum(X) + 1)


@each_way
def test_derivatives(wrap):
    def f(x, n):
        a, b, m = lax.optimization_barrier((x * x, gnp.sin(x), n))
        return gnp.sum(a * b) * m

    expected = 3 * (2 * X * np.sin(X) + X * X * np.cos(X))
    np.testing.assert_allclose(wrap(graphad.grad(f))(gnp.asarray(X), gnp.int32(3)), expected, rtol=1e-12)
    forward = wrap(graphad.jacfwd(f))(gnp.asarray(X), gnp.int32(3))
    np.testing.assert_allclose(forward, expected, rtol=1e-12)
    graphad.check_grads(lambda x: f(x, 3), (gnp.asarray(X),), order=2)
    backward = names(graphad.grad(f), gnp.asarray(X), gnp.int32(3))
    assert backward.count("optimization_barrier") == 2  # that of the values, and that of the cotangents


@each_way
def test_batches(wrap):
    f = wrap(graphad.vmap(lambda x, y: sum(lax.optimization_barrier((x, y))), in_axes=(0, None)))
    np.testing.assert_array_equal(f(gnp.asarray(X), gnp.asarray(2.0)), X + 2)
