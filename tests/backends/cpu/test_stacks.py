"""What loops in lanes stack lies side by side, whatever its sizes and dtypes."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cpu.stacks import interleaved
from graphad.backends.lower.fuse import lower
from graphad.config import config
from tests.compose.tools import close

N, TURNS = 37, 11
RATES = np.linspace(0.1, 0.9, N)


def fit(rate):
    """Two loops of different lengths, in two dtypes."""

    def step(state, _):
        x, y = state
        return (x + 0.1 * gnp.sin(rate * y), y - 0.1 * gnp.cos(x * y)), None

    def narrow(c, t):
        return gnp.tanh(c * c * t + c), None

    (x, y), _ = lax.scan(step, (rate, rate * 0.5), None, TURNS)
    total, _ = lax.scan(narrow, x.astype("float32"), gnp.arange(5, dtype="float32") * 0.25)
    return y * total


def private(program):
    return [b for b in program.buffers if b.private]


def test_there_is_one_for_each_size_and_dtype():
    before = lower(graphad.jit(graphad.vmap(graphad.grad(fit))).graph(RATES)).program
    after = interleaved(before)
    kinds = {(b.dtype, b.size) for b in private(before)}
    assert len(private(before)) > len(private(after)) == len(kinds) >= 2
    assert sum(b.size for b in private(before)) == sum(b.size for b in private(after))
    assert interleaved(after) is after


@pytest.mark.parametrize("engine", ["llvm", "numba"])
def test_derivatives_of_batches(engine):
    with config.override(engine=engine):
        slopes = graphad.jit(graphad.vmap(graphad.grad(fit)))(RATES)
    close(slopes, [graphad.grad(fit)(r) for r in RATES], 1e-5)
