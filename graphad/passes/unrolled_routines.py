"""Factorizations of small matrices, written out: every loop over rows and columns is unrolled, and each element is one
operation for the whole stack, so that matrices lie in lanes.

The results are those of the routines that they stand for, which `primitives.linalg` says.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphad.ir.graph import Atom
from graphad.ir.types import DType, literal
from graphad.passes.lane_arithmetic import Lanes
from graphad.primitives.comparison import and_, eq, gt
from graphad.primitives.transcendental import sqrt

Rows = list[list[Atom]]


def rows_of(atoms: Sequence[Atom], n: int) -> Rows:
    """Elements in row-major order as rows of ``n``."""
    return [list(atoms[k : k + n]) for k in range(0, len(atoms), n)] if n else []


def cholesky(x: Lanes, a: Rows, dtype: DType) -> Rows:
    """The lower factor; all nan below the diagonal and on it, where some pivot is not positive."""
    n = len(a)
    factor: Rows = [[literal(0, dtype)] * n for _ in range(n)]
    is_definite: Atom | None = None
    for j in range(n):
        pivot = x.sub(a[j][j], x.dot(factor[j][:j], factor[j][:j], dtype))
        positive = x.one(gt, pivot, literal(0, dtype))
        is_definite = positive if is_definite is None else x.one(and_, is_definite, positive)
        factor[j][j] = x.one(sqrt, pivot)
        by = x.reciprocal(factor[j][j], dtype)
        for i in range(j + 1, n):
            factor[i][j] = x.mul(x.sub(a[i][j], x.dot(factor[i][:j], factor[j][:j], dtype)), by)
    nan = literal(float("nan"), dtype)
    assert is_definite is not None, "there are rows"
    for i in range(n):
        by = x.reciprocal(factor[i][i], dtype)
        for j in range(i + 1):
            factor[i][j] = x.select(is_definite, factor[i][j], nan)
        x.reciprocals[factor[i][i]] = x.select(is_definite, by, nan)
    return factor


def triangular_solve(x: Lanes, a: Rows, b: Rows, dtype: DType, lower: bool, transposed: bool, unit: bool) -> Rows:
    """The columns with ``op(a) x == b``, by substitution."""
    n = len(a)
    at = (lambda i, j: a[j][i]) if transposed else (lambda i, j: a[i][j])
    found: Rows = [list(row) for row in b]
    order = range(n) if lower ^ transposed else range(n - 1, -1, -1)
    done: list[int] = []
    divisors = [None if unit else x.reciprocal(at(i, i), dtype) for i in range(n)]
    for i in order:
        by = divisors[i]
        for k in range(len(found[i])):
            products = x.dot([at(i, j) for j in done], [found[j][k] for j in done], dtype)
            rest = x.sub(b[i][k], products)
            found[i][k] = rest if by is None else x.mul(rest, by)
        done.append(i)
    return found


def lu(x: Lanes, a: Rows, dtype: DType, index: DType) -> tuple[Rows, list[Atom], list[Atom]]:
    """Both factors in one, the row that each row changes places with, and the order of rows that comes of it.

    The pivot is the first of the largest in its column. Rows change places by selects.
    """
    m, n = len(a), len(a[0]) if a else 0
    rows: Rows = [list(row) for row in a]
    order: list[Atom] = [literal(i, index) for i in range(m)]
    pivots: list[Atom] = []
    for k in range(min(m, n)):
        largest, pivot = x.magnitude(rows[k][k]), literal(k, index)
        for i in range(k + 1, m):
            size = x.magnitude(rows[i][k])
            is_larger = x.one(gt, size, largest)
            largest, pivot = x.select(is_larger, size, largest), x.select(is_larger, literal(i, index), pivot)
        pivots.append(pivot)
        for i in range(k + 1, m):
            swaps = x.one(eq, pivot, literal(i, index))
            pairs = [(x.select(swaps, q, p), x.select(swaps, p, q)) for p, q in zip(rows[k], rows[i], strict=True)]
            rows[k], rows[i] = [p for p, _ in pairs], [q for _, q in pairs]
            order[k], order[i] = x.select(swaps, order[i], order[k]), x.select(swaps, order[k], order[i])
        by = x.reciprocal(rows[k][k], dtype)
        by = x.select(x.one(eq, rows[k][k], literal(0, dtype)), literal(1, dtype), by)
        for i in range(k + 1, m):
            factor = rows[i][k] = x.mul(rows[i][k], by)
            for j in range(k + 1, n):
                rows[i][j] = x.sub(rows[i][j], x.mul(factor, rows[k][j]))
    return rows, pivots, order
