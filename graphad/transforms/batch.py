"""Batching: one graph over many inputs at once, the batch axis leading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from graphad.errors import ConcretizationError, GraphadError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.ref import Ref
from graphad.ir.types import aval
from graphad.primitives.collectives import names_of
from graphad.primitives.layout import repeat_leading
from graphad.transforms.rules import checked, raised


class Batched(NamedTuple):
    """``graph`` on batched inputs, and which of its outputs carry the batch axis."""

    graph: Graph
    mask: tuple[bool, ...]


class Batching(NamedTuple):
    """`batched` over an axis that has a name, or none: what the rules of regions are handed. Equal ones do the same."""

    name: str | None

    def __call__(self, graph: Graph, mask: tuple[bool, ...], size: int, force: bool = False) -> Batched:
        return batched(graph, mask, size, force, self.name)


@without_collector
def batch(graph: Graph, mask: Sequence[bool], size: int, force: bool = False, name: str | None = None) -> Batched:
    """``graph`` over a batch of ``size``; inputs marked in ``mask`` have a leading axis of that size.

    With ``force`` every output gets the batch axis, also those that do not depend on a batched input. Collectives over
    the axis of ``name`` are resolved.
    """
    builder = Builder()
    value: list[Ref] = []
    marks = bytearray(len(graph.avals))
    for i, (a, marked) in enumerate(zip(graph.in_avals, mask, strict=True)):
        marks[i] = bool(marked)
        value.append(builder.input_ref(aval((size, *a.shape), a.dtype) if marked else a))
    value.extend([value[0] if value else Ref(builder, 0)] * (len(graph.avals) - graph.n_inputs))
    over = Batching(name)
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        builder.loc = ("batch", loc)
        _batch_eqn(builder, graph, eqn, loc, value, marks, size, over)
    outputs: list[Ref] = []
    out_mask: list[bool] = []
    for a in graph.outputs:
        ref = value[a] if type(a) is int else Ref(builder, a)
        marked = type(a) is int and bool(marks[a])
        if force and not marked:
            ref, marked = repeat_leading(ref, size), True
        outputs.append(ref)
        out_mask.append(marked)
    closed = builder.close([r.atom for r in outputs], graph.weak, name=graph.name)
    return Batched(closed, tuple(out_mask))


def _batch_eqn(
    builder: Builder,
    graph: Graph,
    eqn: Eqn,
    loc: Loc,
    value: list[Ref],
    marks: bytearray,
    size: int,
    over: Batching,
) -> None:
    primitive, inputs, params, outputs, _ = eqn
    operands = [value[a] if type(a) is int else Ref(builder, a) for a in inputs]
    mapped = [type(a) is int and bool(marks[a]) for a in inputs]
    is_named = over.name is not None and over.name in names_of(eqn, rules=True)
    if not any(mapped) and not is_named:
        numbers = builder.copy(eqn, tuple([x.atom for x in operands]), [graph.avals[o] for o in outputs])
        for o, new in zip(outputs, numbers, strict=True):
            value[o] = Ref(builder, new)
        return
    if primitive.region_rules is not None:
        results, out_marks = primitive.region_rules.batch(builder, eqn, operands, mapped, size, over)
    elif primitive.batch is None:
        raise ConcretizationError(
            f"{format_loc(loc)}: {primitive.name} cannot be batched by a vmap. A Python `if` "
            "or `while` on a batched value has no single answer: write numpy.where(condition, a, b) instead."
        )
    else:
        named = primitive.named(params)
        made: Any
        out_marks = [True] * len(outputs)
        try:
            if is_named and primitive.resolve is not None:
                made, out_marks[0] = primitive.resolve(builder, over.name, size, mapped, *operands, **named)
            else:
                made = primitive.batch(size, mapped, *operands, **named)
        except GraphadError:
            raise
        except Exception as error:
            raise raised(eqn, "batching", loc, error) from error
        wanted = [graph.avals[o] for o in outputs]
        wanted = [aval((size, *a.shape), a.dtype) if m else a for a, m in zip(wanted, out_marks, strict=True)]
        results = checked(eqn, "batching", loc, made if primitive.multiple else [made], wanted, False)
    for o, r, m in zip(outputs, results, out_marks, strict=True):
        value[o] = r
        marks[o] = m


def batched(graph: Graph, mask: tuple[bool, ...], size: int, force: bool = False, name: str | None = None) -> Batched:
    """`batch`, memoised."""
    return graph.memoize(("batched", mask, size, force, name), lambda: batch(graph, mask, size, force, name))
