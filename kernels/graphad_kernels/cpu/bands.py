"""Matrices with few diagonals, by LAPACK: systems, and eigenvalues of symmetric ones. See `factorizations`."""

from __future__ import annotations

from typing import Any

from graphad_kernels.cpu.factorizations import NAN, _copy, _fill, _is_finite, _sign, _transpose
from graphad_kernels.cpu.lapack import NO, VALUES, YES, gbtrf, gbtrs, stevd


def banded_solve(
    ab: Any, b: Any, x: Any, band: Any, turned: Any, pivots: Any, info: Any,
    batch: int, n: int, m: int, low: int, high: int, transposed: int,
) -> None:  # fmt: skip
    """Systems of matrices of which row ``high + i - j`` of ``ab`` has the elements ``i, j``, or of their transposes.

    The band is turned into columns, each with room for ``low`` more elements before it, which pivoting fills.
    """
    width = low + high + 1
    room = low + width
    for k in range(batch):
        if n * m == 0:
            continue
        _fill(band, 0, n * room, 0.0)
        for r in range(width):
            for j in range(max(high - r, 0), min(n, n + high - r)):
                band[j * room + low + r] = ab[(k * width + r) * n + j]
        info[0] = 1
        if _is_finite(band, 0, n * room):
            gbtrf(n, n, low, high, band, room, pivots, info)
        if info[0] == 0:
            _transpose(b, k * n * m, n, m, turned, 0)
            gbtrs(YES if transposed else NO, n, low, high, m, band, room, pivots, turned, n, info)
            _transpose(turned, 0, m, n, x, k * n * m)
        else:
            _fill(x, k * n * m, n * m, NAN)


def eigh_tridiagonal(
    d: Any, e: Any, v: Any, w: Any, beside: Any, square: Any, work: Any, integers: Any, info: Any, batch: int, n: int
) -> None:
    """Eigenvectors, as columns, and eigenvalues in ascending order, of the diagonals ``d`` and ``e`` beside them."""
    for b in range(batch):
        start = b * n
        if n == 0:
            continue
        _eigenvalues(d, e, w, beside, square, work, integers, info, b, n, VALUES)
        if info[0] == 0:
            for k in range(n):
                sign = _sign(square, k * n, 1, n)
                for i in range(n):
                    v[(start + i) * n + k] = sign * square[k * n + i]
        else:
            _fill(v, start * n, n * n, NAN)


def eigvalsh_tridiagonal(
    d: Any, e: Any, w: Any, beside: Any, work: Any, integers: Any, info: Any, batch: int, n: int
) -> None:
    """The eigenvalues of `eigh_tridiagonal`."""
    for b in range(batch):
        if n:
            _eigenvalues(d, e, w, beside, work, work, integers, info, b, n, NO)


def _eigenvalues(
    d: Any, e: Any, w: Any, beside: Any, square: Any, work: Any, integers: Any, info: Any, b: int, n: int, what: int
) -> None:
    """Those of matrix ``b``, or nan; and if asked for the eigenvectors, one after the other, in ``square``."""
    _copy(d, b * n, w, b * n, n)
    _copy(e, b * (n - 1), beside, 0, n - 1)
    info[0] = 1
    if _is_finite(w, b * n, n) and (n == 1 or _is_finite(beside, 0, n - 1)):
        size, n_integers = (1 + 4 * n + n * n, 3 + 5 * n) if what == VALUES else (1, 1)
        stevd(what, n, (w, b * n), beside, square, n, work, size, integers, n_integers, info)
    if info[0] != 0:
        _fill(w, b * n, n, NAN)


#: What routines call, for compilers to know.
HELPERS = (_eigenvalues,)
