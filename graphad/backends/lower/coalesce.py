"""Loop coalescing: two perfectly nested loops become one, where every access has a single stride over both."""

from __future__ import annotations

from dataclasses import replace

from graphad.backends.loops.ir import Carry, Index, Load, Loop, Position, Store, stride_of
from graphad.backends.loops.rewrites import mapped_indices
from graphad.backends.loops.visit import walk
from graphad.ir.types import EXTENT


def coalesce(loop: Loop) -> Loop:
    """``loop``, merged with the loop that is its whole body if that gives the same program, of turns known beforehand.

    >>> x = Load("t0", "x", Index(0, (("i", 3), ("j", 1))))
    >>> inner = Loop("j", 3, (x, Store("y", Index(0, (("i", 3), ("j", 1))), "t0")), vector=True)
    >>> merged = coalesce(Loop("i", 5, (inner,)))
    >>> merged.extent, merged.vector, merged.body[0].index
    (15, True, Index(offset=0, terms=(('i', 1),)))
    """
    if len(loop.body) != 1 or loop.vector or loop.reverse:
        return loop
    (inner,) = loop.body
    if not isinstance(inner, Loop) or inner.reverse or EXTENT in (loop.extent, inner.extent):
        return loop
    carries = _carries(loop, inner)
    if carries is None:
        return loop
    for statement in walk(inner.body):
        if isinstance(statement, (Load, Store, Position)):
            index = statement.index
            if stride_of(index, loop.var) != inner.extent * stride_of(index, inner.var):
                return loop

    def moved(index: Index) -> Index:
        """The index in terms of the merged variable, which has the inner loop's stride."""
        stride = stride_of(index, inner.var)
        terms = [(v, s) for v, s in index.terms if v not in (inner.var, loop.var)]
        return Index(index.offset, tuple(sorted([*terms, (loop.var, stride)] if stride else terms)))

    body = mapped_indices(inner.body, moved)
    return replace(loop, extent=loop.extent * inner.extent, body=body, carries=carries, vector=inner.vector)


def _carries(loop: Loop, inner: Loop) -> tuple[Carry, ...] | None:
    """The carries of the merged loop: each outer one must only combine what an inner one has combined."""
    if len(loop.carries) != len(inner.carries):
        return None
    inner_by_name = {c.name: c for c in inner.carries}
    merged: list[Carry] = []
    for carry in loop.carries:
        part = inner_by_name.pop(carry.update, None) if isinstance(carry.update, str) else None
        if part is None or part.combine != carry.combine or carry.combine == "last":
            return None
        merged.append(replace(carry, update=part.update))
    return tuple(merged)
