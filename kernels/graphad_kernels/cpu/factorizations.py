"""Factorizations of matrices by LAPACK, one after the other of a batch, row-major.

LAPACK reads a row-major matrix as its transpose. Where the factorization of the transpose is that of the matrix in
other words, nothing is copied for that: a Cholesky factor is asked for in the other triangle, a triangular system from
the other side, and singular vectors in each other's place.

A matrix that cannot be factorized gives nan, in its own results alone. Routines that do not end, or write beside their
arrays, on nan and infinity are never handed any.
"""

from __future__ import annotations

import math
from typing import Any

from graphad_kernels.cpu.lapack import (
    ALL,
    LEFT,
    LOWER,
    NO,
    RIGHT,
    SOME,
    UNIT,
    UPPER,
    VALUES,
    YES,
    geqrf,
    gesdd,
    getrf,
    gtsv,
    orgqr,
    potrf,
    syevd,
    trsm,
    trsv,
)  # fmt: skip

NAN = math.nan
#: Rows and columns that are transposed at once.
TILE = 16
#: Of workspaces: the columns that LAPACK's blocked routines take at once, at most.
BLOCK = 64


def _fill(x: Any, start: int, count: int, value: float) -> None:
    for k in range(start, start + count):
        x[k] = value


def _copy(x: Any, start: int, y: Any, at: int, count: int) -> None:
    for k in range(count):
        y[at + k] = x[start + k]


def _transpose(x: Any, start: int, rows: int, columns: int, y: Any, at: int) -> None:
    """Of a row-major matrix, into ``y``: tile by tile, each of which is in the cache."""
    for top in range(0, rows, TILE):
        for left in range(0, columns, TILE):
            for i in range(top, min(top + TILE, rows)):
                for j in range(left, min(left + TILE, columns)):
                    y[at + j * rows + i] = x[start + i * columns + j]


def _is_finite(x: Any, start: int, count: int) -> bool:
    total = x[start] * 0.0
    for k in range(start + 1, start + count):
        total += x[k] * 0.0
    return total == 0.0


def _sign(x: Any, start: int, step: int, n: int) -> float:
    """-1 for a vector that is to be turned round, by its product with one that is orthogonal to none that is usual.

    Its ratios, multiples of e, are transcendental: those of eigenvectors of rational matrices are algebraic.
    """
    total = x[start] * 0.0
    for i in range(n):
        total += x[start + i * step] * weight(i)
    return -1.0 if total < 0.0 else 1.0


def weight(i: int) -> float:
    """Element ``i`` of that vector, which tells the signs of eigenvectors and singular vectors."""
    return 1.0 + (i * math.e) % 1.0


def cholesky(a: Any, factor: Any, info: Any, batch: int, n: int, upper: int) -> None:
    """A triangular factor of each matrix, of which the same triangle is read; nan if it is not positive definite.

    The lower one, or the ``upper`` one, its transpose.
    """
    for b in range(batch):
        start = b * n * n
        for i in range(n):
            row = start + i * n
            if upper:
                _fill(factor, row, i, 0.0)
                _copy(a, row + i, factor, row + i, n - i)
            else:
                _copy(a, row, factor, row, i + 1)
                _fill(factor, row + i + 1, n - i - 1, 0.0)
        if n:
            potrf(LOWER if upper else UPPER, n, (factor, start), n, info)
            last = factor[start + n * n - 1]
            if info[0] != 0 or last != last:
                for i in range(n):
                    first, count = (i, n - i) if upper else (0, i + 1)
                    _fill(factor, start + i * n + first, count, NAN)


def triangular_solve(
    a: Any, b: Any, x: Any, batch: int, n: int, m: int, left: int, lower: int, transposed: int, unit: int
) -> None:
    """``op(a) x = b``, of ``m`` columns, or ``x op(a) = b``, of ``m`` rows."""
    for k in range(batch):
        start, at = k * n * n, k * n * m
        _copy(b, at, x, at, n * m)
        triangle, diagonal = UPPER if lower else LOWER, UNIT if unit else NO
        if n * m == 0:
            continue
        if m == 1:
            operation = NO if bool(transposed) == bool(left) else YES
            trsv(triangle, operation, diagonal, n, (a, start), n, (x, at), 1)
        elif left:
            trsm(RIGHT, triangle, YES if transposed else NO, diagonal, m, n, 1.0, (a, start), n, (x, at), m)
        else:
            trsm(LEFT, triangle, YES if transposed else NO, diagonal, n, m, 1.0, (a, start), n, (x, at), n)


def lu(a: Any, factors: Any, pivots: Any, order: Any, work: Any, info: Any, batch: int, m: int, n: int) -> None:
    """``a[order] = l u``, both in ``factors``; row ``k`` has changed places with row ``pivots[k]``, one by one."""
    least = min(m, n)
    for b in range(batch):
        start, first = b * m * n, b * least
        _transpose(a, start, m, n, work, 0)
        if least:
            getrf(m, n, work, m, (pivots, first), info)
        _transpose(work, 0, n, m, factors, start)
        _to_order(pivots, first, least, order, b * m, m)


def lu_by_columns(
    a: Any, factors: Any, pivots: Any, order: Any, places: Any, info: Any, batch: int, m: int, n: int
) -> None:
    """``a[:, order] = l u``, where ``u`` has the ones; column ``k`` has changed places with column ``pivots[k]``.

    It is what LAPACK makes of a row-major matrix. Column ``k`` has gone to ``places[k]``.
    """
    least = min(m, n)
    for b in range(batch):
        start, first = b * m * n, b * least
        _copy(a, start, factors, start, m * n)
        if least:
            getrf(n, m, (factors, start), n, (pivots, first), info)
        _to_order(pivots, first, least, order, b * n, n)
        for i in range(n):
            places[b * n + order[b * n + i]] = i


