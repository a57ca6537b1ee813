"""`qr`, `hessenberg` and `householder_product` as graphs: one column, and one reflector, after the other [1]_.

.. [1] G. H. Golub, C. F. Van Loan, Matrix Computations, 4th edition, 2013, sections 5.1, 5.2 and 7.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphad.ir.ref import Ref
from graphad.ir.types import aval
from graphad.primitives.arithmetic import abs_, add, copysign, div, maximum, mul, neg, sub
from graphad.primitives.comparison import and_, eq, ge, gt, le, ne, select
from graphad.primitives.layout import moved_to_front, reduce_sum, zeros_like_aval
from graphad.primitives.linalg.matrices import (
    SMALL,
    along_columns,
    along_rows,
    by_elements,
    check_size,
    identity,
    lower,
    masked,
    on_diagonal,
    products_of_columns,
    turned,
    upper,
)
from graphad.primitives.linalg.quasi_triangular import hessenberg_part
from graphad.primitives.linalg.turns import column_at, numbered, over, place, repeated, row_at, to_back
from graphad.primitives.reduce import reduce_max
from graphad.primitives.shape import padded_axis, slice_axis
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
    if by_elements(a, most=SMALL):
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


# ---------------------------------------------------------------------------------------------------------------------
# Hessenberg forms


def hessenberg(a: Ref) -> list[Ref]:
    """``q, h``."""
    a, reflectors = _to_hessenberg(a)
    q = identity(a, *a.shape[-2:])
    return [_product(reflectors, q) if reflectors else q, hessenberg_part(a)]


def hessenberg_reflectors(a: Ref) -> list[Ref]:
    """``packed, taus``."""
    n, axis = a.shape[-1], a.ndim - 2
    a, reflectors = _to_hessenberg(a)
    if not reflectors:
        return [a, zeros_like_aval(a.builder, aval((*a.shape[:-2], n - 1), a.dtype))]
    v, tau = (to_back(x) for x in reflectors)
    below = padded_axis(v, axis + 1, 0, 2)
    return [select(_is_hessenberg(a), a, below), padded_axis(tau, axis, 0, 1)]


def _to_hessenberg(a: Ref) -> tuple[Ref, list[Ref]]:
    """The form, with what rounding leaves below the subdiagonal, and the reflectors, of which there may be none."""
    n = a.shape[-1]
    check_size("hessenberg", a, n)
    if n < 3:
        return a, []
    (a,), reflectors = repeated(n - 2, _similar, [a], [numbered(a.builder, n - 2)])
    return a, reflectors


def _similar(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
    """A column less below the subdiagonal; and the reflector by which, from both sides."""
    (a,), (j,) = carried, xs
    following = add(j, 1)
    v, tau, beta = _reflection(column_at(a, j), following)
    a = turned(_reflected(v, tau, turned(_reflected(v, tau, a))))
    ahead = and_(eq(place(a, a.ndim - 1), over(j, a)), eq(place(a, a.ndim - 2), over(following, a)))
    return [select(ahead, over(beta, a), a)], [v, tau]


def _is_hessenberg(a: Ref) -> Ref:
    return le(place(a, a.ndim - 2), add(place(a, a.ndim - 1), 1))


def hessenberg_rate(h: Ref, m: Ref, *, across: bool) -> list[Ref]:
    """One column after the other, of the transposed map from the right."""
    n = h.shape[-1]
    check_size("hessenberg_rate", h, n)
    x = zeros_like_aval(h.builder, h.aval)
    if n < 3:
        return [x]

    def turn(carried: Sequence[Ref], xs: Sequence[Ref]) -> tuple[list[Ref], list[Ref]]:
        h, m, x = carried
        j = add(xs[0], int(across))
        source, to = (turned(h), sub(j, 1)) if across else (h, add(j, 1))
        line = row_at(h, j) if across else column_at(h, j)
        at = place(line, line.ndim - 1)
        kept = masked(line, (ge if across else le)(at, over(j, at)))
        total = sub(add(column_at(m, j), _applied(source, column_at(x, j))), _applied(x, kept))
        divisor = reduce_sum(masked(line, eq(at, over(to, at))), axes=(line.ndim - 1,))
        is_below = gt(place(x, x.ndim - 2), over(j if across else to, x))
        here = and_(eq(place(x, x.ndim - 1), over(to, x)), is_below)
        return [h, m, select(here, along_rows(div(total, over(divisor, total)), n), x)], []

    return [repeated(n - 2, turn, [hessenberg_part(h), m, x], [numbered(h.builder, n - 2)], reverse=across)[0][2]]


def _applied(a: Ref, x: Ref) -> Ref:
    """Matrices times vectors."""
    return reduce_sum(mul(a, along_columns(x, a.shape[-2])), axes=(a.ndim - 1,))
