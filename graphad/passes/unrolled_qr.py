"""Householder's QR of small matrices, written out as in `unrolled_routines`; see there."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

from graphad.ir.graph import Atom
from graphad.ir.types import DType, literal
from graphad.passes.lane_arithmetic import Lanes
from graphad.passes.unrolled_routines import Rows
from graphad.primitives.arithmetic import copysign, div, maximum, neg
from graphad.primitives.comparison import eq
from graphad.primitives.transcendental import sqrt


class Reflection(NamedTuple):
    """``1 - tau v v^T``, where ``v`` is 1 in row ``first`` and ``below`` in those behind."""

    first: int
    tau: Atom
    below: list[Atom]


def qr(x: Lanes, a: Rows, dtype: DType, k: int) -> tuple[Rows, Rows]:
    """``k`` orthonormal columns and the upper triangle, with LAPACK's signs."""
    m, n = len(a), len(a[0])
    rows: Rows = [list(row) for row in a]
    reflections: list[Reflection] = []
    for j in range(min(m - 1, n)):
        reflection, rows[j][j] = _reflection(x, j, [row[j] for row in rows[j:]], dtype)
        reflections.append(reflection)
        _reflect(x, reflection, rows, range(j + 1, n), dtype)
    q: Rows = [[literal(int(i == j), dtype) for j in range(k)] for i in range(m)]
    for reflection in reversed(reflections):
        _reflect(x, reflection, q, range(reflection.first, k), dtype)
    zero = literal(0, dtype)
    return q, [[rows[i][j] if i <= j else zero for j in range(n)] for i in range(k)]


def _reflection(x: Lanes, first: int, column: list[Atom], dtype: DType) -> tuple[Reflection, Atom]:
    """What makes zeros below the first element of a column, and what becomes of that; nothing, if there are zeros.

    The column is divided by its largest magnitude first: so squares neither overflow nor vanish.
    """
    zero, one = literal(0, dtype), literal(1, dtype)
    alpha, below = column[0], column[1:]
    largest = reduce(lambda p, q: x.one(maximum, p, q), map(x.magnitude, below))
    done = x.one(eq, largest, zero)
    largest = x.one(maximum, largest, x.magnitude(alpha))
    scale = x.select(x.one(eq, largest, zero), one, largest)
    by = x.reciprocal(scale, dtype)
    scaled = [x.mul(v, by) for v in column]
    norm = x.mul(scale, x.one(sqrt, x.dot(scaled, scaled, dtype)))
    beta = x.one(neg, x.one(copysign, norm, alpha))
    tau = x.select(done, zero, x.one(div, x.sub(beta, alpha), x.select(done, one, beta)))
    inverse = x.select(done, zero, x.one(div, one, x.select(done, one, x.sub(alpha, beta))))
    return Reflection(first, tau, [x.mul(v, inverse) for v in below]), x.select(done, alpha, beta)


def _reflect(x: Lanes, reflection: Reflection, rows: Rows, columns: range, dtype: DType) -> None:
    """Apply a reflection to some columns, in place."""
    first, tau, below = reflection
    behind = range(first + 1, len(rows))
    for j in columns:
        inner = x.add(rows[first][j], x.dot(below, [rows[i][j] for i in behind], dtype))
        part = x.mul(tau, inner)
        rows[first][j] = x.sub(rows[first][j], part)
        for i, v in zip(behind, below, strict=True):
            rows[i][j] = x.sub(rows[i][j], x.mul(part, v))
