"""Fits a mixture of Gaussians to Fisher's irises by maximum likelihood: ``python examples/gaussian_mixture.py``.

No step of expectation and maximisation is derived by hand: the log-likelihood is written down, its gradient compiled,
and SciPy does the rest. Each covariance is given by a triangular factor of its inverse, so that every choice of
parameters is a mixture.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score

import graphad
import graphad.numpy as gnp
from graphad.flatten_util import ravel_pytree


def log_densities(params: Any, x: Any) -> Any:
    """The logarithm of weight times density, for each row of ``x`` and each component."""
    log_weights = graphad.nn.log_softmax(params["logits"])
    diagonal = params["log_diagonal"]
    lower = gnp.tril(params["lower"], -1) + gnp.exp(diagonal)[:, None, :] * np.eye(x.shape[1])
    scaled = gnp.einsum("nkd,kde->nke", x[:, None, :] - params["means"], lower)
    constant = x.shape[1] / 2 * np.log(2 * np.pi)
    return log_weights + gnp.sum(diagonal, axis=1) - gnp.sum(scaled**2, axis=2) / 2 - constant


def loss(params: Any, x: Any) -> Any:
    """The mean negative log-likelihood, and a penalty that keeps a component from shrinking to a point."""
    likelihood = gnp.mean(graphad.nn.logsumexp(log_densities(params, x), axis=1))
    return -likelihood + 1e-4 * gnp.sum(gnp.exp(params["log_diagonal"]))


def initial(x: np.ndarray, components: int) -> dict[str, np.ndarray]:
    """Round components around rows that are far from one another."""
    chosen = [0]
    for _ in range(components - 1):
        chosen.append(int(np.argmax(cdist(x, x[chosen]).min(axis=1))))
    d = x.shape[1]
    return {
        "logits": np.zeros(components), "means": x[chosen],
        "log_diagonal": np.zeros((components, d)), "lower": np.zeros((components, d, d)),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Fit; returns the mean log-likelihood and how well the components agree with the species (1: perfectly)."""
    parser = argparse.ArgumentParser(description="Fit a mixture of Gaussians to the irises.")
    parser.add_argument("--components", type=int, default=3)
    options = parser.parse_args(argv)

    x, species = map(np.asarray, load_iris(return_X_y=True))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    start, unravel = ravel_pytree(initial(x, options.components))
    objective = graphad.compile_grad(lambda flat: loss(unravel(flat), x), with_value=True)
    fit = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})

    densities = log_densities(unravel(fit.x), x)
    likelihood = float(gnp.mean(graphad.nn.logsumexp(densities, axis=1)))
    agreement = float(adjusted_rand_score(species, np.argmax(densities, axis=1)))
    print(f"{fit.nit} iterations, {len(start)} parameters: mean log-likelihood {likelihood:.4f}")
    print(f"agreement with the species (adjusted Rand index): {agreement:.3f}")
    return likelihood, agreement


if __name__ == "__main__":
    main()
