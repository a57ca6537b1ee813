"""Run time of compiled gradients beside JAX in the same run, on one thread each, float32.

Run: ``python benchmarks/programs.py``. Every pair is first compared in value. Prints medians of interleaved runs.
"""

from __future__ import annotations

if __name__ == "__main__":
    import one_thread  # noqa: F401

from timing import interleaved, versions  # before NumPy: it clears what slows NumPy

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def chain(numpy):
    """Sixty elementwise operations over 10,000 numbers."""

    def f(x, y):
        for _ in range(12):
            x = numpy.tanh(x * y) + numpy.exp(-x * x)
        return x.sum()

    return f, (normal(10_000), normal(10_000))


def gelu(numpy):
    return lambda x: (0.5 * x * (1 + numpy.tanh(0.7978846 * (x + 0.044715 * x**3)))).sum(), (normal(100_000),)


def logistic(numpy):
    def f(w, x, y):
        z = x @ w
        return numpy.mean(numpy.log1p(numpy.exp(-numpy.abs(z))) + numpy.maximum(z, 0) - y * z)

    return f, (normal(32), normal(10_000, 32), (RNG.random(10_000) < 0.5).astype(np.float32))


def cross_entropy(numpy):
    def f(z, y):
        z = z - z.max(axis=1, keepdims=True)
        return -(y * (z - numpy.log(numpy.exp(z).sum(axis=1, keepdims=True)))).sum(axis=1).mean()

    return f, (normal(512, 100), np.eye(100, dtype=np.float32)[RNG.integers(0, 100, 512)])


def mlp(numpy):
    """A perceptron 784-128-10 on a batch of 128."""
    entropy, _ = cross_entropy(numpy)

    def f(params, x, y):
        (w1, b1), (w2, b2) = params
        return entropy(numpy.tanh(x @ w1 + b1) @ w2 + b2, y)

    params = [(normal(784, 128) * 0.05, normal(128)), (normal(128, 10) * 0.1, normal(10))]
    return f, (params, normal(128, 784), np.eye(10, dtype=np.float32)[RNG.integers(0, 10, 128)])


def mixture(numpy):
    """The log-likelihood of 5,000 points under 8 Gaussians in the plane."""

    def f(means, scales, logits, x):
        d = ((x[:, None, :] - means) / numpy.exp(scales)[:, None]) ** 2
        terms = logits - 0.5 * d.sum(axis=2) - 2 * scales
        top = terms.max(axis=1, keepdims=True)
        return (numpy.log(numpy.exp(terms - top).sum(axis=1)) + top[:, 0]).sum()

    return f, (normal(8, 2), normal(8) * 0.1, normal(8), normal(5_000, 2))


def nbody(numpy):
    """The potential energy of 200 bodies."""

    def f(x):
        d = x[:, None, :] - x[None, :, :]
        return (1 / numpy.sqrt((d * d).sum(axis=2) + 0.01)).sum()

    return f, (normal(200, 3),)


def runge_kutta(numpy):
    """Twenty steps of RK4 for a pendulum, unrolled."""

    def slope(q, p, k):
        return p, -k * numpy.sin(q)

    def f(q, p, k):
        h = 0.05
        for _ in range(20):
            a = slope(q, p, k)
            b = slope(q + h / 2 * a[0], p + h / 2 * a[1], k)
            c = slope(q + h / 2 * b[0], p + h / 2 * b[1], k)
            d = slope(q + h * c[0], p + h * c[1], k)
            q = q + h / 6 * (a[0] + 2 * b[0] + 2 * c[0] + d[0])
            p = p + h / 6 * (a[1] + 2 * b[1] + 2 * c[1] + d[1])
        return q * q + p * p

    return f, tuple(np.float32(v) for v in (1.0, 0.0, 2.0))


PROGRAMS = (chain, gelu, logistic, cross_entropy, mlp, mixture, nbody, runge_kutta)


def measured(program):
    """Microseconds of value and gradient, ours and JAX's, after comparing the results."""
    f, args = program(gnp)
    g, _ = program(jnp)
    ours, theirs = graphad.jit(graphad.value_and_grad(f)), jax.jit(jax.value_and_grad(g))
    mine, their = graphad.tree.map(gnp.asarray, args), jax.tree.map(jnp.asarray, args)
    for a, b in zip(graphad.tree.leaves(ours(*mine)), jax.tree.leaves(theirs(*their)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-3 * np.abs(np.asarray(b)).max())
    calls = {"graphad": lambda: ours(*mine), "jax": lambda: jax.block_until_ready(theirs(*their))}
    return {name: 1e6 * seconds for name, seconds in interleaved(calls, repeat=31, number=20).items()}


@graphad.config.override(num_threads=1)
def main():
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    print(f"{'value and gradient of':16} {'graphad us':>11} {'jax us':>9} {'ratio':>6}")
    for program in PROGRAMS:
        us = measured(program)
        print(f"{program.__name__:16} {us['graphad']:11.1f} {us['jax']:9.1f} {us['jax'] / us['graphad']:6.1f}")


if __name__ == "__main__":
    main()
