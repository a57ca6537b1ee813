"""What layers do besides products: normalisation and dropout, as pure functions.

Nothing is remembered and nothing is initialised: scales, offsets, averages and keys are arguments.
"""

from __future__ import annotations

import math
from typing import Any

from graphad import numpy as gnp
from graphad.numpy._precision import in_float32
from graphad.numpy._typing import ArrayLike, Axis
from graphad.primitives import elementwise as prims
from graphad.random import bernoulli
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, beside, canonical_axes, canonical_axis, elementwise


@in_float32
def standardize(
    x: ArrayLike,
    axis: Axis = -1,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    epsilon: ArrayLike = 1e-5,
    where: ArrayLike | None = None,
    *,
    algorithm: str = "fast",
) -> Array:
    """``(x - mean) / sqrt(variance + epsilon)``, over the axes named.

    Parameters
    ----------
    mean, variance
        Computed from x unless given.
    where
        Which elements count for them; the others have no influence on the results of these, nor on derivatives.
    algorithm
        The variance as ``"fast"``, from the mean of squares, or ``"stable"``, from the squares of deviations.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> standardize(gnp.array([1.0, 3.0]))
    Array([-0.999995,  0.999995], dtype=float32)
    """
    if algorithm not in ("fast", "stable"):
        raise ValueError(f"{source.where()}standardize takes algorithm 'fast' or 'stable', got {algorithm!r}.")
    x = as_float(x, "standardize")
    counted = x if where is None else gnp.where(where, x, 0)
    center = gnp.mean(counted, axis, keepdims=True, where=where) if mean is None else mean
    if variance is None and algorithm == "stable":
        variance = gnp.mean(gnp.square(counted - center), axis, keepdims=True, where=where)
    elif variance is None:
        # Rounding may carry the difference below zero.
        variance = gnp.mean(gnp.square(counted), axis, keepdims=True, where=where) - gnp.square(center)
        variance = gnp.maximum(variance, 0)
    scale = elementwise(prims.rsqrt, beside("standardize", x, variance)[1] + epsilon)
    if where is None:
        return (x - center) * scale
    # What is masked does not reach the mean and the variance through its own result either: 0 times infinity is nan.
    empty = gnp.logical_not(gnp.any(gnp.broadcast_to(where, counted.shape), axis, keepdims=True))
    sound = gnp.logical_or(where, gnp.isfinite(x)) & ~empty
    result = (gnp.where(sound, x, 0) - center) * scale
    return gnp.where(sound, result, gnp.where(empty, math.nan, elementwise(prims.stop_gradient, x)))


@in_float32
def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    axis: Axis = -1,
    epsilon: float = 1e-5,
) -> Array:
    """x with mean 0 and variance 1 over ``axis``, times ``scale``, plus ``bias`` (Ba et al. 2016).

    ``scale`` and ``bias`` have the shape of the axes named, or one that broadcasts against x.

    >>> import graphad.numpy as gnp
    >>> layer_norm(gnp.array([1.0, 3.0]), scale=2.0, bias=1.0)
    Array([-0.99999,  2.99999], dtype=float32)
    """
    return _affine(standardize(x, axis, epsilon=epsilon, algorithm="stable"), scale, bias)


@in_float32
def rms_norm(x: ArrayLike, scale: ArrayLike | None = None, *, axis: Axis = -1, epsilon: float = 1e-6) -> Array:
    """x divided by the root of its mean square over ``axis``, times ``scale`` (Zhang and Sennrich 2019).

    >>> import graphad.numpy as gnp
    >>> rms_norm(gnp.array([3.0, 4.0, 0.0, 0.0]), epsilon=0.0)
    Array([1.2, 1.6, 0. , 0. ], dtype=float32)
    """
    x = as_float(x, "rms_norm")
    return _affine(standardize(x, axis, 0.0, gnp.mean(gnp.square(x), axis, keepdims=True), epsilon), scale, None)


