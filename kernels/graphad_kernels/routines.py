"""The table of routines: what programs call that no loop nest says well. `objects` compiles them.

A routine is a plain Python function that takes buffers, then sizes. It indexes its buffers and asks them for nothing
else, and hands them to LAPACK (`cpu.lapack`): so it runs in Python on arrays, in Numba on arrays, and as machine code
on pointers. Arrays are row-major.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from graphad_kernels.cpu import (
    bands,
    cholesky_derivatives,
    eigenvalues,
    factorizations,
    quasi_triangular,
    reflectors,
    sort,
)


class Row(NamedTuple):
    """A routine.

    Attributes
    ----------
    buffers
        The element types of its buffers, in order; ``T`` is the one that it is compiled for.
    reads, results
        How many buffers, from the first on, are read, and how many results come then. The others are workspace.
    extents
        From the sizes, how many elements each buffer must have. For LAPACK's workspace that is a formula, no query: it
        is part of a program, which is kept on disk with its memory, and shown where there is no LAPACK. It is as much
        as a query asks for, so that LAPACK works in its largest blocks; tests hold it to that.
    cost
        From the sizes, how many operations it takes.
    dtypes
        What ``T`` may be.
    lapack
        The routines of LAPACK and BLAS that it calls, by their names without the letter of the dtype. If there are any,
        the first of the sizes is the number of matrices, which are worked on one after the other.
    on_gpus
        Whether it has kernels for GPUs too.
    overwrites
        Pairs of buffers, by number: what is read, and what is written and may be the same memory. Then what was read is
        destroyed, which is asked for where nobody reads it later.
    """

    function: Callable[..., None]
    buffers: tuple[str, ...]
    reads: int
    results: int
    extents: Callable[..., tuple[int, ...]]
    cost: Callable[..., int]
    dtypes: tuple[str, ...]
    lapack: tuple[str, ...] = ()
    on_gpus: bool = False
    overwrites: tuple[tuple[int, int], ...] = ()


_FLOATS: Final = ("f32", "f64")
_NUMBERS: Final = ("f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64")

ROUTINES: Final[dict[str, Row]] = {
    "argsort": Row(
        sort.argsort,
        buffers=("T", "i32", "T", "i32"),
        reads=1,
        results=1,
        extents=lambda rows, n, *_: (rows * n, rows * n, 2 * n, 2 * n),
        cost=lambda rows, n, *_: rows * n * n.bit_length(),
        dtypes=_NUMBERS,
        on_gpus=True,
    ),
    "cholesky": Row(
        factorizations.cholesky,
        buffers=("T", "T", "i32"),
        reads=1,
        results=1,
        extents=lambda b, n, _: (b * n * n, b * n * n, 1),
        cost=lambda b, n, _: b * n**3 // 3,
        dtypes=_FLOATS,
        lapack=("potrf",),
        overwrites=((0, 1),),
    ),
    "cholesky_tangent": Row(
        cholesky_derivatives.cholesky_tangent,
        buffers=("T", "T", "T", "i32"),
        reads=2,
        results=1,
        extents=lambda b, n: (b * n * n, b * n * n, b * n * n, 1),
        cost=lambda b, n: 2 * b * n**3,
        dtypes=_FLOATS,
        lapack=("sygst", "trmm"),
        overwrites=((1, 2),),
    ),
    "cholesky_adjoint": Row(
        cholesky_derivatives.cholesky_adjoint,
        buffers=("T", "T", "T"),
        reads=2,
        results=1,
        extents=lambda b, n: (b * n * n,) * 3,
        cost=lambda b, n: b * n**3,
        dtypes=_FLOATS,
        lapack=("gemm", "symm", "trsm"),
        overwrites=((1, 2),),
    ),
    "triangular_solve": Row(
        factorizations.triangular_solve,
        buffers=("T", "T", "T"),
        reads=2,
        results=1,
        extents=lambda b, n, m, *_: (b * n * n, b * n * m, b * n * m),
        cost=lambda b, n, m, *_: b * n * n * m,
        dtypes=_FLOATS,
        lapack=("trsm", "trsv"),
        overwrites=((1, 2),),
    ),
    "lu": Row(
        factorizations.lu,
        buffers=("T", "T", "i32", "i32", "T", "i32"),
        reads=1,
        results=3,
        extents=lambda b, m, n: (b * m * n, b * m * n, b * min(m, n), b * m, m * n, 1),
        cost=lambda b, m, n: b * m * n * min(m, n) * 2 // 3,
        dtypes=_FLOATS,
        lapack=("getrf",),
    ),
    "lu_by_columns": Row(
        factorizations.lu_by_columns,
        buffers=("T", "T", "i32", "i32", "i32", "i32"),
        reads=1,
        results=4,
        extents=lambda b, m, n: (b * m * n, b * m * n, b * min(m, n), b * n, b * n, 1),
        cost=lambda b, m, n: b * m * n * min(m, n) * 2 // 3,
        dtypes=_FLOATS,
        lapack=("getrf",),
        overwrites=((0, 1),),
    ),
    "qr": Row(
        factorizations.qr,
        buffers=("T", "T", "T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=2,
        extents=lambda b, m, n, k: (
            b * m * n,
            b * m * k,
            b * k * n,
            m * n,
            m * max(k, min(m, n)),
            min(m, n),
            64 * max(m, n),
            1,
        ),
        cost=lambda b, m, n, k: 2 * b * m * min(m, n) * (n + k),
        dtypes=_FLOATS,
        lapack=("geqrf", "orgqr"),
    ),
    "eigh": Row(
        factorizations.eigh,
        buffers=("T", "T", "T", "T", "T", "i32", "i32"),
        reads=1,
        results=2,
        extents=lambda b, n: (b * n * n, b * n * n, b * n, n * n, 1 + 6 * n + 2 * n * n, 3 + 5 * n, 1),
        cost=lambda b, n: 9 * b * n**3,
        dtypes=_FLOATS,
        lapack=("syevd",),
        overwrites=((0, 3),),
    ),
    "svd": Row(
        factorizations.svd,
        buffers=("T", "T", "T", "T", "T", "T", "i32", "i32"),
        reads=1,
        results=3,
        extents=lambda b, m, n, full: (
            b * m * n,
            b * m * (m if full else min(m, n)),
            b * min(m, n),
            b * n * (n if full else min(m, n)),
            m * n,
            factorizations.svd_workspace(m, n),
            8 * min(m, n),
            1,
        ),
        cost=lambda b, m, n, _: 12 * b * m * n * min(m, n),
        dtypes=_FLOATS,
        lapack=("gesdd",),
        overwrites=((0, 4),),
    ),
    "tridiagonal_solve": Row(
        factorizations.tridiagonal_solve,
        buffers=("T", "T", "T", "T", "T", "T", "T", "i32"),
        reads=4,
        results=1,
        extents=lambda b, n, m: (b * n, b * n, b * n, b * n * m, b * n * m, 3 * n, n * m, 1),
        cost=lambda b, n, m: 8 * b * n * m,
        dtypes=_FLOATS,
        lapack=("gtsv",),
    ),
    "schur": Row(
        quasi_triangular.schur,
        buffers=("T", "T", "T", "i32", "T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=3,
        extents=lambda b, n: (*[b * n * n] * 3, b * n, n * n, n * n, n, n, quasi_triangular.schur_workspace(n), 2),
        cost=lambda b, n: 25 * b * n**3,
        dtypes=_FLOATS,
        lapack=("gees",),
    ),
    "schur_rate": Row(
        quasi_triangular.schur_rate,
        buffers=("T", "i32", "T", "T", "T"),
        reads=3,
        results=1,
        extents=lambda b, n, _: (b * n * n, b * n, b * n * n, b * n * n, 20),
        cost=lambda b, n, _: b * n**3,
        dtypes=_FLOATS,
    ),
    "quasi_sylvester": Row(
        quasi_triangular.quasi_sylvester,
        buffers=("T", "i32", "T", "i32", "T", "T", "T", "T", "T", "T", "i32"),
        reads=5,
        results=1,
        extents=lambda b, m, n, _: (
            *(b * m * m, b * m, b * n * n, b * n, b * m * n, b * m * n),
            *(m * m, n * n, m * n, 1, 1),
        ),
        cost=lambda b, m, n, _: b * m * n * (m + n),
        dtypes=_FLOATS,
        lapack=("trsyl",),
    ),
    "quasi_sqrt": Row(
        quasi_triangular.quasi_sqrt,
        buffers=("T", "i32", "T", "T"),
        reads=2,
        results=1,
        extents=lambda b, n: (b * n * n, b * n, b * n * n, 20),
        cost=lambda b, n: b * n**3 // 3,
        dtypes=_FLOATS,
    ),
    "householder_product": Row(
        reflectors.householder_product,
        buffers=("T", "T", "T", "T", "T", "T", "i32"),
        reads=2,
        results=1,
        extents=lambda b, m, n, k: (b * m * n, b * k, b * m * n, m * n, k, 64 * n, 1),
        cost=lambda b, m, n, k: 4 * b * m * n * k,
        dtypes=_FLOATS,
        lapack=("orgqr",),
    ),
    "hessenberg": Row(
        reflectors.hessenberg,
        buffers=("T", "T", "T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=2,
        extents=lambda b, n: (*[b * n * n] * 3, n * n, n * n, n, reflectors.hessenberg_workspace(n), 1),
        cost=lambda b, n: 14 * b * n**3 // 3,
        dtypes=_FLOATS,
        lapack=("gehrd", "orgqr"),
    ),
    "hessenberg_form": Row(
        reflectors.hessenberg_form,
        buffers=("T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=1,
        extents=lambda b, n: (b * n * n, b * n * n, n * n, n, reflectors.hessenberg_workspace(n), 1),
        cost=lambda b, n: 10 * b * n**3 // 3,
        dtypes=_FLOATS,
        lapack=("gehrd",),
    ),
    "hessenberg_reflectors": Row(
        reflectors.hessenberg_reflectors,
        buffers=("T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=2,
        extents=lambda b, n: (
            b * n * n,
            b * n * n,
            b * max(n - 1, 0),
            n * n,
            reflectors.hessenberg_workspace(n),
            1,
        ),
        cost=lambda b, n: 10 * b * n**3 // 3,
        dtypes=_FLOATS,
        lapack=("gehrd",),
    ),
    "hessenberg_rate": Row(
        reflectors.hessenberg_rate,
        buffers=("T", "T", "T"),
        reads=2,
        results=1,
        extents=lambda b, n, _: (b * n * n,) * 3,
        cost=lambda b, n, _: b * n**3,
        dtypes=_FLOATS,
    ),
    "banded_solve": Row(
        bands.banded_solve,
        buffers=("T", "T", "T", "T", "T", "i32", "i32"),
        reads=2,
        results=1,
        extents=lambda b, n, m, low, high, _: (
            b * (low + high + 1) * n,
            b * n * m,
            b * n * m,
            n * (2 * low + high + 1),
            n * m,
            n,
            1,
        ),
        cost=lambda b, n, m, low, high, _: 2 * b * n * (low + high + 1) * (low + 2 * m + 1),
        dtypes=_FLOATS,
        lapack=("gbtrf", "gbtrs"),
    ),
    "eigh_tridiagonal": Row(
        bands.eigh_tridiagonal,
        buffers=("T", "T", "T", "T", "T", "T", "T", "i32", "i32"),
        reads=2,
        results=2,
        extents=lambda b, n: (
            b * n,
            b * max(n - 1, 0),
            b * n * n,
            b * n,
            n,
            n * n,
            1 + 4 * n + n * n,
            3 + 5 * n,
            1,
        ),
        cost=lambda b, n: 6 * b * n**3,
        dtypes=_FLOATS,
        lapack=("stevd",),
    ),
    "eigvalsh_tridiagonal": Row(
        bands.eigvalsh_tridiagonal,
        buffers=("T", "T", "T", "T", "T", "i32", "i32"),
        reads=2,
        results=1,
        extents=lambda b, n: (b * n, b * max(n - 1, 0), b * n, n, 1, 1, 1),
        cost=lambda b, n: 30 * b * n**2,
        dtypes=_FLOATS,
        lapack=("stevd",),
    ),
    "eigvalsh": Row(
        eigenvalues.eigvalsh,
        buffers=("T", "T", "T", "T", "i32", "i32"),
        reads=1,
        results=1,
        extents=lambda b, n: (b * n * n, b * n, n * n, eigenvalues.eigvalsh_workspace(n), 1, 1),
        cost=lambda b, n: 4 * b * n**3 // 3,
        dtypes=_FLOATS,
        lapack=("syevd",),
    ),
    "svdvals": Row(
        eigenvalues.svdvals,
        buffers=("T", "T", "T", "T", "i32", "i32"),
        reads=1,
        results=1,
        extents=lambda b, m, n, _: (
            b * m * n,
            b * min(m, n),
            m * n,
            eigenvalues.svdvals_workspace(m, n),
            8 * min(m, n),
            1,
        ),
        cost=lambda b, m, n, _: 4 * b * m * n * min(m, n),
        dtypes=_FLOATS,
        lapack=("gesdd",),
    ),
    "eig": Row(
        eigenvalues.eig,
        buffers=("T", "T", "T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=3,
        extents=lambda b, n: (b * n * n, b * n, b * n, b * n * n, n * n, n * n, eigenvalues.eig_workspace(n), 1),
        cost=lambda b, n: 25 * b * n**3,
        dtypes=_FLOATS,
        lapack=("geev",),
        overwrites=((0, 4),),
    ),
    "eigvals": Row(
        eigenvalues.eigvals,
        buffers=("T", "T", "T", "T", "T", "i32"),
        reads=1,
        results=2,
        extents=lambda b, n: (b * n * n, b * n, b * n, n * n, eigenvalues.eig_workspace(n), 1),
        cost=lambda b, n: 10 * b * n**3,
        dtypes=_FLOATS,
        lapack=("geev",),
    ),
}
