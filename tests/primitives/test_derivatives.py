"""The derivative rules of every primitive: forward against finite differences, reverse against forward, and again.

The second order is the same check on the graphs that the first one made.
"""

from __future__ import annotations

import numpy as np
import pytest

from graphad.check.calculus import directions, float_outputs, is_float, jvp, vjp_graph
from graphad.check.compare import forward_mismatch, reverse_mismatch
from graphad.ir.types import f32, f64
from graphad.transforms.linearize import jvp_graph
from tests.primitives.calculus import roughest
from tests.primitives.cases import (
    assert_close,
    differentiable,
    each,
    epsilon,
    program,
    programs,
    run,
    samples_of,
)

each_float64 = pytest.mark.parametrize(**each((f64,), differentiable))


def masks(args):
    """Each floating-point argument alone, then all of them."""
    floats = [is_float(a) for a in args]
    alone = [tuple(i == k for i in range(len(args))) for k, f in enumerate(floats) if f]
    return alone if len(alone) == 1 else [*alone, tuple(floats)] if alone else []


def check_forward(graph, args, along, tolerance):
    """Against differences."""
    if roughest(graph) > epsilon(np.float64):
        return  # differences of coarser numbers say little
    wrong = forward_mismatch(graph, args, along, tolerance, least_scale=1.0)
    assert wrong is None, f"{wrong}\n{graph}"


def check_reverse(graph, args, along, rng):
    """<jvp t, ct> = <t, vjp ct>."""
    cts = [rng.normal(size=t.shape) for t in jvp(graph, args, along)]
    pulled = run(vjp_graph(graph), [*args, *cts])
    wrong = reverse_mismatch(lambda t: jvp(graph, args, t), pulled, along, cts, 1e4 * roughest(graph), least_scale=1.0)
    assert wrong is None, f"{wrong}\n{graph}\n{vjp_graph(graph)}"


@each_float64
def test_forward_is_the_limit_of_differences(primitive, dtype, rng):
    for graph, args in programs(primitive, dtype, only_differentiable=True):
        for mask in masks(args):
            along = [t * m for t, m in zip(directions(rng, args), [m for m, a in zip(mask, args) if is_float(a)])]
            check_forward(graph, args, along, 1e-7)


@each_float64
def test_forward_along_some_arguments(primitive, dtype, rng):
    """With a mask that leaves arguments out, rules see no tangent for them instead of a zero."""
    for graph, args in programs(primitive, dtype, only_differentiable=True):
        along = directions(rng, args)
        for mask in masks(args)[:-1]:
            some = [t for t, k in zip(along, [i for i, a in enumerate(args) if is_float(a)]) if mask[k]]
            joint, nonzero = jvp_graph(graph, mask)
            got = run(joint, [*args, *some])[len(nonzero) :]
            zeroed = [t * mask[k] for t, k in zip(along, [i for i, a in enumerate(args) if is_float(a)])]
            expected = jvp(graph, args, zeroed)
            present = [n for n, a in zip(nonzero, graph.out_avals) if a.is_float]
            for g, e in zip(got, [e for e, n in zip(expected, present) if n], strict=True):
                np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12, err_msg=str(joint))
            for e in [e for e, n in zip(expected, present) if not n]:
                assert not e.any(), f"the rule left out a derivative that is not zero\n{graph}"


@each_float64
def test_reverse_is_the_transpose_of_forward(primitive, dtype, rng):
    for graph, args in programs(primitive, dtype, only_differentiable=True):
        check_reverse(graph, args, directions(rng, args), rng)


@each_float64
def test_second_order(primitive, dtype, rng):
    """Forward over forward against differences, reverse over forward against it, forward over reverse likewise."""
    for graph, args in programs(primitive, dtype, only_differentiable=True):
        mask = tuple(is_float(a) for a in args)
        forward, _ = jvp_graph(graph, mask)
        once = [*args, *directions(rng, args)]
        check_forward(forward, once, directions(rng, once), 1e-6)
        check_reverse(forward, once, directions(rng, once), rng)
        reverse = vjp_graph(graph)
        pulled = [*args, *directions(rng, float_outputs(graph, run(graph, args)))]
        check_forward(reverse, pulled, directions(rng, pulled), 1e-6)


@pytest.mark.parametrize(**each((f32,), differentiable))
def test_float32_derivatives_are_those_of_float64(primitive, dtype, rng):
    """The same samples in both precisions: rules must not widen, nor lose many more digits than the function."""
    for sample in samples_of(primitive, dtype):
        graph, args = program(primitive, sample, dtype)
        if not sample.differentiable or not any(a.is_float for a in graph.out_avals):
            continue
        along = directions(rng, args)
        wide_operands = [widened(x) if isinstance(x, np.ndarray) else x for x in sample.operands]
        wide_graph, wide_args = program(primitive, sample._replace(operands=wide_operands), f64)
        narrow, wide = jvp(graph, args, along), jvp(wide_graph, wide_args, [widened(t) for t in along])
        for n, w, a in zip(narrow, wide, [a for a in graph.out_avals if a.is_float], strict=True):
            assert n.dtype == a.dtype.numpy
            scale = max(1.0, float(np.abs(w).max(initial=0)))
            assert_close((n / scale).astype(n.dtype), (w / scale).astype(n.dtype), primitive, str(graph), factor=16)


def widened(x):
    return x.astype(np.float64) if x.dtype == np.float32 else x
