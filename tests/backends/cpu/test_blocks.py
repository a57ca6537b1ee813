"""Loops in order run together with vector loops around them, block by block, and compute what they did."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cpu import blocks
from graphad.backends.cpu.blocks import TURNS, in_blocks
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.loops.ir import Loop, LoopNest
from graphad.backends.lower.fuse import lower
from tests.compose.tools import close

LENGTHS = [4 * TURNS, 4 * TURNS + 1, 5 * TURNS - 1, 1000, 2017]


def blocked(f, *args):
    """Whether ``f`` has loops over blocks."""
    program = in_blocks(lower(graphad.jit(f).graph(*args)).program)
    nests = [s for s in program.steps if isinstance(s, LoopNest)]
    outer = [s for n in nests for s in n.body if isinstance(s, Loop)]
    return any([any([isinstance(s, Loop) for s in loop.body]) for loop in outer])


def smooth(xp, x, rate, reverse=False):
    """Exponential smoothing of the sines of ``x``, its squares and their sum."""
    made = xp.sin(x) * 2.0
    levels = recurrence(xp, made, rate, reverse)
    return levels * levels + made, xp.sum(levels * x), levels


def recurrence(xp, x, rate, reverse):
    if xp is gnp:
        return lax.scan(lambda c, s: (c * rate + s, c), gnp.zeros((), x.dtype), x, reverse=reverse)[1]
    found, c = np.empty_like(x), x.dtype.type(0)
    for t in range(len(x))[:: -1 if reverse else 1]:
        found[t], c = c, x.dtype.type(c * rate + x[t])
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_one_recurrence(length, reverse, dtype):
    x = np.random.default_rng(length).normal(size=length).astype(dtype)
    assert blocked(lambda x: smooth(gnp, x, 0.75, reverse), x)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for got, want in zip(
        graphad.jit(lambda x: smooth(gnp, x, 0.75, reverse))(x), smooth(np, x, 0.75, reverse), strict=True
    ):
        close(got, want, tolerance)


def test_fewer_turns_stay_as_they_are():
    assert not blocked(lambda x: smooth(gnp, x, 0.75), np.ones(4 * TURNS - 1))


def test_long_bodies_stay_as_they_are():
    def f(x):
        def step(c, s):
            for _ in range(4):
                c = gnp.sin(c) * s + c / (s + 2.0)
            return c, c

        return gnp.sin(lax.scan(step, 1.0, gnp.cos(x))[1])

    assert not blocked(f, np.ones(1000))


def garch(xp, p, returns):
    def step(v, r):
        return p[0] + p[1] * r * r + p[2] * v, xp.log(v) + r * r / v

    return lax.scan(step, p[0] / (1 - p[1] - p[2]), returns)[1].sum()


@pytest.mark.parametrize("engine", ["llvm", "numba"])
def test_gradient_of_garch(engine):
    p, returns = np.array([0.1, 0.1, 0.8]), np.random.default_rng(0).normal(size=1001)
    gradient = graphad.value_and_grad(lambda p, returns: garch(gnp, p, returns))
    assert blocked(gradient, p, returns)
    want_value, want = gradient(p, returns)  # interpreted, but for the loop
    value, slope = compile_graph(graphad.jit(gradient).graph(p, returns), engine=engine)(p, returns)
    close(value, want_value, 1e-12)
    close(slope, want, 1e-10)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        difference = (garch(gnp, p + step, returns) - garch(gnp, p - step, returns)) / 2e-6
        close(slope[k], difference, 1e-5)


def shifted(x):
    """The second loop reads what a later turn of the first writes."""
    made = gnp.sin(x)
    return lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.concatenate([made[1:], made[:1]]))[1] + made


def mirrored(x):
    levels = lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.sin(x))[1]
    return levels[::-1] + levels


def mirrored_first(x):
    return lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.sin(x) * gnp.cos(x)[::-1])[1] * x


def both_ways(x):
    up = lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.sin(x))[1]
    return lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.cos(up), reverse=True)[1]


def total_first(x):
    """The second loop begins with what the first one ends with."""
    total, levels = lax.scan(lambda c, s: (c * 0.5 + s, c), 0.0, gnp.sin(x))
    return lax.scan(lambda c, s: (c * 0.25 + s, c), total, gnp.cos(levels))[1] * total


def two_beside(x):
    return recurrence(gnp, gnp.sin(x), 0.5, False) + recurrence(gnp, gnp.cos(x), 0.25, False)


def carried_twice(x):
    return lax.scan(lambda c, s: ((c[1] * 0.5 + s, c[0] * 0.5), c[0]), (0.0, 1.0), gnp.sin(x))[1] * x


@pytest.mark.parametrize("f", [shifted, mirrored, mirrored_first, both_ways, total_first, two_beside, carried_twice])
def test_what_depends_on_what(f, monkeypatch):
    x = np.random.default_rng(1).normal(size=1003)
    slope = graphad.grad(lambda x: gnp.sum(f(x) ** 2))
    got = [graphad.jit(lambda x: f(x))(x), graphad.jit(lambda x: slope(x))(x)]
    monkeypatch.setattr(blocks, "TURNS", 1 << 40)
    plain = [compile_graph(graphad.jit(g).graph(x))(x)[0] for g in (lambda x: f(x) + 0.0, lambda x: slope(x) + 0.0)]
    for mine, want in zip(got, plain, strict=True):
        close(mine, want, 1e-12)


# --- random programs


def program_of(seed):
    """A function of an array: elementwise operations, shifts, sums and recurrences, in any order and direction."""

    def f(xp, x):
        rng = np.random.default_rng(seed)
        arrays, numbers = [x, xp.cos(x)], [xp.sum(x) * 0.125]
        for _ in range(rng.integers(3, 9)):
            a, b = (arrays[rng.integers(len(arrays))] for _ in range(2))
            number = numbers[rng.integers(len(numbers))]
            match rng.integers(7):
                case 0:
                    arrays.append(xp.sin(a) * b)
                case 1:
                    k = int(rng.integers(1, 4))
                    arrays.append(xp.concatenate([a[k:], b[:k]]))
                case 2:
                    numbers.append(xp.sum(a * b) * 0.125 - number)
                case 3:
                    arrays.append(a * 0.5 + number)
                case 4:
                    arrays.append(a[::-1] * 0.5 + b)
                case _:
                    arrays.append(recurrence(xp, a, float(rng.integers(-3, 4)) * 0.25, bool(rng.integers(2))))
        return arrays[-1] + arrays[-2], arrays[-3], numbers[-1]

    return f


def check_random(seed, monkeypatch):
    monkeypatch.setattr(blocks, "TURNS", 4)
    f = program_of(seed)
    x = np.random.default_rng(seed).normal(size=16 + seed % 9)
    for engine in ("llvm", "numba") if seed % 16 == 3 else ("llvm",):
        got = compile_graph(graphad.jit(lambda x: f(gnp, x)).graph(x), engine=engine)(x)
        for mine, want in zip(got, f(np, x), strict=True):
            close(mine, want, 1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_random_programs(seed, monkeypatch):
    check_random(seed, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30, 530))
def test_more_random_programs(seed, monkeypatch):
    check_random(seed, monkeypatch)


def test_random_programs_have_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "TURNS", 4)
    x = np.ones(19)
    assert sum([blocked(lambda x, f=program_of(seed): f(gnp, x), x) for seed in range(30)]) > 15
