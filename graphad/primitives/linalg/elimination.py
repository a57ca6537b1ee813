"""`lu`, one column after the other, and `tridiagonal_solve`, one row after the other, with row pivoting [1]_.

.. [1] G. H. Golub, C. F. Van Loan, Matrix Computations, 4th edition, 2013, sections 3.4 and 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphad.ir.ref import Ref
from graphad.ir.types import aval, i32, literal
from graphad.primitives.arithmetic import abs_, div, mul, sub
from graphad.primitives.comparison import eq, ge, gt, or_, select
from graphad.primitives.dynamic import dynamic_slice
from graphad.primitives.layout import (
    broadcast,
    moved_to_front,
    positions,
    reduce_sum,
    reshape,
    transpose,
    zeros_like_aval,
)
from graphad.primitives.linalg.matrices import along_columns, along_rows, by_elements, check_size, masked
from graphad.primitives.linalg.turns import column_at, numbered, over, place, repeated, row_at, to_back
from graphad.primitives.reduce import argmax, reduce_or
from graphad.primitives.shape import concatenate, slice_axis


def lu(a: Ref) -> list[Ref] | None:
    """``factors, pivots, order``; None where all is written out by elements."""
    lead, (m, n) = a.shape[:-2], a.shape[-2:]
    k = min(m, n)
    if by_elements(a):
        return None
    check_size("lu", a, k)
    order = positions(a.builder, (*lead, m), len(lead))
    if not k:
        return [a, zeros_like_aval(a.builder, aval((*lead, 0), i32)), order]
    (a, order), (pivots,) = repeated(k, _eliminated, [a, order], [numbered(a.builder, k)])
    return [a, to_back(pivots), order]


def _eliminated(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
    """The largest element of column ``j`` brought to row ``j``, and multiples of this row taken from those behind."""
    (a, order), (j,) = carried, xs
    axis, (m, n) = a.ndim - 2, a.shape[-2:]
    column = column_at(a, j)
    at = place(column, axis)
    is_own = eq(at, over(j, at))
    pivot = argmax(select(ge(at, over(j, at)), abs_(column), -1.0), axis=axis, dtype=i32)
    is_pivot = eq(at, over(pivot, at))
    upper, own = _row_of_each(a, pivot), row_at(a, j)
    a = select(along_rows(is_pivot, n), along_columns(own, m), a)
    a = select(along_rows(is_own, n), along_columns(upper, m), a)
    there, here = (reduce_sum(masked(order, mask), axes=(axis,)) for mask in (is_pivot, is_own))
    order = select(is_own, over(there, order), select(is_pivot, over(here, order), order))
    return [_reduced(a, upper, j), order], [pivot]


def _row_of_each(a: Ref, numbers: Ref) -> Ref:
    """Of each matrix the row of its number."""
    first = broadcast(Ref(a.builder, literal(0, i32)), shape=numbers.shape, dims=())
    found = dynamic_slice(a, numbers, first, sizes=(1, a.shape[-1]), batch=numbers.ndim)
    return reshape(found, shape=(*a.shape[:-2], a.shape[-1]))


def _reduced(a: Ref, upper: Ref, j: Ref) -> Ref:
    """Multiples of row ``j``, which is ``upper``, taken from those behind; in column ``j`` stand by how much."""
    m, n = a.shape[-2:]
    divisor = reduce_sum(masked(upper, eq(place(upper, upper.ndim - 1), over(j, upper))), axes=(upper.ndim - 1,))
    column = column_at(a, j)
    by = along_rows(div(column, over(select(eq(divisor, 0.0), 1.0, divisor), column)), n)
    number, of_column = over(j, a), place(a, a.ndim - 1)
    rest = sub(a, mul(by, along_columns(upper, m)))
    rest = select(gt(of_column, number), rest, select(eq(of_column, number), by, a))
    return select(gt(place(a, a.ndim - 2), number), rest, a)


def tridiagonal_solve(low: Ref, diagonal: Ref, high: Ref, b: Ref) -> list[Ref]:
    """``x``, for several right sides; nan where a pivot is zero."""
    axis, n = low.ndim - 1, low.shape[-1]
    rows = [moved_to_front(x, axis) for x in (low, diagonal, high, b)]
    first = [_first(x) for x in rows[1:]]
    behind = [slice_axis(x, 0, 1, n) for x in rows]
    (pivot, _, right), stacked = repeated(n - 1, _row_eliminated, first, behind) if n > 1 else (first, [])
    last = div(right, over(pivot, right))
    is_singular = eq(pivot, 0.0)
    solution = reshape(last, shape=(1, *last.shape))
    if n > 1:
        is_singular = or_(is_singular, reduce_or(eq(stacked[0], 0.0), axes=(0,)))
        _, (others,) = repeated(n - 1, _row_solved, [last, mul(last, 0.0)], stacked, reverse=True)
        solution = concatenate(others, solution, axis=0)
    solution = transpose(solution, perm=(*range(1, axis + 1), 0, axis + 1))
    return [select(over(is_singular, solution), float("nan"), solution)]


def _first(x: Ref) -> Ref:
    return reshape(slice_axis(x, 0, 0, 1), shape=x.shape[1:])


def _row_eliminated(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
    """The next row without the unknown of the one before, or the other way round: the larger element stays.

    Stacked are the row that stays, its pivot and what is behind, and its right side.
    """
    (pivot, beside, right), (low, diagonal, high, b) = carried, xs
    stays = ge(abs_(pivot), abs_(low))
    wide = over(stays, b)
    top, second = select(stays, pivot, low), select(stays, beside, diagonal)
    third, upper = masked(high, eq(stays, False)), select(wide, right, b)
    factor = div(select(stays, low, pivot), select(eq(top, 0.0), 1.0, top))
    following = [
        sub(select(stays, diagonal, beside), mul(factor, second)),
        sub(masked(high, stays), mul(factor, third)),
        sub(select(wide, b, right), mul(over(factor, b), upper)),
    ]
    return following, [top, second, third, upper]


def _row_solved(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
    (next_, second), (pivot, beside, third, right) = carried, xs
    known = sub(sub(right, mul(over(beside, right), next_)), mul(over(third, right), second))
    x = div(known, over(pivot, right))
    return [x, next_], [x]
