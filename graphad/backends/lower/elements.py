"""Scalar replacement: small arrays that are put together from scalars stay scalars.

The state of a small system is stacked from two or three numbers, updated, and taken apart again. As an array it would
be written to memory and read back each time. As `Elements` it never exists: putting it together and taking it apart are
choices among scalars, and arithmetic on it is scalar arithmetic. Where an operation needs an array, the elements are
laid out in memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graphad.backends.lower.affine import Shape, places, position_of, seen
from graphad.backends.lower.definitions import ConstantValue, CutPiece, FlatProgram, MapValue, PiecesValue, ViewValue
from graphad.backends.lower.scalars import ACCUMULATORS, SCAN_STEPS, Template, identity_of, template
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, Lowering, Pieces, Reduce, Reshape, View
from graphad.ir.types import Aval, Literal, aval

#: Arrays of more elements stay arrays.
LIMIT: Final = 4
#: What all elements of one equation may cost (in additions, see `scalars`): above that, a loop of vectors is better.
_COST: Final = 16


@dataclass(slots=True, eq=False)
class Elements:
    """A small array as its elements, in row-major order; ``laid_out`` is the value that holds them in memory."""

    aval: Aval
    atoms: tuple[Atom, ...]
    loc: Loc
    laid_out: int | None = None


Value = Atom | Elements


class ScalarReplacement:
    """Computes equations on `Elements`, and lays them out for those that take arrays."""

    def __init__(self, flat: FlatProgram) -> None:
        self._flat = flat
        self._taken: dict[tuple[int, Shape], int] = {}

    def element(self, value: Value, at: Shape, loc: Loc) -> Atom:
        """The element of ``value`` at ``at``, as a scalar."""
        values = self._flat.values
        while type(value) is int:
            definition = values[value]
            if type(definition) is ViewValue:
                value, at = definition.operand, seen(definition.dims, at)
            elif type(definition) is ConstantValue:
                return definition.literal
            elif not at:
                return value
            else:
                return self._take(value, at, loc)
        if type(value) is Elements:
            return value.atoms[position_of(at, value.aval.shape)]
        return value  # type: ignore[return-value]

    def _take(self, value: int, at: Shape, loc: Loc) -> int:
        key = (value, at)
        found = self._taken.get(key)
        if found is None:
            dims = tuple([AffineDim(i) for i in at])
            scalar = aval((), self._flat.values[value].aval.dtype)
            found = self._taken[key] = self._flat.add(ViewValue(scalar, loc, value, dims))
        return found

    def arrays(self, values: Sequence[Value]) -> list[Atom]:
        """``values`` for an equation on arrays."""
        return [self._array(x) if type(x) is Elements else x for x in values]  # type: ignore[misc]

    def _array(self, elements: Elements) -> int:
        if elements.laid_out is None:
            elements.laid_out = self._lay_out(elements)
        return elements.laid_out

    def _lay_out(self, elements: Elements) -> int:
        flat, whole, loc = self._flat, elements.aval, elements.loc
        one, alone = (1,) * whole.ndim, aval((1,) * whole.ndim, whole.dtype)
        pieces: list[CutPiece] = []
        for at, atom in zip(places(whole.shape), elements.atoms, strict=True):
            part = ConstantValue(alone, loc, atom) if type(atom) is Literal else ViewValue(alone, loc, atom, ())  # type: ignore[arg-type]
            pieces.append(CutPiece(flat.add(part), one, (0,) * whole.ndim, at, one))
        if whole.size == 1:
            return pieces[0].operand
        return flat.add(PiecesValue(whole, loc, tuple(pieces), None))

    # ---- equations

    def equation(self, lowering: Lowering | None, operands: Sequence[Value], out: Aval, loc: Loc) -> Value | None:
        """The result of an equation that is no map; None if it is one of arrays."""
        if type(lowering) is Pieces:
            return self.layout(lowering, operands, out, loc)
        if not operands or type(operands[0]) is not Elements:
            return None
        match lowering:
            case View(index=dims):
                return self.view(dims, operands[0], out, loc)
            case Reshape():
                return self.reshape(operands[0], out, loc)
            case Reduce(combine=combine, axes=axes):
                return self.reduce(combine, axes, operands[0], out, loc)
            case _:
                return None

    def layout(self, lowering: Pieces, operands: Sequence[Value], out: Aval, loc: Loc) -> Elements | None:
        """A concatenation or padding whose parts are scalars, or None."""
        if not 0 < out.size <= LIMIT or not out.shape:
            return None
        avals = [x.aval if type(x) is not int else self._flat.values[x].aval for x in operands]  # type: ignore[union-attr]
        if any([avals[p.operand].size > 1 and type(operands[p.operand]) is not Elements for p in lowering.pieces]):
            return None
        atoms: dict[int, Atom] = {}
        for piece in lowering.pieces:
            for at in places(avals[piece.operand].shape):
                there = tuple([o + s * i for o, s, i in zip(piece.offsets, piece.steps, at, strict=True)])
                if all([0 <= i < n for i, n in zip(there, out.shape, strict=True)]):
                    atoms[position_of(there, out.shape)] = self.element(operands[piece.operand], at, loc)
        if lowering.fill is not None:
            fill = self.element(operands[lowering.fill], (), loc)
            atoms = {k: atoms.get(k, fill) for k in range(out.size)}
        return Elements(out, tuple([atoms[k] for k in range(out.size)]), loc)

    def map(self, made: Template, operands: Sequence[Value], out: Aval, loc: Loc) -> Elements | None:
        """An elementwise equation, some operands being `Elements`; None if it is better done on arrays."""
        if made.cost * out.size > _COST:
            return None
        add, one = self._flat.add, aval((), out.dtype)
        rows = [
            x.atoms if type(x) is Elements else [self.element(x, at, loc) for at in places(out.shape)] for x in operands
        ]
        if made.instructions:
            atoms: list[Atom] = [add(MapValue(one, loc, made, inputs)) for inputs in zip(*rows, strict=True)]
        else:
            atoms = [inputs[made.result] if type(made.result) is int else made.result for inputs in zip(*rows)]
        return Elements(out, tuple(atoms), loc)

    def view(self, dims: Sequence[AffineDim], elements: Elements, out: Aval, loc: Loc) -> Value | None:
        """Another reading of ``elements``; None if it has too many."""
        if out.size > LIMIT:
            return None
        shape, atoms = elements.aval.shape, elements.atoms
        chosen = [atoms[position_of(seen(dims, at), shape)] for at in places(out.shape)]
        return Elements(out, tuple(chosen), loc) if out.shape else chosen[0]

    @staticmethod
    def reshape(elements: Elements, out: Aval, loc: Loc) -> Value:
        return Elements(out, elements.atoms, loc) if out.shape else elements.atoms[0]

    def reduce(self, combine: str, axes: Shape, elements: Elements, out: Aval, loc: Loc) -> Value | None:
        """``elements`` combined over ``axes`` in order; None for combinations that are not arithmetic."""
        scalar, dtype = SCAN_STEPS.get(combine), out.dtype
        if scalar is None or dtype in ACCUMULATORS:
            return None
        step, one = template(scalar, (dtype, dtype), dtype), aval((), dtype)
        total: dict[int, Atom] = {}
        for at, atom in zip(places(elements.aval.shape), elements.atoms, strict=True):
            to = position_of([i for axis, i in enumerate(at) if axis not in axes], out.shape)
            running = total.get(to, identity_of(combine, dtype) if combine == "sum" else None)
            total[to] = atom if running is None else self._flat.add(MapValue(one, loc, step, (running, atom)))
        atoms = tuple([total[k] for k in range(out.size)])
        return Elements(out, atoms, loc) if out.shape else atoms[0]
