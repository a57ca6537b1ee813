"""What one call of a compiled function costs, beside JAX in the same run.

Run: ``python benchmarks/calls.py``. Prints medians of interleaved runs, in microseconds.
"""

from __future__ import annotations

from timing import interleaved, versions  # first: it clears what slows NumPy

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp


def scalar(numpy):
    return lambda x: numpy.sin(x) * x + numpy.exp(-x * x)


def dot4(numpy):
    return lambda a, b, c, d: (a * b + c * d).sum()


def main() -> None:
    ours, theirs = graphad.jit(graphad.grad(scalar(gnp))), jax.jit(jax.grad(scalar(jnp)))
    x, jx = gnp.array(1.5), jnp.array(1.5)
    four = graphad.jit(graphad.grad(dot4(gnp))), jax.jit(jax.grad(dot4(jnp)))
    vectors = [np.linspace(0, 1, 8, dtype=np.float32) + k for k in range(4)]
    mine, their = [gnp.array(v) for v in vectors], [jnp.array(v) for v in vectors]
    rows = {
        "jit(grad(f)), a Python float": (lambda: ours(1.5), lambda: theirs(1.5).block_until_ready()),
        "jit(grad(f)), a scalar array": (lambda: ours(x), lambda: theirs(jx).block_until_ready()),
        "jit(grad(f)), four vectors": (lambda: four[0](*mine), lambda: four[1](*their).block_until_ready()),
    }
    print(versions("numpy", "jax", "graphad"))
    print(f"{'call':32} {'graphad us':>11} {'jax us':>8} {'ratio':>6}")
    for name, (a, b) in rows.items():
        medians = interleaved({"graphad": a, "jax": b}, repeat=21, number=2_000)
        us = {k: 1e6 * v for k, v in medians.items()}
        print(f"{name:32} {us['graphad']:11.2f} {us['jax']:8.2f} {us['jax'] / us['graphad']:6.1f}")


if __name__ == "__main__":
    main()
