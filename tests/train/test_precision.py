"""Losses of models computed in 16 bits are compared as float32: what a loss is made of is not rounded on the way."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import fit, make_step

X = np.arange(-5.0, 16.0, dtype=np.float32) ** 2  # whose products with W are exact in 16 bits
W = np.float32(0.5)


def mean(w, x):
    return gnp.mean(w * x)


def several_terms(w, x):
    return 3 * gnp.mean(w * x) - 0.125 * gnp.sum(x) / 21 + gnp.max(w * x)


@graphad.jit
def compiled(w, x):
    return gnp.sqrt(gnp.sum(w * x) + 1)


@graphad.jit
def part(w, x):
    return gnp.mean(w * x), gnp.sum(x)


def compiled_parts(w, x):
    first, second = part(w, x)
    return 2 * first + first / second


LOSSES = {
    "mean": mean,
    "compiled parts": compiled_parts,
    "several terms": several_terms,
    "compiled": compiled,
    "product": lambda w, x: (w * x) @ x,
}


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_not_rounded(name, precision):
    loss = LOSSES[name]
    step = make_step(loss, optim.sgd(0.125), precision=precision)
    exact = float(loss(W.astype(np.float64), X.astype(np.float64)))
    assert abs(exact - float(gnp.astype(exact, precision))) > 1e-5 * abs(exact)
    state, value = step(step.init(W), (X,))
    _, (_, metrics) = make_step(
        lambda w, x: (gnp.sum(w), {"metric": loss(w, x), "each": w * x}),
        optim.sgd(0.125),
        precision=precision,
        has_aux=True,
    )(step.init(W), (X,))
    assert (metrics["metric"].dtype, metrics["each"].dtype) == (np.float32, precision)
    np.testing.assert_allclose(metrics["metric"], exact, rtol=1e-6)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, exact, rtol=1e-6)
    slope = graphad.grad(loss)(W.astype(np.float64), X.astype(np.float64))
    if precision == "bfloat16":  # in float16 the first scale may be too large, and the step is skipped
        np.testing.assert_allclose((W - state.params) / 0.125, slope, rtol=2**-7)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_small_improvements_are_seen(precision):
    """Of a loss near 1 that falls by 1e-4 an epoch, which is less than neighbours in 16 bits are apart."""

    def loss(w, x):
        return 1 + gnp.mean(w * x)

    data = np.ones((8, 1), np.float32)
    result = fit(
        loss, np.float32(0), data, optim.sgd(1e-4), epochs=6, batch_size=8, eval_data=data, early_stopping=1,
        precision=precision, progress=False,
    )  # fmt: skip
    assert result.steps == 6
    assert np.all(np.diff([row["eval_loss"] for row in result.history]) < -5e-5)
    assert np.all(np.diff(result.losses) < -5e-5)
