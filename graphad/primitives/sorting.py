"""`argsort`: the order of elements. Sorted arrays, of one or several keys, are read along it by ``gather``.

So sorting has the derivative of a gather, and needs no rules of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import INT
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.types import BY_NUMPY, Aval, DType, OperandType, aval, f32, i32
from graphad.primitives.families_shape import Array, Shape, accumulator, check_axes, random_array, strided_array


def _argsort_type(x: OperandType, *, axis: int) -> Aval:
    check_axes("argsort", x, (axis,), "axis")
    if x.shape[axis] > np.iinfo(np.int32).max:
        raise ValueError(f"argsort got {x}; positions along axis {axis} do not fit i32. Sort parts of it and merge.")
    return aval(x.shape, i32)


def _argsort(x: Any, *, axis: int) -> Array:
    x = np.asarray(x)
    if BY_NUMPY[x.dtype].is_float:
        x = x.astype(accumulator(x.dtype), copy=False)
    return np.argsort(x, axis=axis, kind="stable").astype(np.int32)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    cases: list[tuple[Shape, int]] = [
        ((1,), 0), ((7,), 0), ((3, 5), 0), ((3, 5), 1), ((2, 37, 3), 1), ((2, 0), 1), ((0, 3), 1), ((1, 113), 1),
    ]  # fmt: skip
    for k, (shape, axis) in enumerate(cases):
        yield Sample(((strided_array if k % 2 else random_array)(rng, shape, dtype),), {"axis": axis})
    few = rng.integers(0, 2 if dtype.kind == "b" else 4, (5, 40)).astype(dtype.numpy)
    yield Sample((few,), {"axis": 1})
    if dtype.is_float:
        odd = np.array([1, np.nan, -0.0, np.inf, 0.0, -np.inf, np.nan, -0.0, -1, 0.0]).astype(dtype.numpy)
        yield Sample((odd,), {"axis": 0})
        yield Sample((np.resize(odd, 47),), {"axis": 0})


def _lowering(types: tuple[OperandType, ...], params: dict[str, int]) -> Routine:
    n = types[0].shape[params["axis"]]
    return Routine("argsort", (prod(types[0].shape) // max(n, 1), n), last_axis=params["axis"])


argsort = Primitive(
    "argsort",
    "The positions along ``axis`` of the elements from the least to the greatest, as i32. Equal elements keep their "
    "order; 0.0 equals -0.0, and nan comes last.",
    _argsort_type,
    _argsort,
    {"axis": INT},
    nondifferentiable="its result is an integer",
    batch=lambda _size, _batched, x, *, axis: argsort(x, axis=axis + 1),
    lowering=_lowering,
    samples=_samples,
    errors=(
        ErrorSample((aval((), f32),), {"axis": 0}, "in range(0)"),
        ErrorSample((aval((1 << 31,), f32),), {"axis": 0}, "Sort parts of it"),
    ),
    tolerance=0.0,
)
