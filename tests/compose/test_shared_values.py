"""Values that are used twice, many times over: work grows with the values, not with the paths through them."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.config import config
from tests.compose.tools import close
from tests.thinned import every

LEVELS = 40  # 2**40 paths


@pytest.fixture(autouse=True)
def limit():
    """What goes along all paths would never end."""

    def late(signum, frame):
        raise AssertionError("more than a minute for a few dozen values")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def chain(step, x):
    for _ in range(LEVELS):
        x = step(x)
    return x


def arithmetic(xp, x):
    return chain(lambda y: y * 0.5 + xp.sin(y) * 0.5, x)


def choices(xp, x):
    return chain(lambda y: xp.where(y > 0.5, y, xp.where(y > 0.25, -y, y + 0.0)), x)


def views(xp, x):
    return chain(lambda y: (y[::-1] + y) * 0.5, x)


def pieces(xp, x):
    return chain(lambda y: xp.concatenate([y[2:], y[:2]]) * 0.5 + y * 0.5, x)


def sums(xp, x):
    return chain(lambda y: y * 0.5 + xp.cumsum(y) * 0.01 + y.mean() * 0.3, x)


def gathers(xp, x):
    indices = np.array([3, 0, 1, 2, 4])
    return chain(lambda y: y[indices] * 0.5 + y * 0.5, x)


def products(xp, x):
    square = xp.outer(x, x) * 0.1
    return chain(lambda y: (y @ y) * 0.1 + y * 0.5, square)[0]


def half(xp, x):
    wide = choices(xp, xp.outer(x, x).astype("float16").astype("float32"))
    return (wide.astype("float16") @ wide.astype("float16"))[0].astype(x.dtype)


PROGRAMS = [arithmetic, choices, views, pieces, sums, gathers, products, half]
X = np.array([0.3, 0.4, 0.6, 0.1, 0.7])


@pytest.mark.parametrize("program", every(2, PROGRAMS))
def test_values_and_derivatives(program):
    tolerance = 1e-2 if program is half else 1e-9
    want = program(np, X)
    batch = np.stack([X, X])
    close(graphad.jit(lambda x: program(gnp, x))(X), want, tolerance)
    close(graphad.jit(graphad.vmap(lambda x: program(gnp, x)))(batch)[1], want, tolerance)
    _, tangent = graphad.jit(lambda x: graphad.jvp(lambda y: program(gnp, y), (x,), (gnp.ones(5, "float64"),)))(X)
    slope = graphad.jit(graphad.grad(lambda x: gnp.sum(program(gnp, x))))(X)
    close(slope.sum(), tangent.sum(), tolerance)


@pytest.mark.parametrize("program", PROGRAMS)
def test_device_programs(program):
    found = graphad.jit(graphad.grad(lambda x: gnp.sum(program(gnp, x)))).explain(
        gnp.asarray(X, "float32"), device="cuda"
    )
    assert found.steps


@pytest.mark.parametrize("program", [arithmetic, choices])
def test_what_a_loop_runs_over(program):
    def f(xp, x):
        return program(xp, xp.arange(5.0) * 0.1), x

    def total(x):
        slices, start = f(gnp, x)
        return lax.scan(lambda c, s: (c * 0.5 + s, None), start, slices)[0]

    want = np.float64(1.0)
    for s in program(np, np.arange(5.0) * 0.1):
        want = want * 0.5 + s
    close(graphad.jit(total)(1.0), want)
    close(graphad.jit(graphad.grad(total))(1.0), 0.5**5)


@pytest.mark.parametrize("program", [arithmetic, choices, views])
def test_bodies_of_loops_in_lanes(program):
    rows = np.stack([np.linspace(k, k + 1, 100) * 0.1 for k in range(4)])

    def total(row):
        return lax.scan(lambda c, s: (c * 0.5 + gnp.sum(program(gnp, row * s)), None), 1.0, np.arange(3.0))[0]

    want = []
    for row in rows:
        c = 1.0
        for s in range(3):
            c = c * 0.5 + program(np, row * s).sum()
        want.append(c)
    close(graphad.jit(graphad.vmap(total))(rows), want)


def test_where_nan_comes_from():
    def f(x):
        return gnp.sum(arithmetic(gnp, gnp.log(x) * 0.5 + gnp.log(x)))

    with config.override(debug_nans=True), pytest.raises(FloatingPointError, match="log"):
        graphad.jit(f)(-X)
