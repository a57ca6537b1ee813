"""The pass `hoist`: what does not change from turn to turn of a loop is computed before it.

Carried values that no turn changes become constants, equations on constants alone move in front of the loop, and
results of a turn that are constants are repeated behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval
from graphad.passes.pipeline import Pass, graph_pass
from graphad.primitives.control import computed
from graphad.primitives.crossing import Params as ScanParams
from graphad.primitives.crossing import varying
from graphad.primitives.layout import broadcast, iota, repeat_leading, reshape, transpose
from graphad.primitives.scan import scan
from graphad.primitives.shape import rev, slice_
from graphad.primitives.while_loop import Params as WhileParams
from graphad.primitives.while_loop import while_

#: Views cost nothing where they are read; in front of the loop they would be arrays in memory. Numbers are not.
_VIEWS: Final[tuple[Primitive, ...]] = (broadcast, iota, reshape, rev, slice_, transpose)


@graph_pass("hoist")
@dataclass(frozen=True)
class Hoist(Pass):
    """Move what no turn changes out of loops, from the innermost outwards."""

    def run(self, graph: Graph) -> Graph:
        """The graph; itself if there is nothing to move."""
        if not _has_loops(graph):
            return graph
        builder = _Hoister()
        outputs = builder.inline(graph, [builder.input(a) for a in graph.in_avals])
        return builder.close(outputs, graph.weak, name=graph.name)


def _has_loops(graph: Graph) -> bool:
    return any([e.primitive in (scan, while_) or any([_has_loops(r) for r in e.regions]) for e in graph.eqns])


class _Hoister(Builder):
    """A builder in which loops arrive without what does not change in them."""

    __slots__ = ()

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[Aval]) -> tuple[int, ...]:
        if not eqn.regions:
            return super().copy(eqn, inputs, avals)
        run = Hoist().run
        eqn = eqn._replace(regions=tuple([r.memoize("hoist", lambda r=r: run(r)) for r in eqn.regions]))
        loc = self.loc
        if eqn.primitive is scan:
            found = _scan(self, eqn, inputs)
        else:
            found = _while(self, eqn, inputs) if eqn.primitive is while_ else None
        self.loc = loc
        if found is None:
            return super().copy(eqn, inputs, avals)
        return tuple(found)  # pyright: ignore[reportReturnType]  (literals among them: atoms all the same)


def _scan(builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> list[Atom] | None:
    p, region = ScanParams(*eqn.params), eqn.regions[0]
    kept = [k for k in range(p.n_carry) if region.outputs[k] != p.n_consts + k]
    fixed = [k for k in range(p.n_carry) if k not in kept]
    consts = [*range(p.n_consts), *[p.n_consts + k for k in fixed]]
    changing = [*[p.n_consts + k for k in kept], *range(p.first_x, region.n_inputs)]
    varies = varying(region, changing)
    constant_ys = [k for k in range(p.n_carry, len(region.outputs)) if not _varies(region.outputs[k], varies)]
    outputs = [region.outputs[k] for k in range(len(region.outputs)) if k not in fixed and k not in constant_ys]
    values = _frontier(region, varies, outputs)
    if not (fixed or constant_ys or [v for v in values if v not in consts]):
        return None
    atoms_of = {k: inputs[k] for k in consts}
    before = computed(builder, region, [*values, *[region.outputs[k] for k in constant_ys]], atoms_of)
    moved = _after_hoisting(region, values, changing, outputs)
    operands = [*before[: len(values)], *[inputs[k] for k in changing]]
    params = p._replace(n_consts=len(values), n_carry=len(kept))
    results = iter(builder.emit(scan, tuple(operands), tuple(params), (moved,)))
    repeated = dict(zip(constant_ys, before[len(values) :], strict=True))
    found: list[Atom] = []
    for k in range(len(region.outputs)):
        if k in fixed:
            found.append(inputs[p.n_consts + k])
        elif k in repeated:
            found.append(repeat_leading(Ref(builder, repeated[k]), p.length).atom)
        else:
            found.append(next(results))
    return found


def _while(builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> list[Atom]:
    p, (test, body) = WhileParams(*eqn.params), eqn.regions
    parts: list[tuple[Graph, list[Atom]]] = []
    for region, first, n_consts in ((test, 0, p.n_test_consts), (body, p.n_test_consts, p.n_body_consts)):
        changing = list(range(n_consts, region.n_inputs))
        varies = varying(region, changing)
        values = _frontier(region, varies, region.outputs)
        atoms_of = {k: inputs[first + k] for k in range(n_consts)}
        before = computed(builder, region, values, atoms_of)
        parts.append((_after_hoisting(region, values, changing, region.outputs), before))
    (new_test, of_test), (new_body, of_body) = parts
    operands = (*of_test, *of_body, *inputs[p.first_carry :])
    return list(builder.emit(while_, operands, (len(of_test), len(of_body)), (new_test, new_body)))


def _varies(atom: Atom, varies: bytearray) -> bool:
    return type(atom) is int and bool(varies[atom])


def _frontier(region: Graph, varies: bytearray, outputs: Sequence[Atom]) -> list[int]:
    """The values that do not change and that what changes reads, views followed to what they look at."""
    makers = {o: e for e in region.eqns for o in e.outputs}
    found: dict[int, None] = {}
    wanted = [a for e in region.eqns if any([varies[o] for o in e.outputs]) for a in e.inputs]
    stack = [a for a in (*wanted, *outputs) if type(a) is int and not varies[a]]
    while stack:
        a = stack.pop()
        eqn = makers.get(a)
        is_view = eqn is not None and eqn.primitive in _VIEWS and region.avals[a].size > 1
        if eqn is not None and (is_view or not any([type(i) is int for i in eqn.inputs])):
            stack.extend([i for i in eqn.inputs if type(i) is int])
        else:
            found[a] = None
    return sorted(found)


def _after_hoisting(region: Graph, values: Sequence[int], changing: Sequence[int], outputs: Sequence[Atom]) -> Graph:
    """The region with inputs for ``values``, then those that change."""
    inner = Builder()
    known: dict[int, Atom] = {v: inner.input(region.avals[v]) for v in values}
    known |= {k: inner.input(region.avals[k]) for k in changing}
    for eqn, loc in zip(region.eqns, region.locs, strict=True):
        missing = [a for a in eqn.inputs if type(a) is int and a not in known]
        if missing or (eqn.outputs and all([o in known for o in eqn.outputs])):
            continue  # it is computed in front of the loop
        inner.loc = loc
        atoms = tuple([known[a] if type(a) is int else a for a in eqn.inputs])
        numbers = inner.copy(eqn, atoms, [region.avals[o] for o in eqn.outputs])
        known |= {o: n for o, n in zip(eqn.outputs, numbers, strict=True) if o not in known}
    return inner.close([known[a] if type(a) is int else a for a in outputs], name=region.name)
