"""From scores to probabilities and back: sums of exponentials that do not overflow."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import ml_dtypes

from graphad import numpy as gnp
from graphad.api.custom import custom_jvp
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    beside,
    canonical_axes,
    canonical_axis,
    canonical_dtype,
    cast,
    default_float,
    dtype_and_weakness,
    elementwise,
)


@in_float32
def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """``log(sum(b * exp(x)))`` without overflow, over all axes or those named; where b is 0, x does not count.

    >>> import graphad.numpy as gnp
    >>> logsumexp(gnp.array([1000.0, 0.0]))
    Array(1000., dtype=float32)
    """
    x = _masked(as_float(x, "logsumexp"), where)
    if b is None:
        shift = _shift(x, axis)
        terms = gnp.exp(x - shift)
    else:
        x, b = beside("logsumexp", x, b)
        b = b if where is None else gnp.where(where, b, 0)
        shift = _shift(gnp.where(b != 0, x, -math.inf), axis)
        terms = _weighted(b, x - shift)
    total = gnp.sum(terms, axis, keepdims=keepdims)
    return gnp.log(total) + (shift if keepdims else shift.reshape(total.shape))


def _weighted(b: Any, x: Any) -> Any:
    """``b * exp(x)``: 0 where b is 0, whatever x, but with the derivative ``exp(x)`` in b there too."""
    dropped = b == 0
    # As a product of two factors that do not overflow, nor change the value that 0 gives.
    most = 0.9 * math.log(float(ml_dtypes.finfo(x.dtype).max))
    root = gnp.exp(gnp.minimum(gnp.where(dropped & ~gnp.isnan(x), x, -math.inf) / 2, most))
    return gnp.where(dropped, b * root * root, b * gnp.exp(gnp.where(dropped, -math.inf, x)))


@in_float32
def logmeanexp(x: ArrayLike, axis: Axis = None, where: ArrayLike | None = None, keepdims: bool = False) -> Array:
    """``log(mean(exp(x)))`` without overflow, over all axes or those named.

    >>> import graphad.numpy as gnp
    >>> logmeanexp(gnp.array([1000.0, 1000.0]))
    Array(1000., dtype=float32)
    """
    x = as_float(x, "logmeanexp")
    total = logsumexp(x, axis, keepdims=keepdims, where=where)
    if where is None:
        count = math.prod([x.shape[k] for k in canonical_axes(axis, x.ndim, "logmeanexp")])
        return total - (math.log(count) if count else -math.inf)
    counted = gnp.broadcast_to(where, gnp.broadcast_shapes(x.shape, as_operand(where, "logmeanexp").shape))
    return total - gnp.log(cast(gnp.count_nonzero(counted, axis, keepdims=keepdims), dtype_and_weakness(x)[0]))


@in_float32
def softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """``exp(x)`` divided by its sum over an axis: positive numbers that sum to 1.

    >>> import graphad.numpy as gnp
    >>> softmax(gnp.zeros(4))
    Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    scores: Array = _masked(as_float(x, "softmax"), where)
    axes = axis if axis is None or type(axis) is int else canonical_axes(axis, scores.ndim, "softmax")
    result = _shares(axes)(scores - _greatest(scores, axis, where))
    return result if where is None else gnp.where(where, result, 0.0)


@cache
def _shares(axis: Axis) -> Callable[[Array], Array]:
    """``exp(x)`` divided by its sum over ``axis``."""

    @custom_jvp
    def shares(x: Array) -> Array:
        terms = gnp.exp(x)
        return terms / gnp.sum(terms, axis, keepdims=True)

    @shares.defjvp
    def shares_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        """``p * (t - sum(p * t))``, written in differences to the tangent of a share that is above 1/2, if one is.

        Where a share is close to 1, ``1 - p`` cancels; the sum of the others does not. Written like this, the
        linear map of tangents keeps its digits when it is transposed, too.
        """
        (x,), (t,) = primals, tangents
        p = shares(x)
        most = p > 0.5
        gaps = t - gnp.sum(gnp.where(most, t, 0.0), axis, keepdims=True)
        weighted = gnp.where(most, 0.0, p) * gaps
        return p, weighted - p * gnp.sum(weighted, axis, keepdims=True)

    return shares


@in_float32
def log_softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """The logarithm of `softmax`, without overflow.

    >>> import graphad.numpy as gnp
    >>> log_softmax(gnp.array([1000.0, 0.0]))
    Array([    0., -1000.], dtype=float32)
    """
    x = _masked(as_float(x, "log_softmax"), where)
    shifted = x - _greatest(x, axis, where)
    result = shifted - gnp.log(gnp.sum(gnp.exp(shifted), axis, keepdims=True))
    return result if where is None else gnp.where(where, result, -math.inf)


def _masked(x: Any, where: ArrayLike | None) -> Any:
    """``x`` with what does not count replaced by what adds nothing to a sum of exponentials.

    It is replaced at once, and not left out of the sum alone: the derivative of what overflows is nan, even times 0.
    """
    return x if where is None else gnp.where(where, x, -math.inf)


def _greatest(x: Any, axis: Axis, where: ArrayLike | None = None) -> Any:
    """The greatest element over ``axis``, kept as an axis, as a constant: what it is has no influence on the result.

    0 where ``where`` leaves nothing that counts.
    """
    greatest = gnp.max(x, axis, keepdims=True, initial=None if x.size else -math.inf)
    if where is not None:
        greatest = gnp.where(greatest == -math.inf, 0.0, greatest)
    return elementwise(prims.stop_gradient, greatest)


def _shift(x: Any, axis: Axis) -> Any:
    """`_greatest`, and 0 where that is infinite: differences to it would be nan."""
    greatest = _greatest(x, axis)
    return gnp.where(gnp.isfinite(greatest), greatest, 0.0)


def one_hot(x: ArrayLike, num_classes: int, *, dtype: DTypeLike | None = None, axis: int = -1) -> Array:
    """A new axis with 1 at the position x, and 0 elsewhere (everywhere, if x is out of range).

    >>> one_hot(1, 3)
    Array([0., 1., 0.], dtype=float32)
    """
    x = as_operand(x, "one_hot")
    if num_classes < 0:
        raise ValueError(f"{source.where()}one_hot takes num_classes >= 0, got {num_classes}.")
    k = canonical_axis(axis, x.ndim + 1, "one_hot")
    classes = gnp.arange(num_classes, dtype=dtype_and_weakness(x)[0])
    classes = classes.reshape((1,) * k + (num_classes,) + (1,) * (x.ndim - k))
    wanted = default_float() if dtype is None else canonical_dtype(dtype)
    return cast(gnp.expand_dims(x, k) == classes, wanted)
