"""What the steps of a program read, write and compute, counted without running it.

A step is charged once for each element that it touches, however often its loops read it: what they read again is in a
cache or a register as a rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from graphad_kernels.routines import ROUTINES

from graphad.backends.loops.ir import (
    Buffer,
    Copy,
    Counted,
    Gemm,
    GuardStep,
    HostCall,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Store,
    While,
)
from graphad.backends.loops.memory import buffer_bytes
from graphad.ir.types import EXTENT

NDArray = np.ndarray[Any, Any]

#: Buffers of up to so many elements are counted element by element where accesses overlap.
_COUNTED: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step moves and computes.

    Attributes
    ----------
    name
        Of a kernel or routine; the sizes of a matrix product; the turns of a loop, if their number is
        known.
    read_bytes, written_bytes
        Of the program's buffers; each element counts once.
    operations
        Scalar operators applied to elements, of whatever kind; a fused multiply-add counts as two.
    """

    name: str
    read_bytes: int
    written_bytes: int
    operations: int = 0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a program moves and computes.

    Attributes
    ----------
    steps
        One for each step of the program.
    minimum_bytes
        Its outputs, and what it reads of its inputs, once each: no program for the same function can do without.
    """

    steps: tuple[StepCost, ...]
    minimum_bytes: int

    @property
    def moved_bytes(self) -> int:
        """Read and written by all steps."""
        return sum(s.read_bytes + s.written_bytes for s in self.steps)

    @property
    def operations(self) -> int:
        """Applied by all steps."""
        return sum(s.operations for s in self.steps)

    @property
    def excess(self) -> float:
        """How many times the minimum is moved."""
        return self.moved_bytes / self.minimum_bytes if self.minimum_bytes else 1.0


def costs(program: KernelProgram) -> Cost:
    """The cost of each step of ``program``; what a routine or the host computes is unknown, and not counted."""
    return total_cost(program.buffers, [(s, Tally(program.buffers)) for s in program.steps])


def total_cost(buffers: Sequence[Buffer], tallies: Sequence[tuple[Any, Tally]]) -> Cost:
    """The cost of a program over ``buffers``: its steps, each with an empty tally, are gone through here."""
    needed = Touched([b for b in buffers if b.role == "input"])
    steps: list[StepCost] = []
    for step, tally in tallies:
        name = tally.step(step)
        needed.include(tally.reads)
        steps.append(StepCost(name, tally.reads.nbytes(), tally.writes.nbytes(), tally.operations))
    written = sum(buffer_bytes(b) for b in buffers if b.role == "output")
    return Cost(tuple(steps), needed.nbytes() + written)


class Tally:
    """What one step touches of ``buffers``, and how many operators it applies.

    ``around`` has the variables of the parallel turns in which it stands, and how many of them count.
    """

    def __init__(self, buffers: Iterable[Buffer], around: Mapping[str, int] | None = None) -> None:
        buffers = tuple(buffers)
        self.reads = Touched(buffers)
        self.writes = Touched(buffers)
        self.operations = 0
        self.around = dict(around or {})

    def step(self, step: Any) -> str:
        """Count a whole step; its name."""
        match step:
            case LoopNest(body=body):
                self.statements(body, {})
                return "loops"
            case Gemm():
                return self.product(step)
            case RoutineCall() | HostCall():
                for name in step.reads:
                    self.reads.whole(name)
                for name in step.writes:
                    self.writes.whole(name)
                if isinstance(step, HostCall):
                    return step.name
                self.operations += ROUTINES[step.routine].cost(*step.sizes)
                return step.routine
            case Copy(target=target, source=source):
                self.reads.whole(source)
                self.writes.whole(target)
                return "copy"
            case GuardStep(buffer=buffer):
                self.reads.add(buffer, Index(), {})
                return "guard"
            case Repeat(parallel=True, var=var, extent=extent):
                self.around[var] = extent
                self.repeated(step, extent, {w.name: w.buffer for w in step.windows})
                del self.around[var]
                return f"in {extent} blocks"
            case Repeat(extent=extent):
                self.repeated(step, _turns(extent), {w.name: w.buffer for w in step.windows})
                return "" if extent == EXTENT else f"of {extent} turn{'s' * (extent != 1)}"
            case Counted():
                self.repeated(step, 1, {})
                return ""
            case RepeatWhile():
                self.repeated(step, 1, {})
                return ""
            case _:
                raise AssertionError(f"no step of a program: {step}")

    def repeated(self, step: Any, times: int, windows: Mapping[str, str]) -> None:
        """Count steps that run several times; what they look at through windows they go through whole."""
        before = self.operations
        for inner in step.body:
            self.step(inner)
        self.operations = before + times * (self.operations - before)
        for name, buffer in windows.items():
            self.reads.move(name, buffer)
            self.writes.move(name, buffer)

    def statements(self, body: Iterable[Any], extents: Mapping[str, int]) -> None:
        """Count statements that stand in loops of these extents."""
        for s in body:
            self.statement(s, extents)

    def statement(self, s: Any, extents: Mapping[str, int]) -> None:
        """Count one statement, with those in it."""
        match s:
            case Loop(var=var, extent=extent, carries=carries, body=body):
                self.loop(carries, body, {**extents, var: _turns(extent)})
            case While(body=body):  # as if it ran once: nobody knows how often it does
                self.statements(body, extents)
            case Load(buffer=buffer, index=index, dynamic=dynamic):
                self.reads.add(buffer, index, {**self.around, **extents}, anywhere=dynamic is not None)
            case Store(buffer=buffer, index=index, dynamic=dynamic):
                self.writes.add(buffer, index, {**self.around, **extents}, anywhere=dynamic is not None)
            case Let(op=op):
                self.operate(extents, 2 if op == "fma" else 1)
            case _:
                pass

    def operate(self, extents: Mapping[str, int], times: int = 1) -> None:
        """Count an operator that is applied in loops of these extents."""
        self.operations += times * prod(extents.values())

    def loop(self, carries: Iterable[Any], body: Iterable[Any], extents: Mapping[str, int]) -> None:
        """Count the body of a loop and its combining carries; ``extents`` has its own as well."""
        self.operate(extents, sum([len(c.reads) for c in carries if c.combine != "last"]))
        self.statements(body, extents)

    def product(self, g: Gemm) -> str:
        """Count a matrix product; its sizes."""
        for matrix, rows, columns, step in ((g.a, g.m, g.k, g.a_step), (g.b, g.k, g.n, g.b_step)):
            self.reads.matrix(matrix, rows, columns, g.batch, step)
        self.writes.matrix(g.c, g.m, g.n, g.batch, g.c_step)
        if g.bias is not None:
            self.reads.add(g.bias, Index(g.bias_offset, (("column", 1),)), {"column": g.n})
        elements = g.n * (g.n + 1) // 2 if g.symmetric else g.m * g.n
        self.operations += elements * g.batch * (2 * g.k + (g.bias is not None) + g.relu)
        times = f"{g.batch} x " if g.batch != 1 else ""
        after = " + bias" * (g.bias is not None) + ", relu" * g.relu + ", symmetric" * g.symmetric
        return f"{times}{g.m}x{g.k} @ {g.k}x{g.n}{after}"


class Lattice(NamedTuple):
    """``offset + sum(stride * x)`` for every ``x`` below the extent that goes with the stride; all strides positive."""

    offset: int
    steps: tuple[tuple[int, int], ...]  # (stride, extent), the shortest stride first

    @property
    def most(self) -> int:
        """Distinct elements at most; exactly so many if no two combinations meet."""
        return prod([extent for _, extent in self.steps])


def lattice(index: Index, extents: Mapping[str, int]) -> Lattice:
    """The elements that an index goes to, strides that continue each other made one.

    Examples
    --------
    >>> lattice(Index(5, (("i", 8), ("j", 1))), {"i": 4, "j": 8})
    Lattice(offset=5, steps=((1, 32),))
    """
    offset, merged = index.offset, list[tuple[int, int]]()
    for stride, extent in sorted([(abs(s), extents[v]) for v, s in index.terms if s]):
        if merged and stride % merged[-1][0] == 0 and stride // merged[-1][0] <= merged[-1][1]:
            step, so_far = merged[-1]
            merged[-1] = (step, stride // step * (extent - 1) + so_far)
        elif extent > 1:
            merged.append((stride, extent))
    offset += sum(s * (extents[v] - 1) for v, s in index.terms if s < 0)
    return Lattice(offset, tuple(merged))


class Touched:
    """The elements that are touched of each of some buffers; accesses to others do not count.

    Of a buffer with elements for each of a number of turns that nobody knows, those of one turn count.
    """

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        self._buffers = {b.name: replace(b, size=b.per_turn) if b.per_turn else b for b in buffers}
        self._anywhere: dict[str, int] = {}
        self._lattices: dict[str, set[Lattice]] = {}

    def add(self, name: str, index: Index, extents: Mapping[str, int], *, anywhere: bool = False) -> None:
        """Note an access within loops of these extents; ``anywhere``: nobody knows where it goes."""
        if name not in self._buffers or not all(extents.values()):
            return
        if anywhere:
            self._anywhere[name] = self._anywhere.get(name, 0) + prod(extents.values())
        else:
            self._lattices.setdefault(name, set()).add(lattice(index, extents))

    def whole(self, name: str) -> None:
        """Note an access to all of a buffer."""
        if name in self._buffers:
            self.add(name, Index(0, (("i", 1),)), {"i": self._buffers[name].size})

    def move(self, name: str, buffer: str) -> None:
        """What was noted of ``name`` was a part of ``buffer``, all of which is touched part by part."""
        if self._lattices.pop(name, None) or self._anywhere.pop(name, None):
            self.whole(buffer)

    def matrix(self, matrix: Matrix, rows: int, columns: int, batch: int, step: int) -> None:
        """Note an access to matrices that are ``step`` elements apart."""
        outer, inner = (columns, rows) if matrix.transposed else (rows, columns)
        index = Index(matrix.offset, (("batch", step), ("row", matrix.row_stride), ("column", 1)))
        self.add(matrix.buffer, index, {"batch": batch, "row": outer, "column": inner})

    def include(self, other: Touched) -> None:
        """Note all that ``other`` has noted of the buffers that count here."""
        for name in self._buffers:
            self._anywhere[name] = self._anywhere.get(name, 0) + other._anywhere.get(name, 0)
            self._lattices.setdefault(name, set()).update(other._lattices.get(name, ()))

    def nbytes(self) -> int:
        """What all of them take."""
        return sum(self._elements(b) * b.dtype.bits // 8 for b in self._buffers.values())

    def _elements(self, buffer: Buffer) -> int:
        """Distinct elements; an upper bound where that is not known or the buffer is large."""
        found = self._lattices.get(buffer.name, set())
        count = sum(each.most for each in found)
        simple = len(found) == 1 and all(len(each.steps) < 2 for each in found)
        if found and not simple and buffer.size <= _COUNTED:
            seen = np.zeros(buffer.size, np.bool_)
            for each in found:
                seen |= _marked(each, buffer.size)
            count = int(seen.sum())
        return min(buffer.size, count + self._anywhere.get(buffer.name, 0))


def _turns(extent: int) -> int:
    """As often as the costs say that a loop turns: once, if that is known at run time alone."""
    return 1 if extent == EXTENT else extent


def _marked(elements: Lattice, size: int) -> NDArray:
    """Which of ``size`` elements are in a lattice. Each of its steps is made by doubling what is there of it."""
    seen = np.zeros(size, np.bool_)
    seen[elements.offset] = True
    for stride, extent in elements.steps:
        done = 1
        while done < extent:
            more = min(done, extent - done)
            seen[more * stride :] |= seen[: size - more * stride]
            done += more
    return seen
