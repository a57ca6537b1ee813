"""Lifting of constants to inputs: graphs that differ only in floating-point constants become one."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.ref import Ref
from graphad.ir.types import DType, Literal, aval
from graphad.primitives.cond import cond
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.scan import scan
from graphad.primitives.shape import slice_
from graphad.primitives.while_loop import while_


class Lifted(NamedTuple):
    """A graph with further inputs, and their values: a vector of constants for each dtype."""

    graph: Graph
    numbers: tuple[np.ndarray[Any, Any], ...]


def lift_constants(graph: Graph) -> Lifted:
    """``graph`` with its float constants as inputs, but for 0, 1 and -1, which rewrite rules eliminate.

    Those in the bodies of loops and branches too; constants in other regions and of effects stay.
    """
    graph = _with_operands(graph)
    places: dict[DType, dict[Literal, int]] = {}
    used = [a for eqn in graph.eqns if not _is_left_alone(eqn) for a in eqn.inputs]
    for a in (*used, *graph.outputs):
        if isinstance(a, Literal) and _is_lifted(a):
            found = places.setdefault(a.dtype, {})
            found.setdefault(a, len(found))
    if not places:
        return Lifted(graph, ())
    lift = _Lift(graph, places)
    numbers = tuple([np.array([a.value for a in found], dtype.numpy) for dtype, found in places.items()])
    return Lifted(lift.graph(), numbers)


def _is_lifted(a: Atom) -> bool:
    return isinstance(a, Literal) and a.dtype.is_float and abs(a.item()) not in (0.0, 1.0)


def _is_left_alone(eqn: Eqn) -> bool:
    return (bool(eqn.regions) and eqn.primitive not in _ENTERED) or eqn.primitive.effect


# ---------------------------------------------------------------------------------------------------------------------
# Bodies of loops and branches: their constants become operands of the equation

_ENTERED: Final = (scan, while_, cond)


def _with_operands(graph: Graph) -> Graph:
    """``graph``, in whose loops and branches constants are operands."""
    if not any([eqn.primitive in _ENTERED for eqn in graph.eqns]):
        return graph
    eqns = [_entered(eqn) if eqn.primitive in _ENTERED else eqn for eqn in graph.eqns]
    return Graph(graph.avals, graph.n_inputs, tuple(eqns), graph.outputs, graph.weak, graph.locs, graph.name)


def _entered(eqn: Eqn) -> Eqn:
    primitive, inputs, params, outputs, regions = eqn
    found = [_body(region) for region in regions]
    if not any([literals for _, literals in found]):
        return eqn
    if primitive is scan:
        (body, literals), (length, reverse, n_consts, n_carry) = found[0], params
        moved = _in_place(body, len(literals), n_consts)
        new = (length, reverse, n_consts + len(literals), n_carry)
        return Eqn(primitive, (*inputs[:n_consts], *literals, *inputs[n_consts:]), new, outputs, (moved,))
    if primitive is while_:
        (test, of_test), (body, of_body), (n_test, n_body) = *found, params
        moved = (_in_place(test, len(of_test), n_test), _in_place(body, len(of_body), n_body))
        consts = (*inputs[:n_test], *of_test, *inputs[n_test : n_test + n_body], *of_body)
        new = (n_test + len(of_test), n_body + len(of_body))
        return Eqn(primitive, (*consts, *inputs[n_test + n_body :]), new, outputs, moved)
    literals = [x for _, own in found for x in own]
    branches: list[Graph] = []
    before = 0
    for region, (body, own) in zip(regions, found, strict=True):
        builder = Builder()
        given = [builder.input(a) for a in region.in_avals]
        numbers = [builder.input(x.aval) for x in literals]
        outs = builder.inline(body, [*given, *numbers[before : before + len(own)]])
        branches.append(builder.close(outs, region.weak, name=region.name))
        before += len(own)
    return Eqn(primitive, (*inputs, *literals), params, outputs, tuple(branches))


def _body(region: Graph) -> tuple[Graph, list[Literal]]:
    """``region`` with further inputs, at the end, in place of its constants; and those."""
    region = _with_operands(region)
    used = [a for eqn in region.eqns if not _is_left_alone(eqn) for a in eqn.inputs]
    literals = list(dict.fromkeys([a for a in (*used, *region.outputs) if _is_lifted(a)]))
    if not literals:
        return region, []
    builder = Builder()
    value: list[Atom] = [builder.input(a) for a in region.in_avals]
    number: dict[Atom, Ref] = {x: builder.input_ref(x.aval) for x in literals}  # type: ignore[union-attr]
    value.extend([0] * (len(region.avals) - region.n_inputs))
    for eqn, loc in zip(region.eqns, region.locs, strict=True):
        builder.loc = loc
        shape = region.avals[eqn.outputs[0]].shape if eqn.primitive.elementwise and eqn.outputs else ()
        kept = _is_left_alone(eqn)
        atoms = tuple(
            [value[a] if type(a) is int else a if kept else _spread(number.get(a), a, shape) for a in eqn.inputs]
        )
        for o, new in zip(eqn.outputs, builder.copy(eqn, atoms, [region.avals[o] for o in eqn.outputs]), strict=True):
            value[o] = new
    outs = [value[a] if type(a) is int else _spread(number.get(a), a, ()) for a in region.outputs]
    return builder.close(outs, region.weak, name=region.name), literals  # type: ignore[return-value]


def _spread(number: Ref | None, atom: Atom, shape: tuple[int, ...]) -> Atom:
    if number is None:
        return atom
    return broadcast(number, shape=shape, dims=()).atom if shape else number.atom


def _in_place(body: Graph, n_more: int, at: int) -> Graph:
    """``body`` with its last inputs, ``n_more`` of them, at position ``at``."""
    if not n_more:
        return body
    builder = Builder()
    avals = body.in_avals
    n = len(avals) - n_more
    first = [builder.input(a) for a in avals[:at]]
    more = [builder.input(a) for a in avals[n:]]
    last = [builder.input(a) for a in avals[at:n]]
    return builder.close(builder.inline(body, [*first, *last, *more]), body.weak, name=body.name)


class _Lift:
    """Writes ``graph`` again, with the literals of ``places`` read from vectors."""

    def __init__(self, old: Graph, places: dict[DType, dict[Literal, int]]) -> None:
        self.old = old
        self.places = places
        self.builder = Builder()
        self.value: list[Atom] = [self.builder.input(a) for a in old.in_avals]
        self.vectors = {d: self.builder.input_ref(aval((len(found),), d)) for d, found in places.items()}
        self.value.extend([0] * (len(old.avals) - old.n_inputs))

    def graph(self) -> Graph:
        old = self.old
        for eqn, loc in zip(old.eqns, old.locs, strict=True):
            self.builder.loc = loc
            atoms = tuple([self._operand(a, eqn) for a in eqn.inputs])
            outputs = self.builder.copy(eqn, atoms, [old.avals[o] for o in eqn.outputs])
            for o, n in zip(eqn.outputs, outputs, strict=True):
                self.value[o] = n
        outs = [self.value[a] if type(a) is int else self._number(a, ()) for a in old.outputs]
        return self.builder.close(outs, old.weak, name=old.name)

    def _operand(self, atom: Atom, eqn: Eqn) -> Atom:
        if isinstance(atom, int):
            return self.value[atom]
        if _is_left_alone(eqn):
            return atom
        return self._number(atom, self.old.avals[eqn.outputs[0]].shape if eqn.primitive.elementwise else ())

    def _number(self, literal: Any, shape: tuple[int, ...]) -> Atom:
        """A literal, or the value that replaces it, broadcast to a shape."""
        k = self.places.get(literal.dtype, {}).get(literal)
        if k is None:
            return literal
        one = slice_(self.vectors[literal.dtype], start=(k,), stop=(k + 1,), step=(1,))
        number: Ref = reshape(one, shape=())
        return broadcast(number, shape=shape, dims=()).atom if shape else number.atom
