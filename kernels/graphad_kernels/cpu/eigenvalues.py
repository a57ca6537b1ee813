"""Eigenvalues and singular values without their vectors, by LAPACK. See `factorizations`."""

from __future__ import annotations

from typing import Any

from graphad_kernels.cpu.factorizations import BLOCK, NAN, _copy, _fill, _is_finite
from graphad_kernels.cpu.lapack import LOWER, NO, gesdd, syevd


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


#: What routines call, for compilers to know.
HELPERS = (eigvalsh_workspace, svdvals_workspace)
