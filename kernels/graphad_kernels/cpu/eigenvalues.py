"""Eigenvalues of matrices that are not symmetric, and values without their vectors, by LAPACK. See `factorizations`."""

from __future__ import annotations

from typing import Any

from graphad_kernels.cpu.factorizations import BLOCK, NAN, _copy, _fill, _is_finite, _sign
from graphad_kernels.cpu.lapack import LOWER, NO, VALUES, geev, gesdd, syevd


def eigvalsh(a: Any, w: Any, square: Any, work: Any, integers: Any, info: Any, batch: int, n: int) -> None:
    """The eigenvalues of `factorizations.eigh`."""
    for b in range(batch):
        start = b * n * n
        if n == 0:
            continue
        for i in range(n):
            for j in range(n):
                square[i * n + j] = a[start + max(i, j) * n + min(i, j)]
        info[0] = 1
        if _is_finite(square, 0, n * n):
            syevd(NO, LOWER, n, square, n, (w, b * n), work, eigvalsh_workspace(n), integers, 1, info)
        if info[0] != 0:
            _fill(w, b * n, n, NAN)


def eigvalsh_workspace(n: int) -> int:
    """What `syevd` asks for without vectors, with its largest block."""
    return 1 + (2 + BLOCK) * n


def svdvals(
    a: Any, s: Any, copy: Any, work: Any, integers: Any, info: Any, batch: int, m: int, n: int, _full: int
) -> None:
    """The singular values of `factorizations.svd`."""
    least = min(m, n)
    for b in range(batch):
        if least == 0:
            continue
        _copy(a, b * m * n, copy, 0, m * n)
        info[0] = 1
        if _is_finite(copy, 0, m * n):
            size = svdvals_workspace(m, n)
            gesdd(NO, n, m, copy, n, (s, b * least), copy, 1, copy, 1, work, size, integers, info)
        if info[0] != 0:
            _fill(s, b * least, least, NAN)


def svdvals_workspace(m: int, n: int) -> int:
    """What `gesdd` asks for without vectors, with its largest block."""
    least, most = min(m, n), max(m, n)
    return 11 * least + BLOCK * (least + most)


def eig(
    a: Any,
    wr: Any,
    wi: Any,
    v: Any,
    copy: Any,
    vectors: Any,
    work: Any,
    info: Any,
    batch: int,
    n: int,
) -> None:
    """Real and imaginary parts of eigenvalues, and eigenvectors of norm 1 as columns; else nan.

    Conjugate eigenvalues are neighbours, the one with the positive imaginary part first, and the columns at their
    places are the real and the imaginary part of its vector, whose largest element is real and positive. Other vectors
    have signs as those of `eigh`.
    """
    for b in range(batch):
        start, first = b * n * n, b * n
        if n == 0:
            continue
        _copy(a, start, copy, 0, n * n)
        info[0] = 1
        if _is_finite(copy, 0, n * n):
            # LAPACK reads the transpose, whose left eigenvectors are the conjugates of the right ones of the matrix.
            size = eig_workspace(n)
            geev(VALUES, NO, n, copy, n, (wr, first), (wi, first), vectors, n, vectors, 1, work, size, info)
        if info[0] == 0:
            for j in range(n):
                if wi[first + j] == 0.0:
                    _unpack(vectors, j, _sign(vectors, j * n, 1, n), v, start, n)
                elif wi[first + j] > 0.0:
                    sign = _sign_of_largest(vectors, j, n)
                    _unpack(vectors, j, sign, v, start, n)
                    _unpack(vectors, j + 1, -sign, v, start, n)
        else:
            _fill(wr, first, n, NAN)
            _fill(wi, first, n, NAN)
            _fill(v, start, n * n, NAN)


def _sign_of_largest(vectors: Any, j: int, n: int) -> float:
    """The sign of the largest of those elements that are real; LAPACK has made the largest of all one of them."""
    found = 0.0
    for i in range(n):
        x = vectors[j * n + i]
        if vectors[(j + 1) * n + i] == 0.0 and abs(x) > abs(found):
            found = x
    return -1.0 if found < 0.0 else 1.0


def _unpack(vectors: Any, j: int, sign: float, v: Any, start: int, n: int) -> None:
    """Row ``j`` as a column."""
    for i in range(n):
        v[start + i * n + j] = sign * vectors[j * n + i]


def eig_workspace(n: int) -> int:
    """What `geev` asks for, with its largest block, and for the reflectors of a block."""
    return (2 + 2 * BLOCK) * n + BLOCK * (BLOCK + 1)


def eigvals(a: Any, wr: Any, wi: Any, copy: Any, work: Any, info: Any, batch: int, n: int) -> None:
    """The eigenvalues of `eig`."""
    for b in range(batch):
        first = b * n
        if n == 0:
            continue
        _copy(a, b * n * n, copy, 0, n * n)
        info[0] = 1
        if _is_finite(copy, 0, n * n):
            size = eig_workspace(n)
            geev(NO, NO, n, copy, n, (wr, first), (wi, first), copy, 1, copy, 1, work, size, info)
        if info[0] != 0:
            _fill(wr, first, n, NAN)
            _fill(wi, first, n, NAN)


#: What routines call, for compilers to know.
HELPERS = (eigvalsh_workspace, svdvals_workspace, eig_workspace, _sign_of_largest, _unpack)
