"""Averages and variances over axes."""

from __future__ import annotations

import math
from typing import Any

from graphad.ir.types import DType
from graphad.numpy._elementwise.exponential import sqrt
from graphad.numpy._elementwise.logic import where as choose
from graphad.numpy._precision import in_float32, wide
from graphad.numpy._reduce.sums import count_nonzero, masked, sum
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import expand_dims
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    broadcast_shapes,
    canonical_axes,
    canonical_dtype,
    cast,
    dtype_and_weakness,
    float_for,
    result_type,
    shape_text,
)


def mean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The mean over all axes, or those named, in floating point.

    >>> import graphad.numpy as gnp
    >>> gnp.mean(gnp.arange(4))
    Array(1.5, dtype=float32)
    """
    x = as_operand(a, "mean")
    wanted = _float_dtype(x, dtype)
    working = wide(wanted, x)
    total = sum(cast(x, working), axis, keepdims=keepdims, where=where)
    return cast(total / _count(x, axis, working, keepdims, where, "mean"), wanted)


@in_float32
def average(a: ArrayLike, axis: Axis = None, weights: ArrayLike | None = None, *, keepdims: bool = False) -> Array:
    """The mean, each element counted ``weights`` times.

    >>> import graphad.numpy as gnp
    >>> gnp.average(gnp.arange(3), weights=gnp.array([1.0, 1.0, 2.0]))
    Array(1.25, dtype=float32)
    """
    if weights is None:
        return mean(a, axis, keepdims=keepdims)
    x, weights = as_operand(a, "average"), as_operand(weights, "average")
    wanted, _ = result_type(as_float(x, "average"), as_float(weights, "average"))
    working = wide(wanted, x, weights)
    x, weights = cast(x, working), cast(weights, working)
    if weights.shape != x.shape:
        axes = canonical_axes(axis, x.ndim, "average")
        if axis is None or weights.shape != tuple([x.shape[k] for k in axes]):
            raise ValueError(
                f"{source.where()}average got {shape_text(x)} with weights {shape_text(weights)} over axis={axis}: "
                "weights have the shape of the array, or of the axes averaged over."
            )
        weights = expand_dims(weights, [k for k in range(x.ndim) if k not in axes])
    total = sum(x * weights, axis, keepdims=keepdims)
    return cast(total / sum(broadcast_to(weights, x.shape), axis, keepdims=keepdims), wanted)


def var(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    correction: float | None = None,
) -> Array:
    """The variance: the mean of the squared distances from the mean, divided by ``n - ddof``.

    >>> import graphad.numpy as gnp
    >>> gnp.var(gnp.arange(4))
    Array(1.25, dtype=float32)
    """
    x = as_operand(a, "var")
    wanted = _float_dtype(x, dtype)
    return cast(
        _variance(x, axis, wide(wanted, x), ddof if correction is None else correction, keepdims, where), wanted
    )


def _variance(x: Any, axis: Axis, dtype: DType, less: float, keepdims: bool, where: ArrayLike | None) -> Any:
    """The variance in ``dtype``, where x and all that is made of it is computed in that."""
    x = masked(cast(x, dtype), where, 0)  # what does not count, if infinite, would make the derivative nan
    centered = x - mean(x, axis, keepdims=True, where=where)
    total = sum(centered * centered, axis, keepdims=keepdims, where=where)
    count = _count(x, axis, dtype, keepdims, where, "var") - less
    if isinstance(count, Array):
        return choose(count > 0, total / count, math.nan)
    return total / (count if count > 0 else math.nan)


def std(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
    correction: float | None = None,
) -> Array:
    """The standard deviation: the square root of `var`.

    >>> import graphad.numpy as gnp
    >>> gnp.std(gnp.array([1.0, 3.0]))
    Array(1., dtype=float32)
    """
    x = as_operand(a, "std")
    wanted = _float_dtype(x, dtype)
    less = ddof if correction is None else correction
    return cast(sqrt(_variance(x, axis, wide(wanted, x), less, keepdims, where)), wanted)


def _float_dtype(x: Any, dtype: DTypeLike | None) -> DType:
    if dtype is not None:
        return canonical_dtype(dtype)
    return float_for(dtype_and_weakness(x)[0])


def _count(x: Any, axis: Axis, dtype: DType, keepdims: bool, where: ArrayLike | None, name: str) -> Any:
    """How many elements count: a number, or an array if ``where`` decides."""
    if where is None:
        return math.prod([x.shape[k] for k in canonical_axes(axis, x.ndim, name)])
    mask = as_operand(where, name)
    mask = broadcast_to(mask, broadcast_shapes((x.shape, mask.shape), name))
    return cast(count_nonzero(mask, axis, keepdims=keepdims), dtype)
