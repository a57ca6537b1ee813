"""Hamiltonian Monte Carlo, compiled as a whole: ``python examples/eight_schools.py``.

Eight schools measured the effect of coaching with a standard error each (Rubin 1981). Effects are normal with mean
``mu`` and deviation ``tau``; priors are normal(0, 5) and half-Cauchy(0, 5). Long runs of Stan find means of 4.4 and 3.6
(posteriordb, eight_schools_noncentered). The warm-up, in which the step size goes after an acceptance of 0.9 (Hoffman
and Gelman 2014, 3.2), and all chains, side by side under `vmap`, are one program, which draws its numbers itself.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import graphad
import graphad.numpy as gnp
from graphad import lax, random

EFFECTS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
SIZE, LEAPS = 2 + EFFECTS.size, 16


def energy(q: Any) -> Any:
    """Minus the logarithm of the posterior density of ``mu, log(tau), z``."""
    mu, tau, z = q[0], gnp.exp(q[1]), q[2:]
    squares = gnp.sum(((EFFECTS - mu - tau * z) / ERRORS) ** 2 + z**2)
    return 0.5 * (squares + (mu / 5) ** 2) + gnp.log1p((tau / 5) ** 2) - q[1]


def moved(q: Any, p: Any, step: Any) -> tuple[Any, Any]:
    """The end of a trajectory of leapfrog steps."""

    def leap(_: Any, state: Any) -> Any:
        return (q := state[0] + step * state[1]), state[1] - step * graphad.grad(energy)(q)

    q, p = lax.fori_loop(0, LEAPS, leap, (q, p - 0.5 * step * graphad.grad(energy)(q)))
    return q, p + 0.5 * step * graphad.grad(energy)(q)


def chain(key: Any, draws: int, warmup: int) -> Any:
    """Draws of one chain."""

    def draw(state: Any, t: Any) -> Any:
        q, key, log_step = state
        key, *keys = random.split(key, 4)
        step = gnp.exp(log_step) * random.uniform(keys[2], minval=0.8, maxval=1.2, dtype="float64")
        p = random.normal(keys[0], (SIZE,), "float64")
        new_q, new_p = moved(q, p, step)
        lost = energy(new_q) - energy(q) + 0.5 * gnp.sum(new_p**2 - p**2)
        likely = gnp.exp(-gnp.clip(lost, 0.0, 1e3))
        q = gnp.where(random.uniform(keys[1], dtype="float64") < likely, new_q, q)
        log_step = gnp.where(t < warmup, log_step + (likely - 0.9) / gnp.sqrt(t + 1.0), log_step)
        return (q, key, log_step), q

    return lax.scan(draw, (np.zeros(SIZE), key, gnp.float64(-2.0)), gnp.arange(warmup + draws))[1][warmup:]


def main(argv: list[str] | None = None) -> dict[str, float]:
    """Draw; returns the means of ``mu`` and ``tau``."""
    parser = argparse.ArgumentParser(description="Draw from the posterior of eight schools.")
    parser.add_argument("--draws", type=int, default=10_000, help="of each of eight chains")
    parser.add_argument("--output", default="eight_schools.png")
    options = parser.parse_args(argv)
    run = graphad.jit(graphad.vmap(lambda key: chain(key, options.draws, 1000)))
    found = np.asarray(run(random.split(random.key(0), 8))).reshape(-1, SIZE)
    mu, tau = found[:, 0], np.exp(found[:, 1])
    print(f"mu {mu.mean():.2f} ± {mu.std():.2f}, tau {tau.mean():.2f} ± {tau.std():.2f}")
    axes = (figure := Figure(figsize=(8, 4), layout="constrained")).subplots()
    axes.boxplot(mu[:, None] + tau[:, None] * found[:, 2:], showfliers=False)
    axes.errorbar(np.arange(1, 9) + 0.3, EFFECTS, ERRORS, fmt="o")
    axes.set(xlabel="school", ylabel="effect")
    figure.savefig(options.output, dpi=120)
    return {"mu": float(mu.mean()), "tau": float(tau.mean())}


if __name__ == "__main__":
    main()
