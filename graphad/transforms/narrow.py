"""Narrowing of inputs to the dtype in which they are used."""

from __future__ import annotations

from collections.abc import Collection

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.types import DType, aval, f32
from graphad.primitives.cast import convert


def narrow_inputs(graph: Graph, candidates: Collection[int]) -> Graph:
    """``graph`` with float64 inputs narrowed: those of ``candidates`` that it only converts to one float dtype.

    Unused inputs become float32.
    """
    wanted = _wanted(graph, candidates)
    if not wanted:
        return graph
    builder = Builder()
    value: list[Atom] = [
        builder.input(aval(a.shape, wanted[k]) if k in wanted else a) for k, a in enumerate(graph.in_avals)
    ]
    value.extend([0] * (len(graph.avals) - graph.n_inputs))
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        if eqn.primitive is convert and eqn.inputs[0] in wanted:
            value[eqn.outputs[0]] = value[eqn.inputs[0]]  # type: ignore[index]
            continue
        builder.loc = loc
        atoms = tuple([value[a] if type(a) is int else a for a in eqn.inputs])
        numbers = builder.copy(eqn, atoms, [graph.avals[o] for o in eqn.outputs])
        for o, n in zip(eqn.outputs, numbers, strict=True):
            value[o] = n
    outputs = [value[a] if type(a) is int else a for a in graph.outputs]
    return builder.close(outputs, graph.weak, name=graph.name)


def _wanted(graph: Graph, candidates: Collection[int]) -> dict[int, DType]:
    """The dtype that each input will have, of those that change."""
    uses: dict[int, set[DType]] = {k: set() for k in candidates}
    for eqn in graph.eqns:
        for a in eqn.inputs:
            if type(a) is int and a in uses:
                if eqn.primitive is convert and eqn.params[0].is_float:
                    uses[a].add(eqn.params[0])
                else:
                    del uses[a]
    for a in graph.outputs:
        if type(a) is int:
            uses.pop(a, None)
    return {k: next(iter(d), f32) for k, d in uses.items() if len(d) < 2}
