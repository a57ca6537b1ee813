"""Functions of each element: no promotion, and only numbers and axes of size 1 are repeated."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from graphad import numpy as gnp
from graphad.ir.primitive import Primitive
from graphad.numpy._elementwise.comparison import compared
from graphad.numpy._keys import of_keys
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.primitives import cast as casts
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    canonical_dtype,
    cast,
    dtype_and_weakness,
    elementwise,
    is_number,
    shape_text,
)

_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")


def _elementwise(primitive: Primitive, name: str, call: str, result: str) -> Callable[..., Array]:
    """The function ``lax.<name>``: operands of equal shape (axes of size 1 and numbers are repeated) and dtype.

    ``call`` and what it gives are the example in its docstring.
    """

    def function(*operands: ArrayLike) -> Array:
        check_alike(name, operands)
        if name in _COMPARISONS:
            return compared(primitive, *operands, name=f"lax.{name}")
        return elementwise(primitive, *operands, name=f"lax.{name}")

    function.__name__ = function.__qualname__ = name
    rule = "Operands have one dtype, and equal shapes or none."
    function.__doc__ = f"{primitive.doc}\n\n    {rule}\n\n    >>> {call}\n    {result}\n    "
    return function


def check_alike(name: str, operands: Sequence[Any]) -> None:
    typed = [as_operand(x, f"lax.{name}") for x in operands if not is_number(x)]
    for x in typed:
        if dtype_and_weakness(x)[0] is not dtype_and_weakness(typed[0])[0]:
            raise TypeError(
                f"{source.where()}lax.{name} got {shape_text(typed[0])} and {shape_text(x)}: dtypes must be equal. "
                "Convert one, or use the function of graphad.numpy."
            )
        if x.ndim and typed[0].ndim and x.ndim != typed[0].ndim:
            raise TypeError(
                f"{source.where()}lax.{name} got {shape_text(typed[0])} and {shape_text(x)}: the numbers of axes must "
                "be equal. Reshape one, or use the function of graphad.numpy."
            )


abs = _elementwise(prims.abs_, "abs", "abs(-2.0)", "Array(2., dtype=float32, weak_type=True)")  # noqa: A001
acos = _elementwise(prims.acos, "acos", "acos(1.0)", "Array(0., dtype=float32, weak_type=True)")
acosh = _elementwise(prims.acosh, "acosh", "acosh(1.0)", "Array(0., dtype=float32, weak_type=True)")
add = _elementwise(prims.add, "add", "add(1.0, 2.0)", "Array(3., dtype=float32, weak_type=True)")
asin = _elementwise(prims.asin, "asin", "asin(0.0)", "Array(0., dtype=float32, weak_type=True)")
asinh = _elementwise(prims.asinh, "asinh", "asinh(0.0)", "Array(0., dtype=float32, weak_type=True)")
atan = _elementwise(prims.atan, "atan", "atan(1.0)", "Array(0.7853982, dtype=float32, weak_type=True)")
atan2 = _elementwise(prims.atan2, "atan2", "atan2(1.0, -1.0)", "Array(2.3561945, dtype=float32, weak_type=True)")
atanh = _elementwise(prims.atanh, "atanh", "atanh(0.0)", "Array(0., dtype=float32, weak_type=True)")
bitwise_and = _elementwise(prims.and_, "bitwise_and", "bitwise_and(6, 3)", "Array(2, dtype=int32, weak_type=True)")
bitwise_not = _elementwise(prims.not_, "bitwise_not", "bitwise_not(6)", "Array(-7, dtype=int32, weak_type=True)")
bitwise_or = _elementwise(prims.or_, "bitwise_or", "bitwise_or(6, 3)", "Array(7, dtype=int32, weak_type=True)")
bitwise_xor = _elementwise(prims.xor, "bitwise_xor", "bitwise_xor(6, 3)", "Array(5, dtype=int32, weak_type=True)")
cbrt = _elementwise(prims.cbrt, "cbrt", "cbrt(8.0)", "Array(2., dtype=float32, weak_type=True)")
ceil = _elementwise(prims.ceil, "ceil", "ceil(1.5)", "Array(2., dtype=float32, weak_type=True)")
clamp = _elementwise(prims.clamp, "clamp", "clamp(0.0, 1.5, 1.0)", "Array(1., dtype=float32, weak_type=True)")
clz = _elementwise(prims.clz, "clz", "clz(1)", "Array(31, dtype=int32, weak_type=True)")
cos = _elementwise(prims.cos, "cos", "cos(0.0)", "Array(1., dtype=float32, weak_type=True)")
cosh = _elementwise(prims.cosh, "cosh", "cosh(0.0)", "Array(1., dtype=float32, weak_type=True)")
eq = _elementwise(prims.eq, "eq", "eq(1, 1)", "Array(True, dtype=bool, weak_type=True)")
erf = _elementwise(prims.erf, "erf", "erf(0.5)", "Array(0.5204999, dtype=float32, weak_type=True)")
erf_inv = _elementwise(prims.erf_inv, "erf_inv", "erf_inv(0.5)", "Array(0.47693628, dtype=float32, weak_type=True)")
erfc = _elementwise(prims.erfc, "erfc", "erfc(0.5)", "Array(0.47950011, dtype=float32, weak_type=True)")
exp = _elementwise(prims.exp, "exp", "exp(1.0)", "Array(2.718282, dtype=float32, weak_type=True)")
expm1 = _elementwise(prims.expm1, "expm1", "expm1(1e-10)", "Array(1.e-10, dtype=float32, weak_type=True)")
floor = _elementwise(prims.floor, "floor", "floor(1.5)", "Array(1., dtype=float32, weak_type=True)")
ge = _elementwise(prims.ge, "ge", "ge(1, 1)", "Array(True, dtype=bool, weak_type=True)")
gt = _elementwise(prims.gt, "gt", "gt(1, 1)", "Array(False, dtype=bool, weak_type=True)")
is_finite = _elementwise(prims.is_finite, "is_finite", "is_finite(1.0)", "Array(True, dtype=bool, weak_type=True)")
le = _elementwise(prims.le, "le", "le(1, 1)", "Array(True, dtype=bool, weak_type=True)")
log = _elementwise(prims.log, "log", "log(2.0)", "Array(0.6931472, dtype=float32, weak_type=True)")
log1p = _elementwise(prims.log1p, "log1p", "log1p(1.0)", "Array(0.6931472, dtype=float32, weak_type=True)")
logistic = _elementwise(prims.logistic, "logistic", "logistic(0.0)", "Array(0.5, dtype=float32, weak_type=True)")
lt = _elementwise(prims.lt, "lt", "lt(1, 1)", "Array(False, dtype=bool, weak_type=True)")
max = _elementwise(prims.maximum, "max", "max(1.0, 2.0)", "Array(2., dtype=float32, weak_type=True)")  # noqa: A001
min = _elementwise(prims.minimum, "min", "min(1.0, 2.0)", "Array(1., dtype=float32, weak_type=True)")  # noqa: A001
mul = _elementwise(prims.mul, "mul", "mul(2.0, 3.0)", "Array(6., dtype=float32, weak_type=True)")
ne = _elementwise(prims.ne, "ne", "ne(1, 1)", "Array(False, dtype=bool, weak_type=True)")
neg = _elementwise(prims.neg, "neg", "neg(1.0)", "Array(-1., dtype=float32, weak_type=True)")
nextafter = _elementwise(
    prims.nextafter, "nextafter", "nextafter(1.0, 2.0)", "Array(1.0000001, dtype=float32, weak_type=True)"
)
population_count = _elementwise(
    prims.population_count, "population_count", "population_count(6)", "Array(2, dtype=int32, weak_type=True)"
)
rem = _elementwise(prims.rem, "rem", "rem(-7, 2)", "Array(-1, dtype=int32, weak_type=True)")
rsqrt = _elementwise(prims.rsqrt, "rsqrt", "rsqrt(4.0)", "Array(0.5, dtype=float32, weak_type=True)")
shift_left = _elementwise(prims.shift_left, "shift_left", "shift_left(3, 2)", "Array(12, dtype=int32, weak_type=True)")
shift_right_arithmetic = _elementwise(
    prims.shift_right_arithmetic,
    "shift_right_arithmetic",
    "shift_right_arithmetic(-8, 2)",
    "Array(-2, dtype=int32, weak_type=True)",
)
shift_right_logical = _elementwise(
    prims.shift_right_logical,
    "shift_right_logical",
    "shift_right_logical(8, 2)",
    "Array(2, dtype=int32, weak_type=True)",
)
sign = _elementwise(prims.sign, "sign", "sign(-2.0)", "Array(-1., dtype=float32, weak_type=True)")
sin = _elementwise(prims.sin, "sin", "sin(1.0)", "Array(0.841471, dtype=float32, weak_type=True)")
sinh = _elementwise(prims.sinh, "sinh", "sinh(1.0)", "Array(1.1752012, dtype=float32, weak_type=True)")
sqrt = _elementwise(prims.sqrt, "sqrt", "sqrt(4.0)", "Array(2., dtype=float32, weak_type=True)")
sub = _elementwise(prims.sub, "sub", "sub(1.0, 2.0)", "Array(-1., dtype=float32, weak_type=True)")
tan = _elementwise(prims.tan, "tan", "tan(1.0)", "Array(1.5574077, dtype=float32, weak_type=True)")
tanh = _elementwise(prims.tanh, "tanh", "tanh(1.0)", "Array(0.7615942, dtype=float32, weak_type=True)")


def div(x: ArrayLike, y: ArrayLike) -> Array:
    """``x / y`` of floats; of integers the quotient rounded toward zero.

    >>> div(-7, 2), div(-7.0, 2.0)
    (Array(-3, dtype=int32, weak_type=True), Array(-3.5, dtype=float32, weak_type=True))
    """
    check_alike("div", (x, y))
    floats = [v for v in (x, y) if dtype_and_weakness(v)[0].is_float]
    return elementwise(prims.div if floats else prims.quo, x, y, name="lax.div")


def pow(x: ArrayLike, y: ArrayLike) -> Array:  # noqa: A001
    """``x ** y`` of floats; an integer exponent is converted.

    >>> pow(2.0, 3)
    Array(8., dtype=float32, weak_type=True)
    """
    return elementwise(prims.power, x, y, to_float=True, name="lax.pow")


def integer_pow(x: ArrayLike, y: int) -> Array:
    """``x`` to a constant integer power, by multiplications.

    >>> integer_pow(2.0, -2)
    Array(0.25, dtype=float32, weak_type=True)
    """
    return gnp.power(x, operator.index(y))


def square(x: ArrayLike) -> Array:
    """``x * x``.

    >>> square(3.0)
    Array(9., dtype=float32, weak_type=True)
    """
    return gnp.square(x)


def reciprocal(x: ArrayLike) -> Array:
    """``1 / x``.

    >>> reciprocal(4.0)
    Array(0.25, dtype=float32, weak_type=True)
    """
    return gnp.reciprocal(x)


def round(x: ArrayLike) -> Array:  # noqa: A001
    """The nearest whole number, of two the one farther from zero.

    >>> round(2.5)
    Array(3., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "lax.round")
    whole = elementwise(prims.trunc, x)
    return gnp.where(gnp.abs(x - whole) >= 0.5, whole + gnp.sign(x), whole)


