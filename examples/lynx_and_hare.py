"""Predator and prey, fitted to a century-old record: ``python examples/lynx_and_hare.py``.

The data are the pelts of snowshoe hares and lynxes that the Hudson's Bay Company bought in 1900-1920, in thousands
(Odum 1953). The model is that of Lotka and Volterra: hares multiply and are eaten, lynxes live on them and die,

    du/dt = alpha u - beta u v,    dv/dt = delta u v - gamma v.

`odeint` integrates it, and least squares of the logarithms take the derivatives of the whole integration. A Bayesian
fit (Carpenter 2018, a case study of Stan) finds the means 0.55, 0.028, 0.80, 0.024 for alpha, beta, gamma, delta.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import least_squares

import graphad
import graphad.numpy as gnp
from graphad.solve import odeint

YEARS = np.arange(1900, 1921)
HARES = "30 47.2 70.2 77.4 36.3 20.6 18.1 21.4 22 25.4 27.1 40.3 57 76.6 52.3 19.5 11.2 7.6 14.6 16.2 24.7"
LYNXES = "4 6.1 9.8 35.2 59.4 41.7 19 13 8.3 9.1 7.4 8 12.3 19.5 45.7 51.1 29.7 15.8 9.7 10.1 8.6"
PELTS = np.array([HARES.split(), LYNXES.split()], float)
NAMES = ("alpha", "beta", "gamma", "delta", "hares", "lynxes")
START = np.array([0.5, 0.02, 1.0, 0.02, 30.0, 4.0])


def rates(y: Any, t: Any, alpha: Any, beta: Any, gamma: Any, delta: Any) -> Any:
    """The derivatives of both populations, in thousands a year."""
    hares, lynxes = y
    return alpha * hares - beta * hares * lynxes, delta * hares * lynxes - gamma * lynxes


def populations(p: Any, t: Any) -> Any:
    """Both populations at the times ``t``, in years, of parameters in the order of `NAMES`."""
    return gnp.stack(odeint(rates, (p[4], p[5]), t, *p[:4]))


@graphad.jit
def residuals(log_p: Any) -> Any:
    """By how much the logarithms of the populations miss those of the data."""
    return (gnp.log(populations(gnp.exp(log_p), YEARS - YEARS[0])) - np.log(PELTS)).ravel()


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Fit and draw; returns the parameters."""
    parser = argparse.ArgumentParser(description="Fit the equations of Lotka and Volterra to lynxes and hares.")
    parser.add_argument("--output", default="lynx_and_hare.png")
    options = parser.parse_args(argv)

    # The derivatives by six parameters of 42 residuals: forward mode is the cheaper one. Logarithms keep all positive.
    jacobian: Any = graphad.jit(graphad.jacfwd(residuals))
    fit = least_squares(residuals, np.log(START), jac=jacobian)
    p = np.exp(fit.x)
    deviations = np.sqrt(np.diag(np.linalg.inv(fit.jac.T @ fit.jac)) * 2 * fit.cost / (fit.fun.size - p.size))
    for name, value, deviation in zip(NAMES, p, deviations, strict=True):
        print(f"{name:<7}{value:8.4f} ± {value * deviation:.4f}")

    t = np.linspace(0.0, 20.0, 400)
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    for name, pelts, curve, color in zip(("hares", "lynxes"), PELTS, populations(p, t), ("C0", "C3"), strict=True):
        axes.plot(YEARS, pelts, "o", color=color)
        axes.plot(YEARS[0] + t, curve, color=color, label=name)
    axes.set(xlabel="year", ylabel="thousands of pelts", xticks=YEARS[::5])
    axes.legend()
    figure.savefig(options.output, dpi=120)
    print(f"after {fit.nfev} integrations; {options.output} has the curves")
    return dict(zip(NAMES, p.tolist(), strict=True))


if __name__ == "__main__":
    main()
