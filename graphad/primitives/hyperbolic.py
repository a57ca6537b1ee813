"""Hyperbolic functions and their inverses, and the logistic function, which is a hyperbolic tangent.

The derivatives of tanh are primitives of their own: written in tanh, they have no digits left where it is close to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import f32
from graphad.primitives.arithmetic import add, div, mul, sub
from graphad.primitives.families import elementwise
from graphad.primitives.reference import kernel
from graphad.primitives.transcendental import hypot, one_minus_square, rsqrt

# ---------------------------------------------------------------------------------------------------------------------
# Hyperbolic functions

sinh = elementwise(
    "sinh", doc="The hyperbolic sine.", numpy=np.sinh, scalar="sinh({0})", jvp=(lambda t, x, y: mul(t, cosh(x)),)
)

cosh = elementwise(
    "cosh", doc="The hyperbolic cosine.", numpy=np.cosh, scalar="cosh({0})", jvp=(lambda t, x, y: mul(t, sinh(x)),)
)

_COSH, _TANH = kernel("cosh"), kernel("tanh")


def _sech2(x: Any) -> Any:
    c = _COSH(x)
    return c.dtype.type(1) / (c * c)


def _tanh_sech2(x: Any) -> Any:
    c = _COSH(x)
    return _TANH(x) / (c * c)


sech2 = elementwise(
    "sech2",
    doc="1 / cosh(x)**2, the derivative of tanh.",
    numpy=_sech2,
    scalar="1 / (cosh({0}) * cosh({0}))",
    jvp=(lambda t, x, y: mul(t, mul(-2, tanh_sech2(x))),),
    tolerance=8.0,
)


def _tanh_slope(x: Any) -> Any:
    gap = 1 - _TANH(x)
    return np.where(np.abs(x) <= np.float32(3.25), gap * -gap + gap * 2, _sech2(x))


# Of the many ways to write these three, they are those that give JAX's printed digits, in derivatives of order 1 to 3.
tanh_slope = elementwise(
    "tanh_slope",
    doc="As `sech2`, with the float32 digits of 1 - tanh(x)**2 as JAX has them, where that has most of its digits.",
    numpy=_tanh_slope,
    scalar="select(abs({0}) <= 3.25, (1 - tanh({0})) * -(1 - tanh({0})) + (1 - tanh({0})) * 2, "
    "1 / (cosh({0}) * cosh({0})))",
    jvp=(lambda t, x, y: mul(t, mul(-2, tanh_sech2(x))),),
    tolerance=64.0,
)


def _tanh_sech2_jvp(t: Any, x: Any, _y: Any) -> Any:
    tangent = tanh(x)
    return mul(t, mul(sech2(x), sub(1, mul(3, mul(tangent, tangent)))))


tanh_sech2 = elementwise(
    "tanh_sech2",
    doc="tanh(x) / cosh(x)**2, half of the second derivative of tanh, but for the sign.",
    numpy=_tanh_sech2,
    scalar="tanh({0}) / (cosh({0}) * cosh({0}))",
    jvp=(_tanh_sech2_jvp,),
    tolerance=8.0,
)

tanh = elementwise(
    "tanh",
    doc="The hyperbolic tangent.",
    numpy=_TANH,
    scalar="tanh({0})",
    jvp=(lambda t, x, y: mul(t, tanh_slope(x) if x.dtype is f32 else sech2(x)),),
    tolerance=8.0,
)


def _logistic(x: Any) -> Any:
    one = np.asarray(x).dtype.type(1)
    return one / (one + np.exp(-x))


logistic = elementwise(
    "logistic",
    doc="1 / (1 + exp(-x)).",
    numpy=_logistic,
    scalar="1 / (1 + exp(-{0}))",
    jvp=(lambda t, x, y: mul(t, mul(0.25, sech2(mul(0.5, x)))),),
)

# ---------------------------------------------------------------------------------------------------------------------
# Their inverses

asinh = elementwise(
    "asinh",
    doc="The number with this hyperbolic sine.",
    numpy=np.arcsinh,
    scalar="asinh({0})",
    jvp=(lambda t, x, y: div(t, hypot(x, 1)),),
)

acosh = elementwise(
    "acosh",
    doc="The number >= 0 with this hyperbolic cosine; nan below 1.",
    numpy=np.arccosh,
    scalar="acosh({0})",
    jvp=(lambda t, x, y: mul(t, mul(rsqrt(sub(x, 1)), rsqrt(add(x, 1)))),),
    domain=(1.5, 4.0),
)

atanh = elementwise(
    "atanh",
    doc="The number with this hyperbolic tangent; inf at 1, nan outside [-1, 1].",
    numpy=np.arctanh,
    scalar="atanh({0})",
    jvp=(lambda t, x, y: div(t, one_minus_square(x)),),
    domain=(-0.9, 0.9),
)
