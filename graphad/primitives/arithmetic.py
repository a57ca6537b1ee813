"""Arithmetic: sums, products, quotients, integer powers, extrema, rounding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from graphad.ir.lowering import Arg, Call, Const, Map, Scalar
from graphad.ir.params import INT
from graphad.ir.primitive import ErrorSample
from graphad.ir.types import DType, Literal, OperandType, aval, i32, literal
from graphad.primitives.comparison import and_, eq, ge, gt, lt, or_, select
from graphad.primitives.families import elementwise

T = TypeVar("T")
_INTEGERS_HAVE_NONE = "its operands are integers, which have no tangent"

# ---------------------------------------------------------------------------------------------------------------------
# Sums and products


def _sub_jvp(tangents: Sequence[Any], _operands: Any, _outputs: Any) -> list[Any]:
    tx, ty = tangents
    if tx is None or ty is None:
        return [tx if ty is None else neg(ty)]
    return [sub(tx, ty)]


add = elementwise(
    "add",
    doc="x + y; integers wrap around.",
    numpy=np.add,
    scalar="{0} + {1}",
    jvp=(lambda t, x, y, z: t, lambda t, x, y, z: t),
    linear=(0, 1),
    transpose={0: lambda ct, x, y: ct, 1: lambda ct, x, y: ct},
    dtypes="fiu",
    commutative=True,
)

sub = elementwise(
    "sub",
    doc="x - y; integers wrap around.",
    numpy=np.subtract,
    scalar="{0} - {1}",
    jvp=_sub_jvp,
    linear=(0, 1),
    transpose={0: lambda ct, x, y: ct, 1: lambda ct, x, y: neg(ct)},
    dtypes="fiu",
)

neg = elementwise(
    "neg",
    doc="-x, the sign bit flipped; integers wrap around.",
    numpy=np.negative,
    scalar="-{0}",
    jvp=(lambda t, x, y: neg(t),),
    linear=(0,),
    transpose={0: lambda ct, x: neg(ct)},
    dtypes="fiu",
)

mul = elementwise(
    "mul",
    doc="x * y; integers wrap around.",
    numpy=np.multiply,
    scalar="{0} * {1}",
    jvp=(lambda t, x, y, z: mul(t, y), lambda t, x, y, z: mul(x, t)),
    linear=(0, 1),
    transpose={0: lambda ct, x, y: mul(ct, y), 1: lambda ct, x, y: mul(x, ct)},
    dtypes="fiu",
    commutative=True,
)


def scaled_by_reciprocal(t: Any, y: Any) -> Any:
    """``t / y`` of a tangent, as ``t * (1 / y)``: the reciprocal is computed once, outside of what is transposed.

    So an adjoint loop multiplies where it would wait for a division. Of 16-bit floats that would cost digits.
    """
    if isinstance(y.atom, Literal) or y.dtype.bits < 32:
        return div(t, y)
    return mul(t, div(1.0, y))


def _over(x: Any, y: Any, z: Any) -> Any:
    """``z / y`` of ``z = x / y``: a reciprocal is squared."""
    is_reciprocal = isinstance(x.atom, Literal) and x.atom.value == 1 and y.dtype.bits >= 32
    return mul(z, z) if is_reciprocal else div(z, y)


div = elementwise(
    "div",
    doc="x / y of floats. Integers: `quo`, or convert first.",
    numpy=np.true_divide,
    scalar="{0} / {1}",
    jvp=(lambda t, x, y, z: scaled_by_reciprocal(t, y), lambda t, x, y, z: mul(t, neg(_over(x, y, z)))),
    linear=(0,),
    transpose={0: lambda ct, x, y: div(ct, y)},
    domain=((-3.0, 3.0), (0.5, 3.0)),
)

# ---------------------------------------------------------------------------------------------------------------------
# Integer quotient, remainder


def _quo(x: Any, y: Any) -> Any:
    x = np.asarray(x)
    by_one = (y == 0) | (y == -1) if x.dtype.kind == "i" else y == 0  # these divide by 1 and are put right after
    divisor = np.where(by_one, x.dtype.type(1), y)
    quotient = (x - np.fmod(x, divisor)) // divisor
    return np.where(y == 0, x.dtype.type(0), np.where(by_one, np.negative(x), quotient))


def _rem(x: Any, y: Any) -> Any:
    x = np.asarray(x)
    if x.dtype.kind == "f" or x.dtype.name == "bfloat16":
        return np.fmod(x, y)
    return np.where(y == 0, x, np.fmod(x, np.where(y == 0, x.dtype.type(1), y)))


quo = elementwise(
    "quo",
    doc="The integer quotient rounded toward zero; x quo 0 is 0, INT_MIN quo -1 is INT_MIN.",
    numpy=_quo,
    scalar="{0} // {1}",
    nondifferentiable=_INTEGERS_HAVE_NONE,
    dtypes="iu",
)

rem = elementwise(
    "rem",
    doc="The remainder of division rounded toward zero, with the sign of x; of integers, x rem 0 is x.",
    numpy=_rem,
    scalar="{0} % {1}",
    # the quotient rounded toward zero, by an exact dividend: x / y may round up to a whole number
    jvp=(lambda t, x, y, z: t, lambda t, x, y, z: mul(t, neg(round_(div(sub(x, z), y))))),
    dtypes="fiu",
    domain=((-3.0, 3.0), (0.5, 0.9)),
)

# ---------------------------------------------------------------------------------------------------------------------
# Integer powers


def _power_chain(x: T, n: int, times: Callable[[T, T], T]) -> T:
    """x to the power n >= 1 by repeated squaring."""
    result: T | None = None
    while True:
        if n & 1:
            result = x if result is None else times(result, x)
        n >>= 1
        if not n:
            assert result is not None  # the highest bit of n is set
            return result
        x = times(x, x)


def _integer_pow(x: Any, n: int) -> Any:
    x = np.asarray(x)
    if n == 0:
        return np.ones_like(x)
    power = _power_chain(x, abs(n), np.multiply)
    return power if n > 0 else x.dtype.type(1) / power


def _scalar_product(a: Scalar, b: Scalar) -> Scalar:
    return Call("mul", (a, b))


def _integer_pow_lowering(_types: tuple[OperandType, ...], params: dict[str, Any]) -> Map:
    n: int = params["n"]
    if n == 0:
        return Map((Const(1),))
    power = _power_chain(Arg(0), abs(n), _scalar_product)
    return Map((power if n > 0 else Call("div", (Const(1), power)),))


def _integer_pow_jvp(tangents: Sequence[Any], operands: Sequence[Any], _outputs: Any, n: int) -> list[Any]:
    (t,), (x,) = tangents, operands
    if n in (0, 1):
        return [t if n else None]
    return [mul(t, mul(x if n == 2 else integer_pow(x, n=n - 1), n))]


def _integer_pow_check(dtype: DType, n: int) -> None:
    if n < 0 and dtype.is_integer:
        raise TypeError(f"integer_pow[n={n}] of {dtype}: a negative power is no integer. Convert to a float first.")


integer_pow = elementwise(
    "integer_pow",
    doc="x to the constant integer power n, by multiplications; 1 for n = 0, 1 / x**-n for negative n.",
    numpy=_integer_pow,
    lowering=_integer_pow_lowering,
    arity=1,
    jvp=_integer_pow_jvp,
    params={"n": INT},
    check=_integer_pow_check,
    param_samples=lambda dtype: [{"n": n} for n in (0, 1, 2, 3, 7, -1, -2, -5) if n >= 0 or dtype.is_float],
    dtypes="fiu",
    domain=(0.5, 2.0),
    errors=(ErrorSample((aval((3,), i32),), {"n": -2}, "Convert to a float first"),),
    tolerance=8.0,
)

# ---------------------------------------------------------------------------------------------------------------------
# Sign and extrema


def _sign_factor(x: Any) -> Any:
    """1 where x >= 0, else -1: the derivative of abs (at 0 the one from the right, as in JAX)."""
    return select(ge(x, 0), literal(1, x.dtype), -1)


def _share(x: Any, y: Any) -> Any:
    """The part of the derivative that the greater of x and y gives to x: all or nothing, and half where they tie."""
    return select(gt(x, y), literal(1, x.dtype), select(eq(x, y), literal(0.5, x.dtype), 0))


abs_ = elementwise(
    "abs",
    doc="|x|; of the smallest integer, that integer.",
    numpy=np.abs,
    scalar="abs({0})",
    jvp=(lambda t, x, y: mul(t, _sign_factor(x)),),
    dtypes="fiu",
)

sign = elementwise(
    "sign",
    doc="1, -1, or x itself where x is a zero or nan.",
    numpy=lambda x: np.where(x > 0, np.asarray(x).dtype.type(1), np.where(x < 0, np.asarray(x).dtype.type(-1), x)),
    scalar="select({0} > 0, 1, select({0} < 0, -1, {0}))",
    jvp=(None,),
    dtypes="fi",
)

maximum = elementwise(
    "maximum",
    doc="The greater of x and y; nan if either is. Where they are equal each gets half of the derivative.",
    numpy=np.maximum,
    scalar="maximum({0}, {1})",
    jvp=(lambda t, x, y, z: mul(t, _share(x, y)), lambda t, x, y, z: mul(t, _share(y, x))),
    dtypes="fiub",
    commutative=True,
)

minimum = elementwise(
    "minimum",
    doc="The smaller of x and y; nan if either is. Where they are equal each gets half of the derivative.",
    numpy=np.minimum,
    scalar="minimum({0}, {1})",
    jvp=(lambda t, x, y, z: mul(t, _share(y, x)), lambda t, x, y, z: mul(t, _share(x, y))),
    dtypes="fiub",
    commutative=True,
)

clamp = elementwise(
    "clamp",
    doc="clamp(low, x, high): x held between two limits, min(max(x, low), high). At a limit the derivative is 0.",
    numpy=lambda low, x, high: np.minimum(np.maximum(x, low), high),
    scalar="minimum(maximum({1}, {0}), {2})",
    jvp=(
        lambda t, low, x, high, y: select(and_(gt(y, x), lt(y, high)), t, 0),
        lambda t, low, x, high, y: select(and_(gt(y, low), lt(y, high)), t, 0),
        lambda t, low, x, high, y: select(or_(lt(y, x), lt(y, low)), t, 0),
    ),
    dtypes="fiu",
    domain=((-2.0, -1.0), (-3.0, 3.0), (1.0, 2.0)),
)

copysign = elementwise(
    "copysign",
    doc="The magnitude of x with the sign bit of y.",
    numpy=np.copysign,
    scalar="copysign({0}, {1})",
    jvp=(lambda t, x, y, z: mul(t, mul(copysign(1, x), copysign(1, z))), None),
    tolerance=0,
)

# ---------------------------------------------------------------------------------------------------------------------
# Rounding: piecewise constant, so the derivative is zero

floor = elementwise(
    "floor", doc="The greatest integer not above x.", numpy=np.floor, scalar="floor({0})", jvp=(None,), tolerance=0
)
ceil = elementwise(
    "ceil", doc="The least integer not below x.", numpy=np.ceil, scalar="ceil({0})", jvp=(None,), tolerance=0
)
round_ = elementwise(
    "round",
    doc="The nearest integer, of two the even one.",
    numpy=np.rint,
    scalar="round({0})",
    jvp=(None,),
    tolerance=0,
)
trunc = elementwise(
    "trunc", doc="The integer part of x.", numpy=np.trunc, scalar="trunc({0})", jvp=(None,), tolerance=0
)

# ---------------------------------------------------------------------------------------------------------------------

stop_gradient = elementwise(
    "stop_gradient",
    doc="x itself, with zero derivative.",
    numpy=lambda x: x,
    scalar="{0}",
    jvp=(None,),
    dtypes="fiub",
    differentiable=False,
    tolerance=0,
)
