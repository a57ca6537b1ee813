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


def gemm(m: int, n: int, k: int, alpha: Any, a: Matrix, b: Matrix, beta: Any, c: tuple[Any, int, int]) -> None:
    """``c[m,n] = alpha * a[m,k] @ b[k,n] + beta * c``; ``c`` is (array, offset, distance of rows)."""
    out = _rows(c[0], c[1], c[2], m, n)
    product = alpha * (_matrix(a, m, k) @ _matrix(b, k, n))
    out[...] = product + beta * out if beta != 0 else product


def _matrix(matrix: Matrix, rows: int, columns: int) -> Any:
    array, offset, stride, transposed = matrix
    return _rows(array, offset, stride, columns, rows).T if transposed else _rows(array, offset, stride, rows, columns)


def _rows(array: Any, offset: int, stride: int, rows: int, columns: int) -> Any:
    size = array.itemsize
    return np.lib.stride_tricks.as_strided(array[offset:], (rows, columns), (stride * size, size))


def _routine(name: str) -> Any:
    """A Fortran BLAS routine of 13 arguments, all of them addresses, which are handed over as integers."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_size_t] * 13)(library.routine(name))


_sgemm, _dgemm = _routine("sgemm"), _routine("dgemm")


@overload(gemm)
def _gemm(m: Any, n: Any, k: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> Any:
    """The compiled form: Fortran reads row-major matrices transposed, so it computes ``C^T = B^T A^T``."""
    call = _sgemm if a[0].dtype is types.float32 else _dgemm
    size = a[0].dtype.bitwidth // 8

    def compiled(m: Any, n: Any, k: Any, alpha: Any, a: Any, b: Any, beta: Any, c: Any) -> None:
        if m == 0 or n == 0:
            return
        # BLAS checks the distance of rows even of a matrix with a single row, or none.
        b_row, a_row = max(b[2], k if b[3] else n, 1), max(a[2], m if a[3] else k, 1)
        sizes = np.array([n, m, k, b_row, a_row, max(c[2], n)], np.int32)
        factors = np.array([alpha, beta])
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
