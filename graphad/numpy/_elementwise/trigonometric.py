"""Trigonometric and hyperbolic functions, their inverses, and angles."""

from __future__ import annotations

import math

from graphad.numpy._elementwise.logic import where
from graphad.numpy._elementwise.rounding import floor, rint
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, elementwise

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
# Their inverses


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


def arctan2(y: ArrayLike, x: ArrayLike, /) -> Array:
    """The angle in [-pi, pi] of the point (x, y).

    >>> import graphad.numpy as gnp
    >>> gnp.arctan2(1.0, -1.0)
    Array(2.3561945, dtype=float32, weak_type=True)
    """
    return elementwise(prims.atan2, y, x, to_float=True, name="arctan2")


# ---------------------------------------------------------------------------------------------------------------------
# Triangles and angles


@in_float32
def hypot(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``sqrt(x*x + y*y)`` without overflow; inf if either is infinite, be the other nan.

    >>> import graphad.numpy as gnp
    >>> gnp.hypot(3.0, 4.0)
    Array(5., dtype=float32, weak_type=True)
    """
    return elementwise(prims.hypot, x, y, to_float=True, name="hypot")


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


# ---------------------------------------------------------------------------------------------------------------------
# Hyperbolic functions and their inverses


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


asin, acos, atan = arcsin, arccos, arctan
asinh, acosh, atanh = arcsinh, arccosh, arctanh
atan2 = arctan2
radians, degrees = deg2rad, rad2deg
