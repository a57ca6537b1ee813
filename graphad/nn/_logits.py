"""From scores to probabilities and back: sums of exponentials that do not overflow."""

from __future__ import annotations

import math
from typing import Any

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_operand,
    canonical_axis,
    canonical_dtype,
    cast,
    default_float,
    dtype_and_weakness,
    elementwise,
)


def logsumexp(
    x: ArrayLike,
    axis: Axis = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    where: ArrayLike | None = None,
) -> Array:
    """``log(sum(b * exp(x)))`` without overflow, over all axes or those named.

    >>> import graphad.numpy as gnp
    >>> logsumexp(gnp.array([1000.0, 0.0]))
    Array(1000., dtype=float32)
    """
    x = as_float(x, "logsumexp")
    if b is not None:
        b = as_operand(b, "logsumexp")
        x = gnp.where(b != 0, x, -math.inf)
    shift = _greatest(x, axis, where)
    shift = gnp.where(gnp.isfinite(shift), shift, 0.0)
    terms = gnp.exp(x - shift)
    total = gnp.sum(terms if b is None else b * terms, axis, keepdims=keepdims, where=where)
    return gnp.log(total) + (shift if keepdims else shift.reshape(total.shape))


def logmeanexp(x: ArrayLike, axis: Axis = None, where: ArrayLike | None = None, keepdims: bool = False) -> Array:
    """``log(mean(exp(x)))`` without overflow, over all axes or those named.

    >>> import graphad.numpy as gnp
    >>> logmeanexp(gnp.array([1000.0, 1000.0]))
    Array(1000., dtype=float32)
    """
    x = as_float(x, "logmeanexp")
    total = logsumexp(x, axis, keepdims=keepdims, where=where)
    return total - gnp.log(gnp.sum(gnp.ones_like(x), axis, keepdims=keepdims, where=where))


def softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """``exp(x)`` divided by its sum over an axis: positive numbers that sum to 1.

    >>> import graphad.numpy as gnp
    >>> softmax(gnp.zeros(4))
    Array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    x = as_float(x, "softmax")
    terms = gnp.exp(x - _greatest(x, axis, where))
    result = terms / gnp.sum(terms, axis, keepdims=True, where=where)
    return result if where is None else gnp.where(where, result, 0.0)


def log_softmax(x: ArrayLike, axis: Axis = -1, where: ArrayLike | None = None) -> Array:
    """The logarithm of `softmax`, without overflow.

    >>> import graphad.numpy as gnp
    >>> log_softmax(gnp.array([1000.0, 0.0]))
    Array([    0., -1000.], dtype=float32)
    """
    x = as_float(x, "log_softmax")
    shifted = x - _greatest(x, axis, where)
    result = shifted - gnp.log(gnp.sum(gnp.exp(shifted), axis, keepdims=True, where=where))
    return result if where is None else gnp.where(where, result, -math.inf)


def _greatest(x: Any, axis: Axis, where: ArrayLike | None) -> Any:
    """The greatest element over ``axis``, kept as an axis, as a constant: what it is has no influence on the result."""
    initial = None if where is None and x.size else -math.inf
    greatest = gnp.max(x, axis, keepdims=True, initial=initial, where=where)
    return elementwise(prims.stop_gradient, greatest)


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
