"""Value and gradient of linear algebra beside JAX in float64: stacks of small matrices, larger ones, statistics."""

from __future__ import annotations

import sys

import jax  # before NumPy, as `timing`
import jax.numpy as jnp
import jax.scipy.linalg
from timing import interleaved, versions

import numpy as np

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg

STACK = 50_000


def positive_definite(*shape):
    x = np.random.default_rng(0).normal(size=shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


def general(*shape):
    return np.random.default_rng(0).normal(size=shape) + shape[-1] * np.eye(shape[-1])


def cholesky(np_):
    return lambda a: np_.sum(np_.linalg.cholesky(a) ** 2)


def gram(np_):
    """A function of the products of all pairs of rows."""
    return lambda x: np_.sum(np_.tanh(x @ x.T) ** 2)


def inverse(np_):
    return lambda a: np_.sum(np_.linalg.inv(a) ** 2)


def solution(np_):
    return lambda a, b: np_.sum(np_.linalg.solve(a, b) ** 2)


def eigen(np_):
    def f(a):
        w, v = np_.linalg.eigh(a)
        return np_.sum(w**2) + np_.sum(v[..., 0] ** 4)

    return f


def singular(np_):
    def f(a):
        u, s, _ = np_.linalg.svd(a, full_matrices=False)
        return np_.sum(s**2) + np_.sum(u[..., 0] ** 4)

    return f


def gaussian_process(np_):
    """Log-likelihood of a Gaussian process, of the logarithms of length, amplitude and noise."""
    linalg = libraries(np_).scipy.linalg

    def f(x, y, logs):
        length, amplitude, noise = np_.exp(logs)
        kernel = amplitude * np_.exp(-(((x[:, None] - x) / length) ** 2) / 2) + noise * np_.eye(len(x))
        factor = np_.linalg.cholesky(kernel)
        z = linalg.solve_triangular(factor, y, lower=True)
        return -np_.sum(z**2) / 2 - np_.sum(np_.log(np_.diagonal(factor)))

    return f


def normal(np_):
    """Log-density of points under a multivariate normal distribution."""
    linalg = libraries(np_).scipy.linalg

    def f(x, mean, covariance):
        factor = np_.linalg.cholesky(covariance)
        z = linalg.solve_triangular(factor, (x - mean).T, lower=True)
        return -np_.sum(z**2) / 2 - len(x) * np_.sum(np_.log(np_.diagonal(factor)))

    return f


def kalman(np_):
    """Log-likelihood of a linear state-space model with four states, of which one is observed."""
    scan = libraries(np_).lax.scan

    def f(y, transition, noise):
        def step(state, y):
            mean, covariance = state
            mean, covariance = transition @ mean, transition @ covariance @ transition.T + noise
            error, variance = y - mean[0], covariance[0, 0] + 0.5
            gain = covariance[:, 0] / variance
            state = mean + gain * error, covariance - np_.outer(gain, covariance[0])
            return state, -(error**2) / variance / 2 - np_.log(variance) / 2

        return np_.sum(scan(step, (np_.zeros(4, y.dtype), np_.eye(4, dtype=y.dtype)), y)[1])

    return f


def libraries(np_):
    return graphad if np_ is gnp else jax


def right(*shape):
    return np.random.default_rng(1).normal(size=shape)


PROGRAMS = {
    **{f"cholesky {n}x{n}": (cholesky, [positive_definite(STACK, n, n)]) for n in (3, 6)},
    **{f"inv {n}x{n}": (inverse, [general(STACK, n, n)]) for n in (3, 6)},
    **{f"solve {n}x{n}": (solution, [general(STACK, n, n), right(STACK, n, 1)]) for n in (3, 6)},
    **{f"cholesky {n}": (cholesky, [positive_definite(n, n)]) for n in (64, 512)},
    **{f"solve {n}": (solution, [general(n, n), right(n)]) for n in (64, 512)},
    **{f"eigh {n}": (eigen, [positive_definite(n, n)]) for n in (64, 512)},
    **{f"svd {n}": (singular, [general(n, n)]) for n in (64, 512)},
    "Gram matrix 1000x200": (gram, [right(1000, 200) / 20]),
    "Gaussian process 500": (gaussian_process, [right(500), right(500), np.array([-1.0, 0.0, -1.0])], 2),
    "normal 10,000 x 4": (normal, [right(10_000, 4), np.zeros(4), positive_definite(4, 4)]),
    "Kalman filter 4, 500": (kalman, [right(500), 0.9 * np.eye(4) + 0.02, positive_definite(4, 4) / 50], (1, 2)),
}


def measured(make, args, wanted=None):
    wanted = tuple(range(len(args))) if wanted is None else wanted
    mine = graphad.jit(graphad.value_and_grad(make(gnp), wanted))
    their = jax.jit(jax.value_and_grad(make(jnp), wanted))
    given = {"graphad": [gnp.asarray(x) for x in args], "jax": [jnp.asarray(x) for x in args]}
    for a, b in zip(jax.tree.leaves(mine(*given["graphad"])), jax.tree.leaves(their(*given["jax"])), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-8, atol=1e-8 * np.abs(np.asarray(b)).max())
    calls = {
        "graphad": lambda: mine(*given["graphad"]),
        "jax": lambda: jax.block_until_ready(their(*given["jax"])),
    }
    return interleaved(calls, repeat=9, number=1)


def main(*names):
    jax.config.update("jax_enable_x64", True)
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    print(f"{'value and gradient of':22} {'graphad ms':>11} {'jax ms':>11} {'ratio':>6}")
    for name, program in PROGRAMS.items():
        if names and name not in names:
            continue
        seconds = measured(*program)
        mine, their = seconds["graphad"] * 1e3, seconds["jax"] * 1e3
        print(f"{name:22} {mine:11.3f} {their:11.3f} {their / mine:6.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
