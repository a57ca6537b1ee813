"""Initial values of parameters: functions ``(key, shape, dtype) -> Array``, and functions that make such functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

from graphad import numpy as gnp
from graphad import random
from graphad.api.names import listing
from graphad.numpy._typing import ArrayLike, DTypeLike, Shape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import canonical_axis, canonical_dtype, canonical_shape, cast, default_float

Axes = int | Sequence[int]

# The standard deviation of a normal distribution cut off at two of its own.
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(Protocol):
    """The type of an initializer; ``dtype`` overrides the one that it was made with."""

    def __call__(self, key: ArrayLike, shape: Shape, dtype: DTypeLike | None = None) -> Array: ...


def zeros(key: ArrayLike, shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """All 0. It takes a key like the others, and leaves it unused.

    >>> zeros(None, (2,))
    Array([0., 0.], dtype=float32)
    """
    return gnp.zeros(shape, dtype)


def ones(key: ArrayLike, shape: Shape, dtype: DTypeLike | None = None) -> Array:
    """All 1. It takes a key like the others, and leaves it unused.

    >>> ones(None, (2,))
    Array([1., 1.], dtype=float32)
    """
    return gnp.ones(shape, dtype)


def constant(value: ArrayLike, dtype: DTypeLike | None = None) -> Initializer:
    """All ``value``.

    >>> constant(7)(None, (2,))
    Array([7., 7.], dtype=float32)
    """
    return _initializer(dtype, lambda key, shape, dtype: gnp.full(shape, value, dtype))


def uniform(scale: float = 1e-2, dtype: DTypeLike | None = None) -> Initializer:
    """Uniform between 0 and ``scale``.

    >>> from graphad.random import key
    >>> uniform(10.0)(key(0), (2,))
    Array([2.1629536, 8.041241 ], dtype=float32)
    """
    return _initializer(dtype, lambda key, shape, dtype: random.uniform(key, shape, dtype) * scale)


def normal(stddev: float = 1e-2, dtype: DTypeLike | None = None) -> Initializer:
    """Normal with this standard deviation.

    >>> from graphad.random import key
    >>> normal()(key(0), ())
    Array(-0.0020584..., dtype=float32)
    """
    return _initializer(dtype, lambda key, shape, dtype: random.normal(key, shape, dtype) * stddev)


def truncated_normal(
    stddev: float = 1e-2, dtype: DTypeLike | None = None, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """``stddev`` times a normal number between ``lower`` and ``upper``.

    >>> from graphad.random import key
    >>> truncated_normal()(key(0), (2,)).shape
    (2,)
    """
    return _initializer(
        dtype, lambda key, shape, dtype: random.truncated_normal(key, lower, upper, shape, dtype) * stddev
    )


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: DTypeLike | None = None,
) -> Initializer:
    """Mean 0 and variance ``scale / n``, where n is a number of connections.

    Parameters
    ----------
    scale
        A positive number.
    mode
        n is that of the inputs ``"fan_in"``, of the outputs ``"fan_out"``, or their mean ``"fan_avg"``, or their
        geometric mean ``"fan_geo_avg"``.
    distribution
        ``"normal"``, ``"truncated_normal"`` (at two standard deviations) or ``"uniform"``.
    in_axis, out_axis, batch_axis
        The axes of the inputs, of the outputs, and of what counts as neither; the others are positions in a window,
        and count as both.

    Examples
    --------
    >>> from graphad.random import key
    >>> variance_scaling(1.0, "fan_in", "normal")(key(0), (3, 4)).shape
    (3, 4)
    """
    if mode not in ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"):
        raise ValueError(
            f"{source.where()}variance_scaling takes mode 'fan_in', 'fan_out', 'fan_avg' or 'fan_geo_avg', "
            f"got {mode!r}."
        )
    if distribution not in ("normal", "truncated_normal", "uniform"):
        raise ValueError(
            f"{source.where()}variance_scaling takes distribution 'normal', 'truncated_normal' or 'uniform', "
            f"got {distribution!r}."
        )

    def draw(key: ArrayLike, shape: tuple[int, ...], dtype: Any) -> Array:
        inputs, outputs = _connections(shape, in_axis, out_axis, batch_axis)
        n = {
            "fan_in": inputs,
            "fan_out": outputs,
            "fan_avg": (inputs + outputs) / 2,
            "fan_geo_avg": (inputs * outputs) ** 0.5,
        }[mode]
        stddev = math.sqrt(scale / n) if n else math.inf
        if distribution == "uniform":
            return random.uniform(key, shape, dtype, -1.0) * (math.sqrt(3.0) * stddev)
        if distribution == "normal":
            return random.normal(key, shape, dtype) * stddev
        return random.truncated_normal(key, -2.0, 2.0, shape, dtype) * (stddev / _TRUNCATED_STDDEV)

    return _initializer(dtype, draw)


def glorot_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Uniform with variance 2 / (inputs + outputs) (Glorot and Bengio 2010).

    >>> from graphad.random import key
    >>> glorot_uniform()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(1.0, "fan_avg", "uniform", in_axis, out_axis, batch_axis, dtype)


def glorot_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Truncated normal with variance 2 / (inputs + outputs) (Glorot and Bengio 2010).

    >>> from graphad.random import key
    >>> glorot_normal()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(1.0, "fan_avg", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def lecun_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Uniform with variance 1 / inputs (LeCun et al. 1998).

    >>> from graphad.random import key
    >>> lecun_uniform()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(1.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def lecun_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Truncated normal with variance 1 / inputs (LeCun et al. 1998).

    >>> from graphad.random import key
    >>> lecun_normal()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(1.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


def he_uniform(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Uniform with variance 2 / inputs, for `relu` (He et al. 2015).

    >>> from graphad.random import key
    >>> he_uniform()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(2.0, "fan_in", "uniform", in_axis, out_axis, batch_axis, dtype)


def he_normal(
    in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: DTypeLike | None = None
) -> Initializer:
    """Truncated normal with variance 2 / inputs, for `relu` (He et al. 2015).

    >>> from graphad.random import key
    >>> he_normal()(key(0), (3, 4)).shape
    (3, 4)
    """
    return variance_scaling(2.0, "fan_in", "truncated_normal", in_axis, out_axis, batch_axis, dtype)


xavier_uniform = glorot_uniform
xavier_normal = glorot_normal
kaiming_uniform = he_uniform
kaiming_normal = he_normal


def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: DTypeLike | None = None) -> Initializer:
    """``scale`` times a matrix with orthonormal columns, or rows if those are fewer (Saxe et al. 2014).

    The columns lie along ``column_axis``; all other axes together are the rows.

    >>> from graphad.random import key
    >>> orthogonal()(key(0), (3, 4)).shape
    (3, 4)
    """

    def draw(key: ArrayLike, shape: tuple[int, ...], dtype: Any) -> Array:
        if len(shape) < 2:
            raise ValueError(f"{source.where()}orthogonal takes a shape with at least two axes, got {shape}.")
        if 0 in shape:
            return gnp.zeros(shape, dtype)
        k = canonical_axis(column_axis, len(shape), "orthogonal")
        columns = shape[k]
        matrix = random.orthogonal(key, math.prod(shape) // columns, (), dtype, columns)
        rows = (*shape[:k], *shape[k + 1 :])
        return scale * gnp.moveaxis(gnp.reshape(matrix, (*rows, columns)), -1, k)

    return _initializer(dtype, draw)


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: DTypeLike | None = None) -> Initializer:
    """Convolutions ``(..., inputs, outputs)`` that are `orthogonal` in the middle and 0 elsewhere (Xiao et al. 2018).

    >>> from graphad.random import key
    >>> delta_orthogonal()(key(0), (3, 2, 4)).shape
    (3, 2, 4)
    """

    def draw(key: ArrayLike, shape: tuple[int, ...], dtype: Any) -> Array:
        if not 3 <= len(shape) <= 5 or shape[-1] < shape[-2]:
            raise ValueError(
                f"{source.where()}delta_orthogonal takes a shape of 3 to 5 axes with no more inputs than outputs, "
                f"got {shape}."
            )
        matrix = orthogonal(scale, column_axis, dtype)(key, shape[-2:])
        middle = tuple([(n - 1) // 2 for n in shape[:-2]])
        return gnp.zeros(shape, dtype).at[middle].set(matrix)

    return _initializer(dtype, draw)


def _initializer(made_with: DTypeLike | None, draw: Any) -> Initializer:
    """The initializer that draws with a shape and a dtype it has made sure of, and keeps to the dtype."""

    def init(key: ArrayLike, shape: Shape, dtype: DTypeLike | None = None) -> Array:
        chosen = made_with if dtype is None else dtype
        wanted = default_float() if chosen is None else canonical_dtype(chosen)
        return cast(draw(key, canonical_shape(shape, "an initializer"), wanted.numpy), wanted)

    return init


def _connections(shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[float, float]:
    """How many inputs an output has, and how many outputs an input."""
    if len(shape) <= 1:
        raise ValueError(
            f"{source.where()}variance_scaling takes a shape with at least two axes, for inputs and outputs, "
            f"got {shape}."
        )

    def size(axes: Axes) -> int:
        chosen = (axes,) if isinstance(axes, int) else axes
        return math.prod([shape[canonical_axis(a, len(shape), "variance_scaling")] for a in chosen])

    inputs, outputs = size(in_axis), size(out_axis)
    window = math.prod(shape) / max(inputs * outputs * size(batch_axis), 1)
    return inputs * window, outputs * window


__dir__ = listing(globals())
