"""Equations with regions that are not inlined, as definitions: loops and branches.

A loop whose body is scalar arithmetic becomes statements (`statements`), with lanes for the members of a batch if there is
one; every other loop is made of steps, and its regions are flat programs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from graphad.backends.loops.ir import Carry, Loop, Operand, Statement
from graphad.backends.loops.rewrites import without_dead
from graphad.backends.lower.affine import ZERO, Coordinate, Shape, combine, row_major
from graphad.backends.lower.definitions import (
    Branches,
    Call,
    ConstantValue,
    CountedPart,
    FlatProgram,
    InputValue,
    IotaValue,
    MapValue,
    Part,
    Place,
    ResultValue,
    Statements,
    Turns,
    TurnsWhile,
    ViewValue,
)
from graphad.backends.lower.statements import InMemory, NotScalarError, Small, Virtual, Writer
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Branch, Counted, Lowering, Repeat, While
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, Literal, aval, i32, i64, literal
from graphad.primitives.elementwise import add, and_, eq, select
from graphad.primitives.layout import broadcast
from graphad.primitives.reduce import reduce_or

Flatten = Callable[[Graph, FlatProgram, Sequence[Atom]], list[Atom]]

#: Loops that carry more numbers than this are tried with the axes of a batch as lanes first.
_FEW: int = 16
#: A batch of so many members goes into lanes first.
_LANES: int = 4


def region(
    flat: FlatProgram, eqn: Eqn, lowering: Lowering, operands: Sequence[Atom], outs: Sequence[Aval], flatten: Flatten, loc: Loc
) -> list[Atom]:
    """Append the results of an equation with regions."""
    if type(lowering) is Repeat and not lowering.length:
        starts = operands[lowering.n_consts : lowering.n_consts + lowering.n_carry]
        empty = outs[lowering.n_carry :]
        return [*starts, *[flat.add(ConstantValue(a, loc, literal(0, a.dtype))) for a in empty]]
    for space in _spaces(eqn, lowering, outs):
        try:
            return _Scalar(flat, eqn, operands, outs, space, loc).results()
        except NotScalarError:
            continue
    return _Steps(flat, flatten, loc).results(eqn, lowering, operands, outs)


def whole(flat: FlatProgram, graph: Graph, inputs: Sequence[Atom]) -> list[Atom] | None:
    """The outputs of a graph with loops over a batch, all of it in lanes: one nest for loops and what is between them.

    So the arrays that one loop stacks for another are those of a few members at a time. None where something in the graph
    is no scalar arithmetic, or there is no batch.
    """
    eqns = [e for e in graph.eqns if e.primitive.region_rules is not None]
    if graph.effectful or not any([type(e.primitive.lower((), e.params)) is Repeat for e in eqns if e.primitive.name == "scan"]):
        return None
    tried: set[Shape] = set()
    for eqn in eqns:
        lowering = eqn.primitive.lower((), eqn.params)
        if type(lowering) not in (Repeat, While):
            continue
        for space in _spaces(eqn, lowering, [graph.avals[o] for o in eqn.outputs]):
            if prod(space) < _LANES or space in tried:
                continue
            tried.add(space)
            try:
                return _Scalar(flat, eqn, inputs, graph.out_avals, space, None, graph).results()
            except NotScalarError:
                continue
    return None


def _spaces(eqn: Eqn, lowering: Lowering, outs: Sequence[Aval]) -> list[Shape]:
    """The axes of a batch that the loop may have: none, or those that lead in all that it carries."""
    carried = {Counted: lambda _: outs, Repeat: lambda p: outs[: p.n_carry], While: lambda _: outs[:-1], Branch: lambda p: outs[: p.n_chosen]}
    avals = carried[type(lowering)](lowering)
    shapes = [a.shape for a in avals if a.shape]
    common: Shape = ()
    if shapes:
        for extents in zip(*shapes, strict=False):
            if len(set(extents)) > 1:
                break
            common = (*common, extents[0])
    few = sum([a.size for a in avals]) <= _FEW
    batches = [common[:n] for n in range(len(common), 0, -1) if prod(common[:n]) > 1]
    wide = [b for b in batches if prod(b) >= _LANES]
    return [*wide, (), *[b for b in batches if b not in wide]] if few else [*batches, ()]


# ---------------------------------------------------------------------------------------------------------------------
# Statements


class _Scalar:
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
                lambda body, v=variable, e=extent, last=axis == n - 1: Loop(v, e, body, vector=last and e > 1, loc=self.loc), ()
            )
        self.uniform_results()
        body = without_dead(tuple(writer.scopes[0].statements), set())
        return self.call(body, targets)

    def call(self, body: tuple[Statement, ...], targets: list[str]) -> list[Atom]:
        what = Statements({name: value for name, value in self.buffers.items()}, tuple(targets), self.temporaries, body)
        reads = tuple(dict.fromkeys(self.buffers.values()))
        call = Call(what, reads, [])
        if self.graph is None and self.eqn.primitive.lowering == Counted():
            count = self.atoms[0] if type(self.atoms[0]) is int else self.flat.add(ConstantValue(aval((), i64), self.loc, self.atoms[0]))  # type: ignore[arg-type]
            call = Call(CountedPart(count, what), (*reads, count), [])
        for k, out in enumerate(self.outs):
            call.values.append(self.flat.add(ResultValue(out, self.loc, call, k)))
        return list(call.values)

    # ---- operands

    def run_over(self, lowering: Lowering | None) -> set[int]:
        """The operands whose first axis is that of the turns: loops run over them, and nothing else reads them."""
        if self.graph is None:
            return set(range(lowering.n_consts + lowering.n_carry, len(self.atoms))) if type(lowering) is Repeat else set()
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
        """``value`` as a function of its position along its one axis, if it is made of an iota and numbers alone."""
        definition = self.flat.values[value]
        if definition.aval.ndim != 1:
            return None
        element = self._by_position(value)
        return None if element is None else Virtual(definition.aval.shape, definition.aval.dtype, lambda at: element(at[0]))

    def _by_position(self, value: int) -> Callable[[Coordinate], Operand] | None:
        definition = self.flat.values[value]
        match definition:
            case IotaValue():
                return lambda at: self.writer.position(definition.aval.dtype, at, definition.loc)
            case MapValue(inputs=inputs):
                parts = [self._by_position(a) if type(a) is int else (lambda _, x=a: x) for a in inputs]
                if any([p is None for p in parts]) or not any([type(a) is int for a in inputs]):
                    return None
                return lambda at: self.writer.expand(definition.template, [p(at) for p in parts], definition.loc)  # type: ignore[misc]
            case _:
                return None

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
            start = combine(0, [((0, ((v, 1),)), s) for v, s in zip(writer.space_variables, inner[len(shape) :], strict=True)])
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
            index = 0
            for at in _places(to.shape):
                writer.store(to, tuple([(i, ()) for i in at]), x.atoms[index], loc)
                index += 1
        else:
            writer.copy(to, (), x, (), loc)

    def uniform_results(self) -> None:
        """Of results that are the same in all lanes, the copy of the first."""
        writer = self.writer
        for name, out, fresh in self.uniform:
            source = InMemory(out.shape, out.dtype, fresh.buffer, (fresh.start[0], ()), fresh.strides, False)
            to = InMemory(out.shape, out.dtype, name, ZERO, row_major(out.shape), False)
            writer.copy(to, (), source, (), self.loc)


def _places(shape: Shape) -> Any:
    from itertools import product

    return product(*map(range, shape))


# ---------------------------------------------------------------------------------------------------------------------
# Steps


class _Steps:
    """Loops and branches whose regions are programs of their own."""

    def __init__(self, flat: FlatProgram, flatten: Flatten, loc: Loc) -> None:
        self.flat, self.flatten, self.loc = flat, flatten, loc

    def results(self, eqn: Eqn, lowering: Lowering, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        match lowering:
            case Repeat():
                return self.repeat(lowering, eqn.regions[0], operands, outs)
            case While():
                return self.while_(lowering, eqn, operands, outs)
            case Branch():
                return self.branch(eqn, operands, outs)
            case Counted():
                count = self.value(operands[0])
                part, reads = self.part(eqn.regions[0], [self.whole(a) for a in operands[1:]])
                return self.add(CountedPart(count, part), [count, *reads], outs)
            case _:
                raise AssertionError(f"{eqn.primitive.name} has regions that are inlined")

    def add(self, what: Any, reads: Sequence[int], outs: Sequence[Aval]) -> list[Atom]:
        call = Call(what, tuple(dict.fromkeys(reads)), [])
        for k, out in enumerate(outs):
            call.values.append(self.flat.add(ResultValue(out, self.loc, call, k)))
        return list(call.values)

    def value(self, atom: Atom) -> int:
        return atom if type(atom) is int else self.flat.add(ConstantValue(atom.aval, self.loc, atom))  # type: ignore[union-attr]

    def part(self, graph: Graph, places: Sequence[Place | Literal]) -> tuple[Part, list[int]]:
        """A region over inputs that are at ``places``; and the values from outside that it reads."""
        inner = FlatProgram()
        kept: list[Place] = []
        atoms: list[Atom] = []
        reads: list[int] = []
        known: dict[int, Atom] = {}
        for place, a in zip(places, graph.in_avals, strict=True):
            if isinstance(place, Literal):
                atoms.append(place)
            elif place.kind == "whole":
                atoms.append(self.imported(inner, place.value, kept, reads, known))
            else:
                atoms.append(inner.add(InputValue(a, self.loc, len(kept))))
                kept.append(place)
                if place.kind == "slice":
                    reads.append(place.value)
        inner.outputs = self.flatten(graph, inner, atoms)
        return Part(inner, tuple(kept)), reads

    def imported(
        self, inner: FlatProgram, value: int, kept: list[Place], reads: list[int], known: dict[int, Atom]
    ) -> Atom:
        """A value from outside, in a region: views of it are made there."""
        if value in known:
            return known[value]
        definition = self.flat.values[value]
        match definition:
            case ConstantValue():
                found = inner.add(ConstantValue(definition.aval, definition.loc, definition.literal))
            case IotaValue():
                found = inner.add(IotaValue(definition.aval, definition.loc, definition.axis))
            case ViewValue():
                operand = self.imported(inner, definition.operand, kept, reads, known)
                assert type(operand) is int, "a view is of an array"
                found = inner.add(ViewValue(definition.aval, definition.loc, operand, definition.dims))
            case _:
                found = inner.add(InputValue(definition.aval, definition.loc, len(kept)))
                kept.append(Place("whole", value))
                reads.append(value)
        known[value] = found
        return found

    def sliced(self, atom: Atom) -> Place | Literal:
        """The slices of an array along its first axis: a window where they are without gaps, else of a copy."""
        value = self.value(atom)
        shape = self.flat.values[value].aval.shape
        block = self.flat.block(value)
        inner = [s for s, n in zip(block.strides[1:], shape[1:], strict=True) if n != 1]
        dense = [s for s, n in zip(row_major(shape[1:]), shape[1:], strict=True) if n != 1]
        if inner == dense and type(self.flat.values[block.value]) is not ConstantValue and block.strides[0] >= 0:
            return Place("slice", block.value, block.offset, block.strides[0])
        return Place("slice", value, 0, prod(shape[1:]))

    def whole(self, atom: Atom) -> Place | Literal:
        return Place("whole", atom) if type(atom) is int else atom  # type: ignore[return-value]

    def repeat(self, p: Repeat, graph: Graph, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        first_x = p.n_consts + p.n_carry
        starts = [self.value(a) for a in operands[p.n_consts : first_x]]
        places = [
            *[self.whole(a) for a in operands[: p.n_consts]],
            *[Place("carried", k) for k in range(p.n_carry)],
            *[self.sliced(a) for a in operands[first_x:]],
        ]
        part, reads = self.part(graph, places)
        return self.add(Turns(p.length, p.reverse, tuple(starts), part), [*starts, *reads], outs)

    def while_(self, p: While, eqn: Eqn, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        first = p.n_test_consts + p.n_body_consts
        test, body = _counting(p, eqn)
        starts = [self.value(a) for a in operands[first:]]
        turns = outs[-1]
        zero = ConstantValue(turns, self.loc, literal(0, i64))
        starts.append(self.flat.add(zero))
        carried = [Place("carried", k) for k in range(len(starts))]
        of_test, reads = self.part(test, [*[self.whole(a) for a in operands[: p.n_test_consts]], *carried])
        consts = operands[: first] if turns.shape else operands[p.n_test_consts : first]
        of_body, more = self.part(body, [*[self.whole(a) for a in consts], *carried])
        return self.add(TurnsWhile(tuple(starts), of_test, of_body), [*starts, *reads, *more], outs)

    def branch(self, eqn: Eqn, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        index, *others = operands
        n_chosen, n_own = eqn.params
        shape = self.flat.values[index].aval.shape if type(index) is int else ()
        if shape:
            graph = _selecting(eqn, aval(shape, i32))
            return self.flatten(graph, self.flat, [self.value(index), *others])
        chooser = Builder()
        number = chooser.input_ref(aval((), i32))
        tests = [eq(number, k) for k in range(len(eqn.regions))]
        graph = chooser.close([t.atom for t in tests])
        conditions = [self.value(a) for a in self.flatten(graph, self.flat, [self.value(index)])]
        places = [self.whole(a) for a in others]
        parts: list[Part] = []
        reads = list(conditions)
        for region_ in eqn.regions:
            part, more = self.part(region_, places)
            parts.append(part)
            reads += more
        results: list[tuple[int | None, ...]] = [(k,) * len(parts) for k in range(n_chosen)]
        for number_of, n in enumerate(n_own):
            for k in range(n):
                results.append(tuple([n_chosen + k if j == number_of else None for j in range(len(parts))]))
        return self.add(Branches(tuple(conditions), tuple(parts), tuple(results)), reads, outs)


def _counting(p: While, eqn: Eqn) -> tuple[Graph, Graph]:
    """The test and the body of a loop that carries the number of its turns as well; of a batch, with one test for all.

    In a batch the body also takes the constants of the test: it selects what goes on.
    """
    test, body = eqn.regions
    shape = test.out_avals[0].shape
    asks = Builder()
    numbers = [asks.input(a) for a in test.in_avals]
    asks.input(aval(shape, i64))
    answer = Ref(asks, asks.inline(test, numbers)[0])
    if shape:
        answer = reduce_or(answer, axes=tuple(range(len(shape))))
    again = Builder()
    test_consts = [again.input(a) for a in test.in_avals[: p.n_test_consts]] if shape else []
    inputs = [again.input(a) for a in body.in_avals]
    turns = again.input_ref(aval(shape, i64))
    outs = [Ref(again, a) for a in again.inline(body, inputs)]
    after = add(turns, 1)
    if shape:
        carried = inputs[p.n_body_consts :]
        goes_on = Ref(again, again.inline(test, [*test_consts, *carried])[0])
        olds = [Ref(again, a) for a in carried]
        outs = [_select(goes_on, new, old) for new, old in zip(outs, olds, strict=True)]
        after = _select(goes_on, after, turns)
    return (
        asks.close([answer.atom], name=test.name),
        again.close([*[o.atom for o in outs], after.atom], name=body.name),
    )


def _select(mask: Ref, new: Ref, old: Ref) -> Ref:
    wide = mask
    if new.ndim > mask.ndim:
        wide = broadcast(mask, shape=new.shape, dims=tuple(range(mask.ndim)))
    return select(wide, new, old)


def _selecting(eqn: Eqn, index: Aval) -> Graph:
    """All regions of a batched choice, and the results selected."""
    n_chosen, _ = eqn.params
    builder = Builder()
    chooser = builder.input_ref(index)
    inputs = [builder.input(a) for a in eqn.regions[0].in_avals]
    chosen: list[Ref] = []
    owned: list[Atom] = []
    for k, graph in enumerate(eqn.regions):
        outs = [Ref(builder, a) for a in builder.inline(graph, inputs)]
        here = eq(chooser, k)
        chosen = [_select(here, new, old) for new, old in zip(outs, chosen, strict=False)] if k else outs[:n_chosen]
        owned += [o.atom for o in outs[n_chosen:]]
    return builder.close([*[c.atom for c in chosen], *owned], name=eqn.regions[0].name)


__all__ = ["Carry", "and_", "region"]
