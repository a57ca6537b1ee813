"""Value and gradient of larger programs on all cores, beside JAX at its own number of threads, and beside one thread.

Run: ``python benchmarks/threads.py [names]``. Every pair is first compared in value. Medians of interleaved runs.
"""

from __future__ import annotations

import sys

from timing import interleaved, versions  # before NumPy: it clears what slows NumPy

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.backends.cpu.pool.available import available_threads
from graphad.config import config

RNG = np.random.default_rng(0)


def normal(*shape, dtype=np.float32):
    return RNG.normal(size=shape).astype(dtype)


def sines(xp):
    """Of a million numbers in single precision."""
    return lambda x: xp.sum(xp.sin(xp.sin(xp.sin(x))))


def logarithms(xp):
    """Of a million numbers in double precision."""
    return lambda x: xp.sum(xp.log(1 + xp.log(1 + x * x)))


def softmax(xp):
    """Cross entropy of 2,048 rows of 1,000."""

    def f(z, y):
        z = z - xp.max(z, axis=1, keepdims=True)
        return -xp.mean(xp.sum(y * (z - xp.log(xp.sum(xp.exp(z), axis=1, keepdims=True))), axis=1))

    return f


def regression(xp):
    """Logistic regression on 100,000 rows of 30, in double precision."""

    def f(w, x, y):
        z = x @ w
        return xp.mean(xp.log1p(xp.exp(-xp.abs(z))) + xp.maximum(z, 0) - y * z)

    return f


def bodies(xp):
    """The potential energy of 300 bodies, in double precision."""

    def f(x):
        d = x[:, None, :] - x[None, :, :]
        return xp.sum(1 / xp.sqrt(xp.sum(d * d, axis=2) + 0.01))

    return f


def gelu(xp):
    """Of 2,000 x 512 numbers."""
    return lambda x: xp.sum(0.5 * x * (1 + xp.tanh(0.7978846 * (x + 0.044715 * x**3))))


def mixture(xp):
    """The log-likelihood of 50,000 points under 8 Gaussians in the plane."""

    def f(means, scales, logits, x):
        d = ((x[:, None, :] - means) / xp.exp(scales)[:, None]) ** 2
        terms = logits - 0.5 * xp.sum(d, axis=2) - 2 * scales
        top = xp.max(terms, axis=1, keepdims=True)
        return xp.sum(xp.log(xp.sum(xp.exp(terms - top), axis=1)) + top[:, 0])

    return f


def perceptron(xp):
    """784-128-10 on a batch of 512."""
    entropy = softmax(xp)

    def f(params, x, y):
        (w1, b1), (w2, b2) = params
        return entropy(xp.tanh(x @ w1 + b1) @ w2 + b2, y)

    return f


def systems(xp):
    """50,000 systems of six equations, in double precision."""
    return lambda a, b: xp.sum(xp.linalg.solve(a, b) ** 2)


def fits(xp):
    """1,000 solutions of Lotka-Volterra's equations by 100 steps of Euler's method, in double precision."""
    library = graphad if xp is gnp else jax

    def one(rates):
        def step(state, _):
            x, y = state
            a, b, c, d = rates
            return (x + 0.01 * (a * x - b * x * y), y + 0.01 * (c * x * y - d * y)), x

        return xp.sum(
            library.lax.scan(step, (xp.ones_like(rates[0]), xp.ones_like(rates[0])), None, length=100)[1] ** 2
        )

    return lambda rates: xp.sum(library.vmap(one)(rates))


def lenet(xp):
    """LeNet-5 with pooling by maxima, on 64 images."""
    lax = (graphad if xp is gnp else jax).lax
    entropy = softmax(xp)

    def half(x):
        return lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    def f(params, x, y):
        k1, k2, w1, w2, w3 = params
        h = half(xp.tanh(lax.conv_general_dilated(x, k1, (1, 1), "SAME")))
        h = half(xp.tanh(lax.conv_general_dilated(h, k2, (1, 1), "VALID"))).reshape(x.shape[0], -1)
        return entropy(xp.tanh(xp.tanh(h @ w1) @ w2) @ w3, y)

    return f


