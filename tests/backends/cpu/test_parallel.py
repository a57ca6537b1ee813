"""Wide loops in blocks: the same numbers in whatever order these run, and none where turns depend on each other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad import lax, tree
from graphad.api.stages import simplify
from graphad.backends.cpu.blocks import in_blocks
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.cpu.parallel import blocks, groups, in_parallel, products, wide
from graphad.backends.cpu.stacks import interleaved
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import LoopNest, Repeat, While
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.backends.routines.host import HostRun
from graphad.check.calculus import vjp_graph
from graphad.config import config
from graphad.ir.types import b1, f64, i32
from tests.backends.cpu.test_engines_random import check as check_random
from tests.backends.interpreted_target import Run
from tests.primitives.cases import USUAL, cases, differentiable, epsilon, programs, pure, run
from tests.strategies import random_graphs


def make_tiny(monkeypatch):
    """All loops of independent turns are worth blocks, of three turns."""
    monkeypatch.setattr(groups, "WORTH", 1)
    monkeypatch.setattr(wide, "LEAST", 1)
    monkeypatch.setattr(products, "ROWS", 1)
    monkeypatch.setattr(wide, "LANES", 1)
    for module in (groups, blocks):
        monkeypatch.setattr(module, "turns_of_block", lambda extent, each, least=1: min(3, extent))


@pytest.fixture
def tiny(monkeypatch):
    make_tiny(monkeypatch)


def blocked(graph):
    """The loops of a graph, in blocks, and what they call of the host."""
    lowered = lower(graph)
    program = in_parallel(interleaved(in_blocks(lowered.program)))
    check_program(program)
    return program, lowered.calls


def parallel_steps(program):
    return [s for s in every_step(program.steps) if isinstance(s, Repeat) and s.parallel]


def check(graph, args, tolerance):
    """The interpreter runs blocks backwards, over fresh memory that is nan."""
    program, calls = blocked(graph)
    expected = run(graph, args)
    found = [Run(program, [np.array(a).reshape(-1) for a in args], HostRun(calls, ())).outputs]
    if parallel_steps(program):
        found.append(compile_graph(graph, flush_denormals=False)(*args))
    for results in found:
        for got, want in zip(results, expected, strict=True):
            if want.dtype.kind in "fV":
                got, want = np.float64(got), np.float64(want)
                np.testing.assert_allclose(got.reshape(want.shape), want, tolerance, tolerance, err_msg=f"{graph}")
            else:
                np.testing.assert_array_equal(np.reshape(got, want.shape), want, err_msg=f"{graph}")
    return len(found) > 1


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_primitives(step, tiny):
    """Samples of primitives, enough of which are in blocks."""
    count = 0
    for primitive, dtype in cases(USUAL, pure)[::step]:
        tolerance = 4 * max(primitive.tolerance, 1) * epsilon(dtype.numpy) if dtype.is_float else 0
        for graph, args in programs(primitive, dtype):
            count += check(graph, args, tolerance)
    assert count > 200 / step


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_adjoints(step, tiny):
    count = 0
    for primitive, dtype in cases((f64,), differentiable)[::step]:
        for graph, args in programs(primitive, dtype, only_differentiable=True):
            given = [*args, *[np.ones(a.shape, a.dtype.numpy) for a in graph.out_avals if a.is_float]]
            count += check(vjp_graph(graph), given, 1e-10)
    assert count > 200 / step


# ---- which loops are in blocks, and which run together

X = np.random.default_rng(0).normal(size=(30_000, 20))
Y = (X[:, 0] > 0.3).astype(float)
W = np.random.default_rng(1).normal(size=20) / 10


def loss(w, xp=gnp):
    """Logistic regression."""
    z = X @ w
    return xp.mean(xp.logaddexp(0, z) - Y * z)


def program_of(f, *args):
    return blocked(simplify(graphad.jit(f).graph(*args)))[0]


def test_regression_is_one_pass_over_its_data():
    program = program_of(graphad.value_and_grad(loss), W)
    (step,) = parallel_steps(program)
    assert [type(s).__name__ for s in step.body] == ["Gemm", "LoopNest", "Gemm"]
    between = sum(b.size for b in program.buffers if b.role == "temporary")
    assert between < len(X), "what passes between the loops is as small as a block"
    value, slope = graphad.jit(graphad.value_and_grad(loss))(W)
    z = X @ W
    np.testing.assert_allclose(value, loss(W, np), 1e-13)
    np.testing.assert_allclose(slope, X.T @ (1 / (1 + np.exp(-z)) - Y) / len(Y), 1e-11, 1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [100_000, 100_003, 2**17 + 1])
def test_sums_of_blocks(n, dtype):
    x = np.random.default_rng(n).normal(size=n).astype(dtype)
    f = graphad.jit(lambda x: (gnp.sum(gnp.sin(x) ** 2), gnp.max(gnp.cos(x)), gnp.min(x * x), gnp.any(x > 5.0)))
    assert parallel_steps(program_of(f, x))
    exact = np.sin(x.astype(np.longdouble)) ** 2
    total, most, least, some = f(x)
    np.testing.assert_allclose(total, float(exact.sum()), 2 * np.finfo(dtype).eps)
    assert (most, least, some) == (f.__wrapped__(x)[1], (x * x).min(), (x > 5).any())


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0])
def test_what_is_not_finite_reaches_the_sums(special):
    x = np.full(100_003, special)
    f = lambda x: (gnp.sum(x * 0.5), gnp.max(x - 1.0), gnp.prod(x * 1.0), gnp.min(x * x))
    with np.errstate(all="ignore"):
        for got, want in zip(graphad.jit(f)(x), f(x), strict=True):
            np.testing.assert_array_equal(got, want)
            assert np.signbit(got) == np.signbit(want)


def test_small_loops_stay_as_they_are():
    program = lower(simplify(graphad.jit(lambda x: gnp.sum(gnp.sin(x))).graph(X[:40]))).program
    assert in_parallel(program) is program


def test_loops_that_wait_for_the_turn_before_stay_as_they_are():
    def f(x):
        return lax.scan(lambda c, row: (gnp.tanh(c + row @ row), c), 0.0, x)[1]

    assert not parallel_steps(program_of(f, X))


def test_lanes_that_branch(tiny):
    """Before a branch is computed, a turn asks whether any lane takes it."""

    def of_element(x):
        return lax.cond(x > 0, lambda x: gnp.sin(x) * gnp.exp(x), lambda x: x * x, x)

    graph = simplify(graphad.jit(lambda x: lax.map(of_element, x)).graph(X[:500, 0]))
    nests = [n for p in parallel_steps(blocked(graph)[0]) for n in p.body if isinstance(n, LoopNest)]
    assert any([isinstance(s, While) for n in nests for s in walk(n.body)])
    assert check(graph, [X[:500, 0]], 1e-14)


def test_steps_of_a_loop_are_in_blocks():
    def f(x):
        return lax.fori_loop(0, 5, lambda i, x: gnp.sin(x) + x[::-1] * 0.5, x)

    program = program_of(f, X)
    assert parallel_steps(program)
    want = X
    for _ in range(5):
        want = np.sin(want) + want[::-1] * 0.5
    np.testing.assert_allclose(graphad.jit(f)(X), want, 1e-13, 1e-13)


@settings(max_examples=60)
@given(random_graphs(dtypes=(f64, i32, b1), max_steps=14), st.integers(0, 2**16))
def test_random_graphs(graph, seed):
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        check_random("llvm", graph, seed)


# ---- threads


def network(weights, x, y):
    hidden = x
    for w, b in weights[:-1]:
        hidden = gnp.tanh(hidden @ w + b)
    w, b = weights[-1]
    scores = hidden @ w + b
    scores = scores - gnp.max(scores, axis=1, keepdims=True)
    return gnp.mean(gnp.log(gnp.sum(gnp.exp(scores), axis=1)) - gnp.sum(scores * y, axis=1))


def decays(rates):
    """Of each rate a loop."""
    return graphad.vmap(lambda r: lax.fori_loop(0, 50, lambda i, c: gnp.sin(c) * r + 0.1, 1.0))(rates)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


WEIGHTS = [(normal(a, b, seed=a) / 10, normal(b)) for a, b in ((60, 64), (64, 48), (48, 10))]
PROGRAMS = {
    "sums": (lambda x: (gnp.sum(gnp.exp(-x * x)), gnp.max(x), x - gnp.mean(x, axis=0)), [normal(20_011, 7)]),
    "regression": (graphad.value_and_grad(loss), [W]),
    "network": (graphad.value_and_grad(network), [WEIGHTS, normal(1025, 60), np.eye(10)[np.arange(1025) % 10]]),
    "products": (lambda a, b: (a @ b, a.T @ a, b @ normal(70)), [normal(700, 300), normal(300, 70)]),
    "sorting": (lambda x: (gnp.sort(x), gnp.argsort(x, axis=1)), [normal(3000, 41)]),
    "matrices": (lambda a: gnp.linalg.inv(a) + gnp.linalg.qr(a)[0], [normal(500, 14, 14) + 20 * np.eye(14)]),
    "small matrices": (
        graphad.value_and_grad(lambda a: gnp.sum(gnp.linalg.inv(a) ** 2)),
        [normal(4001, 3, 3) + 5 * np.eye(3)],
    ),
    "loops": (graphad.value_and_grad(lambda r: gnp.sum(decays(r))), [normal(3001)]),
    "half precision": (lambda x: (gnp.sum(x * x, axis=0), gnp.tanh(x)), [normal(3001, 40).astype(np.float16)]),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_do_not_depend_on_the_number_of_threads(name):
    f, args = PROGRAMS[name]
    compiled = graphad.jit(f)
    assert "blocks" in str(compiled.explain(*args))
    with config.override(num_threads=1):
        alone = tree.leaves(compiled(*args))
    for threads in (2, 3, 7):
        with config.override(num_threads=threads):
            for _ in range(5):
                for a, b in zip(tree.leaves(compiled(*args)), alone, strict=True):
                    assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    for got, want in zip(alone, tree.leaves(f(*args)), strict=True):
        tolerance = 2e-3 if np.asarray(got).dtype == np.float16 else 1e-9
        np.testing.assert_allclose(np.float64(got), np.float64(want), tolerance, tolerance)


def test_several_callers_at_once():
    """One has the pool, the others run their blocks alone."""
    f = graphad.jit(PROGRAMS["regression"][0])
    alone = [np.asarray(x) for x in f(W)]
    with config.override(num_threads=3), ThreadPoolExecutor(4) as callers:
        for found in callers.map(lambda _: f(W), range(100)):
            assert all((np.asarray(a) == b).all() for a, b in zip(found, alone, strict=True))