@in_float32
def batch_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    channel_axis: int = -1,
    epsilon: float = 1e-5,
) -> tuple[Array, Array, Array]:
    """Each channel of x with mean 0 and variance 1 over the batch and all positions (Ioffe and Szegedy 2015).

    Parameters
    ----------
    scale, bias, mean, variance
        One number for each channel, or None. In training leave out the mean and the variance, which are then those of
        the batch, and average what comes back with `graphad.optim.incremental_update`; afterwards hand the averages in.
    channel_axis
        The axis of the channels.

    Returns
    -------
    tuple
        The result, and the mean and the variance that were used.

    Examples
    --------
    >>> import graphad.numpy as gnp
    >>> y, mean, variance = batch_norm(gnp.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean, variance
    (Array([2., 5.], dtype=float32), Array([1., 0.], dtype=float32))
    """
    x = as_float(x, "batch_norm")
    k = canonical_axis(channel_axis, x.ndim, "batch_norm")
    others = tuple([i for i in range(x.ndim) if i != k])
    along = _along(k, x.ndim)

    mean = gnp.mean(x, others) if mean is None else beside("batch_norm", x, mean)[1]
    if variance is None:
        variance = gnp.mean(gnp.square(x - gnp.reshape(mean, along)), others)
    variance = beside("batch_norm", x, variance)[1]
    centered = standardize(x, others, gnp.reshape(mean, along), gnp.reshape(variance, along), epsilon)
    scale, bias = (None if p is None else gnp.reshape(beside("batch_norm", x, p)[1], along) for p in (scale, bias))
    return _affine(centered, scale, bias), mean, variance


@in_float32
def group_norm(
    x: ArrayLike,
    groups: int,
    scale: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    channel_axis: int = -1,
    epsilon: float = 1e-5,
) -> Array:
    """Each example's channels, in so many groups, with mean 0 and variance 1 over each group (Wu and He 2018).

    The first axis is that of the examples. ``scale`` and ``bias`` have one number for each channel. As many groups as
    channels make this instance normalisation.

    >>> import graphad.numpy as gnp
    >>> group_norm(gnp.array([[1.0, 3.0, 10.0, 30.0]]), groups=2, epsilon=0.0)
    Array([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    x = as_float(x, "group_norm")
    k = canonical_axis(channel_axis, x.ndim, "group_norm")
    channels = x.shape[k]
    if not k or groups < 1 or channels % groups:
        raise ValueError(
            f"{source.where()}group_norm takes channels behind the first axis that are a multiple of the number of "
            f"groups, got {channels} channels on axis {k} and {groups} groups."
        )
    grouped = gnp.reshape(x, (*x.shape[:k], groups, channels // groups, *x.shape[k + 1 :]))
    axes = tuple([i for i in range(1, grouped.ndim) if i != k])
    centered = gnp.reshape(standardize(grouped, axes, epsilon=epsilon, algorithm="stable"), x.shape)
    along = _along(k, x.ndim)
    scale, bias = (None if p is None else gnp.reshape(beside("group_norm", x, p)[1], along) for p in (scale, bias))
    return _affine(centered, scale, bias)


def dropout(key: ArrayLike, rate: float, x: ArrayLike, *, broadcast_axes: Axis = ()) -> Array:
    """x with each element set to 0 with probability ``rate``, and the others divided by ``1 - rate``.

    Along ``broadcast_axes`` elements are dropped together. Leave it out at inference.

    >>> import graphad.numpy as gnp
    >>> from graphad.random import key
    >>> dropout(key(0), 0.5, gnp.ones(4))
    Array([0., 2., 0., 2.], dtype=float32)
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"{source.where()}dropout takes a rate from 0 to 1, got {rate}.")
    x = as_float(x, "dropout")
    together = canonical_axes(broadcast_axes, x.ndim, "dropout")
    sizes = tuple([1 if i in together else n for i, n in enumerate(x.shape)])
    if rate == 1:
        return gnp.zeros_like(x)
    kept = bernoulli(key, 1.0 - rate, sizes)
    return gnp.where(kept, x / (1.0 - rate), 0)


def _affine(x: Any, scale: ArrayLike | None, bias: ArrayLike | None) -> Any:
    x = x if scale is None else x * scale
    return x if bias is None else x + bias


def _along(axis: int, ndim: int) -> tuple[int, ...]:
    """The shape in which a vector lies along an axis."""
    return tuple([-1 if i == axis else 1 for i in range(ndim)])
