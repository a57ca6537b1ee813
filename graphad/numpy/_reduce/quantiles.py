"""Medians and other quantiles over axes."""

from __future__ import annotations

import math
from typing import Any

from graphad.numpy._elementwise.arithmetic import remainder
from graphad.numpy._elementwise.extrema import clip, maximum
from graphad.numpy._elementwise.logic import isnan, where
from graphad.numpy._elementwise.rounding import ceil, floor, rint
from graphad.numpy._precision import wide
from graphad.numpy._reduce.sums import any as any_
from graphad.numpy._reduce.sums import sum as sum_
from graphad.numpy._shape.axes import moveaxis
from graphad.numpy._shape.broadcasting import broadcast_to
from graphad.numpy._shape.reshaping import expand_dims, reshape
from graphad.numpy._sort.sorting import along
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives import sorting
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_operand,
    canonical_axes,
    cast,
    default_int,
    dtype_and_weakness,
    float_for,
    with_weak,
)


def median(a: ArrayLike, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The middle of the sorted elements, or the mean of the two in the middle; nan if any is nan.

    >>> import graphad.numpy as gnp
    >>> gnp.median(gnp.array([3.0, 1.0, 2.0, 10.0]))
    Array(2.5, dtype=float32)
    """
    return quantile_of(a, 0.5, axis, "midpoint", keepdims, "median")


def quantile(a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Array:
    """The value that a share ``q`` of the elements does not exceed; nan if any is nan.

    ``method`` says what lies between two elements: one of NumPy's, ``linear lower higher midpoint nearest`` and those
    of Hyndman and Fan (American Statistician 1996), ``inverted_cdf`` to ``normal_unbiased``. The axes of ``q`` come
    first.

    >>> import graphad.numpy as gnp
    >>> gnp.quantile(gnp.array([1.0, 2.0, 4.0]), 0.75)
    Array(3., dtype=float32)
    """
    return quantile_of(a, q, axis, method, keepdims, "quantile")


def percentile(
    a: ArrayLike, q: ArrayLike, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Array:
    """`quantile` with the share in percent.

    >>> import graphad.numpy as gnp
    >>> gnp.percentile(gnp.array([1.0, 2.0, 4.0]), 50)
    Array(2., dtype=float32)
    """
    return quantile_of(a, q, axis, method, keepdims, "percentile", of=100)


def quantile_of(
    a: ArrayLike,
    q: ArrayLike,
    axis: Axis,
    method: str,
    keepdims: bool,
    name: str,
    *,
    skip_nan: bool = False,
    of: int = 1,
) -> Array:
    """The quantiles of all elements, nan if any is nan; with ``skip_nan`` of those that are numbers.

    ``q`` is in parts of ``of``: 100 of percentiles.
    """
    x = as_operand(a, name)
    wanted = float_for(dtype_and_weakness(x)[0])
    dtype = wide(wanted, x)
    x = cast(x, dtype)
    axes = canonical_axes(axis, x.ndim, name)
    kept = [k for k in range(x.ndim) if k not in axes]
    size = math.prod([x.shape[k] for k in axes])
    rows = reshape(moveaxis(x, kept, list(range(len(kept)))), (*[x.shape[k] for k in kept], size))
    if not rows.shape[-1]:
        raise ValueError(f"{source.where()}{name} of no elements has no value; check the size first.")
    ordered, missing = along(rows, sorting.argsort(rows, axis=rows.ndim - 1)), isnan(rows)
    if is_scalar(q):
        share = cast(float(q) / of, dtype)  # pyright: ignore[reportArgumentType]
    else:
        share = cast(q, dtype, name=name)
        share = share if of == 1 else share / of
    count = rows.shape[-1] - sum_(missing, -1, keepdims=True) if skip_nan else rows.shape[-1]  # nan is sorted behind
    flat = clip(broadcast_to(reshape(share, -1), (*rows.shape[:-1], share.size)), 0, 1)
    low, high, weight = _neighbours(flat, count, method, name)

    def element(place: Any) -> Any:
        return along(ordered, cast(clip(place, 0, maximum(count - 1, 0)), default_int()))

    result = element(low)
    if weight is not None:  # an infinity above does not count where the way to it is 0
        result = where(weight == 0, result, result * (1 - weight) + element(high) * weight)
    if not skip_nan:
        result = where(any_(missing, -1, keepdims=True), float("nan"), result)
    result = reshape(moveaxis(result, -1, 0), (*share.shape, *[x.shape[k] for k in kept]))
    if keepdims:
        result = expand_dims(result, [share.ndim + k for k in axes])
    return with_weak(cast(result, wanted), False)


#: Where the methods put the quantiles between the sorted elements: the constants alpha and beta of Hyndman and Fan.
_CONTINUOUS = {
    "linear": (1.0, 1.0), "interpolated_inverted_cdf": (0.0, 1.0), "hazen": (0.5, 0.5), "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3), "normal_unbiased": (3 / 8, 3 / 8),
}  # fmt: skip
_AMONG_GAPS = ("lower", "higher", "midpoint", "nearest")
_BY_COUNT = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")


def _neighbours(q: Any, count: Any, method: str, name: str) -> tuple[Any, Any, Any]:
    """Between which two of ``count`` sorted elements the quantiles ``q`` lie, and the weight of the second.

    The positions may be out of range; the weight is None where the first element is the quantile.
    """
    if method in _CONTINUOUS:
        alpha, beta = _CONTINUOUS[method]
        place = q * (count - 1) if method == "linear" else count * q + (alpha + q * (1 - alpha - beta)) - 1
        place = clip(place, 0, maximum(count - 1, 0))
        return floor(place), ceil(place), place - floor(place)
    if method in _AMONG_GAPS:
        place = q * maximum(count - 1, 0)
        low, high = floor(place), ceil(place)
        if method == "midpoint":
            return low, high, where(low == high, 0.0, 0.5)
        at = {"lower": low, "higher": high}.get(method)
        return rint(place) if at is None else at, high, None
    if method not in _BY_COUNT:
        raise ValueError(
            f"{source.where()}{name} got method={method!r}; it takes "
            f"{', '.join([*_CONTINUOUS, *_AMONG_GAPS, *_BY_COUNT])}."
        )
    if method == "closest_observation":  # the nearest element, of two the one of even number, counted from 1
        place = count * q - 1.5
        low = floor(place)
        return where((place == low) & (remainder(low, 2) == 1), low, low + 1), low, None
    place = count * q - 1
    low = floor(place)
    if method == "inverted_cdf":
        return ceil(place), low, None
    return low, low + 1, where(place == low, 0.5, 1.0)
