"""Linear algebra: norms and products of matrices."""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.numpy._shape.axes import matrix_transpose as matrix_transpose
from graphad.numpy.linalg._norm import norm as norm
from graphad.numpy.linalg._products import matmul as matmul
from graphad.numpy.linalg._products import outer as outer
from graphad.numpy.linalg._products import tensordot as tensordot

__dir__ = _listing(globals())
