"""Factorizations of matrices, and the systems that they solve: one module a primitive, of stacks of real matrices.

Importing this package registers them. Derivatives are written with `matrices`; they hold where factorizations are
smooth: singular values and eigenvalues that are equal, or singular matrices, give infinities and nan.
"""

from __future__ import annotations

from graphad.primitives.linalg import banded_solve as banded_solve
from graphad.primitives.linalg import cholesky as cholesky
from graphad.primitives.linalg import cholesky_derivatives as cholesky_derivatives
from graphad.primitives.linalg import eig as eig
from graphad.primitives.linalg import eigh as eigh
from graphad.primitives.linalg import eigh_tridiagonal as eigh_tridiagonal
from graphad.primitives.linalg import hessenberg as hessenberg
from graphad.primitives.linalg import householder_product as householder_product
from graphad.primitives.linalg import lu as lu
from graphad.primitives.linalg import qr as qr
from graphad.primitives.linalg import quasi_sylvester as quasi_sylvester
from graphad.primitives.linalg import schur as schur
from graphad.primitives.linalg import svd as svd
from graphad.primitives.linalg import triangular_solve as triangular_solve
from graphad.primitives.linalg import tridiagonal_solve as tridiagonal_solve
