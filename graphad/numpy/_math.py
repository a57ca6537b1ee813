"""Functions of one real variable, applied to each element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import DType, literal
from graphad.numpy._logic import where
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_number,
    as_operand,
    cast,
    dtype_and_weakness,
    elementwise,
    float_for,
    with_weak,
)

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


# ---------------------------------------------------------------------------------------------------------------------
# Roots and small powers


def sqrt(x: ArrayLike, /) -> Array:
    """The square root; nan below 0.

    >>> import graphad.numpy as gnp
    >>> gnp.sqrt(2.0)
    Array(1.4142135, dtype=float32, weak_type=True)
    """
    return elementwise(prims.sqrt, x, to_float=True)


def square(x: ArrayLike, /) -> Array:
    """``x * x``.

    >>> import graphad.numpy as gnp
    >>> gnp.square(3)
    Array(9, dtype=int32, weak_type=True)
    """
    x = as_number(x, "square")
    return x * x


def reciprocal(x: ArrayLike, /) -> Array:
    """``1 / x``.

    >>> import graphad.numpy as gnp
    >>> gnp.reciprocal(4.0)
    Array(0.25, dtype=float32, weak_type=True)
    """
    return 1.0 / as_float(x, "reciprocal")


# ---------------------------------------------------------------------------------------------------------------------
# Trigonometric functions


def sin(x: ArrayLike, /) -> Array:
    """The sine.

    >>> import graphad.numpy as gnp
    >>> gnp.sin(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.sin, x, to_float=True)


def cos(x: ArrayLike, /) -> Array:
    """The cosine.

    >>> import graphad.numpy as gnp
    >>> gnp.cos(0.0)
    Array(1., dtype=float32, weak_type=True)
    """
    return elementwise(prims.cos, x, to_float=True)


def tan(x: ArrayLike, /) -> Array:
    """The tangent.

    >>> import graphad.numpy as gnp
    >>> gnp.tan(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.tan, x, to_float=True)


def arcsin(x: ArrayLike, /) -> Array:
    """The angle in [-pi/2, pi/2] whose sine is x; nan outside [-1, 1].

    >>> import graphad.numpy as gnp
    >>> gnp.arcsin(1.0)
    Array(1.5707964, dtype=float32, weak_type=True)
    """
    return elementwise(prims.asin, x, to_float=True, name="arcsin")


def arccos(x: ArrayLike, /) -> Array:
    """The angle in [0, pi] whose cosine is x; nan outside [-1, 1].

    >>> import graphad.numpy as gnp
    >>> gnp.arccos(1.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.acos, x, to_float=True, name="arccos")


def arctan(x: ArrayLike, /) -> Array:
    """The angle in [-pi/2, pi/2] whose tangent is x.

    >>> import graphad.numpy as gnp
    >>> gnp.arctan(1.0)
    Array(0.7853982, dtype=float32, weak_type=True)
    """
    return elementwise(prims.atan, x, to_float=True, name="arctan")


# ---------------------------------------------------------------------------------------------------------------------
# Hyperbolic functions


def sinh(x: ArrayLike, /) -> Array:
    """The hyperbolic sine.

    >>> import graphad.numpy as gnp
    >>> gnp.sinh(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.sinh, x, to_float=True)


def cosh(x: ArrayLike, /) -> Array:
    """The hyperbolic cosine.

    >>> import graphad.numpy as gnp
    >>> gnp.cosh(0.0)
    Array(1., dtype=float32, weak_type=True)
    """
    return elementwise(prims.cosh, x, to_float=True)


def tanh(x: ArrayLike, /) -> Array:
    """The hyperbolic tangent.

    >>> import graphad.numpy as gnp
    >>> gnp.tanh(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.tanh, x, to_float=True)


# ---------------------------------------------------------------------------------------------------------------------
# Sign and rounding: integers are what they are, and keep their dtype


