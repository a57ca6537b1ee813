"""`cholesky`: positive definite matrices as products of a lower triangle and its transpose.

With ``A = L L^T``, ``dL = L phi(L^-1 dA L^-T)``, where ``phi`` takes the lower triangle and half of the diagonal [1]_.
Of small matrices that is written out, to be unrolled with the factorization.

.. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval
from graphad.primitives.arithmetic import mul, sub
from graphad.primitives.comparison import eq, select
from graphad.primitives.layout import broadcast, reduce_sum, zeros_like_aval
from graphad.primitives.linalg.cholesky_derivatives import cholesky_tangent, half_lower
from graphad.primitives.linalg.matrices import (
    Array,
    by_elements,
    check_matrix,
    check_size,
    diagonal,
    each_matrix,
    is_small,
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


def _type(a: OperandType, *, upper: bool) -> Aval:
    del upper
    check_matrix("cholesky", a, square=True)
    return aval(a.shape, a.dtype)


def _factor(a: Array) -> Array:
    found = np.linalg.cholesky(a)
    if np.isnan(found).any():
        raise np.linalg.LinAlgError
    return found


def _reference(a: Any, *, upper: bool) -> Array:
    a = np.asarray(a)
    (found,) = each_matrix(_factor, np.swapaxes(a, -1, -2) if upper else a, shapes=[a.shape[-2:]])
    return np.swapaxes(np.tril(found), -1, -2) if upper else np.tril(found)


def _tangent(t: Ref, _a: Ref, factor: Ref, *, upper: bool) -> Ref:
    return turned(_of_lower(turned(t), turned(factor))) if upper else _of_lower(t, factor)


def _of_lower(t: Ref, factor: Ref) -> Ref:
    if not is_small(factor.shape):
        return cholesky_tangent(factor, t)
    left = solve(factor, symmetric(t), left=True, lower=True)
    both = turned(solve(factor, turned(left), left=True, lower=True))
    return matmul(factor, half_lower(both))


def _by_halves(a: Ref, *, upper: bool) -> list[Ref] | None:
    """Recursion on blocks, down to those that are written out by elements."""
    n, rows, columns = a.shape[-1], a.ndim - 2, a.ndim - 1
    if by_elements(a):
        return None
    if upper:
        return [turned(cholesky(turned(a), upper=False))]
    check_size("cholesky", a, n)
    k = split_at(n)
    above, below = slice_axis(a, rows, 0, k), slice_axis(a, rows, k, n)
    first = cholesky(slice_axis(above, columns, 0, k), upper=False)
    beside = solve(first, slice_axis(below, columns, 0, k), left=False, lower=True, transposed=True)
    second = cholesky(sub(slice_axis(below, columns, k, n), matmul(beside, turned(beside))), upper=False)
    nothing = zeros_like_aval(a.builder, aval((*a.shape[:-2], k, n - k), a.dtype))
    found = concatenate(concatenate(first, nothing, axis=columns), concatenate(beside, second, axis=columns), axis=rows)
    is_definite = eq(reduce_sum(mul(diagonal(second), 0.0), axes=(rows,)), 0.0)
    return [lower(select(broadcast(is_definite, shape=a.shape, dims=tuple(range(rows))), found, float("nan")))]


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    shapes = [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3), (2, 3, 5, 5), (19, 19)]
    yield from matrices(shapes, positive_definite, upper=False)(rng, dtype)
    of_upper = [(1, 1), (2, 4, 4), (0, 3, 3), (11, 11)]
    yield from matrices(of_upper, lambda x: np.swapaxes(positive_definite(x), -1, -2), upper=True)(rng, dtype)


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    upper = params["upper"]
    sizes = stack(types[0]), types[0].shape[-1], int(upper)
    return Routine("cholesky", sizes, as_graph=partial(_by_halves, upper=upper))


cholesky = Primitive(
    "cholesky",
    "The lower triangle ``l`` with ``l @ l.T == a``, of which the lower triangle is read; or the upper one ``u`` with "
    "``u.T @ u == a``, and the upper one. Where a matrix is not positive definite, that triangle of the result is nan.",
    _type,
    _reference,
    {"upper": BOOL},
    jvp=(_tangent,),
    batch=lambda _size, _batched, a, *, upper: cholesky(a, upper=upper),
    lowering=_lowering,
    samples=_samples,
    errors=matrix_errors({"upper": False}, square=True),
    tolerance=64.0,
)
