"""Logistic regression with SciPy's optimisers: ``python examples/logistic_regression.py``.

The data are 569 tumours, benign or malignant (Street et al. 1993), which scikit-learn ships. A function under
`compile_grad(..., with_value=True)` is what `scipy.optimize.minimize(..., jac=True)` takes.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import graphad
import graphad.numpy as gnp

PENALTY = 1e-3


def loss(w: Any, x: Any, y: Any) -> Any:
    """The mean negative log-likelihood of the labels ``y``, 1 or -1, and a penalty on large weights."""
    return gnp.mean(graphad.nn.softplus(-y * (x @ w[:-1] + w[-1]))) + PENALTY * gnp.sum(w[:-1] ** 2)


loss_and_grad = graphad.compile_grad(loss, with_value=True)


@graphad.jit
def hessian_times(w: Any, v: Any, x: Any, y: Any) -> Any:
    """The Hessian of the loss times a vector, at the cost of about two gradients."""
    return graphad.jvp(lambda u: graphad.grad(loss)(u, x, y), (w,), (v,))[1]


def main(argv: list[str] | None = None) -> dict[str, tuple[float, float]]:
    """Fit by two methods; returns the loss and the test accuracy of each."""
    parser = argparse.ArgumentParser(description="Logistic regression with SciPy's optimisers.")
    parser.add_argument("--seed", type=int, default=0, help="chooses the test set")
    options = parser.parse_args(argv)

    features, labels = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(features, 2.0 * labels - 1, test_size=0.3, random_state=options.seed)
    scaler = StandardScaler().fit(x)
    x, x_test, start = scaler.transform(x), scaler.transform(x_test), np.zeros(x.shape[1] + 1)

    fits = {
        "BFGS": minimize(loss_and_grad, start, (x, y), "BFGS", jac=True),
        "Newton-CG": minimize(loss_and_grad, start, (x, y), "Newton-CG", jac=True, hessp=hessian_times),
    }
    results: dict[str, tuple[float, float]] = {}
    for method, fit in fits.items():
        accuracy = float(np.mean(np.sign(x_test @ fit.x[:-1] + fit.x[-1]) == y_test))
        results[method] = float(fit.fun), accuracy
        print(f"{method:<10} loss {fit.fun:.6f} after {fit.nit:3d} iterations, test accuracy {accuracy:.1%}")
    return results


if __name__ == "__main__":
    main()
