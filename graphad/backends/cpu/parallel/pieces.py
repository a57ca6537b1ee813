"""Nests cut so that each wide loop is alone in its own; values that others read go through memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from graphad.backends.cpu.parallel.wide import Memory, columns_as_wide, is_wide
from graphad.backends.loops.ir import (
    Buffer,
    Index,
    Let,
    Load,
    Loop,
    LoopNest,
    Position,
    Repeat,
    RepeatWhile,
    Statement,
    Step,
    Store,
)
from graphad.backends.loops.rewrites import defined, used
from graphad.backends.loops.steps import buffers_written
from graphad.ir.types import DType


class Pieces:
    """Cuts the nests of a program."""

    def __init__(self, memory: Memory) -> None:
        self.dtypes = {b.name: b.dtype for b in memory.buffers.values()}
        self.memory = memory
        self.alone = memory.alone

    def of(self, steps: Iterable[Step]) -> tuple[Step, ...]:
        """``steps`` with nests in pieces."""
        found: list[Step] = []
        for s in steps:
            match s:
                case LoopNest():
                    found += self.nest(s)
                case Repeat() | RepeatWhile():
                    found.append(replace(s, body=self.of(s.body)))
                case _:
                    found.append(s)
        return tuple(found)

    def nest(self, nest: LoopNest) -> list[LoopNest]:
        """The pieces of a nest, in order."""
        if any([isinstance(s, Let) and s.op == "threefry2x32" for s in nest.body]):  # memory holds no pairs
            return [nest]
        wide = [is_wide(s, self.alone) or self.has_columns(s) for s in nest.body]
        if len(nest.body) == 1 or not any(wide):
            return [nest]
        pieces: list[list[Statement]] = [[]]
        for s, is_alone in zip(nest.body, wide, strict=True):
            if is_alone:
                pieces += [[s], []]
            else:
                pieces[-1].append(s)
        return self.connected([p for p in pieces if p], nest)

    def has_columns(self, s: Statement) -> bool:
        """Whether a statement is a wide loop in a short one."""
        return columns_as_wide(LoopNest((s,)), self.memory) is not None

    def connected(self, pieces: Sequence[Sequence[Statement]], nest: LoopNest) -> list[LoopNest]:
        """Each piece with loads of what it reads from others, and stores of what others read from it.

        What others have loaded is loaded again.
        """
        homes = {name: k for k, piece in enumerate(pieces) for s in piece for name in defined(s)}
        read = [used(piece) for piece in pieces]
        dtypes = dict(self.defined(nest.body))
        written = buffers_written(nest)
        again = {s.name: s for s in nest.body if isinstance(s, Load) and s.dynamic is None and s.buffer not in written}
        crossing = [n for n, k in homes.items() if any([n in r for r in (*read[:k], *read[k + 1 :])])]
        cells = {n: self.cell(dtypes[n]) for n in crossing if n not in again}
        found: list[LoopNest] = []
        for k, piece in enumerate(pieces):
            loads = [again[n] for n in crossing if n in again and n in read[k] and homes[n] != k]
            loads += [Load(n, at, Index(), loc=nest.loc) for n, at in cells.items() if n in read[k] and homes[n] != k]
            own = [s for s in piece if not isinstance(s, Load) or s.name not in again or s.name in read[k]]
            stores = [Store(at, Index(), n, loc=nest.loc) for n, at in cells.items() if homes[n] == k]
            loc = next((s.loc for s in piece if isinstance(s, Loop)), nest.loc)
            if own or stores:
                found.append(LoopNest((*loads, *own, *stores), loc))
        return found

    def cell(self, dtype: DType) -> str:
        """A new buffer for one value."""
        return self.memory.new(Buffer(self.memory.names.fresh("kept"), dtype, 1, "temporary")).name

    def defined(self, body: Iterable[Statement]) -> Iterator[tuple[str, DType]]:
        """What statements define, each with its dtype."""
        for s in body:
            match s:
                case Let(name=name, dtype=dtype) | Position(name=name, dtype=dtype):
                    yield name, dtype
                case Load(name=name, buffer=buffer):
                    yield name, self.dtypes[buffer]
                case Store():
                    pass
                case _:
                    yield from [(c.name, c.dtype) for c in s.carries]
