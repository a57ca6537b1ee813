"""`lu`: products of a permutation, a lower triangle with a unit diagonal, and an upper triangle; `lu_by_columns`.

With ``P A = L U`` and, of a square matrix, ``M = L^-1 P dA U^-1``, ``dL = L lower(M)`` without the diagonal, and
``dU = upper(M) U`` [1]_. What lies below or beside the square follows from that.

.. [1] M. Seeger et al., Auto-differentiating linear algebra, arXiv:1710.08717, 2017, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval, i32
from graphad.primitives.arithmetic import add, sub
from graphad.primitives.cast import convert
from graphad.primitives.comparison import eq
from graphad.primitives.layout import broadcast, positions
from graphad.primitives.linalg import elimination
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    each_matrix,
    lower,
    matmul,
    matrices,
    matrix_errors,
    stack,
    turned,
    upper,
)
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.shape import concatenate, slice_axis
from graphad.primitives.sorting import argsort


def _type(a: OperandType) -> tuple[Aval, ...]:
    check_matrix("lu", a)
    leading, (m, n) = a.shape[:-2], a.shape[-2:]
    return aval(a.shape, a.dtype), aval((*leading, min(m, n)), i32), aval((*leading, m), i32)


def _factors(a: Array) -> tuple[Array, Array, Array]:
    """Elimination with the largest pivot of each column."""
    x = np.array(a, np.longdouble)
    m, n = x.shape
    pivots, order = np.arange(min(m, n)), np.arange(m)
    for k in range(min(m, n)):
        p = pivots[k] = k + int(np.argmax(np.abs(a.dtype.type(1) * x[k:, k].astype(a.dtype))))
        x[[k, p]], order[[k, p]] = x[[p, k]], order[[p, k]]
        if x[k, k] != 0:
            x[k + 1 :, k] /= x[k, k]
        x[k + 1 :, k + 1 :] -= np.outer(x[k + 1 :, k], x[k, k + 1 :])
    return x.astype(a.dtype), pivots, order


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    m, n = a.shape[-2:]
    return tuple(each_matrix(_factors, a, [(m, n), (min(m, n),), (m,)], [a.dtype, np.int32, np.int32]))


def permuted_rows(x: Ref, order: Ref) -> Ref:
    """``x[order]`` of each matrix, as a product with a permutation."""
    m = x.shape[-2]
    shape = (*order.shape, m)
    builder = order.builder
    wanted = broadcast(order, shape=shape, dims=tuple(range(order.ndim)))
    return matmul(convert(eq(wanted, positions(builder, shape, len(shape) - 1)), dtype=x.dtype), x)


def _jvp(tangents: Sequence[Ref], _operands: Sequence[Ref], outputs: Sequence[Ref]) -> list[Ref | None]:
    packed, _, order = outputs
    return [_tangent(tangents[0], packed, order), None, None]


def _tangent(t: Ref, packed: Ref, order: Ref) -> Ref:
    m, n = packed.shape[-2:]
    k, rows, columns = min(m, n), packed.ndim - 2, packed.ndim - 1
    moved = permuted_rows(t, order)
    square = slice_axis(slice_axis(packed, rows, 0, k), columns, 0, k)
    inner = solve(square, slice_axis(slice_axis(moved, rows, 0, k), columns, 0, k), left=True, lower=True, unit=True)
    inner = solve(square, inner, left=False, lower=False)
    of_lower, of_upper = lower(inner, strict=True), upper(inner)
    unit_lower, triangle = lower(square, strict=True), upper(square)
    d_lower = add(matmul(unit_lower, of_lower), of_lower)
    found = add(d_lower, matmul(of_upper, triangle))
    if m > n:
        below = slice_axis(packed, rows, k, m)
        t = solve(square, slice_axis(moved, rows, k, m), left=False, lower=False)
        found = concatenate(found, sub(t, matmul(below, of_upper)), axis=rows)
    if n > m:
        beside = slice_axis(packed, columns, k, n)
        t = sub(slice_axis(moved, columns, k, n), matmul(d_lower, beside))
        found = concatenate(found, solve(square, t, left=True, lower=True, unit=True), axis=columns)
    return found


_SHAPES = [(1, 1), (3, 3), (2, 4, 4), (4, 2), (2, 2, 4), (0, 0), (0, 3, 3), (2, 3, 0), (0, 3), (17, 17)]

lu = Primitive(
    "lu",
    "``factors, pivots, order`` with ``a[order] == l @ u``, where ``factors`` has ``u`` in its upper triangle and "
    "``l``, without its diagonal of ones, below. Row ``k`` changes places with row ``pivots[k]``, one after the other.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda _size, _batched, a: lu(a),
    lowering=lambda types, _params: Routine("lu", (stack(types[0]), *types[0].shape[-2:]), as_graph=elimination.lu),
    samples=matrices(_SHAPES),
    errors=matrix_errors({}, square=False),
    tolerance=256.0,
    multiple=True,
)


# ---------------------------------------------------------------------------------------------------------------------
# Of the transposes


def _type_by_columns(a: OperandType) -> tuple[Aval, ...]:
    check_matrix("lu_by_columns", a)
    leading, (m, n) = a.shape[:-2], a.shape[-2:]
    places = aval((*leading, n), i32)
    return aval(a.shape, a.dtype), aval((*leading, min(m, n)), i32), places, places


def _reference_by_columns(a: Any) -> tuple[Array, ...]:
    packed, pivots, order = _reference(np.swapaxes(a, -1, -2))
    return np.swapaxes(packed, -1, -2), pivots, order, np.argsort(order, axis=-1).astype(np.int32)


def _jvp_by_columns(tangents: Sequence[Ref], _operands: Sequence[Ref], outputs: Sequence[Ref]) -> list[Ref | None]:
    packed, _, order, _ = outputs
    return [turned(_tangent(turned(tangents[0]), turned(packed), order)), None, None, None]


def _by_rows(a: Ref) -> list[Ref]:
    packed, pivots, order = lu(turned(a))
    return [turned(packed), pivots, order, argsort(order, axis=order.ndim - 1)]


lu_by_columns = Primitive(
    "lu_by_columns",
    "``factors, pivots, order, places`` with ``a[:, order] == l @ u``, where ``factors`` has ``l`` in its lower "
    "triangle and ``u``, without its diagonal of ones, above: what `lu` is of the transpose. Column ``k`` changes "
    "places with column ``pivots[k]``, one after the other, and ends at ``places[k]``.",
    _type_by_columns,
    _reference_by_columns,
    jvp=_jvp_by_columns,
    batch=lambda _size, _batched, a: lu_by_columns(a),
    lowering=lambda types, _params: Routine(
        "lu_by_columns", (stack(types[0]), *types[0].shape[-2:]), as_graph=_by_rows
    ),
    samples=matrices(_SHAPES),
    errors=matrix_errors({}, square=False),
    tolerance=256.0,
    multiple=True,
)
