"""`triangular_solve`: systems of triangular matrices. Linear in the right side; by the matrix, ``dX = -A^-1 dA X``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.arithmetic import neg, sub
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg.matrices import (
    SMALL,
    Array,
    check_float,
    check_matrix,
    check_size,
    lower,
    matmul,
    split_at,
    stack,
    turned,
    upper,
)
from graphad.primitives.shape import concatenate, slice_axis

_USUAL = {"left": True, "lower": True, "transposed": False, "unit": False}


def _type(a: OperandType, b: OperandType, *, left: bool, lower: bool, transposed: bool, unit: bool) -> Aval:
    del lower, transposed, unit
    check_matrix("triangular_solve", a, square=True)
    check_float("triangular_solve", b)
    if b.dtype is not a.dtype:
        raise TypeError(f"triangular_solve got {a} and {b}; the dtypes must be equal. Convert one operand.")
    fits = len(b.shape) == len(a.shape) and b.shape[:-2] == a.shape[:-2] and b.shape[-2 if left else -1] == a.shape[-1]
    if not fits:
        side = "rows" if left else "columns"
        raise ValueError(
            f"triangular_solve got {a} and {b}; the right side has as many {side}, and leading axes alike."
        )
    return aval(b.shape, b.dtype)


def _solved(a: Array, b: Array, left: bool, lower: bool, transposed: bool, unit: bool) -> Array:
    """Substitution, row by row."""
    a = a.T if transposed else a
    a, b = (a, b) if left else (a.T, b.T)
    x = np.array(b)
    n = len(a)
    is_lower = lower ^ transposed ^ (not left)
    for i in range(n) if is_lower else range(n - 1, -1, -1):
        done = slice(0, i) if is_lower else slice(i + 1, n)
        x[i] -= a[i, done] @ x[done]
        if not unit:
            x[i] /= a[i, i]
    return x if left else x.T


def _reference(a: Any, b: Any, **params: bool) -> Array:
    a, b = np.asarray(a), np.asarray(b)
    out = np.empty(b.shape, b.dtype)
    for at in np.ndindex(*a.shape[:-2]):
        out[at] = _solved(a[at], b[at], **params)
    return out


def _jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], outputs: Sequence[Ref], **params: bool) -> list[Ref]:
    (of_a, of_b), (a, _), (x,) = tangents, operands, outputs
    if of_a is None:
        return [triangular_solve(a, of_b, **params)]
    part = _triangle(of_a, params["lower"], params["unit"])
    part = turned(part) if params["transposed"] else part
    product = matmul(part, x) if params["left"] else matmul(x, part)
    return [triangular_solve(a, neg(product) if of_b is None else sub(of_b, product), **params)]


def _triangle(x: Ref, is_lower: bool, unit: bool) -> Ref:
    return lower(x, strict=unit) if is_lower else upper(x, strict=unit)


def _by_halves(a: Ref, b: Ref, **params: bool) -> list[Ref] | None:
    """Recursion on blocks, down to triangles that are written out by elements."""
    n, rows, columns = a.shape[-1], a.ndim - 2, a.ndim - 1
    if n <= SMALL:
        return None
    check_size("triangular_solve", a, n)
    k = split_at(n)
    left, axis = params["left"], rows if params["left"] else columns
    blocks = [slice_axis(slice_axis(a, rows, i, j), columns, i, j) for i, j in ((0, k), (k, n))]
    beside = slice_axis(slice_axis(a, rows, k, n), columns, 0, k)
    if not params["lower"]:
        beside = slice_axis(slice_axis(a, rows, 0, k), columns, k, n)
    beside = turned(beside) if params["transposed"] else beside
    sides = [slice_axis(b, axis, 0, k), slice_axis(b, axis, k, n)]
    first = 0 if params["lower"] ^ params["transposed"] ^ (not left) else 1
    known = triangular_solve(blocks[first], sides[first], **params)
    rest = sub(sides[1 - first], matmul(beside, known) if left else matmul(known, beside))
    found = [known, triangular_solve(blocks[1 - first], rest, **params)]
    return [concatenate(*(reversed(found) if first else found), axis=axis)]


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    a, b = types
    n, m = a.shape[-1], b.shape[-1 if params["left"] else -2]
    flags = [int(params[name]) for name in ("left", "lower", "transposed", "unit")]
    return Routine("triangular_solve", (stack(a), n, m, *flags), as_graph=partial(_by_halves, **params))


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    cases = [
        ((3, 3), (3, 2)),
        ((1, 1), (1, 1)),
        ((2, 4, 4), (2, 4, 1)),
        ((0, 0), (0, 3)),
        ((2, 3, 3), (2, 3, 0)),
        ((17, 17), (17, 3)),
        ((4, 4), (4, 13)),
        ((2, 3, 3), (2, 3, 17)),
    ]
    for k, (shape, right) in enumerate(cases):
        for flags in range(16):
            left, is_lower, transposed, unit = (bool(flags >> i & 1) for i in range(4))
            if k > 2 and flags not in (0, 11, 14):
                continue
            n = shape[-1]
            a = rng.normal(size=shape) / n + 2 * np.eye(n)
            b = rng.normal(size=right if left else (*right[:-2], right[-1], right[-2]))
            arrays = a.astype(dtype.numpy), np.asfortranarray(b.astype(dtype.numpy))
            yield Sample(arrays, {"left": left, "lower": is_lower, "transposed": transposed, "unit": unit})


triangular_solve = Primitive(
    "triangular_solve",
    "``x`` with ``op(a) @ x == b``, or if not ``left`` ``x @ op(a) == b``. ``op`` transposes if ``transposed``. Of "
    "``a`` the lower triangle is read, or the upper one; if ``unit`` not its diagonal, which is taken for ones.",
    _type,
    _reference,
    {"left": BOOL, "lower": BOOL, "transposed": BOOL, "unit": BOOL},
    jvp=_jvp,
    linear=(1,),
    transpose={
        1: lambda ct, a, _b, *, transposed, **others: triangular_solve(a, ct, transposed=not transposed, **others)
    },
    batch=lambda size, batched, a, b, **params: triangular_solve(*all_batched(size, batched, (a, b)), **params),
    lowering=_lowering,
    samples=_samples,
    errors=(
        ErrorSample((aval((3,), f32), aval((3, 1), f32)), _USUAL, "takes a matrix"),
        ErrorSample((aval((2, 3), f32), aval((3, 1), f32)), _USUAL, "must be square"),
        ErrorSample((aval((3, 3), f32), aval((3, 1), f64)), _USUAL, "dtypes must be equal"),
        ErrorSample((aval((3, 3), f32), aval((2, 1), f32)), _USUAL, "as many rows"),
    ),
    tolerance=64.0,
)


def solve(a: Any, b: Any, *, left: bool, lower: bool, transposed: bool = False, unit: bool = False) -> Any:
    """`triangular_solve`, with the usual params."""
    return triangular_solve(a, b, left=left, lower=lower, transposed=transposed, unit=unit)
