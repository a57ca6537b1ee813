"""Matrix products over flat arrays: SciPy's BLAS where Numba compiles the call, NumPy where Python runs it."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload

from graphad_kernels.cpu import library

# A matrix in a flat array: (array, offset, distance of rows, whether it is read as its transpose).
Matrix = tuple[Any, int, int, bool]


def gemm(m: int, n: int, k: int, a: Matrix, b: Matrix, c: tuple[Any, int, int]) -> None:
    """``c[m,n] = a[m,k] @ b[k,n]``; ``c`` is (array, offset, distance of rows)."""
    _rows(c[0], c[1], c[2], m, n)[...] = _matrix(a, m, k) @ _matrix(b, k, n)


def gram(n: int, k: int, a: Matrix, c: tuple[Any, int, int]) -> None:
    """``c[n,n] = a[n,k] @ a[n,k].T``, of which one triangle is computed, and mirrored."""
    rows = _matrix(a, n, k)
    product, upper = rows @ rows.T, np.triu_indices(n, 1)
    product[upper] = product.T[upper]
    _rows(c[0], c[1], c[2], n, n)[...] = product


def _matrix(matrix: Matrix, rows: int, columns: int) -> Any:
    array, offset, stride, transposed = matrix
    return _rows(array, offset, stride, columns, rows).T if transposed else _rows(array, offset, stride, rows, columns)


def _rows(array: Any, offset: int, stride: int, rows: int, columns: int) -> Any:
    size = array.itemsize
    return np.lib.stride_tricks.as_strided(array[offset:], (rows, columns), (stride * size, size))


def _routine(name: str, arguments: int) -> Any:
    """A routine of BLAS; its arguments are addresses, which are handed over as integers."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_size_t] * arguments)(library.routine(name))


_sgemm, _dgemm = _routine("sgemm", 13), _routine("dgemm", 13)
_sgemv, _dgemv = _routine("sgemv", 11), _routine("dgemv", 11)
_ssyrk, _dsyrk = _routine("ssyrk", 10), _routine("dsyrk", 10)


@overload(gemm)
def _gemm(m: Any, n: Any, k: Any, a: Any, b: Any, c: Any) -> Any:
    """The compiled form. Fortran reads row-major matrices transposed, so it computes ``C^T = B^T A^T``.

    A row or a column is a product with a vector, unless there is nothing to sum: then only ``?gemm`` gives zero.
    """

    def compiled(m: Any, n: Any, k: Any, a: Any, b: Any, c: Any) -> None:
        if m == 0 or n == 0:
            return
        if n == 1 and k != 0:
            _times_vector(m, k, a, a[3], b, 1 if b[3] else b[2], c, c[2])
        elif m == 1 and k != 0:
            _times_vector(n, k, b, not b[3], a, a[2] if a[3] else 1, c, 1)
        else:
            _times_matrix(m, n, k, a, b, c)

    return compiled


def _times_matrix(m: int, n: int, k: int, a: Matrix, b: Matrix, c: tuple[Any, int, int]) -> None:
    """`gemm` by ``?gemm``."""


def _times_vector(
    rows: int, k: int, matrix: Matrix, transposed: bool, x: Matrix, x_step: int, y: tuple[Any, int, int], y_step: int
) -> None:
    """``y = matrix[rows,k] @ x`` by ``?gemv``; the vectors are strided."""


@overload(_times_matrix)
def _call_gemm(m: Any, n: Any, k: Any, a: Any, b: Any, c: Any) -> Any:
    call = _sgemm if a[0].dtype is types.float32 else _dgemm
    size = a[0].dtype.bitwidth // 8

    def compiled(m: Any, n: Any, k: Any, a: Any, b: Any, c: Any) -> None:
        # BLAS checks the distance of rows even of a matrix with a single row, or none.
        b_row, a_row = max(b[2], k if b[3] else n, 1), max(a[2], m if a[3] else k, 1)
        sizes = np.array([n, m, k, b_row, a_row, max(c[2], n)], np.int32)
        factors = np.array([1, 0], a[0].dtype)
        letters = np.array([84 if b[3] else 78, 84 if a[3] else 78], np.uint8)
        word, factor, letter = sizes.ctypes.data, factors.ctypes.data, letters.ctypes.data
        call(
            letter, letter + 1, word, word + 4, word + 8,
            factor, b[0].ctypes.data + b[1] * size, word + 12, a[0].ctypes.data + a[1] * size, word + 16,
            factor + size, c[0].ctypes.data + c[1] * size, word + 20,
        )  # fmt: skip
        # An address does not keep its array alive: use the arrays once more after the call.
        letters[0], factors[0], sizes[0] = letters[1], factors[1], sizes[1]

    return compiled


@overload(_times_vector)
def _call_gemv(rows: Any, k: Any, matrix: Any, transposed: Any, x: Any, x_step: Any, y: Any, y_step: Any) -> Any:
    call = _sgemv if matrix[0].dtype is types.float32 else _dgemv
    size = matrix[0].dtype.bitwidth // 8

    def compiled(rows: Any, k: Any, matrix: Any, transposed: Any, x: Any, x_step: Any, y: Any, y_step: Any) -> None:
        height, width = (rows, k) if transposed else (k, rows)  # as Fortran sees what lies there
        sizes = np.array([height, width, max(matrix[2], height), max(x_step, 1), max(y_step, 1)], np.int32)
        factors = np.array([1, 0], matrix[0].dtype)
        letters = np.array([78 if transposed else 84], np.uint8)
        word, factor, letter = sizes.ctypes.data, factors.ctypes.data, letters.ctypes.data
        call(
            letter, word, word + 4, factor, matrix[0].ctypes.data + matrix[1] * size, word + 8,
            x[0].ctypes.data + x[1] * size, word + 12, factor + size, y[0].ctypes.data + y[1] * size, word + 16,
        )  # fmt: skip
        letters[0], factors[0], sizes[0] = letters[0], factors[1], sizes[1]  # as above

    return compiled


@overload(gram)
def _call_syrk(n: Any, k: Any, a: Any, c: Any) -> Any:
    call = _ssyrk if a[0].dtype is types.float32 else _dsyrk
    size = a[0].dtype.bitwidth // 8

    def compiled(n: Any, k: Any, a: Any, c: Any) -> None:
        if n == 0:
            return
        sizes = np.array([n, k, max(a[2], n if a[3] else k, 1), max(c[2], n)], np.int32)
        factors = np.array([1, 0], a[0].dtype)
        letters = np.array([85, 78 if a[3] else 84], np.uint8)  # our lower triangle is the upper one to Fortran
        word, factor, letter = sizes.ctypes.data, factors.ctypes.data, letters.ctypes.data
        call(
            letter, letter + 1, word, word + 4, factor, a[0].ctypes.data + a[1] * size, word + 8,
            factor + size, c[0].ctypes.data + c[1] * size, word + 12,
        )  # fmt: skip
        letters[0], factors[0], sizes[0] = letters[1], factors[1], sizes[1]  # as above
        for row in range(n):
            for column in range(row):
                c[0][c[1] + column * c[2] + row] = c[0][c[1] + row * c[2] + column]

    return compiled
