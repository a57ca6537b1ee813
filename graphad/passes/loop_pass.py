"""What passes have in common that put other equations in the place of loops, one loop at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, user_line
from graphad.ir.ref import Ref
from graphad.ir.types import Aval
from graphad.passes.pipeline import OnNote, Pass


class LoopPass(Pass, ABC):
    """A pass that replaces loops, from the innermost outwards. Subclasses say which, and by what."""

    def run(self, graph: Graph, on_note: OnNote | None = None) -> Graph:
        """The graph, itself if there is no loop that fits; ``on_note`` is told what becomes of each that does."""
        if not self._has_loops(graph):
            return graph
        builder = _Builder(self, on_note)
        outputs = builder.inline(graph, [builder.input(a) for a in graph.in_avals])
        return builder.close(outputs, graph.weak, name=graph.name)

    def _has_loops(self, graph: Graph) -> bool:
        return any([self.fits(eqn) or any([self._has_loops(r) for r in eqn.regions]) for eqn in graph.eqns])

    @abstractmethod
    def fits(self, eqn: Eqn) -> bool:
        """Whether ``eqn`` is a loop that may be replaced."""

    @abstractmethod
    def replaced(self, builder: Builder, eqn: Eqn, inputs: tuple[Atom, ...]) -> tuple[Sequence[Ref] | None, str]:
        """The results of what takes the place of a loop that fits, None if it stays; and that in words."""


class _Builder(Builder):
    """A builder that copies all but the loops that a pass replaces."""

    __slots__ = ("how", "on_note")

    def __init__(self, how: LoopPass, on_note: OnNote | None) -> None:
        super().__init__()
        self.how: Final = how
        self.on_note: Final = on_note

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[Aval]) -> tuple[int, ...]:
        if eqn.regions:
            eqn = eqn._replace(regions=tuple([self.how.run(region, self.on_note) for region in eqn.regions]))
        if not self.how.fits(eqn):
            return super().copy(eqn, inputs, avals)
        loc = self.loc
        results, words = self.how.replaced(self, eqn, inputs)
        self.loc = loc
        if self.on_note is not None:
            self.on_note(f"loop of {eqn.params[0]} turns{in_brackets(loc)}: {words}")
        if results is None:
            return super().copy(eqn, inputs, avals)
        return tuple([ref.atom for ref in results])  # type: ignore[misc]  # literals among them are read as well


def in_brackets(loc: Loc) -> str:
    """`` (model.py:14)``, nothing where there is no such line."""
    place = user_line(loc)
    return f" ({place})" if place else ""
