"""What the array API standard has of matrices in the last two axes: parts, products by name, powers and chains."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from graphad.numpy._index import diagonals
from graphad.numpy._precision import in_float32
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.numpy.linalg import _products
from graphad.numpy.linalg._systems import check_square, identities, inv
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, beside, canonical_axis, shape_text

# ---------------------------------------------------------------------------------------------------------------------
# Functions of graphad.numpy, with the arguments of the standard


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Array:
    """The diagonals of the matrices in the last two axes, along a new last axis.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.diagonal(gnp.arange(8).reshape(2, 2, 2))
    Array([[0, 3],
           [4, 7]], dtype=int32)
    """
    return diagonals.diagonal(_matrix("diagonal", x), offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: DTypeLike | None = None) -> Array:
    """The sums of the diagonals of the matrices in the last two axes.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.trace(gnp.arange(8).reshape(2, 2, 2))
    Array([ 3, 11], dtype=int32)
    """
    return sum_(diagonals.diagonal(_matrix("trace", x), offset, -2, -1), -1, dtype)


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Array:
    """The vectors at right angles to two vectors of 3 elements along an axis, the others broadcast.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.cross(gnp.array([1, 0, 0]), gnp.array([0, 1, 0]))
    Array([0, 0, 1], dtype=int32)
    """
    x, y = beside("cross", x1, x2)
    for v in (x, y):
        if not v.ndim or v.shape[canonical_axis(axis, v.ndim, "cross")] != 3:
            raise ValueError(
                f"{source.where()}linalg.cross got {shape_text(x)} and {shape_text(y)}: it takes vectors of 3 elements "
                f"along axis {axis}. graphad.numpy.cross takes such of 2, too."
            )
    return _products.cross(x, y, axis=axis)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Array:
    """Each element of one vector times each of another.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.outer(gnp.arange(2), gnp.arange(3))
    Array([[0, 0, 0],
           [0, 1, 2]], dtype=int32)
    """
    x, y = beside("outer", x1, x2)
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(
            f"{source.where()}linalg.outer takes two vectors, got {shape_text(x)} and {shape_text(y)}. "
            "graphad.numpy.outer flattens its arguments."
        )
    return _products.outer(x, y)


# ---------------------------------------------------------------------------------------------------------------------
# Powers


@in_float32
def matrix_power(a: ArrayLike, n: int) -> Array:
    """Square matrices, in the last two axes, times themselves: ``n`` of them; of negative ``n``, of their inverses.

    The power is made of squares: of no more than ``2 * log2(n)`` products.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.matrix_power(gnp.array([[1, 1], [1, 0]]), 10)
    Array([[89, 55],
           [55, 34]], dtype=int32)
    """
    x: Any = as_operand(a, "matrix_power")
    check_square(x, "matrix_power")
    try:
        exponent = operator.index(n)
    except TypeError:
        raise TypeError(f"{source.where()}matrix_power takes an integer as n, got {n!r}.") from None
    if exponent < 0:
        x, exponent = inv(x), -exponent
    if exponent == 0:
        return identities(x)
    power: Any = x if exponent % 2 else None
    while exponent := exponent // 2:
        x = x @ x
        if exponent % 2:
            power = x if power is None else power @ x
    return power


# ---------------------------------------------------------------------------------------------------------------------
# Chains of products


def multi_dot(arrays: Sequence[ArrayLike], *, precision: object = None) -> Array:
    """The product of two and more matrices, in the order that takes the fewest multiplications.

    Parameters
    ----------
    arrays
        Matrices; the first and the last may be vectors: a row, and a column.
    precision
        Ignored: products are computed in the operands' dtype.

    References
    ----------
    T. H. Cormen, C. E. Leiserson, R. L. Rivest and C. Stein, Introduction to Algorithms, 4th edition 2022, section
    14.2: matrix-chain multiplication.

    >>> import graphad.numpy as gnp
    >>> gnp.linalg.multi_dot([gnp.ones((2, 90)), gnp.ones((90, 90)), gnp.ones(90)])
    Array([8100., 8100.], dtype=float32)
    """
    del precision
    given = tuple(arrays)
    if len(given) < 2:
        raise ValueError(f"{source.where()}multi_dot takes two arrays or more, got {len(given)}.")
    return _multiplied(*given)


@in_float32
def _multiplied(*arrays: ArrayLike) -> Array:
    """Products of products: those between would be rounded."""
    xs = beside("multi_dot", *arrays)
    fits = all([x.ndim == 2 for x in xs[1:-1]]) and all([x.ndim in (1, 2) for x in (xs[0], xs[-1])])
    if not fits or any([x.shape[-1] != y.shape[0] for x, y in pairwise(xs)]):
        shown = ", ".join([shape_text(x) for x in xs])
        raise ValueError(
            f"{source.where()}multi_dot got {shown}: it takes matrices, of which each has as many columns as the next "
            "has rows; the first and the last may be vectors."
        )
    sizes = [1 if xs[0].ndim == 1 else xs[0].shape[0], *[x.shape[0] for x in xs[1:]]]
    sizes.append(1 if xs[-1].ndim == 1 else xs[-1].shape[1])
    return _product(xs, cheapest_order(sizes), 0, len(xs) - 1)


class Order(NamedTuple):
    """How a chain of matrices is multiplied: behind which of them it is split, for every part of it by its ends."""

    splits: dict[tuple[int, int], int]
    cost: int


def cheapest_order(sizes: Sequence[int]) -> Order:
    """The order in which matrices ``sizes[k] x sizes[k + 1]`` are multiplied with the fewest multiplications."""
    n = len(sizes) - 1
    costs = {(k, k): 0 for k in range(n)}
    splits: dict[tuple[int, int], int] = {}
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs[i, j], splits[i, j] = min(
                [(costs[i, k] + costs[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)]
            )
    return Order(splits, costs[0, n - 1])


def _product(xs: Sequence[Any], order: Order, first: int, last: int) -> Any:
    if first == last:
        return xs[first]
    split = order.splits[first, last]
    return _products.matmul(_product(xs, order, first, split), _product(xs, order, split + 1, last))


# ---------------------------------------------------------------------------------------------------------------------
# Arguments


def _matrix(name: str, x: ArrayLike) -> Any:
    found = as_operand(x, name)
    if found.ndim < 2:
        raise ValueError(f"{source.where()}linalg.{name} takes matrices, got {shape_text(found)}.")
    return found
