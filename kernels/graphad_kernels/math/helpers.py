"""The vocabulary in which the elementary functions are written.

An elementary function uses Python's operators and the helpers of this file, never a branch, so that the same text runs

- on NumPy arrays, by the functions below (slow; what the tests compare the others with);
- compiled by Numba, where `graphad_kernels.numba_math` gives each helper its machine instruction;
- on symbolic vectors that record what is done to them, which is how LLVM text is made.

Two rules follow. Sums and products are never contracted: a fused multiply-add happens exactly where `fma` or `horner`
is written, so that compilers may not change a result. And a Python float has no type of its own here: write float32
constants as ``np.float32``, and put `to_i32` or `to_u32` around integer arithmetic narrower than 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final

import numpy as np

Number = Any  # an array, a scalar of Numba's, or a symbolic vector

HELPERS: Final[dict[str, Callable[..., Any]]] = {}
"""Every helper by name."""


class Symbolic:
    """Base of operands that record: a helper called with one is handed to its `record`."""

    __array_ufunc__ = None  # so that NumPy scalars leave the operators to us

    def record(self, helper: str, arguments: tuple[Any, ...]) -> Any:
        """The result of ``helper(*arguments)``."""
        raise TypeError(f"{type(self).__name__} cannot record {helper}")


def helper(body: Callable[..., Any]) -> Callable[..., Any]:
    """Register a helper by its meaning on NumPy arrays."""

    @wraps(body)
    def dispatch(*arguments: Any) -> Any:
        for argument in arguments:
            if isinstance(argument, Symbolic):
                return argument.record(body.__name__, arguments)
        return body(*arguments)

    HELPERS[body.__name__] = dispatch
    return dispatch


# ---------------------------------------------------------------------------------------------------------------------
# Floating point


@helper
def fma(a: Number, b: Number, c: Number) -> Number:
    """``a * b + c`` rounded once, on hardware that can; elsewhere rounded twice."""
    if np.result_type(a, b, c) == np.float32:
        return (np.asarray(a, np.float64) * b + c).astype(np.float32)
    product, error = two_product(a, b)
    total = product + c
    kept = total - c
    rest = (product - kept) + (c - (total - kept))
    return np.where(np.isfinite(total), total + (rest + error), total)


@helper
def two_product(a: Number, b: Number) -> tuple[Number, Number]:
    """The product of two float64 and its rounding error, exactly."""
    product = a * b
    a_high = to_f64_bits((bits(a) + (1 << 26)) & -(1 << 27))  # to 26 bits: products of halves are exact
    b_high = to_f64_bits((bits(b) + (1 << 26)) & -(1 << 27))
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


@helper
def horner(x: Number, coefficients: Sequence[Any]) -> Number:
    """The polynomial in ``x`` with these coefficients, that of the highest power first."""
    value = fma(x, coefficients[0], coefficients[1])
    for coefficient in coefficients[2:]:
        value = fma(value, x, coefficient)
    return value


@helper
def sqrt(x: Number) -> Number:
    """Square root, rounded correctly."""
    return np.sqrt(x)


@helper
def absolute(x: Number) -> Number:
    """Magnitude: the sign bit cleared."""
    return np.abs(x)


@helper
def copysign(x: Number, sign: Number) -> Number:
    """The magnitude of ``x`` with the sign bit of ``sign``."""
    return np.copysign(x, sign)


@helper
def rint(x: Number) -> Number:
    """The nearest integral value, ties to even."""
    return np.rint(x)


# ---------------------------------------------------------------------------------------------------------------------
# Selection


@helper
def select(condition: Number, a: Number, b: Number) -> Number:
    """``a`` where the condition holds, else ``b``; both have been computed."""
    return np.where(condition, a, b)


@helper
def patch(condition: Number, function: Callable[[Any], Any], x: Number, otherwise: Number) -> Number:
    """``function(x)`` where the condition holds, else ``otherwise``: for what is rarely needed, and then slow."""
    value = np.array(otherwise)
    wanted = np.broadcast_to(condition, value.shape)
    if wanted.any():
        value[wanted] = function(np.broadcast_to(x, value.shape)[wanted])
    return value


@helper
def lookup(table: Any, index: Number) -> Number:
    """Element ``index`` of a constant table of int64."""
    return table[index]


# ---------------------------------------------------------------------------------------------------------------------
# Conversion


@helper
def bits(x: Number) -> Number:
    """The bit pattern of a float as the signed integer of its width."""
    x = np.asarray(x)
    return x.view(np.int32 if x.dtype == np.float32 else np.int64)


@helper
def to_f32_bits(i: Number) -> Number:
    """The float32 with these bits; only the low 32 bits of the integer count."""
    return np.asarray(i).astype(np.int32).view(np.float32)


@helper
def to_f64_bits(i: Number) -> Number:
    """The float64 with these bits."""
    return np.asarray(i, np.int64).view(np.float64)


@helper
def to_f32(x: Number) -> Number:
    """Nearest float32 of a float or integer."""
    return np.asarray(x).astype(np.float32)


@helper
def to_f64(x: Number) -> Number:
    """Nearest float64 of a float or integer."""
    return np.asarray(x).astype(np.float64)


@helper
def to_i32(i: Number) -> Number:
    """The low 32 bits of an integer, signed."""
    return np.asarray(i).astype(np.int32)


@helper
def to_u32(i: Number) -> Number:
    """The low 32 bits of an integer, unsigned."""
    return np.asarray(i).astype(np.uint32)
