"""The pass `inline`: replaces calls by their regions."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.primitive import Primitive
from graphad.passes.pipeline import Pass, graph_pass
from graphad.primitives.control import jit
from graphad.primitives.custom import custom_jvp, custom_vjp
from graphad.primitives.elementwise import stop_gradient
from graphad.primitives.implicit import custom_linear_solve, custom_root

_CALLS: Final[tuple[Primitive, ...]] = (jit,)
_CUSTOM: Final[tuple[Primitive, ...]] = (custom_jvp, custom_vjp, custom_root, custom_linear_solve, stop_gradient)


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
        """The graph without calls; itself, if it has none."""
        gone = _CALLS + _CUSTOM if self.custom else _CALLS
        if not any([eqn.primitive in gone or eqn.regions for eqn in graph.eqns]):
            return graph
        builder = _Inliner(gone)
        inputs = [builder.input(a) for a in graph.in_avals]
        outputs = builder.inline(graph, inputs)
        return builder.close(outputs, graph.weak, name=graph.name)


class _Inliner(Builder):
    """A builder in which equations of the primitives ``gone`` do not arrive."""

    __slots__ = ("gone",)

    def __init__(self, gone: Collection[Primitive]) -> None:
        super().__init__()
        self.gone = gone

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[object]) -> tuple[int, ...]:
        if eqn.primitive not in self.gone:
            if eqn.regions:
                inside = Inline(custom=len(self.gone) > len(_CALLS))
                eqn = eqn._replace(regions=tuple([r.memoize(inside, lambda r=r: inside.run(r)) for r in eqn.regions]))
            return super().copy(eqn, inputs, avals)  # pyright: ignore[reportArgumentType]
        if eqn.regions:
            loc = self.loc
            found = self.inline(eqn.regions[0], inputs)
            self.loc = loc
            return tuple(found)  # pyright: ignore[reportReturnType]  (literals among them: atoms all the same)
        return inputs  # pyright: ignore[reportReturnType]
