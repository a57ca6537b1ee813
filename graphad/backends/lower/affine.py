"""Affine coordinates: where an element lies, as a function of loop variables.

A *coordinate* is ``(offset, terms)`` with ``terms`` a tuple of ``(variable, stride)``, sorted by variable and without
zero strides, so that equal coordinates compare equal. The variable is the number of an axis while a program is being
planned, and the name of a loop variable once its loops exist. *Coords* are one coordinate per axis of a value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

from graphad.ir.lowering import AffineDim

Shape = tuple[int, ...]
Coordinate = tuple[int, tuple[tuple[Any, int], ...]]
Coords = tuple[Coordinate, ...]

ZERO: Coordinate = (0, ())


@lru_cache(maxsize=1024)  # programs have few shapes, and ask for this at every access
def row_major(shape: Shape) -> Shape:
    """Strides of an array of ``shape`` without gaps."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(strides)


@lru_cache(maxsize=64)
def places(shape: Shape) -> list[Shape]:
    """All coordinates of an array of ``shape``, in row-major order."""
    return list(product(*map(range, shape)))


def position_of(at: Sequence[int], shape: Shape) -> int:
    """The place of the element at ``at`` in row-major order."""
    return sum([i * stride for i, stride in zip(at, row_major(shape), strict=True)])


def seen(dims: Sequence[AffineDim], at: Shape) -> Shape:
    """Where in the operand of a view the element at ``at`` of the view lies."""
    return tuple([d.offset + sum([step * at[axis] for axis, step in d.terms]) for d in dims])


@lru_cache(maxsize=1024)
def identity(shape: Shape) -> Coords:
    """Every axis at its own variable; axes of size 1 at 0.

    >>> identity((4, 1))
    ((0, ((0, 1),)), (0, ()))
    """
    return tuple([(0, ((axis, 1),)) if n != 1 else ZERO for axis, n in enumerate(shape)])


def combine(offset: int, parts: Sequence[tuple[Coordinate, int]]) -> Coordinate:
    """``offset + sum(factor * coordinate)``."""
    if not parts:
        return (offset, ())
    if len(parts) == 1:
        (start, terms), factor = parts[0]
        if factor == 1:
            return (offset + start, terms)
        return (offset + factor * start, tuple([(v, s * factor) for v, s in terms]) if factor else ())
    total: dict[Any, int] = {}
    for (start, terms), factor in parts:
        offset += factor * start
        for variable, stride in terms:
            total[variable] = total.get(variable, 0) + factor * stride
    return (offset, tuple(sorted([(v, s) for v, s in total.items() if s])))


def compose(view: tuple[AffineDim, ...], coords: Coords) -> Coords:
    """Coords in a view's operand of the element at ``coords`` of the view."""
    result: list[Coordinate] = []
    for dim in view:
        terms = dim.terms
        if len(terms) == 1 and terms[0][1] == 1 and not dim.offset:
            result.append(coords[terms[0][0]])
        else:
            result.append(combine(dim.offset, [(coords[axis], step) for axis, step in terms]))
    return tuple(result)


def linear(coords: Coords, strides: Shape) -> Coordinate:
    """The position in memory of the element at ``coords``, from 0."""
    if not coords:
        return ZERO
    if strides == (1,):
        return coords[0]
    return combine(0, list(zip(coords, strides, strict=True)))


def axis_of(coordinate: Coordinate) -> Any:
    """The variable that this coordinate is; None for other coordinates."""
    offset, terms = coordinate
    return terms[0][0] if not offset and len(terms) == 1 and terms[0][1] == 1 else None


def axes_view(axes: Iterable[int]) -> tuple[AffineDim, ...]:
    """The view that has its operand's axes at ``axes``, in this order: a transposition, or a broadcast.

    >>> axes_view((2, 0))
    (AffineDim(offset=0, terms=((2, 1),)), AffineDim(offset=0, terms=((0, 1),)))
    """
    return tuple([AffineDim(0, ((axis, 1),)) for axis in axes])


def reshape_view(source: Shape, target: Shape) -> tuple[AffineDim, ...] | None:
    """The reshape from ``source`` to ``target`` as a view; None where several axes are merged into one.

    Splitting an axis, and adding or dropping axes of size 1, is affine; merging needs a division.

    >>> reshape_view((6, 5), (2, 3, 1, 5))
    (AffineDim(offset=0, terms=((0, 3), (1, 1))), AffineDim(offset=0, terms=((3, 1),)))
    """
    dims: list[AffineDim] = []
    axis = 0
    for size in source:
        if size == 1:
            dims.append(AffineDim(0))
            continue
        group: list[int] = []
        product = 1
        while product < size and axis < len(target):
            product *= target[axis]
            group.append(axis)
            axis += 1
        if product != size or not size:
            return None
        steps = row_major(tuple([target[a] for a in group]))
        dims.append(AffineDim(0, tuple([(a, s) for a, s in zip(group, steps, strict=True) if target[a] != 1])))
    return tuple(dims)
