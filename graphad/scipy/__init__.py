"""What JAX has in ``jax.scipy``: functions of SciPy's that can be traced, differentiated, batched and compiled."""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.scipy import linalg as linalg
from graphad.scipy import sparse as sparse

__dir__ = _listing(globals(), "linalg", "sparse")
