"""Short loops written out: what has the lanes then, and that the numbers are the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import simplify
from graphad.backends.cpu import short
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.cpu.short import short_loops_written_out
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Loop, LoopNest, Store
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.backends.routines.host import HostRun
from graphad.check.calculus import vjp_graph
from graphad.ir.types import f64
from tests.backends.interpreted_target import Run
from tests.primitives.cases import USUAL, cases, differentiable, epsilon, programs, pure, run
from tests.thinned import every


def written_out(graph):
    """A program before and behind the pass, and what it calls of the host."""
    lowered = lower(graph)
    program = short_loops_written_out(lowered.program)
    check_program(program)
    return lowered.program, program, lowered.calls


def lanes(f, *args):
    """The extents of the loops that have lanes, in order."""
    program = written_out(simplify(graphad.jit(f).graph(*args)))[1]
    return [
        s.extent
        for n in every_step(program.steps)
        if isinstance(n, LoopNest)
        for s in walk(n.body)
        if isinstance(s, Loop) and s.vector
    ]


def check(graph, args, tolerance):
    """Interpreted and compiled; whether anything was changed."""
    before, program, calls = written_out(graph)
    if program == before:
        return False
    expected = run(graph, args)
    found = [Run(program, [np.array(a).reshape(-1) for a in args], HostRun(calls, ())).outputs]
    found.append(compile_graph(graph, flush_denormals=False)(*args))
    for results in found:
        for got, want in zip(results, expected, strict=True):
            if want.dtype.kind == "f":
                np.testing.assert_allclose(np.reshape(got, want.shape), want, tolerance, tolerance, err_msg=f"{graph}")
            else:
                np.testing.assert_array_equal(np.reshape(got, want.shape), want, err_msg=f"{graph}")
    return True


@pytest.fixture
def all_long(monkeypatch):
    """Loops of two turns are long."""
    monkeypatch.setattr(short, "_LONG", 2)


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_primitives(step, all_long):
    count = 0
    for primitive, dtype in cases(USUAL, pure)[::step]:
        tolerance = 4 * max(primitive.tolerance, 1) * epsilon(dtype.numpy) if dtype.is_float else 0
        for graph, args in programs(primitive, dtype):
            count += check(graph, args, tolerance)
    assert count > 20 / step


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_adjoints(step, all_long):
    count = 0
    for primitive, dtype in cases((f64,), differentiable)[::step]:
        for graph, args in programs(primitive, dtype, only_differentiable=True):
            given = [*args, *[np.ones(a.shape, a.dtype.numpy) for a in graph.out_avals if a.is_float]]
            count += check(vjp_graph(graph), given, 1e-10)
    assert count > 20 / step


# ---- which loop has the lanes


def pairs(x, y, xp=gnp):
    """Squared distances."""
    d = x[:, None, :] - y[None, :, :]
    return xp.sum(d * d, axis=2)


def energy(x, xp=gnp):
    return xp.sum(1 / xp.sqrt(pairs(x, x, xp) + 0.01))


def points(n, k, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, k)).astype(dtype)


def test_a_sum_over_a_short_axis():
    assert lanes(lambda x: gnp.sum(x * x, axis=1), points(100, 3)) == [100]


def test_columns_of_a_narrow_matrix():
    """One pass, with a sum for each column."""
    assert lanes(lambda x: gnp.sum(gnp.sin(x), axis=0), points(100, 3)) == [100]


def test_forces_between_bodies():
    """No value passes through memory but what the sums over the other axis read, and these have lanes of their own."""
    x = points(60, 3)
    gradient = graphad.value_and_grad(energy)
    assert lanes(gradient, x) == [60, 60]
    program = written_out(simplify(graphad.jit(gradient).graph(x)))[1]
    stored = [s.buffer for n in program.steps for s in walk(n.body) if isinstance(s, Store)]
    large = [b.name for b in program.buffers if b.size == 60 * 60]
    assert len(large) == 1
    assert stored.count(large[0]) == 1


def test_rows_that_fill_a_vector_stay():
    """Elements beside each other, and no sum over them."""
    assert lanes(lambda x, m: x - m[:, None] * 2.0, points(50, 8, np.float32), np.ones(50, np.float32)) == [8]
    assert lanes(lambda x, m: x - m[:, None] * 2.0, points(50, 7, np.float32), np.ones(50, np.float32)) == [50]


def test_long_rows_stay():
    assert lanes(lambda x: gnp.sum(x * x, axis=1), points(100, 9)) == [9]


# ---- numbers


SIZES = product([15, 16, 17, 33, 301], range(1, 10), [np.float32, np.float64])


@pytest.mark.parametrize(("n", "k", "dtype"), every(3, SIZES, several=True))
def test_forces(n, k, dtype):
    x = points(n, k, dtype)
    value, slope = graphad.jit(graphad.value_and_grad(energy))(x)
    wide = x.astype(np.float64)
    d = wide[:, None] - wide
    r = 1 / np.sqrt((d * d).sum(2) + 0.01)
    tolerance = 3e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(value, r.sum(), tolerance)
    want = -2 * (d * r[:, :, None] ** 3).sum(1)
    np.testing.assert_allclose(slope, want, tolerance, tolerance * np.abs(want).max())


COMBINATIONS = (gnp.sum, gnp.max, gnp.min, gnp.prod, gnp.mean, gnp.any, gnp.all, gnp.argmax, gnp.cumsum, gnp.sort)


def random_program(rng):
    """Arithmetic on operands of which some lack axes, combined over some of their axes, twice."""
    shape = tuple(rng.choice([1, 2, 3, 4, 5, 8, 17, 40], size=3).tolist())
    masks = [rng.random(3) < 0.7 for _ in range(3)]
    args = [rng.normal(size=[n if m else 1 for n, m in zip(shape, mask, strict=True)]) for mask in masks]
    args[2] = np.round(args[2]).astype(rng.choice(["f4", "f8", "i4"]))  # whose squares are exact
    axes = [tuple(np.flatnonzero(rng.random(3) < 0.5).tolist()) for _ in range(2)]
    combine = [COMBINATIONS[k] for k in rng.integers(0, len(COMBINATIONS), 2)]

    def f(a, b, c):
        y = gnp.tanh(a - b) * (c * c + 1)
        found = [combined(one, gnp.where(y > 0.9, y, a * y), axis) for one, axis in zip(combine, axes, strict=True)]
        return [*found, combined(gnp.sum, y * found[0], axes[1]), y * c]

    return f, args


def combined(one, x, axes):
    """With axes of one element in place of those that are combined."""
    if one in (gnp.argmax, gnp.cumsum, gnp.sort):
        axis = axes[0] if axes else 0
        return one(x, axis=axis, **({"keepdims": True} if one is gnp.argmax else {}))
    return one(x, axis=axes, keepdims=True) if axes else x


@pytest.mark.parametrize("seed", every(8, range(240)))
def test_random_programs(seed):
    f, args = random_program(np.random.default_rng(seed))
    graph = simplify(graphad.jit(f).graph(*args))
    check(graph, args, 1e-12)

    def total(*args):
        return sum([gnp.sum(gnp.tanh(y)) for y in f(*args) if y.dtype.kind == "f"])

    check(simplify(graphad.jit(graphad.grad(total, argnums=(0, 1))).graph(*args)), args, 1e-10)


def test_there_are_such_among_random_programs():
    changed = 0
    for seed in range(40):
        f, args = random_program(np.random.default_rng(seed))
        before, behind, _ = written_out(simplify(graphad.jit(f).graph(*args)))
        changed += before != behind
    assert changed > 5
