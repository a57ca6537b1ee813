"""Primitives with regions: ``jit`` and ``remat``, and what all such primitives share.

A region is a closed graph inside an equation. The rules for transforming it are here; the transform itself is passed in
by the caller (`graphad.transforms` is a floor up), and its results are memoised on the region.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphad.errors import CallbackError, ConcretizationError, at
from graphad.ir.builder import Builder
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import format_loc
from graphad.ir.lowering import Inline
from graphad.ir.params import STR
from graphad.ir.primitive import Primitive, RegionRules
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType
from graphad.primitives.layout import repeat_leading

Marks = tuple[bool, ...]
Run = Callable[[Graph, Sequence[Any]], Sequence[Any]]
Tangents = Sequence[Ref | None]


# ---------------------------------------------------------------------------------------------------------------------
# What regions have in common


def check_region(name: str, operands: Sequence[OperandType], region: Graph) -> None:
    """Check that a region takes operands of these types."""
    wanted = region.in_avals
    if tuple([(x.shape, x.dtype) for x in operands]) != tuple([(a.shape, a.dtype) for a in wanted]):
        raise TypeError(f"the region of {name} takes {wanted}, but its operands are {tuple(operands)}")


def region_type(*operands: OperandType, regions: tuple[Graph, ...], **_params: Any) -> tuple[Aval, ...]:
    """The type rule of primitives that run their first region once."""
    check_region("the equation", operands, regions[0])
    return regions[0].out_avals


def only(region: Graph, outputs: Sequence[Atom]) -> Graph:
    """``region`` with values of its own as outputs."""
    return narrowed(region, outputs, range(region.n_inputs))


def narrowed(region: Graph, outputs: Sequence[Atom], inputs: Sequence[int]) -> Graph:
    """``region`` with values of its own as outputs, of some of its inputs, in this order: all that are read."""
    builder = Builder()
    numbers = [builder.input(a) for a in region.in_avals]
    wanted = Graph(region.avals, region.n_inputs, region.eqns, tuple(outputs), None, region.locs, region.name)
    return builder.close(builder.inline(wanted, numbers), None, [numbers[k] for k in inputs], region.name)


def computed(builder: Builder, region: Graph, values: Sequence[Atom], inputs: Mapping[int, Atom]) -> list[Atom]:
    """``values`` of ``region``, computed in ``builder`` without effects; ``inputs`` are the inputs that they need."""
    makers = {o: k for k, eqn in enumerate(region.eqns) for o in eqn.outputs}
    needed: set[int] = set()
    stack = [a for a in values if type(a) is int and a not in inputs]
    while stack:
        k = makers[stack.pop()]
        if k not in needed:
            needed.add(k)
            stack.extend([a for a in region.eqns[k].inputs if type(a) is int and a not in inputs])
    known: dict[int, Atom] = dict(inputs)
    for k in sorted(needed):
        eqn = region.eqns[k]
        builder.loc = region.locs[k]
        atoms = tuple([known[a] if type(a) is int else a for a in eqn.inputs])
        known.update(zip(eqn.outputs, builder.copy(eqn, atoms, [region.avals[o] for o in eqn.outputs]), strict=True))
    return [known[a] if type(a) is int else a for a in values]


def refuse_effects(builder: Builder, eqn: Eqn, name: str) -> None:
    """Raise if ``eqn``, which runs for some members of a batch alone, has effects: they would be those of all."""
    if any([region.effectful for region in eqn.regions]):
        raise ConcretizationError(
            f"{format_loc(builder.loc)}: a lax.{name} that goes another way for each element of a vmap prints, or "
            "calls the host, in a body: all elements would. Take that out of the body, or loop over the elements by "
            "lax.map."
        )


def batched_outputs(graph: Graph, batched: Sequence[bool], wanted: Sequence[bool], size: int) -> Graph:
    """``graph``, whose outputs marked in ``batched`` have a batch axis, with one for all that are ``wanted`` so."""
    if tuple(batched) == tuple(wanted):
        return graph
    builder = Builder()
    outs = [Ref(builder, a) for a in builder.inline(graph, [builder.input(a) for a in graph.in_avals])]
    outs = [repeat_leading(x, size) if w and not b else x for x, w, b in zip(outs, wanted, batched, strict=True)]
    return builder.close(atoms_of(outs), graph.weak, name=graph.name)


def slim_region(region: Graph, live: tuple[bool, ...]) -> tuple[Graph, tuple[int, ...]]:
    """``region`` with its live outputs only, without the inputs that this leaves unread; and the inputs kept."""

    def make() -> tuple[Graph, tuple[int, ...]]:
        builder = Builder()
        numbers = [builder.input(a) for a in region.in_avals]
        outs = [a for a, is_live in zip(builder.inline(region, numbers), live, strict=True) if is_live]
        weak = [w for w, is_live in zip(region.weak, live, strict=True) if is_live]
        graph = builder.close(outs, weak, name=region.name)
        read = {a for eqn in graph.eqns for a in eqn.inputs if type(a) is int}
        read.update(a for a in graph.outputs if type(a) is int)
        kept = tuple([i for i in numbers if i in read])
        if len(kept) < len(numbers):
            graph = builder.close(outs, weak, inputs=kept, name=region.name)
        return graph, kept

    return region.memoize(("slim", live), make)


def _prune(eqn: Eqn, live: tuple[bool, ...]) -> Eqn:
    region = eqn.regions[0]
    slim, kept = slim_region(region, live)
    if all(live) and len(kept) == region.n_inputs:
        return eqn
    outputs = tuple([o for o, is_live in zip(eqn.outputs, live, strict=True) if is_live])
    return Eqn(eqn.primitive, tuple([eqn.inputs[i] for i in kept]), eqn.params, outputs, (slim,))


def atoms_of(refs: Tangents) -> tuple[Atom, ...]:
    """The atoms of those that are not zero."""
    return tuple([r.atom for r in refs if r is not None])


def spread(builder: Builder, numbers: Sequence[Atom], nonzero: Sequence[bool]) -> list[Ref | None]:
    """One Ref per True of ``nonzero``, None elsewhere."""
    it = iter(numbers)
    return [Ref(builder, next(it)) if n else None for n in nonzero]


def _transpose_region(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref | Aval], cts: Tangents, transposed: Callable[..., Any], _: Any
) -> list[Ref | None]:
    linear = tuple([type(x) is Aval for x in operands])
    graph, nonzero = transposed(eqn.regions[0], linear, tuple([c is not None for c in cts]))
    inputs = tuple([x.atom for x in operands if type(x) is Ref]) + atoms_of(cts)
    found = iter(spread(builder, builder.emit(eqn.primitive, inputs, eqn.params, (graph,)), nonzero))
    return [next(found) if is_linear else None for is_linear in linear]


def _batch_region(
    builder: Builder, eqn: Eqn, operands: Sequence[Ref], marks: Sequence[bool], size: int, batched: Callable[..., Any]
) -> tuple[list[Ref], tuple[bool, ...]]:
    graph, mask = batched(eqn.regions[0], tuple(marks), size)
    numbers = builder.emit(eqn.primitive, atoms_of(operands), eqn.params, (graph,))
    return [Ref(builder, n) for n in numbers], mask


# ---------------------------------------------------------------------------------------------------------------------
# jit: two equations, so that the residuals are computed once and what does not depend on a tangent is not repeated


def _linearize_jit(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, linearized: Callable[..., Any], _: Any
) -> tuple[list[Atom], list[Ref | None]]:
    region = eqn.regions[0]
    primal, linear, n_residuals, nonzero = linearized(region, tuple([t is not None for t in tangents]))
    loc = builder.loc
    outs: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, (primal,))]
    n_outs = len(region.outputs)
    # A residual that is an input or a literal of the region need not be an output of it.
    residuals = [
        (atoms[a] if a < region.n_inputs else o) if type(a) is int else a
        for a, o in zip(primal.outputs[n_outs:], outs[n_outs:], strict=True)
    ]
    assert len(residuals) == n_residuals
    builder.loc = ("jvp", loc)
    results = builder.emit(eqn.primitive, tuple(residuals) + atoms_of(tangents), eqn.params, (linear,))
    return outs[:n_outs], spread(builder, results, nonzero)


jit = Primitive(
    "jit",
    doc="A compiled function: runs its region.",
    type_rule=region_type,
    numpy=None,
    params={"name": STR},
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_jit, _transpose_region, _batch_region),
    prune=_prune,
)


# ---------------------------------------------------------------------------------------------------------------------
# remat: the tangent equation computes the primal again instead of keeping residuals


def without_effects(region: Graph) -> Graph:
    """``region`` without its prints: what is computed again has printed already.

    Raises
    ------
    CallbackError
        If an effect has results, which would be needed again.
    """

    def make() -> Graph:
        builder = _Silent()
        outs = builder.inline(region, [builder.input(a) for a in region.in_avals])
        return builder.close(outs, region.weak, name=region.name)

    return region.memoize("without effects", make) if region.effectful else region


class _Silent(Builder):
    __slots__ = ()

    def copy(self, eqn: Eqn, inputs: tuple[Atom, ...], avals: Sequence[Aval]) -> tuple[int, ...]:
        if eqn.outputs and eqn.primitive.effect:
            message = (
                f"{eqn.primitive.name} gives results inside of what is computed again, but it is called once. Call it "
                "outside of checkpoint, and pass them in."
            )
            raise CallbackError(at(format_loc(self.loc), message))
        if eqn.primitive.effect:
            return ()
        return super().copy(eqn._replace(regions=tuple([without_effects(r) for r in eqn.regions])), inputs, avals)


def _linearize_remat(
    builder: Builder, eqn: Eqn, atoms: tuple[Atom, ...], tangents: Tangents, _: Any, jvp_graph: Callable[..., Any]
) -> tuple[list[Atom], list[Ref | None]]:
    region = eqn.regions[0]
    joint, nonzero = jvp_graph(without_effects(region), tuple([t is not None for t in tangents]))
    loc = builder.loc
    outs: list[Atom] = [*builder.emit(eqn.primitive, atoms, eqn.params, eqn.regions)]
    builder.loc = ("jvp", loc)
    n_outs = len(region.outputs)
    tangent_only, kept = slim_region(joint, (False,) * n_outs + (True,) * (len(joint.outputs) - n_outs))
    inputs = atoms + atoms_of(tangents)
    results = builder.emit(eqn.primitive, tuple([inputs[i] for i in kept]), eqn.params, (tangent_only,))
    return outs, spread(builder, results, nonzero)


remat = Primitive(
    "remat",
    doc="Runs its region; its derivative recomputes the region's values instead of keeping them (`checkpoint`).",
    type_rule=region_type,
    numpy=None,
    multiple=True,
    lowering=Inline(),
    region_rules=RegionRules(_linearize_remat, _transpose_region, _batch_region),
    prune=_prune,
)
