"""A program with loops, as text: what is run, and what is shown of one that fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.generator.loop_spaces import LoopReference


@dataclass(frozen=True)
class LoopProgram:
    """The lines of a function of ``xp`` and of its arguments, which are the example."""

    dtype: str
    arguments: tuple[np.ndarray[Any, Any], ...]
    lines: tuple[str, ...]

    @property
    def source(self) -> str:
        """What is run, and what a report shows."""
        names = ", ".join([f"a{k}" for k in range(len(self.arguments))])
        return "\n".join([f"def program(xp, {names}):", *self.lines, ""])

    def function(self, space: Any) -> Callable[..., tuple[Any, ...]]:
        """The program over one library."""
        scope: dict[str, Any] = {}
        exec(compile(self.source, "<program>", "exec"), scope)
        return lambda *args: scope["program"](space, *args)

    @property
    def turns_are_known(self) -> bool:
        """Whether the turns of every loop are known when it is traced: JAX has no reverse mode of others."""
        static = re.compile(r"fori_loop\(-?\d+, -?\d+, ")
        return not any(["while_loop" in x or ("fori_loop" in x and not static.search(x)) for x in self.lines])

    def smaller(self) -> Iterator[LoopProgram]:
        """Programs that leave out a line, with what is indented below it, or what a line computes."""
        for k in reversed(range(len(self.lines) - 1)):
            end = k + 1
            while end < len(self.lines) and _depth(self.lines[end]) > _depth(self.lines[k]):
                end += 1
            yield from self._if_it_runs([*self.lines[:k], *self.lines[end:]])
            target, equals, rest = self.lines[k].partition(" = ")
            if equals and re.fullmatch(r"\s*v\d+", target):
                for name in dict.fromkeys(re.findall(r"\b[av]\d+\b", rest)):
                    if rest != name:
                        yield from self._if_it_runs([*self.lines[:k], f"{target} = {name}", *self.lines[k + 1 :]])
        results = re.findall(r"\b[av]\d+\b", self.lines[-1])
        if len(results) > 1:
            for name in results:
                yield from self._if_it_runs([*self.lines[:-1], f"    return ({name},)"])

    def _if_it_runs(self, lines: list[str]) -> list[LoopProgram]:
        candidate = replace(self, lines=tuple(lines))
        space = LoopReference(self.dtype)
        try:
            with np.errstate(all="ignore"):
                results = candidate.function(space)(*[space.rounded(x, 0) for x in self.arguments])
        except Exception:  # noqa: BLE001 - whatever is wrong with it, it is no program
            return []
        return [candidate] if all([isinstance(r, (np.ndarray, np.generic)) for r in results]) else []


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
