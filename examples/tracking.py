"""A body is followed through noise: ``python examples/tracking.py``.

Places of a body in the plane are measured with errors; its velocity, which drifts, is not. Both are estimated from the
measurements until then (Kalman's filter) and from all (Rauch, Tung and Striebel's smoother, AIAA Journal 3, 1965). The
variances of drift and errors are those under which the measurements are most likely.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

import graphad
import graphad.numpy as gnp
from graphad import lax

PLACES = np.eye(2, 4)  # what is measured of the state: places, then velocities
MOVES = np.eye(4) + np.eye(4, k=2)  # within a unit of time
DRIFTS = np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], np.eye(2))  # covariance, where the velocity is a random walk


def filtered(log_variances: Any, measured: Any) -> Any:
    """Of each time: the state expected before and after its measurement, with covariances, and the loss."""
    drift, error = gnp.exp(log_variances)

    def time(state: Any, place: Any) -> Any:
        before, covariance = MOVES @ state[0], MOVES @ state[1] @ MOVES.T + drift * DRIFTS
        expected = PLACES @ covariance @ PLACES.T + error * np.eye(2)
        miss, gain = place - PLACES @ before, gnp.linalg.solve(expected, PLACES @ covariance).T
        after = before + gain @ miss, covariance - gain @ PLACES @ covariance
        loss = (miss @ gnp.linalg.solve(expected, miss) + gnp.linalg.slogdet(2 * np.pi * expected)[1]) / 2
        return after, (before, covariance, *after, loss)

    return lax.scan(time, (np.zeros(4), 10.0 * np.eye(4)), measured)[1]


@graphad.jit
def smoothed(log_variances: Any, measured: Any) -> Any:
    """The state that is expected from all measurements, at each time."""
    before, covariances_before, after, covariances, _ = filtered(log_variances, measured)

    def time(later: Any, known: Any) -> Any:
        mean, covariance, expected, covariance_expected = known
        found = mean + gnp.linalg.solve(covariance_expected, MOVES @ covariance).T @ (later - expected)
        return found, found

    known = after[:-1], covariances[:-1], before[1:], covariances_before[1:]
    return gnp.concatenate([lax.scan(time, after[-1], known, reverse=True)[1], after[-1:]])


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Simulate, fit and draw; returns the path, the measurements, both estimates and the variances."""
    parser = argparse.ArgumentParser(description="Follow a body through noise.")
    parser.add_argument("--output", default="tracking.png")
    options = parser.parse_args(argv)
    rng, path = np.random.default_rng(0), np.zeros((200, 4))
    for k in range(1, 200):
        path[k] = rng.multivariate_normal(MOVES @ path[k - 1], 0.05 * DRIFTS)
    measured = path[:, :2] + 4.0 * rng.normal(size=(200, 2))
    loss: Any = graphad.jit(graphad.value_and_grad(lambda logs: gnp.sum(filtered(logs, measured)[4])))
    fit = minimize(loss, np.zeros(2), jac=True)
    means = {"filtered": filtered(fit.x, measured)[2], "smoothed": smoothed(fit.x, measured)}
    print("variances of drift and errors {:.3f}, {:.1f} in {} gradients".format(*np.exp(fit.x), fit.nfev))
    axes = (figure := Figure(figsize=(6, 6))).subplots()
    axes.plot(*measured.T, ".", color="0.7", label="measured")
    for name, mean in means.items():
        miss = np.sqrt(np.mean((np.asarray(mean)[:, :2] - path[:, :2]) ** 2))
        axes.plot(*np.asarray(mean)[:, :2].T, label=f"{name}: {miss:.2f} away")
    axes.plot(*path[:, :2].T, "k:", label="path")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    return {"path": path, "measured": measured, "log_variances": fit.x, "loss": fit.fun, **means}


if __name__ == "__main__":
    main()
