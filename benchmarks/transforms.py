"""Cost of tracing, linearizing and transposing straight-line code, beside JAX in the same run.

Run: ``python benchmarks/transforms.py``. The mix of operations is that of `program`. Times are the minimum over
interleaved runs, in microseconds an equation of the traced graph.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import graphad
import graphad.numpy as gnp
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten
from graphad.transforms.linearize import linearize, split
from graphad.transforms.transpose import transpose


def program(numpy: Any, n: int) -> Callable[[Any, Any], Any]:
    """A function of two scalars with ``n`` equations."""

    def f(x: Any, y: Any) -> Any:
        a, c = x, y
        for i in range(n // 10):
            a = a * c
            a = a + c
            t = numpy.sin(a)
            c = t * 0.5
            a = a - t
            c = c + x
            a = numpy.tanh(a)
            u = a * a
            c = c - u
            a = a * (0.001 * (i + 1))
        return a + c

    return f


def ours(n: int) -> float:
    """Seconds for trace + linearize + transpose."""
    f = program(gnp, n)
    leaves, treedef = flatten((0.3, 0.4))
    start = time.perf_counter()
    graph = trace_function(lambda args: f(*args), leaves, treedef, name="f").graph
    parts = split(linearize(graph, (True, True)))
    transpose(parts.linear, (False,) * parts.n_residuals + (True, True), (True,))
    return time.perf_counter() - start


def theirs(n: int) -> float:
    """Seconds for ``jax.make_jaxpr(jax.grad(f))``."""
    import jax

    f = program(jax.numpy, n)
    start = time.perf_counter()
    jax.make_jaxpr(jax.grad(f, argnums=(0, 1)))(0.3, 0.4)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-jax", action="store_true")
    options = parser.parse_args()
    graphad.config.update("verify", 0)
    sizes = (1_000, 3_000, 10_000)
    best: dict[tuple[str, int], float] = {}
    for _ in range(options.repeat):
        for n in sizes:
            for name, measure in (("graphad", ours), ("jax", theirs)):
                if name == "jax" and (options.no_jax or n > 3_000):
                    continue
                best[name, n] = min(best.get((name, n), 9e9), measure(n) / n * 1e6)
    print(f"{'equations':>10} {'graphad us/eqn':>15} {'jax us/eqn':>11} {'ratio':>6}")
    for n in sizes:
        jax_time = best.get(("jax", n))
        shown = f"{jax_time:11.1f} {jax_time / best['graphad', n]:6.1f}" if jax_time else ""
        print(f"{n:10,} {best['graphad', n]:15.1f} {shown}")


if __name__ == "__main__":
    main()
