"""Sorted arrays, and the order that sorts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from graphad.numpy._arithmetic import clip, maximum, remainder
from graphad.numpy._logic import isnan, where
from graphad.numpy._math import ceil, floor, rint
from graphad.numpy._precision import wide
from graphad.numpy._reductions import any as any_
from graphad.numpy._reductions import sum as sum_
from graphad.numpy._shape import broadcast_to, expand_dims, flip, moveaxis, ravel, reshape
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives import indexing, sorting
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.scalars import is_scalar
from graphad.trace.semantics import (
    as_operand,
    canonical_axes,
    canonical_axis,
    cast,
    default_int,
    dtype_and_weakness,
    float_for,
    with_weak,
)


def sort(
    a: ArrayLike, axis: int | None = -1, kind: str | None = None, *, stable: bool = True, descending: bool = False
) -> Array:
    """The elements from the least to the greatest along an axis (None: of the flattened array), nan last.

    Every sort is stable, whatever ``kind`` asks for.

    >>> import graphad.numpy as gnp
    >>> gnp.sort(gnp.array([3, 1, 2]))
    Array([1, 2, 3], dtype=int32)
    """
    del stable  # it always is
    _check_kind(kind, "sort")
    x, k = _operand(a, axis, "sort")
    rows = moveaxis(x, k, -1)
    ordered = moveaxis(along(rows, sorting.argsort(rows, axis=rows.ndim - 1)), -1, k)
    return with_weak(flip(ordered, k) if descending else ordered, x.weak_type)


def argsort(
    a: ArrayLike, axis: int | None = -1, kind: str | None = None, *, stable: bool = True, descending: bool = False
) -> Array:
    """The positions of the elements from the least to the greatest; equal ones keep their order, also if descending.

    Every sort is stable, whatever ``kind`` asks for.

    >>> import graphad.numpy as gnp
    >>> gnp.argsort(gnp.array([3, 1, 2]))
    Array([1, 2, 0], dtype=int32)
    """
    del stable
    _check_kind(kind, "argsort")
    x, k = _operand(a, axis, "argsort")
    return cast(order_of(x, k, descending), default_int())


def _check_kind(kind: str | None, name: str) -> None:
    if kind not in (None, "stable", "quicksort", "mergesort", "heapsort"):
        raise ValueError(
            f"{source.where()}{name} got kind={kind!r}; it takes NumPy's 'quicksort', 'mergesort', 'heapsort' and "
            "'stable', and is always stable."
        )


def lexsort(keys: ArrayLike | Sequence[ArrayLike], axis: int = -1) -> Array:
    """The positions that sort by the last of ``keys``, among its equals by the one before, and so on.

    >>> import graphad.numpy as gnp
    >>> gnp.lexsort((gnp.array([2, 1, 0]), gnp.array([1, 0, 1])))
    Array([1, 2, 0], dtype=int32)
    """
    listed = [as_operand(key, "lexsort") for key in (keys if isinstance(keys, (tuple, list)) else as_operand(keys))]
    if not listed:
        raise TypeError(f"{source.where()}lexsort got no keys; give at least one array.")
    k = canonical_axis(axis, listed[0].ndim, "lexsort")
    return cast(order_by(listed[::-1], k), default_int())


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


# ---------------------------------------------------------------------------------------------------------------------
# What these, and those of `graphad.lax`, are made of


def _operand(a: ArrayLike, axis: int | None, name: str) -> tuple[Any, int]:
    x = as_operand(a, name)
    if axis is None:
        return ravel(x), 0
    return x, canonical_axis(axis, x.ndim, name)


def along(rows: Any, order: Any) -> Any:
    """The elements of the last axis in the order given for each row."""
    last = rows.ndim - 1
    return indexing.gather(rows, expand_dims(order, -1), axes=(last,), batch=last, mode="clip")


def order_of(x: Any, axis: int, descending: bool = False) -> Any:
    """The positions from the least to the greatest, or from the greatest (nan before all) to the least."""
    if not descending:
        return sorting.argsort(x, axis=axis)
    backwards: Any = sorting.argsort(flip(x, axis), axis=axis)
    return (x.shape[axis] - 1) - flip(backwards, axis)


def order_by(keys: Sequence[Any], axis: int) -> Any:
    """The positions that sort by the first of ``keys``, then by the second, and so on: by the last one first."""
    *others, last = [moveaxis(key, axis, -1) for key in keys]
    order: Any = sorting.argsort(last, axis=last.ndim - 1)
    for key in reversed(others):
        order = along(order, sorting.argsort(along(key, order), axis=key.ndim - 1))
    return moveaxis(order, -1, axis)


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
        share = cast(float(q) / of, dtype)
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
