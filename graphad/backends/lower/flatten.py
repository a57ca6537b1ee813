"""``Graph -> FlatProgram``: regions inlined, and each equation rewritten into the forms of `definitions`.

Inlined equations are not value-numbered: what a ``remat`` recomputes must stay recomputed.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from graphad_kernels.routines import ROUTINES

from graphad.backends.lower import indexing, matmul
from graphad.backends.lower.affine import Shape, axes_view
from graphad.backends.lower.definitions import (
    ConstantValue,
    CutPiece,
    FlatProgram,
    InputValue,
    IotaValue,
    MapValue,
    PiecesValue,
    ReduceValue,
    ScanValue,
    cut_piece,
)
from graphad.backends.lower.effects import between_loops, prints_are_calls
from graphad.backends.lower.elements import Elements, ScalarReplacement, Value
from graphad.backends.lower.operands import Operands
from graphad.backends.lower.regions import region
from graphad.backends.lower.registers.nest import whole
from graphad.backends.lower.routine_calls import RoutineLowering
from graphad.backends.lower.scalars import ACCUMULATORS, Template, identity_of, template
from graphad.backends.traits import Traits
from graphad.errors import GraphadError, LoweringError, at
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.lowering import (
    AffineDim,
    Barrier,
    Branch,
    Contract,
    Convolve,
    Counted,
    DynamicSlice,
    DynamicUpdate,
    Effect,
    Gather,
    Host,
    Inline,
    Iota,
    Lowering,
    Map,
    Pieces,
    Reduce,
    Repeat,
    Reshape,
    Routine,
    Scan,
    Scatter,
    View,
    While,
    Window,
    parse_scalar,
)
from graphad.ir.types import Aval, Literal, OperandType, aval, literal

_BETWEEN_LOOPS: Final = (Effect, Host, Barrier)
_EXTREMUM_AT: Final = parse_scalar("select(({0} == {1}) | ({0} != {0}), {2}, {3})")


def flatten(graph: Graph, traits: Traits) -> FlatProgram:
    """The definitions of everything that ``graph`` computes, for a machine with these traits.

    Raises
    ------
    LoweringError
        Where an equation has no lowering, naming it and the user's line.
    """
    flat = FlatProgram(traits)
    flat.prints_are_calls = prints_are_calls(graph)
    inputs: list[Atom] = [flat.add(InputValue(a, None, k)) for k, a in enumerate(graph.in_avals)]
    flat.outputs = whole(flat, graph, inputs) or _flattened(graph, flat, inputs)
    return flat


def _flattened(graph: Graph, flat: FlatProgram, inputs: Sequence[Atom]) -> list[Atom]:
    """Append a graph to a program, on values of it."""
    flattener = _Flattener(flat)
    return flattener.small.arrays(flattener.inline(graph, list(inputs)))


class _Flattener(Operands):
    def __init__(self, flat: FlatProgram) -> None:
        super().__init__(flat)
        self.small = ScalarReplacement(self.flat)
        self.lowered: dict[Any, Lowering | tuple[Template, ...] | None] = {}
        self.families = 0

    def inline(self, graph: Graph, inputs: Sequence[Value]) -> list[Value]:
        """Append the equations of ``graph`` on ``inputs``; its outputs."""
        atoms: list[Value] = [*inputs, *([0] * (len(graph.avals) - graph.n_inputs))]
        avals = graph.avals
        around, self.known = self.known, {}
        for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
            primitive, ins, params, outs, regions = eqn
            operands = [atoms[a] if type(a) is int else a for a in ins]
            types = tuple([avals[a] if type(a) is int else a.type for a in ins])  # type: ignore[union-attr]
            key = (primitive, params, types)
            lowering = self.lowered.get(key)
            if lowering is None:
                lowering = self.lowered[key] = self.lowering(eqn, types, [avals[o] for o in outs], loc)
            if isinstance(lowering, tuple):
                results = self.map(lowering, operands, [avals[o] for o in outs], loc)
            elif type(lowering) is Inline:
                results = self.inline(regions[0], operands)
            elif isinstance(lowering, (Repeat, While, Counted, Branch)):
                arrays, made = self.small.arrays(operands), [avals[o] for o in outs]
                results = region(self.flat, eqn, lowering, arrays, made, _flattened, loc)
            elif type(lowering) in _BETWEEN_LOOPS:
                results = between_loops(self.flat, eqn, self.small.arrays(operands), [avals[o] for o in outs], loc)
            elif type(lowering) is Routine and lowering.name in ROUTINES:
                call = RoutineLowering(self.flat, self.cast, self.view, loc)
                kept = eqn.primitive.had_alone([o in graph.values_read for o in outs])
                arrays, types = self.small.arrays(operands), [avals[o] for o in outs]
                if kept is None or lowering.alone is None:
                    results = call.results(lowering, arrays, types)
                else:
                    results = call.results_alone(lowering, arrays, types, kept)
            elif not outs:
                raise no_lowering(eqn, loc)
            else:
                out = avals[outs[0]]
                result = self.small.equation(lowering, operands, out, loc)
                if result is None:
                    result = self.equation(eqn, lowering, self.small.arrays(operands), out, loc)
                results = [result]
            for o, r in zip(outs, results, strict=True):
                atoms[o] = r
        self.known = around
        return [atoms[a] if type(a) is int else a for a in graph.outputs]

    def lowering(
        self, eqn: Eqn, types: tuple[OperandType, ...], outs: Sequence[Aval], loc: Loc
    ) -> Lowering | tuple[Template, ...] | None:
        """How equations like ``eqn`` are lowered: those of a map to one template per result."""
        try:
            lowering = eqn.primitive.lower(types, eqn.params)
        except GraphadError as error:
            raise type(error)(at(format_loc(loc), str(error))) from None
        if type(lowering) is not Map:
            return lowering
        dtypes = tuple([t.dtype for t in types])
        return tuple([template(s, dtypes, out.dtype) for s, out in zip(lowering.results, outs, strict=True)])

    def equation(self, eqn: Eqn, lowering: Lowering | None, operands: list[Atom], out: Aval, loc: Loc) -> Atom:
        """Append one equation of one result that is neither a map nor a region."""
        match lowering:
            case View(index=dims):
                return self.view(operands[0], dims, out, loc)
            case Reshape():
                return self.reshape(operands[0], out, loc)
            case Iota(axis=axis):
                return self.flat.add(IotaValue(out, loc, axis))
            case Pieces():
                return self.pieces(lowering, operands, out, loc)
            case Reduce(combine=combine, axes=axes):
                return self.reduce(combine, axes, operands[0], out, loc)
            case Window():
                return self.window(lowering, self.flat.value(operands[0], loc), out, loc)
            case Scan():
                return self.scan(lowering, operands, out, loc)
            case Contract():
                return self.cast(matmul.contract(self, operands, lowering, out, loc), out.dtype, loc)
            case Convolve():
                return matmul.convolve(self, operands, lowering, out, loc)
            case Gather():
                return indexing.gather(self.flat, self.values(operands, loc), eqn.primitive.named(eqn.params), out, loc)
            case Scatter(combine=combine):
                params = eqn.primitive.named(eqn.params)
                return indexing.scatter(self.flat, self.values(operands, loc), combine, params, out, loc)
            case DynamicSlice(batch=batch):
                return indexing.dynamic_slice(self.flat, self.values(operands, loc), batch, out, loc)
            case DynamicUpdate(batch=batch):
                return indexing.dynamic_update_slice(self.flat, self.values(operands, loc), batch, out, loc)
            case _:
                raise no_lowering(eqn, loc)

    # ---- forms

    def map(self, templates: tuple[Template, ...], operands: list[Value], outs: list[Aval], loc: Loc) -> list[Value]:
        flat, family = self.flat, None
        if len(outs) > 1:
            family = self.families = self.families + 1
        elif outs[0].shape and any([type(a) is Elements for a in operands]):
            found = self.small.map(templates[0], operands, outs[0], loc)
            if found is not None:
                return [found]
        results: list[Value] = []
        inputs = tuple(self.small.arrays(operands))
        for made, out in zip(templates, outs, strict=True):
            if made.instructions:
                results.append(flat.add(MapValue(out, loc, made, inputs, family)))
            else:  # an operand as it is, or a constant
                same: Atom = inputs[made.result] if type(made.result) is int else made.result
                constant = type(same) is Literal and out.shape
                results.append(flat.add(ConstantValue(out, loc, same)) if constant else same)  # type: ignore[arg-type]
        return results

    def pieces(self, lowering: Pieces, operands: list[Atom], out: Aval, loc: Loc) -> Atom:
        cut: list[CutPiece] = []
        for piece in lowering.pieces:
            operand = self.flat.value(operands[piece.operand], loc)
            part = cut_piece(piece, operand, self.shape(operand), out.shape)
            if part is not None:
                cut.append(part)
        fill = None if lowering.fill is None else operands[lowering.fill]
        if fill is not None and sum(prod(p.extents) for p in cut) == out.size:
            fill = None
        if len(cut) == 1 and fill is None and out.shape:  # one piece alone: a view
            (part,) = cut
            steps = zip(part.first, part.offsets, part.steps, strict=True)
            if all(s == 1 for s in part.steps):
                dims = tuple([AffineDim(lo - at_, ((axis, 1),)) for axis, (lo, at_, _) in enumerate(steps)])
                return self.view(part.operand, dims, out, loc)
        if not cut and fill is not None:
            fill = self.flat.value(fill, loc)
            return self.view(fill, (), out, loc)
        return self.flat.add(PiecesValue(out, loc, tuple(cut), fill))

    def reduce(self, combine: str, axes: tuple[int, ...], atom: Atom, out: Aval, loc: Loc) -> Atom:
        if combine in ("argmax", "argmin"):
            return self.arg_reduce(combine, axes[0], self.flat.value(atom, loc), out, loc)
        if not axes:
            return atom
        operand = self.flat.value(atom, loc)
        source = self.flat.values[operand].aval
        if not source.size:
            return self.view(identity_of(combine, out.dtype), (), out, loc)
        wide = ACCUMULATORS.get(out.dtype, out.dtype) if combine in ("sum", "prod") else out.dtype
        operand = self.widen(operand, wide, loc)
        result = self.flat.add(ReduceValue(aval(out.shape, wide), loc, operand, combine, axes))
        return self.cast(result, out.dtype, loc)

    def arg_reduce(self, combine: str, axis: int, operand: int, out: Aval, loc: Loc) -> Atom:
        shape = self.shape(operand)
        positions = self.flat.add(IotaValue(aval(shape, out.dtype), loc, axis))
        return self.first_hit(combine, (axis,), operand, positions, shape[axis], out, loc)

    def first_hit(
        self, combine: str, axes: Shape, operand: int, positions: Atom, beyond: int, out: Aval, loc: Loc
    ) -> Atom:
        """The least of the ``positions`` over ``axes`` that holds the extremum (or a nan, if there is one).

        All are less than ``beyond``.
        """
        source = self.flat.values[operand].aval
        extremum = self.reduce(combine[3:], axes, operand, aval(out.shape, source.dtype), loc)
        kept = [a for a in range(source.ndim) if a not in axes]
        spread = self.view(extremum, axes_view(kept), source, loc)
        inputs = (operand, spread, positions, literal(beyond, out.dtype))
        scalar = template(_EXTREMUM_AT, (source.dtype, source.dtype, out.dtype, out.dtype), out.dtype)
        hits = self.flat.add(MapValue(aval(source.shape, out.dtype), loc, scalar, inputs))
        return self.reduce("min", axes, hits, out, loc)

    def window(self, lowering: Window, operand: int, out: Aval, loc: Loc) -> Atom:
        """A reduction over a strided view of the windows: no window is copied."""
        source, rank = self.flat.values[operand].aval, out.ndim
        whole, axes = (*out.shape, *lowering.window), tuple(range(rank, 2 * rank))
        steps = zip(lowering.strides, lowering.dilation, strict=True)
        dims = tuple([AffineDim(0, ((a, stride), (rank + a, by))) for a, (stride, by) in enumerate(steps)])
        if not out.size:
            return self.view(literal(0, out.dtype), (), out, loc)
        windows = self.flat.value(self.view(operand, dims, aval(whole, source.dtype), loc), loc)
        if not lowering.combine.startswith("arg"):
            return self.reduce(lowering.combine, axes, windows, out, loc)
        numbers = self.flat.add(IotaValue(aval((source.size,), out.dtype), loc, 0))
        in_order = self.reshape(numbers, aval(source.shape, out.dtype), loc)
        positions = self.view(in_order, dims, aval(whole, out.dtype), loc)
        return self.first_hit(lowering.combine, axes, windows, positions, source.size, out, loc)

    def scan(self, lowering: Scan, operands: list[Atom], out: Aval, loc: Loc) -> Atom:
        wide = ACCUMULATORS.get(out.dtype, out.dtype)
        inputs = tuple([self.flat.value(self.cast(a, wide, loc), loc) for a in operands])
        running = ScanValue(aval(out.shape, wide), loc, inputs, lowering.combine, lowering.axis, lowering.reverse)
        return self.cast(self.flat.add(running), out.dtype, loc)


def no_lowering(eqn: Eqn, loc: Loc) -> LoweringError:
    """The error for an equation that has no compiled form."""
    name = eqn.primitive.name
    message = (
        f"{name} has no lowering to compiled code. Call the function without jit, or give the primitive {name!r} a "
        "lowering out of those in graphad.ir.lowering."
    )
    return LoweringError(at(format_loc(loc), message))
