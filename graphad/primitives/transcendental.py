"""Roots, powers, exponentials, logarithms, trigonometric and hyperbolic functions, the error function.

Derivatives are written so that they neither cancel nor overflow where the function does not, with everything but one
last product free of the tangent: that product is all that remains of the rule in a linearized program.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.types import literal
from graphad.primitives.arithmetic import add, clamp, div, mul, neg, sub
from graphad.primitives.comparison import eq, select
from graphad.primitives.families import elementwise, literal_of
from graphad.primitives.reference import kernel

# ---------------------------------------------------------------------------------------------------------------------
# Roots and powers

sqrt = elementwise(
    "sqrt",
    doc="The square root; nan below zero.",
    numpy=np.sqrt,
    scalar="sqrt({0})",
    jvp=(lambda t, x, y: mul(t, div(0.5, y)),),
    domain=(0.5, 3.0),
)

rsqrt = elementwise(
    "rsqrt",
    doc="1 / sqrt(x); inf at 0, nan below.",
    numpy=lambda x: np.asarray(x).dtype.type(1) / np.sqrt(x),
    scalar="1 / sqrt({0})",
    jvp=(lambda t, x, y: mul(t, mul(-0.5, div(y, x))),),
    domain=(0.5, 3.0),
)

cbrt = elementwise(
    "cbrt",
    doc="The cube root, of negative numbers too.",
    numpy=np.cbrt,
    scalar="cbrt({0})",
    jvp=(lambda t, x, y: mul(t, div(1 / 3, mul(y, y))),),
    domain=(0.5, 3.0),
)


def _cosine(x: Any, r: Any) -> Any:
    """x / r, and 0 at the origin."""
    return div(x, select(eq(r, 0), literal(1, r.dtype), r))


hypot = elementwise(
    "hypot",
    doc="sqrt(x*x + y*y) without overflow; inf if either is infinite. The derivative at the origin is taken as 0.",
    numpy=np.hypot,
    scalar="hypot({0}, {1})",
    jvp=(lambda t, x, y, r: mul(t, _cosine(x, r)), lambda t, x, y, r: mul(t, _cosine(y, r))),
    domain=((0.5, 3.0), (-3.0, 3.0)),
    commutative=True,
)


def _power_by_base(t: Any, x: Any, y: Any, _z: Any) -> Any:
    """d/dx x**y = y * x**(y-1); zero for y = 0, at x = 0 too, where y-1 would make it 0 * inf."""
    constant = literal_of(y)
    if constant is None:
        less = select(eq(y, 0), literal(1, y.dtype), sub(y, 1))
    else:
        less = literal(constant.item() - 1 if constant.value != 0 else 1, y.dtype)
    return mul(t, mul(y, power(x, less)))


def _power_by_exponent(t: Any, x: Any, _y: Any, z: Any) -> Any:
    """d/dy x**y = log(x) * x**y; at x = 0 the logarithm is left out."""
    constant = literal_of(x)
    if constant is None:
        log_x = log(select(eq(x, 0), literal(1, x.dtype), x))
    else:
        log_x = literal(np.log(constant.value) if constant.value != 0 else 0, x.dtype)
    return mul(t, mul(log_x, z))


power = elementwise(
    "pow",
    doc="x to the power y, as C's pow; nan for negative x and y that is no integer.",
    numpy=np.power,
    scalar="pow({0}, {1})",
    jvp=(_power_by_base, _power_by_exponent),
    domain=((0.5, 3.0), (-2.0, 2.0)),
    tolerance=8.0,
)

# ---------------------------------------------------------------------------------------------------------------------
# Exponentials and logarithms

exp = elementwise("exp", doc="e to the power x.", numpy=np.exp, scalar="exp({0})", jvp=(lambda t, x, y: mul(t, y),))

expm1 = elementwise(
    "expm1",
    doc="exp(x) - 1, exact near 0.",
    numpy=np.expm1,
    scalar="expm1({0})",
    jvp=(lambda t, x, y: mul(t, add(y, 1)),),
)

log = elementwise(
    "log",
    doc="The natural logarithm; -inf at 0, nan below.",
    numpy=np.log,
    scalar="log({0})",
    jvp=(lambda t, x, y: div(t, x),),
    domain=(0.5, 3.0),
)

log1p = elementwise(
    "log1p",
    doc="log(1 + x), exact near 0.",
    numpy=np.log1p,
    scalar="log1p({0})",
    jvp=(lambda t, x, y: div(t, add(x, 1)),),
    domain=(-0.5, 3.0),
)


def _logistic(x: Any) -> Any:
    one = np.asarray(x).dtype.type(1)
    return one / (one + np.exp(-x))


logistic = elementwise(
    "logistic",
    doc="1 / (1 + exp(-x)).",
    numpy=_logistic,
    scalar="1 / (1 + exp(-{0}))",
    jvp=(lambda t, x, y: mul(t, mul(y, sub(1, y))),),
)

# ---------------------------------------------------------------------------------------------------------------------
# Trigonometric functions

sin = elementwise("sin", doc="The sine.", numpy=np.sin, scalar="sin({0})", jvp=(lambda t, x, y: mul(t, cos(x)),))

cos = elementwise("cos", doc="The cosine.", numpy=np.cos, scalar="cos({0})", jvp=(lambda t, x, y: mul(t, neg(sin(x))),))

tan = elementwise(
    "tan",
    doc="The tangent.",
    numpy=np.tan,
    scalar="tan({0})",
    jvp=(lambda t, x, y: mul(t, add(1, mul(y, y))),),
    domain=(-1.2, 1.2),
    tolerance=8.0,
)


def _cosine_of_arc(x: Any) -> Any:
    """sqrt(1 - x*x), factored so that it keeps its digits near 1 and -1."""
    return sqrt(mul(sub(1, x), add(1, x)))


asin = elementwise(
    "asin",
    doc="The angle in [-pi/2, pi/2] of this sine; nan outside [-1, 1].",
    numpy=np.arcsin,
    scalar="asin({0})",
    jvp=(lambda t, x, y: div(t, _cosine_of_arc(x)),),
    domain=(-0.9, 0.9),
)

acos = elementwise(
    "acos",
    doc="The angle in [0, pi] of this cosine; nan outside [-1, 1].",
    numpy=np.arccos,
    scalar="acos({0})",
    jvp=(lambda t, x, y: div(t, neg(_cosine_of_arc(x))),),
    domain=(-0.9, 0.9),
)

atan = elementwise(
    "atan",
    doc="The angle in [-pi/2, pi/2] of this tangent.",
    numpy=np.arctan,
    scalar="atan({0})",
    jvp=(lambda t, x, y: div(t, add(1, mul(x, x))),),
)


def _atan2_by_y(t: Any, y: Any, x: Any, _z: Any) -> Any:
    """x / (x*x + y*y), which might overflow, as (x / r) / r."""
    r = hypot(y, x)
    return mul(t, div(div(x, r), r))


def _atan2_by_x(t: Any, y: Any, x: Any, _z: Any) -> Any:
    r = hypot(y, x)
    return mul(t, neg(div(div(y, r), r)))


atan2 = elementwise(
    "atan2",
    doc="atan2(y, x): the angle in [-pi, pi] of the point (x, y). The sign of a zero y is that of the angle.",
    numpy=np.arctan2,
    scalar="atan2({0}, {1})",
    jvp=(_atan2_by_y, _atan2_by_x),
    domain=((-3.0, 3.0), (0.5, 3.0)),
)

# ---------------------------------------------------------------------------------------------------------------------
# Hyperbolic functions

sinh = elementwise(
    "sinh", doc="The hyperbolic sine.", numpy=np.sinh, scalar="sinh({0})", jvp=(lambda t, x, y: mul(t, cosh(x)),)
)

cosh = elementwise(
    "cosh", doc="The hyperbolic cosine.", numpy=np.cosh, scalar="cosh({0})", jvp=(lambda t, x, y: mul(t, sinh(x)),)
)


def _tanh_jvp(t: Any, _x: Any, y: Any) -> Any:
    """1 - y*y as -gap*gap + 2*gap with gap = 1 - y, which keeps its digits near y = 1.

    Of the many ways to write this, it is one that gives JAX's float32 digits in the derivatives of order 1, 2 and 3.
    """
    gap = sub(1, y)
    return mul(t, add(mul(gap, sub(y, 1)), mul(gap, 2)))


tanh = elementwise(
    "tanh", doc="The hyperbolic tangent.", numpy=kernel("tanh"), scalar="tanh({0})", jvp=(_tanh_jvp,), tolerance=8.0
)

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
    jvp=(lambda t, x, y: div(t, mul(sqrt(sub(x, 1)), sqrt(add(x, 1)))),),
    domain=(1.5, 4.0),
)

atanh = elementwise(
    "atanh",
    doc="The number with this hyperbolic tangent; inf at 1, nan outside [-1, 1].",
    numpy=np.arctanh,
    scalar="atanh({0})",
    jvp=(lambda t, x, y: div(t, mul(sub(1, x), add(1, x))),),
    domain=(-0.9, 0.9),
)

# ---------------------------------------------------------------------------------------------------------------------
# The error function


def _bell(x: Any) -> Any:
    """exp(-x*x). Beyond 40 that is 0 in every type; x is held there, or the next derivative would be inf * 0 at inf."""
    held = clamp(-40.0, x, 40.0)
    return exp(neg(mul(held, held)))


erf = elementwise(
    "erf",
    doc="The error function 2/sqrt(pi) * integral of exp(-s*s) from 0 to x.",
    numpy=kernel("erf"),
    scalar="erf({0})",
    jvp=(lambda t, x, y: mul(t, mul(2 / math.sqrt(math.pi), _bell(x))),),
)

erfc = elementwise(
    "erfc",
    doc="1 - erf(x), exact where that is small.",
    numpy=kernel("erfc"),
    scalar="erfc({0})",
    jvp=(lambda t, x, y: mul(t, mul(-2 / math.sqrt(math.pi), _bell(x))),),
)

erf_inv = elementwise(
    "erf_inv",
    doc="The inverse of the error function on (-1, 1); nan outside [-1, 1].",
    numpy=kernel("erf_inv"),
    scalar="erf_inv({0})",
    jvp=(lambda t, x, y: mul(t, mul(math.sqrt(math.pi) / 2, exp(mul(y, y)))),),
    domain=(-0.9, 0.9),
    tolerance=8.0,
)
