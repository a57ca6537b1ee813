"""Matrices that a size says all of. Integers are computed exactly, and rounded at the end."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from graphad.ir.types import DType
from graphad.numpy._typing import DTypeLike
from graphad.trace.array import Array
from graphad.trace.semantics import canonical_dtype, default_float
from graphad.trace.source import where


def hadamard(n: int, dtype: DTypeLike = int) -> Array:
    """The matrix of 1 and -1 with orthogonal rows that J. J. Sylvester's construction gives; ``n`` is a power of 2.

    >>> hadamard(4)
    Array([[ 1,  1,  1,  1],
           [ 1, -1,  1, -1],
           [ 1,  1, -1, -1],
           [ 1, -1, -1,  1]], dtype=int32)
    """
    n = size("hadamard", n, 1)
    if n & (n - 1):
        raise ValueError(f"{where()}hadamard takes a power of 2 as n, got {n}.")
    shared = np.arange(n)[:, None] & np.arange(n)
    return Array(np.where(np.bitwise_count(shared) % 2, -1, 1).astype(canonical_dtype(dtype).numpy))


def helmert(n: int, full: bool = False) -> Array:
    """The orthonormal rows of which each compares one element of a vector with the mean of those before it.

    Parameters
    ----------
    full
        With the row of the mean of all in front: the matrix is square, and orthogonal.

    >>> import graphad.numpy as gnp
    >>> gnp.round(helmert(3), 4)
    Array([[ 0.7071, -0.7071,  0.    ],
           [ 0.4082,  0.4082, -0.8165]], dtype=float32)
    """
    n = size("helmert", n, 1)
    k = np.arange(1, n)[:, None]
    rows = (np.tri(n - 1, n) - k * np.eye(n - 1, n, 1)) / np.sqrt(k * (k + 1))
    if full:
        rows = np.concatenate([np.full((1, n), 1 / math.sqrt(n)), rows])
    return Array(rows.astype(default_float().numpy))


def hilbert(n: int) -> Array:
    """The matrix with elements ``1 / (i + j + 1)``, which is close to a singular one.

    >>> hilbert(2)
    Array([[1.        , 0.5       ],
           [0.5       , 0.33333334]], dtype=float32)
    """
    k = np.arange(size("hilbert", n))
    return Array((1 / (k[:, None] + k + 1)).astype(default_float().numpy))


def invhilbert(n: int) -> Array:
    """The inverse of the matrix of `hilbert`, whose elements are integers.

    >>> invhilbert(2)
    Array([[ 4., -6.],
           [-6., 12.]], dtype=float32)
    """
    n = size("invhilbert", n)

    def element(i: int, j: int) -> int:
        c = math.comb
        return (-1) ** (i + j) * (i + j + 1) * c(n + i, n - j - 1) * c(n + j, n - i - 1) * c(i + j, i) ** 2

    return _rounded([[element(i, j) for j in range(n)] for i in range(n)], default_float())


def pascal(n: int, kind: str | None = None) -> Array:
    """The matrix of binomial coefficients.

    Parameters
    ----------
    kind
        ``"symmetric"``, which is the default: Pascal's triangle along the antidiagonals; ``"lower"``, along the rows,
        or ``"upper"``, along the columns. The symmetric one is the product of the lower with the upper.

    >>> pascal(3)
    Array([[1., 1., 1.],
           [1., 2., 3.],
           [1., 3., 6.]], dtype=float32)
    """
    n, kind = size("pascal", n), _kind("pascal", kind)
    lower = [[math.comb(i, j) for j in range(n)] for i in range(n)]
    if kind == "symmetric":
        lower = [[math.comb(i + j, i) for j in range(n)] for i in range(n)]
    return _rounded(_transposed(lower) if kind == "upper" else lower, default_float())


def invpascal(n: int, kind: str | None = None) -> Array:
    """The inverse of the matrix of `pascal`, whose elements are integers.

    Parameters
    ----------
    kind
        That of the matrix: ``"symmetric"``, which is the default, ``"lower"`` or ``"upper"``.

    >>> invpascal(3)
    Array([[ 3., -3.,  1.],
           [-3.,  5., -2.],
           [ 1., -2.,  1.]], dtype=float32)
    """
    n, kind = size("invpascal", n), _kind("invpascal", kind)
    inverse = [[(-1) ** (i + j) * math.comb(i, j) for j in range(n)] for i in range(n)]
    if kind == "symmetric":  # the inverse of the upper one times that of the lower
        columns = _transposed(inverse)
        inverse = [[sum(map(operator.mul, x, y)) for y in columns] for x in columns]
    return _rounded(_transposed(inverse) if kind == "upper" else inverse, default_float())


# ---------------------------------------------------------------------------------------------------------------------
# Parts


def size(name: str, n: Any, least: int = 0) -> int:
    """The argument ``n`` of a function, an integer."""
    try:
        found = operator.index(n)
    except TypeError:
        raise TypeError(f"{where()}{name} takes an integer as n, got {n!r}.") from None
    if found < least:
        raise ValueError(f"{where()}{name} takes n >= {least}, got {found}.")
    return found


def _kind(name: str, kind: str | None) -> str:
    if kind not in (None, "symmetric", "lower", "upper"):
        raise ValueError(f"{where()}{name} got kind={kind!r}; it takes 'symmetric', 'lower' and 'upper'.")
    return kind or "symmetric"


def _transposed(rows: list[list[int]]) -> list[list[int]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _rounded(rows: list[list[int]], dtype: DType) -> Array:
    """A square matrix of integers of any size, those that are too large for the dtype infinite."""
    n = len(rows)
    values = np.array([[_float(x) for x in row] for row in rows], np.float64).reshape(n, n)
    with np.errstate(over="ignore"):
        return Array(values.astype(dtype.numpy))


def _float(x: int) -> float:
    try:
        return float(x)
    except OverflowError:
        return math.inf if x > 0 else -math.inf
