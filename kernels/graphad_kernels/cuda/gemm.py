"""Matrix products over flat arrays, by tiles in shared memory: `gemm` gives the function for a dtype.

One thread for each element of the result; a block loads a tile of each factor, which its threads then read 16 times.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numba.extending import register_jitable

from graphad_kernels.scalar import bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16

TILE: Final = 16

# A matrix in a flat array: (array, offset, distance of rows, whether it is read as its transpose).
Matrix = tuple[Any, int, int, bool]


@cache
def gemm(cuda: Any, dtype: str, result: str = "", bias: bool = False, relu: bool = False) -> Callable[..., None]:
    """``product(m, n, k, a, b, c, stream)``: ``c[m,n] = a[m,k] @ b[k,n]``.

    ``a`` and ``b`` are `Matrix`, ``c`` is (array, offset, distance of rows); 16-bit floats are held as their bits and
    summed as float32. ``result`` is the dtype of ``c`` if that is another. With ``bias`` there is one more argument,
    the array, of that dtype, of what is added to each column; with ``relu`` what is below 0 becomes 0. ``cuda`` has the
    words of the kernel: ``numba.cuda``, or `graphad_kernels.cuda.mlir`.
    """
    kernel: Any = tiled(cuda, dtype, result, bias, relu)

    def product(
        m: int, n: int, k: int, a: Matrix, b: Matrix, c: tuple[Any, int, int], stream: Any, added: Any = None
    ) -> None:
        if m and n:
            array, offset, row = c
            blocks = -(-n // TILE), -(-m // TILE)
            added = added if bias else array  # which then is not read
            kernel[blocks, (TILE, TILE), stream](m, n, k, *_view(a), *_view(b), array[offset:], row, added)

    return product


def _view(matrix: Matrix) -> tuple[Any, int, int]:
    """The array from its first element, and the distances of rows and of columns."""
    array, offset, row, transposed = matrix
    return (array[offset:], 1, row) if transposed else (array[offset:], row, 1)


def tiled(cuda: Any, dtype: str, result: str = "", bias: bool = False, relu: bool = False) -> Any:
    """The kernel, launched over blocks of ``TILE`` by ``TILE`` threads."""
    kind: Any = np.float64 if dtype == "f64" else np.float32
    load, _ = _HALVES.get(dtype, (_as_it_is, _as_it_is))
    load_result, store = _HALVES.get(result or dtype, (_as_it_is, _as_it_is))

    @cuda.jit
    def product(
        m: Any, n: Any, k: Any, a: Any, a_row: Any, a_column: Any, b: Any, b_row: Any, b_column: Any,
        c: Any, c_row: Any, added: Any,
    ) -> None:  # fmt: skip
        left = cuda.shared.array((TILE, TILE), kind)
        right = cuda.shared.array((TILE, TILE), kind)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        i, j = cuda.blockIdx.y * TILE + y, cuda.blockIdx.x * TILE + x
        total = kind(0)
        for start in range(0, k, TILE):
            left[y, x] = load(a[i * a_row + (start + x) * a_column]) if i < m and start + x < k else kind(0)
            right[y, x] = load(b[(start + y) * b_row + j * b_column]) if j < n and start + y < k else kind(0)
            cuda.syncthreads()
            for p in range(TILE):
                total += left[y, p] * right[p, x]
            cuda.syncthreads()
        if i < m and j < n:
            at = i * c_row + j
            value = total
            if bias:
                value += load_result(added[j])
            if relu and value <= 0:  # nan stays
                value = kind(0)
            c[at] = store(value)

    return product


@register_jitable
def _as_it_is(x: Any) -> Any:
    return x


_HALVES: Final = {"f16": (f16_to_f32, f32_to_f16), "bf16": (bf16_to_f32, f32_to_bf16)}
