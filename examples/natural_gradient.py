"""Newton's and the natural gradient's steps from `hessian`: ``python examples/natural_gradient.py``.

A normal distribution is fitted to data. Newton's method divides the gradient of the loss by the loss's Hessian; the
natural gradient (Amari 1998) by the Fisher information, which is the Hessian of the divergence between the distribution
and a near one. That is positive definite everywhere, and so a safe choice also far from the solution.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

import graphad
import graphad.numpy as gnp


def loss(p: Any, x: Any) -> Any:
    """The mean negative log-likelihood of the mean ``p[0]`` and the logarithm ``p[1]`` of the standard deviation."""
    return gnp.mean(p[1] + 0.5 * ((x - p[0]) * gnp.exp(-p[1])) ** 2)


def divergence(q: Any, p: Any) -> Any:
    """Kullback and Leibler's divergence of the distribution ``q`` from the distribution ``p``."""
    return q[1] - p[1] + (gnp.exp(2 * p[1]) + (p[0] - q[0]) ** 2) / (2 * gnp.exp(2 * q[1])) - 0.5


gradient = graphad.compile_grad(loss)
hessian = graphad.jit(graphad.hessian(loss))
fisher = graphad.jit(lambda p: graphad.hessian(divergence)(p, p))

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]
STEPS: dict[str, Step] = {
    "gradient": lambda p, x: 0.1 * np.asarray(gradient(p, x)),
    "Newton": lambda p, x: np.linalg.solve(hessian(p, x), gradient(p, x)),
    "natural": lambda p, x: np.linalg.solve(fisher(p), gradient(p, x)),
}


def descend(step: Step, start: np.ndarray, x: np.ndarray, limit: int = 1000) -> tuple[int | None, np.ndarray]:
    """The number of steps until the gradient is zero, None if it does not get there, and where that is."""
    p = start
    for count in range(limit):
        if np.linalg.norm(gradient(p, x)) < 1e-9:
            return count, p
        p = p - step(p, x)
        if np.max(np.abs(p)) > 100:
            break
    return None, p


def main(argv: list[str] | None = None) -> dict[tuple[str, str], int | None]:
    """Descend from near and far; returns the number of steps of each method."""
    parser = argparse.ArgumentParser(description="Compare steps of gradient, Newton's method and natural gradient.")
    parser.add_argument("--samples", type=int, default=200)
    options = parser.parse_args(argv)

    x = np.random.default_rng(0).normal(3.0, 0.5, options.samples)
    results: dict[tuple[str, str], int | None] = {}
    for place, start in {"near": np.array([2.8, -0.5]), "far": np.array([0.0, 1.0])}.items():
        for name, step in STEPS.items():
            count, p = descend(step, start, x)
            results[place, name] = count
            outcome = "diverges" if count is None else f"{count:4d} steps to ({p[0]:.4f}, {p[1]:.4f})"
            print(f"from {place:<5} {name:<9} {outcome}")
    print(f"mean and logarithmic deviation of the data: ({x.mean():.4f}, {np.log(x.std()):.4f})")
    return results


if __name__ == "__main__":
    main()
