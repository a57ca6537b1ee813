"""`tridiagonal_solve`: systems of tridiagonal matrices. Linear in the right side; ``dx = T^-1 (db - dT x)``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.arithmetic import mul, neg, sub
from graphad.primitives.layout import all_batched, zeros_like_aval
from graphad.primitives.linalg import elimination
from graphad.primitives.linalg.matrices import Array, along_rows, check_matrix, stack
from graphad.primitives.shape import concatenate, slice_axis


def _type(low: OperandType, diagonal: OperandType, high: OperandType, b: OperandType) -> Aval:
    check_matrix("tridiagonal_solve", b)
    wanted = aval(b.shape[:-1], b.dtype)
    for name, x in (("low", low), ("diagonal", diagonal), ("high", high)):
        if x.dtype is not wanted.dtype or x.shape != wanted.shape:
            raise ValueError(f"tridiagonal_solve got {x} as {name}; with the right side {b} it must be {wanted}.")
    return aval(b.shape, b.dtype)


def _solved(low: Array, diagonal: Array, high: Array, b: Array) -> Array:
    n = len(b)
    matrix = np.diag(diagonal) + np.diag(low[1:], -1) + np.diag(high[: n - 1], 1) if n else np.zeros((0, 0), b.dtype)
    try:
        return np.linalg.solve(matrix, b)
    except np.linalg.LinAlgError:
        return np.full_like(b, np.nan)


def _reference(*operands: Any) -> Array:
    low, diagonal, high, b = map(np.asarray, operands)
    out = np.empty(b.shape, b.dtype)
    for at in np.ndindex(*b.shape[:-2]):
        out[at] = _solved(low[at], diagonal[at], high[at], b[at])
    return out


def _shifted(x: Ref, axis: int, by: int) -> Ref:
    """``x[i + by]`` along an axis, with zeros from outside."""
    n = x.shape[axis]
    if not n:
        return x
    zero = zeros_like_aval(x.builder, aval(tuple([1 if k == axis else d for k, d in enumerate(x.shape)]), x.dtype))
    if by < 0:
        return concatenate(zero, slice_axis(x, axis, 0, n - 1), axis=axis)
    return concatenate(slice_axis(x, axis, 1, n), zero, axis=axis)


def _jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], outputs: Sequence[Ref]) -> list[Ref]:
    (*of_diagonals, right), (*diagonals, _), (x,) = tangents, operands, outputs
    for t, by in zip(of_diagonals, (-1, 0, 1), strict=True):
        if t is not None:
            product = mul(along_rows(t, x.shape[-1]), _shifted(x, x.ndim - 2, by) if by else x)
            right = neg(product) if right is None else sub(right, product)
    return [tridiagonal_solve(*diagonals, right)]


def _transpose(ct: Ref, low: Ref, diagonal: Ref, high: Ref, _b: Aval) -> Ref:
    axis = low.ndim - 1
    return tridiagonal_solve(_shifted(high, axis, -1), diagonal, _shifted(low, axis, 1), ct)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    for shape in [(1, 1), (2, 1), (5, 2), (2, 4, 3), (0, 2), (0, 3, 1), (3, 0), (17, 1)]:
        low, diagonal, high = (rng.normal(size=shape[:-1]).astype(dtype.numpy) for _ in range(3))
        b = rng.normal(size=shape).astype(dtype.numpy)
        yield Sample((low, (diagonal + 4).astype(dtype.numpy), high, np.asfortranarray(b)))


tridiagonal_solve = Primitive(
    "tridiagonal_solve",
    "``x`` with ``t @ x == b``, where ``t`` has ``diagonal``, and in row ``i`` ``low[i]`` before it and ``high[i]`` "
    "behind; the first of ``low`` and the last of ``high`` are not used. nan where a matrix is singular.",
    _type,
    _reference,
    jvp=_jvp,
    linear=(3,),
    transpose={3: _transpose},
    batch=lambda size, batched, *operands: tridiagonal_solve(*all_batched(size, batched, operands)),
    lowering=lambda types, _params: Routine(
        "tridiagonal_solve", (stack(types[3]), *types[3].shape[-2:]), as_graph=elimination.tridiagonal_solve
    ),
    samples=_samples,
    errors=(
        ErrorSample((aval((3,), f32),) * 3 + (aval((3,), f32),), {}, "takes a matrix"),
        ErrorSample((aval((3,), f32),) * 2 + (aval((2,), f32), aval((3, 1), f32)), {}, "must be f32[3]"),
    ),
    tolerance=64.0,
)
