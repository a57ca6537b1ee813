"""Padding folded into reads: no padded copy is made, which saves two passes through memory.

A shifted or padded array is made by two nests, one that fills a temporary and one that copies something to its middle.
Where each of its elements is read only once, the reader can test whether the element is in the padding, and else load
it from the source. Walk of one example, the element before each one::

    for i in 1000:                        for i in 1000:
      tmp0[i] = 0.0                         p = i - 1
    for i in 999:                           inside = ge(p, 0)
      t0 = x[i]                             q = maximum(p, 0)
      tmp0[i + 1] = t0                      t0_0 = x[q]
    for i in 1000:                          t1 = select(inside, t0_0, 0.0)
      t1 = tmp0[i]                          ...
      ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from graphad.backends.cuda.program.ir import reads, writes
from graphad.backends.loops.ir import (
    Buffer,
    Index,
    Let,
    Load,
    Loop,
    LoopNest,
    Operand,
    Position,
    Statement,
    Step,
    Store,
    While,
    index_range,
)
from graphad.backends.loops.rewrites import Names, copied, loops_around, renamed, substituted
from graphad.backends.loops.visit import walk
from graphad.ir.loc import Loc
from graphad.ir.types import Literal, b1, i64, literal

#: Most statements that compute an element: they are repeated at every read.
_MOST: Final = 16
#: How often sums may read an element on average: beyond that, the tests cost more than the padded copy.
_OFTEN: Final = 4


def with_padding_folded(steps: Sequence[Step], names: Names, buffers: Mapping[str, Buffer]) -> list[Step]:
    """``steps`` without padded copies of which every element is read once, or a few times side by side."""
    steps = list(steps)
    k = 0
    while k + 1 < len(steps):
        padded = _padded(steps[k], steps[k + 1], buffers)
        replaced = None
        if padded is not None and not any(padded.buffer.name in reads(s) | writes(s) for s in steps[:k]):
            replaced = _read_elsewhere(padded, steps[k + 2 :], names)
        if replaced is None:
            k += 1
        else:
            steps[k:] = replaced
            k = max(k - 1, 0)
    return steps


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of a padded array: its stride and extent, where the copied part begins, and the loop that copies."""

    stride: int
    extent: int
    start: int
    loop: Loop

    def coordinate(self, index: Index, extents: Mapping[str, int]) -> Index | None:
        """The coordinate along this axis of a position in memory; None if it can leave the axis."""
        offset = index.offset // self.stride % self.extent
        terms: list[tuple[str, int]] = []
        for var, stride in index.terms:
            if self.stride <= stride < self.stride * self.extent:
                if stride % self.stride:
                    return None
                terms.append((var, stride // self.stride))
        low, high = index_range(Index(offset, tuple(terms)), extents)
        return Index(offset - self.start, tuple(terms)) if low >= 0 and high < self.extent else None


@dataclass(frozen=True, slots=True)
class _Padded:
    """A padded array: ``buffer`` is ``fill``, but in the middle what ``body`` computes for each point of the axes."""

    buffer: Buffer
    fill: Literal
    axes: tuple[_Axis, ...]
    body: tuple[Statement, ...]
    value: Operand
    sources: frozenset[str]


def _padded(first: Step, second: Step, buffers: Mapping[str, Buffer]) -> _Padded | None:
    filled = _filled(first, buffers)
    if filled is None or not isinstance(second, LoopNest) or writes(second) != {filled[0].name}:
        return None
    loops, scalars = loops_around(second.body)
    *before, store = (*scalars, *loops[-1].body) if loops and loops[-1].body else (None,)
    if any(loop.carries for loop in loops) or not isinstance(store, Store) or store.dynamic or store.mask:
        return None
    pure = [s for s in before if isinstance(s, (Let, Load, Position))]
    if len(pure) < len(before) or len(pure) > _MOST or any(isinstance(s, Load) and s.dynamic for s in pure):
        return None
    axes = _axes(filled[0].size, loops, store.index)
    sources = frozenset(reads(second))
    if axes is None or filled[0].name in sources:
        return None
    return _Padded(*filled, axes, tuple(pure), store.value, sources)


def _filled(step: Step, buffers: Mapping[str, Buffer]) -> tuple[Buffer, Literal] | None:
    """The temporary that ``step`` fills with a constant, and the constant."""
    match step:
        case LoopNest(body=(Loop(var=var, extent=extent, carries=(), body=(Store() as s,)),)):
            buffer = buffers[s.buffer]
            whole = s.index == Index(0, ((var, 1),)) and extent == buffer.size and s.mask is None and s.dynamic is None
            if whole and buffer.role == "temporary" and isinstance(s.value, Literal):
                return buffer, s.value
        case _:
            pass
    return None


def _axes(size: int, loops: Sequence[Loop], index: Index) -> tuple[_Axis, ...] | None:
    """The axes of an array of ``size`` elements, part of which the loops go over, the outermost first."""
    by_var = {loop.var: loop for loop in loops}
    terms = sorted([(stride, var) for var, stride in index.terms], reverse=True)
    if not terms or {var for _, var in terms} != set(by_var) or terms[-1][0] != 1 or index.offset < 0:
        return None
    axes: list[_Axis] = []
    whole = size
    for stride, var in terms:
        if whole % stride:
            return None
        extent, start = whole // stride, index.offset // stride % max(whole // stride, 1)
        if start + by_var[var].extent > extent:
            return None
        axes.append(_Axis(stride, extent, start, by_var[var]))
        whole = stride
    return tuple(axes)


def _read_elsewhere(padded: _Padded, steps: Sequence[Step], names: Names) -> list[Step] | None:
    """``steps`` with all reads of the padded array replaced; None if one cannot be, or if it does not pay."""
    out: list[Step] = []
    changed = False
    for step in steps:
        if padded.buffer.name in writes(step):
            return None
        if padded.buffer.name not in reads(step):
            out.append(step)
            changed = changed or not padded.sources.isdisjoint(writes(step))
            continue
        if changed or not isinstance(step, LoopNest) or not padded.sources.isdisjoint(writes(step)):
            return None
        body = _replaced(_along_axes(step, padded, names), padded, {}, names, summed=False)
        if body is None:
            return None
        out.append(replace(step, body=body))
    return out


def _along_axes(nest: LoopNest, padded: _Padded, names: Names) -> tuple[Statement, ...]:
    """The body of a nest that goes over all elements of the padded array, with a loop for each axis."""
    match nest.body:
        case (Loop(carries=()) as flat,) if flat.extent == padded.buffer.size and len(padded.axes) > 1:
            loads = [s for s in flat.body if isinstance(s, Load) and s.buffer == padded.buffer.name]
            if not loads or any(s.index != Index(0, ((flat.var, 1),)) for s in loads):
                return nest.body
            vars_ = [names.fresh(f"{flat.var}_") for _ in padded.axes]
            terms = [(var, axis.stride) for var, axis in zip(vars_, padded.axes, strict=True)]
            body = substituted(flat.body, flat.var, Index(0, tuple(sorted(terms))))
            for var, axis in zip(vars_[::-1], padded.axes[::-1], strict=True):
                body = (Loop(var, axis.extent, body, loc=flat.loc),)
            return body
        case _:
            return nest.body


def _replaced(
    body: Sequence[Statement], padded: _Padded, extents: Mapping[str, int], names: Names, *, summed: bool
) -> tuple[Statement, ...] | None:
    out: list[Statement] = []
    for s in body:
        match s:
            case Load(buffer=buffer) if buffer == padded.buffer.name:
                often = prod(extents.values()) > _OFTEN * padded.buffer.size
                made = None if summed and often else _element(s, padded, extents, names)
                if made is None:
                    return None
                out += made
            case Loop():
                combines = summed or any(c.combine != "last" for c in s.carries)
                inner = _replaced(s.body, padded, {**extents, s.var: s.extent}, names, summed=combines)
                if inner is None:
                    return None
                out.append(replace(s, body=inner))
            case While() if any(isinstance(t, Load) and t.buffer == padded.buffer.name for t in walk(s.body)):
                return None
            case _:
                out.append(s)
    return tuple(out)


def _element(s: Load, padded: _Padded, extents: Mapping[str, int], names: Names) -> list[Statement] | None:
    """The statements that compute the element that ``s`` loads, under its name."""
    around = {var for var, extent in extents.items() if extent > 1}
    if (
        s.dynamic is not None
        or s.index.offset < 0
        or not around <= {var for var, stride in s.index.terms if stride > 0}
    ):
        return None
    tests: list[Statement] = []
    inside: list[str] = []
    body: Sequence[Statement] = padded.body
    for axis in padded.axes:
        place = axis.coordinate(s.index, extents)
        if place is None:
            return None
        low, high = index_range(place, extents)
        if low < 0 or high >= axis.loop.extent:
            found, at = _clamped(place, (low, high), axis.loop.extent, names, s.loc)
            tests += found
            inside += [t.name for t in found if isinstance(t, Let) and t.dtype is b1]
            body = _moved(body, axis.loop.var, at, names)
        body = substituted(body, axis.loop.var, place)
    body, own = copied(body, names)
    value = own[padded.value] if isinstance(padded.value, str) else padded.value
    if not inside and isinstance(value, str):
        return list(renamed(body, {value: s.name}))
    while len(inside) > 1:
        both = names.fresh("t")
        tests.append(Let(both, b1, "and", (inside.pop(), inside.pop()), s.loc))
        inside.append(both)
    condition: Operand = inside[0] if inside else literal(True, b1)
    return [*tests, *body, Let(s.name, padded.buffer.dtype, "select", (condition, value, padded.fill), s.loc)]


def _clamped(
    place: Index, span: tuple[int, int], extent: int, names: Names, loc: Loc
) -> tuple[list[Statement], str]:  # fmt: skip
    """Statements that test a coordinate against the source's bounds and clamp it, and the clamped one's name."""
    at = names.fresh("t")
    found: list[Statement] = [Position(at, i64, place, loc)]
    first, last = literal(0, i64), literal(extent - 1, i64)
    bounds = [("ge", "maximum", first)] * (span[0] < 0) + [("le", "minimum", last)] * (span[1] >= extent)
    nearest = at
    for test, clamp, bound in bounds:
        inside, clamped = names.fresh("t"), names.fresh("t")
        found += [Let(inside, b1, test, (at, bound), loc), Let(clamped, i64, clamp, (nearest, bound), loc)]
        nearest = clamped
    return found, nearest


def _moved(body: Sequence[Statement], var: str, at: str, names: Names) -> list[Statement]:
    """``body`` with loads at coordinate ``at`` of the loop over ``var``, which may be out of bounds."""
    out: list[Statement] = []
    for s in body:
        stride = dict(s.index.terms).get(var, 0) if isinstance(s, Load) else 0
        if not isinstance(s, Load) or not stride:
            out.append(s)
            continue
        offset = at
        if stride != 1:
            offset = names.fresh("t")
            out.append(Let(offset, i64, "mul", (at, literal(stride, i64)), s.loc))
        if s.dynamic is not None:
            total = names.fresh("t")
            out.append(Let(total, i64, "add", (s.dynamic, offset), s.loc))
            offset = total
        terms = tuple([t for t in s.index.terms if t[0] != var])
        out.append(replace(s, index=Index(s.index.offset, terms), dynamic=offset))
    return out
