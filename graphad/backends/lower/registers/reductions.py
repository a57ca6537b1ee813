"""Reductions, running combinations, and products of small matrices, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from graphad.backends.loops.ir import Carry, Loop, Operand
from graphad.backends.lower.affine import Shape, places, position_of
from graphad.backends.lower.registers.arrays import (
    MOST_ELEMENTS,
    MOST_PRODUCTS,
    Array,
    Arrays,
    NotScalarError,
    Small,
)
from graphad.backends.lower.scalars import ACCUMULATORS, SCAN_STEPS, identity_of, template
from graphad.ir import lowering as forms
from graphad.ir.loc import Loc
from graphad.ir.lowering import parse_scalar
from graphad.ir.types import Aval, DType, b1, literal


class Reductions(Arrays):
    """Combines elements of arrays."""

    def reduce(self, how: str, axes: Shape, x: Array, out: Aval, loc: Loc) -> Small:
        n = len(self.space) if x.lanes else 0
        if any([a < n for a in axes]):
            raise NotScalarError("a reduction over the axes of a batch")
        if prod(x.shape) > MOST_ELEMENTS and self.space and type(x) is not Small:
            return self.wide_reduce(how, [a - n for a in axes], x, out, loc)
        y = self.small(x, loc)
        kept = [a for a in range(len(y.shape)) if a + n not in axes]
        shape = tuple([y.shape[a] for a in kept])
        groups: dict[int, list[tuple[Shape, Operand]]] = {k: [] for k in range(prod(shape))}
        for at, atom in zip(places(y.shape), y.atoms, strict=True):
            groups[position_of([at[a] for a in kept], shape)].append((at, atom))
        if how in ("argmax", "argmin"):
            (axis,) = axes
            atoms = [
                self.first_extreme(how, [(at[axis - n], a) for at, a in g], y.dtype, out.dtype, loc)
                for g in groups.values()
            ]
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

    def running(self, how: str, axis: int, reverse: bool, operands: list[Array], out: Aval, loc: Loc) -> Small:
        lanes = operands[0].lanes
        axis -= len(self.space) if lanes else 0
        if axis < 0 or any([x.lanes != lanes for x in operands]):
            raise NotScalarError("a scan along the axes of a batch")
        rows = [self.small(x, loc) for x in operands]
        shape, dtype = rows[0].shape, out.dtype
        wide = ACCUMULATORS.get(dtype, dtype)
        step = template(SCAN_STEPS[how], (wide,) * (1 + len(rows)), wide)
        atoms: dict[int, Operand] = {}
        for at in places(tuple([1 if a == axis else n for a, n in enumerate(shape)])):
            total: Operand = identity_of(how, wide)
            for k in reversed(range(shape[axis])) if reverse else range(shape[axis]):
                here = position_of([k if a == axis else i for a, i in enumerate(at)], shape)
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
        left = sides[0]
        summed = tuple([left.shape[a] for a in contract[0]])
        if shape is None or prod(shape) * prod(summed) > MOST_PRODUCTS or prod(shape) > MOST_ELEMENTS:
            raise NotScalarError(f"a product of type {out}")
        free = [
            [a for a in range(len(x.shape)) if a not in batch[k] and a not in contract[k]] for k, x in enumerate(sides)
        ]
        dtype = out.dtype
        wide = ACCUMULATORS.get(dtype, dtype)
        atoms: list[Operand] = []
        n_batch, n_left = len(batch[0]), len(free[0])
        for at in places(shape):
            groups = (at[:n_batch], at[n_batch : n_batch + n_left], at[n_batch + n_left :])
            terms: list[Operand] = []
            for inner in places(summed):
                pair: list[Operand] = []
                for k, x in enumerate(sides):
                    place = dict(zip(batch[k], groups[0], strict=True)) | dict(zip(contract[k], inner, strict=True))
                    place |= dict(zip(free[k], groups[1 + k], strict=True))
                    atom = x.atoms[position_of([place[a] for a in range(len(x.shape))], x.shape)]
                    pair.append(self.converted(atom, x.dtype, wide, loc))
                terms.append(self.let("mul", wide, (pair[0], pair[1]), loc))
            total: Operand = terms[0] if terms else literal(0, wide)
            for term in terms[1:]:
                total = self.let("add", wide, (total, term), loc)
            atoms.append(self.converted(total, wide, dtype, loc))
        return Small(shape, dtype, tuple(atoms), lanes)
