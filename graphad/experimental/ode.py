"""What JAX has in ``jax.experimental.ode``; more is in `graphad.solve`."""

from __future__ import annotations

from graphad.api.names import listing
from graphad.solve import odeint as odeint

__all__ = ["odeint"]

__dir__ = listing(globals(), "odeint")
