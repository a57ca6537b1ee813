"""Loops whose bodies are written as functions of `Ref`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from graphad.ir.builder import Builder
from graphad.ir.ref import Ref
from graphad.ir.types import aval, i32, literal
from graphad.primitives.dynamic import dynamic_slice
from graphad.primitives.layout import broadcast, positions, reshape, transpose
from graphad.primitives.scan import scan
from graphad.primitives.while_loop import while_

Refs = Sequence[Ref]


def repeated(
    length: int, body: Callable[[Refs, Refs], tuple[Refs, Refs]], carried: Refs, xs: Refs = (), reverse: bool = False
) -> tuple[list[Ref], list[Ref]]:
    """A ``scan``: ``body(carried, slices)`` gives what is carried on and what is stacked; so does this."""
    builder = carried[0].builder
    inside = Builder()
    inside.loc = builder.loc
    arrived = [inside.input_ref(x.aval) for x in carried]
    slices = [inside.input_ref(aval(x.shape[1:], x.dtype)) for x in xs]
    after, ys = body(arrived, slices)
    region = inside.close([y.atom for y in (*after, *ys)], name="turn")
    operands = tuple([x.atom for x in (*carried, *xs)])
    found = [Ref(builder, o) for o in builder.emit(scan, operands, (length, reverse, 0, len(carried)), (region,))]
    return found[: len(carried)], found[len(carried) :]


def numbered(builder: Builder, length: int) -> Ref:
    """The numbers of the turns, to run over."""
    return positions(builder, (length,), 0)


def repeated_while(test: Callable[[Refs], Ref], body: Callable[[Refs], Refs], carried: Refs) -> list[Ref]:
    """A ``while``: what is carried when ``test(carried)`` fails, of a batch where it fails for each."""
    builder = carried[0].builder
    regions = []
    for function in (lambda arrived: [test(arrived)], body):
        inside = Builder()
        inside.loc = builder.loc
        outs = function([inside.input_ref(x.aval) for x in carried])
        regions.append(inside.close([y.atom for y in outs], name="turn"))
    found = builder.emit(while_, tuple([x.atom for x in carried]), (0, 0), tuple(regions))
    return [Ref(builder, o) for o in found[:-1]]


# ---------------------------------------------------------------------------------------------------------------------
# What turn ``j`` looks at


def column_at(a: Ref, j: Ref) -> Ref:
    """Column ``j`` of each matrix."""
    first = Ref(a.builder, literal(0, i32))
    found = dynamic_slice(a, *[first] * (a.ndim - 1), j, sizes=(*a.shape[:-1], 1), batch=0)
    return reshape(found, shape=a.shape[:-1])


def row_at(a: Ref, j: Ref) -> Ref:
    """Row ``j`` of each matrix."""
    first = Ref(a.builder, literal(0, i32))
    starts = [*[first] * (a.ndim - 2), j, first]
    found = dynamic_slice(a, *starts, sizes=(*a.shape[:-2], 1, a.shape[-1]), batch=0)
    return reshape(found, shape=(*a.shape[:-2], a.shape[-1]))


def over(x: Ref, like: Ref) -> Ref:
    """``x``, one number for each member of leading axes, for all elements of these."""
    return broadcast(x, shape=like.shape, dims=tuple(range(x.ndim)))


def place(like: Ref, axis: int) -> Ref:
    """The position of each element along an axis."""
    return positions(like.builder, like.shape, axis)


def to_back(x: Ref) -> Ref:
    """What turns have stacked, with their axis last."""
    return transpose(x, perm=(*range(1, x.ndim), 0))
