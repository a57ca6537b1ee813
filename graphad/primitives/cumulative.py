"""Running products, extrema and log-sum-exps along an axis, and the linear recurrence that is the tangent of each.

``cumsum`` is in `graphad.primitives.reduce`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from graphad.ir.lowering import Scan
from graphad.ir.params import BOOL, INT
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, b1, f32, f64, i32, i64
from graphad.primitives.cast import convert, in_f32
from graphad.primitives.elementwise import and_, div, eq, logistic, mul, ne, neg, select, sub
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulated,
    accumulator,
    check_axes,
    check_kind,
    random_array,
    strided_array,
    unary_samples,
)
from graphad.primitives.layout import all_batched
from graphad.primitives.shape import pad

_CASES: list[tuple[Shape, dict[str, Any]]] = [
    (shape, {"axis": axis, "reverse": reverse})
    for shape, axis in (((1,), 0), ((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 11), 1), ((0,), 0), ((3, 0), 0))
    for reverse in (False, True)
]
_FORWARD: dict[str, Any] = {"axis": 0, "reverse": False}


def _before(x: Ref, axis: int, reverse: bool, first: float) -> Ref:
    """At each place the element before it in the order of the scan; ``first`` at the first."""
    ahead = tuple((-1 if reverse else 1) if a == axis else 0 for a in range(x.ndim))
    return pad(x, first, low=ahead, high=tuple(-n for n in ahead), interior=(0,) * x.ndim)


# ---------------------------------------------------------------------------------------------------------------------
# The linear recurrence


def _recurrence_type(decay: OperandType, x: OperandType, *, axis: int, reverse: bool) -> Aval:
    del reverse
    if decay.dtype is not x.dtype or decay.shape != x.shape:
        raise TypeError(f"linear_recurrence got {decay} and {x}; broadcast and convert them to one type.")
    check_kind("linear_recurrence", x, "iuf", "convert booleans to integers first.")
    check_axes("linear_recurrence", x, (axis,), "axis")
    return aval(x.shape, x.dtype)


def _recurrence(decay: Any, x: Any, *, axis: int, reverse: bool) -> Array:
    decay, x = np.asarray(decay), np.asarray(x)
    wide = accumulator(x.dtype)
    rows = [np.moveaxis(v.astype(wide, copy=False), axis, 0)[:: -1 if reverse else 1] for v in (decay, x)]
    out = np.empty_like(rows[1])
    running = np.zeros(out.shape[1:], wide)
    for k, (factor, term) in enumerate(zip(*rows, strict=True)):
        running = factor * running + term
        out[k] = running
    return np.moveaxis(out[:: -1 if reverse else 1], 0, axis).astype(x.dtype, copy=False)


def _recurrence_batch(size: int, batched: tuple[bool, ...], *operands: Any, axis: int, reverse: bool) -> Ref:
    return linear_recurrence(*all_batched(size, batched, operands), axis=axis + 1, reverse=reverse)


def _recurrence_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype is b1:
        return
    for k, (shape, params) in enumerate(_CASES):
        make = strided_array if k % 2 else random_array
        yield Sample((random_array(rng, shape, dtype), make(rng, shape, dtype)), params)


linear_recurrence = Primitive(
    "linear_recurrence",
    "``y[i] = decay[i] * y[i-1] + x[i]`` along ``axis``, from 0 before the first element; from the end if ``reverse``. "
    "Half precision runs in f32, integers wrap around.",
    _recurrence_type,
    _recurrence,
    {"axis": INT, "reverse": BOOL},
    jvp=(
        in_f32(
            lambda t, decay, _x, y, *, axis, reverse: linear_recurrence(
                decay, mul(t, _before(y, axis, reverse, 0)), axis=axis, reverse=reverse
            )
        ),
        lambda t, decay, _x, _y, **params: linear_recurrence(decay, t, **params),
    ),
    linear=(1,),
    transpose={
        1: lambda ct, decay, _x, *, axis, reverse: linear_recurrence(
            _before(decay, axis, not reverse, 0), ct, axis=axis, reverse=not reverse
        )
    },
    batch=_recurrence_batch,
    lowering=lambda _types, params: Scan("linear", params["axis"], params["reverse"]),
    samples=_recurrence_samples,
    errors=(
        ErrorSample((aval((3,), f32), aval((4,), f32)), _FORWARD, "to one type"),
        ErrorSample((aval((3,), f32), aval((3,), f64)), _FORWARD, "to one type"),
        ErrorSample((aval((3,), b1), aval((3,), b1)), _FORWARD, "convert booleans to integers"),
        ErrorSample((aval((), f32), aval((), f32)), _FORWARD, "in range(0)"),
    ),
    tolerance=64.0,
)


# ---------------------------------------------------------------------------------------------------------------------
# The others


def _cumulative(
    combine: str,
    *,
    doc: str,
    numpy: Callable[[Array, int], Array],
    jvp: Callable[..., Ref],
    kinds: str = "iuf",
    tolerance: float = 0.0,
) -> Primitive:
    """``cum<combine>``: ``numpy`` runs from the first element of an axis to the last."""
    name = f"cum{combine}"

    def type_rule(x: OperandType, *, axis: int, reverse: bool) -> Aval:
        del reverse
        check_kind(name, x, kinds, "convert the operand to numbers first." if "i" in kinds else "convert to f32 first.")
        check_axes(name, x, (axis,), "axis")
        return aval(x.shape, x.dtype)

    def reference(x: Any, *, axis: int, reverse: bool) -> Array:
        x = np.asarray(x)
        return np.flip(numpy(np.flip(x, axis), axis), axis) if reverse else numpy(x, axis)

    return Primitive(
        name, f"{doc} Of all elements up to each one along ``axis``, itself included; from the end if ``reverse``.",
        type_rule, reference, {"axis": INT, "reverse": BOOL},
        jvp=(in_f32(jvp),),
        batch=lambda _size, _batched, x, *, axis, reverse: PRIMITIVES[name](x, axis=axis + 1, reverse=reverse),
        lowering=lambda _types, params: Scan(combine, params["axis"], params["reverse"]),
        samples=_with_corners(kinds),
        errors=(
            ErrorSample((aval((), f32),), _FORWARD, "in range(0)"),
            ErrorSample((aval((3,), b1),), _FORWARD, "first"),
        ),
        tolerance=tolerance,
    )  # fmt: skip


def _with_corners(kinds: str) -> Any:
    """The common cases, and operands with ties, zeros, infinities and nan."""
    plain = unary_samples(_CASES, kinds)

    def make(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        yield from plain(rng, dtype)
        if dtype.kind not in kinds:
            return
        ties = np.array([[1, 3, 3, 0, 3], [2, 2, 1, 2, 2], [0, 0, 1, 1, 0]]).astype(dtype.numpy)
        yield Sample((ties,), {"axis": 1, "reverse": False}, differentiable=False)
        if dtype.is_float:
            nan, inf = np.nan, np.inf
            odd = [[1, nan, 3, nan], [1, -inf, inf, 2], [-inf, -inf, 1, 0], [0.0, -0.0, -1, -0.0]]
            for reverse in (False, True):
                yield Sample((np.array(odd).astype(dtype.numpy),), {"axis": 1, "reverse": reverse}, False)

    return make


def _prod_tangent(t: Ref, x: Ref, y: Ref, *, axis: int, reverse: bool) -> Ref:
    """The product rule from element to element: right where factors are zero, and its own derivatives as well."""
    return linear_recurrence(x, mul(t, _before(y, axis, reverse, 1)), axis=axis, reverse=reverse)


cumprod = _cumulative(
    "prod",
    doc="The product; half precision runs in f32, integers wrap around.",
    numpy=lambda x, axis: accumulated(np.cumprod, x, axis),
    jvp=_prod_tangent,
    tolerance=32.0,
)


def _extremum_tangent(t: Ref, x: Ref, y: Ref, *, axis: int, reverse: bool) -> Ref:
    """The mean of the tangents of all elements so far that attain the extremum.

    Segmented sums, which start again at 0 whenever the extremum changes: a linear recurrence with factors 0 and 1.
    """
    same, hits = eq(y, _before(y, axis, reverse, 0)), eq(x, y)
    total, count = (
        linear_recurrence(convert(same, dtype=term.dtype), term, axis=axis, reverse=reverse)
        for term in (select(hits, t, 0), convert(hits, dtype=i32 if x.shape[axis] < 1 << 31 else i64))
    )
    return div(total, convert(count, dtype=t.dtype))


cummax = _cumulative(
    "max",
    doc="The greatest, nan from the first nan on; elements that tie share the derivative equally.",
    numpy=lambda x, axis: np.maximum.accumulate(x, axis=axis),
    jvp=_extremum_tangent,
)
cummin = _cumulative(
    "min",
    doc="The least, nan from the first nan on; elements that tie share the derivative equally.",
    numpy=lambda x, axis: np.minimum.accumulate(x, axis=axis),
    jvp=_extremum_tangent,
)


def _logsumexp(x: Array, axis: int) -> Array:
    wide = x.astype(accumulator(x.dtype), copy=False)
    return np.logaddexp.accumulate(wide, axis=axis).astype(x.dtype, copy=False)


def _logsumexp_tangent(t: Ref, x: Ref, y: Ref, *, axis: int, reverse: bool) -> Ref:
    """The mean of the tangents so far with weights ``exp(x)``, which each step updates.

    Elements that are inf share it, and those that are -inf have no part in it.
    """
    before = _before(y, axis, reverse, -np.inf)
    gap = sub(before, x)
    gap = select(and_(eq(before, x), ne(gap, gap)), 0, gap)
    kept = select(eq(before, -np.inf), 0, logistic(gap))
    share = select(eq(x, -np.inf), 0, logistic(neg(gap)))
    return linear_recurrence(kept, mul(share, t), axis=axis, reverse=reverse)


cumlogsumexp = _cumulative(
    "logsumexp",
    doc="``log(sum(exp(x)))`` without overflow; half precision runs in f32.",
    numpy=_logsumexp,
    jvp=_logsumexp_tangent,
    kinds="f",
    tolerance=64.0,
)
