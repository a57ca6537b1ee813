"""What JAX has in ``jax.scipy.sparse``: `linalg`."""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.scipy.sparse import linalg as linalg

__dir__ = _listing(globals(), "linalg")
