"""Particles on springs: forces are the derivative of an energy. ``python examples/harmonic_motion.py``.

Each pair of particles is joined by a spring, so that the energy is a sum over pairs. Its gradient gives the forces, and
these the motion, by the method of Verlet (1967), which conserves energy but for a small ripple.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import graphad
import graphad.numpy as gnp


def potential(x: Any) -> Any:
    """The energy of the springs between all pairs of particles at ``x``, one row each."""
    distances = x[:, None, :] - x[None, :, :]
    return gnp.sum(distances**2) / 2


def energy(x: Any, v: Any) -> Any:
    """Potential and kinetic energy, of particles of mass 1."""
    return potential(x) + gnp.sum(v**2) / 2


def step(x: Any, v: Any, dt: Any) -> tuple[Any, Any]:
    """Positions and velocities a time ``dt`` later."""
    force = graphad.grad(lambda x: -potential(x))
    v = v + dt / 2 * force(x)
    x = x + dt * v
    return x, v + dt / 2 * force(x)


@graphad.jit(static_argnums=3)
def advance(x: Any, v: Any, dt: Any, count: int) -> tuple[Any, Any]:
    """Several steps as one program."""
    for _ in range(count):
        x, v = step(x, v, dt)
    return x, v


def main(argv: list[str] | None = None) -> tuple[float, float]:
    """Simulate one period; returns the relative drift of the energy, and how far the particles end from their start."""
    parser = argparse.ArgumentParser(description="Simulate particles on springs.")
    parser.add_argument("--particles", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1000, help="of which each tenth prints a line")
    options = parser.parse_args(argv)

    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(2, options.particles, 2))
    v -= v.mean(axis=0)  # the centre stays where it is
    # All springs together pull a particle to the centre as one of strength 2n would: the period is known.
    period = 2 * np.pi / np.sqrt(2 * options.particles)
    start, first, drift, inner = x, float(energy(x, v)), 0.0, max(options.steps // 10, 1)
    print(f"{'time':>8} {'potential':>12} {'energy':>14}")
    for k in range(10):
        x, v = advance(x, v, period / (10 * inner), inner)
        now = float(energy(x, v))
        drift = max(drift, abs(now / first - 1))
        print(f"{(k + 1) * period / 10:8.4f} {potential(x):12.6f} {now:14.9f}")
    distance = float(np.max(np.abs(x - start)))
    print(f"the energy changed by {drift:.1e} of itself; after a period all are back, to {distance:.1e}")
    return drift, distance


if __name__ == "__main__":
    main()
