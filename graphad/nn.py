"""Functions that neural networks are made of. Names, arguments and results are those of ``jax.nn``."""

from __future__ import annotations

import math
from typing import Any

from graphad import numpy as gnp
from graphad.lax._windows import avg_pool as avg_pool
from graphad.lax._windows import max_pool as max_pool
from graphad.lax._windows import min_pool as min_pool
from graphad.numpy import tanh as tanh
from graphad.numpy._typing import ArrayLike, Axis, DTypeLike
from graphad.primitives import elementwise as prims
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import (
    as_float,
    as_number,
    as_operand,
    canonical_axis,
    canonical_dtype,
    cast,
    default_float,
    dtype_and_weakness,
    elementwise,
    with_weak,
)

# ---------------------------------------------------------------------------------------------------------------------
# Activations


def relu(x: ArrayLike) -> Array:
    """x where it is positive, else 0; its derivative at 0 is 0.

    >>> import graphad.numpy as gnp
    >>> relu(gnp.array([-1.0, 0.0, 2.0]))
    Array([0., 0., 2.], dtype=float32)
    """
    x = as_number(x, "relu")
    return gnp.where(x <= 0, 0, x)


def relu6(x: ArrayLike) -> Array:
    """`relu` that stops at 6.

    >>> relu6(8.0)
    Array(6., dtype=float32, weak_type=True)
    """
    return gnp.minimum(relu(x), 6)


def leaky_relu(x: ArrayLike, negative_slope: ArrayLike = 0.01) -> Array:
    """x where it is not negative, else ``negative_slope * x``.

    >>> leaky_relu(-2.0, 0.5)
    Array(-1., dtype=float32, weak_type=True)
    """
    x = as_float(x, "leaky_relu")
    return gnp.where(x >= 0, x, negative_slope * x)


def elu(x: ArrayLike, alpha: ArrayLike = 1.0) -> Array:
    """x where it is positive, else ``alpha * (exp(x) - 1)``.

    >>> elu(2.0)
    Array(2., dtype=float32, weak_type=True)
    """
    x = as_float(x, "elu")
    return gnp.where(x > 0, x, alpha * gnp.expm1(gnp.where(x > 0, 0.0, x)))


def sigmoid(x: ArrayLike) -> Array:
    """``1 / (1 + exp(-x))``.

    >>> sigmoid(0.0)
    Array(0.5, dtype=float32, weak_type=True)
    """
    return elementwise(prims.logistic, x, to_float=True, name="sigmoid")


def log_sigmoid(x: ArrayLike) -> Array:
    """The logarithm of `sigmoid`.

    >>> log_sigmoid(0.0)
    Array(-0.6931472, dtype=float32, weak_type=True)
    """
    return -softplus(-as_float(x, "log_sigmoid"))


def softplus(x: ArrayLike) -> Array:
    """``log(1 + exp(x))``.

    >>> softplus(0.0)
    Array(0.6931472, dtype=float32, weak_type=True)
    """
    return gnp.logaddexp(x, 0.0)


def silu(x: ArrayLike) -> Array:
    """``x * sigmoid(x)``.

    >>> silu(0.0)
    Array(0., dtype=float32, weak_type=True)
    """
    x = as_float(x, "silu")
    return x * sigmoid(x)


swish = silu


def gelu(x: ArrayLike, approximate: bool = True) -> Array:
    """x times the normal distribution function at x; by default through its approximation with `tanh`.

    >>> gelu(0.0)
    Array(0., dtype=float32)
    """
    x = as_float(x, "gelu")
    if approximate:
        inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        result = x * (0.5 * (1.0 + gnp.tanh(inner)))
    else:
        result = 0.5 * x * (1.0 + elementwise(prims.erf, x * math.sqrt(0.5)))
    return with_weak(result, False)


# ---------------------------------------------------------------------------------------------------------------------
# Logits


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
