"""`grad` around `jit` around `grad`, with Python branches at each level."""

from __future__ import annotations

from functools import partial

import numpy as np

import graphad
import graphad.numpy as gnp
from tests.compose.tools import close, count, f64, path_count, size


def test_branch_on_the_result_of_an_inner_jit():
    triple = graphad.jit(lambda x: x * 3.0)

    def f(x):
        y = triple(x)
        if y > 1.0:
            return y * y
        return -y

    gradient = graphad.grad(f)
    assert [float(gradient(x)) for x in (1.0, 0.1)] == [18.0, -3.0]
    compiled = graphad.jit(gradient)
    assert [float(compiled(x)) for x in (1.0, 0.125, 2.0, -1.0)] == [18.0, -3.0, 36.0, -3.0]
    assert path_count(compiled) == 2


def test_branch_inside_an_inner_jit():
    def f(x):
        @graphad.jit
        def inner(y):
            if y > 0:
                return y * y * y
            return y * 2.0

        return inner(x * 2.0) + 1.0

    compiled = graphad.jit(graphad.grad(f))
    assert [float(compiled(x)) for x in (1.0, -1.0, -2.0)] == [24.0, 4.0, 4.0]
    assert path_count(compiled) == 2
    assert float(graphad.grad(graphad.grad(f))(1.0)) == 48.0


def test_an_inner_jit_that_branches_is_traced_anew_in_eager_gradients():
    # The inner graph holds for one outcome of the branch: it must not be used again for another.
    @graphad.jit
    def relu(x):
        return x if x > 0 else x * 0.5

    gradient = graphad.grad(lambda x: relu(x) * 2.0)
    assert [float(gradient(x)) for x in (1.0, -1.0, 2.0, -3.0)] == [2.0, 1.0, 2.0, 1.0]
    scaled = graphad.grad(lambda w, x: w * relu(x))
    assert [float(scaled(1.0, x)) for x in (1.0, -1.0, 2.0, -3.0)] == [1.0, -0.5, 2.0, -1.5]


def test_an_inner_jit_that_counts_is_traced_anew_in_eager_gradients():
    @graphad.jit
    def power(x, n):
        for _ in range(int(n)):
            x = x * x
        return x

    gradient = graphad.grad(lambda x, n: power(x, n))
    assert [float(gradient(2.0, n)) for n in (1, 2, 1)] == [4.0, 32.0, 4.0]


def test_jit_called_on_numbers_while_another_function_is_traced():
    scale = graphad.jit(lambda x: x * 2.0 if x > 0 else x * 3.0)

    def f(x):
        return x * scale(2.0) * scale(-1.0)

    assert float(graphad.grad(f)(1.0)) == -12.0
    assert float(graphad.jit(graphad.grad(f))(1.0)) == -12.0


def test_value_computed_inside_is_not_computed_again():
    f = lambda x: graphad.jit(lambda y: gnp.exp(gnp.sin(y)))(x)
    graph = graphad.make_graph(graphad.grad(f))(f64(0.3))
    assert (count(graph, "exp"), count(graph, "sin"), count(graph, "cos")) == (1, 1, 1)


def test_structure_of_the_result_may_depend_on_the_branch():
    @graphad.jit
    def f(x):
        if x > 0:
            return {"a": x, "b": x * 2.0}
        return (x > 0,)

    assert {k: float(v) for k, v in f(1.0).items()} == {"a": 1.0, "b": 2.0}
    (flag,) = f(-1.0)
    assert flag.dtype == bool
    assert not flag
    assert float(f(2.0)["b"]) == 4.0
    assert path_count(f) == 2


def test_dtype_of_an_inner_result_may_depend_on_the_branch():
    inner = graphad.jit(lambda x: x if x > 0 else (x > 0))

    def f(x):
        y = inner(x)
        return y * 1.0 if y.dtype == np.float32 else x * 5.0

    assert [float(graphad.grad(f)(x)) for x in (1.0, -1.0)] == [1.0, 5.0]
    assert float(graphad.jit(graphad.grad(f))(-1.0)) == 5.0


def test_results_without_derivative_beside_those_with_one():
    f = lambda x: graphad.jit(lambda y: (y > 0, y.astype(int), y * y))(x)
    assert float(graphad.grad(lambda x: f(x)[2])(3.0)) == 6.0
    assert float(graphad.grad(lambda x: gnp.where(f(x)[0], x, 0.0 * x))(3.0)) == 1.0


def test_repeated_and_constant_results_of_a_region():
    f = lambda x: graphad.jit(lambda a: (a, a, a * 1.0, 3.0))(x)
    for k, expected in enumerate((1.0, 1.0, 1.0, 0.0)):
        assert float(graphad.grad(lambda x, k=k: f(x)[k] * 1.0)(1.0)) == expected
    first, second, third = graphad.jit(lambda x, y: (x, x, y))(1.0, np.ones(3))
    assert (float(first), float(second)) == (1.0, 1.0)
    assert third.shape == (3,)


def test_pullback_of_repeated_results():
    _, pullback = graphad.vjp(lambda x: (x, x, x * 2.0), 3.0)
    assert float(pullback((1.0, 1.0, 1.0))[0]) == 4.0
    _, pullback = graphad.vjp(lambda x: (x, 5.0), 3.0)
    assert float(pullback((1.0, 1.0))[0]) == 1.0


def test_jit_without_traced_arguments_that_closes_over_a_tracer():
    made = []

    def f(w):
        made.append(graphad.jit(lambda y: y * w))
        return made[-1](2.0) * w

    assert float(graphad.grad(f)(3.0)) == 12.0


def test_one_region_for_all_calls_of_a_layer():
    layer = graphad.jit(lambda x: gnp.tanh(x * 1.5 + 0.3) * x)
    calls = []
    counted = graphad.jit(lambda x: calls.append(1) or layer(x))

    def net(x):
        for _ in range(20):
            x = counted(x)
        return x

    graph = graphad.make_graph(net)(f64(0.1))
    assert len({id(e.regions[0]) for e in graph.eqns}) == 1
    assert len(calls) == 1
    close(graphad.jit(graphad.grad(net))(f64(0.1)), graphad.grad(net)(f64(0.1)), 1e-10)


def test_jit_inside_jit_inside_jit():
    f = lambda x: gnp.exp(x * 0.1) * x if x > 0 else -x
    for _ in range(4):
        f = (lambda g: graphad.jit(lambda x: g(x) * 1.01 if x > -5.0 else x))(f)
    plain = graphad.grad(f)
    compiled = graphad.jit(plain)
    for x in (0.7, -0.7, -7.0, 0.2):
        close(compiled(x), plain(x), 1e-5)
    assert path_count(compiled) == 3


def test_methods_can_be_compiled():
    class Model:
        def __init__(self, scale):
            self.scale = scale

        @partial(graphad.jit, static_argnums=0)
        def apply(self, x):
            return x * self.scale

    double, triple = Model(2.0), Model(3.0)
    assert [float(m.apply(2.0)) for m in (double, triple, double)] == [4.0, 6.0, 4.0]
    assert float(graphad.grad(triple.apply)(2.0)) == 3.0


def test_simplified_graph_has_no_calls():
    f = graphad.jit(graphad.grad(lambda x: graphad.jit(lambda y: graphad.jit(gnp.sin)(y) * 2)(x)))
    graph = f.graph(f64(0.5))
    assert count(graph, "jit") == 0
    assert size(graph) == 2