def negative(x: ArrayLike, /) -> Array:
    """``-x``.

    >>> import graphad.numpy as gnp
    >>> gnp.negative(2.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.neg, x, name="negative")


def positive(x: ArrayLike, /) -> Array:
    """``+x``: x itself.

    >>> import graphad.numpy as gnp
    >>> gnp.positive(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return as_operand(x, "positive")


def abs(x: ArrayLike, /) -> Array:  # noqa: A001  (NumPy's name)
    """The absolute value.

    >>> import graphad.numpy as gnp
    >>> gnp.abs(-2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "abs")
    return x if dtype_and_weakness(x)[0].kind in "bu" else elementwise(prims.abs_, x)


def sign(x: ArrayLike, /) -> Array:
    """1, -1, or x itself where it is zero or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.sign(-2.0)
    Array(-1., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "sign")
    dtype, _ = dtype_and_weakness(x)
    if dtype.kind == "u":
        return elementwise(prims.minimum, x, literal(1, dtype).value, name="sign")
    return elementwise(prims.sign, x)


def floor(x: ArrayLike, /) -> Array:
    """The greatest whole number not above x.

    >>> import graphad.numpy as gnp
    >>> gnp.floor(-1.5)
    Array(-2., dtype=float32, weak_type=True)
    """
    return _rounded(prims.floor, x, "floor")


def ceil(x: ArrayLike, /) -> Array:
    """The least whole number not below x.

    >>> import graphad.numpy as gnp
    >>> gnp.ceil(-1.5)
    Array(-1., dtype=float32, weak_type=True)
    """
    return _rounded(prims.ceil, x, "ceil")


def trunc(x: ArrayLike, /) -> Array:
    """The whole part of x.

    >>> import graphad.numpy as gnp
    >>> gnp.trunc(-1.5)
    Array(-1., dtype=float32, weak_type=True)
    """
    return _rounded(prims.trunc, x, "trunc")


def rint(x: ArrayLike, /) -> Array:
    """The nearest whole number, of two the even one, as a float.

    >>> import graphad.numpy as gnp
    >>> gnp.rint(2.5)
    Array(2., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "rint")
    dtype, weak = dtype_and_weakness(x)
    return elementwise(prims.round_, cast(x, float_for(dtype), weak and dtype.is_float))


@in_float32
def round(x: ArrayLike, decimals: int = 0) -> Array:  # noqa: A001  (NumPy's name)
    """The nearest number of so many decimals, of two the even one; ``decimals < 0`` rounds to tens, hundreds, ...

    >>> import graphad.numpy as gnp
    >>> gnp.round(2.675, 1)
    Array(2.7, dtype=float32, weak_type=True)
    """
    x = as_operand(x, "round")
    dtype, weak = dtype_and_weakness(x)
    if decimals < 0 and dtype.is_integer:
        return with_weak(_whole_tens(x, 10**-decimals, dtype), weak)
    if not decimals or not dtype.is_float:
        return _rounded(prims.round_, x, "round")
    factor = float(10**decimals)
    return elementwise(prims.round_, x * factor) / factor


def _whole_tens(x: Any, tens: int, dtype: DType) -> Any:
    """The nearest multiple of ``tens`` to integers, of two the even multiple."""
    if tens > np.iinfo(dtype.numpy).max:
        return x * 0
    by, one = literal(tens, dtype).value, literal(1, dtype).value
    quotient = elementwise(prims.quo, x, by)
    rest = abs(x - quotient * by)
    up = (rest > by - rest) | ((rest == by - rest) & ((quotient & one) == one))
    away = elementwise(prims.sign, x) if dtype.kind == "i" else one
    return (quotient + where(up, away, literal(0, dtype).value)) * by


def _rounded(primitive: Primitive, x: ArrayLike, name: str) -> Array:
    x = as_operand(x, name)
    return elementwise(primitive, x, name=name) if dtype_and_weakness(x)[0].is_float else x


absolute = abs
around = round
asin, acos, atan = arcsin, arccos, arctan
