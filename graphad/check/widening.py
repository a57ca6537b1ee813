"""Widening of graphs to float64, where finite differences are more accurate."""

from __future__ import annotations

from typing import Any

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.params import NAMED
from graphad.ir.types import Aval, DType, Literal, aval, f64, literal


def widened(graph: Graph) -> Graph | None:
    """``graph`` with float64 instead of every floating-point type; None if an equation does not allow it.

    A custom derivative does not, nor does a callback: it is the user's, for the types that it was traced with.
    """
    if any([kind in NAMED for eqn in graph.eqns for kind in eqn.primitive.params.values()]):
        return None
    try:
        made = _widened(graph)
    except (TypeError, ValueError):  # a type rule refuses: the equation is about the bits of its dtype
        return None
    return made if all([a.dtype is f64 for a in made.out_avals if a.is_float]) else None


def _widened(graph: Graph) -> Graph:
    builder = Builder()
    number: list[Any] = [builder.input(_wide(a)) for a in graph.in_avals]
    number.extend([None] * (len(graph.avals) - graph.n_inputs))

    def operand(atom: Atom) -> Atom:
        return number[atom] if isinstance(atom, int) else _wide_literal(atom)

    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        builder.loc = loc
        params = tuple([f64 if isinstance(p, DType) and p.is_float else p for p in eqn.params])
        regions = tuple([_widened(r) for r in eqn.regions])
        outputs = builder.emit(eqn.primitive, tuple([operand(a) for a in eqn.inputs]), params, regions)
        for o, made in zip(eqn.outputs, outputs, strict=True):
            number[o] = made
    return builder.close([operand(a) for a in graph.outputs], graph.weak, name=graph.name)


def _wide(a: Aval) -> Aval:
    return aval(a.shape, f64) if a.is_float else a


def _wide_literal(x: Literal) -> Literal:
    return literal(x.item(), f64) if x.dtype.is_float else x
