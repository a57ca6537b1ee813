"""Draws a function and its derivatives: ``python examples/plot_derivatives.py``.

`grad` gives a function of one number, which can be differentiated again; `vmap` lets it take a whole grid at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

import graphad
import graphad.numpy as gnp

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "tanh(x)": gnp.tanh,
    "exp(-x²)": lambda x: gnp.exp(-(x**2)),
    "sin(πx) / πx": gnp.sinc,
    "softplus(x)": graphad.nn.softplus,
}


def derivatives(f: Callable[[Any], Any], order: int) -> list[Callable[[Any], Any]]:
    """``f`` and its derivatives up to ``order``, each compiled as a function of a grid."""
    found = [f]
    for _ in range(order):
        found.append(graphad.grad(found[-1]))
    return [graphad.jit(graphad.vmap(g)) for g in found]


def main(argv: list[str] | None = None) -> str:
    """Draw; returns the name of the picture."""
    parser = argparse.ArgumentParser(description="Draw functions and their derivatives.")
    parser.add_argument("--order", type=int, default=3, help="of the highest derivative")
    parser.add_argument("--points", type=int, default=400)
    parser.add_argument("--output", default="derivatives.png")
    options = parser.parse_args(argv)

    x = gnp.linspace(-3.0, 3.0, options.points)
    figure = Figure(figsize=(9, 7), layout="constrained")
    for axes, (name, f) in zip(figure.subplots(2, 2).flat, FUNCTIONS.items(), strict=True):
        for order, g in enumerate(derivatives(f, options.order)):
            axes.plot(x, g(x), label="f" + "′" * order, linewidth=2.5 if order == 0 else 1)
        axes.set_title(f"f(x) = {name}")
        axes.axhline(0, color="gray", linewidth=0.5)
        axes.legend()
    figure.savefig(options.output, dpi=120)
    print(f"{len(FUNCTIONS)} functions and their derivatives up to order {options.order} are in {options.output}")
    return options.output


if __name__ == "__main__":
    main()
