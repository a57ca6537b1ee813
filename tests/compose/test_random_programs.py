"""Random programs over the whole registry: derivatives of both modes, batching and simplification agree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphad.ir.evaluate import evaluate
from graphad.ir.types import b1, f32, i32
from graphad.ir.verify import verify
from graphad.passes.pipeline import run
from graphad.transforms.batch import batched
from graphad.transforms.linearize import jvp_graph, linearized
from graphad.transforms.transpose import transposed
from tests.strategies import arguments, random_differentiable_graphs, random_graphs

STEP = 1e-6


def tangents_of(graph, args, tangent):
    """Outputs and their tangents along ``tangent`` of the first input, zeros written out."""
    mask = (True,) + (False,) * (graph.n_inputs - 1)
    joint, nonzero = jvp_graph(graph, mask)
    results = evaluate(verify(joint, 2), [*args, tangent])
    hot = iter(results[len(graph.outputs) :])
    outs = results[: len(graph.outputs)]
    return outs, [next(hot) if n else np.zeros(o.shape) for n, o in zip(nonzero, outs, strict=True)]


def cotangent_of(graph, args, cts):
    """The cotangent of the first input by linearize, then transpose; zero if it does not depend on it."""
    mask = (True,) + (False,) * (graph.n_inputs - 1)
    primal, linear, n_residuals, nonzero = linearized(graph, mask)
    results = evaluate(verify(primal, 2), args)
    residuals = results[len(graph.outputs) :]
    assert len(residuals) == n_residuals
    given_cts = [c for c, n in zip(cts, nonzero, strict=True) if n]
    back, found = transposed(linear, (False,) * n_residuals + (True,), (True,) * len(given_cts))
    values = evaluate(verify(back, 2), [*residuals, *given_cts])
    return values[0] if found[0] else np.zeros(args[0].shape)


def close(x, y, tolerance):
    scale = 1 + max(np.max(np.abs(x), initial=0), np.max(np.abs(y), initial=0))
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * scale)


@given(random_differentiable_graphs(), st.integers(0, 2**32))
def test_forward_is_finite_differences(graph, seed):
    (x,) = arguments(graph, seed)
    v = np.random.default_rng(seed).normal(size=x.shape)
    outs, tangents = tangents_of(graph, [x], v)
    for out, again in zip(outs, evaluate(graph, [x]), strict=True):
        np.testing.assert_array_equal(out, again)
    above, below = evaluate(graph, [x + STEP * v]), evaluate(graph, [x - STEP * v])
    for hi, lo, tangent in zip(above, below, tangents, strict=True):
        close((hi - lo) / (2 * STEP), tangent, 1e-4)


@given(random_differentiable_graphs(), st.integers(0, 2**32))
def test_reverse_is_forward(graph, seed):
    (x,) = arguments(graph, seed)
    rng = np.random.default_rng(seed)
    v = rng.normal(size=x.shape)
    outs, tangents = tangents_of(graph, [x], v)
    cts = [rng.normal(size=o.shape) for o in outs]
    forward = sum(np.sum(c * t) for c, t in zip(cts, tangents, strict=True))
    reverse = np.sum(cotangent_of(graph, [x], cts) * v)
    close(forward, reverse, 1e-9)


@given(random_differentiable_graphs(max_steps=4), st.integers(0, 2**32))
def test_second_derivatives_are_differences_of_first_ones(graph, seed):
    (x,) = arguments(graph, seed)
    v = np.random.default_rng(seed).normal(size=x.shape)
    joint, _ = jvp_graph(graph, (True,))
    n = len(graph.outputs)
    _, second = tangents_of(joint, [x, v], v)
    above, below = evaluate(joint, [x + STEP * v, v]), evaluate(joint, [x - STEP * v, v])
    for hi, lo, tangent in zip(above[n:], below[n:], second[n:], strict=True):
        close((hi - lo) / (2 * STEP), tangent, 1e-3)


@given(random_differentiable_graphs(), st.integers(0, 2**32))
def test_simplifying_first_changes_no_derivative(graph, seed):
    (x,) = arguments(graph, seed)
    rng = np.random.default_rng(seed)
    simple = run(graph, "simplify")
    cts = [rng.normal(size=a.shape) for a in graph.out_avals]
    close(cotangent_of(graph, [x], cts), cotangent_of(simple, [x], cts), 1e-9)


@given(random_graphs(dtypes=(f32, i32, b1), effects=False), st.data())
def test_vmap_is_a_loop(graph, data):
    size = 3
    mask = tuple(data.draw(st.lists(st.booleans(), min_size=graph.n_inputs, max_size=graph.n_inputs)))
    elements = [arguments(graph, seed) for seed in range(size)]
    args = [np.stack([element[k] for element in elements]) if m else elements[0][k] for k, m in enumerate(mask)]
    elements = [[element[k] if m else elements[0][k] for k, m in enumerate(mask)] for element in elements]
    whole, marks = batched(graph, mask, size)
    results = evaluate(verify(whole, 2), args)
    expected = [evaluate(graph, element) for element in elements]
    for k, (result, marked) in enumerate(zip(results, marks, strict=True)):
        one_by_one = np.stack([e[k] for e in expected])
        got = result if marked else np.stack([result] * size)
        np.testing.assert_allclose(got, one_by_one, rtol=1e-4, atol=1e-5)
