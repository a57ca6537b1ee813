"""Schur decompositions, and what is made of their quasi-triangular factors, one matrix after the other of a batch.

A quasi-triangular matrix is upper triangular but for blocks of two rows and columns on its diagonal, each of which has
two conjugate eigenvalues. Where they are, a routine is told: ``pairs[i]`` is not zero if a block begins in row ``i``.
Other elements below the diagonal are not read.
"""

from __future__ import annotations

import math
from typing import Any

from graphad_kernels.cpu.factorizations import BLOCK, NAN, _fill, _is_finite, _sign, _transpose
from graphad_kernels.cpu.lapack import NO, VALUES, YES, gees, trsyl


def schur(
    a: Any,
    z: Any,
    t: Any,
    pairs: Any,
    turned: Any,
    vectors: Any,
    real: Any,
    imaginary: Any,
    work: Any,
    info: Any,
    batch: int,
    n: int,
) -> None:
    """``a = z t z^T`` with orthogonal ``z`` and a quasi-triangular ``t`` in LAPACK's standard form; else nan.

    In a block, the element above the diagonal is the greater one. The columns of ``z`` have signs as those of `eigh`.
    """
    for b in range(batch):
        start = b * n * n
        if n == 0:
            continue
        _transpose(a, start, n, n, turned, 0)
        info[0] = 1
        if _is_finite(turned, 0, n * n):
            size = schur_workspace(n)
            # No eigenvalues are selected: the places of the function and of its results are not looked at.
            gees(
                VALUES, NO, info, n, turned, n, (info, 1), real, imaginary, vectors, n, work, size, (info, 1), (info, 0)
            )
        if info[0] == 0:
            _choose_blocks(turned, vectors, n)
            for j in range(n):
                real[j] = _sign(vectors, j * n, 1, n)
            for i in range(n):
                for j in range(n):
                    z[start + i * n + j] = real[j] * vectors[j * n + i]
                    t[start + i * n + j] = real[i] * real[j] * turned[j * n + i]
            for i in range(2, n):
                _fill(t, start + i * n, i - 1, 0.0)
        else:
            _fill(z, start, n * n, NAN)
            _fill(t, start, n * n, NAN)
        for i in range(n):
            in_block = i + 1 < n and info[0] == 0 and t[start + (i + 1) * n + i] != 0.0
            pairs[b * n + i] = 1 if in_block else 0


def _choose_blocks(t: Any, z: Any, n: int) -> None:
    """Exchange vectors of blocks of which the element above the diagonal is the lesser one; both by columns."""
    for i in range(n - 1):
        if abs(t[(i + 1) * n + i]) < abs(t[i * n + i + 1]):
            for k in range(n):
                mine, other = z[i * n + k], z[(i + 1) * n + k]
                z[i * n + k], z[(i + 1) * n + k] = other, mine
                mine, other = t[i * n + k], t[(i + 1) * n + k]
                t[i * n + k], t[(i + 1) * n + k] = other, mine
            for k in range(n):
                mine, other = t[k * n + i], t[k * n + i + 1]
                t[k * n + i], t[k * n + i + 1] = other, mine


def schur_workspace(n: int) -> int:
    """What `gees` asks for: its least, and for blocks of reflectors where it takes such."""
    return (3 + BLOCK) * n + (BLOCK * (BLOCK + 1) if n > BLOCK else 0)


# ---------------------------------------------------------------------------------------------------------------------
# Small systems


def _rows_of(pairs: Any, start: int, i: int, n: int) -> int:
    """How many rows the diagonal block has that begins in row ``i``."""
    return 2 if i + 1 < n and pairs[start + i] != 0 else 1


def _rows_before(pairs: Any, start: int, end: int, first: int) -> int:
    """How many rows the diagonal block has that ends before row ``end``, and begins in row ``first`` or behind."""
    return 2 if end - 2 >= first and pairs[start + end - 2] != 0 else 1


def _set_system(
    p: Any, at: int, rows: int, q: Any, to: int, columns: int, n: int, minus: int, across: int, system: Any
) -> None:
    """The matrix of ``p x + x q``, or of ``p x - x q`` if ``minus``, by rows of ``x``; ``across`` transposes both."""
    count = rows * columns
    for r in range(count):
        _fill(system, r * (count + 1), count, 0.0)
    for i in range(rows):
        for j in range(columns):
            row = (i * columns + j) * (count + 1)
            for k in range(rows):
                system[row + k * columns + j] += p[at + k * n + i] if across else p[at + i * n + k]
            for k in range(columns):
                element = q[to + j * n + k] if across else q[to + k * n + j]
                system[row + i * columns + k] += -element if minus else element


