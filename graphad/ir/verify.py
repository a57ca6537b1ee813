"""The verifier: the invariants of every graph."""

from __future__ import annotations

import copy
from itertools import zip_longest
from typing import NoReturn

from graphad.config import config
from graphad.errors import ParseError, VerifyError, at
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import format_loc
from graphad.ir.text import Mark, format_graph, parse_graph
from graphad.ir.types import Aval, Literal, aval

__all__ = ["effects", "verify", "verify_effects"]

_VERIFIED = "verified"  # key in `Graph.memo`: a graph never changes, so it is checked once


def verify(graph: Graph, level: int | None = None) -> Graph:
    """Check ``graph`` and return it.

    Parameters
    ----------
    graph
        What to check, with its regions.
    level
        0: nothing. 1: numbering, operands, params, types, regions, outputs. 2 and up: its text reads back as an equal
        graph, too. By default ``config.verify``.

    Raises
    ------
    VerifyError
        The message says what is wrong and prints the graph with the guilty line marked.
    """
    level = config.verify if level is None else level
    if level >= 1 and _VERIFIED not in graph.memo:
        _Verifier(graph, graph).graph()
    if level >= 2 and ("text", _VERIFIED) not in graph.memo:
        _verify_text(graph)
    return graph


def _verify_text(graph: Graph) -> None:
    rules: dict[str, object] = {}
    text = format_graph(graph, rules)
    try:
        same = parse_graph(text, rules) == graph
    except ParseError as e:
        raise VerifyError(f"the graph's text cannot be read back: {e}\n{text}") from e
    if not same:
        raise VerifyError(f"the graph's text reads back as another graph:\n{text}")
    graph.memo["text", _VERIFIED] = True


def effects(graph: Graph) -> list[Eqn]:
    """The equations of ``graph`` and its regions that have effects of their own, in the order they happen."""
    found: list[Eqn] = []
    for eqn in graph.eqns:
        if eqn.primitive.effect:
            found.append(eqn)
        for region in eqn.regions:
            if region.effectful:
                found += effects(region)
    return found


def verify_effects(before: Graph, after: Graph) -> None:
    """Check that a pass kept all effects in their order; guards too, for the paths of a function count them.

    Raises
    ------
    VerifyError
        An effect of ``before`` is missing in ``after`` or in another place, or ``after`` has one more.
    """
    for old, new in zip_longest(effects(before), effects(after)):
        if old is None:
            raise VerifyError(f"a new effect: {new.primitive.name}\n{format_graph(after)}")
        if new is None or (old.primitive, old.params) != (new.primitive, new.params):
            raise VerifyError(f"the effect {old.primitive.name} was dropped or reordered\n{format_graph(after)}")


class _Verifier:
    """Checks one graph; errors print the outermost one, ``root``."""

    def __init__(self, graph: Graph, root: Graph) -> None:
        self.checked = graph
        self.root = root
        self.literals: set[Literal] = set()  # that were found to be interned

    def fail(self, index: int, message: str) -> NoReturn:
        """Raise about equation ``index`` (-1: the header; one past the last: `return`)."""
        g = self.checked
        loc = g.locs[index] if 0 <= index < min(len(g.eqns), len(g.locs)) else None
        text = format_graph(self.root, mark=Mark(g, index))
        raise VerifyError(at(format_loc(loc), f"{message}\n{text}"))

    def graph(self) -> None:
        g = self.checked
        self.tables()
        defined = g.n_inputs
        for k, eqn in enumerate(g.eqns):
            for a in eqn[1]:
                if type(a) is not int or not 0 <= a < defined:
                    self.operand(k, a)
            defined = self.eqn(k, eqn, defined)
        for a in g.outputs:
            if type(a) is not int or not 0 <= a < defined:
                self.operand(len(g.eqns), a)
        g.memo[_VERIFIED] = True

    def tables(self) -> None:
        """The lengths of the graph's tables agree."""
        g = self.checked
        n_values = g.n_inputs + sum(len(e.outputs) for e in g.eqns)
        if len(g.avals) != n_values:
            self.fail(-1, f"the graph has {n_values} values, but types for {len(g.avals)}")
        if len(g.weak) != len(g.outputs):
            self.fail(-1, f"the graph has {len(g.outputs)} outputs, but weak bits for {len(g.weak)}")
        if len(g.locs) != len(g.eqns):
            self.fail(-1, f"the graph has {len(g.eqns)} equations, but locations for {len(g.locs)}")
        for i, a in enumerate(g.in_avals):
            self.interned(-1, i, a)

    def interned(self, index: int, number: int, a: Aval) -> None:
        if type(a) is not Aval or aval(a.shape, a.dtype) is not a:
            self.fail(index, f"the type of %{number} is no interned Aval; make types with aval(shape, dtype)")

    def operand(self, index: int, atom: Atom) -> None:
        """What is no value defined before must be an interned literal."""
        if type(atom) is int:
            self.fail(index, f"%{atom} is used before it is defined")
        if type(atom) is Literal and atom in self.literals:
            return
        if type(atom) is not Literal or copy.copy(atom) is not atom:  # copying goes through the table of literals
            self.fail(index, f"operand {atom!r} is no interned Literal; make literals with literal(value, dtype)")
        self.literals.add(atom)

    def eqn(self, k: int, eqn: Eqn, defined: int) -> int:
        """Params, regions, and types recomputed by the type rule; the number of the value after its outputs."""
        primitive, inputs, params, outputs, regions = eqn
        if params or primitive.params:
            self.params(k, eqn)
        if regions:
            self.regions(k, eqn)
        avals = self.checked.avals
        types = tuple([avals[a] if type(a) is int else a.type for a in inputs])  # pyright: ignore
        try:
            inferred = primitive.infer(types, params, regions)
        except (TypeError, ValueError, IndexError) as e:
            self.fail(k, str(e))
        after = defined + len(outputs)
        if outputs != tuple(range(defined, after)):
            self.fail(k, f"outputs are numbered {outputs}, the next value is {defined}")
        recorded = avals[defined:after]
        if inferred != recorded:
            self.fail(k, f"{primitive.name} gives {_listed(inferred)}, but {_listed(recorded)} is recorded")
        return after

    def params(self, k: int, eqn: Eqn) -> None:
        primitive, params = eqn.primitive, eqn.params
        if len(params) != len(primitive.params):
            self.fail(k, f"{primitive.name} has params {tuple(primitive.params)}, got {len(params)}")
        for (name, kind), value in zip(primitive.params.items(), params, strict=True):
            if not kind.check(value):
                self.fail(k, f"{name} of {primitive.name} is of kind {kind.name}, got {value!r}")

    def regions(self, k: int, eqn: Eqn) -> None:
        if eqn.primitive.region_rules is None:
            self.fail(k, f"{eqn.primitive.name} takes no regions")
        for region in eqn.regions:
            if any(e.primitive.name == "guard" for e in region.eqns):
                self.fail(k, "a guard is inside a region; make its predicate an output of the region, and guard that")
            if _VERIFIED not in region.memo:
                _Verifier(region, self.root).graph()


def _listed(avals: tuple[Aval, ...]) -> str:
    return ", ".join(map(repr, avals)) if avals else "nothing"
