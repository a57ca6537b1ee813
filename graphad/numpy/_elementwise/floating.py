"""The parts of floating-point numbers: sign, fraction and exponent; their neighbours."""

from __future__ import annotations

from typing import NamedTuple

import ml_dtypes
import numpy as np

from graphad.ir.types import DTYPES, DType, i32, i64
from graphad.numpy._elementwise.extrema import clip
from graphad.numpy._elementwise.logic import everywhere, isfinite, isinf, isnan, isneginf, isposinf, where
from graphad.numpy._elementwise.rounding import trunc
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.primitives.cast import bitcast
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_operand, cast, dtype_and_weakness, elementwise

# ---------------------------------------------------------------------------------------------------------------------
# Signs


def signbit(x: ArrayLike, /) -> Array:
    """Whether the sign bit is set: of -0.0 and of negative nans it is.

    >>> import graphad.numpy as gnp
    >>> gnp.signbit(gnp.array([1.0, -0.0]))
    Array([False,  True], dtype=bool)
    """
    x = as_operand(x, "signbit")
    kind = dtype_and_weakness(x)[0].kind
    if kind in "bu":
        return everywhere(False, x)
    return (elementwise(prims.copysign, 1.0, x) if kind == "f" else x) < 0


def copysign(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The magnitude of x with the sign bit of y.

    >>> import graphad.numpy as gnp
    >>> gnp.copysign(2.0, -0.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.copysign, x, y, to_float=True)


def nan_to_num(
    x: ArrayLike,
    copy: bool = True,
    nan: ArrayLike = 0.0,
    posinf: ArrayLike | None = None,
    neginf: ArrayLike | None = None,
) -> Array:
    """``x`` with numbers for nan and the infinities; for these by default the largest and the smallest that there are.

    The result is always new: ``copy`` is there for NumPy's sake.

    >>> import graphad.numpy as gnp
    >>> gnp.nan_to_num(gnp.array([1.0, gnp.nan, gnp.inf]), posinf=9.0)
    Array([1., 0., 9.], dtype=float32)
    """
    x = as_operand(x, "nan_to_num")
    dtype, _ = dtype_and_weakness(x)
    if not dtype.is_float:
        return x
    limits = ml_dtypes.finfo(dtype.numpy)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    for found, value in ((isnan(x), nan), (isposinf(x), high), (isneginf(x), low)):
        x = where(found, cast(value, dtype), x)
    return x


# ---------------------------------------------------------------------------------------------------------------------
# Fraction and exponent


class _Format(NamedTuple):
    """Of a floating-point type: its integers of the same width, bits of the fraction, greatest exponent."""

    pattern: DType
    fraction: int
    bias: int


def _format(dtype: DType) -> _Format:
    limits = ml_dtypes.finfo(dtype.numpy)
    return _Format(DTYPES[f"i{dtype.bits}"], int(limits.nmant), int(limits.maxexp) - 1)


def _power_of_two(n: Array, dtype: DType) -> Array:
    """``2**n`` for exponents of normal numbers, put together from its bits."""
    pattern, fraction, bias = _format(dtype)
    return bitcast(cast((n + bias) << fraction, pattern), dtype=dtype)


def ldexp(x: ArrayLike, n: ArrayLike, /) -> Array:
    """``x * 2**n``, for integers n of any size.

    >>> import graphad.numpy as gnp
    >>> gnp.ldexp(gnp.array([0.5, 3.0]), gnp.array([2, -1]))
    Array([2. , 1.5], dtype=float32)
    """
    x, n = as_float(x, "ldexp"), as_operand(n, "ldexp")
    if not dtype_and_weakness(n)[0].is_integer:
        raise TypeError(f"{source.where()}ldexp got the exponents {n.aval}, which must be integers. Write x * 2.0**n.")
    dtype, _ = dtype_and_weakness(x)
    bias = _format(dtype).bias
    left = clip(cast(n, i64), -4 * bias, 4 * bias)
    for _ in range(3):  # the first factor is all there is, but where it must undo a denormal or a number of that size
        step = clip(left, 1 - bias, bias)
        x, left = x * _power_of_two(step, dtype), left - step
    return x


def frexp(x: ArrayLike, /) -> tuple[Array, Array]:
    """Fraction in [0.5, 1) and exponent: ``x == fraction * 2**exponent``. The exponent of 0, inf and nan is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.frexp(gnp.array([3.0, -0.25]))
    (Array([ 0.75, -0.5 ], dtype=float32), Array([ 2, -1], dtype=int32))
    """
    x = as_float(x, "frexp")
    dtype, _ = dtype_and_weakness(x)
    pattern, fraction, bias = _format(dtype)
    size = abs(x)
    denormal = size < float(ml_dtypes.finfo(dtype.numpy).tiny)
    bits = bitcast(where(denormal, size * 2.0 ** (fraction + 1), size), dtype=pattern)
    exponent = cast(bits >> fraction, i32) - (bias - 1) - where(denormal, fraction + 1, 0)
    special = (x == 0) | ~isfinite(x)
    exponent = where(special, 0, exponent)
    return where(special, x, ldexp(x, -exponent)), exponent


def modf(x: ArrayLike, /) -> tuple[Array, Array]:
    """Fractional and whole part, both with the sign of x.

    >>> import graphad.numpy as gnp
    >>> gnp.modf(-2.5)
    (Array(-0.5, dtype=float32, weak_type=True), Array(-2., dtype=float32, weak_type=True))
    """
    x = as_float(x, "modf")
    whole = trunc(x)
    return where(isinf(x), 0.0, x - whole), whole


# ---------------------------------------------------------------------------------------------------------------------
# Neighbours


def nextafter(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The floating-point number next to x in the direction of y.

    >>> import graphad.numpy as gnp
    >>> gnp.nextafter(1.0, 2.0) - 1.0
    Array(1.1920929e-07, dtype=float32, weak_type=True)
    """
    return elementwise(prims.nextafter, x, y, to_float=True)


def spacing(x: ArrayLike, /) -> Array:
    """The distance to the next floating-point number away from 0, with the sign of x.

    >>> import graphad.numpy as gnp
    >>> gnp.spacing(1.0)
    Array(1.1920929e-07, dtype=float32, weak_type=True)
    """
    x = as_float(x, "spacing")
    return nextafter(x, copysign(np.inf, x)) - x
