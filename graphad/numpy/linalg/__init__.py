"""Linear algebra: norms, products, powers and factorizations of matrices, and systems of equations."""

from __future__ import annotations

import typing as _t

from graphad.api.names import listing as _listing
from graphad.numpy._absent import absent_from as _absent_from
from graphad.numpy._shape.axes import matrix_transpose as matrix_transpose
from graphad.numpy.linalg._decompositions import cholesky as cholesky
from graphad.numpy.linalg._decompositions import eigh as eigh
from graphad.numpy.linalg._decompositions import eigvalsh as eigvalsh
from graphad.numpy.linalg._decompositions import qr as qr
from graphad.numpy.linalg._decompositions import svd as svd
from graphad.numpy.linalg._decompositions import svdvals as svdvals
from graphad.numpy.linalg._matrices import cross as cross
from graphad.numpy.linalg._matrices import diagonal as diagonal
from graphad.numpy.linalg._matrices import matrix_power as matrix_power
from graphad.numpy.linalg._matrices import multi_dot as multi_dot
from graphad.numpy.linalg._matrices import outer as outer
from graphad.numpy.linalg._matrices import trace as trace
from graphad.numpy.linalg._norm import matrix_norm as matrix_norm
from graphad.numpy.linalg._norm import norm as norm
from graphad.numpy.linalg._norm import vector_norm as vector_norm
from graphad.numpy.linalg._products import matmul as matmul
from graphad.numpy.linalg._products import tensordot as tensordot
from graphad.numpy.linalg._products import vecdot as vecdot
from graphad.numpy.linalg._singular_values import cond as cond
from graphad.numpy.linalg._singular_values import lstsq as lstsq
from graphad.numpy.linalg._singular_values import matrix_rank as matrix_rank
from graphad.numpy.linalg._singular_values import pinv as pinv
from graphad.numpy.linalg._systems import det as det
from graphad.numpy.linalg._systems import inv as inv
from graphad.numpy.linalg._systems import slogdet as slogdet
from graphad.numpy.linalg._systems import solve as solve
from graphad.numpy.linalg._systems import tensorinv as tensorinv
from graphad.numpy.linalg._systems import tensorsolve as tensorsolve

if not _t.TYPE_CHECKING:  # it would give every misspelt name a type

    def __getattr__(name: str) -> _t.NoReturn:
        raise _absent_from("graphad.numpy.linalg", name)


__dir__ = _listing(globals())
