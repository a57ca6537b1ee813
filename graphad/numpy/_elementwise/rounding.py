"""Rounding. Integers are what they are, and keep their dtype."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import DType, literal
from graphad.numpy._elementwise.arithmetic import abs
from graphad.numpy._elementwise.logic import where
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, cast, dtype_and_weakness, elementwise, float_for, with_weak


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


around = round
