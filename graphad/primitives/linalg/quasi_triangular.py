"""What rules of quasi-triangular matrices share; these are described in `graphad_kernels.cpu.quasi_triangular`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.ref import Ref
from graphad.ir.types import OperandType, aval, i32
from graphad.primitives.arithmetic import sub
from graphad.primitives.comparison import and_, eq, ge, ne, or_
from graphad.primitives.families_shape import builder_of
from graphad.primitives.layout import positions
from graphad.primitives.linalg.matrices import Array, along_columns, masked, matmul


def check_pairs(name: str, t: OperandType, pairs: OperandType) -> None:
    """``pairs`` says where blocks of ``t`` begin."""
    if pairs.dtype is not i32 or pairs.shape != t.shape[:-1]:
        raise ValueError(f"{name} got {pairs} as pairs; with {t} it must be {aval(t.shape[:-1], i32)}.")


def quasi_upper(x: Ref, pairs: Ref) -> Ref:
    """``x``, with zeros where matrices with such blocks have them."""
    rows, columns = _places(x)
    in_block = and_(_below_diagonal(x), ne(along_columns(pairs, x.shape[-1]), 0))
    return masked(x, or_(ge(columns, rows), in_block))


def _places(x: Ref) -> tuple[Ref, Ref]:
    builder = builder_of([x])
    return positions(builder, x.shape, x.ndim - 2), positions(builder, x.shape, x.ndim - 1)


def _below_diagonal(x: Ref) -> Ref:
    """Where an element is just below the diagonal."""
    rows, columns = _places(x)
    return eq(sub(rows, 1), columns)


def hessenberg_part(x: Ref) -> Ref:
    """``x``, with zeros below the elements just below the diagonal."""
    rows, columns = _places(x)
    return masked(x, ge(columns, sub(rows, 1)))


def commutator(x: Ref, y: Ref) -> Ref:
    """``x @ y - y @ x``."""
    return sub(matmul(x, y), matmul(y, x))


# ---------------------------------------------------------------------------------------------------------------------
# References and samples


def cleaned(t: Array, pairs: Array) -> Array:
    """What is read of one matrix."""
    n = len(t)
    return np.triu(t) + np.diag(np.where(pairs[: n - 1], np.diag(t, -1), 0), -1) if n else t


def diagonal_blocks(pairs: Array) -> list[slice]:
    """The rows of each block on the diagonal."""
    found, start, n = [], 0, len(pairs)
    while start < n:
        stop = start + (2 if start + 1 < n and pairs[start] else 1)
        found.append(slice(start, stop))
        start = stop
    return found


def sylvester_by_kronecker(p: Array, q: Array, right: Array) -> Array:
    """The ``x`` with ``p @ x + x @ q == right``, by one system of its elements."""
    matrix = np.kron(p, np.eye(len(q), dtype=p.dtype)) + np.kron(np.eye(len(p), dtype=p.dtype), q.T)
    return np.linalg.solve(matrix, right.reshape(-1, 1)).reshape(right.shape)


def random_factor(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
    """Quasi-triangular matrices with eigenvalues far from each other, something else below, and their pairs."""
    n = shape[-1]
    t = rng.normal(size=shape)
    pairs = np.zeros(shape[:-1], np.int32)
    for at in np.ndindex(*shape[:-2]):
        np.fill_diagonal(t[at], 1.5 * (1 + np.arange(n)))
        for i in range(0, n - 1, 3):
            pairs[(*at, i)] = 1
            t[(*at, i, i + 1)] = 1 + rng.random()
            t[(*at, i + 1, i)] = -0.5 * rng.random() - 0.2
            t[(*at, i + 1, i + 1)] = t[(*at, i, i)]
    return t.astype(dtype), pairs
