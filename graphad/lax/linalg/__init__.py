"""Factorizations of matrices under the names and conventions of ``jax.lax.linalg``: no promotion, no broadcasting.

`graphad.numpy.linalg` and `graphad.scipy.linalg` have the functions for everyday use.
"""

from __future__ import annotations

import typing as _t

from graphad.api.names import listing as _listing
from graphad.lax.linalg._factorizations import cholesky as cholesky
from graphad.lax.linalg._factorizations import eigh as eigh
from graphad.lax.linalg._factorizations import lu as lu
from graphad.lax.linalg._factorizations import qr as qr
from graphad.lax.linalg._factorizations import svd as svd
from graphad.lax.linalg._reductions import hessenberg as hessenberg
from graphad.lax.linalg._reductions import householder_product as householder_product
from graphad.lax.linalg._reductions import schur as schur
from graphad.lax.linalg._systems import lu_pivots_to_permutation as lu_pivots_to_permutation
from graphad.lax.linalg._systems import triangular_solve as triangular_solve
from graphad.lax.linalg._systems import tridiagonal_solve as tridiagonal_solve
from graphad.lax.linalg._updates import cholesky_update as cholesky_update
from graphad.lax.linalg._updates import symmetric_product as symmetric_product
from graphad.numpy._absent import absent_from as _absent_from

if not _t.TYPE_CHECKING:  # it would give every misspelt name a type

    def __getattr__(name: str) -> _t.NoReturn:
        raise _absent_from("graphad.lax.linalg", name)


__dir__ = _listing(globals())
