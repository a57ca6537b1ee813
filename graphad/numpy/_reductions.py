"""Sums, products, extrema and the like over axes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from graphad.ir.primitive import Primitive
from graphad.ir.types import DType, b1, dtype_of, i8
from graphad.numpy._arithmetic import maximum, minimum
from graphad.numpy._logic import truth
from graphad.numpy._logic import where as choose
from graphad.numpy._math import sqrt
from graphad.numpy._precision import in_float32, wide
from graphad.numpy._shape import broadcast_to, expand_dims, ravel
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import reduce as reducers
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    broadcast_shapes,
    canonical_axes,
    canonical_axis,
    canonical_dtype,
    cast,
    default_int,
    dtype_and_weakness,
    float_for,
    result_type,
    shape_text,
)

# ---------------------------------------------------------------------------------------------------------------------
# Sums, products, extrema


def sum(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The sum over all axes, or those named; booleans and small integers are summed in the default integer type.

    >>> import graphad.numpy as gnp
    >>> gnp.sum(gnp.ones((2, 3)), axis=0)
    Array([2., 2., 2.], dtype=float32)
    """
    x = _masked(summable(a, dtype, "sum"), where, 0)
    return _accumulated(reducers.reduce_sum, operator.add, x, initial, axis, keepdims, "sum")


def prod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The product over all axes, or those named.

    >>> import graphad.numpy as gnp
    >>> gnp.prod(gnp.arange(1, 5))
    Array(24, dtype=int32)
    """
    x = _masked(summable(a, dtype, "prod"), where, 1)
    return _accumulated(reducers.reduce_prod, operator.mul, x, initial, axis, keepdims, "prod")


def _accumulated(
    reducer: Primitive, combine: Callable[[Any, Any], Any], x: Any, initial: Any, axis: Axis, keepdims: bool, name: str
) -> Array:
    """A sum or product that begins with ``initial``, rounded once at the end."""
    if initial is None:
        return _reduce(reducer, x, axis, keepdims, name)
    wanted, _ = dtype_and_weakness(x)
    working = wide(wanted)
    total = _reduce(reducer, cast(x, working), axis, keepdims, name)
    return cast(combine(total, cast(initial, working, name=name)), wanted)


def max(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The greatest element over all axes, or those named; nan if there is one.

    >>> import graphad.numpy as gnp
    >>> gnp.max(gnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([5., 3.], dtype=float32)
    """
    return _extremum(reducers.reduce_max, a, axis, keepdims, initial, where, "max")


