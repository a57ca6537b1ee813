"""Values of the region of a loop for all turns at once, as arrays over the turns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.ref import Ref
from graphad.primitives.elementwise import add, sub
from graphad.primitives.layout import broadcast, repeat_leading, reshape
from graphad.primitives.reduce import reduce_sum
from graphad.primitives.shape import concatenate


class Over(NamedTuple):
    """A value over the turns; without the axis of the turns, it is the same in all."""

    ref: Ref
    has_axis: bool


class AllTurns:
    """Emits the equations of a region for all turns of its loop, each once and only if it is asked for.

    Attributes
    ----------
    known
        The values that are there: at first of operands, later of all that was computed.
    """

    def __init__(self, builder: Builder, region: Graph, length: int, known: dict[int, Over]) -> None:
        self.builder, self.region, self.length, self.known = builder, region, length, known

    def value(self, atom: Atom) -> Over:
        """``atom`` over the turns."""
        if type(atom) is not int:
            return Over(Ref(self.builder, atom), False)
        if atom not in self.known:
            for k in needed(self.region, [atom], self.known):
                self._compute(k)
        return self.known[atom]

    def _compute(self, k: int) -> None:
        eqn = self.region.eqns[k]
        operands = [self.value(a) for a in eqn.inputs]
        self.builder.loc = self.region.locs[k]
        self.known[eqn.outputs[0]] = self.apply(eqn.primitive, *operands, **eqn.primitive.named(eqn.params))

    def apply(self, primitive: Primitive, *operands: Over, **params: Any) -> Over:
        """A primitive on values over the turns."""
        refs, flags = [x.ref for x in operands], tuple([x.has_axis for x in operands])
        if any(flags):
            assert primitive.batch is not None
            return Over(primitive.batch(self.length, flags, *refs, **params), True)
        atoms = tuple([x.atom for x in refs])
        positional = tuple(params.values())
        return Over(Ref(self.builder, self.builder.emit(primitive, atoms, positional)[0]), False)

    def stack(self, atom: Atom) -> Ref:
        """``atom`` as an array with the axis of the turns."""
        ref, has_axis = self.value(atom)
        return ref if has_axis else repeat_leading(ref, self.length)

    def total(self, atom: Atom) -> Ref:
        """The sum of ``atom`` over the turns; of what is put together from parts, each part is summed."""
        k = next((k for k, eqn in enumerate(self.region.eqns) if atom in eqn.outputs), None)
        if k is None or self.region.eqns[k].primitive not in (broadcast, concatenate, reshape):
            return reduce_sum(self.stack(atom), axes=(0,))
        eqn = self.region.eqns[k]
        parts = tuple([self.total(a).atom for a in eqn.inputs])
        self.builder.loc = self.region.locs[k]
        return Ref(self.builder, self.builder.emit(eqn.primitive, parts, eqn.params)[0])


def needed(region: Graph, values: Sequence[Atom], known: Collection[int] = ()) -> list[int]:
    """Positions of the equations that compute ``values`` from ``known`` values and the inputs."""
    makers = {o: k for k, eqn in enumerate(region.eqns) for o in eqn.outputs}
    found: set[int] = set()
    left = [a for a in values if type(a) is int and a not in known]
    while left:
        k = makers.get(left.pop())
        if k is not None and k not in found:
            found.add(k)
            left.extend([a for a in region.eqns[k].inputs if type(a) is int and a not in known])
    return sorted(found)


class Total(NamedTuple):
    """A carried value that is a sum: what each turn adds to it, or subtracts."""

    term: Atom
    negative: bool


def total_of(region: Graph, carry: int, k: int) -> Total | None:
    """How carried value ``carry``, the ``k``-th, is a sum over the turns; None if it is not, or something reads it."""
    out = region.outputs[k]
    uses = [eqn for eqn in region.eqns if carry in eqn.inputs]
    if len(uses) != 1 or uses[0].outputs[0] != out or carry in region.outputs:
        return None
    if region.outputs.count(out) != 1 or any([out in eqn.inputs for eqn in region.eqns]):
        return None
    a, b = uses[0].inputs if uses[0].primitive in (add, sub) else (carry, carry)
    if a == b or (uses[0].primitive is sub and b == carry):
        return None
    return Total(b if a == carry else a, uses[0].primitive is sub)
