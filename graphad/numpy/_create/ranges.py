"""Numbers counted out, evenly spaced or by powers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphad.ir.rounding import converted
from graphad.ir.types import f64
from graphad.numpy._elementwise.arithmetic import power
from graphad.numpy._elementwise.exponential import exp, log
from graphad.numpy._elementwise.logic import where
from graphad.numpy._elementwise.rounding import floor
from graphad.numpy._precision import wide
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.joining import concatenate
from graphad.numpy._shape.reshaping import expand_dims
from graphad.numpy._typing import ArrayLike, DTypeLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_operand,
    broadcast_to,
    canonical_dtype,
    cast,
    dtype_and_weakness,
    float_for,
    result_type,
    size_is_traced,
)
from graphad.trace.tracer import Tracer

# ---------------------------------------------------------------------------------------------------------------------
# Evenly spaced


def arange(
    start: ArrayLike, stop: ArrayLike | None = None, step: ArrayLike | None = None, dtype: DTypeLike | None = None
) -> Array:
    """``start``, ``start + step``, ... below ``stop``; from 0 if only one number is given.

    >>> import graphad.numpy as gnp
    >>> gnp.arange(4)
    Array([0, 1, 2, 3], dtype=int32)
    >>> gnp.arange(0, 1, 0.25)
    Array([0.  , 0.25, 0.5 , 0.75], dtype=float32)
    """
    given = [x for x in (start, stop, step) if x is not None]
    wanted = result_type(*given)[0] if dtype is None else canonical_dtype(dtype)
    first, last, by = [_number(x, "arange") for x in ((0, start, step) if stop is None else (start, stop, step))]
    size = max(0, _steps(last - first, 1 if by is None else by))
    working = wanted.numpy if wanted.bits >= 32 or not wanted.is_float else np.dtype(np.float32)
    counted = np.arange(size).astype(working)
    if by is not None:
        counted = counted * working.type(by)
    if first:
        counted = counted + working.type(first)
    return Array(converted(counted, wanted.numpy))


def _steps(span: Any, by: Any) -> int:
    """How many steps of ``by`` it takes to come as far as ``span``: exactly, where these are integers."""
    return -(span // -by) if isinstance(span, int) and isinstance(by, int) else math.ceil(span / by)


def _number(x: Any, name: str) -> Any:
    """A Python number that the shape of a result depends on. A traced integer is observed, and guarded."""
    if x is None or isinstance(x, (bool, int, float)):
        return x
    x = as_operand(x, name)
    if x.ndim:
        raise ValueError(f"{source.where()}{name} takes numbers, got an array of shape {x.shape}.")
    if dtype_and_weakness(x)[0].is_integer:
        return int(x)
    if isinstance(x, Tracer):
        raise TypeError(f"{source.where()}{size_is_traced(name, x)}")
    return float(x)


def linspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Any:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which may be arrays; with ``retstep`` also the step.

    >>> import graphad.numpy as gnp
    >>> gnp.linspace(0.0, 1.0, 5)
    Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float32)
    """
    if num < 0:
        raise ValueError(f"{source.where()}linspace takes num >= 0, got {num}.")
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wide(wanted) if wanted.is_float else f64
    start, stop = cast(start, working, name="linspace"), cast(stop, working, name="linspace")
    divisor = num - 1 if endpoint else num
    shape = np.broadcast_shapes(start.shape, stop.shape)
    counted = np.arange(divisor if num > 1 else num).astype(working.numpy).reshape((-1,) + (1,) * len(shape))
    # By whole steps, so that numbers which the step divides are hit.
    result = start + Array(counted) * ((stop - start) / max(divisor, 1))
    if endpoint and num > 1:
        last = broadcast_to(stop, shape).reshape((1, *shape))
        result = concatenate([result, last])
    if not wanted.is_float:
        result = floor(result)
    result = moveaxis(cast(result, wanted), 0, axis)
    if not retstep:
        return result
    step = (stop - start) / (divisor if divisor > 0 else np.nan)
    return result, cast(step, wanted) if wanted.is_float else step


# ---------------------------------------------------------------------------------------------------------------------
# Spaced by powers


def logspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    base: ArrayLike = 10.0,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """``base`` to the power of ``num`` evenly spaced numbers.

    >>> import graphad.numpy as gnp
    >>> gnp.logspace(0.0, 2.0, 3)
    Array([  1.,  10., 100.], dtype=float32)
    """
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wanted if wanted.is_float else f64
    exponents = linspace(start, stop, num, endpoint, dtype=working, axis=axis)
    return cast(power(cast(base, working, name="logspace"), exponents), wanted)


def geomspace(
    start: ArrayLike,
    stop: ArrayLike,
    num: int = 50,
    endpoint: bool = True,
    dtype: DTypeLike | None = None,
    axis: int = 0,
) -> Array:
    """``num`` numbers from ``start`` to ``stop``, of one sign, each the same factor greater than the one before.

    >>> import graphad.numpy as gnp
    >>> gnp.geomspace(1.0, 1000.0, 4).round(2)
    Array([   1.,   10.,  100., 1000.], dtype=float32)
    """
    wanted = float_for(result_type(start, stop)[0]) if dtype is None else canonical_dtype(dtype)
    working = wanted if wanted.is_float else f64
    first, last = (cast(x, working, name="geomspace") for x in (start, stop))
    sign = where(first < 0, -1.0, 1.0)
    exponents = linspace(log(first * sign), log(last * sign), num, endpoint, axis=axis)
    return cast(exp(exponents) * (expand_dims(sign, axis) if sign.ndim else sign), wanted)
