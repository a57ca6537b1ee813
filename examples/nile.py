"""The level of a river, seen through noise: ``python examples/nile.py``.

The data are the annual flows of the Nile at Aswan in 1871-1970, in 10^8 cubic metres. The model is a level that walks
at random, seen with errors; the likelihood of both variances is that of the errors of a Kalman filter's predictions,
and its maximum is known: 15099 and 1469 (Durbin and Koopman, Time Series Analysis by State Space Methods, 2.2.5).
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

YEARS = np.arange(1871, 1971)
FLOWS = np.fromstring(
    """1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100 1210 1150 1250
    1260 1220 1030 1100 774 840 874 694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100 832 764 821 768
    845 864 862 698 845 744 796 1040 759 781 865 845 944 984 897 822 1010 771 676 649 846 812 742 801 1040 860 874 848
    890 744 749 838 1050 918 986 797 923 975 815 1020 906 901 1170 912 746 919 718 714 740""",
    sep=" ",
)


def filtered(noise: Any, drift: Any, flows: Any) -> tuple[Any, Any, Any]:
    """Of all years but the first: the error of the prediction, its variance, and the level, seen with that year."""

    def year(state: Any, flow: Any) -> Any:
        level, variance = state
        variance = variance + drift
        error, total = flow - level, variance + noise
        gain = variance / total
        level = level + gain * error
        return (level, noise * gain), (error, total, level)

    return lax.scan(year, (flows[0], noise), flows[1:])[1]


@graphad.jit
def loss(log_variances: Any) -> Any:
    """Minus the logarithm of the likelihood of the errors' and the walk's variances."""
    noise, drift = gnp.exp(log_variances)
    error, total, _ = filtered(noise, drift, FLOWS)
    return 0.5 * gnp.sum(gnp.log(2 * np.pi * total) + error**2 / total)


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Fit and draw; returns both variances."""
    parser = argparse.ArgumentParser(description="Estimate the level of the Nile.")
    parser.add_argument("--output", default="nile.png")
    options = parser.parse_args(argv)

    gradient: Any = graphad.jit(graphad.value_and_grad(loss))
    fit = minimize(gradient, np.log([1e4, 1e3]), jac=True)
    noise, drift = np.exp(fit.x).tolist()
    print(f"variance of the errors {noise:.0f}, of the walk {drift:.0f}, in {fit.nfev} gradients")

    _, _, level = filtered(noise, drift, FLOWS)
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.plot(YEARS, FLOWS, "o", markersize=3, label="flow")
    axes.plot(YEARS[1:], level, label="level, from the years until then")
    axes.set(xlabel="year", ylabel="10⁸ cubic metres")
    axes.legend()
    figure.savefig(options.output, dpi=120)
    return noise, drift


if __name__ == "__main__":
    main()
