"""`qr` and `householder_product`: one column, and one reflector, after the other [1]_.

.. [1] G. H. Golub, C. F. Van Loan, Matrix Computations, 4th edition, 2013, sections 5.1 and 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphad.ir.ref import Ref
from graphad.primitives.arithmetic import abs_, copysign, div, maximum, mul, neg, sub
from graphad.primitives.comparison import and_, eq, gt, ne, select
from graphad.primitives.layout import moved_to_front, reduce_sum
from graphad.primitives.linalg.matrices import (
    along_columns,
    along_rows,
    by_elements,
    check_size,
    identity,
    lower,
    masked,
    on_diagonal,
    products_of_columns,
    upper,
)
from graphad.primitives.linalg.turns import column_at, numbered, over, place, repeated
from graphad.primitives.reduce import reduce_max
from graphad.primitives.shape import slice_axis
from graphad.primitives.transcendental import sqrt


class _Reflection(NamedTuple):
    """``1 - tau v v^T``, and the first element of the column that it makes zeros of."""

    v: Ref
    tau: Ref
    beta: Ref


def qr(a: Ref, *, full: bool) -> list[Ref] | None:
    """``q, r``; None where all is written out by elements."""
    m, n = a.shape[-2:]
    k, length = m if full else min(m, n), min(m - 1, n)
    if by_elements(a):
        return None
    check_size("qr", a, length)
    q = identity(a, m, k)
    if length > 0:
        (a,), reflectors = repeated(length, _eliminated, [a], [numbered(a.builder, length)])
        q = _product(reflectors, q)
    return [q, upper(slice_axis(a, a.ndim - 2, 0, k))]


def _eliminated(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
    """A column less below the diagonal; and the reflector by which."""
    (a,), (j,) = carried, xs
    v, tau, beta = _reflection(column_at(a, j), j)
    number = over(j, a)
    ahead = and_(eq(place(a, a.ndim - 1), number), eq(place(a, a.ndim - 2), number))
    return [select(ahead, over(beta, a), _reflected(v, tau, a))], [v, tau]


def _reflection(column: Ref, j: Ref) -> _Reflection:
    """What makes zeros behind element ``j``; nothing, if there are zeros.

    The column is divided by its largest magnitude first: so squares neither overflow nor vanish.
    """
    axis, number = column.ndim - 1, over(j, column)
    here = eq(place(column, axis), number)
    below = masked(column, gt(place(column, axis), number))
    alpha = reduce_sum(masked(column, here), axes=(axis,))
    most = reduce_max(abs_(below), axes=(axis,))
    some = ne(most, 0.0)
    most = maximum(most, abs_(alpha))
    scale = select(eq(most, 0.0), 1.0, most)
    scaled = div(select(here, column, below), over(scale, column))
    norm = mul(scale, sqrt(reduce_sum(mul(scaled, scaled), axes=(axis,))))
    beta = neg(copysign(norm, alpha))
    tau = masked(div(sub(beta, alpha), select(some, beta, 1.0)), some)
    divisor = select(some, sub(alpha, beta), 1.0)
    return _Reflection(select(here, 1.0, div(below, over(divisor, column))), tau, select(some, beta, alpha))


def _reflected(v: Ref, tau: Ref, a: Ref) -> Ref:
    m, n = a.shape[-2:]
    inner = products_of_columns(along_rows(v, n), a)
    return sub(a, mul(along_rows(v, n), along_columns(mul(inner, over(tau, inner)), m)))


def _product(reflectors: Sequence[Ref], q: Ref) -> Ref:
    """Reflectors, the last one first, applied to ``q``: ``v`` and ``tau``, stacked along their first axes."""

    def turn(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
        return [_reflected(*xs, *carried)], []

    return repeated(reflectors[0].shape[0], turn, [q], reflectors, reverse=True)[0][0]


def householder_product(a: Ref, taus: Ref) -> list[Ref]:
    """The first columns of the product of reflectors, as LAPACK stores them."""
    m, n = a.shape[-2:]
    k = taus.shape[-1]
    check_size("householder_product", a, k)
    q = identity(a, m, n)
    if not k:
        return [q]
    below = lower(slice_axis(a, a.ndim - 1, 0, k), strict=True)
    v = select(on_diagonal(below), 1.0, below)
    return [_product([moved_to_front(v, v.ndim - 1), moved_to_front(taus, taus.ndim - 1)], q)]
