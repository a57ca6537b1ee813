"""`qr`: products of a matrix of orthonormal columns and an upper triangle.

With ``A = Q R`` of at least as many rows as columns, ``X = dA R^-1`` and ``M = Q^T X``, ``dQ = X + Q (K - M)`` with the
skew-symmetric ``K = lower(M) - lower(M)^T`` without diagonals, and ``dR = (M - K) R`` [1]_. Of a matrix with more
columns, the first ones are such a matrix, and the others follow.

.. [1] S. F. Walter, L. Lehmann, Algorithmic differentiation of linear algebra functions, 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval
from graphad.primitives.arithmetic import add, sub
from graphad.primitives.linalg import reflections
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    each_matrix,
    lower,
    matmul,
    matrices,
    matrix_errors,
    no_derivative,
    stack,
    turned,
)
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.shape import concatenate, slice_axis


def _shapes(a: Any, full: bool) -> list[tuple[int, ...]]:
    m, n = a.shape[-2:]
    k = m if full else min(m, n)
    return [(m, k), (k, n)]


def _type(a: OperandType, *, full: bool) -> tuple[Aval, ...]:
    check_matrix("qr", a)
    return tuple([aval((*a.shape[:-2], *shape), a.dtype) for shape in _shapes(a, full)])


def _reference(a: Any, *, full: bool) -> tuple[Array, ...]:
    a = np.asarray(a)
    mode = "complete" if full else "reduced"
    return tuple(each_matrix(lambda x: tuple(np.linalg.qr(x, mode)), a, shapes=_shapes(a, full)))


def _jvp(tangents: Sequence[Ref], operands: Sequence[Ref], outputs: Sequence[Ref], *, full: bool) -> list[Ref]:
    (t,), (a,), (q, r) = tangents, operands, outputs
    m, n = a.shape[-2:]
    if full and m > n:
        raise no_derivative(
            a,
            f"qr of {a.aval} with all columns has no derivative, for the further columns may be any. Ask for "
            "fewer: mode='reduced', 'economic' in scipy.linalg, full_matrices=False in lax.linalg.",
        )
    k, columns = min(m, n), a.ndim - 1
    triangle = slice_axis(r, columns, 0, k)
    x = solve(triangle, slice_axis(t, columns, 0, k), left=False, lower=False)
    inner = matmul(turned(q), x)
    below = lower(inner, strict=True)
    skew = sub(below, turned(below))
    dq = add(x, matmul(q, sub(skew, inner)))
    dr = matmul(sub(inner, skew), triangle)
    if n > m:
        beside = add(matmul(turned(dq), slice_axis(a, columns, k, n)), matmul(turned(q), slice_axis(t, columns, k, n)))
        dr = concatenate(dr, beside, axis=columns)
    return [dq, dr]


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    m, n = types[0].shape[-2:]
    sizes = stack(types[0]), m, n, m if params["full"] else min(m, n)
    return Routine("qr", sizes, as_graph=partial(reflections.qr, full=params["full"]))


def _samples(rng: np.random.Generator, dtype: Any) -> Any:
    shapes = [(1, 1), (4, 3), (2, 3, 3), (3, 4), (0, 0), (0, 3, 2), (2, 0, 3), (3, 0), (17, 5)]
    for full in (False, True):
        for sample in matrices(shapes, full=full)(rng, dtype):
            m, n = sample.operands[0].shape[-2:]
            yield sample._replace(differentiable=m <= n or not full)


qr = Primitive(
    "qr",
    "``q, r`` with ``a == q @ r`` and ``q.T @ q == 1``; ``q`` is square if ``full``. The diagonal of ``r`` "
    "has LAPACK's signs.",
    _type,
    _reference,
    {"full": BOOL},
    jvp=_jvp,
    batch=lambda _size, _batched, a, *, full: qr(a, full=full),
    lowering=_lowering,
    samples=_samples,
    errors=matrix_errors({"full": False}, square=False),
    tolerance=256.0,
    multiple=True,
)
