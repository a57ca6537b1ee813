"""Every elementwise function that has a derivative, and what it is: the names it goes by, and its text in jets."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf

import mpmath
import numpy as np
from mpmath import mp

from tests.tails import jets as j
from tests.tails.jets import Jet


class Reason(Enum):
    """Why a derivative may be farther from the true one than 16 ulp."""

    CONDITION = "the true derivative changes as much when each argument is moved by two ulp"
    EXPONENT = "y - 1, the exponent of the derivative, is rounded to an ulp of 1"
    JAX_DIGITS = "1 - tanh(x)**2 up to 3.25 in float32, for the digits that JAX prints, with the error of tanh"
    RANGE = "the value, the square of an argument, or 8 times the derivative or its inverse is outside the range"


Reasons = tuple[tuple[Reason, ...], tuple[Reason, ...]]


@dataclass(frozen=True)
class Case:
    """A function under one or several names, and what it is.

    Attributes
    ----------
    names
        ``gnp.tanh``, ``prims.tanh`` for a primitive, ``nn.gelu(approximate=False)``.
    exact
        The function of jets; None where it has no derivative, or no limit.
    domain
        An interval for each operand.
    kinks
        Where a function of one operand has no derivative, or one by convention.
    reasons
        For the derivatives of order 1 and of order 2.
    bits
        The precision it takes: differences like 1 - exp(-300) need it.
    """

    names: str
    exact: Callable[..., Jet | None]
    domain: tuple[tuple[float, float], ...] = ((-inf, inf),)
    kinks: tuple[float, ...] = ()
    reasons: Reasons = ((), ())
    bits: int = 500
    dtypes: tuple[type, ...] = (np.float32, np.float64)


ANY, POSITIVE = (-inf, inf), (0.0, inf)
BOTH = (ANY, ANY)
BY_CONDITION: Reasons = ((Reason.CONDITION,), (Reason.CONDITION,))
SECOND_BY_CONDITION: Reasons = ((), (Reason.CONDITION,))
RANGE: Reasons = ((Reason.RANGE,), (Reason.RANGE,))

SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


#: Numbers above it are infinite.
FAR = mpmath.ldexp(1, 2000)


def piecewise(x: Jet, *pieces: tuple[float, Callable[[Jet], Jet]], last: Callable[[Jet], Jet]) -> Jet:
    """The function of the first piece whose end is above x."""
    for end, text in pieces:
        if x.value < end:
            return text(x)
    return last(x)


def logaddexp(x: Jet, y: Jet) -> Jet:
    return x + j.softplus(y - x) if x.value > y.value else y + j.softplus(x - y)


def gelu(x: Jet) -> Jet:
    return x * 0.5 * j.erfc(x * -mpmath.sqrt(mp.mpf(1) / 2))


def gelu_by_tanh(x: Jet) -> Jet:
    return x * j.logistic((x + x * x * x * mp.mpf("0.044715")) * (2 * mpmath.sqrt(2 / mp.pi)))


def cos_angle(x: Jet, y: Jet) -> Jet | None:
    r = hypot(x, y)
    return r and x / r


def remainder(x: Jet, y: Jet) -> Jet | None:
    if not y.value or max(abs(x.value), abs(y.value)) > FAR:
        return None
    quotient = x.value / y.value
    whole = mpmath.floor(abs(quotient)) * mpmath.sign(quotient)
    return None if whole == quotient else x - y * whole


def greater(x: Jet, y: Jet) -> Jet | None:
    return None if x.value == y.value else x if x.value > y.value else y


def quotient(x: Jet, y: Jet) -> Jet | None:
    return x / y if y.value else None


def copysign(x: Jet, y: Jet) -> Jet | None:
    return absolute(x) * (1 if y.value > 0 else -1) if x.value and y.value else None


def other(x: Jet | None) -> Jet | None:
    return None if x is None else -x


def logaddexp2(x: Jet, y: Jet) -> Jet:
    return logaddexp(x * mpmath.log(2), y * mpmath.log(2)) / mpmath.log(2)


def sech2(x: Jet) -> Jet:
    c = j.cosh(x)
    return 1 / (c * c)


def mish(x: Jet) -> Jet:
    return x * j.tanh(j.softplus(x))


def hypot(x: Jet, y: Jet) -> Jet | None:
    return j.sqrt(x * x + y * y) if x.value or y.value else None


def atan2(y: Jet, x: Jet) -> Jet | None:
    """Its value is another beside the axes; its derivatives are those."""
    if not x.value and not y.value:
        return None
    return j.arctan(y / x) if abs(x.value) >= abs(y.value) else -j.arctan(x / y)


def power(x: Jet, y: Jet) -> Jet | None:
    """None where there is no limit, or what stands for infinity is too small to show it."""
    if x.value <= 0 or (x.value > FAR and abs(y.value) < 0.1) or (x.value == 1 and abs(y.value) > FAR):
        return None
    return j.exp(y * j.log(x))


def sinc(x: Jet) -> Jet:
    v = x * mp.pi
    if abs(x.value) > 0.1:
        return j.sin(v) / v
    square, result = v * v, Jet({(0, 0): mp.mpf(0)})
    for k in reversed(range(30)):
        result = result * square + mp.mpf((-1) ** k) / math.factorial(2 * k + 1)
    return result


def cbrt(x: Jet) -> Jet | None:
    if not x.value:
        return None
    third = mp.mpf(1) / 3
    return j.power(x, third) if x.value > 0 else -j.power(-x, third)


def log1mexp(x: Jet) -> Jet | None:
    return j.log(-j.expm1(-x)) if x.value > 0 else None


def squareplus(x: Jet) -> Jet:
    return (x + j.sqrt(x * x + 4)) / 2


def absolute(x: Jet) -> Jet:
    return x if x.value >= 0 else -x


def elu(alpha: float) -> Callable[[Jet], Jet]:
    return lambda x: x if x.value > 0 else j.expm1(x) * alpha


def celu(alpha: float) -> Callable[[Jet], Jet]:
    return lambda x: x if x.value > 0 else j.expm1(x / alpha) * alpha


def positive_part(text: Callable[[Jet], Jet]) -> Callable[[Jet], Jet | None]:
    return lambda x: text(x) if x.value > 0 else None


def relu6(x: Jet) -> Jet:
    return piecewise(x, (0, lambda x: x * 0), (6, lambda x: x), last=lambda x: x * 0 + 6)


def hard_sigmoid(x: Jet) -> Jet:
    return relu6(x + 3) / 6


UNARY = [
    Case("prims.sqrt gnp.sqrt lax.sqrt", positive_part(j.sqrt), (POSITIVE,)),
    Case("prims.rsqrt lax.rsqrt", positive_part(lambda x: j.power(x, mp.mpf(-1) / 2)), (POSITIVE,)),
    Case("prims.cbrt gnp.cbrt lax.cbrt", cbrt),
    Case("prims.exp gnp.exp lax.exp", j.exp),
    Case("gnp.exp2 lax.exp2", lambda x: j.exp(x * mpmath.log(2)), reasons=RANGE),
    Case("prims.expm1 gnp.expm1 lax.expm1", j.expm1),
    Case("prims.log gnp.log lax.log", positive_part(j.log), (POSITIVE,)),
    Case("gnp.log2", positive_part(lambda x: j.log(x) / mpmath.log(2)), (POSITIVE,)),
    Case("gnp.log10", positive_part(lambda x: j.log(x) / mpmath.log(10)), (POSITIVE,)),
    Case("prims.log1p gnp.log1p lax.log1p", lambda x: j.log1p(x) if x.value > -1 else None, ((-1.0, inf),)),
    Case("prims.logistic lax.logistic nn.sigmoid", j.logistic),
    Case("prims.sin gnp.sin lax.sin", j.sin, kinks=(-inf, inf)),
    Case("prims.cos gnp.cos lax.cos", j.cos, kinks=(-inf, inf)),
    Case("prims.tan gnp.tan lax.tan", j.tan, kinks=(-inf, inf)),
    Case("prims.asin gnp.arcsin gnp.asin lax.asin", j.arcsin, ((-1.0, 1.0),), kinks=(-1.0, 1.0)),
    Case("prims.acos gnp.arccos gnp.acos lax.acos", lambda x: -j.arcsin(x), ((-1.0, 1.0),), kinks=(-1.0, 1.0)),
    Case("prims.atan gnp.arctan gnp.atan lax.atan", j.arctan),
    Case("prims.sinh gnp.sinh lax.sinh", j.sinh),
    Case("prims.cosh gnp.cosh lax.cosh", j.cosh),
    Case("prims.tanh gnp.tanh lax.tanh nn.tanh", j.tanh, reasons=((Reason.JAX_DIGITS,), ())),
    Case("prims.asinh gnp.arcsinh gnp.asinh lax.asinh", j.arcsinh),
    Case("prims.acosh gnp.arccosh gnp.acosh lax.acosh", j.arccosh, ((1.0, inf),), kinks=(1.0,)),
    Case("prims.atanh gnp.arctanh gnp.atanh lax.atanh", j.arctanh, ((-1.0, 1.0),), kinks=(-1.0, 1.0)),
    Case("prims.erf lax.erf", j.erf, reasons=BY_CONDITION),
    Case("prims.erfc lax.erfc", j.erfc, reasons=BY_CONDITION),
    Case("prims.erf_inv lax.erf_inv", j.erfinv, ((-1.0, 1.0),), kinks=(-1.0, 1.0), reasons=BY_CONDITION),
    Case("prims.abs_ gnp.abs gnp.absolute gnp.fabs lax.abs", absolute, kinks=(0.0,)),
    Case("prims.sech2", sech2, reasons=SECOND_BY_CONDITION),
    Case("prims.tanh_slope", sech2, reasons=((Reason.JAX_DIGITS,), (Reason.CONDITION,))),
    Case("prims.logistic_slope", lambda x: sech2(x / 2) / 4, reasons=SECOND_BY_CONDITION),
    Case("prims.tanh_sech2", lambda x: j.tanh(x) * sech2(x), reasons=BY_CONDITION),
    Case("prims.lorentzian", lambda x: 1 / (x * x + 1), reasons=SECOND_BY_CONDITION),
    Case("prims.one_minus_square", lambda x: 1 - x * x),
    Case("gnp.deg2rad gnp.radians", lambda x: x * (mp.pi / 180)),
    Case("gnp.rad2deg gnp.degrees", lambda x: x * (180 / mp.pi)),
    Case("gnp.square lax.square", lambda x: x * x),
    Case("gnp.reciprocal lax.reciprocal", lambda x: 1 / x if x.value else None),
    Case("gnp.sinc", sinc, kinks=(-inf, inf), reasons=BY_CONDITION),  # nan at infinity, as NumPy has it
    Case("nn.relu", positive_part(lambda x: x), kinks=(0.0,)),
    Case("nn.relu6", relu6, kinks=(0.0, 6.0)),
    Case("nn.leaky_relu", lambda x: x if x.value > 0 else x * 0.01, kinks=(0.0,)),
    Case("nn.elu", elu(1.0), kinks=(0.0,)),
    Case("nn.celu", celu(1.0), kinks=(0.0,)),
    Case("nn.selu", lambda x: elu(SELU_ALPHA)(x) * SELU_SCALE, kinks=(0.0,)),
    Case("nn.log_sigmoid", lambda x: -j.softplus(-x)),
    Case("nn.softplus", j.softplus),
    Case("nn.silu nn.swish", lambda x: x * j.logistic(x), reasons=BY_CONDITION),
    Case("nn.gelu", gelu_by_tanh, reasons=BY_CONDITION),
    Case("nn.gelu(approximate=False)", gelu, reasons=BY_CONDITION),
    Case("nn.mish", mish, reasons=BY_CONDITION),
    Case("nn.soft_sign", lambda x: x / (absolute(x) + 1), kinks=(0.0,), bits=2500),
    Case("nn.hard_tanh", lambda x: x if abs(x.value) < 1 else x * 0, kinks=(-1.0, 1.0)),
    Case("nn.hard_sigmoid", hard_sigmoid, kinks=(-3.0, 3.0)),
    Case("nn.hard_silu nn.hard_swish", lambda x: x * hard_sigmoid(x), kinks=(-3.0, 3.0)),
    Case("nn.squareplus", squareplus, bits=2500),
    Case(
        "nn.sparse_plus",
        lambda x: piecewise(x, (-1, lambda x: x * 0), (1, lambda x: (x + 1) * (x + 1) / 4), last=lambda x: x),
        kinks=(-1.0, 1.0),
    ),
    Case("nn.sparse_sigmoid", lambda x: (x + 1) / 2 if abs(x.value) < 1 else x * 0, kinks=(-1.0, 1.0)),
    Case("nn.log1mexp", log1mexp, (POSITIVE,)),
    *(
        Case(
            f"prims.integer_pow(n={n}) lax.integer_pow(y={n})",
            lambda x, n=n: j.power(x, mp.mpf(n)) if x.value or n > 0 else None,
            reasons=RANGE if n < 0 else ((), ()),
        )
        for n in (2, 3, 7, -1, -2, -3)
    ),
]

BINARY = [
    Case("prims.mul gnp.multiply lax.mul", lambda x, y: x * y, BOTH),
    Case("prims.div gnp.divide gnp.true_divide lax.div", quotient, BOTH, reasons=((), (Reason.RANGE,))),
    Case("prims.rem gnp.fmod lax.rem", remainder, BOTH),
    Case("prims.maximum gnp.maximum gnp.fmax lax.max", greater, BOTH),
    Case("prims.minimum gnp.minimum gnp.fmin lax.min", lambda x, y: other(greater(-x, -y)), BOTH),
    Case("prims.copysign gnp.copysign", copysign, BOTH),
    Case("prims.hypot gnp.hypot", hypot, BOTH, reasons=SECOND_BY_CONDITION, bits=5000),
    Case("prims.cos_angle", cos_angle, BOTH, reasons=((), (Reason.CONDITION, Reason.RANGE)), bits=5000),
    Case("prims.atan2 gnp.arctan2 gnp.atan2 lax.atan2", atan2, BOTH, reasons=((), (Reason.CONDITION, Reason.RANGE))),
    Case(
        "prims.power gnp.power gnp.pow gnp.float_power lax.pow", power, (POSITIVE, ANY),
        reasons=((Reason.CONDITION, Reason.EXPONENT, Reason.RANGE),) * 2,
    ),
    Case("gnp.logaddexp", logaddexp, BOTH, reasons=BY_CONDITION),
    Case("gnp.logaddexp2", logaddexp2, BOTH, reasons=BY_CONDITION),
]  # fmt: skip

CASES = [*UNARY, *BINARY]

#: Derivatives that are 0 or 1 everywhere, or a choice between such: there is no digit to lose.
TRIVIAL = """
add angle around array asarray astype atleast_1d bfloat16 block broadcast_arrays ceil clip conj conjugate copy divmod
double empty_like float16 float32 float64 floor floor_divide frexp full_like heaviside histogram_bin_edges imag ix_
meshgrid mod modf nan_to_num negative nextafter ones_like positive ravel real remainder rint round sign single spacing
squeeze subtract transpose trunc where zeros_like clamp convert_element_type neg select stop_gradient sub identity
eq ne lt le gt ge is_finite convert bitcast round_ abs_
"""
