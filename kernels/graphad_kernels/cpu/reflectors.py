"""Products of Householder reflectors, Hessenberg forms made by such, and the derivatives of these, row-major.

Reflector ``k`` is ``1 - taus[k] v v^T``, where ``v`` has a one in row ``k``, zeros before, and column ``k`` of a matrix
behind.
"""

from __future__ import annotations

from typing import Any

from graphad_kernels.cpu.factorizations import BLOCK, _copy, _fill, _transpose
from graphad_kernels.cpu.lapack import gehrd, orgqr


def householder_product(
    a: Any, taus: Any, q: Any, turned: Any, scales: Any, work: Any, info: Any, batch: int, m: int, n: int, k: int
) -> None:
    """The first ``n`` columns of the product of ``k`` reflectors in the strict lower triangle of ``a``."""
    for b in range(batch):
        if n == 0:
            continue
        _transpose(a, b * m * n, m, n, turned, 0)
        _copy(taus, b * k, scales, 0, k)
        orgqr(m, n, k, turned, m, scales, work, BLOCK * n, info)
        _transpose(turned, 0, n, m, q, b * m * n)


def hessenberg_reflectors(
    a: Any, packed: Any, taus: Any, turned: Any, work: Any, info: Any, batch: int, n: int
) -> None:
    """``a = q h q^T``, where ``q`` is the product of the reflectors below ``h``, from the second row on."""
    for b in range(batch):
        if n == 0:
            continue
        _transpose(a, b * n * n, n, n, turned, 0)
        if n > 1:
            gehrd(n, 1, n, turned, n, (taus, b * (n - 1)), work, hessenberg_workspace(n), info)
        _transpose(turned, 0, n, n, packed, b * n * n)


def hessenberg(
    a: Any, q: Any, h: Any, turned: Any, square: Any, taus: Any, work: Any, info: Any, batch: int, n: int
) -> None:
    """``a = q h q^T``, with zeros below the subdiagonal of ``h``, and the first column of the identity in ``q``."""
    inner = n - 1
    for b in range(batch):
        at = b * n * n
        if n == 0:
            continue
        _transpose(a, at, n, n, turned, 0)
        _fill(q, at, n * n, 0.0)
        q[at] = 1.0
        if inner:
            gehrd(n, 1, n, turned, n, taus, work, hessenberg_workspace(n), info)
            for j in range(inner):
                _copy(turned, j * n + 1, square, j * inner, inner)
            orgqr(inner, inner, inner, square, inner, taus, work, hessenberg_workspace(n), info)
        _upper(turned, h, at, n)
        for i in range(1, n):
            for j in range(1, n):
                q[at + i * n + j] = square[(j - 1) * inner + i - 1]


def hessenberg_form(a: Any, h: Any, turned: Any, taus: Any, work: Any, info: Any, batch: int, n: int) -> None:
    """The ``h`` of `hessenberg`."""
    for b in range(batch):
        if n == 0:
            continue
        _transpose(a, b * n * n, n, n, turned, 0)
        if n > 1:
            gehrd(n, 1, n, turned, n, taus, work, hessenberg_workspace(n), info)
        _upper(turned, h, b * n * n, n)


def _upper(turned: Any, h: Any, at: int, n: int) -> None:
    """The transpose, with zeros below the subdiagonal."""
    for i in range(n):
        for j in range(n):
            h[at + i * n + j] = turned[j * n + i] if i <= j + 1 else 0.0


def hessenberg_workspace(n: int) -> int:
    """What `gehrd` asks for, with blocks of reflectors where it takes such."""
    return BLOCK * n + (BLOCK * (BLOCK + 1) if n > BLOCK else 0)


def hessenberg_rate(h: Any, m: Any, x: Any, batch: int, n: int, across: int) -> None:
    """The strict lower triangle of the ``w = -w^T`` with which ``m + h w - w h`` has the form of ``h``.

    The first column of ``w`` is zero. ``across`` is the transpose of this linear map of ``m``.
    """
    for b in range(batch):
        _fill(x, b * n * n, n * n, 0.0)
        if across:
            _rate_across(h, m, x, b * n * n, n)
        else:
            _rate(h, m, x, b * n * n, n)


def _rate(h: Any, m: Any, x: Any, at: int, n: int) -> None:
    """Column by column, from the one before."""
    for j in range(n - 2):
        for i in range(j + 2, n):
            total = m[at + i * n + j]
            for k in range(i - 1, n):
                total += h[at + i * n + k] * x[at + k * n + j]
            for k in range(1, j + 1):
                total -= x[at + i * n + k] * h[at + k * n + j]
            x[at + i * n + j + 1] = total / h[at + (j + 1) * n + j]


def _rate_across(h: Any, m: Any, x: Any, at: int, n: int) -> None:
    for j in range(n - 2, 0, -1):
        for i in range(j + 1, n):
            total = m[at + i * n + j]
            for k in range(j + 2, min(i + 2, n)):
                total += h[at + k * n + i] * x[at + k * n + j]
            for k in range(j, i - 1):
                total -= h[at + j * n + k] * x[at + i * n + k]
            x[at + i * n + j - 1] = total / h[at + j * n + j - 1]


#: What routines call, for compilers to know.
HELPERS = (hessenberg_workspace, _upper, _rate, _rate_across)
