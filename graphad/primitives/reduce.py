"""Reductions over axes: sum, prod, max, min, and, or, argmax, argmin; and the running sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from graphad.ir.lowering import Reduce, Scan
from graphad.ir.params import BOOL, DTYPE, INT, INTS
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import BY_NUMPY, Aval, DType, OperandType, aval, b1, f32, i8, i32, i64
from graphad.primitives.cast import convert, in_f32
from graphad.primitives.elementwise import add, div, eq, mul, select
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulated,
    check_axes,
    check_kind,
    linear_op,
    unary_samples,
)
from graphad.primitives.layout import (
    REDUCE_CASES,
    REDUCE_ERRORS,
    broadcast,
    reduced_type,
    reshape,
    transpose,
    zeros_like_aval,
)
from graphad.primitives.layout import reduce_sum as reduce_sum
from graphad.primitives.shape import concatenate, slice_axis


def _kept(x: Aval | Ref, axes: Shape) -> Shape:
    return tuple(a for a in range(len(x.shape)) if a not in axes)


def _reducer(
    name: str,
    combine: str,
    *,
    doc: str,
    numpy: Callable[..., Any],
    kinds: str,
    remedy: str,
    jvp: Callable[..., Any] | None = None,
    nondifferentiable: str = "",
    tolerance: float = 0.0,
) -> Primitive:
    """A reduction over ``axes`` that keeps the dtype; ``kinds`` are those it takes."""

    def type_rule(x: OperandType, *, axes: Shape) -> Aval:
        out = reduced_type(name, x, axes)
        check_kind(name, x, kinds, remedy)
        return out

    wrong = aval((3,), f32) if kinds == "b" else aval((3,), b1)
    return Primitive(
        name, doc, type_rule, numpy, {"axes": INTS},
        jvp=None if jvp is None else (in_f32(jvp),),
        nondifferentiable=nondifferentiable,
        batch=lambda _size, _batched, x, *, axes: PRIMITIVES[name](x, axes=tuple(a + 1 for a in axes)),
        lowering=lambda _types, params: Reduce(combine, params["axes"]),
        samples=_with_corners(REDUCE_CASES, kinds),
        errors=(*REDUCE_ERRORS, ErrorSample((wrong,), {"axes": (0,)}, remedy)),
        tolerance=tolerance,
    )  # fmt: skip


def _with_corners(cases: list[tuple[Shape, dict[str, Any]]], kinds: str) -> Any:
    """The ``cases``, and operands with ties, zeros, infinities and nan along the last of two axes."""
    plain = unary_samples(cases, kinds)
    along_last: dict[str, Any] = {"axes": (1,)} if "axes" in cases[0][1] else {**cases[0][1], "axis": 1}

    def make(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        for sample in plain(rng, dtype):
            # An extremum of nothing is an infinity: there are no differences to take.
            yield sample._replace(differentiable=sample.operands[0].size > 0)
        if dtype.kind not in kinds:
            return
        ties = np.array([[1, 3, 3, 0, 2], [2, 2, 2, 2, 2], [0, 0, 1, 1, 0]]).astype(dtype.numpy)
        yield Sample((ties,), along_last, differentiable=False)
        if dtype.is_float:
            nan, inf = np.nan, np.inf
            odd = [[1, nan, 3, nan], [inf, -inf, 1, inf], [-inf, -inf, -inf, -inf], [0.0, -0.0, -1, -0.0]]
            yield Sample((np.array(odd).astype(dtype.numpy),), along_last, differentiable=False)

    return make


# ---------------------------------------------------------------------------------------------------------------------
# Products


def _prod_tangent(t: Ref, x: Ref, _y: Ref, *, axes: Shape) -> Ref:
    """The product as a balanced tree of products, by the product rule: right where factors are zero, and so are its own
    derivatives.
    """
    kept = _kept(x, axes)
    shape, n = tuple(x.shape[a] for a in kept), prod(x.shape[a] for a in axes)
    if n == 0:
        return zeros_like_aval(x.builder, aval(shape, x.dtype))
    x, t = (reshape(transpose(v, perm=(*axes, *kept)), shape=(n, *shape)) for v in (x, t))
    while n > 1:
        half, odd = divmod(n, 2)
        (x0, x1, x_rest), (t0, t1, t_rest) = (
            [slice_axis(v, 0, *bounds) for bounds in ((0, half), (half, 2 * half), (2 * half, n))] for v in (x, t)
        )
        t, x = add(mul(t0, x1), mul(x0, t1)), mul(x0, x1)
        if odd:
            t, x = concatenate(t, t_rest, axis=0), concatenate(x, x_rest, axis=0)
        n = half + odd
    return reshape(t, shape=shape)


reduce_prod = _reducer(
    "reduce_prod",
    "prod",
    doc="The product over ``axes``; 1 where they are empty. Half precision accumulates in f32, integers wrap around.",
    numpy=lambda x, *, axes: accumulated(np.prod, x, axes),
    kinds="iuf",
    remedy="convert booleans to integers first, or take reduce_and.",
    jvp=_prod_tangent,
    tolerance=32.0,
)


# ---------------------------------------------------------------------------------------------------------------------
# Extrema


def _extremum_tangent(t: Ref, x: Ref, y: Ref, *, axes: Shape) -> Ref:
    """The mean of the tangents of all elements that attain the extremum."""
    if x.aval.size == 0:
        return zeros_like_aval(x.builder, y.aval)
    hits = eq(x, broadcast(y, shape=x.shape, dims=_kept(x, axes)))
    # An integer, for a sum of ones stops growing at 2**24 in f32.
    count = reduce_sum(convert(hits, dtype=i32 if x.aval.size < 1 << 31 else i64), axes=axes)
    return div(reduce_sum(select(hits, t, 0), axes=axes), convert(count, dtype=t.dtype))


def _extremum(ufunc: np.ufunc, end: int) -> Callable[..., Any]:
    """The reference: ``ufunc`` reduced, from the identity at the lower or upper ``end`` (0 or 1) of the range."""

    def reference(x: Any, *, axes: Shape) -> Any:
        x = np.asarray(x)
        if BY_NUMPY[x.dtype].is_float:
            identity: Any = (-np.inf, np.inf)[end]
        else:
            identity = (np.iinfo(x.dtype).min, np.iinfo(x.dtype).max)[end]
        return ufunc.reduce(x, axis=axes, initial=x.dtype.type(identity))

    return reference


reduce_max = _reducer(
    "reduce_max",
    "max",
    doc="The greatest element over ``axes``; nan if any is nan; -inf or the least integer where they are empty. "
    "Elements that tie share the derivative equally.",
    numpy=_extremum(np.maximum, 0),
    kinds="iuf",
    remedy="take reduce_or of booleans.",
    jvp=_extremum_tangent,
)

reduce_min = _reducer(
    "reduce_min",
    "min",
    doc="The least element over ``axes``; nan if any is nan; inf or the greatest integer where they are empty. "
    "Elements that tie share the derivative equally.",
    numpy=_extremum(np.minimum, 1),
    kinds="iuf",
    remedy="take reduce_and of booleans.",
    jvp=_extremum_tangent,
)

reduce_and = _reducer(
    "reduce_and",
    "and",
    doc="True where all elements over ``axes`` are.",
    numpy=lambda x, *, axes: np.all(x, axis=axes),
    kinds="b",
    remedy="compare with 0 first: ne(x, 0).",
    nondifferentiable="booleans have no tangent",
)

reduce_or = _reducer(
    "reduce_or",
    "or",
    doc="True where any element over ``axes`` is.",
    numpy=lambda x, *, axes: np.any(x, axis=axes),
    kinds="b",
    remedy="compare with 0 first: ne(x, 0).",
    nondifferentiable="booleans have no tangent",
)


# ---------------------------------------------------------------------------------------------------------------------
# Positions of extrema


def _arg_reducer(name: str, doc: str, numpy: Callable[..., Any]) -> Primitive:
    def type_rule(x: OperandType, *, axis: int, dtype: DType) -> Aval:
        check_kind(name, x, "iuf", "convert booleans to integers first.")
        check_axes(name, x, (axis,), "axis")
        if x.shape[axis] == 0:
            raise ValueError(f"{name} got {x}; axis {axis} is empty and has no extremum. Check the size first.")
        if dtype.kind != "i" or np.iinfo(dtype.numpy).max < x.shape[axis]:
            raise TypeError(f"{name} got dtype={dtype} for positions in {x}; take i32 or i64.")
        return aval(tuple(n for a, n in enumerate(x.shape) if a != axis), dtype)

    one: dict[str, Any] = {"axis": 0, "dtype": i32}
    cases: list[tuple[Shape, dict[str, Any]]] = [
        ((1,), one),
        ((7,), one),
        ((3, 5), one),
        ((3, 5), one | {"axis": 1}),
        ((2, 37, 3), one | {"axis": 1}),
        ((3, 0), one),
    ]
    return Primitive(
        name, doc, type_rule, lambda x, *, axis, dtype: np.asarray(numpy(x, axis)).astype(dtype.numpy),
        {"axis": INT, "dtype": DTYPE},
        nondifferentiable="its result is an integer",
        batch=lambda _size, _batched, x, *, axis, dtype: PRIMITIVES[name](x, axis=axis + 1, dtype=dtype),
        lowering=lambda _types, params: Reduce(name, (params["axis"],)),
        samples=_with_corners(cases, "iuf"),
        errors=(
            ErrorSample((aval((0,), f32),), one, "axis 0 is empty"),
            ErrorSample((aval((), f32),), one, "in range(0)"),
            ErrorSample((aval((3,), b1),), one, "convert booleans to integers"),
            ErrorSample((aval((300,), f32),), one | {"dtype": i8}, "take i32 or i64"),
        ),
        tolerance=0.0,
    )  # fmt: skip


argmax = _arg_reducer(
    "argmax", "The position of the greatest element along ``axis``: the first of equals, and the first nan before all.",
    np.argmax,
)  # fmt: skip
argmin = _arg_reducer(
    "argmin", "The position of the least element along ``axis``: the first of equals, and the first nan before all.",
    np.argmin,
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Running sum


def _cumsum_type(x: OperandType, *, axis: int, reverse: bool) -> Aval:
    del reverse
    check_kind("cumsum", x, "iuf", "convert booleans to integers first, to count them.")
    check_axes("cumsum", x, (axis,), "axis")
    return aval(x.shape, x.dtype)


def _cumsum(x: Array, *, axis: int, reverse: bool) -> Array:
    if reverse:
        return np.flip(_cumsum(np.flip(x, axis), axis=axis, reverse=False), axis)
    return accumulated(np.cumsum, x, axis)


cumsum = linear_op(
    "cumsum",
    doc="The sums of all elements up to each one along ``axis``, itself included; from the end if ``reverse``. "
    "Half precision accumulates in f32, integers wrap around.",
    type_rule=_cumsum_type,
    numpy=_cumsum,
    params={"axis": INT, "reverse": BOOL},
    transpose=lambda ct, _x, *, axis, reverse: cumsum(ct, axis=axis, reverse=not reverse),
    batch=lambda _size, _batched, x, *, axis, reverse: cumsum(x, axis=axis + 1, reverse=reverse),
    lowering=lambda _types, params: Scan("sum", params["axis"], params["reverse"]),
    samples=unary_samples(
        [
            (shape, {"axis": axis, "reverse": reverse})
            for shape, axis in (((1,), 0), ((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 37), 1), ((0,), 0), ((3, 0), 0))
            for reverse in (False, True)
        ],
        kinds="iuf",
    ),
    errors=(
        ErrorSample((aval((), f32),), {"axis": 0, "reverse": False}, "in range(0)"),
        ErrorSample((aval((3,), b1),), {"axis": 0, "reverse": False}, "convert booleans to integers"),
    ),
    tolerance=32.0,
)
