"""A hierarchical model by Laplace's approximation: ``python examples/seeds.py``.

Of seeds on 21 plates some germinate (Crowder, Applied Statistics 27, 1978). The logit of the rate depends on the kind
of seed, on the root extract in which they lie, and on the plate, whose effect is normal. Plates are integrated out by
Laplace's approximation: around the most likely effects, which Newton's method finds. The fixed effects and the standard
deviation of the plates maximize what is left; the literature has -0.548, 0.097, 1.337, -0.811 and 0.236 (Breslow and
Clayton, JASA 88, 1993, and the manual of WinBUGS).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

import graphad
import graphad.numpy as gnp
from graphad.solve import root

GERMINATED = np.array([10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3.0])
SEEDS = np.array([39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7.0])
KIND = np.repeat([0.0, 1.0], [11, 10])
EXTRACT = np.repeat([0.0, 1.0, 0.0, 1.0], [5, 6, 5, 5])
DESIGN = np.stack([np.ones(21), KIND, EXTRACT, KIND * EXTRACT], axis=1)
NAMES = ["constant", "kind", "extract", "kind and extract", "plates (deviation)"]


def energy(plates: Any, parameters: Any) -> Any:
    """Minus the logarithm of the density of what is seen together with the effects of plates, but for constants."""
    logit = DESIGN @ parameters[:4] + plates
    seen = gnp.sum(SEEDS * gnp.logaddexp(0.0, logit) - GERMINATED * logit)
    return seen + gnp.sum(plates**2) / gnp.exp(2 * parameters[4]) / 2 + 21 * parameters[4]


def most_likely(parameters: Any) -> Any:
    """The effects of plates at which the energy is least; its derivative is that of an implicit function."""
    return root(lambda plates: graphad.grad(energy)(plates, parameters), np.zeros(21), method="newton").x


@graphad.jit
def loss(parameters: Any) -> Any:
    """Minus the logarithm of the likelihood: the integral of a normal density that has the curvature of this one."""
    plates = most_likely(parameters)
    return energy(plates, parameters) + gnp.linalg.slogdet(graphad.hessian(energy)(plates, parameters))[1] / 2


def main(argv: list[str] | None = None) -> tuple[Any, Any]:
    """Fit and draw; returns the parameters and their standard errors."""
    parser = argparse.ArgumentParser(description="Rates of germination on 21 plates.")
    parser.add_argument("--output", default="seeds.png")
    options = parser.parse_args(argv)

    gradient: Any = graphad.jit(graphad.value_and_grad(loss))
    fit = minimize(gradient, np.array([0.0, 0.0, 0.0, 0.0, -1.0]), jac=True)
    curvature = np.asarray(graphad.jit(graphad.jacobian(graphad.grad(loss)))(fit.x))
    errors = np.sqrt(np.diag(np.linalg.inv(curvature)))
    found = np.append(fit.x[:4], np.exp(fit.x[4]))
    errors[4] *= found[4]
    for name, value, error in zip(NAMES, found, errors, strict=True):
        print(f"{name:20} {value:6.3f} ({error:.3f})")

    logit = DESIGN @ fit.x[:4]
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.plot(GERMINATED / SEEDS, "ko", label="seen")
    axes.plot(1 / (1 + np.exp(-logit)), "_", markersize=12, label="fixed effects")
    axes.plot(1 / (1 + np.exp(-logit - np.asarray(most_likely(fit.x)))), "x", label="with the effect of the plate")
    axes.set(xlabel="plate", ylabel="rate of germination")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    return found, errors


if __name__ == "__main__":
    main()