def _solve_system(system: Any, count: int) -> None:
    """Elimination with partial pivoting; the right side, in the last column, becomes the solution."""
    width = count + 1
    for k in range(count):
        best = k
        for i in range(k + 1, count):
            if abs(system[i * width + k]) > abs(system[best * width + k]):
                best = i
        for j in range(k, width):
            mine, other = system[k * width + j], system[best * width + j]
            system[k * width + j], system[best * width + j] = other, mine
        for i in range(k + 1, count):
            factor = system[i * width + k] / system[k * width + k]
            for j in range(k + 1, width):
                system[i * width + j] -= factor * system[k * width + j]
    for k in range(count - 1, -1, -1):
        total = system[k * width + count]
        for j in range(k + 1, count):
            total -= system[k * width + j] * system[j * width + count]
        system[k * width + count] = total / system[k * width + k]


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives of Schur decompositions


def schur_rate(t: Any, pairs: Any, m: Any, x: Any, system: Any, batch: int, n: int, across: int) -> None:
    """The strict lower triangle of the ``w = -w^T`` with which ``m + t w - w t`` has the form of ``t``.

    That is: zeros where ``t`` has them below the diagonal, and in a block of two equal elements on the diagonal.
    ``across`` is the transpose of this linear map of ``m``.
    """
    for b in range(batch):
        _fill(x, b * n * n, n * n, 0.0)
        if across:
            _rate_across(t, pairs, m, x, system, b * n * n, b * n, n)
        else:
            _rate_below(t, pairs, m, x, system, b * n * n, b * n, n)
            _rate_in_blocks(t, pairs, m, x, b * n * n, b * n, n)


def _rate_below(t: Any, pairs: Any, m: Any, x: Any, system: Any, at: int, start: int, n: int) -> None:
    """Below the diagonal blocks: column by column, each from the last row up."""
    j = 0
    while j < n:
        columns = _rows_of(pairs, start, j, n)
        end = n
        while end > j + columns:
            rows = _rows_before(pairs, start, end, j + columns)
            i, width = end - rows, rows * columns + 1
            _set_system(t, at + i * (n + 1), rows, t, at + j * (n + 1), columns, n, 1, 0, system)
            for r in range(rows):
                for c in range(columns):
                    total = -m[at + (i + r) * n + j + c]
                    for k in range(end, n):
                        total -= t[at + (i + r) * n + k] * x[at + k * n + j + c]
                    for k in range(j):
                        total += x[at + (i + r) * n + k] * t[at + k * n + j + c]
                    system[(r * columns + c) * width + width - 1] = total
            _solve_system(system, rows * columns)
            for r in range(rows):
                for c in range(columns):
                    x[at + (i + r) * n + j + c] = system[(r * columns + c) * width + width - 1]
            end = i
        j += columns


def _rate_in_blocks(t: Any, pairs: Any, m: Any, x: Any, at: int, start: int, n: int) -> None:
    """In diagonal blocks: a rotation that keeps the elements on the diagonal equal."""
    p = 0
    while p < n:
        rows = _rows_of(pairs, start, p, n)
        if rows == 2:
            first, second = at + p * n, at + (p + 1) * n
            total = m[second + p + 1] - m[first + p]
            for k in range(p + 2, n):
                total += t[second + k] * x[at + k * n + p + 1] - t[first + k] * x[at + k * n + p]
            for k in range(p):
                total += x[first + k] * t[at + k * n + p] - x[second + k] * t[at + k * n + p + 1]
            both = t[first + p + 1] + t[second + p]
            x[second + p] = total / (both + both)
        p += rows


def _rate_across(t: Any, pairs: Any, m: Any, x: Any, system: Any, at: int, start: int, n: int) -> None:
    p = 0
    while p < n:
        rows = _rows_of(pairs, start, p, n)
        if rows == 2:
            first, second = at + p * n, at + (p + 1) * n
            both = t[first + p + 1] + t[second + p]
            x[first + p] = -m[second + p] / (both + both)
            x[second + p + 1] = m[second + p] / (both + both)
        p += rows
    i = 0
    while i < n:
        rows = _rows_of(pairs, start, i, n)
        end = i
        while end > 0:
            columns = _rows_before(pairs, start, end, 0)
            j, width = end - columns, rows * columns + 1
            _set_system(t, at + i * (n + 1), rows, t, at + j * (n + 1), columns, n, 1, 1, system)
            for r in range(rows):
                for c in range(columns):
                    total = -m[at + (i + r) * n + j + c]
                    for k in range(j, i):
                        total -= t[at + k * n + i + r] * x[at + k * n + j + c]
                    for k in range(end, i + rows):
                        total += x[at + (i + r) * n + k] * t[at + (j + c) * n + k]
                    system[(r * columns + c) * width + width - 1] = total
            _solve_system(system, rows * columns)
            for r in range(rows):
                for c in range(columns):
                    x[at + (i + r) * n + j + c] = system[(r * columns + c) * width + width - 1]
            end = j
        i += rows


