"""The comparison of the JAX tutorial on differentiation: list comprehension > vmap > jit of vmap.

Run: ``python benchmarks/tutorial.py``. Exits with 1 if the order does not hold.
"""

from __future__ import annotations

import sys

from timing import interleaved  # first: it clears what slows NumPy

import graphad
import graphad.numpy as gnp


def main() -> int:
    x = gnp.linspace(-3, 3, 100)
    derivative = graphad.grad(lambda x: x**2)
    compiled = graphad.jit(graphad.vmap(derivative))
    candidates = {
        "list comprehension": lambda: gnp.array([derivative(v) for v in x]),
        "vmap": lambda: graphad.vmap(derivative)(x),
        "jit of vmap": lambda: compiled(x),
    }
    medians = interleaved(candidates, repeat=11)
    for name, seconds in medians.items():
        print(f"{name:20} {1e6 * seconds:12.1f} us")
    times = list(medians.values())
    in_order = times == sorted(times, reverse=True)
    print("in the tutorial's order" if in_order else "NOT in the tutorial's order")
    return 0 if in_order else 1


if __name__ == "__main__":
    sys.exit(main())
