"""What JAX has in ``jax.scipy.linalg`` that needs no factorization: matrices of a known pattern."""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.scipy.linalg._patterns import block_diag as block_diag
from graphad.scipy.linalg._patterns import circulant as circulant
from graphad.scipy.linalg._patterns import companion as companion
from graphad.scipy.linalg._patterns import convolution_matrix as convolution_matrix
from graphad.scipy.linalg._patterns import fiedler as fiedler
from graphad.scipy.linalg._patterns import fiedler_companion as fiedler_companion
from graphad.scipy.linalg._patterns import hankel as hankel
from graphad.scipy.linalg._patterns import leslie as leslie
from graphad.scipy.linalg._patterns import toeplitz as toeplitz
from graphad.scipy.linalg._sizes import hadamard as hadamard
from graphad.scipy.linalg._sizes import helmert as helmert
from graphad.scipy.linalg._sizes import hilbert as hilbert
from graphad.scipy.linalg._sizes import invhilbert as invhilbert
from graphad.scipy.linalg._sizes import invpascal as invpascal
from graphad.scipy.linalg._sizes import pascal as pascal

__dir__ = _listing(globals())
