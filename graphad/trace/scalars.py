"""Python numbers: which they are, their default dtypes, and their conversion, with a single rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.config import config
from graphad.ir.types import DType, Literal, b1, f32, f64, i32, i64, literal
from graphad.trace.source import where


def is_scalar(x: Any) -> bool:
    """Python numbers, and np.float64 scalars, which are Python floats: weakly typed."""
    return type(x) in (bool, int, float, np.float64)


def scalar_dtype(x: Any) -> DType:
    """The dtype of a number alone: the default one of its kind, i64 for a wider integer, f64 for np.float64."""
    kind = type(x)
    if kind is float:
        return f32 if config.default_dtype_bits == 32 else f64
    if kind is int:
        return i32 if config.default_dtype_bits == 32 and -0x80000000 <= x <= 0x7FFFFFFF else i64
    return b1 if kind is bool else f64


def scalar_array(x: Any) -> np.ndarray[Any, Any]:
    """A number as an array of `scalar_dtype`."""
    try:
        return np.asarray(x, scalar_dtype(x).numpy)
    except OverflowError:
        raise OverflowError(
            f"{where()}{x} does not fit in int64. Say in which dtype it is meant: graphad.numpy.asarray(n, dtype)."
        ) from None


def number(x: Any, dtype: DType, name: str = "") -> Literal:
    """A Python number in ``dtype``, converted once, from all its digits.

    Raises
    ------
    OverflowError
        For an integer that does not fit; ``name`` is the function in the message.
    """
    try:
        return literal(x, dtype)
    except OverflowError as error:
        raise OverflowError(
            f"{where()}{name + ': ' if name else ''}{error}. Convert the array beside it first: x.astype('int64')."
        ) from None
