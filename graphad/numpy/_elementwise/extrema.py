"""The greater and the lesser of two numbers, and numbers between limits."""

from __future__ import annotations

from graphad.numpy._elementwise.arithmetic import of_numbers_or_bools
from graphad.numpy._elementwise.logic import isnan, where
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import beside


def maximum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The greater of x and y; nan if either is.

    >>> import graphad.numpy as gnp
    >>> gnp.maximum(gnp.arange(3), 1)
    Array([1, 1, 2], dtype=int32)
    """
    return of_numbers_or_bools(prims.maximum, prims.or_, "maximum", x, y)


def minimum(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The smaller of x and y; nan if either is.

    >>> import graphad.numpy as gnp
    >>> gnp.minimum(gnp.arange(3), 1)
    Array([0, 1, 1], dtype=int32)
    """
    return of_numbers_or_bools(prims.minimum, prims.and_, "minimum", x, y)


def fmax(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The greater of x and y; where one of them is nan, the other.

    >>> import graphad.numpy as gnp
    >>> gnp.fmax(gnp.array([1.0, gnp.nan]), 0.5)
    Array([1. , 0.5], dtype=float32)
    """
    x, y = beside("fmax", x, y)
    return where((x > y) | isnan(y), x, y)


def fmin(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The smaller of x and y; where one of them is nan, the other.

    >>> import graphad.numpy as gnp
    >>> gnp.fmin(gnp.array([1.0, gnp.nan]), 0.5)
    Array([0.5, 0.5], dtype=float32)
    """
    x, y = beside("fmin", x, y)
    return where((x < y) | isnan(y), x, y)


def clip(x: ArrayLike, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Array:  # noqa: A002
    """``x`` held between ``min`` and ``max``, either of which may be left out.

    >>> import graphad.numpy as gnp
    >>> gnp.clip(gnp.arange(5), 1, 3)
    Array([1, 1, 2, 3, 3], dtype=int32)
    """
    result, *ends = beside("clip", x, *[end for end in (min, max) if end is not None])
    if min is not None:
        result = maximum(ends[0], result)
    return result if max is None else minimum(ends[-1], result)
