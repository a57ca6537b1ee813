"""The pass `reroll`: makes loops of what Python has unrolled.

Tracing runs a Python loop turn by turn, and records each. Turns that are alike become one `scan`: what is the same in
all of them is its constants, what a turn hands to later ones is carried, and what differs between turns (numbers,
slices of an array, elements that were taken out before) are its ``xs``. The first turns are often not alike, for they
compute what the others share, and stay as they are; so do equations before and after. Of nested loops the outer one is
found first, and then the inner one in its body.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import user_line
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, aval, i32, literal
from graphad.passes.pipeline import OnNote, Pass, graph_pass
from graphad.passes.repeats import LITERALS, OUTSIDE, SAME, Run, Table, regular, runs, table_of
from graphad.passes.stacking import joined, stacked, stacked_literals, stacked_slices
from graphad.passes.turns import Loop, Stopped, column_of, planned
from graphad.primitives.crossing import Params
from graphad.primitives.dynamic import dynamic_slice
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.scan import scan
from graphad.primitives.shape import concatenate, slice_, slice_axis


@graph_pass("reroll")
@dataclass(frozen=True)
class Reroll(Pass):
    """Make loops of turns that Python has unrolled.

    Attributes
    ----------
    least
        How many equations the turns of a loop must have, all together.
    """

    least: int = 256

    @without_collector
    def run(self, graph: Graph, on_note: OnNote | None = None) -> Graph:
        """The graph with loops; itself, if nothing is repeated in it."""
        while len(graph.eqns) >= self.least:
            table = table_of(graph)
            loops = self._loops(graph, table, on_note)
            if not loops:
                return graph
            graph = _Rolling(self, graph, table, loops).closed()
        return graph

    def _loops(self, graph: Graph, table: Table, on_note: OnNote | None) -> list[Loop]:
        """Loops that do not overlap, in their order; of those that do, the larger ones."""
        found: list[Loop] = []
        notes: dict[tuple[int, int], str] = {}
        for run in runs(table.symbols):
            if run.stop - run.start + run.period < self.least:
                continue
            parts, cut = regular(table, run)
            plans = [(part, planned(graph, table, part)) for part in parts]
            found += [p for _, p in plans if isinstance(p, Loop) and p.turns * p.period >= self.least]
            if cut is not None:
                plans.append((cut, Stopped("it has an effect, such as a guard or a print")))
            for part, plan in plans:
                if isinstance(plan, Stopped) and plan.reason:
                    notes[part.start, part.stop + part.period] = _stopped_text(graph, part, plan)
        chosen: list[Loop] = []
        for loop in sorted(found, key=lambda x: (x.turns - 1) * x.period, reverse=True):
            if all([loop.stop <= other.start or other.stop <= loop.start for other in chosen]):
                chosen.append(loop)
        chosen.sort()
        if on_note is not None:
            for loop in chosen:
                on_note(_rolled_text(graph, loop))
            for (start, stop), text in notes.items():
                if all([stop <= loop.start or loop.stop <= start for loop in chosen]):
                    on_note(text)
        return chosen


def _rolled_text(graph: Graph, loop: Loop) -> str:
    place = _place(graph, loop.start, loop.period)
    return f"rolled {loop.turns} turns of {loop.period} equations into a loop{place}"


def _stopped_text(graph: Graph, run: Run, stopped: Stopped) -> str:
    turns = (run.stop - run.start) // run.period + 1
    place = _place(graph, run.start, run.period)
    return f"{turns} turns of {run.period} equations are alike{place}, but are no loop: {stopped.reason}"


def _place(graph: Graph, start: int, period: int) -> str:
    lines = sorted({user_line(loc) for loc in graph.locs[start : start + period]} - {""})
    return f" ({', '.join(lines[:3])}{', ...' if len(lines) > 3 else ''})" if lines else ""


# ---------------------------------------------------------------------------------------------------------------------
# The graph with loops


class _Rolling:
    """The new graph under construction; ``value`` has the atom of each value of the old one that there is by now."""

    def __init__(self, how: Reroll, graph: Graph, table: Table, loops: list[Loop]) -> None:
        self.how = how
        self.graph = graph
        self.table = table
        self.loops = loops
        self.starts = [loop.first for loop in loops]
        self.builder = Builder()
        self.value: list[Any] = [self.builder.input(a) for a in graph.in_avals]
        self.value += [None] * (len(graph.avals) - graph.n_inputs)
        self.results: dict[int, list[Ref]] = {}  # of the loops, by their first values

    def closed(self) -> Graph:
        graph, k = self.graph, 0
        for loop in self.loops:
            self._copy(k, loop.start)
            self.results[loop.first] = _Scan(self, loop).emit()
            k = loop.stop
        self._copy(k, len(graph.eqns))
        outputs = [self.at(a) if type(a) is int else a for a in graph.outputs]
        return self.builder.close(outputs, graph.weak, name=graph.name)

    def _copy(self, start: int, stop: int) -> None:
        """The equations ``start .. stop - 1``."""
        graph = self.graph
        for k in range(start, stop):
            eqn = graph.eqns[k]
            self.builder.loc = graph.locs[k]
            if eqn.primitive is concatenate and eqn.params == (0,):
                parts = self.joined_elements(eqn.inputs)
                if parts is not None:
                    self.value[eqn.outputs[0]] = joined(parts).atom
                    continue
            atoms = tuple([self.at(a) if type(a) is int else a for a in eqn.inputs])
            outs = self.builder.copy(eqn, atoms, [graph.avals[o] for o in eqn.outputs])
            for o, new in zip(eqn.outputs, outs, strict=True):
                self.value[o] = new

    def ref(self, value: int) -> Ref:
        return Ref(self.builder, self.at(value))

    def at(self, value: int) -> Atom:
        """The atom of an old value; those of loops are made when they are asked for."""
        if self.value[value] is None:
            loop, place, turn = self.origin(value)  # type: ignore[misc]
            results = self.results[loop.first]
            back = loop.turns - turn
            if back <= loop.carried.get(place, 0):
                found = results[_carries(loop).index((place, back))]
            else:
                ys = results[len(_carries(loop)) + loop.collected.index(place)]
                found = reshape(slice_axis(ys, 0, turn, turn + 1), shape=ys.shape[1:])
            self.value[value] = found.atom
        return self.value[value]

    def origin(self, value: int) -> tuple[Loop, int, int] | None:
        """The loop that makes an old value, its place among the results of a turn, and the turn."""
        k = bisect_right(self.starts, value) - 1
        if k < 0 or value >= self.loops[k].end:
            return None
        turn, place = divmod(value - self.loops[k].first, self.loops[k].moved)
        return self.loops[k], place, turn

    # --- values put together

    def stacked(self, values: Sequence[int]) -> Ref:
        """Old values in one array: one that a loop has collected, or a part of that which they were taken from."""
        made = [self._slice_of(v) for v in values]
        first = made[0]
        if first is not None and all([m is not None and m[1:] == first[1:] for m in made]):
            eqn = self.graph.eqns[first[0]]
            starts = [self.graph.eqns[m[0]].params[0] for m in made if m is not None]
            x, a = self.ref(first[1]), self.graph.avals[eqn.outputs[0]]
            whole = stacked_slices(x, starts, eqn.params, a)
            return reshape(whole, shape=(len(values), *self.graph.avals[values[0]].shape))
        parts = self._parts(values)
        return joined(parts)

    def _slice_of(self, value: int) -> tuple[int, int, tuple[Any, ...]] | None:
        """The slice that a value is, but for its shape: the number of the equation, its operand and its sizes."""
        k = self.table.owner(value)
        if k >= 0 and self.graph.eqns[k].primitive is reshape:
            value = self.graph.eqns[k].inputs[0]  # type: ignore[assignment]
            k = self.table.owner(value)
        if k < 0 or self.graph.eqns[k].primitive is not slice_ or self.origin(value) is not None:
            return None
        (x,), (start, stop, step) = self.graph.eqns[k].inputs, self.graph.eqns[k].params
        assert type(x) is int, "no literal has slices"
        return k, x, (tuple([b - a for a, b in zip(start, stop, strict=True)]), step)

    def _parts(self, values: Sequence[int]) -> list[Ref]:
        """Arrays that are the values, when they are joined."""
        parts: list[Ref] = []
        k = 0
        while k < len(values):
            n = self._collected_from(values[k:])
            if n:
                loop, place, turn = self.origin(values[k])  # type: ignore[misc]
                ys = self.results[loop.first][len(_carries(loop)) + loop.collected.index(place)]
                parts.append(slice_axis(ys, 0, turn, turn + n))
            else:
                parts.append(stacked([self.ref(values[k])]))
            k += n or 1
        return parts

    def _collected_from(self, values: Sequence[int]) -> int:
        """How many of the first values a loop has collected one after the other."""
        found = self.origin(values[0])
        if found is None or found[1] not in found[0].collected:
            return 0
        loop, _, turn = found
        n = 1
        while n < len(values) and turn + n < loop.turns and values[n] == values[0] + n * loop.moved:
            n += 1
        return n

    def joined_elements(self, atoms: Sequence[Atom]) -> list[Ref] | None:
        """The parts of a concatenation of what loops have collected; None if there is nothing of that kind."""
        values: list[int] = []
        for a in atoms:
            k = self.table.owner(a) if type(a) is int else -1
            if k < 0 or self.graph.eqns[k].primitive is not reshape:
                return None
            (x,) = self.graph.eqns[k].inputs
            if type(x) is not int or self.graph.avals[a].shape != (1, *self.graph.avals[x].shape):  # type: ignore[index]
                return None
            values.append(x)
        if not any([self._collected_from(values[k : k + 2]) > 1 for k in range(len(values) - 1)]):
            return None
        return self._parts(values)


def _carries(loop: Loop) -> list[tuple[int, int]]:
    """The carried values: a place among the results of a turn, and how many turns back."""
    return [(place, back) for place, most in loop.carried.items() for back in range(1, most + 1)]


class _Scan:
    """A loop on its way to an equation: the operands, by what they are."""

    def __init__(self, whole: _Rolling, loop: Loop) -> None:
        self.whole = whole
        self.loop = loop
        self.builder = whole.builder
        self.consts: dict[int, None] = {}  # old values
        self.xs: dict[Any, Ref] = {}
        self.gone: set[int] = set()  # equations whose results are among the xs

    def emit(self) -> list[Ref]:
        """The results of the equation: carried values, then what is collected."""
        graph, loop = self.whole.graph, self.loop
        self.builder.loc = graph.locs[loop.start]
        self._find_operands()
        carries = _carries(loop)
        starts = [loop.first + place - back * loop.moved for place, back in carries]
        operands = [*map(self.whole.ref, self.consts), *map(self.whole.ref, starts), *self.xs.values()]
        params = Params(loop.turns, False, len(self.consts), len(carries))
        region = self.whole.how.run(self._region(carries))
        self.builder.loc = graph.locs[loop.start]
        outs = self.builder.emit(scan, tuple([x.atom for x in operands]), tuple(params), (region,))
        return [Ref(self.builder, o) for o in outs]

    def _find_operands(self) -> None:
        graph, loop = self.whole.graph, self.loop
        column = 0
        for k in range(loop.start, loop.start + loop.period):
            eqn = graph.eqns[k]
            kinds = loop.kinds[column : column + len(eqn.inputs)]
            if eqn.primitive is slice_ and self._find_slice(k, eqn, kinds[0]):
                column += 1
                continue
            for a, kind in zip(eqn.inputs, kinds, strict=True):
                if kind == SAME and type(a) is int:
                    self.consts[a] = None
                elif kind in (LITERALS, OUTSIDE):
                    self.xs[column] = self._stacked_column(column, kind)
                column += 1

    def _stacked_column(self, column: int, kind: int) -> Ref:
        loop, table = self.loop, self.whole.table
        values = column_of(table, loop.start, len(loop.kinds), column, loop.turns)
        if kind == OUTSIDE:
            return self.whole.stacked(values)
        return stacked_literals(self.builder, [table.literals[-1 - v] for v in values])

    def _find_slice(self, k: int, eqn: Eqn, kind: int) -> bool:
        """Whether a slice takes other elements in each turn of what stays the same; it is among the ``xs`` then."""
        starts = self._starts(k)
        if len({*starts}) == 1:
            return False
        if kind == SAME:
            x = self.whole.ref(eqn.inputs[0])  # type: ignore[arg-type]
            a = self.whole.graph.avals[eqn.outputs[0]]
            self.xs["slice", k] = stacked_slices(x, starts, eqn.params, a)
            self.gone.add(k)
            return True
        for axis, begins in enumerate(zip(*starts, strict=True)):
            if len({*begins}) > 1:
                self.xs["start", k, axis] = stacked_literals(self.builder, [literal(b, i32) for b in begins])
        return False

    def _starts(self, k: int) -> list[tuple[int, ...]]:
        """Where the slice of equation ``k`` begins in each turn."""
        eqns, period = self.whole.graph.eqns, self.loop.period
        return [eqns[k + t * period].params[0] for t in range(self.loop.turns)]

    # --- the body

    def _region(self, carries: list[tuple[int, int]]) -> Graph:
        graph, loop = self.whole.graph, self.loop
        body = Builder()
        inside: dict[Any, Atom] = {v: body.input(graph.avals[v]) for v in self.consts}
        before = {c: body.input(graph.avals[loop.first + c[0]]) for c in carries}
        given = {key: body.input(aval(x.shape[1:], x.dtype)) for key, x in self.xs.items()}
        column = 0
        for k in range(loop.start, loop.start + loop.period):
            eqn = graph.eqns[k]
            body.loc = graph.locs[k]
            if k in self.gone:
                inside[eqn.outputs[0]] = given["slice", k]
                column += 1
                continue
            atoms: list[Atom] = []
            for a in eqn.inputs:
                if column in given:
                    atoms.append(_operand(body, eqn, given[column], graph.avals[eqn.outputs[0]]))
                elif type(a) is not int or loop.kinds[column] == SAME or a >= loop.first:
                    atoms.append(inside[a] if type(a) is int else a)
                else:
                    back = -(-(loop.first - a) // loop.moved)
                    atoms.append(before[a + back * loop.moved - loop.first, back])
                column += 1
            outs = self._copied(body, k, eqn, atoms, given)
            inside.update(zip(eqn.outputs, outs, strict=True))
        after = [inside[loop.first + p] if back == 1 else before[p, back - 1] for p, back in carries]
        ys = [inside[loop.first + p] for p in loop.collected]
        return body.close([*after, *ys], name=f"{graph.name}.turn")

    def _copied(self, body: Builder, k: int, eqn: Eqn, atoms: list[Atom], given: dict[Any, int]) -> Sequence[Atom]:
        avals: list[Aval] = [self.whole.graph.avals[o] for o in eqn.outputs]
        axes = [key[2] for key in given if type(key) is tuple and key[:2] == ("start", k)]
        if not axes:
            return body.copy(eqn, tuple(atoms), avals)
        start, stop, step = eqn.params
        sizes = tuple([b - a for a, b in zip(start, stop, strict=True)])
        begins = [given["start", k, d] if d in axes else literal(b, i32) for d, b in enumerate(start)]
        part = Ref(body, body.emit(dynamic_slice, (atoms[0], *begins), (sizes, 0))[0])
        return [part.atom if {*step} == {1} else slice_(part, start=(0,) * part.ndim, stop=sizes, step=step).atom]


def _operand(body: Builder, eqn: Eqn, x: int, out: Aval) -> Atom:
    """``x``, which changes from turn to turn, in place of an operand; a number beside an array is repeated."""
    if body.avals[x].shape or not eqn.primitive.elementwise or not out.shape:
        return x
    return broadcast(Ref(body, x), shape=out.shape, dims=()).atom
