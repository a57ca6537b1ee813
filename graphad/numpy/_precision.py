"""16-bit floats, and statistics of integers: computed in float32 and float64, and rounded once at the end."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from graphad.ir.types import BY_NUMPY, DType, f32, f64
from graphad.trace.array import Array
from graphad.trace.semantics import cast, dtype_and_weakness, float_for, result_type
from graphad.trace.tracer import Tracer

P = ParamSpec("P")
R = TypeVar("R")


def in_float32(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with float32 in the place of 16-bit floats among its arguments, and its results rounded to them.

    So are its derivatives, for they pass through the same conversions. The results have the dtype that the floats
    among the arguments promote to.
    """

    @wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> R:
        for x in args:  # written out, as most calls end here
            kind = type(x)
            if kind is Tracer:
                if x.aval.dtype.bits == 16:  # pyright: ignore[reportAttributeAccessIssue]
                    break
            elif kind is Array:
                if x._value.dtype.itemsize == 2:  # pyright: ignore[reportAttributeAccessIssue]
                    break
            elif kind is not float and kind is not int and _is_narrow(x):
                break
        else:
            if not kwargs or not any([_is_narrow(x) for x in kwargs.values()]):
                return function(*args, **kwargs)
        floats = [x for x in (*args, *kwargs.values()) if _is_float_array(x)]
        wanted = result_type(*floats)[0] if floats else f32
        widened: Any = function
        result = widened(*[_widened(x) for x in args], **{name: _widened(x) for name, x in kwargs.items()})
        return result if wanted.bits >= 32 else _rounded(result, wanted)

    return wide


def of_integers_in_float64(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with float64 in the place of integers among its arrays, and its results rounded once.

    The results have the float dtype that the arrays promote to.
    """

    @wraps(function)
    def wide(*args: P.args, **kwargs: P.kwargs) -> R:
        arrays = [x for x in (*args, *kwargs.values()) if isinstance(x, (Array, np.ndarray))]
        if not any([x.dtype.kind in "iu" for x in arrays]):
            return function(*args, **kwargs)
        wanted = float_for(result_type(*arrays)[0])
        widened: Any = function
        named = {name: _without_integers(x) for name, x in kwargs.items()}
        return _rounded(widened(*[_without_integers(x) for x in args], **named), wanted, f64)

    return wide


def _without_integers(x: Any) -> Any:
    return cast(x, f64) if isinstance(x, (Array, np.ndarray)) and x.dtype.kind in "iu" else x


def wide(dtype: DType, *xs: Any) -> DType:
    """What values of ``dtype`` are computed in; from integers, where ``xs`` are some, in float64."""
    if not dtype.is_float:
        return dtype
    if not all([dtype_and_weakness(x)[0].is_float for x in xs]):
        return f64
    return f32 if dtype.bits < 32 else dtype


def _is_narrow(x: Any) -> bool:
    return isinstance(x, (Array, np.ndarray, np.generic)) and x.dtype.itemsize == 2 and _is_float_array(x)


def _is_float_array(x: Any) -> bool:
    if isinstance(x, Array):
        return x.aval.is_float
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype in BY_NUMPY and BY_NUMPY[x.dtype].is_float


def _widened(x: Any) -> Any:
    return cast(x, f32) if _is_narrow(x) else x


def _rounded(x: Any, dtype: DType, working: DType = f32) -> Any:
    """``x``, or each array in it, in ``dtype`` if it is in the dtype that was computed in."""
    if isinstance(x, (tuple, list)):
        parts = [_rounded(part, dtype, working) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return cast(x, dtype) if _is_float_array(x) and x.aval.dtype is working else x
