"""Combinations of the elements in a window that moves over an array: `window_sum`, `window_max`, `window_min`.

Per axis, place ``i`` of the result combines the elements ``i * stride + k * dilation`` for ``k`` in ``range(window)``:
windows lie wholly inside. Padding, and gaps between elements, are a ``pad`` before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from graphad.ir.lowering import Window
from graphad.ir.params import INTS
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, b1, f32, i32
from graphad.primitives.elementwise import rem
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulated,
    check_kind,
    check_rank,
    linear_op,
    random_array,
    strided_array,
)
from graphad.primitives.indexing import gather
from graphad.primitives.layout import reshape, zeros_like_aval
from graphad.primitives.shape import pad

_PARAMS = {"window": INTS, "strides": INTS, "dilation": INTS}


def window_shape(shape: Shape, window: Shape, strides: Shape, dilation: Shape) -> Shape:
    """How many windows there are along each axis."""
    return tuple(
        max((n - (w - 1) * d - 1) // s + 1, 0) for n, w, s, d in zip(shape, window, strides, dilation, strict=True)
    )


def adjoint_padding(shape: Shape, out: Shape, window: Shape, strides: Shape, dilation: Shape) -> dict[str, Shape]:
    """The padding of the cotangent of windows over ``shape`` with which windows of stride 1 are the adjoint."""
    low = tuple((w - 1) * d for w, d in zip(window, dilation, strict=True))
    high = tuple(n - (m - 1) * s - 1 for n, m, s in zip(shape, out, strides, strict=True))
    return {"low": low, "high": high, "interior": tuple(s - 1 for s in strides)}


def seen_through(x: Array, window: Shape, strides: Shape, dilation: Shape) -> Array:
    """For the references: a view [*places, *window] of ``x``."""
    out = window_shape(x.shape, window, strides, dilation)
    steps = [*[b * s for b, s in zip(x.strides, strides)], *[b * d for b, d in zip(x.strides, dilation)]]
    return np.lib.stride_tricks.as_strided(x, (*out, *window), steps, writeable=False)


def check_window(name: str, x: OperandType, window: Shape, strides: Shape, dilation: Shape) -> None:
    """One positive entry per axis."""
    check_rank(name, x, window=window, strides=strides, dilation=dilation)
    if min((*window, *strides, *dilation), default=1) < 1:
        raise ValueError(f"{name} got window={window}, strides={strides}, dilation={dilation}; all must be positive.")


def _with_batch_axis(**params: Shape) -> dict[str, Shape]:
    return {key: (1, *value) for key, value in params.items()}


#: Shape of the operand, window, strides, dilation: windows that overlap, that are disjoint, cut off at the end, none.
CASES: list[tuple[Shape, Shape, Shape, Shape]] = [
    ((), (), (), ()),
    ((7,), (1,), (1,), (1,)),
    ((7,), (3,), (1,), (1,)),
    ((8,), (3,), (2,), (1,)),
    ((11,), (2,), (4,), (3,)),
    ((5,), (5,), (1,), (1,)),
    ((3,), (4,), (1,), (1,)),
    ((0,), (1,), (1,), (1,)),
    ((3, 37), (1, 4), (1, 1), (1, 2)),
    ((6, 5), (2, 3), (2, 1), (1, 2)),
    ((2, 7, 8, 2), (1, 2, 3, 1), (1, 2, 1, 1), (1, 1, 1, 1)),
]
_ONE: dict[str, Shape] = {"window": (2,), "strides": (1,), "dilation": (1,)}
ERRORS = (
    ErrorSample((aval((3, 3), f32),), _ONE, "give one entry for each of its 2 axes"),
    ErrorSample((aval((3,), f32),), _ONE | {"strides": (0,)}, "all must be positive"),
    ErrorSample((aval((3,), b1),), _ONE, "convert booleans to integers"),
)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype is b1:
        return
    for k, (shape, window, strides, dilation) in enumerate(CASES):
        x = (strided_array if k % 2 else random_array)(rng, shape, dtype)
        yield Sample((x,), {"window": window, "strides": strides, "dilation": dilation})


def _samples_with_corners(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    yield from _samples(rng, dtype)
    if dtype is b1:
        return
    ties = np.array([1, 3, 3, 0, 2, 2, 2, 0, 0]).astype(dtype.numpy)
    yield Sample((ties,), _ONE | {"window": (3,)}, differentiable=False)
    if dtype.is_float:
        odd = np.array([1, np.nan, 3, np.inf, -np.inf, -np.inf, -np.inf, 0.0, -0.0]).astype(dtype.numpy)
        yield Sample((odd,), _ONE, differentiable=False)


def _type_rule(name: str, out: DType | None = None) -> Callable[..., Aval]:
    def type_rule(x: OperandType, *, window: Shape, strides: Shape, dilation: Shape) -> Aval:
        check_window(name, x, window, strides, dilation)
        check_kind(name, x, "iuf", "convert booleans to integers first.")
        return aval(window_shape(x.shape, window, strides, dilation), out or x.dtype)

    return type_rule


def _lowering(combine: str) -> Callable[..., Window]:
    return lambda _types, params: Window(combine, params["window"], params["strides"], params["dilation"])


def _batch_rule(name: str) -> Callable[..., Ref]:
    return lambda _size, _batched, x, **params: PRIMITIVES[name](x, **_with_batch_axis(**params))


# ---------------------------------------------------------------------------------------------------------------------
# Sums


def _sum(x: Any, **params: Shape) -> Array:
    seen = seen_through(np.asarray(x), **params)
    return accumulated(np.sum, seen, tuple(range(seen.ndim // 2, seen.ndim)))


def _sum_transpose(ct: Ref, x: Aval, *, window: Shape, strides: Shape, dilation: Shape) -> Ref:
    if not ct.aval.size:
        return zeros_like_aval(ct.builder, x)
    spread = pad(ct, 0, **adjoint_padding(x.shape, ct.shape, window, strides, dilation))
    return window_sum(spread, window=window, strides=(1,) * x.ndim, dilation=dilation)


window_sum = linear_op(
    "window_sum",
    doc="The sums over windows; see `graphad.primitives.windows`. Half precision accumulates in f32.",
    type_rule=_type_rule("window_sum"),
    numpy=_sum,
    params=_PARAMS,
    transpose=_sum_transpose,
    batch=_batch_rule("window_sum"),
    lowering=_lowering("sum"),
    samples=_samples,
    errors=ERRORS,
    tolerance=16.0,
)


# ---------------------------------------------------------------------------------------------------------------------
# Extrema


def _positions(name: str, doc: str, position: Callable[..., Any]) -> Primitive:
    """Where in the operand, counted in row-major order, the extremum of each window lies."""

    def reference(x: Any, **params: Shape) -> Array:
        x = np.asarray(x)
        seen = seen_through(x, **params)
        places, size = seen.shape[: x.ndim], prod(params["window"])
        numbers = seen_through(np.arange(x.size, dtype=np.int32).reshape(x.shape), **params)
        found = position(seen.reshape((*places, size)), axis=-1)
        return np.take_along_axis(numbers.reshape((*places, size)), np.asarray(found)[..., None], -1)[..., 0]

    def type_rule(x: OperandType, **params: Shape) -> Aval:
        out = _type_rule(name, i32)(x, **params)
        if prod(x.shape) > np.iinfo(np.int32).max:
            raise ValueError(f"{name} got {x}; positions in it do not fit i32. Take it in parts.")
        return out

    return Primitive(
        name, doc, type_rule, reference, _PARAMS,
        nondifferentiable="its result is an integer",
        batch=_positions_batch(name),
        lowering=_lowering(name.removeprefix("window_")),
        samples=_samples_with_corners,
        errors=(*ERRORS, ErrorSample((aval((1 << 31,), f32),), _ONE, "Take it in parts")),
        tolerance=0.0,
    )  # fmt: skip


def _positions_batch(name: str) -> Callable[..., Ref]:
    def batch(size: int, _batched: Any, x: Ref, **params: Shape) -> Ref:
        # The batch axis is one more axis of the operand: positions in it are numbered across the batch.
        found = PRIMITIVES[name](x, **_with_batch_axis(**params))
        each = prod(x.shape[1:])
        return rem(found, each) if size > 1 and each else found

    return batch


window_argmax = _positions(
    "window_argmax",
    "Where in the operand, counted in row-major order, the greatest element of each window lies: the first of equals, "
    "and the first nan before all.",
    np.argmax,
)
window_argmin = _positions(
    "window_argmin",
    "Where in the operand, counted in row-major order, the least element of each window lies: the first of equals, and "
    "the first nan before all.",
    np.argmin,
)


def _extremum(name: str, doc: str, ufunc: np.ufunc, position: Primitive) -> Primitive:
    def reference(x: Any, **params: Shape) -> Array:
        seen = seen_through(np.asarray(x), **params)
        return np.asarray(ufunc.reduce(seen, axis=tuple(range(seen.ndim // 2, seen.ndim))), seen.dtype)

    def tangent(t: Ref, x: Ref, y: Ref, **params: Shape) -> Ref:
        """That of the element which `position` finds."""
        if not y.aval.size:
            return zeros_like_aval(x.builder, y.aval)
        found = reshape(position(x, **params), shape=(*y.shape, 1))
        return gather(reshape(t, shape=(x.aval.size,)), found, axes=(0,), batch=0, mode="clip")

    return Primitive(
        name, doc, _type_rule(name), reference, _PARAMS,
        jvp=(tangent,),
        batch=_batch_rule(name),
        lowering=_lowering(name.removeprefix("window_")),
        samples=_samples_with_corners,
        errors=ERRORS,
        tolerance=0.0,
    )  # fmt: skip


window_max = _extremum(
    "window_max",
    "The greatest element of each window, nan if any is nan; the first of equals has the derivative.",
    np.maximum,
    window_argmax,
)
window_min = _extremum(
    "window_min",
    "The least element of each window, nan if any is nan; the first of equals has the derivative.",
    np.minimum,
    window_argmin,
)
