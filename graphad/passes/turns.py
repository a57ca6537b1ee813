"""Which of the repeated equations of a graph become a loop, where its turns begin, and what they read and hand on."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.graph import Graph
from graphad.passes.repeats import FEWEST_TURNS, LITERALS, MOVED, OUTSIDE, SAME, Run, Table, Ties, ties
from graphad.primitives.cast import convert
from graphad.primitives.layout import broadcast, reshape, transpose
from graphad.primitives.shape import concatenate, slice_

#: A value that is read more turns later is a table that Python keeps, and no carried value.
_MOST_BACK: Final = 8
#: Values made before the loop, a new one for each turn, are put together in one array if they have at most so many
#: elements: larger ones would be copied for that.
_MOST_ELEMENTS: Final = 64
#: A turn of these alone computes nothing.
_LAYOUT: Final = frozenset((broadcast, concatenate, convert, reshape, slice_, transpose))


class Loop(NamedTuple):
    """Equations that become one loop.

    Attributes
    ----------
    start, period, turns
        ``turns`` times ``period`` equations from ``start`` on.
    first, moved
        The number of the first result, and how many results a turn has.
    kinds
        For each operand of a turn `SAME`, `MOVED`, `LITERALS` or `OUTSIDE`: what it is to that of the next turn.
    carried
        Results that later turns read, by place: how many turns later at most.
    collected
        Places of results that are read after the loop, of other turns than those that are carried out of it.
    """

    start: int
    period: int
    turns: int
    first: int
    moved: int
    kinds: list[int]
    carried: dict[int, int]
    collected: list[int]

    @property
    def stop(self) -> int:
        """The first equation after it."""
        return self.start + self.period * self.turns

    @property
    def end(self) -> int:
        """The number of the first value after its results."""
        return self.first + self.moved * self.turns


class Stopped(NamedTuple):
    """Why equations do not become a loop; empty where nobody would ask."""

    reason: str


def planned(graph: Graph, table: Table, run: Run) -> Loop | Stopped:
    """The loop that equations of a run become."""
    found = ties(table, run)
    start = _best_start(graph, table, found, _after_constants(table, found))
    turns = (run.stop + run.period - start) // run.period
    while turns >= FEWEST_TURNS:
        loop = _loop(graph, table, found, start, turns)
        if isinstance(loop, Stopped):
            return loop
        late = _read_late(graph, table, loop)
        if not late or any([turn < turns - 1 for _, turn in late]):
            return loop._replace(collected=sorted({place for place, _ in late}))
        turns -= 1  # the last turn has results that others need not have: it stays as it is
    return Stopped("too few turns are alike")


def _after_constants(table: Table, found: Ties) -> int:
    """The first equation at which turns may begin: after all that they read in common."""
    run = found.run
    low, high = table.first_operand[run.start], table.first_operand[run.stop]
    shared = table.operands[low:high][(found.flags & SAME).astype(bool)]
    return max(run.start, table.owner(int(shared.max(initial=-1))) + 1)


def _best_start(graph: Graph, table: Table, found: Ties, low: int) -> int:
    """Of the equations from ``low`` on that where turns hand on the fewest numbers, if they begin there."""
    run, first = found.run, table.first_operand
    period = run.period
    # The operands of the last turn: what it reads of turns before it was made in them.
    a, b = int(first[run.stop]), int(first[run.stop + period])
    is_moved = (found.flags[a - found.shift - first[run.start] : b - found.shift - first[run.start]] & MOVED) != 0
    read = table.operands[a:b][is_moved]
    reader = np.searchsorted(first, np.flatnonzero(is_moved) + a, "right") - 1
    made = np.searchsorted(table.first_value, read, "right") - 1
    longest: dict[int, int] = {}  # by result, all turns alike
    distances = zip(read.tolist(), (reader - made).tolist(), made.tolist(), strict=True)
    makers: dict[int, tuple[int, int]] = {}
    for value, distance, maker in distances:
        place = (value - int(table.first_value[run.start])) % found.moved
        if distance > longest.get(place, 0):
            longest[place] = distance
            makers[place] = maker, graph.avals[value].size
    crossing = np.zeros(2 * period + 1, np.int64)
    for place, distance in longest.items():
        maker, size = makers[place]
        after = (maker + 1 - low) % period
        crossing[0] += distance // period * size
        crossing[after] += size
        crossing[after + distance % period] -= size
    crossed = np.cumsum(crossing)
    handed_on = crossed[:period] + crossed[period : 2 * period]
    # Of several such places that at the end of the last turn: where Python's loop begins, turns may be less alike.
    late = (run.stop + period - low - np.arange(period)) % period
    return low + int(np.lexsort((late, handed_on))[0])


def _loop(graph: Graph, table: Table, found: Ties, start: int, turns: int) -> Loop | Stopped:
    """The loop of ``turns`` turns from ``start`` on, without what is read after it."""
    run, first = found.run, int(table.first_value[start])
    begin = table.first_operand[start] - table.first_operand[run.start]
    flags = found.flags[begin : begin + (turns - 1) * found.shift].reshape(turns - 1, found.shift)
    common = np.bitwise_and.reduce(flags, axis=0).tolist()
    operands = table.operands[table.first_operand[start] :][: found.shift].tolist()
    kinds: list[int] = []
    carried: dict[int, int] = {}
    for bits, value in zip(common, operands, strict=True):
        kind = next((k for k in (SAME, MOVED, LITERALS, OUTSIDE) if bits & k), 0)
        if kind == MOVED and value < first:
            back = -(-(first - value) // found.moved)
            place = value + back * found.moved - first
            if back >= turns:
                kind = OUTSIDE
            elif back > _MOST_BACK:
                return Stopped(f"turns read what others made {back} turns before them")
            elif any([graph.avals[value + k * found.moved] is not graph.avals[first + place] for k in range(back)]):
                return Stopped("a value changes its type after the first turns")
            else:
                carried[place] = max(back, carried.get(place, 0))
        if kind == 0:
            return Stopped("turns read other values in no regular order")
        if kind == OUTSIDE and (reason := _why_not_stacked(graph, table, found, start, len(kinds), turns)):
            return Stopped(reason)
        kinds.append(kind)
    if all([e.primitive in _LAYOUT for e in graph.eqns[start : start + run.period]]):
        return Stopped("")  # nothing is computed
    return Loop(start, run.period, turns, first, found.moved, kinds, carried, [])


def _why_not_stacked(graph: Graph, table: Table, found: Ties, start: int, column: int, turns: int) -> str:
    """Why the values in one place of the operands of all turns are not put together in an array; empty if they are."""
    avals = {graph.avals[v] for v in column_of(table, start, found.shift, column, turns)}
    if len(avals) > 1:
        return "turns read values of different types"
    size = avals.pop().size
    if size > _MOST_ELEMENTS:
        return f"each turn reads an array of its own, and to put them together all of their {size} elements were copied"
    return ""


def column_of(table: Table, start: int, shift: int, column: int, turns: int) -> list[int]:
    """The operands in one place of all turns."""
    begin = int(table.first_operand[start]) + column
    return table.operands[begin : begin + (turns - 1) * shift + 1 : shift].tolist()


def _read_late(graph: Graph, table: Table, loop: Loop) -> set[tuple[int, int]]:
    """What is read after a loop but not carried out of it: places of results, and turns."""
    after: Any = table.operands[table.first_operand[loop.stop] :]
    outputs = np.array([a for a in graph.outputs if type(a) is int], np.int64)
    read = np.unique(np.concatenate([after, outputs]))
    read = read[(read >= loop.first) & (read < loop.end)] - loop.first
    places, turns = (read % loop.moved).tolist(), (read // loop.moved).tolist()
    return {(p, t) for p, t in zip(places, turns, strict=True) if loop.turns - t > loop.carried.get(p, 0)}
