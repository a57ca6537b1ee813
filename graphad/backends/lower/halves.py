"""Values in f32 that were widened from 16 bits, as they were before: factors of products of 16-bit floats."""

from __future__ import annotations

from typing import Final

from graphad.backends.lower.definitions import (
    Block,
    ConstantValue,
    CutPiece,
    Definition,
    FlatProgram,
    GatherValue,
    MapValue,
    PiecesValue,
    ReshapeValue,
    ViewValue,
)
from graphad.backends.lower.scalars import template
from graphad.ir.graph import Atom
from graphad.ir.lowering import parse_scalar
from graphad.ir.types import DType, Literal, aval, b1, f32, literal

#: How many definitions it looks through, one behind the other.
_DEEPEST: Final = 100
_SELECT: Final = parse_scalar("select({0}, {1}, {2})")


class Halves:
    """The values of ``flat`` that ``dtype`` holds exactly: widened from it, and then moved or chosen from at most.

    They are looked for as far as they are asked for, and appended in ``dtype``.

    Attributes
    ----------
    found
        Whether there was any but numbers.
    """

    def __init__(self, flat: FlatProgram, dtype: DType) -> None:
        self.flat = flat
        self.dtype = dtype
        self.found = False
        self.depth = 0
        self.exact: dict[int, bool] = {}
        self.made: dict[int, Atom] = {}

    def holds(self, atom: Atom) -> bool:
        """Whether ``dtype`` holds all elements of ``atom``."""
        if type(atom) is not int:
            return self._holds_number(atom)  # type: ignore[arg-type]
        found = self.exact.get(atom)
        if found is None:
            self.depth += 1
            found = self.exact[atom] = self.depth <= _DEEPEST and self._holds(self.flat.values[atom])
            self.depth -= 1
        return found

    def _holds_number(self, number: Literal) -> bool:
        return number is literal(literal(number.item(), self.dtype).item(), number.dtype)

    def _holds(self, definition: Definition) -> bool:
        if definition.aval.dtype is self.dtype:
            self.found = True
            return True
        if definition.aval.dtype is not f32:
            return False
        match definition:
            case MapValue(inputs=(source,)) if self.flat.is_widening(definition):
                return self.holds(source)
            case MapValue(inputs=(_, first, second)) if self._is_choice(definition):
                return self.holds(first) and self.holds(second)
            case ViewValue(operand=operand) | ReshapeValue(operand=operand):
                return self.holds(operand)
            case ConstantValue(literal=number):
                return self._holds_number(number)
            case PiecesValue(pieces=pieces, fill=fill):
                return all(self.holds(p.operand) for p in pieces) and (fill is None or self.holds(fill))
            case GatherValue(source=source, fill=fill):
                return self._lies_like(source.value) and (fill is None or self._holds_number(fill))
            case _:
                return False

    def _lies_like(self, source: int) -> bool:
        """Whether what ``source`` was widened from has elements at the same places."""
        definition = self.flat.values[source]
        if not self.holds(source) or type(definition) is not MapValue or len(definition.inputs) > 1:
            return False
        return type(self.flat.values[definition.inputs[0]]) is not ViewValue  # type: ignore[index]

    def _is_choice(self, definition: MapValue) -> bool:
        return definition.template == template(_SELECT, (b1, f32, f32), f32)

    def value(self, atom: Atom) -> Atom:
        """``atom``, which ``dtype`` holds, in that dtype."""
        if type(atom) is not int:
            return literal(atom.item(), self.dtype)  # type: ignore[union-attr]
        found = self.made.get(atom)
        if found is None:
            found = self.made[atom] = self._value(atom, self.flat.values[atom])
        return found

    def _value(self, value: int, definition: Definition) -> Atom:
        if definition.aval.dtype is self.dtype:
            return value
        out, loc = aval(definition.aval.shape, self.dtype), definition.loc
        match definition:
            case MapValue(inputs=(source,)):
                return source
            case MapValue(inputs=(condition, *chosen)):
                inputs = condition, *[self.value(x) for x in chosen]
                select = template(_SELECT, (b1, self.dtype, self.dtype), self.dtype)
                return self.flat.add(MapValue(out, loc, select, inputs))
            case ViewValue(operand=operand, dims=dims):
                return self.flat.add(ViewValue(out, loc, self._of_value(operand), dims))
            case ReshapeValue(operand=operand):
                return self.flat.add(ReshapeValue(out, loc, self._of_value(operand)))
            case ConstantValue(literal=number):
                return self.flat.add(ConstantValue(out, loc, literal(number.item(), self.dtype)))
            case PiecesValue(pieces=pieces, fill=fill):
                cut = [CutPiece(self._of_value(p.operand), p.extents, p.first, p.offsets, p.steps) for p in pieces]
                return self.flat.add(PiecesValue(out, loc, tuple(cut), None if fill is None else self.value(fill)))
            case GatherValue(source=source, axes=axes, fill=fill):
                half = Block(self._of_value(source.value), source.offset, source.strides)
                filled = None if fill is None else literal(fill.item(), self.dtype)
                return self.flat.add(GatherValue(out, loc, half, axes, filled))
            case _:
                raise AssertionError(f"{self.dtype} does not hold {definition}")

    def _of_value(self, value: int) -> int:
        return self.flat.value(self.value(value), self.flat.values[value].loc)
