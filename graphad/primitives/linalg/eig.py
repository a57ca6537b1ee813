"""`eig`: eigenvalues and eigenvectors of square matrices in real arithmetic, as LAPACK's ``geev`` packs them.

A real matrix has real eigenvalues and pairs of conjugate ones ``wr +- i wi``. With the real and the imaginary part of a
pair's eigenvector as neighbouring columns of ``V``, ``A V = V B``, where ``B`` is the block-diagonal matrix of the real
eigenvalues and of ``[[wr, wi], [-wi, wr]]`` for each pair.

With ``dV = V W`` and ``C = V^-1 dA V``, ``dB = C + B W - W B``. That ``dB`` has the form of ``B`` says what it is: the
mean of what ``C`` has in both places of ``wr``, and half of the difference of those of ``wi``. The rest is ``L(W) = C``
with ``L(W) = W B - B W``, where each block has

    L = g + D,    D(X) = X K - K X,

with the gap ``g`` between the real parts and the part ``K`` of ``B`` beside the diagonal. With
``J = [[0, 1], [-1, 0]]``, the map ``X -> -J X J`` is its own inverse and commutes with ``D``. On the matrices that it
keeps, ``D D`` is minus the square of the difference of the imaginary parts, and on those whose sign it changes, of
their sum. So ``C`` is the sum of two parts, for which ``L^-1 = (g - D) / (g^2 + (wi -+ wi')^2)``: what in complex
numbers is division by the differences of eigenvalues [1]_, from each other and from each other's conjugates. There are
derivatives where all eigenvalues differ.

What commutes with ``B``, ``a + b J`` in each block, is left to be chosen by the normalisation: ``a`` so that the norm
remains 1, and ``b`` so that the element remains real that is.

.. [1] M. B. Giles, An extended collection of matrix derivative results for forward and reverse mode automatic
   differentiation, Oxford University Computing Laboratory, report 08/01, 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, i32
from graphad.primitives.arithmetic import abs_, add, div, mul, neg, sub
from graphad.primitives.comparison import and_, eq, gt, lt, ne, or_, select
from graphad.primitives.families_shape import builder_of
from graphad.primitives.layout import positions, reduce_sum
from graphad.primitives.linalg.lu import lu, permuted_rows
from graphad.primitives.linalg.matrices import (
    Array,
    along_columns,
    along_rows,
    check_matrix,
    diagonal,
    masked,
    matmul,
    matrices,
    matrix_errors,
    products_of_columns,
    stack,
)
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.reduce import argmax
from graphad.primitives.reference import routine
from graphad.primitives.shape import padded_axis, slice_axis
from graphad.primitives.transcendental import hypot


def _type(a: OperandType) -> tuple[Aval, ...]:
    check_matrix("eig", a, square=True)
    values = aval(a.shape[:-1], a.dtype)
    return values, values, aval(a.shape, a.dtype)


def _reference(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(routine("eig", [a], [a.shape[:-1], a.shape[:-1], a.shape], (stack(a), a.shape[-1])))


def _values(a: Any) -> tuple[Array, ...]:
    a = np.asarray(a)
    return tuple(routine("eigvals", [a], [a.shape[:-1]] * 2, (stack(a), a.shape[-1])))


# ---------------------------------------------------------------------------------------------------------------------
# The derivative


def _with_partner(x: Ref, wi: Ref, axis: int) -> Ref:
    """``x``, with the places of each pair exchanged along ``axis``; ``wi`` has the shape of ``x``."""
    n = x.shape[axis]
    one = min(n, 1)
    following = padded_axis(slice_axis(x, axis, one, n), axis, 0, one)
    preceding = padded_axis(slice_axis(x, axis, 0, n - one), axis, one, 0)
    return select(gt(wi, 0.0), following, select(lt(wi, 0.0), preceding, x))


def _jvp(tangents: Sequence[Ref], _operands: Any, outputs: Sequence[Ref]) -> list[Ref]:
    wr, wi, v = outputs
    n, rows, columns = wr.shape[-1], v.ndim - 2, v.ndim - 1
    packed, _, order = lu(v)
    moved = solve(packed, permuted_rows(matmul(tangents[0], v), order), left=True, lower=True, unit=True)
    inner = solve(packed, moved, left=True, lower=False)
    by_column = _with_partner(inner, along_columns(wi, n), columns)
    by_row = _with_partner(inner, along_rows(wi, n), rows)
    within = diagonal(inner)
    of_wr = mul(add(within, _with_partner(within, wi, wi.ndim - 1)), 0.5)
    of_wi = mul(sub(diagonal(by_column), diagonal(by_row)), 0.5)
    return [of_wr, of_wi, _normalised(v, matmul(v, _mixing(inner, by_column, by_row, wr, wi)), wi)]


def _mixing(c: Ref, by_column: Ref, by_row: Ref, wr: Ref, wi: Ref) -> Ref:
    """The ``W`` with ``W B - B W == C``, but for what of ``C`` commutes with ``B``."""
    n, rows, columns = wr.shape[-1], c.ndim - 2, c.ndim - 1
    mine, other = along_columns(wi, n), along_rows(wi, n)
    gap = sub(along_columns(wr, n), along_rows(wr, n))
    moved = neg(add(mul(mine, by_column), mul(other, by_row)))
    is_like = eq(gt(mine, 0.0), gt(other, 0.0))

    def conjugated(by_column: Ref) -> Ref:
        """``-J X J``, of ``X`` with its columns exchanged."""
        both = _with_partner(by_column, other, rows)
        return select(is_like, both, neg(both))

    c_conjugated = conjugated(by_column)
    moved_conjugated = conjugated(_with_partner(moved, mine, columns))
    mine, other = abs_(mine), abs_(other)
    in_block = _in_block(c, wi)

    def part(of: Callable[[Ref, Ref], Ref], apart: Ref, free: Ref) -> Ref:
        distance = hypot(select(free, 1.0, gap), select(free, 0.0, apart))
        found = sub(mul(div(gap, distance), of(c, c_conjugated)), div(of(moved, moved_conjugated), distance))
        return select(free, 0.0, div(mul(found, 0.5), distance))

    of_alike = part(add, sub(mine, other), in_block)
    return add(of_alike, part(sub, add(mine, other), and_(in_block, eq(mine, 0.0))))


def _in_block(x: Ref, wi: Ref) -> Ref:
    """Where the row and the column of an element are of one eigenvalue, or of one pair."""
    builder = builder_of([x])
    rows, columns = (positions(builder, x.shape, x.ndim - k) for k in (2, 1))
    other = along_rows(wi, wi.shape[-1])
    after, before = eq(add(rows, 1), columns), eq(sub(rows, 1), columns)
    return or_(eq(rows, columns), or_(and_(gt(other, 0.0), after), and_(lt(other, 0.0), before)))


def _normalised(v: Ref, moved: Ref, wi: Ref) -> Ref:
    """``moved``, less as much of each eigenvector as would change its norm or the phase of its real element."""
    n, rows, columns = wi.shape[-1], v.ndim - 2, v.ndim - 1
    if n == 0:
        return moved
    mine = along_columns(wi, n)
    is_first, is_paired = gt(mine, 0.0), ne(mine, 0.0)
    along = products_of_columns(v, moved)
    along = select(eq(wi, 0.0), along, add(along, _with_partner(along, wi, wi.ndim - 1)))
    moved = sub(moved, mul(v, along_columns(along, n)))
    partner = _with_partner(v, mine, columns)
    largest = argmax(select(eq(partner, 0.0), abs_(v), -1.0), axis=rows, dtype=i32)
    chosen = and_(is_first, eq(along_columns(largest, n), positions(builder_of([v]), v.shape, rows)))
    turning = div(masked(_with_partner(moved, mine, columns), chosen), select(chosen, v, 1.0))
    angle = reduce_sum(turning, axes=(rows,))
    angle = along_columns(add(angle, _with_partner(angle, wi, wi.ndim - 1)), n)
    # x + i y by -i times the angle.
    return add(moved, masked(mul(select(is_first, partner, neg(partner)), angle), is_paired))


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    """Matrices with real and with complex eigenvalues."""
    shapes = [(1, 1), (3, 3), (2, 4, 4), (0, 0), (2, 0, 0), (0, 3, 3)]
    yield from matrices(shapes, lambda x: x + np.diag(3.0 * np.arange(x.shape[-1])))(rng, dtype)
    yield from matrices([(2, 2), (6, 6)], _turning)(rng, dtype)


def _turning(x: Array) -> Array:
    """With pairs of eigenvalues far from each other, and vectors with one element that is the largest."""
    n = x.shape[-1]
    around = np.zeros((n, n))
    for i in range(0, n - 1, 2):
        around[i, i + 1], around[i + 1, i] = 4.0, -1.0
    return 0.3 * x + around + np.diag(3.0 * (np.arange(n) // 2))


eig = Primitive(
    "eig",
    "``wr, wi, v``: eigenvalues ``wr + i wi`` and eigenvectors of norm 1. Conjugate eigenvalues are neighbours, that "
    "with the positive ``wi`` first, and the columns of ``v`` at their places are the real and the imaginary part of "
    "its vector, whose largest element is real and positive. Other columns have signs as those of `eigh`. All nan, "
    "where an element is not finite.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda _size, _batched, a: eig(a),
    lowering=lambda types, _params: Routine("eig", (stack(types[0]), types[0].shape[-1]), alone="eigvals"),
    samples=_samples,
    errors=matrix_errors({}, square=True),
    tolerance=512.0,
    multiple=True,
    alone=((0, 1), _values),
)
