"""Equations with regions that are not inlined, as definitions: loops and branches.

A loop whose body is scalar arithmetic becomes one nest (`registers`), with lanes for the members of a batch if there is
one; every other loop is made of steps, and its regions are flat programs of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from graphad.backends.lower.affine import row_major
from graphad.backends.lower.definitions import (
    ConstantValue,
    FlatProgram,
    InputValue,
    IotaValue,
    ViewValue,
)
from graphad.backends.lower.region_values import (
    Branches,
    Call,
    CountedPart,
    Part,
    Place,
    ResultValue,
    Turns,
    TurnsWhile,
)
from graphad.backends.lower.registers.arrays import NotScalarError
from graphad.backends.lower.registers.nest import Nest, spaces
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Branch, Counted, Lowering, Repeat, While
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal, aval, b1, i32, i64, literal
from graphad.primitives.elementwise import add, eq, select
from graphad.primitives.layout import broadcast
from graphad.primitives.reduce import reduce_or

Flatten = Callable[[Graph, FlatProgram, Sequence[Atom]], list[Atom]]


def region(
    flat: FlatProgram,
    eqn: Eqn,
    lowering: Lowering,
    operands: Sequence[Atom],
    outs: Sequence[Aval],
    flatten: Flatten,
    loc: Loc,
) -> list[Atom]:
    """Append the results of an equation with regions."""
    if type(lowering) is Repeat and not lowering.length:
        starts = operands[lowering.n_consts : lowering.n_consts + lowering.n_carry]
        empty = outs[lowering.n_carry :]
        return [*starts, *[flat.add(ConstantValue(a, loc, literal(0, a.dtype))) for a in empty]]
    for space in spaces(eqn, lowering, outs):
        try:
            return Nest(flat, eqn, operands, outs, space, loc).results()
        except NotScalarError:
            continue
    return _Steps(flat, flatten, loc).results(eqn, lowering, operands, outs)


class _Steps:
    """Loops and branches whose regions are programs of their own."""

    def __init__(self, flat: FlatProgram, flatten: Flatten, loc: Loc) -> None:
        self.flat, self.flatten, self.loc = flat, flatten, loc
        self.effectful = False

    def results(self, eqn: Eqn, lowering: Lowering, operands: Sequence[Atom], outs: Sequence[Aval]) -> list[Atom]:
        self.effectful = any([region.effectful for region in eqn.regions])
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
        # What has an effect is placed for the sake of one more value, without elements.
        for k, out in enumerate([*outs, aval((0,), b1)] if self.effectful else outs):
            call.values.append(self.flat.add(ResultValue(out, self.loc, call, k)))
        if self.effectful:
            self.flat.effects.append(call.values[-1])
        return list(call.values[: len(outs)])

    def value(self, atom: Atom) -> int:
        return atom if type(atom) is int else self.flat.add(ConstantValue(atom.aval, self.loc, atom))  # type: ignore[union-attr]

    def part(self, graph: Graph, places: Sequence[Place | Literal]) -> tuple[Part, list[int]]:
        """A region over inputs that are at ``places``; and the values from outside that it reads."""
        inner = FlatProgram(self.flat.traits, prints_are_calls=True)
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
        consts = operands[:first] if turns.shape else operands[p.n_test_consts : first]
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
            results += [tuple([n_chosen + k if j == number_of else None for j in range(len(parts))]) for k in range(n)]
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
