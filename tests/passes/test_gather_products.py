"""Sums of outer products leave loops: the same sums, as products of matrices."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.ir.evaluate import evaluate
from graphad.passes import GatherProducts
from graphad.passes.pipeline import applied
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten

RNG = np.random.default_rng(0)
PIPELINE = "inline{custom=True},simplify,hoist"


def graph_of(f, *args):
    """The simplified graph of ``f``, and the values of its inputs."""
    leaves, treedef = flatten(tuple([gnp.asarray(x) for x in args]))
    traced = trace_function(lambda xs: f(*xs), leaves, treedef)
    return applied(traced.graph, PIPELINE), [np.asarray(x) for x in [*leaves, *map(gnp.asarray, traced.captures)]]


def gathered(f, *args, **options):
    graph, values = graph_of(f, *args)
    changed = GatherProducts(**options).run(graph)
    for got, wanted in zip(evaluate(changed, values), evaluate(graph, values), strict=True):
        tolerance = 1e-12 if wanted.dtype == np.float64 else 2e-2
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max(initial=1e-300))
    return graph, changed


def products(graph):
    return [e for e in graph.eqns if e.primitive.name == "dot_general" and e.params[0] == ((0,), (0,))]


def outer(x, y):
    return lax.dot_general(x, y, (((), ()), ((), ())))


def recurrent(w, b, xs, reverse=False):
    h, ys = lax.scan(lambda h, x: ((h := gnp.tanh(h @ w + x + b)), h * x), b * 0, xs, reverse=reverse)
    return gnp.sum(h * h) + gnp.sum(ys)


def arguments(n=9, turns=13, dtype=np.float64):
    return tuple([RNG.normal(size=s).astype(dtype) * 0.3 for s in ((n, n), (n,), (turns, n))])


def test_the_note_says_which_products_leave_which_loop():
    graph, _ = graph_of(graphad.grad(recurrent, (0, 1, 2)), *arguments())
    notes: list[str] = []
    GatherProducts().run(graph, notes.append)
    line = f"test_gather_products.py:{recurrent.__code__.co_firstlineno + 1}"
    what = f"the outer products that it adds up, 9 x 9 ({line}), are products of matrices behind it"
    assert notes == [f"loop of 13 turns ({line}): {what}"]
    GatherProducts(smallest=100).run(graph, notes.append)
    assert len(notes) == 1, "none leaves"


@pytest.mark.parametrize("reverse", [False, True])
def test_the_gradient_of_a_recurrent_network(reverse):
    graph, changed = gathered(graphad.grad(lambda *args: recurrent(*args, reverse), (0, 1, 2)), *arguments())
    assert not products(graph)
    assert len(products(changed)) == 1
    (loop,) = [e for e in changed.eqns if e.primitive.name == "scan" and e.params[1] is not reverse]
    assert loop.params[3] == 1, "the cotangents of the weights and of the bias have left the loop"


def test_second_derivatives_and_batches():
    args = arguments()
    gathered(graphad.grad(lambda w, b, xs: gnp.sum(graphad.grad(recurrent)(w, b, xs) ** 2), (0, 1, 2)), *args)
    batch = (args[0], args[1], np.stack([args[2], args[2][::-1]]))
    gathered(graphad.vmap(graphad.grad(recurrent, (0, 1)), (None, None, 0)), *batch)


def test_a_loop_in_a_loop():
    def f(w, b, xs):
        def step(c, x):
            return c + recurrent(w, b * c, xs * x[0]), None

        return lax.scan(step, 1.0, xs[:3])[0]

    _, changed = gathered(graphad.grad(f, (0, 1)), *arguments())
    assert any([products(region) for e in changed.eqns for region in e.regions])


def test_differences_are_sums_too():
    def f(xs, ys):
        return lax.scan(lambda c, r: (c - outer(*r), None), gnp.ones((9, 9), xs.dtype), (xs, ys))[0]

    _, changed = gathered(f, arguments()[2], arguments()[2])
    assert products(changed)
    assert not [e for e in changed.eqns if e.primitive.name == "scan" and e.outputs[0] in changed.outputs]


@pytest.mark.parametrize(
    ("f", "options"),
    [
        (lambda xs, w: lax.scan(lambda c, x: (c + outer(x, x), c[0]), w, xs), {}),  # read in each turn
        (lambda xs, w: lax.scan(lambda c, x: (c + outer(x, w[0]), None), w, xs)[0], {}),  # the same row in all
        (lambda xs, w: lax.scan(lambda c, x: (c + outer(x, x), None), w, xs)[0], {"smallest": 82}),
        (lambda xs, w: lax.scan(lambda c, x: (c + outer(x + 1, x), None), w, xs)[0], {"most": 13 * 9 - 1}),
        (lambda xs, w: lax.scan(lambda c, x: (c + outer(x, x), None), w, xs[:1])[0], {}),
        (lambda xs, w: lax.scan(lambda c, x: (c * outer(x, x), None), w, xs)[0], {}),
    ],
)
def test_loops_that_stay_as_they_are(f, options):
    w, _, xs = arguments()
    graph, changed = gathered(f, xs, w, **options)
    assert changed is graph


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_dtypes(dtype):
    _, changed = gathered(graphad.grad(recurrent, (0, 1)), *arguments(dtype=dtype))
    assert changed.out_avals[0].dtype.numpy == dtype


def test_compiled():
    args = arguments(17, 40)
    got = graphad.jit(graphad.grad(recurrent, (0, 1, 2)))(*args)
    with graphad.config.override(disable_jit=True):
        wanted = graphad.grad(recurrent, (0, 1, 2))(*args)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)
