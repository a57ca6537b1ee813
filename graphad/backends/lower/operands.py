"""Conversions, views and reshapes of operands, folded where they can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from graphad.backends.lower.affine import Shape, axes_view, reshape_view
from graphad.backends.lower.definitions import ConstantValue, FlatProgram, MapValue, ReshapeValue, ViewValue
from graphad.backends.lower.scalars import copy_template, template
from graphad.ir.graph import Atom
from graphad.ir.loc import Loc
from graphad.ir.lowering import AffineDim, parse_scalar
from graphad.ir.types import Aval, DType, aval

_CAST: Final = parse_scalar("cast({0})")


class Operands:
    """Appends conversions, views and reshapes to ``flat``.

    Attributes
    ----------
    known
        What `widen` and `copy` have made already, of the region that is being inlined.
    """

    def __init__(self, flat: FlatProgram) -> None:
        self.flat = flat
        self.known: dict[tuple[Any, ...], int] = {}

    def shape(self, atom: Atom) -> Shape:
        return self.flat.values[atom].aval.shape if type(atom) is int else ()

    def values(self, atoms: Sequence[Atom], loc: Loc) -> list[int]:
        return [self.flat.value(a, loc) for a in atoms]

    def cast(self, atom: Atom, dtype: DType, loc: Loc) -> Atom:
        """``atom`` converted; itself if it has that dtype."""
        source = self.flat.values[atom].aval if type(atom) is int else atom.aval  # type: ignore[union-attr]
        if source.dtype is dtype:
            return atom
        scalar = template(_CAST, (source.dtype,), dtype)
        return self.flat.add(MapValue(aval(source.shape, dtype), loc, scalar, (atom,)))

    def widen(self, atom: Atom, dtype: DType, loc: Loc) -> int:
        """``atom`` converted to the accumulator's dtype: once per region, and before it is transposed."""
        found = self.known.get((atom, dtype))
        if found is None:
            view = self.flat.values[atom] if type(atom) is int else None
            if type(view) is ViewValue and view.aval.size == self.flat.values[view.operand].aval.size:
                whole = self.widen(view.operand, dtype, loc)
                converted = self.view(whole, view.dims, aval(view.aval.shape, dtype), loc)
            else:
                converted = self.cast(atom, dtype, loc)
            found = self.known[atom, dtype] = self.flat.value(converted, loc)
        return found

    def copy(self, value: int, loc: Loc) -> int:
        """The elements of ``value`` without gaps: once per region for all views of the same elements."""
        block, seen = self.flat.block(value), self.flat.values[value].aval
        key = block.value, block.offset, block.strides, seen
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = self.flat.add(MapValue(seen, loc, copy_template(seen.dtype), (value,)))
        return found

    def view(self, atom: Atom, dims: tuple[AffineDim, ...], out: Aval, loc: Loc) -> Atom:
        if type(atom) is not int:
            return self.flat.add(ConstantValue(out, loc, atom)) if out.shape else atom  # type: ignore[arg-type]
        definition = self.flat.values[atom]
        if type(definition) is ConstantValue:
            return self.flat.add(ConstantValue(out, loc, definition.literal))
        if definition.aval is out and dims == axes_view(range(out.ndim)):
            return atom
        return self.flat.add(ViewValue(out, loc, atom, dims))

    def reshape(self, atom: Atom, out: Aval, loc: Loc) -> Atom:
        atom = self.flat.value(atom, loc)
        if self.shape(atom) == out.shape:
            return atom
        dims = reshape_view(self.shape(atom), out.shape)
        if dims is not None:
            return self.view(atom, dims, out, loc)
        definition = self.flat.values[atom]
        if type(definition) is ConstantValue:
            return self.flat.add(ConstantValue(out, loc, definition.literal))
        if type(definition) is ReshapeValue:
            return self.reshape(definition.operand, out, loc)
        return self.flat.add(ReshapeValue(out, loc, atom))
