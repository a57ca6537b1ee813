"""Steps that run several times, as Numba source: loops, branches, and loops of a number of turns known as they run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from graphad.backends.loops.ir import Counted, Repeat, RepeatWhile
from graphad.backends.loops.steps import Turns
from graphad.backends.loops.text import format_sum
from graphad.backends.numba.nest import NestSource
from graphad.backends.numba.scalar import array_type
from graphad.ir.types import EXTENT


class TurnsSource(NestSource):
    """A function that does steps in order, those of a host or of one compiled for the CPU."""

    @abstractmethod
    def step(self, step: Any, depth: int) -> None:
        """Write any step, indented so deep."""

    @abstractmethod
    def touched(self, step: Any) -> set[str]:
        """The buffers that a step reads or writes."""

    @abstractmethod
    def empty(self, size: str, dtype: str) -> str:
        """A new array of so many elements."""

    def turns(self, step: Turns, depth: int) -> None:
        """Write a step with steps inside."""
        match step:
            case Repeat(var=var, extent=extent, reverse=reverse, loc=loc):
                n = "n" if extent == EXTENT else extent
                span = f"range({n} - 1, -1, -1)" if reverse else f"range({n})"
                turn = self.name(var, "index")
                if step.parallel:
                    self.line(depth, "# blocks: several threads share them out")
                self.line(depth, f"for {turn} in {span}:", loc)
                for w in step.windows:
                    start, size = format_sum([(turn, w.stride)], w.offset, " * "), self.buffers[w.name].size
                    window = f"{self.name(w.buffer, 'buffer')}[{start} : {start} + {size}]"
                    self.line(depth + 1, f"{self.name(w.name, 'buffer')} = {window}", loc)
                self._turn(step, depth + 1)
            case RepeatWhile(condition=condition, once=once, loc=loc):
                self.line(depth, f"{'if' if once else 'while'} {self.name(condition, 'buffer')}[0]:", loc)
                self._turn(step, depth + 1)
            case Counted(count=count, body=body, loc=loc):
                self.line(depth, f"n = {self.name(count, 'buffer')}[0]", loc)
                for name in sorted({b for s in body for b in self.touched(s)}):
                    if each := self.buffers[name].per_turn:
                        array = self.empty(f"{each} * n", array_type(self.buffers[name].dtype))
                        self.line(depth, f"{self.name(name, 'buffer')} = {array}", loc)
                for inner in body:
                    self.step(inner, depth)

    def _turn(self, step: Repeat | RepeatWhile, depth: int) -> None:
        """The steps once; then buffers trade places."""
        before = len(self.lines)
        for inner in step.body:
            self.step(inner, depth)
        for pair in step.swaps:
            one, other = (self.name(b, "buffer") for b in pair)
            self.line(depth, f"{one}, {other} = {other}, {one}", step.loc)
        if len(self.lines) == before:
            self.line(depth, "pass")
