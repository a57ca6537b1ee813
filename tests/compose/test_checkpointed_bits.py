"""Loops with checkpoints against the plain loop, to the last bit: states are the same, and sums in the same order."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.api import stages
from graphad.api.checkpoints import BLOCK
from graphad.backends.lower.registers.arrays import UNROLLED
from graphad.ir.evaluate import evaluate

RNG = np.random.default_rng(0)


def rk4(dtype, turns):
    def f(p, **options):
        def slopes(x, y):
            return p[0] * x - p[1] * x * y, p[2] * x * y - p[3] * y

        def step(state, _):
            (x, y), h = state, dtype(0.01)
            a, b = slopes(x, y)
            c, d = slopes(x + h / 2 * a, y + h / 2 * b)
            e, g = slopes(x + h / 2 * c, y + h / 2 * d)
            i, j = slopes(x + h * e, y + h * g)
            return (x + h / 6 * (a + 2 * c + 2 * e + i), y + h / 6 * (b + 2 * d + 2 * g + j)), None

        start = gnp.asarray(dtype(1.0))
        (x, y), _ = lax.scan(step, (start, start), None, turns, **options)
        return x * x + y

    return f, [np.array([1.1, 0.4, 0.1, 0.4], dtype)]


def logistic(dtype, turns):
    """Chaotic: one bit of a state makes others of all digits."""

    def f(r, x, **options):
        return lax.scan(lambda x, _: (r * x * (1 - x), None), x, None, turns, **options)[0]

    return f, [dtype(3.7), dtype(0.3)]


def garch(dtype, turns):
    def f(p, returns, **options):
        def turn(variance, x):
            variance = p[0] + p[1] * x * x + p[2] * variance
            return variance, gnp.log(variance) + x * x / variance

        return lax.scan(turn, gnp.asarray(dtype(1.0)), returns, **options)[1].sum()

    return f, [np.array([0.1, 0.1, 0.8], dtype), RNG.normal(size=turns).astype(dtype)]


def of_arrays(dtype, turns):
    """Read by element, from the end to the beginning."""

    def f(a, table, c, xs, **options):
        def turn(carry, x):
            c, k = carry
            c = gnp.sin(c) * a[k % 3] + x * table[k]
            return (c, k + 1), gnp.sum(c)

        (c, _), ys = lax.scan(turn, (c, 0), xs, reverse=True, **options)
        return gnp.sum(c) + gnp.sum(ys * ys)

    sizes = [(3,), (turns,), (40,), (turns, 40)]
    return f, [RNG.normal(size=size).astype(dtype) for size in sizes]


def lstm(dtype, turns):
    n = 16

    def f(w, u, b, xs, **options):
        def turn(state, x):
            h, c = state
            i, forget, o, g = gnp.split(w @ h + u @ x + b, 4)
            c = nn.sigmoid(forget) * c + nn.sigmoid(i) * gnp.tanh(g)
            return (nn.sigmoid(o) * gnp.tanh(c), c), None

        h, _ = lax.scan(turn, (gnp.zeros(n, dtype), gnp.zeros(n, dtype)), xs, **options)[0]
        return (h * h).sum()

    sizes = [(4 * n, n), (4 * n, 8), (4 * n,), (turns, 8)]
    return f, [RNG.normal(size=size).astype(dtype) / 4 for size in sizes]


KINDS = [rk4, logistic, garch, of_arrays, lstm]


def gradients(kind, dtype, turns, run, *choices):
    """The value and the gradient of the plain loop, and with checkpoints."""
    f, args = kind(dtype, turns)
    by = tuple(range(len(args)))
    calls = [graphad.value_and_grad(lambda *xs, c=c: f(*xs, checkpoint=c), by) for c in (None, *choices)]
    return [graphad.tree.leaves(run(call, args)) for call in calls]


def compiled(f, args):
    return graphad.jit(f)(*args)


def check(found):
    plain, *others = found
    for other in others:
        for a, b in zip(plain, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_in_numpy(kind, dtype):
    def run(f, args):
        return evaluate(graphad.make_graph(f)(*args), args)

    check(gradients(kind, dtype, 43, run, 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("turns", [43, 203])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_without_the_passes_that_add_in_another_order(kind, turns, dtype, monkeypatch):
    pipeline = stages.default_pipeline().replace(",gather_products,fission", "")
    assert pipeline != stages.default_pipeline()
    monkeypatch.setattr(stages, "default_pipeline", lambda _=None: pipeline)
    check(gradients(kind, dtype, turns, compiled, 4))


@pytest.mark.parametrize("turns", [43, 70_001])
@pytest.mark.parametrize("kind", [rk4, logistic, garch])
def test_compiled_loops_of_scalars(kind, turns):
    """Longer or shorter than those that the pass `fission` changes."""
    check(gradients(kind, np.float64, turns, compiled, 60, "sqrt"))


def test_compiled_loops_of_arrays():
    check(gradients(of_arrays, np.float64, 203, compiled, 3, "sqrt"))


def test_products_of_weights_are_summed_in_another_order_and_no_state_is_another():
    plain, few = gradients(lstm, np.float64, 203, compiled, 3)
    for k in (0, 4):  # the value, and what is not a sum over the turns
        np.testing.assert_array_equal(plain[k], few[k])
    for a, b in zip(plain, few, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12 * np.abs(np.asarray(a)).max())


def test_turns_that_run_again_are_not_unrolled():
    """Statements that are unrolled have other fused multiply-adds."""
    assert UNROLLED < BLOCK
