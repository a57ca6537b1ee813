"""`banded_solve`: systems of matrices with few diagonals. Linear in the right side; by the band, ``dx = -A^-1 dA x``.

The product ``dA x`` is of bands too: row ``r`` of the band times ``x``, element by element, shifted by ``r``. All rows
are shifted at once, where they lie one behind the other, each with as many zeros behind it as there are rows: read as
rows that are shorter by one, each begins one place later than the row before it. The product with the transpose reads
rows that are all ``x`` as rows that are longer by one, each of which begins one place further on in ``x``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphad.ir.lowering import Routine
from graphad.ir.params import BOOL, INT
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.arithmetic import add, mul, neg
from graphad.primitives.comparison import and_, eq, ne, select
from graphad.primitives.layout import all_batched, broadcast, reduce_sum, reshape
from graphad.primitives.linalg.lu import lu, permuted_rows
from graphad.primitives.linalg.matrices import Array, check_float, check_matrix, diagonal, identity, stack
from graphad.primitives.linalg.triangular_solve import solve
from graphad.primitives.linalg.turns import over
from graphad.primitives.reduce import reduce_and
from graphad.primitives.shape import padded_axis, slice_axis

_USUAL = {"low": 1, "high": 0, "transposed": False}


def _type(ab: OperandType, b: OperandType, *, low: int, high: int, transposed: bool) -> Aval:
    del transposed
    check_matrix("banded_solve", b)
    check_float("banded_solve", ab)
    if low < 0 or high < 0:
        raise ValueError(f"banded_solve got low={low} and high={high}; they are numbers of diagonals.")
    wanted = aval((*b.shape[:-2], low + high + 1, b.shape[-2]), b.dtype)
    if ab.dtype is not wanted.dtype or ab.shape != wanted.shape:
        raise ValueError(f"banded_solve got {ab} as the band; with the right side {b} it must be {wanted}.")
    return aval(b.shape, b.dtype)


def _dense(ab: Array, high: int) -> Array:
    """The matrix with that band."""
    width, n = ab.shape
    rows = np.arange(n) + np.arange(width)[:, None] - high
    out, (r, j) = np.zeros((n, n), ab.dtype), np.nonzero((rows >= 0) & (rows < n))
    out[rows[r, j], j] = ab[r, j]
    return out


def _solved(ab: Array, b: Array, high: int, transposed: bool) -> Array:
    matrix = _dense(ab, high)
    try:
        if np.isfinite(matrix).all():
            return np.linalg.solve(matrix.T if transposed else matrix, b)
    except np.linalg.LinAlgError:
        pass
    return np.full_like(b, np.nan)


def _reference(ab: Any, b: Any, *, low: int, high: int, transposed: bool) -> Array:
    del low
    ab, b = np.asarray(ab), np.asarray(b)
    out = np.empty(b.shape, b.dtype)
    for at in np.ndindex(*b.shape[:-2]):
        out[at] = _solved(ab[at], b[at], high, transposed)
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Products


def _product(ab: Ref, x: Ref, low: int, high: int, transposed: bool) -> Ref:
    """The matrices with that band, or their transposes, times columns."""
    (*leading, width, n), m = ab.shape, x.shape[-1]
    if not n:
        return x
    k, whole = len(leading), n + width
    band = broadcast(ab, shape=(*ab.shape, m), dims=tuple(range(k + 2)))
    if transposed:
        long = padded_axis(x, k, high, low)
        rows = broadcast(long, shape=(*leading, width + 1, whole - 1, m), dims=(*range(k), k + 1, k + 2))
        flat = slice_axis(reshape(rows, shape=(*leading, (width + 1) * (whole - 1), m)), k, 0, width * whole)
        moved = slice_axis(reshape(flat, shape=(*leading, width, whole, m)), k + 1, 0, n)
        return reduce_sum(mul(band, moved), axes=(k,))
    rows = mul(band, broadcast(x, shape=band.shape, dims=(*range(k), k + 1, k + 2)))
    flat = reshape(padded_axis(rows, k + 1, 0, width), shape=(*leading, width * whole, m))
    # one row of zeros more: so the transpose, which gradients are made of, takes no padding
    flat = padded_axis(flat, k, 0, n - 1)
    moved = reshape(flat, shape=(*leading, width + 1, whole - 1, m))
    return slice_axis(reduce_sum(moved, axes=(k,)), k, high, high + n)


def _jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], outputs: Sequence[Ref], **params: Any) -> list[Ref]:
    (of_band, of_right), (ab, _), (x,) = tangents, operands, outputs
    right = of_right if of_band is None else neg(_product(of_band, x, **params))
    if of_band is not None and of_right is not None:
        right = add(of_right, right)
    return [banded_solve(ab, right, **params)]


# ---------------------------------------------------------------------------------------------------------------------
# The primitive


def _as_graph(ab: Ref, b: Ref, *, low: int, high: int, transposed: bool) -> list[Ref]:
    """By elimination in matrices whose other elements are zeros."""
    n = b.shape[-2]
    whole = _product(ab, identity(b, n, n), low, high, transposed)
    packed, _, order = lu(whole)
    found = solve(packed, permuted_rows(b, order), left=True, lower=True, unit=True)
    found = solve(packed, found, left=True, lower=False)
    axes = b.ndim - 2, b.ndim - 1
    sound = and_(
        eq(reduce_sum(mul(whole, 0.0), axes=axes), 0.0), reduce_and(ne(diagonal(packed), 0.0), axes=(b.ndim - 2,))
    )
    return [select(over(sound, found), found, float("nan"))]


def _lowering(types: tuple[OperandType, ...], params: dict[str, Any]) -> Routine:
    b = types[1]
    sizes = stack(b), *b.shape[-2:], params["low"], params["high"], int(params["transposed"])
    return Routine("banded_solve", sizes, as_graph=partial(_as_graph, **params))


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype not in (f32, f64):
        return
    cases = [
        ((5, 2), 1, 2),
        ((6, 1), 2, 0),
        ((2, 4, 3), 1, 1),
        ((1, 1), 0, 0),
        ((2, 1), 3, 2),
        ((0, 2), 1, 1),
        ((0, 3, 1), 0, 1),
        ((3, 0), 1, 0),
        ((19, 1), 4, 3),
    ]
    for k, (shape, low, high) in enumerate(cases):
        ab = rng.normal(size=(*shape[:-2], low + high + 1, shape[-2])) / (low + high + 1)
        ab[..., high, :] += 2
        b = rng.normal(size=shape)
        for transposed in (False, True) if k < 3 else (k % 2 == 0,):
            arrays = ab.astype(dtype.numpy), np.asfortranarray(b.astype(dtype.numpy))
            yield Sample(arrays, {"low": low, "high": high, "transposed": transposed})


banded_solve = Primitive(
    "banded_solve",
    "``x`` with ``op(a) @ x == b``, where ``ab[high + i - j, j] == a[i, j]``, ``low`` diagonals below the main one and "
    "``high`` above. ``op`` transposes if ``transposed``. nan where a matrix is singular, or not finite.",
    _type,
    _reference,
    {"low": INT, "high": INT, "transposed": BOOL},
    jvp=_jvp,
    linear=(1,),
    transpose={1: lambda ct, ab, _b, *, transposed, **of: banded_solve(ab, ct, transposed=not transposed, **of)},
    batch=lambda size, batched, ab, b, **params: banded_solve(*all_batched(size, batched, (ab, b)), **params),
    lowering=_lowering,
    samples=_samples,
    errors=(
        ErrorSample((aval((2, 3), f32), aval((3,), f32)), _USUAL, "takes a matrix"),
        ErrorSample((aval((2, 2), f32), aval((3, 1), f32)), _USUAL, "must be f32[2,3]"),
        ErrorSample((aval((2, 3), f64), aval((3, 1), f32)), _USUAL, "must be f32[2,3]"),
        ErrorSample((aval((2, 3), f32), aval((3, 1), f32)), {**_USUAL, "low": -1}, "numbers of diagonals"),
    ),
    tolerance=64.0,
)
