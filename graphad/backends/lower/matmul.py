"""Contractions: as BLAS calls on views of buffers where they are big enough, as multiply-and-sum loops otherwise."""

from __future__ import annotations

from math import prod
from typing import Final

from graphad.backends.lower.affine import Shape, axes_view, row_major
from graphad.backends.lower.definitions import FlatProgram, GemmValue, MapValue, MatrixOperand, ReduceValue, ViewValue
from graphad.backends.lower.scalars import copy_template, template
from graphad.ir.loc import Loc
from graphad.ir.lowering import Contract, parse_scalar
from graphad.ir.types import Aval, aval, f32, f64

#: Products of at most so many multiplications are faster as loops than as a BLAS call...
SMALL: Final = 512
#: ...and those of a matrix with a vector, which fuse with what is around them, up to so many.
SMALL_WITH_VECTOR: Final = 16_384
_PRODUCT: Final = parse_scalar("{0} * {1}")


def contract(flat: FlatProgram, left: int, right: int, lowering: Contract, out: Aval, loc: Loc) -> int:
    """Append the contraction of two values of dtype f32, f64 or integer; the number of the result."""
    axes_left, axes_right = _Axes.of(flat, left, lowering, 0), _Axes.of(flat, right, lowering, 1)
    shape_left, shape_right = flat.values[left].aval.shape, flat.values[right].aval.shape
    m, n = prod(shape_left[a] for a in axes_left.free), prod(shape_right[a] for a in axes_right.free)
    k = prod(shape_left[a] for a in axes_left.contract)
    if out.dtype not in (f32, f64) or not out.size or _better_as_loops(m, n, k):
        return _as_loops(flat, (left, axes_left), (right, axes_right), out, loc)
    a = _matrix(flat, left, axes_left.batch, axes_left.free, axes_left.contract, loc)
    b = _matrix(flat, right, axes_right.batch, axes_right.contract, axes_right.free, loc)
    batch = prod(shape_left[x] for x in axes_left.batch)
    return flat.add(GemmValue(out, loc, a, b, batch, m, n, k))


def _better_as_loops(m: int, n: int, k: int) -> bool:
    if k <= 1 or m * n <= 1:
        return True
    return m * n * k <= (SMALL_WITH_VECTOR if min(m, n) == 1 else SMALL)


class _Axes:
    """The axes of one operand by what becomes of them."""

    __slots__ = ("batch", "contract", "free")

    def __init__(self, batch: Shape, free: Shape, contract: Shape) -> None:
        self.batch, self.free, self.contract = batch, free, contract

    @staticmethod
    def of(flat: FlatProgram, value: int, lowering: Contract, side: int) -> _Axes:
        batch, contracted = lowering.batch[side], lowering.contract[side]
        rank = flat.values[value].aval.ndim
        return _Axes(batch, tuple([a for a in range(rank) if a not in batch and a not in contracted]), contracted)


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


def _matrix(flat: FlatProgram, value: int, batch: Shape, rows: Shape, columns: Shape, loc: Loc) -> MatrixOperand:
    """``value`` as matrices over merged axes: read where it lies if its strides allow it, else copied in order."""
    shape = flat.values[value].aval.shape
    block = flat.block(value)
    found = _merged(block.value, block.offset, block.strides, shape, (batch, rows, columns))
    if found is not None:
        return found
    order = (*batch, *rows, *columns)
    dims = axes_view([order.index(axis) for axis in range(len(order))])
    copied = aval(tuple([shape[a] for a in order]), flat.values[value].aval.dtype)
    copy = flat.add(
        MapValue(copied, loc, copy_template(copied.dtype), (flat.add(ViewValue(copied, loc, value, dims)),))
    )
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
