"""Functions of each element beyond the everyday ones: inverse hyperbolic functions, angles, roots, steps."""

from __future__ import annotations

import math

from graphad.numpy._arithmetic import greater_and_gap
from graphad.numpy._logic import isnan, where
from graphad.numpy._math import exp, floor, log1p, rint, sign, sin
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_floats, beside, elementwise

# ---------------------------------------------------------------------------------------------------------------------
# Inverse hyperbolic functions


def arcsinh(x: ArrayLike, /) -> Array:
    """The number whose hyperbolic sine is x.

    >>> import graphad.numpy as gnp
    >>> gnp.arcsinh(1.0)
    Array(0.8813736, dtype=float32, weak_type=True)
    """
    return elementwise(prims.asinh, x, to_float=True, name="arcsinh")


def arccosh(x: ArrayLike, /) -> Array:
    """The number >= 0 whose hyperbolic cosine is x; nan below 1.

    >>> import graphad.numpy as gnp
    >>> gnp.arccosh(1.0)
    Array(0., dtype=float32, weak_type=True)
    """
    return elementwise(prims.acosh, x, to_float=True, name="arccosh")


def arctanh(x: ArrayLike, /) -> Array:
    """The number whose hyperbolic tangent is x; nan outside [-1, 1].

    >>> import graphad.numpy as gnp
    >>> gnp.arctanh(0.5)
    Array(0.54930615, dtype=float32, weak_type=True)
    """
    return elementwise(prims.atanh, x, to_float=True, name="arctanh")


# ---------------------------------------------------------------------------------------------------------------------
# Angles


def arctan2(y: ArrayLike, x: ArrayLike, /) -> Array:
    """The angle in [-pi, pi] of the point (x, y).

    >>> import graphad.numpy as gnp
    >>> gnp.arctan2(1.0, -1.0)
    Array(2.3561945, dtype=float32, weak_type=True)
    """
    return elementwise(prims.atan2, y, x, to_float=True, name="arctan2")


@in_float32
def deg2rad(x: ArrayLike, /) -> Array:
    """An angle in degrees as one in radians.

    >>> import graphad.numpy as gnp
    >>> gnp.deg2rad(180.0)
    Array(3.1415927, dtype=float32, weak_type=True)
    """
    return as_float(x, "deg2rad") * (math.pi / 180)


@in_float32
def rad2deg(x: ArrayLike, /) -> Array:
    """An angle in radians as one in degrees.

    >>> import graphad.numpy as gnp
    >>> gnp.rad2deg(gnp.pi)
    Array(180., dtype=float32, weak_type=True)
    """
    return as_float(x, "rad2deg") * (180 / math.pi)


#: sin(x) / x in x**2, to 1e-18 on [-1, 1] with its first derivatives.
_SINC: tuple[float, ...] = tuple([(-1) ** k / math.factorial(2 * k + 1) for k in reversed(range(13))])


@in_float32
def sinc(x: ArrayLike, /) -> Array:
    """``sin(pi x) / (pi x)``, and 1 at 0; all its derivatives are right there too.

    >>> import graphad.numpy as gnp
    >>> gnp.sinc(gnp.array([0.0, 0.5]))
    Array([1.       , 0.63661975], dtype=float32)
    """
    x = as_float(x, "sinc")
    angle = x * math.pi
    near = abs(angle) < 1
    square = where(near, angle, 0.0) ** 2
    series = _SINC[0] * square + _SINC[1]
    for coefficient in _SINC[2:]:
        series = series * square + coefficient
    far = where(near, 0.5, x)
    whole = rint(far)  # the sine of the fraction that is left, which is exact, and a sign
    sine = sin((far - whole) * math.pi) * (1 - 2 * (whole - 2 * floor(whole / 2)))
    return where(near, series, sine / (far * math.pi))


# ---------------------------------------------------------------------------------------------------------------------
# Roots, logarithms, steps, extrema


def cbrt(x: ArrayLike, /) -> Array:
    """The cube root, of negative numbers too.

    >>> import graphad.numpy as gnp
    >>> gnp.cbrt(-8.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.cbrt, x, to_float=True)


@in_float32
def logaddexp2(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``log2(2**x + 2**y)`` without overflow.

    >>> import graphad.numpy as gnp
    >>> gnp.logaddexp2(1000.0, 1000.0)
    Array(1001., dtype=float32, weak_type=True)
    """
    greater, gap = greater_and_gap(*as_floats("logaddexp2", x, y))
    return greater + log1p(exp(gap * math.log(2))) / math.log(2)


def heaviside(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The unit step: 0 where x is negative, 1 where it is positive, y where it is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.heaviside(gnp.array([-2.0, 0.0, 3.0]), 0.5)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    x, y = as_floats("heaviside", x, y)
    return where(x == 0, y, 0.5 * (sign(x) + 1))


def fabs(x: ArrayLike, /) -> Array:
    """The absolute value, in floating point.

    >>> import graphad.numpy as gnp
    >>> gnp.fabs(-2)
    Array(2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.abs_, as_float(x, "fabs"))


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


asinh, acosh, atanh = arcsinh, arccosh, arctanh
atan2 = arctan2
radians, degrees = deg2rad, rad2deg
