"""Loops whose bodies are scalar arithmetic, as statements: carried values live in registers.

A loop over small arrays (states of a few numbers, matrices of two rows) is written element by element: its carried values
are ``last`` carries of a `Loop` or `While`, so that no turn goes through memory but for what is read and stacked. A batch
of such loops (its axes lead in every array, and no operation mixes its members) is one loop over the batch, in lanes,
around the loop over the turns.

`Writer` walks the graphs of bodies. It raises `NotScalarError` where a body holds what is no scalar arithmetic (products of
larger matrices, sorting, wide arrays); the loop is then made of steps.

Walk of one example, ``scan(lambda c, x: (c * w + x, c), c0, xs)`` over ``xs: f64[100]``::

    for t in 100, s0: f64 = last(t0, t3):
      t1 = xs[t]
      t2: f64 = mul(s0, w)
      t3: f64 = add(t2, t1)
      ys[t] = s0
    last[0] = s0
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Final

from graphad.backends.loops.ir import Carry, Load, Loop, Operand, Statement, Store, While
from graphad.backends.lower.affine import ZERO, Coordinate, Coords, Shape, combine, compose, reshape_view, row_major
from graphad.backends.lower.scalars import ACCUMULATORS, SCAN_STEPS, Template, copy_template, identity_of, template
from graphad.backends.lower.scopes import Scope, Scopes, index_of
from graphad.ir import lowering as forms
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, Lowering, parse_scalar
from graphad.ir.types import Aval, DType, Literal, b1, i64, literal
from graphad.primitives.indexing import fill_literal

#: Arrays of more elements are not written element by element, nor bodies of more statements.
MOST_ELEMENTS: Final = 64
MOST_STATEMENTS: Final = 6000
#: A product of matrices of more multiplications is left to BLAS.
MOST_PRODUCTS: Final = 256
#: Loops of at most so many turns inside a loop are unrolled where what they run over is in registers.
UNROLLED: Final = 8

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


class Writer(Scopes):
    """Writes the statements of one loop, with all that is inside it.

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
            return x.atoms[_position(at, x.shape)]
        return self.read(x, tuple([(i, ()) for i in at]), loc)

    def read(self, x: Array, at: Coords, loc: Loc, dynamic: str | None = None) -> Operand:
        """The element of an array that is not in registers, at coordinates in loop variables."""
        if type(x) is Virtual:
            return x.element(at)
        assert type(x) is InMemory, "what is in registers has no coordinates"
        offset, _ = where = combine(x.start[0], [((0, x.start[1]), 1), *zip(at, x.strides, strict=True)])
        del offset
        depth = max(self.depth(where), x.depth)
        if dynamic is not None:
            depth = max(depth, self.depth_of[dynamic])
        return self.load(x.buffer, index_of(where), dynamic, depth, loc)

    def small(self, x: Array, loc: Loc) -> Small:
        """``x`` in registers."""
        if x.turns:
            raise NotScalarError("an array of all turns of a batch")
        if type(x) is Small:
            return x
        if prod(x.shape) > MOST_ELEMENTS:
            raise NotScalarError(f"an array of shape {x.shape}")
        return Small(x.shape, x.dtype, tuple([self.element(x, at, loc) for at in _places(x.shape)]), x.lanes)

    def member(self, buffer: str, shape: Shape, dtype: DType, start: Coordinate, strides: Shape, lanes: bool) -> InMemory:
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

    # ---- graphs

    def graph(self, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
        """The statements of ``graph``; its outputs."""
        values: list[Any] = [*inputs, *([None] * (len(graph.avals) - graph.n_inputs))]
        for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
            operands = [values[a] if type(a) is int else _scalar(a) for a in eqn.inputs]
            types = tuple([graph.avals[a] if type(a) is int else a.type for a in eqn.inputs])  # type: ignore[union-attr]
            outs = [graph.avals[o] for o in eqn.outputs]
            for o, result in zip(eqn.outputs, self.equation(eqn, types, operands, outs, loc), strict=True):
                values[o] = result
        return [values[a] if type(a) is int else _scalar(a) for a in graph.outputs]

    def equation(
        self, eqn: Eqn, types: tuple[Any, ...], operands: list[Array], outs: list[Aval], loc: Loc
    ) -> Sequence[Array]:
        lowering: Lowering | None = eqn.primitive.lower(types, eqn.params)
        if eqn.primitive.region_rules is None and any([x.turns for x in operands]):
            raise NotScalarError("an array of all turns of a batch that is not just run over")
        match lowering:
            case forms.Map(results=results):
                dtypes = tuple([x.dtype for x in operands])
                return [
                    self.map(template(s, dtypes, out.dtype), operands, out, loc)
                    for s, out in zip(results, outs, strict=True)
                ]
            case forms.Inline():
                return self.graph(eqn.regions[0], operands)
            case forms.Repeat():
                return self.repeat(lowering, eqn.regions[0], operands, loc)
            case forms.While():
                return self.while_(lowering, eqn, operands, loc)
            case forms.Branch():
                return self.branch(lowering, eqn, operands, loc)
            case _:
                named = eqn.primitive.named(eqn.params)
                return [self.array(eqn.primitive.name, lowering, named, operands, outs[0], loc)]

    def array(
        self, name: str, lowering: Lowering | None, params: dict[str, Any], operands: list[Array], out: Aval, loc: Loc
    ) -> Array:
        """An equation of one result that is no map and has no regions."""
        match lowering:
            case forms.View(index=dims):
                return self.view(operands[0], dims, out, loc)
            case forms.Reshape():
                return self.reshape(operands[0], out, loc)
            case forms.Iota(axis=axis):
                return self.iota(axis, out, loc)
            case forms.Pieces():
                return self.pieces(lowering, operands, out, loc)
            case forms.Reduce(combine=how, axes=axes):
                return self.reduce(how, axes, operands[0], out, loc)
            case forms.Scan(combine=how, axis=axis, reverse=reverse):
                return self.running(how, axis, reverse, operands, out, loc)
            case forms.Contract():
                return self.contract(lowering, operands, out, loc)
            case forms.Gather():
                return self.gather(params, operands, out, loc)
            case forms.DynamicSlice(batch=batch):
                return self.dynamic_slice(batch, operands, out, loc)
            case _:
                raise NotScalarError(name)

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
            start = combine(x.start[0], [((0, x.start[1]), 1), *[((d.offset, ()), s) for d, s in zip(dims, x.strides, strict=True)]])
            strides = [0] * len(shape)
            for d, stride in zip(dims, x.strides, strict=True):
                for axis, step in d.terms:
                    strides[axis] += stride * step
            return InMemory(shape, x.dtype, x.buffer, start, tuple(strides), lanes, x.depth)
        if prod(shape) > MOST_ELEMENTS or type(x) is Virtual:
            return self.wide_view(x, tuple(dims), shape, lanes, loc)
        y = self.small(x, loc)
        chosen = [y.atoms[_position(_seen(dims, at), y.shape)] for at in _places(shape)]
        return Small(shape, y.dtype, tuple(chosen), lanes)

    def wide_view(self, x: Array, dims: tuple[AffineDim, ...], shape: Shape, lanes: bool, loc: Loc) -> Virtual:
        if type(x) is Small:
            if len(x.atoms) > 1 or not self.space:
                raise NotScalarError(f"an array of shape {shape}")
            (atom,) = x.atoms
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
        return Small(found, out.dtype, tuple([literal(at[axis], out.dtype) for at in _places(found)]), shape is not None)

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
            for at in _places(part.shape):
                there = [o + s * i for o, s, i in zip(piece.offsets[n:], piece.steps[n:], at, strict=True)]
                if all([0 <= i < size for i, size in zip(there, shape, strict=True)]):
                    atoms[_position(there, shape)] = part.atoms[_position(at, part.shape)]
        if lowering.fill is not None:
            (fill,) = self.small(operands[lowering.fill], loc).atoms
            atoms = {k: atoms.get(k, fill) for k in range(prod(shape))}
        return Small(shape, out.dtype, tuple([atoms[k] for k in range(prod(shape))]), lanes)

    # ---- reductions and products

    def reduce(self, how: str, axes: Shape, x: Array, out: Aval, loc: Loc) -> Small:
        n = len(self.space) if x.lanes else 0
        if any([a < n for a in axes]):
            raise NotScalarError("a reduction over the axes of a batch")
        if prod(x.shape) > MOST_ELEMENTS and self.space:
            return self.wide_reduce(how, [a - n for a in axes], x, out, loc)
        y = self.small(x, loc)
        kept = [a for a in range(len(y.shape)) if a + n not in axes]
        shape = tuple([y.shape[a] for a in kept])
        groups: dict[int, list[tuple[Shape, Operand]]] = {k: [] for k in range(prod(shape))}
        for at, atom in zip(_places(y.shape), y.atoms, strict=True):
            groups[_position([at[a] for a in kept], shape)].append((at, atom))
        if how in ("argmax", "argmin"):
            (axis,) = axes
            atoms = [self.first_extreme(how, [(at[axis - n], a) for at, a in g], y.dtype, out.dtype, loc) for g in groups.values()]
        else:
            atoms = [self.combined(how, [a for _, a in g], y.dtype, loc) for g in groups.values()]
        return Small(shape, out.dtype, tuple(atoms), y.lanes)

    def wide_reduce(self, how: str, axes: Sequence[int], x: Array, out: Aval, loc: Loc) -> Small:
        """Loops that reduce an array too large for registers to one number."""
        if len(axes) < len(x.shape) or how.startswith("arg") or out.dtype in ACCUMULATORS:
            raise NotScalarError(f"a reduction of an array of shape {x.shape}")
        variables = [self.open_loop() for _ in x.shape]
        operand: Operand = self.read(x, tuple([(0, ((v, 1),)) for v in variables]), loc)
        for variable, extent in reversed(list(zip(variables, x.shape, strict=True))):
            name = self.name("s", len(self.scopes) - 1)
            carry = Carry(name, out.dtype, how, identity_of(how, out.dtype), operand)  # type: ignore[arg-type]
            self.close_loop(lambda body, v=variable, e=extent, c=carry: Loop(v, e, body, (c,), loc=loc), (carry,))
            operand = name
        return Small((), out.dtype, (operand,), x.lanes)

    def combined(self, how: str, atoms: Sequence[Operand], dtype: DType, loc: Loc) -> Operand:
        """``atoms`` combined in order; 16-bit floats are summed in f32."""
        wide = ACCUMULATORS.get(dtype, dtype) if how in ("sum", "prod") else dtype
        if how in ("and", "or"):
            step = template(parse_scalar("{0} & {1}" if how == "and" else "{0} | {1}"), (dtype, dtype), dtype)
        else:
            step = template(SCAN_STEPS[how], (wide, wide), wide)
        total: Operand | None = None
        for a in atoms:
            x = self.converted(a, dtype, wide, loc)
            total = x if total is None else self.expand(step, [total, x], loc)
        return self.converted(identity_of(how, wide) if total is None else total, wide, dtype, loc)

    def converted(self, x: Operand, source: DType, target: DType, loc: Loc) -> Operand:
        return x if source is target else self.expand(template(_CAST, (source,), target), [x], loc)

    def first_extreme(
        self, how: str, candidates: Sequence[tuple[int, Operand]], dtype: DType, out: DType, loc: Loc
    ) -> Operand:
        """The first position of the extremum, or of a nan, if there is one."""
        op = "gt" if how == "argmax" else "lt"
        (first, best), *others = candidates
        where: Operand = literal(first, out)
        for at, x in others:
            better = self.let(op, b1, (x, best), loc)
            if dtype.is_float:
                is_nan, found = self.let("ne", b1, (x, x), loc), self.let("eq", b1, (best, best), loc)
                better = self.let("or", b1, (better, is_nan), loc)
                better = self.let("and", b1, (better, found), loc)
            best = self.let("select", dtype, (better, x, best), loc)
            where = self.let("select", out, (better, literal(at, out), where), loc)
        return where

    def running(
        self, how: str, axis: int, reverse: bool, operands: list[Array], out: Aval, loc: Loc
    ) -> Small:
        lanes = operands[0].lanes
        axis -= len(self.space) if lanes else 0
        if axis < 0 or any([x.lanes != lanes for x in operands]):
            raise NotScalarError("a scan along the axes of a batch")
        rows = [self.small(x, loc) for x in operands]
        shape, dtype = rows[0].shape, out.dtype
        wide = ACCUMULATORS.get(dtype, dtype)
        step = template(SCAN_STEPS[how], (wide,) * (1 + len(rows)), wide)
        atoms: dict[int, Operand] = {}
        for at in _places(tuple([1 if a == axis else n for a, n in enumerate(shape)])):
            total: Operand = identity_of(how, wide)
            for k in reversed(range(shape[axis])) if reverse else range(shape[axis]):
                here = _position([k if a == axis else i for a, i in enumerate(at)], shape)
                xs = [self.converted(r.atoms[here], dtype, wide, loc) for r in rows]
                total = self.expand(step, [total, *xs], loc)
                atoms[here] = self.converted(total, wide, dtype, loc)
        return Small(shape, dtype, tuple([atoms[k] for k in range(prod(shape))]), lanes)

    def contract(self, lowering: forms.Contract, operands: list[Array], out: Aval, loc: Loc) -> Small:
        n = len(self.space)
        sides = [self.small(x, loc) for x in operands]
        lanes = any([x.lanes for x in sides])
        contract, batch = [list(c) for c in lowering.contract], [list(b) for b in lowering.batch]
        if lanes:
            for k, x in enumerate(sides):
                if x.lanes:
                    own = all([s.lanes for s in sides])
                    if own and batch[k][:n] != list(range(n)):
                        raise NotScalarError("a product over the axes of a batch")
                    if not own and (k or batch[k] or any([a < n for a in contract[k]])):
                        raise NotScalarError("a product over the axes of a batch")
                    contract[k] = [a - n for a in contract[k]]
                    batch[k] = [a - n for a in batch[k][n if own else 0 :]]
        shape = self.stripped(out.shape) if lanes else out.shape
        left, right = sides
        summed = tuple([left.shape[a] for a in contract[0]])
        if shape is None or prod(shape) * prod(summed) > MOST_PRODUCTS or prod(shape) > MOST_ELEMENTS:
            raise NotScalarError(f"a product of type {out}")
        free = [[a for a in range(len(x.shape)) if a not in batch[k] and a not in contract[k]] for k, x in enumerate(sides)]
        dtype = out.dtype
        wide = ACCUMULATORS.get(dtype, dtype)
        atoms: list[Operand] = []
        n_batch, n_left = len(batch[0]), len(free[0])
        for at in _places(shape):
            groups = (at[:n_batch], at[n_batch : n_batch + n_left], at[n_batch + n_left :])
            terms: list[Operand] = []
            for inner in _places(summed):
                pair: list[Operand] = []
                for k, x in enumerate(sides):
                    place = dict(zip(batch[k], groups[0], strict=True)) | dict(zip(contract[k], inner, strict=True))
                    place |= dict(zip(free[k], groups[1 + k], strict=True))
                    atom = x.atoms[_position([place[a] for a in range(len(x.shape))], x.shape)]
                    pair.append(self.converted(atom, x.dtype, wide, loc))
                terms.append(self.let("mul", wide, (pair[0], pair[1]), loc))
            total: Operand = terms[0] if terms else literal(0, wide)
            for term in terms[1:]:
                total = self.let("add", wide, (total, term), loc)
            atoms.append(self.converted(total, wide, dtype, loc))
        return Small(shape, dtype, tuple(atoms), lanes)

    # ---- computed positions

    def clamped(self, index: Operand, source: DType, limit: int, loc: Loc) -> tuple[Operand, Operand]:
        """An index within ``0 .. limit``, and whether it was."""
        wide = self.converted(index, source, i64, loc)
        low, high = literal(0, i64), literal(limit, i64)
        above, below = self.let("ge", b1, (wide, low), loc), self.let("le", b1, (wide, high), loc)
        inside = self.let("and", b1, (above, below), loc)
        return self.let("minimum", i64, (self.let("maximum", i64, (wide, low), loc), high), loc), inside

    def at_dynamic(self, x: Array, at: Sequence[int], moved: dict[int, Operand], loc: Loc) -> Operand:
        """The element at ``at``, moved along some axes by numbers that are known when it runs, within bounds."""
        if type(x) is InMemory:
            total: Operand | None = None
            for axis, by in moved.items():
                term = by
                if x.strides[axis] != 1:
                    term = self.let("mul", i64, (by, literal(x.strides[axis], i64)), loc)
                total = term if total is None else self.let("add", i64, (total, term), loc)
            if type(total) is not str:
                raise NotScalarError("a constant index")
            return self.read(x, tuple([(i, ()) for i in at]), loc, total)
        y = self.small(x, loc)
        candidates: list[tuple[Operand | None, Operand]] = [(None, y.atoms[_position(at, y.shape)])]
        axes = list(moved)
        for offsets in product(*[range(y.shape[a] - at[a]) for a in axes]):
            if any(offsets):
                there = list(at)
                here: Operand | None = None
                for a, o in zip(axes, offsets, strict=True):
                    there[a] += o
                    is_here = self.let("eq", b1, (moved[a], literal(o, i64)), loc)
                    here = is_here if here is None else self.let("and", b1, (here, is_here), loc)
                candidates.append((here, y.atoms[_position(there, y.shape)]))
        found = candidates[0][1]
        for here, atom in candidates[1:]:
            assert here is not None, "only the first has no condition"
            found = self.let("select", y.dtype, (here, atom, found), loc)
        return found

    def dynamic_slice(self, batch: int, operands: list[Array], out: Aval, loc: Loc) -> Small:
        x, *starts = operands
        lanes = any([y.lanes for y in operands])
        shape = self.stripped(out.shape) if lanes else out.shape
        if shape is None or (lanes and batch != len(self.space)) or prod(shape) > MOST_ELEMENTS:
            raise NotScalarError(f"a slice of type {out}")
        if not lanes and batch:
            raise NotScalarError("a batch of slices")
        moved: dict[int, Operand] = {}
        for axis, start in enumerate(starts):
            room = x.shape[axis] - shape[axis]
            if room:
                moved[axis] = self.clamped(self.small(start, loc).atoms[0], start.dtype, room, loc)[0]
        if not moved:
            return self.small(x, loc)
        atoms = [self.at_dynamic(x, at, moved, loc) for at in _places(shape)]
        return Small(shape, out.dtype, tuple(atoms), lanes)

    def gather(self, params: dict[str, Any], operands: list[Array], out: Aval, loc: Loc) -> Small:
        x, indices = operands
        axes, batch, mode = params["axes"], params["batch"], params["mode"]
        n = len(self.space)
        lanes = x.lanes or indices.lanes
        if lanes and not x.lanes:  # one array, read by all members at their own places: the positions lead
            if batch or not indices.lanes:
                raise NotScalarError("a gather of another batch")
        elif lanes:
            if batch != n or not indices.lanes:
                raise NotScalarError("a gather of another batch")
            axes, batch = tuple([a - n for a in axes]), 0
        shape = self.stripped(out.shape) if lanes else out.shape
        if shape is None or batch or prod(shape) > MOST_ELEMENTS or any([x.shape[a] == 0 for a in axes]):
            raise NotScalarError(f"a gather of type {out}")
        places = self.small(indices, loc)
        n_positions = len(places.shape) - 1
        window = [a for a in range(len(x.shape)) if a not in axes]
        atoms: list[Operand] = []
        for at in _places(shape):
            moved: dict[int, Operand] = {}
            valid: Operand | None = None
            for number, axis in enumerate(axes):
                index = places.atoms[_position([*at[:n_positions], number], places.shape)]
                moved[axis], inside = self.clamped(index, places.dtype, x.shape[axis] - 1, loc)
                valid = inside if valid is None else self.let("and", b1, (valid, inside), loc)
            base = [0] * len(x.shape)
            for a, i in zip(window, at[n_positions:], strict=True):
                base[a] = i
            found = self.at_dynamic(x, base, moved, loc) if moved else self.element(x, tuple(base), loc)
            if mode != "clip" and valid is not None:
                found = self.let("select", out.dtype, (valid, found, fill_literal(mode, out.dtype)), loc)
            atoms.append(found)
        return Small(shape, out.dtype, tuple(atoms), lanes)

    # ---- loops inside

    def carried(self, x: Array, a: Aval, loc: Loc) -> Small:
        """A value that a loop carries, in registers; in a batch it has the axes of the batch."""
        y = self.small(x, loc)
        return Small(y.shape, a.dtype, y.atoms, y.lanes or self.stripped(a.shape) is not None)

    def names(self, x: Small, depth: int) -> Small:
        return Small(x.shape, x.dtype, tuple([self.name("s", depth) for _ in x.atoms]), x.lanes)

    def repeat(self, p: forms.Repeat, region: Graph, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """A loop of a known number of turns: unrolled if it is short and runs over registers, else a `Loop`."""
        first_x = p.n_consts + p.n_carry
        consts, xs = operands[: p.n_consts], operands[first_x:]
        starts = [
            self.carried(x, a, loc) for x, a in zip(operands[p.n_consts : first_x], region.in_avals[p.n_consts : first_x], strict=True)
        ]
        if p.length <= UNROLLED and all([type(x) is Small for x in xs]) and not self.is_outermost():
            return self.unrolled(p, region, consts, starts, xs, loc)
        return self.loop(p, region, consts, starts, [self.laid_out(x, loc) for x in xs], None, loc)

    def is_outermost(self) -> bool:
        return len(self.scopes) == 1 + len(self.space)

    def laid_out(self, x: Array, loc: Loc) -> Array:
        if type(x) is not Small:
            return x
        made = self.fresh(x.shape, x.dtype, x.lanes)
        made.turns = x.turns
        for at, atom in zip(_places(x.shape), x.atoms, strict=True):
            self.store(made, tuple([(i, ()) for i in at]), atom, loc)
        return made

    def unrolled(
        self, p: forms.Repeat, region: Graph, consts: Sequence[Array], carried: list[Any], xs: Sequence[Array], loc: Loc
    ) -> list[Array]:
        self.check_turns(xs)
        ys: dict[int, list[Small]] = {}
        for t in reversed(range(p.length)) if p.reverse else range(p.length):
            slices = [_slice(x, t) for x in xs]
            outs = self.graph(region, [*consts, *carried, *slices])
            carried = [self.carried(o, a, loc) for o, a in zip(outs, region.out_avals[: p.n_carry], strict=False)]
            ys[t] = [self.small(y, loc) for y in outs[p.n_carry :]]
        stacked: list[Array] = []
        for k, a in enumerate(region.out_avals[p.n_carry :]):
            parts = [ys[t][k] for t in range(p.length)]
            lanes = any([y.lanes for y in parts])
            shape = parts[0].shape if parts else a.shape
            stacked.append(Small((p.length, *shape), a.dtype, tuple([x for y in parts for x in y.atoms]), lanes, lanes))
        return [*carried, *stacked]

    def loop(
        self,
        p: forms.Repeat,
        region: Graph,
        consts: Sequence[Array],
        starts: Sequence[Small],
        xs: Sequence[Array],
        targets: Sequence[InMemory] | None,
        loc: Loc,
    ) -> list[Array]:
        """A `Loop`; what is stacked goes to ``targets``, or to new arrays."""
        self.check_turns(xs)
        depth = len(self.scopes)
        made = [
            self.fresh((p.length, *self.stacked_shape(a)), a.dtype, bool(self.space)) if targets is None else targets[k]
            for k, a in enumerate(region.out_avals[p.n_carry :])
        ]
        variable = self.open_loop()
        names = [self.names(s, depth) for s in starts]
        turn: Coordinate = (0, ((variable, 1),))
        slices = [self.turned(x, turn, loc) for x in xs]
        outs = self.graph(region, [*consts, *names, *slices])
        carries: list[Carry] = []
        for s, name, out in zip(starts, names, outs[: p.n_carry], strict=True):
            update = self.small(out, loc)
            check_alike(s, update)
            for init, own, next_ in zip(s.atoms, name.atoms, update.atoms, strict=True):
                carries.append(Carry(str(own), s.dtype, "last", init, next_))
        for to, y in zip(made, outs[p.n_carry :], strict=True):
            to.turns = to.lanes
            if to.shape[1:] != y.shape or y.turns:
                raise NotScalarError(f"slices of shapes {y.shape} and {to.shape[1:]}")
            self.stack(to, turn, y, loc)
        self.close_loop(
            lambda body: Loop(variable, p.length, body, tuple(carries), reverse=p.reverse, loc=loc), carries
        )
        return [*names, *made]

    @staticmethod
    def check_turns(xs: Sequence[Array]) -> None:
        """Raise if an array to run over has the axes of the batch first, in place of that of the turns."""
        if any([x.lanes and not x.turns for x in xs]):
            raise NotScalarError("an array to run over that has the axes of a batch first")

    def stacked_shape(self, a: Aval) -> Shape:
        """The shape of a slice that is stacked: of one member, where it has the axes of the batch."""
        stripped = self.stripped(a.shape)
        return a.shape if stripped is None else stripped

    def stack(self, to: InMemory, turn: Coordinate, y: Array, loc: Loc) -> None:
        """Store ``y`` at its turn."""
        if type(y) is Small:
            for at, atom in zip(_places(y.shape), y.atoms, strict=True):
                self.store(to, (turn, *[(i, ()) for i in at]), atom, loc)
            return
        self.copy(to, (turn,), y, (), loc)

    def copy(self, to: InMemory, before: Coords, y: Array, at: Coords, loc: Loc) -> None:
        """Loops that store the elements of an array in memory."""
        if len(at) == len(y.shape):
            self.store(to, (*before, *at), self.read(y, at, loc), loc)
            return
        extent = y.shape[len(at)]
        if extent == 1:
            self.copy(to, before, y, (*at, ZERO), loc)
            return
        variable = self.open_loop()
        self.copy(to, before, y, (*at, (0, ((variable, 1),))), loc)
        self.close_loop(lambda body: Loop(variable, extent, body, loc=loc), ())

    def turned(self, x: Array, turn: Coordinate, loc: Loc) -> Array:
        """The slice of ``x`` at ``turn``."""
        if type(x) is InMemory:
            start = combine(x.start[0], [((0, x.start[1]), 1), (turn, x.strides[0])])
            return InMemory(x.shape[1:], x.dtype, x.buffer, start, x.strides[1:], x.lanes, x.depth)
        if len(x.shape) == 1:
            return Small((), x.dtype, (self.read(x, (turn,), loc),), x.lanes)
        return Virtual(x.shape[1:], x.dtype, lambda at: self.read(x, (turn, *at), loc), x.lanes)

    def while_(self, p: forms.While, eqn: Eqn, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """A `While`; in lanes, each of them keeps its values once its test has failed."""
        test, body = eqn.regions
        first = p.n_test_consts + p.n_body_consts
        test_consts, body_consts = operands[: p.n_test_consts], operands[p.n_test_consts : first]
        starts = [self.carried(x, a, loc) for x, a in zip(operands[first:], body.out_avals, strict=True)]
        goes_on = self.small(self.graph(test, [*test_consts, *starts])[0], loc)
        begins = self.one(goes_on)
        if self.guarded is not None:
            begins = self.let("and", b1, (begins, self.guarded), loc)
        self.open_loop()
        around, self.guarded = self.guarded, None
        depth = len(self.scopes) - 1
        condition, turns = self.name("s", depth), self.name("s", depth)
        names = [self.names(s, depth) for s in starts]
        if self.space:
            self.guarded = condition
        outs = [self.small(x, loc) for x in self.graph(body, [*body_consts, *names])]
        for s, o in zip(starts, outs, strict=True):
            check_alike(s, o)
        outs = [Small(o.shape, o.dtype, o.atoms, s.lanes) for o, s in zip(outs, starts, strict=True)]
        again = self.one(self.small(self.graph(test, [*test_consts, *outs])[0], loc))
        self.guarded = around
        counted = self.let("add", i64, (turns, literal(1, i64)), loc)
        carries = [Carry(condition, b1, "last", begins, again), Carry(turns, i64, "last", literal(0, i64), counted)]
        for s, name, out in zip(starts, names, outs, strict=True):
            for init, own, update in zip(s.atoms, name.atoms, out.atoms, strict=True):
                carries.append(Carry(str(own), s.dtype, "last", init, update))
        self.close_loop(lambda inside: While(condition, inside, tuple(carries), loc=loc), carries)
        return [*names, Small((), i64, (turns,), goes_on.lanes)]

    @staticmethod
    def one(x: Small) -> Operand:
        """A scalar: one answer, or in lanes one for each of them."""
        if x.shape:
            raise NotScalarError("a batch of answers outside of lanes")
        return x.atoms[0]

    def branch(self, p: forms.Branch, eqn: Eqn, operands: Sequence[Array], loc: Loc) -> list[Array]:
        """Branches: one `While` of at most one turn for each; in lanes all of them run, and the results are selected."""
        index = self.small(operands[0], loc)
        chooser = self.one(index)
        rest = list(operands[1:])
        owned: list[Array] = []
        chosen: list[Small] | None = None
        for k, region in enumerate(eqn.regions):
            here = self.let("eq", b1, (chooser, literal(k, index.dtype)), loc)
            outs = self.selected(region, rest, here, chosen, p.n_chosen, index.lanes, loc)
            chosen, own = outs[: p.n_chosen], outs[p.n_chosen :]
            owned += own
        return [*(chosen or []), *owned]

    def selected(
        self, region: Graph, operands: list[Array], here: Operand, otherwise: list[Small] | None, n_chosen: int,
        lanes: bool, loc: Loc,
    ) -> list[Small]:  # fmt: skip
        """The results of ``region`` where ``here`` holds, else ``otherwise``, which is zero where there is none."""
        if self.space and lanes:
            around = self.guarded
            self.guarded = here if around is None else self.let("and", b1, (here, around), loc)
            outs = [self.small(x, loc) for x in self.graph(region, operands)]
            self.guarded = around
            if otherwise is None:
                return [Small(o.shape, o.dtype, o.atoms, True) for o in outs]
            for o, e in zip(outs, otherwise, strict=False):
                check_alike(e, o)
            picked = [
                Small(o.shape, o.dtype, tuple([self.let("select", o.dtype, (here, a, b), loc) for a, b in zip(o.atoms, e.atoms, strict=True)]), True)
                for o, e in zip(outs, otherwise, strict=False)
            ]
            return [*picked, *outs[n_chosen:]]
        self.open_loop()
        depth = len(self.scopes) - 1
        condition = self.name("s", depth)
        outs = [self.small(x, loc) for x in self.graph(region, operands)]
        carries = [Carry(condition, b1, "last", here, literal(False, b1))]
        results: list[Small] = []
        for k, o in enumerate(outs):
            named = self.names(o, depth)
            if otherwise is not None and k < n_chosen:
                check_alike(otherwise[k], o)
            before = otherwise[k].atoms if otherwise is not None and k < n_chosen else (literal(0, o.dtype),) * len(o.atoms)
            results.append(named)
            for init, own, update in zip(before, named.atoms, o.atoms, strict=True):
                carries.append(Carry(str(own), o.dtype, "last", init, update))
        self.close_loop(lambda inside: While(condition, inside, tuple(carries), loc=loc), carries)
        return results


def check_alike(x: Small, y: Small) -> None:
    """Raise if ``y``, which takes the place of ``x``, has other axes, as one that has those of the batch where ``x`` has not."""
    if x.shape != y.shape or (y.lanes and not x.lanes):
        raise NotScalarError(f"values of shapes {x.shape} and {y.shape} in one place, with and without the axes of a batch")


def _scalar(x: Literal) -> Small:
    return Small((), x.dtype, (x,), False)


def _slice(x: Array, t: int) -> Small:
    assert type(x) is Small, "only what is in registers is unrolled"
    size = prod(x.shape[1:])
    return Small(x.shape[1:], x.dtype, x.atoms[t * size : (t + 1) * size], x.lanes)


def _places(shape: Shape) -> list[Shape]:
    return list(product(*map(range, shape)))


def _seen(dims: Sequence[AffineDim], at: Shape) -> Shape:
    return tuple([d.offset + sum([step * at[axis] for axis, step in d.terms]) for d in dims])


def _position(at: Sequence[int], shape: Shape) -> int:
    return sum([i * stride for i, stride in zip(at, row_major(shape), strict=True)])


__all__ = ["InMemory", "Load", "NotScalarError", "Small", "Virtual", "Writer", "copy_template"]
