"""Elements at positions that are known only when the loop runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

from graphad.backends.loops.ir import Operand
from graphad.backends.lower.affine import position_of
from graphad.backends.lower.registers.arrays import (
    MOST_ELEMENTS,
    Array,
    InMemory,
    NotScalarError,
    Small,
    places,
)
from graphad.backends.lower.registers.reductions import Reductions
from graphad.ir.loc import Loc
from graphad.ir.types import Aval, DType, b1, i64, literal
from graphad.primitives.indexing import fill_literal


class Positions(Reductions):
    """Reads at indices: by a load where the array is in memory, else by a choice among its elements."""

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
        candidates: list[tuple[Operand | None, Operand]] = [(None, y.atoms[position_of(at, y.shape)])]
        axes = list(moved)
        for offsets in product(*[range(y.shape[a] - at[a]) for a in axes]):
            if any(offsets):
                there = list(at)
                here: Operand | None = None
                for a, o in zip(axes, offsets, strict=True):
                    there[a] += o
                    is_here = self.let("eq", b1, (moved[a], literal(o, i64)), loc)
                    here = is_here if here is None else self.let("and", b1, (here, is_here), loc)
                candidates.append((here, y.atoms[position_of(there, y.shape)]))
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
        atoms = [self.at_dynamic(x, at, moved, loc) for at in places(shape)]
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
        at_indices = self.small(indices, loc)
        n_positions = len(at_indices.shape) - 1
        window = [a for a in range(len(x.shape)) if a not in axes]
        atoms: list[Operand] = []
        for at in places(shape):
            moved: dict[int, Operand] = {}
            valid: Operand | None = None
            for number, axis in enumerate(axes):
                index = at_indices.atoms[position_of([*at[:n_positions], number], at_indices.shape)]
                moved[axis], inside = self.clamped(index, at_indices.dtype, x.shape[axis] - 1, loc)
                valid = inside if valid is None else self.let("and", b1, (valid, inside), loc)
            base = [0] * len(x.shape)
            for a, i in zip(window, at[n_positions:], strict=True):
                base[a] = i
            found = self.at_dynamic(x, base, moved, loc) if moved else self.element(x, tuple(base), loc)
            if mode != "clip" and valid is not None:
                found = self.let("select", out.dtype, (valid, found, fill_literal(mode, out.dtype)), loc)
            atoms.append(found)
        return Small(shape, out.dtype, tuple(atoms), lanes)
