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
from graphad.primitives.arithmetic import mul, sub
from graphad.primitives.comparison import eq, select
from graphad.primitives.layout import broadcast, reduce_sum, zeros_like_aval
from graphad.primitives.linalg.cholesky_derivatives import cholesky_tangent, half_lower
from graphad.primitives.linalg.matrices import (
    SMALL,
    Array,
    by_elements,
    check_matrix,
    check_size,
    diagonal,
    each_matrix,
    lower,
    matmul,
    matrices,
    matrix_errors,
    positive_definite,
    split_at,
    stack,
    symmetric,
    turned,
)
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.shape import concatenate, slice_axis


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
    if factor.shape[-1] > SMALL:
        return cholesky_tangent(factor, t)
    left = solve(factor, symmetric(t), left=True, lower=True)
    both = turned(solve(factor, turned(left), left=True, lower=True))
    return matmul(factor, half_lower(both))


def _by_halves(a: Ref) -> list[Ref] | None:
    """Recursion on blocks, down to those that are written out by elements."""
    n, rows, columns = a.shape[-1], a.ndim - 2, a.ndim - 1
    if by_elements(a):
        return None
    check_size("cholesky", a, n)
    k = split_at(n)
    above, below = slice_axis(a, rows, 0, k), slice_axis(a, rows, k, n)
    first = cholesky(slice_axis(above, columns, 0, k))
    beside = solve(first, slice_axis(below, columns, 0, k), left=False, lower=True, transposed=True)
    second = cholesky(sub(slice_axis(below, columns, k, n), matmul(beside, turned(beside))))
    nothing = zeros_like_aval(a.builder, aval((*a.shape[:-2], k, n - k), a.dtype))
    found = concatenate(concatenate(first, nothing, axis=columns), concatenate(beside, second, axis=columns), axis=rows)
    is_definite = eq(reduce_sum(mul(diagonal(second), 0.0), axes=(rows,)), 0.0)
    return [lower(select(broadcast(is_definite, shape=a.shape, dims=tuple(range(rows))), found, float("nan")))]


cholesky = Primitive(
    "cholesky",
    "The lower triangle ``l`` with ``l @ l.T == a``, of which the lower triangle is read. Where a matrix is not "
    "positive definite, its lower triangle is nan.",
    _type,
    _reference,
    jvp=(_tangent,),
    batch=lambda _size, _batched, a: cholesky(a),
    lowering=lambda types, _params: Routine("cholesky", (stack(types[0]), types[0].shape[-1]), as_graph=_by_halves),
    samples=matrices(
        [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (2, 3, 5, 5), (19, 19)], positive_definite
    ),
    errors=matrix_errors({}, square=True),
    tolerance=64.0,
)
