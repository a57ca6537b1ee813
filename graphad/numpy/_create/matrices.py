"""Matrices of a known pattern."""

from __future__ import annotations

import numpy as np

from graphad.numpy._elementwise.arithmetic import power
from graphad.numpy._precision import in_float32
from graphad.numpy._shape.joining import stack
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_number,
    as_operand,
    canonical_dtype,
    cast,
    default_float,
    dtype_and_weakness,
    shape_text,
)


def eye(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones on the ``k``-th diagonal, zeros elsewhere.

    >>> import graphad.numpy as gnp
    >>> gnp.eye(2)
    Array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    return Array(np.eye(N, M, k, wanted.numpy))


def identity(n: int, dtype: DTypeLike | None = None) -> Array:
    """The square matrix with ones on its diagonal.

    >>> import graphad.numpy as gnp
    >>> gnp.identity(2, dtype=int)
    Array([[1, 0],
           [0, 1]], dtype=int32)
    """
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Array:
    """Ones on the ``k``-th diagonal and below, zeros above.

    >>> import graphad.numpy as gnp
    >>> gnp.tri(2)
    Array([[1., 0.],
           [1., 1.]], dtype=float32)
    """
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    return Array(np.tri(N, M, k, wanted.numpy))


@in_float32
def vander(x: ArrayLike, N: int | None = None, increasing: bool = False) -> Array:
    """The powers of each element as a row, ``N`` of them, from the highest down or with ``increasing`` from 0 up.

    >>> import graphad.numpy as gnp
    >>> gnp.vander(gnp.array([2, 3]), 3)
    Array([[4, 2, 1],
           [9, 3, 1]], dtype=int32)
    """
    rows = as_operand(x, "vander")
    if rows.ndim != 1:
        raise ValueError(f"{source.where()}vander got {shape_text(rows)}; it takes one axis.")
    n = rows.shape[0] if N is None else N
    exponents = np.arange(n) if increasing else np.arange(n)[::-1]
    columns = [power(as_number(rows, "vander"), int(k)) for k in exponents]
    return (
        stack(columns, 1) if columns else cast(as_number(rows, "vander")[:, None][:, :0], dtype_and_weakness(rows)[0])
    )
