"""What reverse mode of a graph stores of its loops: found before the graph is differentiated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Aval
from graphad.primitives.cond import cond
from graphad.primitives.control import jit, remat
from graphad.primitives.crossing import Params, varying
from graphad.primitives.scan import linear_parts, residual_avals, scan
from graphad.primitives.while_loop import Params as WhileParams
from graphad.primitives.while_loop import while_
from graphad.transforms.linearize import linearized

#: From the equations of a graph to an equation in a region: of each on the way its number, and which of its regions.
Path = tuple[int, ...]


class Loop(NamedTuple):
    """A ``scan`` or ``while`` equation through which reverse mode goes; sizes are in bytes.

    Attributes
    ----------
    length
        The number of turns, if it is known.
    is_inside
        Whether it is in another loop.
    state
        What it carries.
    turn
        What the plain adjoint stacks in each turn; ``own`` of that does not belong to loops inside.
    read
        Of a loop in another one: what it is given, which the loop around stacks if turns run again.
    inner
        The loops in its body.
    """

    eqn: Eqn
    loc: Loc
    length: int | None
    is_inside: bool
    state: int
    turn: int
    read: int
    inner: dict[Path, Loop]

    @property
    def plain(self) -> int:
        """What the plain adjoint stacks; nothing if nobody knows."""
        return (self.length or 0) * self.turn

    @property
    def own(self) -> int:
        return max(self.turn - sum([x.plain for x in self.inner.values()]), 0)

    @property
    def text(self) -> str:
        kind = "while loop" if self.length is None else f"loop of {self.length:,} turns"
        return f"{kind} ({format_loc(self.loc)})"


class Search:
    """The loops of a graph, by their paths, and which of its values have a tangent.

    ``varies`` marks what differs from turn to turn of a loop around, if there is one.
    """

    def __init__(self, graph: Graph, marks: Sequence[bool], varies: Sequence[int] | None = None) -> None:
        self.graph = graph
        self.varies = varies
        self.loops: dict[Path, Loop] = {}
        self.active = bytearray(len(graph.avals))
        self.active[: graph.n_inputs] = bytes([m and a.is_float for m, a in zip(marks, graph.in_avals, strict=True)])
        for k, eqn in enumerate(graph.eqns):
            given = [type(a) is int and bool(self.active[a]) for a in eqn.inputs]
            if any(given):
                for o, is_active in zip(eqn.outputs, self._results(k, eqn, given), strict=True):
                    self.active[o] = is_active and graph.avals[o].is_float

    def _results(self, k: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        """Which results have a tangent: more rather than fewer, where it is not easy to say."""
        everything = [True] * len(eqn.outputs)
        if eqn.primitive is scan:
            return self._scan(k, eqn, given)
        if eqn.primitive is jit or eqn.primitive is remat:
            return self._region(k, 0, eqn, given)
        if eqn.primitive is cond:
            for number in range(len(eqn.regions)):
                self._region(k, number, eqn, given)
            return everything
        if eqn.primitive is while_:
            return self._while(k, eqn, given)
        rule = eqn.primitive.jvp
        if not isinstance(rule, tuple):
            return everything
        return [any([rule[i] is not None for i, m in enumerate(given) if m])]

    def _region(self, k: int, number: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        """Look into a region that runs once, at most; its inputs are the last operands."""
        region = eqn.regions[number]
        first = len(eqn.inputs) - region.n_inputs
        varies = self.varies
        if varies is not None:
            varies = varying(region, [i for i, a in enumerate(eqn.inputs[first:]) if type(a) is int and varies[a]])
        found = Search(region, given[first:], varies)
        self.loops |= {(k, number, *path): loop for path, loop in found.loops.items()}
        return [type(a) is int and bool(found.active[a]) for a in region.outputs]

    def _scan(self, k: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        p = Params(*eqn.params)
        return self._loop(k, eqn, p.length, eqn, given)

    def _while(self, k: int, eqn: Eqn, given: list[bool]) -> list[bool]:
        p, body = WhileParams(*eqn.params), eqn.regions[1]
        first = p.n_test_consts
        params = (1, False, p.n_body_consts, len(body.outputs))
        turn = Eqn(scan, eqn.inputs[first:], params, eqn.outputs[:-1], (body,))
        if not any(given[first:]):
            return [False] * len(eqn.outputs)
        return [*self._loop(k, eqn, None, turn, given[first:]), False]

    def _loop(self, k: int, eqn: Eqn, length: int | None, turns: Eqn, given: list[bool]) -> list[bool]:
        """Look into a loop, of which ``turns`` are some, as a scan; which of their results have a tangent."""
        p, region = Params(*turns.params), turns.regions[0]
        split, mask = linear_parts(turns, given, linearized)
        inner = Search(region, mask, varying(region, range(p.n_consts, region.n_inputs))).loops
        read = [*turns.inputs[: p.n_consts], *turns.inputs[p.first_x :]]
        read = [a for a in read if type(a) is int and self.varies is not None and self.varies[a]]
        self.loops[k,] = Loop(
            eqn,
            self.graph.locs[k],
            length,
            self.varies is not None,
            _bytes(region.in_avals[p.n_consts : p.first_x]),
            _bytes(residual_avals(turns, given, linearized)),
            _bytes([self.graph.aval_of(a) for a in dict.fromkeys(read)]),
            inner,
        )
        return [*mask[p.n_consts : p.first_x], *split.nonzero[p.n_carry :]]


def _bytes(avals: Sequence[Aval]) -> int:
    return sum([a.size * a.dtype.numpy.itemsize for a in avals])
