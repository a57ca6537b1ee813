"""Reductions, running sums and running products that leave nan out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, ParamSpec

from graphad.numpy._elementwise.logic import isnan, logical_and
from graphad.numpy._elementwise.logic import where as choose
from graphad.numpy._reduce.averages import mean, std, var
from graphad.numpy._reduce.cumulative import running
from graphad.numpy._reduce.extrema import argmax, argmin, max, min
from graphad.numpy._reduce.quantiles import quantile_of
from graphad.numpy._reduce.sums import all as all_
from graphad.numpy._reduce.sums import prod, sum
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import cumulative, reduce
from graphad.trace.array import Array
from graphad.trace.semantics import as_operand, dtype_and_weakness

P = ParamSpec("P")


def _arguments_of(function: Callable[P, Array]) -> Callable[[Callable[..., Array]], Callable[P, Array]]:
    """The decorated function takes what ``function`` takes, and hands on to it what it does not name itself."""

    def decorate(beside: Callable[..., Array]) -> Callable[P, Array]:
        beside.__signature__ = inspect.signature(function)
        return beside

    return decorate


@_arguments_of(sum)
def nansum(a: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """`sum` with 0 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nansum(gnp.array([1.0, gnp.nan, 2.0]))
    Array(3., dtype=float32)
    """
    return sum(_without_nan(a, 0, "nansum"), *args, **kwargs)


@_arguments_of(prod)
def nanprod(a: ArrayLike, *args: Any, **kwargs: Any) -> Array:
    """`prod` with 1 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanprod(gnp.array([2.0, gnp.nan, 3.0]))
    Array(6., dtype=float32)
    """
    return prod(_without_nan(a, 1, "nanprod"), *args, **kwargs)


@_arguments_of(max)
def nanmax(a: ArrayLike, axis: Axis = None, **kwargs: Any) -> Array:
    """The greatest element that is not nan; nan if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmax(gnp.array([1.0, gnp.nan, 2.0]))
    Array(2., dtype=float32)
    """
    return _extremum(max, -math.inf, a, axis, kwargs, "nanmax")


@_arguments_of(min)
def nanmin(a: ArrayLike, axis: Axis = None, **kwargs: Any) -> Array:
    """The least element that is not nan; nan if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmin(gnp.array([1.0, gnp.nan, 2.0]))
    Array(1., dtype=float32)
    """
    return _extremum(min, math.inf, a, axis, kwargs, "nanmin")


@_arguments_of(argmax)
def nanargmax(a: ArrayLike, axis: int | None = None, **kwargs: Any) -> Array:
    """The index of the greatest element that is not nan; -1 if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanargmax(gnp.array([1.0, gnp.nan, 2.0]))
    Array(2, dtype=int32)
    """
    return _extremum(argmax, -math.inf, a, axis, kwargs, "nanargmax", missing=-1)


@_arguments_of(argmin)
def nanargmin(a: ArrayLike, axis: int | None = None, **kwargs: Any) -> Array:
    """The index of the least element that is not nan; -1 if there is none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanargmin(gnp.array([gnp.nan, 2.0, 1.0]))
    Array(2, dtype=int32)
    """
    return _extremum(argmin, math.inf, a, axis, kwargs, "nanargmin", missing=-1)


@_arguments_of(mean)
def nanmean(a: ArrayLike, *args: Any, where: ArrayLike | None = None, **kwargs: Any) -> Array:
    """The mean of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmean(gnp.array([1.0, gnp.nan, 2.0]))
    Array(1.5, dtype=float32)
    """
    x = as_operand(a, "nanmean")
    return mean(x, *args, where=_numbers(x, where), **kwargs)


@_arguments_of(var)
def nanvar(a: ArrayLike, *args: Any, where: ArrayLike | None = None, **kwargs: Any) -> Array:
    """The variance of the elements that are not nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanvar(gnp.array([1.0, gnp.nan, 3.0]))
    Array(1., dtype=float32)
    """
    x = as_operand(a, "nanvar")
    return var(x, *args, where=_numbers(x, where), **kwargs)


@_arguments_of(std)
def nanstd(a: ArrayLike, *args: Any, where: ArrayLike | None = None, **kwargs: Any) -> Array:
    """The standard deviation of the elements that are not nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nanstd(gnp.array([1.0, gnp.nan, 3.0]))
    Array(1., dtype=float32)
    """
    x = as_operand(a, "nanstd")
    return std(x, *args, where=_numbers(x, where), **kwargs)


def nanmedian(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The median of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanmedian(gnp.array([1.0, gnp.nan, 2.0, 7.0]))
    Array(2., dtype=float32)
    """
    return quantile_of(a, 0.5, axis, "midpoint", keepdims, "nanmedian", skip_nan=True)


def nanquantile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` of the elements that are not nan; nan if there are none.

    >>> import graphad.numpy as gnp
    >>> gnp.nanquantile(gnp.array([1.0, gnp.nan, 2.0]), 0.5)
    Array(1.5, dtype=float32)
    """
    return quantile_of(a, q, axis, method, keepdims, "nanquantile", skip_nan=True)


def nanpercentile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`nanquantile` with the share in percent.

    >>> import graphad.numpy as gnp
    >>> gnp.nanpercentile(gnp.array([1.0, gnp.nan, 2.0]), 50)
    Array(1.5, dtype=float32)
    """
    return quantile_of(a, q, axis, method, keepdims, "nanpercentile", skip_nan=True, of=100)


def nancumsum(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumsum` with 0 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nancumsum(gnp.array([1.0, gnp.nan, 2.0]))
    Array([1., 1., 3.], dtype=float32)
    """
    return running(reduce.cumsum, "nancumsum", _without_nan(a, 0, "nancumsum"), axis, dtype)


def nancumprod(a: ArrayLike, axis: int | None = None, dtype: DTypeLike | None = None) -> Array:
    """`cumprod` with 1 in place of nan.

    >>> import graphad.numpy as gnp
    >>> gnp.nancumprod(gnp.array([2.0, gnp.nan, 3.0]))
    Array([2., 2., 6.], dtype=float32)
    """
    return running(cumulative.cumprod, "nancumprod", _without_nan(a, 1, "nancumprod"), axis, dtype)


# ---------------------------------------------------------------------------------------------------------------------
# What these are made of


def _without_nan(a: ArrayLike, value: float, name: str) -> Any:
    """``a`` with ``value`` in place of nan."""
    x = as_operand(a, name)
    return choose(isnan(x), value, x) if dtype_and_weakness(x)[0].is_float else x


def _numbers(x: Any, also: ArrayLike | None) -> Any:
    """Where ``x`` is a number, and ``also`` holds."""
    return ~isnan(x) if also is None else logical_and(~isnan(x), also)


def _extremum(
    reduce: Any, least: float, a: ArrayLike, axis: Any, options: dict[str, Any], name: str, missing: float = math.nan
) -> Array:
    """What ``reduce`` gives with ``least`` in place of nan: an extremum, or where it is; ``missing`` if all are nan."""
    x = as_operand(a, name)
    if not dtype_and_weakness(x)[0].is_float:
        return reduce(x, axis, **options)
    result = reduce(_without_nan(x, least, name), axis, **options)
    if options.get("initial") is not None:
        return result
    return choose(all_(isnan(x), axis, keepdims=options.get("keepdims", False)), missing, result)
