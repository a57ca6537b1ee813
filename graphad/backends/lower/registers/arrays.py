"""Arrays of a loop of scalar arithmetic, and the operations that only read them in another way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from graphad.backends.loops.ir import Carry, Operand, Statement, Store
from graphad.backends.lower.affine import (
    ZERO,
    Coordinate,
    Coords,
    Shape,
    combine,
    compose,
    places,
    position_of,
    reshape_view,
    row_major,
    seen,
)
from graphad.backends.lower.scalars import Template, template
from graphad.backends.lower.scopes import Scope, Scopes, index_of
from graphad.ir import lowering as forms
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, parse_scalar
from graphad.ir.types import Aval, DType, Literal, literal

#: Arrays of more elements are not written element by element, nor bodies of more statements.
MOST_ELEMENTS: Final = 64
MOST_STATEMENTS: Final = 6000
#: A product of matrices of more multiplications is left to BLAS.
MOST_PRODUCTS: Final = 256
#: Loops of at most so many turns inside a loop are unrolled where what they run over is in registers. They are shorter
#: than what runs again between checkpoints: unrolled, a sum may become one operation with a product of the turn before,
#: and the bits would be others.
UNROLLED: Final = 7

_CAST: Final = parse_scalar("cast({0})")


class NotScalarError(Exception):
    """A body is no scalar arithmetic; the message says what in it is not."""


@dataclass(slots=True, eq=False)
class Small:
    """An array as its elements, in row-major order; with ``lanes``, those of one member of the batch.

    With ``turns`` the axes of the batch do not lead: they come behind the first one, that of the turns of a loop.
    """

    shape: Shape
    dtype: DType
    atoms: tuple[Operand, ...]
    lanes: bool
    turns: bool = False


@dataclass(slots=True, eq=False)
class InMemory:
    """An array in a buffer, by the place of its first element and one stride for each axis.

    It is written in the scope at ``depth``: before, nothing may be read. ``turns`` as of `Small`.
    """

    shape: Shape
    dtype: DType
    buffer: str
    start: Coordinate
    strides: Shape
    lanes: bool
    depth: int = 0
    turns: bool = False


@dataclass(slots=True, eq=False)
class Virtual:
    """An array whose elements are computed where they are read: ``element(coordinates)``."""

    shape: Shape
    dtype: DType
    element: Callable[[Coords], Operand]
    lanes: bool = False
    turns: bool = False


Array = Small | InMemory | Virtual


class Arrays(Scopes):
    """Reads and writes arrays in the scopes of one nest, and computes elementwise.

    Attributes
    ----------
    space
        The extents of the axes of the batch; their loop variables are ``space_variables``.
    temporary
        Makes a buffer of so many elements of a dtype, and gives its name.
    """

    def __init__(self, space: Shape, temporary: Callable[[DType, int], str]) -> None:
        super().__init__()
        self.space = space
        self.space_variables: list[str] = []
        self.temporary = temporary
        self.written = 0
        self.on_the_way: dict[tuple[Virtual, Coords], Operand] | None = None  # of the element that is being computed
        self.guarded: Operand | None = None  # in lanes: which of them run here, of a branch
        self.open_nest()

    # ---- loops

    def open_loop(self) -> str:
        """Enter a scope for the body of a loop; its variable."""
        depth = len(self.scopes)
        variable = f"{'ijklmn'[depth - 1] if depth <= 6 else 'n'}{depth if depth > 6 else ''}"
        self.depth_of[variable] = depth
        self.scopes.append(Scope())
        return variable

    def close_loop(self, make: Callable[[tuple[Statement, ...]], Statement], carries: Sequence[Carry]) -> None:
        """Leave it: the loop becomes a statement of the scope around it."""
        scope = self.close_scope()
        self.emit(make(tuple(scope.statements)))
        for carry in carries:
            self.depth_of[carry.name] = len(self.scopes) - 1

    def let(self, op: str, dtype: DType, args: tuple[Operand, ...], loc: Loc) -> Operand:
        self.written += 1
        if self.written > MOST_STATEMENTS:
            raise NotScalarError(f"a body of more than {MOST_STATEMENTS} statements")
        return super().let(op, dtype, args, loc)

    # ---- arrays

    def stripped(self, shape: Shape) -> Shape | None:
        """The shape of one member of the batch; None if the array has no axes of the batch."""
        n = len(self.space)
        return shape[n:] if n and shape[:n] == self.space else None

    def element(self, x: Array, at: Shape, loc: Loc) -> Operand:
        """The element of ``x`` at constant coordinates."""
        if type(x) is Small:
            return x.atoms[position_of(at, x.shape)]
        return self.read(x, tuple([(i, ()) for i in at]), loc)

    def read(self, x: Array, at: Coords, loc: Loc, dynamic: str | None = None) -> Operand:
        """The element of an array that is not in registers, at coordinates in loop variables."""
        if type(x) is Virtual:
            return self.computed(x, at)
        if type(x) is not InMemory:
            raise NotScalarError("an array in registers, at coordinates that change")
        offset, _ = where = combine(x.start[0], [((0, x.start[1]), 1), *zip(at, x.strides, strict=True)])
        del offset
        depth = max(self.depth(where), x.depth)
        if dynamic is not None:
            depth = max(depth, self.depth_of[dynamic])
        return self.load(x.buffer, index_of(where), dynamic, depth, loc)

    def computed(self, x: Virtual, at: Coords) -> Operand:
        """An element; what others on the way to it share is computed once."""
        around = self.on_the_way
        seen = self.on_the_way = {} if around is None else around
        if (x, at) not in seen:
            seen[x, at] = x.element(at)
        self.on_the_way = around
        return seen[x, at]

    def small(self, x: Array, loc: Loc) -> Small:
        """``x`` in registers."""
        if x.turns:
            raise NotScalarError("an array of all turns of a batch")
        if type(x) is Small:
            return x
        if prod(x.shape) > MOST_ELEMENTS:
            raise NotScalarError(f"an array of shape {x.shape}")
        return Small(x.shape, x.dtype, tuple([self.element(x, at, loc) for at in places(x.shape)]), x.lanes)

    def member(
        self, buffer: str, shape: Shape, dtype: DType, start: Coordinate, strides: Shape, lanes: bool
    ) -> InMemory:
        """An array in a buffer; of one with axes of the batch, the member at the loop variables."""
        if lanes:
            n = len(self.space)
            here = [((0, ((v, 1),)), s) for v, s in zip(self.space_variables, strides[:n], strict=True)]
            start = combine(start[0], [((0, start[1]), 1), *here])
            shape, strides = shape[n:], strides[n:]
        return InMemory(shape, dtype, buffer, start, strides, lanes)

    def fresh(self, shape: Shape, dtype: DType, lanes: bool) -> InMemory:
        """A new array in memory."""
        buffer = self.temporary(dtype, prod(shape))
        return InMemory(shape, dtype, buffer, ZERO, row_major(shape), lanes, len(self.scopes) - 1)

    def store(self, to: InMemory, at: Coords, value: Operand, loc: Loc) -> None:
        if self.guarded is not None:
            raise NotScalarError("an array that is written in a branch of a batched choice")
        where = combine(to.start[0], [((0, to.start[1]), 1), *zip(at, to.strides, strict=True)])
        self.emit(Store(to.buffer, index_of(where), value, loc=loc))

    def converted(self, x: Operand, source: DType, target: DType, loc: Loc) -> Operand:
        return x if source is target else self.expand(template(_CAST, (source,), target), [x], loc)

    # ---- maps and views

    def map(self, made: Template, operands: Sequence[Array], out: Aval, loc: Loc) -> Small | Virtual:
        lanes = any([x.lanes for x in operands])
        shape = self.stripped(out.shape) if lanes else out.shape
        if shape is None:
            raise NotScalarError(f"an array of type {out}")
        if prod(shape) > MOST_ELEMENTS:
            return self.wide_map(made, operands, shape, out.dtype, lanes, loc)
        rows: list[Sequence[Operand]] = []
        for x in operands:
            y = self.small(x, loc)
            if y.shape == shape:
                rows.append(y.atoms)
            elif len(y.atoms) == 1 and not y.shape:
                rows.append(y.atoms * prod(shape))
            else:
                raise NotScalarError(f"arrays of shapes {y.shape} and {shape}, with and without the axes of a batch")
        atoms = [self.expand(made, list(row), loc) for row in zip(*rows, strict=True)]
        return Small(shape, out.dtype, tuple(atoms), lanes)

    def wide_map(
        self, made: Template, operands: Sequence[Array], shape: Shape, dtype: DType, lanes: bool, loc: Loc
    ) -> Virtual:
        """An elementwise operation on arrays that are too large for registers: in lanes, where that pays."""
        if not self.space or any([x.shape not in (shape, ()) for x in operands]):
            raise NotScalarError(f"an array of shape {shape}")

        def element(at: Coords) -> Operand:
            row = [x.atoms[0] if type(x) is Small else self.read(x, at if x.shape else (), loc) for x in operands]
            return self.expand(made, row, loc)

        return Virtual(shape, dtype, element, lanes)

    def view(self, x: Array, dims: Sequence[AffineDim], out: Aval, loc: Loc) -> Array:
        n = len(self.space)
        shape = self.stripped(out.shape)
        if x.lanes:
            own = [AffineDim(0, ((a, 1),)) if size != 1 else dims[a] for a, size in enumerate(self.space)]
            if shape is None or list(dims[:n]) != own:
                raise NotScalarError("a view that moves the axes of a batch")
            dims = dims[n:]
        lanes = x.lanes
        if shape is not None and not any([a < n for d in dims for a, _ in d.terms]):
            dims = [AffineDim(d.offset, tuple([(a - n, s) for a, s in d.terms])) for d in dims]
            lanes = True
        elif x.lanes:
            raise NotScalarError("a view that mixes the axes of a batch with others")
        else:
            shape = out.shape
        if type(x) is InMemory:
            start = combine(
                x.start[0], [((0, x.start[1]), 1), *[((d.offset, ()), s) for d, s in zip(dims, x.strides, strict=True)]]
            )
            strides = [0] * len(shape)
            for d, stride in zip(dims, x.strides, strict=True):
                for axis, step in d.terms:
                    strides[axis] += stride * step
            return InMemory(shape, x.dtype, x.buffer, start, tuple(strides), lanes, x.depth)
        if prod(shape) > MOST_ELEMENTS or type(x) is Virtual:
            return self.wide_view(x, tuple(dims), shape, lanes, loc)
        y = self.small(x, loc)
        chosen = [y.atoms[position_of(seen(dims, at), y.shape)] for at in places(shape)]
        return Small(shape, y.dtype, tuple(chosen), lanes)

    def wide_view(self, x: Array, dims: tuple[AffineDim, ...], shape: Shape, lanes: bool, loc: Loc) -> Virtual:
        if type(x) is Small:
            if len(x.atoms) != 1 or not self.space:
                raise NotScalarError(f"an array of shape {shape}")
            atom = x.atoms[0]
            return Virtual(shape, x.dtype, lambda _: atom, lanes)
        return Virtual(shape, x.dtype, lambda at: self.read(x, compose(dims, at), loc), lanes)

    def reshape(self, x: Array, out: Aval, loc: Loc) -> Array:
        shape = self.stripped(out.shape) if x.lanes else out.shape
        if shape is None:
            raise NotScalarError("a reshape of the axes of a batch")
        if type(x) is InMemory:
            dims = reshape_view(x.shape, shape)
            if dims is not None:
                strides = [0] * len(shape)
                for d, stride in zip(dims, x.strides, strict=True):
                    for axis, step in d.terms:
                        strides[axis] += stride * step
                return InMemory(shape, x.dtype, x.buffer, x.start, tuple(strides), x.lanes, x.depth)
        y = self.small(x, loc)
        return Small(shape, y.dtype, y.atoms, y.lanes)

    def iota(self, axis: int, out: Aval, loc: Loc) -> Small | Virtual:
        if out.ndim == 1 and out.shape != self.space and out.size > UNROLLED:
            return Virtual(out.shape, out.dtype, lambda at: self.position(out.dtype, at[0], loc))
        shape = self.stripped(out.shape)
        if shape is not None and axis < len(self.space):
            at = self.position(out.dtype, (0, ((self.space_variables[axis], 1),)), loc)
            return Small(shape, out.dtype, (at,) * prod(shape), True)
        if shape is not None:
            axis -= len(self.space)
        found = out.shape if shape is None else shape
        if prod(found) > MOST_ELEMENTS:
            raise NotScalarError(f"an iota of shape {found}")
        return Small(found, out.dtype, tuple([literal(at[axis], out.dtype) for at in places(found)]), shape is not None)

    def pieces(self, lowering: forms.Pieces, operands: list[Array], out: Aval, loc: Loc) -> Small:
        lanes = any([x.lanes for x in operands])
        n = len(self.space) if lanes else 0
        shape = self.stripped(out.shape) if lanes else out.shape
        if shape is None or prod(shape) > MOST_ELEMENTS:
            raise NotScalarError(f"an array of type {out} put together of parts")
        atoms: dict[int, Operand] = {}
        for piece in lowering.pieces:
            part = self.small(operands[piece.operand], loc)
            if lanes and (not part.lanes or any(piece.offsets[:n]) or any([s != 1 for s in piece.steps[:n]])):
                raise NotScalarError("parts put together along the axes of a batch")
            for at in places(part.shape):
                there = [o + s * i for o, s, i in zip(piece.offsets[n:], piece.steps[n:], at, strict=True)]
                if all([0 <= i < size for i, size in zip(there, shape, strict=True)]):
                    atoms[position_of(there, shape)] = part.atoms[position_of(at, part.shape)]
        if lowering.fill is not None:
            (fill,) = self.small(operands[lowering.fill], loc).atoms
            atoms = {k: atoms.get(k, fill) for k in range(prod(shape))}
        return Small(shape, out.dtype, tuple([atoms[k] for k in range(prod(shape))]), lanes)


def check_alike(x: Small, y: Small) -> None:
    """Raise if ``y``, which takes the place of ``x``, has other axes, or those of the batch where ``x`` has none."""
    if x.shape != y.shape or (y.lanes and not x.lanes):
        raise NotScalarError(
            f"values of shapes {x.shape} and {y.shape} in one place, with and without the axes of a batch"
        )


def scalar(x: Atom) -> Small:
    """A literal as an array without axes."""
    assert isinstance(x, Literal), "a value has a number"
    return Small((), x.dtype, (x,), False)


def slice_of(x: Array, t: int) -> Small:
    """Number ``t`` of the slices of ``x`` along its first axis."""
    assert type(x) is Small, "only what is in registers is unrolled"
    size = prod(x.shape[1:])
    return Small(x.shape[1:], x.dtype, x.atoms[t * size : (t + 1) * size], x.lanes)