# ---------------------------------------------------------------------------------------------------------------------
# Equations with quasi-triangular matrices


def _by_columns(t: Any, start: int, pairs: Any, first: int, n: int, x: Any) -> None:
    """What is read of a quasi-triangular matrix, as LAPACK has it."""
    for i in range(n):
        for j in range(n):
            is_read = i <= j or (i == j + 1 and _rows_before(pairs, first, i + 1, 0) == 2)
            x[j * n + i] = t[start + i * n + j] if is_read else 0.0


def quasi_sylvester(
    p: Any,
    p_pairs: Any,
    q: Any,
    q_pairs: Any,
    c: Any,
    x: Any,
    left: Any,
    right: Any,
    turned: Any,
    scale: Any,
    info: Any,
    batch: int,
    m: int,
    n: int,
    across: int,
) -> None:
    """``p x + x q = c`` with quasi-triangular ``p`` and ``q``, both transposed if ``across``.

    nan where an eigenvalue of ``p`` is, up to rounding, one of ``-q``.
    """
    operation = YES if across else NO
    for b in range(batch):
        at = b * m * n
        if m * n == 0:
            continue
        _by_columns(p, b * m * m, p_pairs, b * m, m, left)
        _by_columns(q, b * n * n, q_pairs, b * n, n, right)
        _transpose(c, at, m, n, turned, 0)
        info[0] = 1
        if _is_finite(left, 0, m * m) and _is_finite(right, 0, n * n) and _is_finite(turned, 0, m * n):
            trsyl(operation, operation, 1, m, n, left, m, right, n, turned, m, scale, info)
        if info[0] == 0:
            for i in range(m):
                for j in range(n):
                    x[at + i * n + j] = turned[j * m + i] / scale[0]
        else:
            _fill(x, at, m * n, NAN)


def quasi_sqrt(t: Any, pairs: Any, r: Any, system: Any, batch: int, n: int) -> None:
    """The principal square root of quasi-triangular matrices, nan if an eigenvalue is negative.

    A. Bjorck, S. Hammarling, A Schur method for the square root of a matrix, 1983; N. J. Higham, Computing real square
    roots of a real matrix, 1987.
    """
    for b in range(batch):
        at, start = b * n * n, b * n
        _fill(r, at, n * n, 0.0)
        if not _root_of_blocks(t, pairs, r, at, start, n):
            _fill(r, at, n * n, NAN)
        j = 0
        while j < n:
            columns = _rows_of(pairs, start, j, n)
            end = j
            while end > 0:
                rows = _rows_before(pairs, start, end, 0)
                i, width = end - rows, rows * columns + 1
                _set_system(r, at + i * (n + 1), rows, r, at + j * (n + 1), columns, n, 0, 0, system)
                for k in range(rows):
                    for c in range(columns):
                        total = t[at + (i + k) * n + j + c]
                        for e in range(end, j):
                            total -= r[at + (i + k) * n + e] * r[at + e * n + j + c]
                        system[(k * columns + c) * width + width - 1] = total
                _solve_system(system, rows * columns)
                for k in range(rows):
                    for c in range(columns):
                        r[at + (i + k) * n + j + c] = system[(k * columns + c) * width + width - 1]
                end = i
            j += columns


def _root_of_blocks(t: Any, pairs: Any, r: Any, at: int, start: int, n: int) -> bool:
    """The roots of the blocks on the diagonal, if there are any."""
    found = True
    i = 0
    while i < n:
        rows = _rows_of(pairs, start, i, n)
        first, second = at + i * n + i, at + (i + 1) * n + i
        if rows == 1:
            found = found and t[first] >= 0.0
            r[first] = math.sqrt(t[first]) if t[first] >= 0.0 else NAN
        else:
            # With the eigenvalues mean +- i turn, the root has real parts alpha: alpha + (block - mean) / (2 alpha).
            mean = (t[first] + t[second + 1]) / 2
            apart = (t[first] - t[second + 1]) / 2
            turn = math.sqrt(max(-(apart * apart + t[first + 1] * t[second]), 0.0))
            size = math.hypot(mean, turn)
            real = math.sqrt((size + abs(mean)) / 2)
            alpha = real if mean >= 0.0 or real == 0.0 else turn / (real + real)
            twice = alpha + alpha
            if twice > 0.0:
                r[first], r[second + 1] = alpha + apart / twice, alpha - apart / twice
                r[first + 1], r[second] = t[first + 1] / twice, t[second] / twice
            else:
                found = False
        i += rows
    return found


#: What routines call, for compilers to know.
HELPERS = (
    schur_workspace,
    _choose_blocks,
    _rows_of,
    _rows_before,
    _set_system,
    _solve_system,
    _rate_below,
    _rate_in_blocks,
    _rate_across,
    _by_columns,
    _root_of_blocks,
)
