"""`eigh` and `svd` by plane rotations, as many at once as there are pairs of rows (Jacobi's method), as graphs.

Rows ``i`` and ``n - 1 - i`` are rotated together, for all ``i`` at once. Then all rows (but the first, if their number
is even) go on by one place, in a circle of an odd number of places: after as many rounds each pair has met once, and
all are where they began. That is a sweep, in the order of a round-robin tournament [1]_. Rotations are written so that
vectors stay orthonormal (Rutishauser [2]_). Of `eigh`, elements that are small beside the largest one off the diagonal
wait for another sweep: near multiple eigenvalues they would only be stirred.

Singular values are found by rotating pairs of columns until all are orthogonal (one-sided Jacobi, Hestenes [3]_): those
of the transposed triangle of `qr`, on which that converges faster [4]_. A last `qr` of the columns, which are
orthogonal already, makes orthonormal ones of them even where singular values are zero.

.. [1] R. P. Brent, F. T. Luk, The solution of singular-value and symmetric eigenvalue problems on multiprocessor
   arrays, SIAM Journal on Scientific and Statistical Computing 6, 1985.
.. [2] G. H. Golub, C. F. Van Loan, Matrix Computations, 4th edition, 2013, section 8.5.
.. [3] Golub and Van Loan, section 8.6.3.
.. [4] Z. Drmac, K. Veselic, New fast and accurate Jacobi SVD algorithm I, SIAM Journal on Matrix Analysis and
   Applications 29, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.ref import Ref
from graphad.ir.types import literal
from graphad.primitives.arithmetic import abs_, add, copysign, div, floor, maximum, mul, neg, sub
from graphad.primitives.cast import convert
from graphad.primitives.comparison import and_, eq, gt, lt, not_, select
from graphad.primitives.indexing import gather
from graphad.primitives.layout import broadcast, positions, reduce_sum, reshape
from graphad.primitives.linalg.matrices import (
    SMALL,
    along_rows,
    check_size,
    diagonal,
    identity,
    masked,
    matmul,
    on_diagonal,
    products_of_columns,
    scaled_columns,
    symmetric,
    turned,
)
from graphad.primitives.linalg.qr import qr
from graphad.primitives.linalg.turns import repeated, repeated_while
from graphad.primitives.reduce import reduce_max, reduce_or
from graphad.primitives.shape import concatenate, rev, slice_axis
from graphad.primitives.sorting import argsort
from graphad.primitives.transcendental import sqrt

#: No matrix that was tried needs as many sweeps.
_SWEEPS: Final = 40
#: In units of the dtype's epsilon: what counts as zero beside the diagonal.
_CLOSE: Final = 4.0
#: Elements so much smaller than the largest one beside the diagonal are not rotated away in a sweep.
_MINOR: Final = 1e-3
#: Columns so much shorter than the longest one, in units of epsilon, are as good as zero.
_NEGLIGIBLE: Final = 0.01
#: Short loops are unrolled where they stand in others: their bodies would be very long.
_ROUNDS: Final = 8


class _Rotations(NamedTuple):
    """Of each row: the sine by which it takes of its partner, and ``sin / (1 + cos)``, signed alike."""

    sine: Ref
    half_tangent: Ref


def eigh(a: Ref) -> list[Ref]:
    """``v, w`` of symmetric matrices, whose lower triangle is read."""
    n = a.shape[-1]
    check_size("eigh", a, n)
    given = symmetric(a)
    v = identity(a, n, n)
    found, v = _diagonalized(given, v) if n > 1 else (given, v)
    order = argsort(_diagonal(found), axis=a.ndim - 2)
    v = _columns_in_order(v, order)
    is_finite = _is_finite(given)
    return [_or_nan(is_finite, scaled_columns(v, _signs(v))), _or_nan(is_finite, _in_order(_diagonal(found), order))]


def _diagonalized(a: Ref, v: Ref) -> tuple[Ref, Ref]:
    n = a.shape[-1]
    close = _CLOSE * _eps(a)

    def goes_on(carried: Sequence[Ref]) -> Ref:
        a, _, worst, sweeps = carried
        largest = reduce_max(abs_(_diagonal(a)), axes=(a.ndim - 2,))
        return _test(gt(worst, mul(largest, close)), sweeps, n)

    def turn(carried: Sequence[Ref], _: Any) -> tuple[list[Ref], list[Ref]]:
        a, v, least = carried
        by = _angles_of_pairs(a, least)
        a = _rotated_columns(turned(_rotated_columns(turned(a), by)), by)
        return [_rolled(_rolled(a, a.ndim - 2), a.ndim - 1), _rolled(_rotated_columns(v, by), v.ndim - 1), least], []

    def sweep(carried: Sequence[Ref]) -> list[Ref]:
        a, v, worst, sweeps = carried
        (a, v, _), _ = repeated(_rounds(n), turn, [a, v, mul(worst, _MINOR)])
        return [a, v, _worst(a), add(sweeps, 1.0)]

    start = _worst(a)
    found = repeated_while(goes_on, sweep, [a, v, start, mul(start, 0.0)])
    return found[0], found[1]


def _worst(a: Ref) -> Ref:
    """The largest magnitude beside the diagonal."""
    return reduce_max(abs_(masked(a, not_(on_diagonal(a)))), axes=(a.ndim - 2, a.ndim - 1))


def _angles_of_pairs(a: Ref, least: Ref) -> _Rotations:
    """The rotations that make zeros on the antidiagonals of symmetric matrices, where there is more than ``least``."""
    n, axis = a.shape[-1], a.ndim - 2
    first = slice_axis(_diagonal(a), axis, 0, n // 2)
    last = slice_axis(rev(_diagonal(a), axes=(axis,)), axis, 0, n // 2)
    beside = slice_axis(_strided(a, n - 1, n - 1), axis, 0, n // 2)
    return _rotations(sub(last, first), beside, gt(abs_(beside), along_rows(least, n // 2)), n)


def _rotations(gap: Ref, beside: Ref, kept: Ref, n: int) -> _Rotations:
    """Those that make zeros of ``beside``, between numbers that are ``gap`` apart; none but where they are kept."""
    ratio = div(mul(gap, 0.5), beside)
    tangent = div(copysign(1.0, ratio), add(abs_(ratio), sqrt(add(mul(ratio, ratio), 1.0))))
    tangent = masked(tangent, kept)
    cosine = div(1.0, sqrt(add(mul(tangent, tangent), 1.0)))
    sine = mul(tangent, cosine)
    return _Rotations(_of_both(sine, n), _of_both(div(sine, add(cosine, 1.0)), n))


def _of_both(x: Ref, n: int) -> Ref:
    """What is ``x`` for the first row of each pair for all rows: of the second one the sign is another."""
    axis = x.ndim - 1
    parts = [x, mul(slice_axis(x, axis, 0, 1), 0.0), neg(rev(x, axes=(axis,)))]
    return concatenate(*[parts[k] for k in ((0, 1, 2) if n % 2 else (0, 2))], axis=axis)


def _rotated_columns(x: Ref, by: _Rotations) -> Ref:
    partners = rev(x, axes=(x.ndim - 1,))
    return sub(x, scaled_columns(add(partners, scaled_columns(x, by.half_tangent)), by.sine))


def _sweep(n: int) -> int:
    """The rounds in which all pairs meet: an odd number."""
    return n - 1 + n % 2


def _rounds(n: int) -> int:
    """The rounds between two tests: of one sweep or two."""
    return _sweep(n) * (2 if 3 < _sweep(n) < _ROUNDS else 1)


def _rolled(x: Ref, axis: int) -> Ref:
    """All along an axis, but for the first if their number is even, one place further."""
    n = x.shape[axis]
    first = n - _sweep(n)
    ranges = [(0, first), (n - 1, n), (first, n - 1)]
    parts = [slice_axis(x, axis, i, j) for i, j in ranges if i < j]
    return concatenate(*parts, axis=axis)


def _test(is_coarse: Ref, sweeps: Ref, n: int) -> Ref:
    """Whether to go on: for each of small matrices, else for all of them."""
    answer = and_(is_coarse, lt(sweeps, float(_SWEEPS)))
    return reduce_or(answer, axes=tuple(range(answer.ndim))) if n > SMALL and answer.ndim else answer


# ---------------------------------------------------------------------------------------------------------------------
# Singular values


def svd(a: Ref, *, full: bool) -> list[Ref]:
    """``u, s, vt``."""
    m, n = a.shape[-2:]
    check_size("svd", a, min(m, n))
    v, s, u = _decomposed(turned(a), full) if m < n else reversed(_decomposed(a, full))
    of_u, of_v, k = _signs(u), _signs(v), min(u.shape[-1], v.shape[-1])
    axis = of_u.ndim - 1
    of_v = concatenate(slice_axis(of_u, axis, 0, k), slice_axis(of_v, axis, k, v.shape[-1]), axis=axis)
    is_finite = _is_finite(a)
    found = [scaled_columns(u, of_u), s, turned(scaled_columns(v, of_v))]
    return [_or_nan(is_finite, x) for x in found]


def _decomposed(a: Ref, full: bool) -> list[Ref]:
    """``u, s, v`` of matrices with as many rows as columns, or more."""
    n, rows = a.shape[-1], a.ndim - 2
    largest = reduce_max(abs_(a), axes=(rows, rows + 1)) if n else _filled(a, a.shape[:-2], 1.0)
    scale = select(gt(largest, 0.0), largest, 1.0)
    q, r = qr(div(a, along_rows(along_rows(scale, a.shape[-2]), n)), full=full)
    w = turned(slice_axis(r, rows, 0, n))
    w, mixed = _orthogonalized(w, identity(w, n, n)) if n > 1 else (w, identity(w, n, n))
    lengths = sqrt(products_of_columns(w, w))
    order = argsort(neg(lengths), axis=rows)
    mixed = _columns_in_order(mixed, order)
    v, triangle = qr(_columns_in_order(w, order), full=False)
    v = scaled_columns(v, copysign(1.0, diagonal(triangle)))
    u = matmul(slice_axis(q, rows + 1, 0, n), mixed)
    if q.shape[-1] > n:
        u = concatenate(u, slice_axis(q, rows + 1, n, q.shape[-1]), axis=rows + 1)
    return [u, mul(_in_order(lengths, order), along_rows(scale, n)), v]


def _orthogonalized(w: Ref, mixed: Ref) -> tuple[Ref, Ref]:
    """Columns that are orthogonal, and what ``mixed`` becomes by the same rotations. No element exceeds 1 by much."""
    n, eps = w.shape[-1], _eps(w)
    half, columns = n // 2, w.ndim - 1

    def turn(carried: Sequence[Ref], _: Any) -> tuple[list[Ref], list[Ref]]:
        w, mixed, worst = carried
        first = slice_axis(w, columns, 0, half)
        last = slice_axis(rev(w, axes=(columns,)), columns, 0, half)
        squares = [products_of_columns(first, first), products_of_columns(last, last)]
        inner = products_of_columns(first, last)
        negligible = (_NEGLIGIBLE * eps) ** 2
        counts = and_(*[gt(x, negligible) for x in squares])
        lengths = mul(*map(sqrt, squares))
        cosine = masked(div(abs_(inner), select(counts, lengths, 1.0)), counts)
        by = _rotations(sub(squares[1], squares[0]), inner, gt(cosine, _CLOSE * eps), n)
        worst = maximum(worst, reduce_max(cosine, axes=(cosine.ndim - 1,)))
        return [_rolled(_rotated_columns(x, by), columns) for x in (w, mixed)] + [worst], []

    def sweep(carried: Sequence[Ref]) -> list[Ref]:
        w, mixed, worst, sweeps = carried
        (w, mixed, worst), _ = repeated(_rounds(n), turn, [w, mixed, mul(worst, 0.0)])
        return [w, mixed, worst, add(sweeps, 1.0)]

    def goes_on(carried: Sequence[Ref]) -> Ref:
        _, _, worst, sweeps = carried
        return _test(gt(worst, _CLOSE * eps), sweeps, n)

    lead = w.shape[:-2]
    found = repeated_while(goes_on, sweep, [w, mixed, _filled(w, lead, 1.0), _filled(w, lead, 0.0)])
    return found[0], found[1]


# ---------------------------------------------------------------------------------------------------------------------
# Vectors


def _eps(x: Ref) -> float:
    return float(np.finfo(x.dtype.numpy).eps)


def _filled(x: Ref, shape: tuple[int, ...], value: float) -> Ref:
    return broadcast(Ref(x.builder, literal(value, x.dtype)), shape=shape, dims=())


def _strided(a: Ref, start: int, step: int) -> Ref:
    """As many elements of each square matrix as it has rows, that many places apart."""
    n, axis = a.shape[-1], a.ndim - 2
    flat = reshape(a, shape=(*a.shape[:-2], n * n))
    return slice_axis(flat, axis, start, start + step * (n - 1) + 1, step)


def _diagonal(a: Ref) -> Ref:
    n = a.shape[-1]
    return _strided(a, 0, n + 1) if n else reshape(a, shape=a.shape[:-1])


def _in_order(x: Ref, order: Ref) -> Ref:
    indices = reshape(order, shape=(*order.shape, 1))
    return gather(x, indices, axes=(x.ndim - 1,), batch=x.ndim - 1, mode="clip")


def _columns_in_order(x: Ref, order: Ref) -> Ref:
    indices = reshape(order, shape=(*order.shape, 1))
    return turned(gather(x, indices, axes=(x.ndim - 1,), batch=x.ndim - 2, mode="clip"))


def _signs(vectors: Ref) -> Ref:
    """As `graphad.primitives.reference.signs`."""
    turns = mul(convert(positions(vectors.builder, vectors.shape, vectors.ndim - 2), dtype=vectors.dtype), math.e)
    products = mul(vectors, add(sub(turns, floor(turns)), 1.0))
    return copysign(1.0, reduce_sum(products, axes=(vectors.ndim - 2,)))


def _is_finite(a: Ref) -> Ref:
    """Of each matrix."""
    return eq(reduce_sum(mul(a, 0.0), axes=(a.ndim - 2, a.ndim - 1)), 0.0)


def _or_nan(mask: Ref, x: Ref) -> Ref:
    """``x`` where the ``mask`` of its matrix says so, else nan."""
    return select(broadcast(mask, shape=x.shape, dims=tuple(range(mask.ndim))), x, float("nan"))
