"""Lifting of constants to inputs: graphs that differ only in floating-point constants become one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.ref import Ref
from graphad.ir.types import DType, Literal, aval
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.shape import slice_


class Lifted(NamedTuple):
    """A graph with further inputs, and their values: a vector of constants for each dtype."""

    graph: Graph
    numbers: tuple[np.ndarray[Any, Any], ...]


def lift_constants(graph: Graph) -> Lifted:
    """``graph`` with its float constants as inputs, but for 0, 1 and -1, which rewrite rules eliminate.

    Constants in regions and of effects stay as well.
    """
    places: dict[DType, dict[Literal, int]] = {}
    used = [a for eqn in graph.eqns if not _is_left_alone(eqn) for a in eqn.inputs]
    for a in (*used, *graph.outputs):
        if isinstance(a, Literal) and a.dtype.is_float and abs(a.item()) not in (0.0, 1.0):
            found = places.setdefault(a.dtype, {})
            found.setdefault(a, len(found))
    if not places:
        return Lifted(graph, ())
    lift = _Lift(graph, places)
    numbers = tuple([np.array([a.value for a in found], dtype.numpy) for dtype, found in places.items()])
    return Lifted(lift.graph(), numbers)


def _is_left_alone(eqn: Eqn) -> bool:
    return bool(eqn.regions) or eqn.primitive.effect


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
