"""Random graphs on the device, under every way of dealing them out: what it computes is what the reference computes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.backends.cpu import executable as cpu
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.run import executable
from graphad.backends.cuda.run.executable import compile_graph
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.lower.fuse import lower
from graphad.backends.outcome import GuardFailure
from graphad.device import parse
from graphad.ir.evaluate import evaluate
from graphad.ir.types import b1, f32, f64, i32, literal, u32
from graphad.primitives.effects import guard
from graphad.transforms.linearize import linearized
from graphad.transforms.transpose import transposed
from tests.backends.loop_harness import run_llvm
from tests.cuda.programs import EMULATED_TRAITS
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY
from tests.strategies import SHAPES, arguments, random_differentiable_graphs, random_graphs

EMULATED = parse("cuda:emulated")
WAYS = {"usual": LIMITS, "tiny": TINY, "joined": JOINED}
#: Primes, ones and nothing: what no number of threads divides.
ODD = (*SHAPES, (17,), (5, 13), (13, 5), (1, 31), (2, 3, 7), (0, 3), (101,), (64, 9))
ways = pytest.mark.parametrize("limits", WAYS.values(), ids=WAYS)
seeds = st.integers(0, 2**16)


def same(got, want, rtol):
    """Equal to ``rtol`` of the greatest; infinities may differ in sign, for zeros may, which they are made of."""
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want)
        return
    scale = np.max(np.abs(want), initial=1, where=np.isfinite(want))
    got, want = (np.where(np.isinf(x), np.inf, x) for x in (got, want))
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def reference(graph, args):
    """What NumPy computes, and the guard that fails first, if one does."""
    observed = []

    def on_effect(eqn, _loc, values):
        if eqn.primitive is guard:
            observed.append((eqn.params[0], literal(np.asarray(values[0])[()], eqn.params[0].dtype)))

    outputs = evaluate(graph, args, on_effect=on_effect)
    failed = [GuardFailure(k, seen) for k, (wanted, seen) in enumerate(observed) if wanted is not seen]
    return failed[0] if failed else outputs


def on_device(graph, args, deterministic):
    compiled = compile_graph(graph, EMULATED, flush_denormals=False, deterministic=deterministic)
    outcome = compiled.run([compiled.memory.upload(np.ascontiguousarray(a)) for a in args])
    if isinstance(outcome, GuardFailure):
        return outcome
    arrays = [np.empty(a.shape, a.dtype.numpy) for a in graph.out_avals]
    for memory, array in zip(outcome, arrays, strict=True):
        memory.download(array)
    return arrays


def check(graph, args, limits, rtol, *, deterministic=False):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executable, "schedule", partial(schedule, limits=limits))
        got = on_device(graph, args, deterministic)
    want = reference(graph, args)
    if isinstance(want, GuardFailure):
        assert got == want
        return
    assert not isinstance(got, GuardFailure)
    for a, b in zip(got, want, strict=True):
        same(a, np.asarray(b), rtol)


@ways
@settings(max_examples=30)
@given(random_graphs(dtypes=(f64, i32, b1), shapes=ODD), seeds, st.booleans())
def test_device_is_the_reference(limits, graph, seed, deterministic):
    check(graph, arguments(graph, seed), limits, 1e-9, deterministic=deterministic)


@ways
@settings(max_examples=20)
@given(random_graphs(dtypes=(f32, u32, b1), shapes=ODD, max_steps=3), seeds)
def test_device_is_the_reference_in_single_precision(limits, graph, seed):
    check(graph, arguments(graph, seed), limits, 3e-5)


@pytest.mark.slow
@ways
@settings(max_examples=300)
@given(random_graphs(dtypes=(f64, i32, b1), shapes=ODD, max_steps=20), seeds, st.booleans())
def test_device_is_the_reference_on_larger_graphs(limits, graph, seed, deterministic):
    check(graph, arguments(graph, seed), limits, 1e-9, deterministic=deterministic)


@ways
@settings(max_examples=20)
@given(random_differentiable_graphs(), seeds)
def test_derivatives_on_the_device_are_the_cpus(limits, graph, seed):
    (x,) = arguments(graph, seed)
    rng = np.random.default_rng(seed)
    primal, linear, n_residuals, nonzero = linearized(graph, (True,))
    results = cpu.compile_graph(primal)(x)
    check(primal, [x], limits, 1e-9)
    cts = [rng.normal(size=o.shape) for o, n in zip(results[: len(nonzero)], nonzero, strict=True) if n]
    back, _ = transposed(linear, (False,) * n_residuals + (True,), (True,) * len(cts))
    check(back, [*results[len(nonzero) :], *cts], limits, 1e-9)


@settings(max_examples=60)
@given(random_graphs(dtypes=(f64, i32, b1), shapes=ODD, max_steps=14), seeds)
def test_schedules_keep_the_program(graph, seed):
    program, for_device = lower(graph).program, lower(graph, traits=EMULATED_TRAITS).program
    flat = [np.ascontiguousarray(a).reshape(-1) for a in arguments(graph, seed)]
    status, want = run_llvm(program, flat)
    for limits in WAYS.values():
        for deterministic in (False, True):
            device = schedule(for_device, limits=limits, deterministic=deterministic)
            check_device_program(device)
            got_status, got = run_llvm(as_loops(device), flat)
            assert got_status == status
            if status:  # a guard failed: what comes behind it is not written
                continue
            for a, b in zip(got, want, strict=True):
                same(a, b, 1e-9)
