"""`householder_product`: products of reflectors, as LAPACK stores them.

With the reflectors as columns of ``V`` and ``D = diag(taus)``, the product is ``1 - V W`` with ``(1 + D S) W = D V^T``,
where ``S`` is the strict upper triangle of ``V^T V`` [1]_: that holds of any ``taus``, and is what is differentiated.

.. [1] T. Joffrain et al., Accumulating Householder transformations, revisited, ACM Transactions on Mathematical
   Software 32, 2006.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64, i32
from graphad.primitives.arithmetic import add, neg, sub
from graphad.primitives.comparison import select
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg import reflections
from graphad.primitives.linalg.matrices import (
    Array,
    check_matrix,
    lower,
    matmul,
    on_diagonal,
    scaled_rows,
    stack,
    turned,
    upper,
)
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.shape import slice_axis


def _type(a: OperandType, taus: OperandType) -> Aval:
    check_matrix("householder_product", a)
    m, n = a.shape[-2:]
    if m < n:
        raise ValueError(f"householder_product got {a}; the matrices must have as many rows as columns, or more.")
    fits = len(taus.shape) == len(a.shape) - 1 and taus.shape[:-1] == a.shape[:-2] and taus.dtype is a.dtype
    if not fits or taus.shape[-1] > n:
        raise ValueError(
            f"householder_product got {a} and {taus}; the second one is (..., k), with k of {n} or less, of one dtype."
        )
    return aval(a.shape, a.dtype)


def _product(a: Array, taus: Array) -> Array:
    """One reflector after the other."""
    q = np.eye(*a.shape, dtype=a.dtype)
    for k in reversed(range(len(taus))):
        v = np.concatenate([np.zeros(k), [1], a[k + 1 :, k]]).astype(a.dtype)
        q -= taus[k] * np.outer(v, v @ q)
    return q


def _reference(a: Any, taus: Any) -> Array:
    a, taus = np.asarray(a), np.asarray(taus)
    out = np.empty(a.shape, a.dtype)
    for at in np.ndindex(*a.shape[:-2]):
        out[at] = _product(a[at], taus[at])
    return out


def _jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], _outputs: Any) -> list[Ref | None]:
    (da, dtaus), (a, taus) = tangents, operands
    n, columns, k = a.shape[-1], a.ndim - 1, taus.shape[-1]

    def top(x: Ref) -> Ref:
        return turned(slice_axis(x, columns - 1, 0, n))

    below = lower(slice_axis(a, columns, 0, k), strict=True)
    v = select(on_diagonal(below), 1.0, below)
    s = upper(matmul(turned(v), v), strict=True)
    scaled = scaled_rows(s, taus)
    w = _solved(scaled, scaled_rows(top(v), taus))
    parts = [] if dtaus is None else [scaled_rows(sub(top(v), matmul(s, w)), dtaus)]
    direct = None
    if da is not None:
        dv = lower(slice_axis(da, columns, 0, k), strict=True)
        inner = matmul(turned(dv), v)
        ds = upper(add(inner, turned(inner)), strict=True)
        parts.append(scaled_rows(sub(top(dv), matmul(ds, w)), taus))
        direct = matmul(dv, w)
    by_w = matmul(v, _solved(scaled, parts[0] if len(parts) == 1 else add(*parts)))
    return [neg(by_w if direct is None else add(direct, by_w))]


def _solved(a: Ref, b: Ref) -> Ref:
    return solve(a, b, left=True, lower=False, unit=True)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    shapes = [((1, 1), 1), ((4, 3), 2), ((2, 3, 3), 3), ((3, 3), 0), ((0, 0), 0), ((3, 0), 0), ((2, 5, 2), 1)]
    for number, (shape, k) in enumerate(shapes):
        a = rng.normal(size=shape).astype(dtype.numpy)
        taus = (0.5 * rng.normal(size=(*shape[:-2], k))).astype(dtype.numpy)
        yield Sample((np.asfortranarray(a) if number % 2 else a, taus))


householder_product = Primitive(
    "householder_product",
    "The first columns, as many as ``a`` has, of the product of reflectors ``1 - taus[k] * outer(v, v)``, where ``v`` "
    "has a one in row ``k``, zeros before, and column ``k`` of ``a`` behind.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda size, batched, a, taus: householder_product(*all_batched(size, batched, (a, taus))),
    lowering=lambda types, _params: Routine(
        "householder_product",
        (stack(types[0]), *types[0].shape[-2:], types[1].shape[-1]),
        as_graph=reflections.householder_product,
    ),
    samples=_samples,
    errors=(
        ErrorSample((aval((3,), f32), aval((3,), f32)), {}, "takes a matrix"),
        ErrorSample((aval((3, 3), i32), aval((3,), i32)), {}, "convert it to float32"),
        ErrorSample((aval((2, 3), f32), aval((2,), f32)), {}, "as many rows as columns"),
        ErrorSample((aval((3, 3), f32), aval((4,), f32)), {}, "k of 3 or less"),
    ),
    tolerance=256.0,
)