def attention(xp):
    """Of 32 heads, 128 positions of 64 numbers each."""

    def f(qkv):
        q, k, v = qkv
        scores = xp.einsum("hid,hjd->hij", q, k) / 8
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        return xp.sum(xp.tanh(xp.einsum("hij,hjd->hid", weights / xp.sum(weights, axis=-1, keepdims=True), v)))

    return f


def one_hot(rows, classes):
    return np.eye(classes, dtype=np.float32)[RNG.integers(0, classes, rows)]


PARAMETERS = [(normal(784, 128) * 0.05, normal(128)), (normal(128, 10) * 0.1, normal(10))]
LENET = [normal(*shape) / 10 for shape in ((6, 1, 5, 5), (16, 6, 5, 5), (400, 120), (120, 84), (84, 10))]
DATA = normal(100_000, 30, dtype=np.float64)
PROGRAMS = {
    "sin chain 1e6 f32": (sines, [normal(1_000_000)]),
    "log chain 1e6 f64": (logarithms, [normal(1_000_000, dtype=np.float64)]),
    "softmax 2048 x 1000": (softmax, [normal(2048, 1000), one_hot(2048, 1000)]),
    "logistic regression 1e5 x 30": (regression, [normal(30, dtype=np.float64), DATA, (DATA[:, 0] > 0) * 1.0]),
    "N-body 300": (bodies, [normal(300, 3, dtype=np.float64)]),
    "GELU 2000 x 512": (gelu, [normal(2000, 512)]),
    "mixture, 50,000 points": (mixture, [normal(8, 2), normal(8) * 0.1, normal(8), normal(50_000, 2)]),
    "perceptron, batch 512": (perceptron, [PARAMETERS, normal(512, 784), one_hot(512, 10)]),
    "LeNet, batch 64": (lenet, [LENET, normal(64, 1, 28, 28), one_hot(64, 10)]),
    "attention, 32 heads": (attention, [[normal(32, 128, 64) for _ in range(3)]]),
    "50,000 systems 6 x 6": (
        systems,
        [normal(50_000, 6, 6, dtype=np.float64) + 6 * np.eye(6), normal(50_000, 6, 1, dtype=np.float64)],
    ),
    "1,000 loops under vmap": (fits, [0.5 + 0.1 * normal(1000, 4, dtype=np.float64)]),
}


def measured(make, args):
    """Milliseconds: ours on all cores and on one, and JAX's, after comparing the results."""
    ours, theirs = graphad.jit(graphad.value_and_grad(make(gnp))), jax.jit(jax.value_and_grad(make(jnp)))
    mine, their = graphad.tree.map(gnp.asarray, args), jax.tree.map(jnp.asarray, args)
    for a, b in zip(graphad.tree.leaves(ours(*mine)), jax.tree.leaves(theirs(*their)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-3 * np.abs(np.asarray(b)).max())

    def on(threads):
        def call():
            config.update("num_threads", threads)
            return ours(*mine)

        return call

    calls = {"all": on(available_threads()), "one": on(1), "jax": lambda: jax.block_until_ready(theirs(*their))}
    try:
        return {name: 1e3 * seconds for name, seconds in interleaved(calls, repeat=31).items()}
    finally:
        config.update("num_threads", None)


def main(*names):
    jax.config.update("jax_enable_x64", True)
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    print(
        f"{'value and gradient of':29} {'graphad ms':>10} {'one thread':>10} {'jax ms':>8} {'ratio':>6} {'threads':>7}"
    )
    for name, (make, args) in PROGRAMS.items():
        if names and name not in names:
            continue
        ms = measured(make, args)
        ratios = f"{ms['jax'] / ms['all']:6.1f} {ms['one'] / ms['all']:7.2f}"
        print(f"{name:29} {ms['all']:10.3f} {ms['one']:10.3f} {ms['jax']:8.2f} {ratios}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