def _to_order(pivots: Any, first: int, count: int, order: Any, start: int, n: int) -> None:
    """The order of ``n`` rows that changes of places leave; these are counted from 0 from here on."""
    for i in range(n):
        order[start + i] = i
    for k in range(count):
        pivot = pivots[first + k] - 1
        pivots[first + k] = pivot
        i, j = order[start + k], order[start + pivot]
        order[start + k], order[start + pivot] = j, i


def qr(
    a: Any,
    q: Any,
    r: Any,
    work: Any,
    square: Any,
    scales: Any,
    more: Any,
    info: Any,
    batch: int,
    m: int,
    n: int,
    k: int,
) -> None:
    """``a = q r`` with ``k`` columns of ``q``: as many as the lesser of ``m`` and ``n``, or ``m``."""
    least = min(m, n)
    for b in range(batch):
        _transpose(a, b * m * n, m, n, work, 0)
        if least:
            geqrf(m, n, work, m, scales, more, BLOCK * max(m, n), info)
        for i in range(k):
            for j in range(n):
                r[(b * k + i) * n + j] = work[j * m + i] if i <= j else 0.0
        _copy(work, 0, square, 0, m * least)
        _fill(square, m * least, m * (k - least), 0.0)
        if least:
            orgqr(m, k, least, square, m, scales, more, BLOCK * max(m, n), info)
        else:
            for i in range(k):
                square[i * m + i] = 1.0
        _transpose(square, 0, k, m, q, b * m * k)


def eigh(a: Any, v: Any, w: Any, square: Any, work: Any, integers: Any, info: Any, batch: int, n: int) -> None:
    """Eigenvectors, as columns, and eigenvalues in ascending order; the lower triangle is read."""
    for b in range(batch):
        start = b * n * n
        if n == 0:
            continue
        for i in range(n):
            for j in range(n):
                square[i * n + j] = a[start + max(i, j) * n + min(i, j)]
        info[0] = 1
        if _is_finite(square, 0, n * n):
            syevd(VALUES, LOWER, n, square, n, (w, b * n), work, 1 + 6 * n + 2 * n * n, integers, 3 + 5 * n, info)
        if info[0] == 0:
            for k in range(n):
                sign = _sign(square, k * n, 1, n)
                for i in range(n):
                    v[start + i * n + k] = sign * square[k * n + i]
        else:
            _fill(v, start, n * n, NAN)
            _fill(w, b * n, n, NAN)


def svd(
    a: Any,
    u: Any,
    s: Any,
    vt: Any,
    copy: Any,
    work: Any,
    integers: Any,
    info: Any,
    batch: int,
    m: int,
    n: int,
    full: int,
) -> None:
    """``a = u diag(s) vt``, singular values in descending order; square ``u`` and ``vt`` if ``full``."""
    least = min(m, n)
    rows, columns = (m, n) if full else (least, least)
    for b in range(batch):
        at_u, at_v = b * m * rows, b * columns * n
        if least == 0:
            for i in range(m * rows):
                u[at_u + i] = 1.0 if i % (m + 1) == 0 else 0.0
            for i in range(columns * n):
                vt[at_v + i] = 1.0 if i % (n + 1) == 0 else 0.0
            continue
        _copy(a, b * m * n, copy, 0, m * n)
        info[0] = 1
        if _is_finite(copy, 0, m * n):
            letter = ALL if full else SOME
            size = svd_workspace(m, n)
            gesdd(letter, n, m, copy, n, (s, b * least), (vt, at_v), n, (u, at_u), rows, work, size, integers, info)
        if info[0] == 0:
            for k in range(rows):
                sign = _sign(u, at_u + k, rows, m)
                for i in range(m):
                    u[at_u + i * rows + k] *= sign
                if k < columns:
                    for j in range(n):
                        vt[at_v + k * n + j] *= sign
            for k in range(rows, columns):
                sign = _sign(vt, at_v + k * n, 1, n)
                for j in range(n):
                    vt[at_v + k * n + j] *= sign
        else:
            _fill(u, at_u, m * rows, NAN)
            _fill(s, b * least, least, NAN)
            _fill(vt, at_v, columns * n, NAN)


def svd_workspace(m: int, n: int) -> int:
    """What `gesdd` asks for, with its largest block."""
    least, most = min(m, n), max(m, n)
    return 4 * least * least + 7 * least + BLOCK * (3 * least + most)


def tridiagonal_solve(
    low: Any, diagonal: Any, high: Any, b: Any, x: Any, copies: Any, turned: Any, info: Any, batch: int, n: int, m: int
) -> None:
    """Systems of tridiagonal matrices; the first of ``low`` and the last of ``high`` are not used."""
    for k in range(batch):
        if n * m == 0:
            continue
        _copy(low, k * n + 1, copies, 0, n - 1)
        _copy(diagonal, k * n, copies, n, n)
        _copy(high, k * n, copies, 2 * n, n - 1)
        _transpose(b, k * n * m, n, m, turned, 0)
        gtsv(n, m, (copies, 0), (copies, n), (copies, 2 * n), turned, n, info)
        if info[0] == 0:
            _transpose(turned, 0, m, n, x, k * n * m)
        else:
            _fill(x, k * n * m, n * m, NAN)


#: What routines call, for compilers to know.
HELPERS = (_sign, weight, _fill, _copy, _transpose, _to_order, _is_finite, svd_workspace)
