"""Arithmetic on single elements of stacks of matrices: arrays over the stack, or numbers known already.

What is known is computed at once. So a mask of known elements picks, and what is known to be zero, as beside a
triangle, is never multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom
from graphad.ir.primitive import Primitive
from graphad.ir.types import DType, Literal, dtype_of, literal
from graphad.primitives.arithmetic import abs_, add, div, mul, sub
from graphad.primitives.comparison import select
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.shape import concatenate, slice_

Shape = tuple[int, ...]


class Lanes:
    """Emits equations on elements into ``builder``; ``lead`` is the shape of the stack."""

    def __init__(self, builder: Builder, lead: Shape, reciprocals: dict[Atom, Atom] | None = None) -> None:
        self.builder, self.lead = builder, lead
        self.reciprocals: dict[Atom, Atom] = {} if reciprocals is None else reciprocals

    # ---- operations

    def apply(self, primitive: Primitive, atoms: Sequence[Atom], params: tuple[Any, ...] = ()) -> list[Atom]:
        """The results of an elementwise primitive."""
        if primitive is select and isinstance(atoms[0], Literal):
            return [atoms[1] if atoms[0].value else atoms[2]]
        if all([isinstance(a, Literal) for a in atoms]):
            found = primitive.evaluate(tuple([a.value for a in atoms]), params)  # type: ignore[union-attr]
            values = found if isinstance(found, (tuple, list)) else [found]
            return [literal(v[()], dtype_of(v.dtype)) for v in values]
        if (primitive is add or primitive is sub) and is_zero(atoms[1]):
            return [atoms[0]]
        if primitive is add and is_zero(atoms[0]):
            return [atoms[1]]
        return [*self.builder.emit(primitive, tuple(atoms), params)]

    def one(self, primitive: Primitive, *atoms: Atom) -> Atom:
        return self.apply(primitive, atoms)[0]

    def add(self, x: Atom, y: Atom) -> Atom:
        return self.one(add, x, y)

    def sub(self, x: Atom, y: Atom) -> Atom:
        return self.one(sub, x, y)

    def mul(self, x: Atom, y: Atom) -> Atom:
        if is_zero(x) or is_zero(y):
            return x if is_zero(x) else y
        if is_one(x) or is_one(y):
            return y if is_one(x) else x
        return self.one(mul, x, y)

    def reciprocal(self, x: Atom, dtype: DType) -> Atom:
        found = self.reciprocals.get(x)
        if found is None:
            found = self.reciprocals[x] = self.one(div, literal(1, dtype), x)
        return found

    def select(self, chosen: Atom, x: Atom, y: Atom) -> Atom:
        return x if x == y else self.one(select, chosen, x, y)

    def magnitude(self, x: Atom) -> Atom:
        return self.one(abs_, x)

    def dot(self, xs: Sequence[Atom], ys: Sequence[Atom], dtype: DType) -> Atom:
        """The sum of products, the first one first."""
        products = [self.mul(x, y) for x, y in zip(xs, ys, strict=True)]
        return reduce(self.add, products, literal(0, dtype))

    # ---- between arrays and their elements

    def element(self, array: int, at: Shape) -> Atom:
        """One element of each matrix."""
        shape = self.builder.avals[array].shape
        start = (0,) * len(self.lead) + at
        stop = self.lead + tuple([i + 1 for i in at])
        (one,) = self.builder.emit(slice_, (array,), (start, stop, (1,) * len(shape)))
        return self.builder.emit(reshape, (one,), (self.lead,))[0]

    def spread(self, x: Atom) -> Atom:
        """A number, as the same of each matrix."""
        return self.builder.emit(broadcast, (x,), (self.lead, ()))[0] if self.lead else x

    def array(self, atoms: Sequence[Atom], shape: Shape) -> Atom:
        """Elements in row-major order as an array of matrices of this shape."""
        emit, last = self.builder.emit, len(self.lead)
        column = (*self.lead, 1)
        columns = [
            emit(broadcast, (a,), (column, ()))[0] if isinstance(a, Literal) else emit(reshape, (a,), (column,))[0]
            for a in atoms
        ]
        joined = emit(concatenate, tuple(columns), (last,))[0] if len(columns) > 1 else columns[0]
        return emit(reshape, (joined,), ((*self.lead, *shape),))[0]


def is_zero(x: Atom) -> bool:
    """Whether ``x`` is known to be 0."""
    return isinstance(x, Literal) and not x.value


def is_one(x: Atom) -> bool:
    """Whether ``x`` is known to be 1."""
    return isinstance(x, Literal) and x.value == 1
