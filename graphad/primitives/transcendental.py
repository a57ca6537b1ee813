"""Roots, powers, exponentials, logarithms, trigonometric functions, the error function.

Derivatives are written so that they neither cancel nor overflow where the function does not, with everything but one
last product free of the tangent: that product is all that remains of the rule in a linearized program. A derivative
whose own derivative would lose digits is a primitive (`cos_angle`, `lorentzian`, ...), with the rule that keeps them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.types import literal
from graphad.primitives.arithmetic import add, clamp, div, mul, neg, scaled_by_reciprocal, sub
from graphad.primitives.comparison import and_, eq, select
from graphad.primitives.families import elementwise, literal_of
from graphad.primitives.reference import kernel

# ---------------------------------------------------------------------------------------------------------------------
# Roots and powers

sqrt = elementwise(
    "sqrt",
    doc="The square root; nan below zero.",
    numpy=np.sqrt,
    scalar="sqrt({0})",
    jvp=(lambda t, x, y: mul(t, mul(div(1.0, y), 0.5)),),  # one quotient, where the user has the reciprocal as well
    domain=(0.5, 3.0),
)

rsqrt = elementwise(
    "rsqrt",
    doc="1 / sqrt(x); inf at 0, nan below.",
    numpy=lambda x: np.asarray(x).dtype.type(1) / np.sqrt(x),
    scalar="1 / sqrt({0})",
    jvp=(lambda t, x, y: mul(t, div(mul(-0.5, y), x)),),
    domain=(0.5, 3.0),
)


def _cbrt_jvp(t: Any, _x: Any, y: Any) -> Any:
    """1 / (3 y*y), by an inverse that is squared: y*y has an infinite derivative at infinity."""
    inverse = div(1, y)
    return mul(t, mul(mul(inverse, inverse), 1 / 3))


cbrt = elementwise(
    "cbrt",
    doc="The cube root, of negative numbers too.",
    numpy=np.cbrt,
    scalar="cbrt({0})",
    jvp=(_cbrt_jvp,),
    domain=(0.5, 3.0),
)


hypot = elementwise(
    "hypot",
    doc="sqrt(x*x + y*y) without overflow; inf if either is infinite. The derivative at the origin is taken as 0.",
    numpy=np.hypot,
    scalar="hypot({0}, {1})",
    jvp=(lambda t, x, y, r: mul(t, cos_angle(x, y)), lambda t, x, y, r: mul(t, cos_angle(y, x))),
    domain=((0.5, 3.0), (-3.0, 3.0)),
    commutative=True,
)


def _cos_angle(x: Any, y: Any) -> Any:
    longer = np.maximum(np.abs(x), np.abs(y))
    a, b = (np.where(np.abs(v) == longer, np.copysign(longer.dtype.type(1), v), v / longer) for v in (x, y))
    return np.where(longer == 0, x, a / np.sqrt(a * a + b * b))


def _turning(x: Any, y: Any) -> Any:
    """sin / r of the angle of (x, y): how fast the angle changes with x, but for the sign; 0 at the origin."""
    r = hypot(x, y)
    return div(cos_angle(y, x), select(eq(r, 0), literal(1, r.dtype), r))


_PART = "select(abs({v}) == maximum(abs({0}), abs({1})), copysign(1, {v}), {v} / maximum(abs({0}), abs({1})))"
_COSINE, _SINE = _PART.replace("{v}", "{0}"), _PART.replace("{v}", "{1}")

cos_angle = elementwise(
    "cos_angle",
    doc="x / hypot(x, y), the cosine of the angle of the point (x, y), infinite ones too; 0 at the origin.",
    numpy=_cos_angle,
    scalar="select(maximum(abs({0}), abs({1})) == 0, {0}, "
    f"{_COSINE} / sqrt({_COSINE} * {_COSINE} + {_SINE} * {_SINE}))",
    jvp=(
        lambda t, x, y, c: mul(t, mul(_turning(x, y), cos_angle(y, x))),
        lambda t, x, y, c: mul(t, neg(mul(_turning(x, y), c))),
    ),
    domain=((0.5, 3.0), (-3.0, 3.0)),
)


def _power_by_base(t: Any, x: Any, y: Any, _z: Any) -> Any:
    """d/dx x**y = y * x**(y-1); zero where y is, at x = 0 too, and where x**(y-1) is, for infinite y too."""
    constant = literal_of(y)
    if constant is not None:
        return mul(t, mul(y, power(x, literal(constant.item() - 1 if constant.value != 0 else 1, y.dtype))))
    slope = power(_but_zero_to_zero(x, y), sub(y, 1))
    return mul(t, mul(select(eq(slope, 0), 0, y), slope))


def _power_by_exponent(t: Any, x: Any, y: Any, z: Any) -> Any:
    """d/dy x**y = log(x) * x**y; zero where x**y is, and for 0**0."""
    constant = literal_of(x)
    if constant is not None and constant.value != 0:
        return mul(t, mul(literal(np.log(constant.value), x.dtype), z))
    return mul(t, mul(select(eq(z, 0), 0, log(_but_zero_to_zero(x, y))), z))


def _but_zero_to_zero(x: Any, y: Any) -> Any:
    """x, and 1 where x and y are 0: all that is written in it is finite there."""
    return select(and_(eq(x, 0), eq(y, 0)), literal(1, x.dtype), x)


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
    jvp=(lambda t, x, y: mul(t, exp(x)),),  # y + 1 cancels where y is close to -1
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
    jvp=(lambda t, x, y: scaled_by_reciprocal(t, add(x, 1)),),
    domain=(-0.5, 3.0),
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


one_minus_square = elementwise(
    "one_minus_square",
    doc="1 - x*x, factored so that it keeps its digits near 1 and -1.",
    numpy=lambda x: (np.asarray(x).dtype.type(1) - x) * (np.asarray(x).dtype.type(1) + x),
    scalar="(1 - {0}) * (1 + {0})",
    jvp=(lambda t, x, y: mul(t, mul(-2, x)),),  # that of the factors cancels near 0
)

asin = elementwise(
    "asin",
    doc="The angle in [-pi/2, pi/2] of this sine; nan outside [-1, 1].",
    numpy=np.arcsin,
    scalar="asin({0})",
    jvp=(lambda t, x, y: scaled_by_reciprocal(t, sqrt(one_minus_square(x))),),
    domain=(-0.9, 0.9),
)

acos = elementwise(
    "acos",
    doc="The angle in [0, pi] of this cosine; nan outside [-1, 1].",
    numpy=np.arccos,
    scalar="acos({0})",
    jvp=(lambda t, x, y: scaled_by_reciprocal(t, neg(sqrt(one_minus_square(x)))),),
    domain=(-0.9, 0.9),
)


def _lorentzian_jvp(t: Any, x: Any, y: Any) -> Any:
    """-2x * y*y, in an order that neither overflows nor underflows on the way."""
    within = select(eq(y, 0), 0, x)
    return mul(t, mul(mul(-2, mul(within, y)), y))


lorentzian = elementwise(
    "lorentzian",
    doc="1 / (1 + x*x).",
    numpy=lambda x: np.asarray(x).dtype.type(1) / (np.asarray(x).dtype.type(1) + x * x),
    scalar="1 / (1 + {0} * {0})",
    jvp=(_lorentzian_jvp,),
)

atan = elementwise(
    "atan",
    doc="The angle in [-pi/2, pi/2] of this tangent.",
    numpy=np.arctan,
    scalar="atan({0})",
    jvp=(lambda t, x, y: mul(t, lorentzian(x)),),
)

atan2 = elementwise(
    "atan2",
    doc="atan2(y, x): the angle in [-pi, pi] of the point (x, y). The sign of a zero y is that of the angle.",
    numpy=np.arctan2,
    scalar="atan2({0}, {1})",
    jvp=(
        lambda t, y, x, z: mul(t, div(cos_angle(x, y), hypot(x, y))),
        lambda t, y, x, z: mul(t, neg(div(cos_angle(y, x), hypot(x, y)))),
    ),
    domain=((-3.0, 3.0), (0.5, 3.0)),
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
