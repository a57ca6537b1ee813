"""Derivatives of Cholesky factors ``l`` of matrices ``a``. Of all matrices the lower triangle alone counts.

The adjoint goes through the factor in blocks [1]_. Of a factor in four blocks, the cotangent of the last diagonal block
is that of the Schur complement ``s``, once the block has been gone through; then

- ``l21' -= (s' + s'^T) l21``, and ``l21' := l21' l11^-1``, which is ``a21'``;
- ``l11' -= a21'^T l21``,

and the first diagonal block is gone through in turn. A block of no more than `LEAF` rows is gone through row by row
[2]_, from the last. So nearly all that is computed are products of matrices.

.. [1] I. Murray, Differentiation of the Cholesky decomposition, arXiv:1602.07527, 2016.
.. [2] S. P. Smith, Differentiation of the Cholesky algorithm, J. Comput. Graph. Statist. 4, 1995.
"""

from __future__ import annotations

from typing import Any

from graphad_kernels.cpu.factorizations import _copy, _fill
from graphad_kernels.cpu.lapack import LEFT, NO, RIGHT, UPPER, YES, gemm, sygst, symm, trmm, trsm

#: Rows of a block that is gone through row by row, at most.
LEAF = 32


def cholesky_tangent(factor: Any, tangent: Any, result: Any, info: Any, batch: int, n: int) -> None:
    """``l phi(l^-1 da l^-T)``, where ``phi`` takes the lower triangle and half of the diagonal."""
    for b in range(batch):
        start = b * n * n
        _copy_lower(tangent, result, start, n)
        if n:
            sygst(1, UPPER, n, (result, start), n, (factor, start), n, info)
            for i in range(n):
                result[start + i * n + i] *= 0.5
            trmm(RIGHT, UPPER, NO, NO, n, n, 1.0, (factor, start), n, (result, start), n)
            for i in range(n):  # not zero, where the factor is not finite
                _fill(result, start + i * n + i + 1, n - i - 1, 0.0)


def cholesky_adjoint(factor: Any, cotangent: Any, result: Any, batch: int, n: int) -> None:
    """The cotangent of ``a`` for that of ``l``: by each element below the diagonal, which stands for two of ``a``.

    Until the end, elements on the diagonal are twice what they shall be, so that the lower triangle is that of
    ``s' + s'^T``.
    """
    count = 1
    while count * LEAF < n:
        count *= 2
    rows = (n + count - 1) // count
    for b in range(batch):
        start = b * n * n
        _copy_lower(cotangent, result, start, n)
        for k in range(count - 1, -1, -1):
            middle = k * rows
            if middle < n:
                _leaf(factor, result, start + middle * (n + 1), n, min(rows, n - middle))
                # Blocks are the leaves of a binary tree. Two halves meet before block k: of as many blocks as the
                # lowest bit of k says.
                half = (k & -k) * rows
                if half:
                    _join(factor, result, start, n, middle - half, middle, min(middle + half, n))
        for i in range(n):
            result[start + i * n + i] *= 0.5
            _fill(result, start + i * n + i + 1, n - i - 1, 0.0)


def _copy_lower(x: Any, y: Any, start: int, n: int) -> None:
    """The lower triangle, with zeros above."""
    for i in range(n):
        _copy(x, start + i * n, y, start + i * n, i + 1)
        _fill(y, start + i * n + i + 1, n - i - 1, 0.0)


def _join(factor: Any, x: Any, start: int, n: int, first: int, middle: int, end: int) -> None:
    """From the second half of rows ``first`` to ``end``, which has been gone through, to the first."""
    columns, below = middle - first, end - middle
    upper_left, lower_left = start + first * (n + 1), start + middle * n + first
    lower_right = start + middle * (n + 1)
    symm(RIGHT, UPPER, columns, below, -1.0, (x, lower_right), n, (factor, lower_left), n, 1.0, (x, lower_left), n)
    trsm(LEFT, UPPER, NO, NO, columns, below, 1.0, (factor, upper_left), n, (x, lower_left), n)
    gemm(
        NO, YES, columns, columns, below,
        -1.0, (factor, lower_left), n, (x, lower_left), n, 1.0, (x, upper_left), n,
    )  # fmt: skip


def _leaf(factor: Any, x: Any, start: int, n: int, rows: int) -> None:
    """The adjoint of one diagonal block, in place, with twice the diagonal; ``n`` is the distance of rows.

    Row ``j`` of the factor was computed of those before: ``l[j,j]^2 = a[j,j] - |r|^2``, where ``r`` is what is left of
    the diagonal, and ``l[k,j] l[j,j] = a[k,j] - l[k] . r`` for the rows ``k`` below.
    """
    for j in range(rows - 1, -1, -1):
        row = start + j * n
        pivot = factor[row + j]
        total = x[row + j]
        for k in range(j + 1, rows):
            at = start + k * n
            scaled = x[at + j] / pivot
            x[at + j] = scaled
            total -= factor[at + j] * scaled
            for i in range(j):
                x[at + i] -= scaled * factor[row + i]
            for i in range(j):
                x[row + i] -= scaled * factor[at + i]
        total /= pivot
        x[row + j] = total
        for i in range(j):
            x[row + i] -= total * factor[row + i]


#: What these call, for compilers to know.
HELPERS = (_copy_lower, _join, _leaf)
