"""Linear systems whose matrix is a function: the solvers need its products with vectors alone."""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.scipy.sparse.linalg._bicgstab import bicgstab as bicgstab
from graphad.scipy.sparse.linalg._cg import cg as cg
from graphad.scipy.sparse.linalg._gmres import gmres as gmres

__dir__ = _listing(globals())
