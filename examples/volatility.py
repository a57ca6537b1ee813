"""How much a share price moves, from day to day: ``python examples/volatility.py``.

The data are the daily closes of Google's share in 2004-2008 that matplotlib ships. The model is GARCH(1, 1)
(Bollerslev 1986): the variance of a day's return follows that of the day before and what happened then,

    v[t] = omega + alpha r[t - 1]^2 + beta v[t - 1],

and the return is normal. The parameters that make the data most likely are found by SciPy with the gradient of the
whole recurrence; deviations are those of the inverse Hessian.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.figure import Figure
from scipy.optimize import minimize

import graphad
import graphad.numpy as gnp
from graphad import lax

PRICES: Any = get_sample_data("goog.npz")
DAYS, CLOSES = PRICES["price_data"]["date"][1:], PRICES["price_data"]["adj_close"]
PERCENT = 100 * np.diff(np.log(CLOSES))
RETURNS = PERCENT - PERCENT.mean()
NAMES = ("omega", "alpha", "beta")


def variances(p: Any, returns: Any) -> Any:
    """The variance of each return, in percent squared, of parameters in the order of `NAMES`."""
    omega, alpha, beta = p
    return lax.scan(lambda v, r: (omega + alpha * r * r + beta * v, v), gnp.var(returns), returns)[1]


@graphad.jit
def loss(p: Any) -> Any:
    """Minus the logarithm of the likelihood, per day."""
    v = variances(p, RETURNS)
    return 0.5 * gnp.mean(gnp.log(2 * np.pi * v) + RETURNS**2 / v)


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Fit and draw; returns the parameters."""
    parser = argparse.ArgumentParser(description="Fit GARCH(1, 1) to the returns of a share.")
    parser.add_argument("--output", default="volatility.png")
    options = parser.parse_args(argv)

    gradient: Any = graphad.jit(graphad.value_and_grad(loss))
    bounds = [(1e-6, None), (0.0, 1.0), (0.0, 0.9999)]
    fit = minimize(gradient, [0.1, 0.1, 0.8], jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-14})
    hessian = np.asarray(graphad.jit(graphad.hessian(loss))(fit.x))
    deviations = np.sqrt(np.diag(np.linalg.inv(hessian)) / RETURNS.size)
    for name, value, deviation in zip(NAMES, fit.x, deviations, strict=True):
        print(f"{name:<6}{value:8.4f} ± {deviation:.4f}")

    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.plot(DAYS, RETURNS, ".", markersize=2, color="C0", label="return")
    deviation = np.sqrt(variances(fit.x, RETURNS))
    axes.fill_between(DAYS, -2 * deviation, 2 * deviation, color="C1", alpha=0.4, label="two deviations")
    axes.set(ylabel="percent a day")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    print(f"{fit.nfev} gradients of {RETURNS.size} days; {options.output} has the deviations")
    return dict(zip(NAMES, fit.x.tolist(), strict=True))


if __name__ == "__main__":
    main()
