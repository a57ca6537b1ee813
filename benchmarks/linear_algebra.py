"""Value and gradient of linear algebra beside JAX: stacks of small matrices, and single larger ones, in float64."""

from __future__ import annotations

import sys

import jax  # before NumPy, as `timing`
import jax.numpy as jnp
from timing import interleaved, versions

import numpy as np

import graphad
import graphad.numpy as gnp

STACK = 50_000


def positive_definite(*shape):
    x = np.random.default_rng(0).normal(size=shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


def general(*shape):
    return np.random.default_rng(0).normal(size=shape) + shape[-1] * np.eye(shape[-1])


def cholesky(np_):
    return lambda a: np_.sum(np_.linalg.cholesky(a) ** 2)


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
}


def measured(make, args):
    wanted = tuple(range(len(args)))
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
    for name, (make, args) in PROGRAMS.items():
        if names and name not in names:
            continue
        seconds = measured(make, args)
        mine, their = seconds["graphad"] * 1e3, seconds["jax"] * 1e3
        print(f"{name:22} {mine:11.3f} {their:11.3f} {their / mine:6.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
