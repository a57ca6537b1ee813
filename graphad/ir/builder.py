"""`Builder`: appends equations with value numbering, and closes into a `Graph` without dead code.

Equal equations get one number as they are appended (common subexpressions never exist), and `close` drops dead ones:
neither is a pass. Appending is what tracing and every transform spend their time on, so it works on plain ints, tuples
and one dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.ir.graph import Atom, Eqn, Graph, is_effectful
from graphad.ir.loc import Loc
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, Literal

_new = tuple.__new__


class Builder:
    """A graph under construction.

    Attributes
    ----------
    avals, inputs, eqns, locs
        Those of the graph to be made; ``inputs`` are value numbers.
    loc
        The location given to the equations appended next.
    """

    __slots__ = ("__weakref__", "avals", "eqns", "inputs", "loc", "locs", "table")

    def __init__(self) -> None:
        self.avals: list[Aval] = []
        self.inputs: list[int] = []
        self.eqns: list[Eqn] = []
        self.locs: list[Loc] = []
        self.loc: Loc = None
        self.table: dict[tuple[Any, ...], tuple[int, ...]] = {}

    def input(self, aval: Aval) -> int:
        """Append an input; its value number."""
        number = len(self.avals)
        self.avals.append(aval)
        self.inputs.append(number)
        return number

    def input_ref(self, aval: Aval) -> Ref:
        return Ref(self, self.input(aval))

    def emit(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        params: tuple[Any, ...] = (),
        regions: tuple[Graph, ...] = (),
    ) -> tuple[int, ...]:
        """Append an equation, types inferred and checked; the numbers of its outputs."""
        if primitive.commutative:
            inputs = _in_order(inputs)
        key = (primitive, inputs, params, regions)
        found = self.table.get(key)
        if found is not None:
            return found
        avals = self.avals
        types = tuple([avals[a] if type(a) is int else a.type for a in inputs])  # type: ignore[union-attr]
        return self._append(primitive, inputs, params, regions, primitive.infer(types, params, regions), key)

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[Aval]) -> tuple[int, ...]:
        """Append ``eqn`` of another graph on new inputs; ``avals`` are those of its outputs, already known."""
        primitive, _, params, _, regions = eqn
        if primitive.commutative:
            inputs = _in_order(inputs)
        key = (primitive, inputs, params, regions)
        found = self.table.get(key)
        if found is not None:
            return found
        return self._append(primitive, inputs, params, regions, avals, key)

    def _append(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        params: tuple[Any, ...],
        regions: tuple[Graph, ...],
        out_avals: Sequence[Aval],
        key: tuple[Any, ...],
    ) -> tuple[int, ...]:
        avals = self.avals
        first = len(avals)
        avals.extend(out_avals)
        outputs = (first,) if len(out_avals) == 1 else tuple(range(first, len(avals)))
        eqn = _new(Eqn, (primitive, inputs, params, outputs, regions))
        self.eqns.append(eqn)
        self.locs.append(self.loc)
        if not (primitive.effect or (regions and is_effectful(eqn))):
            self.table[key] = outputs
        return outputs

    def inline(self, graph: Graph, inputs: Sequence[Atom]) -> list[Atom]:
        """Append all equations of ``graph`` on ``inputs``; the atoms of its outputs."""
        value: list[Atom] = [*inputs, *([0] * (len(graph.avals) - graph.n_inputs))]
        avals = graph.avals
        first = graph.n_inputs
        for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
            self.loc = loc
            atoms = tuple([value[a] if type(a) is int else a for a in eqn[1]])
            after = first + len(eqn[3])
            value[first:after] = self.copy(eqn, atoms, avals[first:after])
            first = after
        return [value[a] if type(a) is int else a for a in graph.outputs]

    def adopt(self, graph: Graph) -> list[Atom]:
        """What `inline` does where there are no equations yet, and all inputs are those of ``graph`` in their order.

        The numbers stay as they are, so that nothing is looked up. ``graph`` has no effects and was made by a builder.
        """
        self.avals.extend(graph.avals[graph.n_inputs :])
        self.eqns.extend(graph.eqns)
        self.locs.extend(graph.locs)
        self.table.update({(eqn[0], eqn[1], eqn[2], eqn[4]): eqn[3] for eqn in graph.eqns})
        return list(graph.outputs)

    def adopt_independent(self, graph: Graph, depends: bytearray) -> list[int]:
        """Begin with the equations of ``graph`` that do not depend on some of its inputs; the positions of the others.

        The numbers stay as they are, those of the values that are left out among them; `close` counts anew. ``depends``
        marks the inputs, and is marked for every other value that depends on them.
        """
        self.avals.extend(graph.avals)
        self.inputs.extend([i for i in range(graph.n_inputs) if not depends[i]])
        others: list[int] = []
        for k, eqn in enumerate(graph.eqns):
            primitive, inputs, params, outputs, regions = eqn
            if any([type(a) is int and depends[a] for a in inputs]):
                for o in outputs:
                    depends[o] = 1
                others.append(k)
                continue
            self.eqns.append(eqn)
            self.locs.append(graph.locs[k])
            if not (primitive.effect or (regions and is_effectful(eqn))):
                self.table[primitive, inputs, params, regions] = outputs
        return others

    def dependent(self, values: Sequence[Atom]) -> bytearray:
        """Marks of ``values`` and of all that depends on them."""
        marks = bytearray(len(self.avals))
        for a in values:
            marks[a] = 1  # type: ignore[index]
        for _, inputs, _, outputs, _ in self.eqns:
            if any([type(a) is int and marks[a] for a in inputs]):
                for o in outputs:
                    marks[o] = 1
        return marks

    def close(
        self,
        outputs: Sequence[Atom],
        weak: Sequence[bool] | None = None,
        inputs: Sequence[int] | None = None,
        name: str = "main",
    ) -> Graph:
        """The graph of ``outputs``, without dead equations and dead outputs of regions.

        ``inputs`` reorders or narrows the inputs; every input that is read must be among them.
        """
        inputs = self.inputs if inputs is None else inputs
        kept, pruned = self._live(outputs)
        weak = tuple(weak) if weak is not None else (False,) * len(outputs)
        if not pruned and len(kept) == len(self.eqns) and list(inputs) == self.inputs == list(range(len(inputs))):
            if len(self.avals) == len(inputs) + sum([len(eqn[3]) for eqn in self.eqns]):  # no number is left out
                tables = tuple(self.avals), len(inputs), tuple(self.eqns)
                return Graph(*tables, tuple(outputs), weak, tuple(self.locs), name)
        return self._renumber(kept, outputs, weak, inputs, name)

    def _live(self, outputs: Sequence[Atom]) -> tuple[list[tuple[Eqn, Loc]], bool]:
        """The equations that ``outputs`` and effects need, in order, and whether a region among them was pruned."""
        live = bytearray(len(self.avals))
        for a in outputs:
            if type(a) is int:
                live[a] = 1
        kept: list[tuple[Eqn, Loc]] = []
        pruned = False
        for eqn, loc in zip(reversed(self.eqns), reversed(self.locs), strict=True):
            primitive, inputs, _, outs, regions = eqn
            if len(outs) == 1:
                if not live[outs[0]] and not (primitive.effect or (regions and is_effectful(eqn))):
                    continue
            elif not any([live[o] for o in outs]):
                if not (primitive.effect or (regions and is_effectful(eqn))):
                    continue
            if regions and primitive.prune is not None:
                slim = primitive.prune(eqn, tuple([bool(live[o]) for o in outs]))
                if slim is not eqn:
                    eqn, pruned = slim, True
                    inputs = eqn.inputs
            kept.append((eqn, loc))
            for a in inputs:
                if type(a) is int:
                    live[a] = 1
        kept.reverse()
        return kept, pruned

    def _renumber(
        self,
        kept: list[tuple[Eqn, Loc]],
        outputs: Sequence[Atom],
        weak: tuple[bool, ...],
        inputs: Sequence[int],
        name: str,
    ) -> Graph:
        number: list[Any] = [None] * len(self.avals)
        avals: list[Aval] = []
        source = self.avals
        for i in inputs:
            number[i] = len(avals)
            avals.append(source[i])
        eqns: list[Eqn] = []
        for (primitive, ins, params, outs, regions), _ in kept:
            new_ins = tuple([number[a] if type(a) is int else a for a in ins])
            if primitive.commutative:
                new_ins = _in_order(new_ins)
            first = len(avals)
            if len(outs) == 1:
                number[outs[0]] = first
                avals.append(source[outs[0]])
                new_outs = (first,)
            else:
                new_outs = tuple(range(first, first + len(outs)))
                for o, new in zip(outs, new_outs, strict=True):
                    number[o] = new
                    avals.append(source[o])
            eqns.append(_new(Eqn, (primitive, new_ins, params, new_outs, regions)))
        locs = [loc for _, loc in kept]
        outs = tuple([number[a] if type(a) is int else a for a in outputs])
        return Graph(tuple(avals), len(inputs), tuple(eqns), outs, weak, tuple(locs), name)


def _in_order(inputs: tuple[Atom, ...]) -> tuple[Atom, ...]:
    """The two operands of a commutative primitive in canonical order: values by number, then literals by bits."""
    a, b = inputs
    if type(a) is int:
        return (b, a) if type(b) is int and b < a else inputs
    if type(b) is int or (isinstance(a, Literal) and isinstance(b, Literal) and b.order < a.order):
        return b, a
    return inputs
