"""`cholesky`: positive definite matrices as products of a lower triangle and its transpose.

With ``A = L L^T``, ``dL = L phi(L^-1 dA L^-T)``, where ``phi`` takes the lower triangle and half of the diagonal [1]_.
Of small matrices that is written out, to be unrolled with the factorization.

.. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.linalg.cholesky_derivatives import cholesky_tangent, half_lower
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    each_matrix,
    is_small,
    matmul,
    matrices,
    matrix_errors,
    positive_definite,
    stack,
    symmetric,
    turned,
)
from graphad.primitives.linalg.triangular_solve import solve


def _type(a: OperandType) -> Aval:
    check_matrix("cholesky", a, square=True)
    return aval(a.shape, a.dtype)


def _factor(a: Array) -> Array:
    found = np.linalg.cholesky(a)
    if np.isnan(found).any():
        raise np.linalg.LinAlgError
    return found


def _reference(a: Any) -> Array:
    a = np.asarray(a)
    (found,) = each_matrix(_factor, a, shapes=[a.shape[-2:]])
    return np.tril(found)


def _tangent(t: Ref, _a: Ref, factor: Ref) -> Ref:
    if not is_small(factor.shape):
        return cholesky_tangent(factor, t)
    left = solve(factor, symmetric(t), left=True, lower=True)
    both = turned(solve(factor, turned(left), left=True, lower=True))
    return matmul(factor, half_lower(both))


cholesky = Primitive(
    "cholesky",
    "The lower triangle ``l`` with ``l @ l.T == a``, of which the lower triangle is read. Where a matrix is not "
    "positive definite, its lower triangle is nan.",
    _type,
    _reference,
    jvp=(_tangent,),
    batch=lambda _size, _batched, a: cholesky(a),
    lowering=lambda types, _params: Routine("cholesky", (stack(types[0]), types[0].shape[-1])),
    samples=matrices(
        [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (2, 3, 5, 5), (19, 19)], positive_definite
    ),
    errors=matrix_errors({}, square=True),
    tolerance=64.0,
)
