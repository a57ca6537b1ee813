"""Reductions that leave nan out."""

from __future__ import annotations

import math
from typing import Any

from graphad.ir.types import f32
from graphad.numpy._arithmetic import clip
from graphad.numpy._logic import isnan
from graphad.numpy._logic import where as choose
from graphad.numpy._math import ceil, floor, sqrt
from graphad.numpy._reductions import all as all_
from graphad.numpy._reductions import argmax, argmin, max, mean, min, prod, sum, var
from graphad.numpy._shape import expand_dims, moveaxis, reshape
from graphad.numpy._sorting import along, between
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import sorting
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    canonical_axes,
    cast,
    default_int,
    dtype_and_weakness,
    with_weak,
)


def nansum(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """`sum` with 0 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nansum(gnp.array([1.0, gnp.nan, 2.0]))
    Array(3., dtype=float32)
    """
    return sum(_with(a, 0, "nansum"), axis, dtype, keepdims=keepdims, initial=initial, where=where)


def nanprod(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """`prod` with 1 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanprod(gnp.array([2.0, gnp.nan, 3.0]))
    Array(6., dtype=float32)
    """
    return prod(_with(a, 1, "nanprod"), axis, dtype, keepdims=keepdims, initial=initial, where=where)


def nanmax(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The greatest element that is not nan; nan if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmax(gnp.array([1.0, gnp.nan, 2.0]))
    Array(2., dtype=float32)
    """
    return _extremum(max, -math.inf, a, axis, keepdims, initial, where, "nanmax")


def nanmin(
    a: ArrayLike,
    axis: Axis = None,
    *,
    keepdims: bool = False,
    initial: ArrayLike | None = None,
    where: ArrayLike | None = None,
) -> Array:
    """The least element that is not nan; nan if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmin(gnp.array([1.0, gnp.nan, 2.0]))
    Array(1., dtype=float32)
    """
    return _extremum(min, math.inf, a, axis, keepdims, initial, where, "nanmin")


def nanargmax(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the greatest element that is not nan; -1 if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanargmax(gnp.array([1.0, gnp.nan, 2.0]))
    Array(2, dtype=int32)
    """
    return _position(argmax, -math.inf, a, axis, keepdims, "nanargmax")


def nanargmin(a: ArrayLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """The index of the least element that is not nan; -1 if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanargmin(gnp.array([gnp.nan, 2.0, 1.0]))
    Array(2, dtype=int32)
    """
    return _position(argmin, math.inf, a, axis, keepdims, "nanargmin")


def nanmean(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The mean of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmean(gnp.array([1.0, gnp.nan, 2.0]))
    Array(1.5, dtype=float32)
    """
    x = as_operand(a, "nanmean")
    return mean(x, axis, dtype, keepdims=keepdims, where=_numbers(x, where))


def nanvar(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The variance of the elements that are not nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanvar(gnp.array([1.0, gnp.nan, 3.0]))
    Array(1., dtype=float32)
    """
    x = as_operand(a, "nanvar")
    kept = _numbers(x, where)
    return var(_with(x, 0, "nanvar"), axis, dtype, ddof, keepdims=keepdims, where=kept)  # nan would spoil derivatives


def nanstd(
    a: ArrayLike,
    axis: Axis = None,
    dtype: DTypeLike | None = None,
    ddof: float = 0,
    *,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """The standard deviation of the elements that are not nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanstd(gnp.array([1.0, gnp.nan, 3.0]))
    Array(1., dtype=float32)
    """
    return sqrt(nanvar(a, axis, dtype, ddof, keepdims=keepdims, where=where))


def nanmedian(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The median of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmedian(gnp.array([1.0, gnp.nan, 2.0, 7.0]))
    Array(2., dtype=float32)
    """
    return _quantile(a, 0.5, axis, "midpoint", keepdims, "nanmedian")


def nanquantile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanquantile(gnp.array([1.0, gnp.nan, 2.0]), 0.5)
    Array(1.5, dtype=float32)
    """
    return _quantile(a, q, axis, method, keepdims, "nanquantile")


def nanpercentile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`nanquantile` with the share in percent.

    >>> import graphad.numpy as gnp
    >>> gnp.nanpercentile(gnp.array([1.0, gnp.nan, 2.0]), 50)
    Array(1.5, dtype=float32)
    """
    return _quantile(a, as_float(q, "nanpercentile") / 100, axis, method, keepdims, "nanpercentile")


# ---------------------------------------------------------------------------------------------------------------------
# What these are made of


def _with(a: ArrayLike, value: float, name: str) -> Any:
    """``a`` with ``value`` in place of nan."""
    x = as_operand(a, name)
    return choose(isnan(x), value, x) if dtype_and_weakness(x)[0].is_float else x


def _numbers(x: Any, also: ArrayLike | None) -> Any:
    """Where ``x`` is a number, and ``also`` holds."""
    return ~isnan(x) if also is None else ~isnan(x) & also


def _extremum(
    reduce: Any,
    least: float,
    a: ArrayLike,
    axis: Axis,
    keepdims: bool,
    initial: ArrayLike | None,
    counted: ArrayLike | None,
    name: str,
) -> Array:
    x = as_operand(a, name)
    if not dtype_and_weakness(x)[0].is_float:
        return reduce(x, axis, keepdims=keepdims, initial=initial, where=counted)
    result = reduce(_with(x, least, name), axis, keepdims=keepdims, initial=initial, where=counted)
    if initial is not None:
        return result
    return choose(all_(isnan(x), axis, keepdims=keepdims), math.nan, result)


def _position(position: Any, least: float, a: ArrayLike, axis: int | None, keepdims: bool, name: str) -> Array:
    x = as_operand(a, name)
    if not dtype_and_weakness(x)[0].is_float:
        return position(x, axis, keepdims=keepdims)
    found = position(_with(x, least, name), axis, keepdims=keepdims)
    return choose(all_(isnan(x), axis, keepdims=keepdims), -1, found)


def _quantile(a: ArrayLike, q: ArrayLike, axis: Axis, method: str, keepdims: bool, name: str) -> Array:
    """As `quantile`, with the place counted among the numbers of each row: nan is sorted behind them."""
    x = as_float(a, name)
    axes = canonical_axes(axis, x.ndim, name)
    kept = [k for k in range(x.ndim) if k not in axes]
    rows = reshape(moveaxis(x, kept, list(range(len(kept)))), (*[x.shape[k] for k in kept], -1))
    if not rows.shape[-1]:
        raise ValueError(f"{source.where()}{name} of no elements has no value; check the size first.")
    ordered = along(rows, sorting.argsort(rows, axis=rows.ndim - 1))
    dtype = dtype_and_weakness(x)[0]
    share = cast(as_operand(q, name), dtype if dtype.bits >= 32 else f32)
    count = sum(~isnan(rows), -1, keepdims=True)
    place = clip(reshape(share, -1), 0, 1) * choose(count > 0, count - 1, 0)
    low, high = floor(place), ceil(place)
    below, above = (along(ordered, cast(p, default_int())) for p in (low, high))
    result = between(below, above, cast(place - low, dtype), method, name)
    result = reshape(moveaxis(result, -1, 0), (*share.shape, *[x.shape[k] for k in kept]))
    if keepdims:
        result = expand_dims(result, [share.ndim + k for k in axes])
    return with_weak(result, False)
