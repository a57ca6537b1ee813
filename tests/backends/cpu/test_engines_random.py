"""Random graphs on both engines: what the machine computes is what the reference computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.backends.cpu.executable import compile_graph
from graphad.backends.outcome import GuardFailure
from graphad.ir.evaluate import evaluate
from graphad.ir.types import b1, f64, i32, literal
from graphad.primitives.effects import guard
from tests.strategies import arguments, random_graphs

graphs = random_graphs(dtypes=(f64, i32, b1), max_steps=14)
seeds = st.integers(0, 2**16)


def check(engine, graph, seed):
    args = arguments(graph, seed)
    guards = []

    def on_effect(eqn, _loc, values):
        if eqn.primitive is guard:
            guards.append((eqn.params[0], literal(np.asarray(values[0])[()], eqn.params[0].dtype)))

    expected = evaluate(graph, args, on_effect=on_effect)
    failed = [GuardFailure(k, observed) for k, (wanted, observed) in enumerate(guards) if wanted is not observed]
    outcome = compile_graph(graph, engine=engine, flush_denormals=False).run(args)
    if failed:
        assert outcome == failed[0]
        return
    for got, want in zip(outcome, expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        scale = np.max(np.abs(want), initial=1, where=np.isfinite(want)) if want.dtype.kind == "f" else 0
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * scale, err_msg=repr(graph))


@settings(max_examples=60)
@given(graphs, seeds)
def test_llvm(graph, seed):
    check("llvm", graph, seed)


@pytest.mark.slow
@settings(max_examples=600)
@given(random_graphs(dtypes=(f64, i32, b1), max_steps=30), seeds)
def test_llvm_on_larger_graphs(graph, seed):
    check("llvm", graph, seed)


@pytest.mark.slow
@settings(max_examples=30)
@given(graphs, seeds)
def test_numba(graph, seed):
    check("numba", graph, seed)
