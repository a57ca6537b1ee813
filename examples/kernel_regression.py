"""A Gaussian process with a learned kernel: ``python examples/kernel_regression.py``.

A curve is seen at a few points, with noise. The amplitude and the length of the kernel, and the variance of the noise,
are those under which the data are most likely (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006,
algorithm 2.1 and equation 5.8). The gradient of the likelihood goes through Cholesky's factorization.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

import graphad
import graphad.numpy as gnp
from graphad.scipy.linalg import cho_factor, cho_solve, solve_triangular


def kernel(x: Any, y: Any, log_parameters: Any) -> Any:
    """How the values of the curve at ``x`` and at ``y`` vary together."""
    amplitude, length, _ = gnp.exp(log_parameters)
    return amplitude * gnp.exp(-(((x[:, None] - y) / length) ** 2) / 2)


def covariance(x: Any, log_parameters: Any) -> Any:
    """The same of what is seen at ``x``: with noise."""
    return kernel(x, x, log_parameters) + gnp.exp(log_parameters[2]) * gnp.eye(len(x), dtype=x.dtype)


@graphad.jit
def loss(log_parameters: Any, x: Any, y: Any) -> Any:
    """Minus the logarithm of the likelihood of what is seen."""
    factor, lower = cho_factor(covariance(x, log_parameters), lower=True)
    logs = gnp.sum(gnp.log(gnp.diagonal(factor)))
    return y @ cho_solve((factor, lower), y) / 2 + logs + len(x) / 2 * np.log(2 * np.pi)


@graphad.jit
def predicted(at: Any, log_parameters: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The mean of the curve at some points, and its standard deviation."""
    factor, lower = cho_factor(covariance(x, log_parameters), lower=True)
    across = kernel(x, at, log_parameters)
    known = solve_triangular(factor, across, lower=lower)
    variance = gnp.exp(log_parameters[0]) - gnp.sum(known**2, axis=0)
    return across.T @ cho_solve((factor, lower), y), gnp.sqrt(variance)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Fit and draw; returns the data, the parameters and their loss."""
    parser = argparse.ArgumentParser(description="Learn a curve, and the kernel of its Gaussian process.")
    parser.add_argument("--points", type=int, default=60)
    parser.add_argument("--output", default="kernel_regression.png")
    options = parser.parse_args(argv)

    rng = np.random.default_rng(1)
    x = np.sort(rng.uniform(0.0, 10.0, options.points))
    y = np.sin(x) + np.sin(3 * x) / 3 + 0.2 * rng.normal(size=x.size)
    gradient: Any = graphad.jit(graphad.value_and_grad(loss))
    fit = minimize(gradient, np.zeros(3), args=(x, y), jac=True)
    amplitude, length, noise = np.exp(fit.x).tolist()
    print(f"amplitude {amplitude:.3f}, length {length:.3f}, variance of the noise {noise:.4f}, {fit.nfev} gradients")

    at = np.linspace(-1.0, 11.0, 400)
    mean, deviation = (np.asarray(z) for z in predicted(at, fit.x, x, y))
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.fill_between(at, mean - 2 * deviation, mean + 2 * deviation, alpha=0.2, label="two standard deviations")
    axes.plot(at, mean, label="mean")
    axes.plot(at, np.sin(at) + np.sin(3 * at) / 3, ":", label="curve")
    axes.plot(x, y, "k.", label="seen")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    return {"x": x, "y": y, "log_parameters": fit.x, "loss": fit.fun}


if __name__ == "__main__":
    main()
