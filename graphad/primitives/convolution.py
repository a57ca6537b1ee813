"""`conv`: sums of products over windows, which is what `conv_general_dilated` becomes.

Batch, channels, then the spatial axes, for both operands and the result::

    x  [batch, groups * channels, *spatial]
    w  [groups * features, channels, *window]
    y  [batch, groups * features, *places]        y[b, f, p] = sum(x[b, c, p * strides + k * dilation] * w[f, c, k])

Windows lie wholly inside: padding, and gaps between elements, are a ``pad`` before. So the derivatives, and the
batching rule, are convolutions again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from graphad.ir.lowering import Convolve
from graphad.ir.params import INT, INTS
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, b1, f32, f64
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulator,
    check_kind,
    random_array,
    strided_array,
)
from graphad.primitives.layout import moved_to_front, reshape, transpose, zeros_like_aval
from graphad.primitives.shape import pad, rev, slice_
from graphad.primitives.windows import adjoint_padding, seen_through, window_shape

# ---------------------------------------------------------------------------------------------------------------------
# Type and reference


def _type_rule(x: OperandType, w: OperandType, *, strides: Shape, dilation: Shape, groups: int) -> Aval:
    if x.dtype is not w.dtype:
        raise TypeError(f"conv got {x} and {w}; the dtypes must be equal. Convert one operand.")
    check_kind("conv", x, "iuf", "convert booleans to integers first.")
    rank = len(x.shape) - 2
    if rank < 1 or len(w.shape) != len(x.shape) or len(strides) != rank or len(dilation) != rank:
        raise ValueError(
            f"conv got {x} and {w} with strides={strides}, dilation={dilation}; both operands have two axes and the "
            "spatial ones, of which each has a stride and a dilation. Reshape them."
        )
    if min((*strides, *dilation, groups, *w.shape[2:])) < 1:
        raise ValueError(
            f"conv got strides={strides}, dilation={dilation}, groups={groups} for {w}; all must be positive."
        )
    if x.shape[1] != groups * w.shape[1] or w.shape[0] % groups:
        raise ValueError(
            f"conv got {x} and {w} with groups={groups}: x must have {groups} * {w.shape[1]} channels, and w features "
            f"in {groups} equal parts. Transpose an operand, or name other groups."
        )
    return aval((x.shape[0], w.shape[0], *window_shape(x.shape[2:], w.shape[2:], strides, dilation)), x.dtype)


#: Elements of windows that the reference holds at a time.
_MOST_COPIED = 1 << 20


def _reference(x: Any, w: Any, *, strides: Shape, dilation: Shape, groups: int) -> Array:
    x, w = np.asarray(x), np.asarray(w)
    rank, channels, features = x.ndim - 2, w.shape[1], w.shape[0] // groups
    seen = seen_through(x, (1, 1, *w.shape[2:]), (1, 1, *strides), (1, 1, *dilation))
    places = seen.shape[2 : x.ndim]
    wide = accumulator(x.dtype)
    # [batch, groups, channels, *places, *window] and [groups, features, channels, *window]
    left = seen.reshape((x.shape[0], groups, channels, *places, *w.shape[2:]))
    right = w.reshape((groups, features, channels, *w.shape[2:])).astype(wide, copy=False)
    window = tuple(range(3 + rank, 3 + 2 * rank))
    out = np.empty((x.shape[0], groups, features, *places), wide)
    rows = max(1, _MOST_COPIED * places[0] // max(1, left.size // max(1, groups)))
    for g in range(groups):
        for start in range(0, places[0], rows):  # windows are copied for the product: some at a time
            part = left[:, g, :, start : start + rows].astype(wide, copy=False)
            product = np.tensordot(part, right[g], ((1, *[a - 1 for a in window]), tuple(range(1, 2 + rank))))
            out[:, g, :, start : start + rows] = np.moveaxis(product, -1, 1)
    return out.reshape((x.shape[0], groups * features, *places)).astype(x.dtype, copy=False)


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def _swapped(x: Ref, groups: int) -> Ref:
    """[a, groups * b, ...] as [b, groups * a, ...]."""
    a, b, rest = x.shape[0], x.shape[1] // groups, x.shape[2:]
    behind = tuple(range(3, 3 + len(rest)))
    parts = transpose(reshape(x, shape=(a, groups, b, *rest)), perm=(2, 1, 0, *behind))
    return reshape(parts, shape=(b, groups * a, *rest))


def _parts_swapped(x: Ref, groups: int) -> Ref:
    """[groups * a, b, ...] as [groups * b, a, ...]."""
    a, b, rest = x.shape[0] // groups, x.shape[1], x.shape[2:]
    behind = tuple(range(3, 3 + len(rest)))
    parts = transpose(reshape(x, shape=(groups, a, b, *rest)), perm=(0, 2, 1, *behind))
    return reshape(parts, shape=(groups * b, a, *rest))


def _transpose_x(ct: Ref, x: Aval, w: Ref, *, strides: Shape, dilation: Shape, groups: int) -> Ref:
    """The cotangent with gaps for the strides, convolved with ``w`` backwards, its channels and features exchanged."""
    if not ct.aval.size or not w.aval.size:
        return zeros_like_aval(ct.builder, x)
    spatial, places, window = x.shape[2:], ct.shape[2:], w.shape[2:]
    room = adjoint_padding(spatial, places, window, strides, dilation)
    spread = pad(ct, 0, **{key: (0, 0, *value) for key, value in room.items()})
    backwards = rev(_parts_swapped(w, groups), axes=tuple(range(2, w.ndim)))
    return conv(spread, backwards, strides=(1,) * len(strides), dilation=dilation, groups=groups)


def _transpose_w(ct: Ref, x: Ref, w: Aval, *, strides: Shape, dilation: Shape, groups: int) -> Ref:
    """Of every tap of the window: ``x`` convolved with the cotangent, strides and dilation exchanged."""
    if not ct.aval.size or not x.aval.size or not w.size:
        return zeros_like_aval(ct.builder, w)
    places, window = ct.shape[2:], w.shape[2:]
    # Elements behind the last window would make further taps.
    stop = tuple((m - 1) * s + (k - 1) * d + 1 for m, s, k, d in zip(places, strides, window, dilation, strict=True))
    seen = slice_(x, start=(0,) * x.ndim, stop=(*x.shape[:2], *stop), step=(1,) * x.ndim)
    features = transpose(ct, perm=(1, 0, *range(2, ct.ndim)))
    taps = conv(_swapped(seen, groups), features, strides=dilation, dilation=strides, groups=groups)
    return transpose(taps, perm=(1, 0, *range(2, taps.ndim)))


# ---------------------------------------------------------------------------------------------------------------------
# Batching


def _batch_rule(size: int, batched: tuple[bool, ...], x: Any, w: Any, *, groups: int, **steps: Shape) -> Ref:
    """A batch axis of ``x`` is merged with its batch, one of ``w`` with the features, one of both with the groups."""
    if not batched[1]:
        _, batch, *rest = x.shape
        y = conv(reshape(x, shape=(size * batch, *rest)), w, groups=groups, **steps)
        return reshape(y, shape=(size, batch, *y.shape[1:]))
    if not batched[0]:
        _, both, *rest = w.shape
        features = both // groups
        behind = tuple(range(3, w.ndim + 1))
        grouped = transpose(reshape(w, shape=(size, groups, features, *rest)), perm=(1, 0, 2, *behind))
        y = conv(x, reshape(grouped, shape=(groups * size * features, *rest)), groups=groups, **steps)
        y = reshape(y, shape=(y.shape[0], groups, size, features, *y.shape[2:]))
        y = moved_to_front(y, 2)
        return reshape(y, shape=(size, y.shape[1], both, *y.shape[4:]))
    if not size:
        out = _type_rule(aval(x.shape[1:], x.dtype), aval(w.shape[1:], w.dtype), groups=groups, **steps)
        return zeros_like_aval(x.builder, aval((0, *out.shape), x.dtype))
    _, batch, channels, *rest = x.shape
    x = reshape(transpose(x, perm=(1, 0, *range(2, x.ndim))), shape=(batch, size * channels, *rest))
    y = conv(x, reshape(w, shape=(size * w.shape[1], *w.shape[2:])), groups=size * groups, **steps)
    return moved_to_front(reshape(y, shape=(batch, size, w.shape[1], *y.shape[2:])), 1)


# ---------------------------------------------------------------------------------------------------------------------
# The primitive

_ONE: dict[str, Any] = {"strides": (1,), "dilation": (1,), "groups": 1}
_CASES: list[tuple[Shape, Shape, Shape, Shape, int]] = [
    ((1, 1, 5), (1, 1, 3), (1,), (1,), 1),
    ((2, 3, 8), (4, 3, 3), (2,), (1,), 1),
    ((2, 3, 9), (4, 3, 2), (3,), (2,), 1),
    ((1, 4, 7), (6, 2, 3), (1,), (1,), 2),
    ((2, 3, 3), (5, 3, 4), (1,), (1,), 1),
    ((0, 3, 5), (2, 3, 2), (1,), (1,), 1),
    ((2, 0, 5), (2, 0, 2), (1,), (1,), 1),
    ((2, 3, 7, 6), (5, 3, 3, 2), (1, 1), (1, 1), 1),
    ((2, 3, 8, 9), (4, 3, 1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 8, 7), (4, 1, 3, 2), (2, 1), (1, 2), 4),
    ((1, 2, 4, 5, 4), (3, 2, 2, 2, 3), (1, 2, 1), (1, 1, 1), 1),
]


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype is b1:
        return
    for k, (left, right, strides, dilation, groups) in enumerate(_CASES):
        make = strided_array if k % 2 else random_array
        yield Sample(
            (make(rng, left, dtype), make(rng, right, dtype)),
            {"strides": strides, "dilation": dilation, "groups": groups},
        )


conv = Primitive(
    "conv",
    "Sums of products over windows; see `graphad.primitives.convolution`. Half precision accumulates in f32.",
    _type_rule,
    _reference,
    {"strides": INTS, "dilation": INTS, "groups": INT},
    jvp=(
        lambda t, _x, w, _out, **params: conv(t, w, **params),
        lambda t, x, _w, _out, **params: conv(x, t, **params),
    ),
    linear=(0, 1),
    transpose={0: _transpose_x, 1: _transpose_w},
    batch=_batch_rule,
    lowering=lambda _types, params: Convolve(params["strides"], params["dilation"], params["groups"]),
    samples=_samples,
    errors=(
        ErrorSample((aval((1, 1, 3), f32), aval((1, 1, 2), f64)), _ONE, "the dtypes must be equal"),
        ErrorSample((aval((1, 1, 3), b1), aval((1, 1, 2), b1)), _ONE, "convert booleans to integers"),
        ErrorSample((aval((1, 3), f32), aval((1, 2), f32)), _ONE, "Reshape them"),
        ErrorSample((aval((1, 1, 3), f32), aval((1, 1, 0), f32)), _ONE, "all must be positive"),
        ErrorSample((aval((1, 3, 3), f32), aval((1, 2, 2), f32)), _ONE, "Transpose an operand"),
        ErrorSample((aval((1, 4, 3), f32), aval((3, 2, 2), f32)), _ONE | {"groups": 2}, "in 2 equal parts"),
    ),
    tolerance=64.0,
)
