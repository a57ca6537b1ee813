"""The pass `inline`: replaces calls by their regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.passes.pipeline import Pass, graph_pass
from graphad.primitives.control import jit
from graphad.primitives.custom import custom_jvp, custom_vjp
from graphad.primitives.elementwise import stop_gradient


@graph_pass("inline")
@dataclass(frozen=True)
class Inline(Pass):
    """Inline calls, so that other passes see through them; `remat` is not inlined.

    Attributes
    ----------
    custom
        Inline functions with custom derivatives too, and drop `stop_gradient`: for graphs that will not be
        differentiated any more.
    """

    custom: bool = False

    def run(self, graph: Graph) -> Graph:
        """The graph without calls."""
        builder = _Inliner(self.custom)
        inputs = [builder.input(a) for a in graph.in_avals]
        outputs = builder.inline(graph, inputs)
        return builder.close(outputs, graph.weak, name=graph.name)


class _Inliner(Builder):
    __slots__ = ("custom",)

    def __init__(self, custom: bool) -> None:
        super().__init__()
        self.custom = custom

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[object]) -> tuple[int, ...]:
        primitive = eqn.primitive
        if primitive is jit or (self.custom and primitive in (custom_jvp, custom_vjp)):
            loc = self.loc
            found = self.inline(eqn.regions[0], inputs)
            self.loc = loc
            return tuple(found)  # pyright: ignore[reportReturnType]  (literals among them: atoms all the same)
        if self.custom and primitive is stop_gradient:
            return inputs  # pyright: ignore[reportReturnType]
        return super().copy(eqn, inputs, avals)  # pyright: ignore[reportArgumentType]
