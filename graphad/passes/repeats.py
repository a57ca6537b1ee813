"""Repeated runs of equations: where in a graph the same equations come again and again, one turn after the other.

A graph is written as a string of symbols, equal for equations of the same kind; values and numbers are left out. A loop
that Python has unrolled is a stretch of that string which is periodic. Whether its turns are also tied together alike
is seen from the differences of their operands, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.ir.graph import Graph, is_effectful
from graphad.ir.types import Literal
from graphad.primitives.shape import slice_

Ints = np.ndarray[Any, np.dtype[np.int64]]

#: Fewer turns are not worth a loop.
FEWEST_TURNS: Final = 4

# What the operands at one place of two turns, one after the other, have in common: one bit each.
SAME: Final = 1
MOVED: Final = 2  # the second was made one turn after the first
LITERALS: Final = 4
OUTSIDE: Final = 8  # both were made before the loop


class Table(NamedTuple):
    """A graph as arrays of integers.

    Attributes
    ----------
    symbols
        One per equation; equal for the same primitive, params, regions, types of results and places of literals. Of
        slices the sizes count, and not where they begin.
    operands
        Those of all equations, one after the other: numbers of values, and negative ones for literals.
    first_operand, first_value
        Where operands, and results, of each equation begin; and where the last ones end.
    literals
        The literal of ``operands`` ``-1``, ``-2``, ...
    effects
        Marks of equations with an effect.
    """

    symbols: Ints
    operands: Ints
    first_operand: Ints
    first_value: Ints
    literals: list[Literal]
    effects: np.ndarray[Any, np.dtype[np.bool_]]

    def owner(self, value: int) -> int:
        """The equation that makes a value; -1 for inputs."""
        return int(np.searchsorted(self.first_value, value, "right")) - 1


def table_of(graph: Graph) -> Table:
    """The arrays of a graph."""
    names: dict[Any, int] = {}
    numbers: dict[Literal, int] = {}
    symbols: list[int] = []
    operands: list[int] = []
    counts, results, effects = [0], [graph.n_inputs], [False] * len(graph.eqns)
    avals = graph.avals
    for k, eqn in enumerate(graph.eqns):
        primitive, inputs, params, outputs, regions = eqn
        if primitive is slice_:
            start, stop, step = params
            params = (tuple([b - a for a, b in zip(start, stop, strict=True)]), step)
        values = tuple([type(a) is int for a in inputs])
        types = avals[outputs[0]] if len(outputs) == 1 else tuple([avals[o] for o in outputs])
        symbols.append(names.setdefault((primitive, params, regions, types, values), len(names)))
        operands += [a if type(a) is int else -1 - numbers.setdefault(a, len(numbers)) for a in inputs]  # type: ignore[arg-type]
        counts.append(len(operands))
        results.append(results[-1] + len(outputs))
        if primitive.effect or (regions and is_effectful(eqn)):
            effects[k] = True
    return Table(
        np.array(symbols, np.int64),
        np.array(operands, np.int64),
        np.array(counts, np.int64),
        np.array(results, np.int64),
        list(numbers),
        np.array(effects, bool),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Periods


class Run(NamedTuple):
    """Equations ``start .. stop - 1`` are of the same kind as those ``period`` later."""

    period: int
    start: int
    stop: int


def runs(symbols: Ints) -> list[Run]:
    """The periodic stretches of at least `FEWEST_TURNS` turns, by increasing periods."""
    found: list[Run] = []
    for period in _periods(symbols):
        equal = np.empty(len(symbols) - period + 2, bool)
        equal[0] = equal[-1] = False
        np.equal(symbols[:-period], symbols[period:], out=equal[1:-1])
        edges = np.flatnonzero(equal[1:] != equal[:-1])
        for start, stop in edges.reshape(-1, 2).tolist():
            if stop - start >= (FEWEST_TURNS - 1) * period:
                found.append(Run(period, start, stop))
    return found


def _periods(symbols: Ints) -> Iterator[int]:
    """Candidates for periods.

    The words of length ``w`` that begin at each place are compared by hashes, and the length doubled from step to step.
    In a stretch of period ``p`` with ``p <= w < 2 p`` each word comes again ``p`` places later, and not before.
    """
    n = len(symbols)
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 63, int(symbols.max(initial=0)) + 1, np.uint64)[symbols]
    width = 1
    while FEWEST_TURNS * (width // 2 + 1) <= n:
        order = np.argsort(words, kind="stable")
        ordered = words[order]
        gaps = (order[1:] - order[:-1])[ordered[1:] == ordered[:-1]]
        if not len(gaps):
            return  # no longer word comes twice either
        counts = np.bincount(gaps[gaps <= width], minlength=1)
        likely = np.flatnonzero(counts >= np.arange(len(counts)))
        yield from [p for p in likely.tolist() if p > width // 2]
        if len(likely) and counts[likely[-1]] > 0.9 * n:
            return  # nearly everything is one loop
        words = words[:-width] * np.uint64(rng.integers(1 << 62) * 2 + 1) + words[width:]
        width *= 2


# ---------------------------------------------------------------------------------------------------------------------
# Operands


class Ties(NamedTuple):
    """How the operands of equations ``start .. stop - 1`` are related to those of the equations one period later.

    Attributes
    ----------
    flags
        One set of bits per operand.
    shift
        The number of operands of a turn.
    moved
        The number of results of a turn.
    """

    run: Run
    flags: np.ndarray[Any, np.dtype[np.uint8]]
    shift: int
    moved: int


def ties(table: Table, run: Run) -> Ties:
    """The relations of all operands of a run."""
    first, period = table.first_operand, run.period
    shift = int(first[run.start + period] - first[run.start])
    moved = int(table.first_value[run.start + period] - table.first_value[run.start])
    low, high = first[run.start], first[run.stop]
    x, y = table.operands[low:high], table.operands[low + shift : high + shift]
    begin = table.first_value[run.start]
    flags = np.where(x == y, SAME, 0).astype(np.uint8)
    flags[(x >= 0) & (y - x == moved)] |= MOVED
    flags[(x < 0) & (y < 0)] |= LITERALS
    flags[(x >= 0) & (x < begin) & (y >= 0) & (y < begin)] |= OUTSIDE
    return Ties(run, flags, shift, moved)


def regular(table: Table, run: Run) -> tuple[list[Run], Run | None]:
    """The parts of a run whose turns are tied together alike; and, if effects cut it, the run that it would be."""
    found = ties(table, run)
    first = table.first_operand
    apart = found.flags == 0
    # Two pairs of turns, one after the other, that are tied together in different ways.
    x, y = found.flags[: -found.shift or None], found.flags[found.shift :]
    apart[: len(x)] |= (x & y == 0) & (y != 0)
    broken = np.searchsorted(first, np.flatnonzero(apart) + first[run.start], "right") - 1
    parts = _between(run, np.unique(broken))
    effects = np.flatnonzero(table.effects[run.start : run.stop + run.period]) + run.start
    if not len(effects):
        return parts, None
    near = np.unique(np.concatenate([broken, effects, effects - run.period]))
    return _between(run, near), parts[0] if parts else None


def _between(run: Run, broken: Ints) -> list[Run]:
    """What is left of a run without the equations ``broken``."""
    edges = [run.start - 1, *[k for k in broken.tolist() if run.start <= k < run.stop], run.stop]
    least = (FEWEST_TURNS - 1) * run.period
    return [Run(run.period, a + 1, b) for a, b in pairwise(edges) if b - a - 1 >= least]
