"""What JAX has in ``jax.experimental``."""

from __future__ import annotations

from graphad.api.callbacks import io_callback as io_callback
from graphad.api.names import listing as _listing

__all__ = ["io_callback"]

__dir__ = _listing(globals(), "io_callback")
