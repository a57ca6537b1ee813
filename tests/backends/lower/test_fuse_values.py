"""Lowered programs compute what the graph says: run by `interpret`, element by element, against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.backends.loops.check import check_program
from graphad.backends.lower.fuse import lower
from graphad.backends.routines.host import HostRun
from graphad.ir.evaluate import evaluate
from graphad.ir.types import b1, f32, f64, i32, u32
from graphad.primitives.effects import guard
from tests.backends.interpreted_target import Run
from tests.primitives.cases import assert_close, each, program, programs, pure, run
from tests.strategies import arguments, random_graphs


def interpreted(graph, args):
    """Status and all outputs of the lowered program, and what it was lowered to."""
    lowered = lower(graph)
    check_program(lowered.program)
    ran = Run(lowered.program, [np.ascontiguousarray(a).reshape(-1) for a in args], HostRun(lowered.calls))
    status = 0 if ran.failed is None else ran.failed.ordinal + 1
    return status, [o.reshape(a.shape) for o, a in zip(ran.outputs, lowered.outputs)], lowered


@pytest.mark.parametrize(**each((f32, f64, i32, u32, b1), pure))
def test_lowered_is_the_reference(primitive, dtype):
    for graph, args in programs(primitive, dtype):
        status, outputs, _ = interpreted(graph, args)
        assert status == 0
        # NumPy's elementary functions in the interpreter, ours in the reference: each within an ulp or so.
        factor = 2 if primitive.tolerance else 1
        for got, expected in zip(outputs, run(graph, args), strict=True):
            assert_close(got, expected, primitive, f"{graph}", factor)


@settings(max_examples=150)
@given(random_graphs(dtypes=(f64, i32, b1), max_steps=14), st.integers(0, 2**16))
def test_random_graphs(graph, seed):
    check_random(graph, seed)


@pytest.mark.slow
@settings(max_examples=1000)
@given(random_graphs(dtypes=(f32, f64, i32, u32, b1), max_steps=30), st.integers(0, 2**16))
def test_large_random_graphs(graph, seed):
    check_random(graph, seed)


def check_random(graph, seed):
    args = arguments(graph, seed)
    seen = []
    reference = evaluate(graph, args, on_effect=lambda eqn, _loc, values: seen.append((eqn, values)))
    status, outputs, lowered = interpreted(graph, args)
    guards = [(eqn.params[0].value, np.asarray(values[0])[()]) for eqn, values in seen if eqn.primitive is guard]
    failed = [k for k, (expected, observed) in enumerate(guards) if expected != observed]
    assert status == (failed[0] + 1 if failed else 0)
    for k, (_, observed) in enumerate(guards[: status or None]):
        assert outputs[lowered.guards[k].output] == observed
    if status:
        return
    for got, expected in zip(outputs, reference, strict=False):
        close(got, expected, graph)
    printed = [values for eqn, values in seen if eqn.primitive is not guard]
    assert len(printed) == len(lowered.prints)
    for p, values in zip(lowered.prints, printed, strict=True):
        for k, expected in zip(p.outputs, values, strict=True):
            close(outputs[k], np.asarray(expected), graph)


def close(got, expected, graph):
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    if got.dtype.kind == "f":
        tolerance = 1e-3 if f32 in _dtypes(graph) else 1e-9
        scale = np.max(np.abs(expected), initial=1.0, where=np.isfinite(expected))
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance * scale, err_msg=repr(graph))
    else:
        np.testing.assert_array_equal(got, expected, err_msg=repr(graph))


def _dtypes(graph):
    """Those of all values, in regions too."""
    return {a.dtype for a in graph.avals}.union(*(_dtypes(r) for eqn in graph.eqns for r in eqn.regions))


def test_samples_are_programs():
    """`programs` gives one program for each sample; a slip there would leave the tests above without any."""
    from graphad.primitives.reduce import reduce_max

    (graph, args), *rest = programs(reduce_max, f32)
    assert len(rest) > 5
    assert len(graph.eqns) == 1
    assert (
        program(reduce_max, next(iter(reduce_max.samples(np.random.default_rng(0), f32))), f32)[1][0].shape
        == args[0].shape
    )
