"""`eigh_tridiagonal`: eigenvectors and eigenvalues of symmetric tridiagonal matrices. Derivatives are those of `eigh`.

By the diagonal, an eigenvalue has the derivatives ``v_i^2``, and by what is beside it ``2 v_i v_{i+1}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64, i32
from graphad.primitives.arithmetic import add, mul
from graphad.primitives.comparison import eq, select
from graphad.primitives.layout import all_batched
from graphad.primitives.linalg.eigh import decomposed, eigh, moved_vectors, values_of
from graphad.primitives.linalg.matrices import (
    Array,
    along_columns,
    along_rows,
    check_float,
    each_matrix,
    masked,
    on_diagonal,
    products_of_columns,
)
from graphad.primitives.linalg.turns import place
from graphad.primitives.shape import padded_axis, slice_axis


def _type(d: OperandType, e: OperandType) -> tuple[Aval, Aval]:
    check_float("eigh_tridiagonal", d)
    if not d.shape:
        raise TypeError(f"eigh_tridiagonal got {d}; it takes a diagonal, or a stack of them along leading axes.")
    n = d.shape[-1]
    wanted = aval((*d.shape[:-1], max(n - 1, 0)), d.dtype)
    if e.dtype is not wanted.dtype or e.shape != wanted.shape:
        raise ValueError(f"eigh_tridiagonal got {e} beside the diagonal {d}; it must be {wanted}.")
    return aval((*d.shape, n), d.dtype), aval(d.shape, d.dtype)


def _lower_triangle(d: Any, e: Any) -> Array:
    d, e = np.asarray(d), np.asarray(e)
    n = d.shape[-1]
    whole = d[..., None] * np.eye(n, dtype=d.dtype)
    for k in range(n - 1):
        whole[..., k + 1, k] = e[..., k]
    return whole


def _reference(d: Any, e: Any) -> tuple[Array, ...]:
    triangle = _lower_triangle(d, e)
    return tuple(each_matrix(decomposed, triangle, shapes=[triangle.shape[-2:], triangle.shape[-1:]]))


def _product(d: Ref | None, e: Ref | None, v: Ref) -> Ref:
    """Tridiagonal matrices times ``v``."""
    n = v.shape[-1]
    found = None if d is None else mul(along_rows(d, n), v)
    if e is not None:
        rows, by = v.ndim - 2, along_rows(e, n)
        above = mul(by, slice_axis(v, rows, min(n, 1), n))
        below = mul(by, slice_axis(v, rows, 0, max(n - 1, 0)))
        beside = add(padded_axis(above, rows, 0, min(n, 1)), padded_axis(below, rows, min(n, 1), 0))
        found = beside if found is None else add(found, beside)
    assert found is not None
    return found


def _jvp(tangents: Sequence[Ref | None], _operands: Any, outputs: Sequence[Ref]) -> list[Ref]:
    v, w = outputs
    of_d, of_e = tangents
    moved = _product(of_d, of_e, v)
    return [moved_vectors(v, w, moved), products_of_columns(v, moved)]


def _as_graph(d: Ref, e: Ref) -> list[Ref]:
    """As matrices whose other elements are zeros."""
    n, axis = d.shape[-1], d.ndim - 1
    below = along_columns(padded_axis(e, axis, 0, 1), n)
    is_next = eq(place(below, axis), add(place(below, axis + 1), 1))
    whole = select(on_diagonal(below), along_rows(d, n), masked(below, is_next))
    return eigh(whole)


def _lowering(types: tuple[OperandType, ...], _params: Any) -> Routine:
    (*leading, n) = types[0].shape
    sizes = int(np.prod(leading, dtype=int)), n
    return Routine("eigh_tridiagonal", sizes, alone="eigvalsh_tridiagonal", as_graph=_as_graph)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    for shape in [(1,), (2,), (5,), (2, 4), (0,), (0, 3), (2, 0), (3, 1), (9,)]:
        n = shape[-1]
        d, e = rng.normal(size=shape) + 3.0 * np.arange(n), rng.normal(size=(*shape[:-1], max(n - 1, 0)))
        yield Sample((d.astype(dtype.numpy), np.asfortranarray(e.astype(dtype.numpy))))


eigh_tridiagonal = Primitive(
    "eigh_tridiagonal",
    "``v, w`` of `eigh`, of symmetric matrices with the diagonals ``d`` and, below and above, ``e``. All nan, where an "
    "element is not finite.",
    _type,
    _reference,
    jvp=_jvp,
    batch=lambda size, batched, *operands: eigh_tridiagonal(*all_batched(size, batched, operands)),
    lowering=_lowering,
    samples=_samples,
    errors=(
        ErrorSample((aval((), f32), aval((), f32)), {}, "takes a diagonal"),
        ErrorSample((aval((3,), i32), aval((2,), i32)), {}, "convert it to float32"),
        ErrorSample((aval((3,), f32), aval((3,), f32)), {}, "must be f32[2]"),
        ErrorSample((aval((3,), f32), aval((2,), f64)), {}, "must be f32[2]"),
    ),
    tolerance=256.0,
    multiple=True,
    alone=((1,), lambda d, e: values_of(_lower_triangle(d, e))),
)
