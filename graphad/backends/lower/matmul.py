"""Contractions: as matrix products on views of buffers where they are big enough, else as multiply-and-sum loops.

Factors of 16 bits are widened, unless the machine multiplies them as they are (`Traits.products`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from graphad.backends.loops.ir import is_half
from graphad.backends.lower.affine import Shape, axes_view, row_major
from graphad.backends.lower.definitions import FlatProgram, GemmValue, MapValue, MatrixOperand, ReduceValue, ViewValue
from graphad.backends.lower.halves import Halves
from graphad.backends.lower.operands import Operands
from graphad.backends.lower.scalars import ACCUMULATORS, copy_template, template
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, Contract, Convolve, parse_scalar
from graphad.ir.types import Aval, DType, aval, f32, f64, literal

#: Products of at most so many multiplications are faster as loops than as a BLAS call...
SMALL: Final = 512
#: ...and those of a matrix with a vector, which fuse with what is around them, up to so many.
SMALL_WITH_VECTOR: Final = 16_384
#: From so many rows on, with so many terms in each sum, ``?syrk`` and mirroring its triangle take less time than
#: ``?gemm``: 0.6 to 0.95 of it at these limits, and 0.5 to 0.65 with 1024 terms. With half as many terms there are
#: sizes where the mirrored copy takes longer than what is saved.
SYMMETRIC_ROWS: Final = 32
SYMMETRIC_TERMS: Final = {f64: 64, f32: 96}
_PRODUCT: Final = parse_scalar("{0} * {1}")


def contract(operands: Operands, factors: Sequence[Atom], lowering: Contract, out: Aval, loc: Loc) -> Atom:
    """Append the contraction of two values; it is in the dtype of ``out``, or in that in which it is summed."""
    flat, wide = operands.flat, ACCUMULATORS.get(out.dtype, out.dtype)
    shapes = [operands.shape(a) for a in factors]
    axes_left, axes_right = (_Axes.of(shape, lowering, side) for side, shape in enumerate(shapes))
    m, n, k = (_size(shape, axes) for shape, axes in (
        (shapes[0], axes_left.free), (shapes[1], axes_right.free), (shapes[0], axes_left.contract)
    ))  # fmt: skip
    as_loops = wide not in flat.traits.products or _better_as_loops(m, n, k)
    halves = None if as_loops or not out.size else _halves(flat, factors, out.dtype, loc)
    left, right = halves or (operands.widen(a, wide, loc) for a in factors)
    if not out.size or not prod(shapes[0]):
        return operands.view(literal(0, out.dtype), (), out, loc)
    if as_loops:
        return _as_loops(flat, (left, axes_left), (right, axes_right), aval(out.shape, wide), loc)
    a = _matrix(operands, left, axes_left.batch, axes_left.free, axes_left.contract, loc)
    with_itself = left == right and axes_left == axes_right
    if with_itself:
        b = replace(a, transposed=not a.transposed)
    else:
        b = _matrix(operands, right, axes_right.batch, axes_right.contract, axes_right.free, loc)
    symmetric = with_itself and flat.traits.symmetric_products and n >= SYMMETRIC_ROWS and k >= SYMMETRIC_TERMS[wide]
    batch, result = _size(shapes[0], axes_left.batch), out if halves else aval(out.shape, wide)
    return flat.add(GemmValue(result, loc, a, b, batch, m, n, k, symmetric=symmetric))


def _halves(flat: FlatProgram, factors: Sequence[Atom], out: DType, loc: Loc) -> tuple[int, int] | None:
    """Both factors in 16 bits, if the machine multiplies them so and this loses nothing."""
    left, right = factors
    for dtype in flat.traits.products:
        if is_half(dtype) and out in (dtype, f32):
            halves = Halves(flat, dtype)
            if type(left) is type(right) is int and halves.holds(left) and halves.holds(right) and halves.found:
                return flat.value(halves.value(left), loc), flat.value(halves.value(right), loc)
    return None


def convolve(operands: Operands, given: Sequence[Atom], lowering: Convolve, out: Aval, loc: Loc) -> Atom:
    """A product of the filters with a strided view of the windows; for BLAS, that view is copied (im2col)."""
    wide, groups, rank = ACCUMULATORS.get(out.dtype, out.dtype), lowering.groups, out.ndim - 2
    x, w = (operands.widen(a, wide, loc) for a in given)
    features, channels, *window = operands.shape(w)
    if not out.size or not channels:
        return operands.view(literal(0, out.dtype), (), out, loc)
    batch, places, features = out.shape[0], out.shape[2:], features // groups
    # [groups, channels, *window, batch, *places] and [groups, features, channels, *window]
    first, last = 2, 2 + rank
    taps = zip(lowering.strides, lowering.dilation, strict=True)
    dims = (
        AffineDim(0, ((last, 1),)),
        AffineDim(0, ((0, channels), (1, 1))),
        *[AffineDim(0, ((first + k, by), (last + 1 + k, stride))) for k, (stride, by) in enumerate(taps)],
    )
    windows = operands.view(x, dims, aval((groups, channels, *window, batch, *places), wide), loc)
    filters = operands.reshape(w, aval((groups, features, channels, *window), wide), loc)
    contraction = Contract((tuple(range(2, 3 + rank)), tuple(range(1, 2 + rank))), ((0,), (0,)))
    product = aval((groups, features, batch, *places), out.dtype)
    result = operands.flat.value(contract(operands, (filters, windows), contraction, product, loc), loc)
    dtype = operands.flat.values[result].aval.dtype
    moved = operands.view(
        result, axes_view((1, 2, 0, *range(3, 3 + rank))), aval((batch, groups, features, *places), dtype), loc
    )
    return operands.cast(operands.reshape(moved, aval(out.shape, dtype), loc), out.dtype, loc)


def _size(shape: Shape, axes: Shape) -> int:
    return prod(shape[a] for a in axes)


def _better_as_loops(m: int, n: int, k: int) -> bool:
    if k <= 1 or m * n <= 1:
        return True
    return m * n * k <= (SMALL_WITH_VECTOR if min(m, n) == 1 else SMALL)


@dataclass(frozen=True, slots=True)
class _Axes:
    """The axes of one operand by what becomes of them."""

    batch: Shape
    free: Shape
    contract: Shape

    @staticmethod
    def of(shape: Shape, lowering: Contract, side: int) -> _Axes:
        batch, contracted = lowering.batch[side], lowering.contract[side]
        free = tuple([a for a in range(len(shape)) if a not in batch and a not in contracted])
        return _Axes(batch, free, contracted)


def _as_loops(flat: FlatProgram, left: tuple[int, _Axes], right: tuple[int, _Axes], out: Aval, loc: Loc) -> int:
    """Both operands repeated to (batch, free of left, free of right, contract), multiplied and summed."""
    (x, axes_x), (y, axes_y) = left, right
    shape_x = flat.values[x].aval.shape
    whole = aval((*out.shape, *[shape_x[a] for a in axes_x.contract]), out.dtype)
    first_y, summed = len(axes_x.batch) + len(axes_x.free), tuple(range(out.ndim, whole.ndim))
    repeated: list[int] = []
    for value, axes, first_free in ((x, axes_x, len(axes_x.batch)), (y, axes_y, first_y)):
        place = dict(zip(axes.batch, range(len(axes.batch)), strict=True))
        place.update(zip(axes.free, range(first_free, out.ndim), strict=False))
        place.update(zip(axes.contract, summed, strict=True))
        dims = axes_view([place[a] for a in range(len(place))])
        repeated.append(flat.add(ViewValue(whole, loc, value, dims)))
    scalar = template(_PRODUCT, (out.dtype, out.dtype), out.dtype)
    product = flat.add(MapValue(whole, loc, scalar, (repeated[0], repeated[1])))
    return flat.add(ReduceValue(out, loc, product, "sum", summed)) if summed else product


def _matrix(operands: Operands, value: int, batch: Shape, rows: Shape, columns: Shape, loc: Loc) -> MatrixOperand:
    """``value`` as matrices over merged axes: read where it lies if its strides allow it, else copied in order.

    Factors of 16 bits must be aligned as well, and are copied once for all products that can read the same copy.
    """
    flat = operands.flat
    shape, dtype = flat.values[value].aval.shape, flat.values[value].aval.dtype
    block = flat.block(value)
    found = _merged(block.value, block.offset, block.strides, shape, (batch, rows, columns))
    if found is not None and (not is_half(dtype) or found.offset * 2 % flat.traits.half_alignment == 0):
        return found
    found = _merged(value, 0, row_major(shape), shape, (batch, rows, columns)) if is_half(dtype) else None
    if found is not None:
        return replace(found, value=operands.copy(value, loc))
    order = (*batch, *rows, *columns)
    dims = axes_view([order.index(axis) for axis in range(len(order))])
    copied = aval(tuple([shape[a] for a in order]), dtype)
    copy = flat.add(MapValue(copied, loc, copy_template(dtype), (flat.add(ViewValue(copied, loc, value, dims)),)))
    first, second = len(batch), len(batch) + len(rows)
    groups = tuple(range(first)), tuple(range(first, second)), tuple(range(second, len(order)))
    found = _merged(copy, 0, row_major(copied.shape), copied.shape, groups)
    assert found is not None, "a copy in order is a matrix"
    return found


def _merged(
    value: int, offset: int, strides: Shape, shape: Shape, groups: tuple[Shape, Shape, Shape]
) -> MatrixOperand | None:
    """The matrices with the axes of each group (batch, rows, columns) merged into one, or None if they are none."""
    merged: list[tuple[int, int]] = []  # size and stride of each group
    for group in groups:
        size, stride = 1, 0
        for axis in reversed(group):
            if shape[axis] == 1:
                continue
            if size == 1:
                stride = strides[axis]
            elif strides[axis] != stride * size:
                return None
            size *= shape[axis]
        merged.append((size, stride))
    (batch, step), (rows, row), (columns, column) = merged
    if batch > 1 and step < 0:
        return None
    # A matrix of one column or row is a vector: the stride along the other axis is free.
    if columns == 1:
        row, column = (1 if rows == 1 else row), 1
    elif rows == 1:
        row = columns if column == 1 else 1
    if column == 1 and row >= columns:
        return MatrixOperand(value, offset, row, transposed=False, step=step)
    if row == 1 and column >= rows:
        return MatrixOperand(value, offset, column, transposed=True, step=step)
    return None
