"""Exponentials, logarithms and roots."""

from __future__ import annotations

import math

import numpy as np

from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_floats, elementwise

# ---------------------------------------------------------------------------------------------------------------------
# Exponentials and logarithms


def exp(x: ArrayLike, /) -> Array:
    """e to the power of each element.

    >>> import graphad.numpy as gnp
    >>> gnp.exp(0.0)
    Array(1., dtype=float32, weak_type=True)
    """
    return elementwise(prims.exp, x, to_float=True)


@in_float32
def exp2(x: ArrayLike, /) -> Array:
    """2 to the power of each element.

    >>> import graphad.numpy as gnp
    >>> gnp.exp2(3.0)
    Array(8., dtype=float32, weak_type=True)
    """
    return 2.0 ** as_float(x, "exp2")


def expm1(x: ArrayLike, /) -> Array:
    """``exp(x) - 1``, exact near 0.

    >>> import graphad.numpy as gnp
    >>> gnp.expm1(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.expm1, x, to_float=True)


def log(x: ArrayLike, /) -> Array:
    """The natural logarithm; -inf at 0, nan below.

    >>> import graphad.numpy as gnp
    >>> gnp.log(2.0)
    Array(0.6931472, dtype=float32, weak_type=True)
    """
    return elementwise(prims.log, x, to_float=True)


def log1p(x: ArrayLike, /) -> Array:
    """``log(1 + x)``, exact near 0.

    >>> import graphad.numpy as gnp
    >>> gnp.log1p(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.log1p, x, to_float=True)


@in_float32
def log2(x: ArrayLike, /) -> Array:
    """The logarithm to base 2.

    >>> import graphad.numpy as gnp
    >>> gnp.log2(8.0)
    Array(3., dtype=float32)
    """
    return _log_to_base(x, 2, "log2")


@in_float32
def log10(x: ArrayLike, /) -> Array:
    """The logarithm to base 10.

    >>> import graphad.numpy as gnp
    >>> gnp.log10(100.0)
    Array(2., dtype=float32)
    """
    return _log_to_base(x, 10, "log10")


def _log_to_base(x: ArrayLike, base: int, name: str) -> Array:
    x = as_float(x, name)
    return log(x) / Array(np.asarray(math.log(base), x.dtype))


@in_float32
def logaddexp(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``log(exp(x) + exp(y))`` without overflow.

    >>> import graphad.numpy as gnp
    >>> gnp.logaddexp(1000.0, 0.0)
    Array(1000., dtype=float32, weak_type=True)
    """
    greater, gap = greater_and_gap(*as_floats("logaddexp", x, y))
    return greater + log1p(exp(gap))


@in_float32
def logaddexp2(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``log2(2**x + 2**y)`` without overflow.

    >>> import graphad.numpy as gnp
    >>> gnp.logaddexp2(1000.0, 1000.0)
    Array(1001., dtype=float32, weak_type=True)
    """
    greater, gap = greater_and_gap(*as_floats("logaddexp2", x, y))
    return greater + log1p(exp(gap * math.log(2))) / math.log(2)


def greater_and_gap(x: Array, y: Array) -> tuple[Array, Array]:
    """The greater of x and y, and how far the other is below it; of equal infinities the gap is 0.

    What is chosen by ``x > y`` is smooth where x and y meet, as `maximum` and `abs` are not.
    """
    first = x > y
    gap = where(first, y - x, x - y)
    return where(first, x, y), where((x == y) & (gap != gap), 0.0, gap)


# ---------------------------------------------------------------------------------------------------------------------
# Roots


def sqrt(x: ArrayLike, /) -> Array:
    """The square root; nan below 0.

    >>> import graphad.numpy as gnp
    >>> gnp.sqrt(2.0)
    Array(1.4142135, dtype=float32, weak_type=True)
    """
    return elementwise(prims.sqrt, x, to_float=True)


def cbrt(x: ArrayLike, /) -> Array:
    """The cube root, of negative numbers too.

    >>> import graphad.numpy as gnp
    >>> gnp.cbrt(-8.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.cbrt, x, to_float=True)
