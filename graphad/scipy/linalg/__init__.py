"""What JAX has in ``jax.scipy.linalg`` of real matrices, and bands: factorizations, systems, exponentials, patterns."""

from __future__ import annotations

import typing as _t

from graphad.api.names import listing as _listing
from graphad.numpy._absent import absent_from as _absent_from
from graphad.scipy.linalg._bands import eigh_tridiagonal as eigh_tridiagonal
from graphad.scipy.linalg._bands import solve_banded as solve_banded
from graphad.scipy.linalg._bands import solveh_banded as solveh_banded
from graphad.scipy.linalg._exponential import expm as expm
from graphad.scipy.linalg._exponential import expm_frechet as expm_frechet
from graphad.scipy.linalg._factorizations import cho_factor as cho_factor
from graphad.scipy.linalg._factorizations import cholesky as cholesky
from graphad.scipy.linalg._factorizations import eigh as eigh
from graphad.scipy.linalg._factorizations import lu as lu
from graphad.scipy.linalg._factorizations import lu_factor as lu_factor
from graphad.scipy.linalg._factorizations import qr as qr
from graphad.scipy.linalg._factorizations import svd as svd
from graphad.scipy.linalg._matrix_functions import funm as funm
from graphad.scipy.linalg._matrix_functions import solve_sylvester as solve_sylvester
from graphad.scipy.linalg._matrix_functions import sqrtm as sqrtm
from graphad.scipy.linalg._patterns import block_diag as block_diag
from graphad.scipy.linalg._patterns import circulant as circulant
from graphad.scipy.linalg._patterns import companion as companion
from graphad.scipy.linalg._patterns import convolution_matrix as convolution_matrix
from graphad.scipy.linalg._patterns import fiedler as fiedler
from graphad.scipy.linalg._patterns import fiedler_companion as fiedler_companion
from graphad.scipy.linalg._patterns import hankel as hankel
from graphad.scipy.linalg._patterns import leslie as leslie
from graphad.scipy.linalg._patterns import toeplitz as toeplitz
from graphad.scipy.linalg._polar import polar as polar
from graphad.scipy.linalg._reductions import hessenberg as hessenberg
from graphad.scipy.linalg._reductions import schur as schur
from graphad.scipy.linalg._sizes import hadamard as hadamard
from graphad.scipy.linalg._sizes import helmert as helmert
from graphad.scipy.linalg._sizes import hilbert as hilbert
from graphad.scipy.linalg._sizes import invhilbert as invhilbert
from graphad.scipy.linalg._sizes import invpascal as invpascal
from graphad.scipy.linalg._sizes import pascal as pascal
from graphad.scipy.linalg._systems import cho_solve as cho_solve
from graphad.scipy.linalg._systems import det as det
from graphad.scipy.linalg._systems import inv as inv
from graphad.scipy.linalg._systems import lu_solve as lu_solve
from graphad.scipy.linalg._systems import solve as solve
from graphad.scipy.linalg._systems import solve_triangular as solve_triangular

if not _t.TYPE_CHECKING:  # it would give every misspelt name a type

    def __getattr__(name: str) -> _t.NoReturn:
        raise _absent_from("graphad.scipy.linalg", name)


__dir__ = _listing(globals())
