"""A loop or branch of scalar arithmetic as one nest, over buffers that stand in for those of the program."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from graphad.backends.loops.ir import Loop, Operand, Statement
from graphad.backends.loops.rewrites import without_dead
from graphad.backends.lower.affine import ZERO, Coords, Shape, combine, places, row_major
from graphad.backends.lower.definitions import (
    ConstantValue,
    FlatProgram,
    IotaValue,
    MapValue,
)
from graphad.backends.lower.region_values import (
    Call,
    CountedPart,
    ResultValue,
    Statements,
)
from graphad.backends.lower.registers.arrays import InMemory, NotScalarError, Small, Virtual
from graphad.backends.lower.registers.writer import Writer
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Branch, Counted, Lowering, Repeat, While
from graphad.ir.types import Aval, DType, Literal, aval, i64

#: Loops that carry more numbers than this are tried with the axes of a batch as lanes first.
_FEW: Final = 16
#: A batch of so many members goes into lanes first.
_LANES: Final = 4


def whole(flat: FlatProgram, graph: Graph, inputs: Sequence[Atom]) -> list[Atom] | None:
    """The outputs of a graph with loops over a batch, all of it in lanes: one nest for loops and what is between them.

    So the arrays that one loop stacks for another are those of a few members at a time. None where something in the
    graph is no scalar arithmetic, or there is no batch.
    """
    if graph.effectful:
        return None
    tried: set[Shape] = set()
    for eqn in graph.eqns:
        lowering = eqn.primitive.lower((), eqn.params) if eqn.regions else None
        if not isinstance(lowering, (Repeat, While)):
            continue
        for space in spaces(eqn, lowering, [graph.avals[o] for o in eqn.outputs]):
            if prod(space) < _LANES or space in tried:
                continue
            tried.add(space)
            try:
                return Nest(flat, eqn, inputs, graph.out_avals, space, None, graph).results()
            except NotScalarError:
                continue
    return None


def spaces(eqn: Eqn, lowering: Lowering, outs: Sequence[Aval]) -> list[Shape]:
    """The axes of a batch that the loop may have: none, or those that lead in all that it carries."""
    match lowering:
        case Repeat(n_carry=n):
            avals = outs[:n]
        case While():
            avals = outs[:-1]
        case Branch(n_chosen=n):
            avals = outs[:n]
        case _:
            avals = outs
    shapes = [a.shape for a in avals if a.shape]
    common: Shape = ()
    if shapes:
        for extents in zip(*shapes, strict=False):
            if len(set(extents)) > 1:
                break
            common = (*common, extents[0])
    few = sum([a.size for a in avals]) <= _FEW
    last = [n for n in range(len(common), 0, -1) if common[n - 1] > 1]  # the axis of the lanes
    batches = [common[:n] for n in last if 0 not in common[:n]]  # what has no members would know no number of turns
    wide = [b for b in batches if prod(b) >= _LANES]
    return [*wide, (), *[b for b in batches if b not in wide]] if few else [*batches, ()]


class Nest:
    """One loop or branch as statements over buffers named ``operand0``, ``result0``, ``scratch0``."""

    def __init__(
        self,
        flat: FlatProgram,
        eqn: Eqn,
        operands: Sequence[Atom],
        outs: Sequence[Aval],
        space: Shape,
        loc: Loc,
        graph: Graph | None = None,
    ) -> None:
        self.graph = graph
        self.flat, self.eqn, self.atoms, self.outs, self.loc = flat, eqn, operands, outs, loc
        self.temporaries: dict[str, tuple[Aval, bool]] = {}
        self.uniform: list[tuple[str, Aval, InMemory]] = []
        self.writer = Writer(space, self.temporary)
        self.buffers: dict[str, int] = {}

    def temporary(self, dtype: DType, size: int) -> str:
        return self.new(dtype, size, bool(self.writer.space))

    def new(self, dtype: DType, size: int, private: bool) -> str:
        name = f"scratch{len(self.temporaries)}"
        self.temporaries[name] = aval((size,), dtype), private
        return name

    def results(self) -> list[Atom]:
        writer, n = self.writer, len(self.writer.space)
        for _ in range(n):
            writer.space_variables.append(writer.open_loop())
        lowering = self.eqn.primitive.lower((), self.eqn.params) if self.graph is None else None
        run_over = self.run_over(lowering)
        xs = [self.operand(a, k in run_over) for k, a in enumerate(self.atoms)]
        targets = [f"result{k}" for k in range(len(self.outs))]
        if type(lowering) is Repeat:
            self.repeat(lowering, xs, targets)
        else:
            match lowering:
                case While():
                    found = writer.while_(lowering, self.eqn, xs, self.loc)
                case Branch():
                    found = writer.branch(lowering, self.eqn, xs, self.loc)
                case Counted():
                    found = writer.graph(self.eqn.regions[0], xs[1:])
                case _:
                    assert self.graph is not None, "all other regions are inlined"
                    found = writer.graph(self.graph, xs)
            for target, out, x in zip(targets, self.outs, found, strict=True):
                self.store(target, out, x)
        for axis in reversed(range(n)):
            extent, variable = writer.space[axis], writer.space_variables[axis]
            writer.close_loop(
                lambda body, v=variable, e=extent, last=axis == n - 1: Loop(
                    v, e, body, vector=last and e > 1, loc=self.loc
                ),
                (),
            )
        self.uniform_results()
        body = without_dead(tuple(writer.scopes[0].statements), set())
        return self.call(body, targets)

    def call(self, body: tuple[Statement, ...], targets: list[str]) -> list[Atom]:
        what = Statements(dict(self.buffers), tuple(targets), self.temporaries, body)
        reads = tuple(dict.fromkeys(self.buffers.values()))
        call = Call(what, reads, [])
        if self.graph is None and self.eqn.primitive.lowering == Counted():
            count = self.atoms[0]
            if isinstance(count, Literal):
                count = self.flat.add(ConstantValue(aval((), i64), self.loc, count))
            call = Call(CountedPart(count, what), (*reads, count), [])
        for k, out in enumerate(self.outs):
            call.values.append(self.flat.add(ResultValue(out, self.loc, call, k)))
        return list(call.values)

    # ---- operands

    def run_over(self, lowering: Lowering | None) -> set[int]:
        """The operands whose first axis is that of the turns: loops run over them, and nothing else reads them."""
        if self.graph is None:
            return (
                set(range(lowering.n_consts + lowering.n_carry, len(self.atoms))) if type(lowering) is Repeat else set()
            )
        found: set[int] = set()
        read: set[Atom] = {a for a in self.graph.outputs if type(a) is int}
        for eqn in self.graph.eqns:
            form = eqn.primitive.lower((), eqn.params) if eqn.primitive.region_rules is not None else None
            first_x = form.n_consts + form.n_carry if type(form) is Repeat else len(eqn.inputs)
            found |= {a for a in eqn.inputs[first_x:] if type(a) is int and a < self.graph.n_inputs}
            read |= set(eqn.inputs[:first_x])
        return found - {a for a in read if type(a) is int}

    def operand(self, atom: Atom, is_run_over: bool) -> Any:
        if type(atom) is not int:
            lit: Any = atom
            return Small((), lit.dtype, (lit,), False)
        counted = self.counted(atom)
        if counted is not None:
            return counted
        definition = self.flat.values[atom]
        shape, dtype = definition.aval.shape, definition.aval.dtype
        if type(definition) is ConstantValue:
            return self.constant(definition.literal, shape, is_run_over)
        block = self.flat.block(atom)
        base = self.flat.values[block.value]
        if type(base) is ConstantValue:
            return self.constant(base.literal, shape, is_run_over)
        name = next((n for n, v in self.buffers.items() if v == block.value), None)
        if name is None:
            name = f"operand{len(self.buffers)}"
            self.buffers[name] = block.value
        writer = self.writer
        n = len(writer.space)
        if n and is_run_over and shape[1 : n + 1] == writer.space:
            inner = writer.member(name, shape[1:], dtype, (block.offset, ()), block.strides[1:], True)
            strides = (block.strides[0], *inner.strides)
            return InMemory((shape[0], *inner.shape), dtype, name, inner.start, strides, True, turns=True)
        if n and not is_run_over and shape[:n] == writer.space:
            return writer.member(name, shape, dtype, (block.offset, ()), block.strides, True)
        return writer.member(name, shape, dtype, (block.offset, ()), block.strides, False)

    def constant(self, value: Literal, shape: Shape, is_run_over: bool) -> Any:
        n = len(self.writer.space)
        if n and is_run_over and shape[1 : n + 1] == self.writer.space:
            return Virtual((shape[0], *shape[n + 1 :]), value.dtype, lambda _: value, lanes=True, turns=True)
        stripped = None if is_run_over else self.writer.stripped(shape)
        if stripped is not None and prod(stripped) <= 64:
            return Small(stripped, value.dtype, (value,) * prod(stripped), True)
        if len(shape) == 1:
            return Virtual(shape, value.dtype, lambda _: value)
        if prod(shape) > 64:
            raise NotScalarError(f"a constant of shape {shape}")
        return Small(shape, value.dtype, (value,) * prod(shape), False)

    def counted(self, value: int) -> Virtual | None:
        """``value`` as a function of its position along its one axis, if it is made of iotas and numbers alone."""
        definition = self.flat.values[value]
        made_of = self.made_of(value) if definition.aval.ndim == 1 else None
        if made_of is None:
            return None

        def element(at: Coords) -> Operand:
            found: dict[int, Operand] = {}
            for k in made_of:
                match self.flat.values[k]:
                    case MapValue(inputs=inputs, template=template, loc=loc):
                        row: list[Operand] = [found[a] if type(a) is int else a for a in inputs]  # type: ignore[misc]
                        found[k] = self.writer.expand(template, row, loc)
                    case iota:
                        found[k] = self.writer.position(iota.aval.dtype, at[0], iota.loc)
            return found[value]

        return Virtual(definition.aval.shape, definition.aval.dtype, element)

    def made_of(self, value: int) -> list[int] | None:
        """The iotas and maps that lead to ``value``, each once and in order; None if there are others."""
        seen: set[int] = set()
        ahead = [value]
        while ahead:
            k = ahead.pop()
            if k in seen:
                continue
            seen.add(k)
            match self.flat.values[k]:
                case IotaValue():
                    continue
                case MapValue(inputs=inputs) if any([type(a) is int for a in inputs]):
                    ahead += [a for a in inputs if type(a) is int]
                case _:
                    return None
        return sorted(seen)

    # ---- results

    def repeat(self, p: Repeat, xs: list[Any], targets: list[str]) -> None:
        writer, body = self.writer, self.eqn.regions[0]
        first_x = p.n_consts + p.n_carry
        starts = [
            writer.carried(x, a, self.loc)
            for x, a in zip(xs[p.n_consts : first_x], body.in_avals[p.n_consts : first_x], strict=True)
        ]
        slices = [writer.laid_out(x, self.loc) for x in xs[first_x:]]
        stacked = [self.target(t, out, 1) for t, out in zip(targets[p.n_carry :], self.outs[p.n_carry :], strict=True)]
        found = writer.loop(p, body, xs[: p.n_consts], starts, slices, stacked, self.loc)
        for target, out, x in zip(targets[: p.n_carry], self.outs, found, strict=False):
            self.store(target, out, x)

    def target(self, name: str, out: Aval, n_turns: int) -> InMemory:
        """Where a result is written; ``n_turns`` axes lead before those of the batch."""
        writer = self.writer
        shape, strides, n = out.shape, row_major(out.shape), len(writer.space)
        if not n:
            return InMemory(shape, out.dtype, name, ZERO, strides, False)
        if shape[n_turns : n_turns + n] != writer.space:
            # The same in all lanes: each writes its own copy, of which one is kept.
            whole = (*shape, *writer.space)
            inner = row_major(whole)
            start = combine(
                0, [((0, ((v, 1),)), s) for v, s in zip(writer.space_variables, inner[len(shape) :], strict=True)]
            )
            copies = self.new(out.dtype, prod(whole), False)
            fresh = InMemory(shape, out.dtype, copies, start, inner[: len(shape)], True)
            self.uniform.append((name, out, fresh))
            return fresh
        here = [((0, ((v, 1),)), s) for v, s in zip(writer.space_variables, strides[n_turns:], strict=False)]
        start = combine(0, here)
        kept = (*range(n_turns), *range(n_turns + n, len(shape)))
        return InMemory(
            tuple([shape[a] for a in kept]), out.dtype, name, start, tuple([strides[a] for a in kept]), True
        )

    def store(self, name: str, out: Aval, x: Any) -> None:
        to = self.target(name, out, int(x.turns))
        writer, loc = self.writer, self.loc
        if x.shape != to.shape:
            raise NotScalarError(f"a result of shape {x.shape} where {to.shape} is due")
        if type(x) is Small:
            for at, atom in zip(places(to.shape), x.atoms, strict=True):
                writer.store(to, tuple([(i, ()) for i in at]), atom, loc)
        else:
            writer.copy(to, (), x, (), loc)

    def uniform_results(self) -> None:
        """Of results that are the same in all lanes, the copy of the first."""
        writer = self.writer
        for name, out, fresh in self.uniform:
            source = InMemory(out.shape, out.dtype, fresh.buffer, (fresh.start[0], ()), fresh.strides, False)
            to = InMemory(out.shape, out.dtype, name, ZERO, row_major(out.shape), False)
            writer.copy(to, (), source, (), self.loc)
