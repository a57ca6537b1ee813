"""What one call of a compiled function costs, beside JAX in the same run.

Run: ``python benchmarks/calls.py``. Prints medians of interleaved runs, in microseconds; then what guards, pytrees and
static arguments add to the cost of a call.
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


def rosenbrock(numpy):
    return lambda x: numpy.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def update(d):
    return {key: value * 0.5 for key, value in d.items()}


def with_ifs(count):
    """The scalar function, which ``count`` of Python's own branches lead to."""
    f = scalar(gnp)

    def branching(x):
        for bound in range(count):
            if x < -bound:
                return -x
        return f(x)

    return branching


def beside_jax():
    """Names of calls, with ours and JAX's."""
    x, jx = gnp.array(1.5), jnp.array(1.5)
    vectors = [np.linspace(0, 1, 8, dtype=np.float32) + k for k in range(4)]
    mine, their = [gnp.array(v) for v in vectors], [jnp.array(v) for v in vectors]
    point = np.linspace(-1, 1, 10, dtype=np.float32)
    arrays = {f"parameter {k}": np.full(8, k, np.float32) for k in range(20)}
    mine20, their20 = ({k: lib.array(v) for k, v in arrays.items()} for lib in (gnp, jnp))
    ours, theirs = graphad.jit(graphad.grad(scalar(gnp))), jax.jit(jax.grad(scalar(jnp)))
    four = graphad.jit(graphad.grad(dot4(gnp))), jax.jit(jax.grad(dot4(jnp)))
    valley = graphad.jit(graphad.grad(rosenbrock(gnp))), jax.jit(jax.grad(rosenbrock(jnp)))
    twenty = graphad.jit(update), jax.jit(update)
    power = (
        graphad.jit(lambda x, n: x**n, static_argnums=1),
        jax.jit(lambda x, n: x**n, static_argnums=1),
    )
    giving = (
        graphad.jit(lambda x, y: (x + y, y), donate_argnums=0),
        jax.jit(lambda x, y: (x + y, y), donate_argnums=0),
    )
    state = {"ours": (gnp.array(vectors[0]), mine[0]), "theirs": (jnp.array(vectors[0]), their[0])}

    def give():
        state["ours"] = giving[0](*state["ours"])

    def give_jax():
        state["theirs"] = giving[1](*state["theirs"])

    return {
        "jit(grad(f)), a Python float": (lambda: ours(1.5), lambda: theirs(1.5).block_until_ready()),
        "jit(grad(f)), a scalar array": (lambda: ours(x), lambda: theirs(jx).block_until_ready()),
        "jit(grad(f)), four vectors": (lambda: four[0](*mine), lambda: four[1](*their).block_until_ready()),
        "Rosenbrock-10, NumPy in and out": (lambda: np.asarray(valley[0](point)), lambda: np.asarray(valley[1](point))),
        "a dict of 20 arrays": (lambda: twenty[0](mine20), lambda: jax.block_until_ready(twenty[1](their20))),
        "a static argument": (lambda: power[0](x, 3), lambda: power[1](jx, 3).block_until_ready()),
        "a donated argument": (give, give_jax),
    }


def beside_itself():
    """Names of calls, with one that costs more and one that it is measured by."""
    plain, *guarded = (graphad.jit(graphad.grad(with_ifs(count))) for count in range(3))
    x = gnp.array(1.5)
    small, large = gnp.arange(8.0), gnp.arange(9.0)
    twice = graphad.jit(lambda x: x * 2)
    both = graphad.jit(lambda d: d["x"] * 2)
    big = np.zeros(10_000_000)
    flat, boxed = graphad.jit(lambda x: x[0] + 1), graphad.jit(lambda d: d["x"][0] + 1)
    return {
        "a Python if": (lambda: guarded[0](x), lambda: plain(x)),
        "two Python ifs": (lambda: guarded[1](x), lambda: plain(x)),
        "80 MB of NumPy in a dict, or flat": (lambda: boxed({"x": big}), lambda: flat(big)),
        "two shapes in turns, or one": (lambda: (twice(small), twice(large)), lambda: (twice(small), twice(small))),
        "the same in a dict": (
            lambda: (both({"x": small}), both({"x": large})),
            lambda: (both({"x": small}), both({"x": small})),
        ),
    }


def main() -> None:
    print(versions("numpy", "jax", "graphad"))
    print(f"{'call':36} {'graphad us':>11} {'jax us':>8} {'ratio':>6}")
    for name, (a, b) in beside_jax().items():
        medians = interleaved({"graphad": a, "jax": b}, repeat=21, number=2_000)
        us = {k: 1e6 * v for k, v in medians.items()}
        print(f"{name:36} {us['graphad']:11.2f} {us['jax']:8.2f} {us['jax'] / us['graphad']:6.1f}")
    print(f"\n{'call':36} {'with us':>11} {'less us':>8} {'ratio':>6}")
    for name, (a, b) in beside_itself().items():
        medians = interleaved({"with": a, "less": b}, repeat=21, number=500)
        us = {k: 1e6 * v for k, v in medians.items()}
        print(f"{name:36} {us['with']:11.2f} {us['less']:8.2f} {us['with'] / us['less']:6.2f}")


if __name__ == "__main__":
    main()