def min(  # noqa: A001  (NumPy's name)
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The least element over all axes, or those named; nan if there is one.

    >>> import graphad.numpy as gnp
    >>> gnp.min(gnp.array([[1.0, 5.0], [3.0, 2.0]]), axis=1)
    Array([1., 2.], dtype=float32)
    """
    return _extremum(reducers.reduce_min, a, axis, keepdims, initial, where, "min")


def any(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:  # noqa: A001
    """Whether any element is true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.any(gnp.arange(3) > 1)
    Array(True, dtype=bool)
    """
    return _reduce(reducers.reduce_or, _masked(truth(a, "any"), where, False), axis, keepdims, "any")


def all(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False, where: ArrayLike | None = None) -> Array:  # noqa: A001
    """Whether all elements are true, that is not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.all(gnp.arange(3) > 1)
    Array(False, dtype=bool)
    """
    return _reduce(reducers.reduce_and, _masked(truth(a, "all"), where, True), axis, keepdims, "all")


def count_nonzero(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """How many elements are not zero.

    >>> import graphad.numpy as gnp
    >>> gnp.count_nonzero(gnp.arange(3))
    Array(2, dtype=int32)
    """
    return sum(truth(a, "count_nonzero"), axis, keepdims=keepdims)


def _reduce(primitive: Primitive, x: Any, axis: Axis, keepdims: bool, name: str) -> Any:
    axes = canonical_axes(axis, x.ndim, name)
    result = primitive(x, axes=axes)
    return expand_dims(result, sorted(axes)) if keepdims and axes else result


def _masked(x: Any, where: ArrayLike | None, neutral: Any) -> Any:
    """``x`` with what does not count replaced by the value that changes nothing."""
    if where is None:
        return x
    return choose(where, x, dtype_and_weakness(x)[0].numpy.type(neutral))


def summable(x: ArrayLike, dtype: DTypeLike | None, name: str) -> Any:
    """``x`` in the dtype its sum has."""
    x = as_operand(x, name)
    if dtype is not None:
        return cast(x, canonical_dtype(dtype))
    have, _ = dtype_and_weakness(x)
    if have.is_float or have.bits >= default_int().bits:
        return x
    return cast(x, dtype_of(f"u{default_int().bits}") if have.kind == "u" else default_int())


def _extremum(
    primitive: Primitive,
    x: ArrayLike,
    axis: Axis,
    keepdims: bool,
    initial: ArrayLike | None,
    where: ArrayLike | None,
    name: str,
) -> Any:
    x = as_operand(x, name)
    dtype, _ = dtype_and_weakness(x)
    if initial is None:
        if where is not None:
            raise ValueError(f"{source.where()}{name} with where= needs initial=: the result where nothing counts.")
        empty = [k for k in canonical_axes(axis, x.ndim, name) if x.shape[k] == 0]
        if empty:
            raise ValueError(
                f"{source.where()}{name} of {shape_text(x)} over axis {empty[0]}, which is empty: there is no {name}. "
                "Give initial= as the result in that case."
            )
    if dtype is b1:
        of_bools = reducers.reduce_or if name == "max" else reducers.reduce_and
        result = _reduce(of_bools, _masked(x, where, name == "min"), axis, keepdims, name)
    else:
        result = _reduce(primitive, _masked(x, where, _lowest(dtype, name)), axis, keepdims, name)
    if initial is None:
        return result
    combine = maximum if name == "max" else minimum
    return combine(result, cast(initial, dtype, name=name))


def _lowest(dtype: DType, name: str) -> Any:
    """What changes no extremum."""
    if dtype.is_float:
        return -math.inf if name == "max" else math.inf
    limits = np.iinfo(dtype.numpy)
    return limits.min if name == "max" else limits.max


# ---------------------------------------------------------------------------------------------------------------------
# Means


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
    x = _masked(cast(x, dtype), where, 0)  # what does not count, if infinite, would make the derivative nan
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


# ---------------------------------------------------------------------------------------------------------------------
# Positions, running sums


def argmax(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the greatest element, the first of equals; in the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.argmax(gnp.array([1.0, 3.0, 2.0]))
    Array(1, dtype=int32)
    """
    return _position(reducers.argmax, a, axis, keepdims, "argmax")


def argmin(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the least element, the first of equals; in the flattened array if no axis is named.

    >>> import graphad.numpy as gnp
    >>> gnp.argmin(gnp.array([1.0, 3.0, 2.0]))
    Array(0, dtype=int32)
    """
    return _position(reducers.argmin, a, axis, keepdims, "argmin")


def _position(primitive: Primitive, x: ArrayLike, axis: int | None, keepdims: bool, name: str) -> Any:
    x = as_operand(x, name)
    if dtype_and_weakness(x)[0] is b1:
        x = cast(x, i8)
    ndim = x.ndim
    if axis is None:
        x, k = ravel(x), 0
    else:
        k = canonical_axis(axis, ndim, name)
    if not x.shape[k]:
        raise ValueError(f"{source.where()}{name} of {shape_text(x)}: axis {k} is empty and has no extremum.")
    result = primitive(x, axis=k, dtype=default_int())
    if not keepdims:
        return result
    return expand_dims(result, tuple(range(ndim)) if axis is None else k)


amax, amin = max, min
