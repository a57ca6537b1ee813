"""Hyperbolic functions and their inverses, and the logistic function, which is a hyperbolic tangent.

The derivatives of tanh are primitives of their own: written in terms of tanh, they cancel where it is close to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import f32, f64
from graphad.primitives.arithmetic import add, div, mul, neg, sub
from graphad.primitives.cast import in_f32
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
    doc="1 / cosh(x)**2.",
    numpy=_sech2,
    scalar="1 / (cosh({0}) * cosh({0}))",
    jvp=(lambda t, x, y: mul(t, mul(-2, tanh_sech2(x))),),
    tolerance=8.0,
)


# Of the many ways to write these three, they are those that give JAX's printed digits, in derivatives of order 1 to 3.
tanh_slope = elementwise(
    "tanh_slope",
    doc="The derivative of tanh: as `sech2`, but it shares tanh(x) with what else is computed.",
    numpy=lambda x: kernel("tanh_slope")(x, _TANH(x)),
    scalar="tanh_slope({0}, tanh({0}))",
    jvp=(lambda t, x, y: mul(t, mul(-2, tanh_sech2(x))),),
    dtypes=(f32, f64),  # 16 bits of tanh(x) are too few
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
    jvp=(in_f32(lambda t, x, y: mul(t, tanh_slope(x))),),
    tolerance=8.0,
)


def _logistic(x: Any) -> Any:
    one = np.asarray(x).dtype.type(1)
    return one / (one + np.exp(-x))


def _logistic_slope(x: Any) -> Any:
    y = _logistic(x)
    return y * np.where(x < 0, 1 - y, y * np.exp(-x))


# 1 - logistic(x) without cancellation: logistic(x) * exp(-x), where that is no product of 0 and infinity.
logistic_slope = elementwise(
    "logistic_slope",
    doc="The derivative of `logistic`: logistic(x) * logistic(-x).",
    numpy=_logistic_slope,
    scalar="1 / (1 + exp(-{0})) * select({0} < 0, 1 - 1 / (1 + exp(-{0})), 1 / (1 + exp(-{0})) * exp(-{0}))",
    jvp=(lambda t, x, y: mul(t, mul(y, neg(tanh(mul(0.5, x))))),),
    tolerance=8.0,
)

logistic = elementwise(
    "logistic",
    doc="1 / (1 + exp(-x)).",
    numpy=_logistic,
    scalar="1 / (1 + exp(-{0}))",
    jvp=(lambda t, x, y: mul(t, logistic_slope(x)),),
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
