"""Arithmetic: sums, products, quotients, remainders, powers, signs."""

from __future__ import annotations

import operator

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import b1, i32, literal
from graphad.numpy._elementwise.logic import where
from graphad.numpy._typing import ArrayLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.device_array import DeviceArray
from graphad.trace.semantics import (
    as_float,
    as_floats,
    as_number,
    as_operand,
    as_operands,
    beside,
    cast,
    dtype_and_weakness,
    elementwise,
    promoted,
    result_type,
    with_weak,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Of two operands


def add(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x + y``; of two booleans, whether either holds.

    >>> import graphad.numpy as gnp
    >>> gnp.add(gnp.arange(3), 0.5)
    Array([0.5, 1.5, 2.5], dtype=float32, weak_type=True)
    """
    return of_numbers_or_bools(prims.add, prims.or_, "add", x, y)


def subtract(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x - y``.

    >>> import graphad.numpy as gnp
    >>> gnp.subtract(gnp.arange(3), 1)
    Array([-1,  0,  1], dtype=int32)
    """
    return elementwise(prims.sub, x, y, name="subtract")


def multiply(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x * y``; of two booleans, whether both hold.

    >>> import graphad.numpy as gnp
    >>> gnp.multiply(gnp.arange(3), 2)
    Array([0, 2, 4], dtype=int32)
    """
    return of_numbers_or_bools(prims.mul, prims.and_, "multiply", x, y)


def divide(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x / y``, in floating point.

    >>> import graphad.numpy as gnp
    >>> gnp.divide(gnp.arange(3), 2)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    return elementwise(prims.div, x, y, to_float=True, name="divide")


def floor_divide(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x // y``: the quotient rounded down; of integers, 0 where y is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.floor_divide(gnp.array([7, -7]), 2)
    Array([ 3, -4], dtype=int32)
    """
    return divmod(x, y)[0]


def remainder(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x % y``: the remainder of `floor_divide`, with the sign of y; of integers, 0 where y is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.remainder(gnp.array([7, -7]), 3)
    Array([1, 2], dtype=int32)
    """
    x, y = _numbers("remainder", x, y)
    truncated = _truncated(x, y, "remainder")
    return truncated if dtype_and_weakness(truncated)[0].kind == "u" else _floored_remainder(truncated, y)


def fmod(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The remainder of division rounded toward zero, with the sign of x; of integers, 0 where y is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.fmod(-7.0, 3.0)
    Array(-1., dtype=float32, weak_type=True)
    """
    return _truncated(*_numbers("fmod", x, y), "fmod")


def divmod(x: ArrayLike, y: ArrayLike, /) -> tuple[Array, Array]:  # noqa: A001  (NumPy's name)
    """``x // y`` and ``x % y``.

    >>> import graphad.numpy as gnp
    >>> gnp.divmod(gnp.array([7, -7]), 2)
    (Array([ 3, -4], dtype=int32), Array([1, 1], dtype=int32))
    """
    x, y = _numbers("floor_divide", x, y)
    truncated = _truncated(x, y, "floor_divide")
    dtype, _ = dtype_and_weakness(truncated)
    if dtype.kind == "u":
        return elementwise(prims.quo, x, y), truncated
    if dtype.kind == "i":
        quotient = elementwise(prims.quo, x, y)
        return where(_rounded_up(truncated, y), quotient - 1, quotient), _floored_remainder(truncated, y)
    ratio = x / y  # by 0 it is an infinity, though the remainder is nan; and a quotient of 0 has its sign
    exact = where(y == 0, ratio, elementwise(prims.copysign, (x - truncated) / y, ratio))
    quotient = where(_rounded_up(truncated, y), exact - 1, exact)
    return elementwise(prims.round_, quotient), _floored_remainder(truncated, y)


def _numbers(name: str, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """x and y in their common dtype; bools among themselves count as int32."""
    dtype, weak = result_type(*as_operands(name, x, y))
    if dtype is b1:
        dtype = i32
    x, y = beside(name, x, y)
    return cast(x, dtype, weak), cast(y, dtype, weak)


def _truncated(x: Array, y: Array, name: str) -> Array:
    """The remainder of division rounded toward zero. What integers leave when divided by 0 is 0, by NumPy's rule."""
    rest = elementwise(prims.rem, x, y, name=name)
    if dtype_and_weakness(rest)[0].is_float or (type(y) is Array and y.size and np.asarray(y).all()):
        return rest
    return where(elementwise(prims.eq, y, literal(0, dtype_and_weakness(rest)[0]).value), 0, rest)


def _floored_remainder(truncated: Array, y: Array) -> Array:
    return where(_rounded_up(truncated, y), truncated + y, truncated)


def _rounded_up(truncated: Array, y: Array) -> Array:
    """Whether rounding a quotient toward zero rounded it up: the remainder's sign is not the divisor's."""
    return (truncated != 0) & ((truncated < 0) != (y < 0))


def power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x ** y``. A Python integer as exponent multiplies, and takes no logarithm.

    >>> import graphad.numpy as gnp
    >>> gnp.power(gnp.arange(4), 2)
    Array([0, 1, 4, 9], dtype=int32)
    """
    if not isinstance(y, (Tracer, DeviceArray)):
        try:
            exponent = operator.index(y)  # pyright: ignore[reportArgumentType]
        except TypeError:
            pass
        else:
            return _integer_power(as_number(x, "power"), exponent)
    x, y = as_operands("power", x, y)
    (base, _), (exponent, weak) = dtype_and_weakness(x), dtype_and_weakness(y)
    if base.is_float and exponent.is_integer:
        y = cast(y, base, weak)
    if result_type(x, y)[0].is_float:
        return elementwise(prims.power, x, y, name="power")
    return _power_of_integers(*_numbers("power", x, y))


def _integer_power(x: Array, n: int) -> Array:
    dtype, weak = dtype_and_weakness(x)
    if n < 0 and dtype.is_integer:
        raise TypeError(
            f"{source.where()}power got an array of {dtype.numpy} and the exponent {n}: a negative power is no "
            f"integer. Write x.astype(float) ** {n}."
        )
    return with_weak(prims.integer_pow(x, n=n), weak)


def _power_of_integers(x: Array, y: Array) -> Array:
    """Square and multiply: as many bits of the exponent as can matter without overflow."""
    (x, y), dtype, _ = promoted("power", x, y)
    zero, one = (literal(n, dtype).value for n in (0, 1))
    result = where((x == 0) & (y != 0), zero, one)
    for _ in range(6):
        result = where((y & 1) != 0, result * x, result)
        x, y = x * x, elementwise(prims.shift_right_logical, y, one)
    return result


def float_power(x: ArrayLike, y: ArrayLike, /) -> Array:
    """``x ** y``, in floating point.

    >>> import graphad.numpy as gnp
    >>> gnp.float_power(2, -1)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return elementwise(prims.power, x, y, to_float=True, name="float_power")


def of_numbers_or_bools(primitive: Primitive, of_bools: Primitive, name: str, x: ArrayLike, y: ArrayLike) -> Array:
    """``primitive`` of numbers, the connective ``of_bools`` of booleans."""
    x, y = as_operands(name, x, y)
    return elementwise(of_bools if result_type(x, y)[0] is b1 else primitive, x, y, name=name)


# ---------------------------------------------------------------------------------------------------------------------
# Of one: integers are what they are, and keep their dtype


def negative(x: ArrayLike, /) -> Array:
    """``-x``.

    >>> import graphad.numpy as gnp
    >>> gnp.negative(2.0)
    Array(-2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.neg, x, name="negative")


def positive(x: ArrayLike, /) -> Array:
    """``+x``: x itself.

    >>> import graphad.numpy as gnp
    >>> gnp.positive(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    return as_operand(x, "positive")


def abs(x: ArrayLike, /) -> Array:  # noqa: A001  (NumPy's name)
    """The absolute value.

    >>> import graphad.numpy as gnp
    >>> gnp.abs(-2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "abs")
    return x if dtype_and_weakness(x)[0].kind in "bu" else elementwise(prims.abs_, x)


def fabs(x: ArrayLike, /) -> Array:
    """The absolute value, in floating point.

    >>> import graphad.numpy as gnp
    >>> gnp.fabs(-2)
    Array(2., dtype=float32, weak_type=True)
    """
    return elementwise(prims.abs_, as_float(x, "fabs"))


def sign(x: ArrayLike, /) -> Array:
    """1, -1, or x itself where it is zero or nan.

    >>> import graphad.numpy as gnp
    >>> gnp.sign(-2.0)
    Array(-1., dtype=float32, weak_type=True)
    """
    x = as_operand(x, "sign")
    dtype, _ = dtype_and_weakness(x)
    if dtype.kind == "u":
        return elementwise(prims.minimum, x, literal(1, dtype).value, name="sign")
    return elementwise(prims.sign, x)


def heaviside(x: ArrayLike, y: ArrayLike, /) -> Array:
    """The unit step: 0 where x is negative, 1 where it is positive, y where it is 0.

    >>> import graphad.numpy as gnp
    >>> gnp.heaviside(gnp.array([-2.0, 0.0, 3.0]), 0.5)
    Array([0. , 0.5, 1. ], dtype=float32)
    """
    x, y = as_floats("heaviside", x, y)
    return where(x == 0, y, 0.5 * (sign(x) + 1))


def square(x: ArrayLike, /) -> Array:
    """``x * x``.

    >>> import graphad.numpy as gnp
    >>> gnp.square(3)
    Array(9, dtype=int32, weak_type=True)
    """
    x = as_number(x, "square")
    return x * x


def reciprocal(x: ArrayLike, /) -> Array:
    """``1 / x``.

    >>> import graphad.numpy as gnp
    >>> gnp.reciprocal(4.0)
    Array(0.25, dtype=float32, weak_type=True)
    """
    return 1.0 / as_float(x, "reciprocal")


true_divide = divide
mod = remainder
pow = power  # noqa: A001  (NumPy's name)
absolute = abs