@of_keys("on_true", "on_false")
def select(pred: ArrayLike, on_true: ArrayLike, on_false: ArrayLike) -> Array:
    """``on_true`` where ``pred`` holds, else ``on_false``.

    >>> import graphad.numpy as gnp
    >>> select(gnp.array([True, False]), gnp.ones(2), gnp.zeros(2))
    Array([1., 0.], dtype=float32)
    """
    check_alike("select", (on_true, on_false))
    return gnp.where(pred, on_true, on_false)


def exp2(x: ArrayLike) -> Array:
    """2 to the power x.

    >>> exp2(3.0)
    Array(8., dtype=float32, weak_type=True)
    """
    return gnp.exp2(x)


def convert_element_type(x: ArrayLike, new_dtype: DTypeLike) -> Array:
    """x in another dtype; floats become integers toward zero.

    >>> import graphad.numpy as gnp
    >>> convert_element_type(gnp.array([1.5, -2.5]), "float64")
    Array([ 1.5, -2.5], dtype=float64)
    """
    return cast(x, canonical_dtype(new_dtype), name="lax.convert_element_type")


def bitcast_convert_type(x: ArrayLike, new_dtype: DTypeLike) -> Array:
    """The value of another dtype of the same width that has the bits of x.

    >>> bitcast_convert_type(1.0, "int32")
    Array(1065353216, dtype=int32)
    """
    return casts.bitcast(as_operand(x, "lax.bitcast_convert_type"), dtype=canonical_dtype(new_dtype))
