"""Loops in order, and the vector loops around them, run together in blocks of turns.

What a loop in order waits for is the turn before: most of the machine is idle. A vector loop over the same turns, which
makes what it reads or reads what it makes, is bound by the number of its operations. One after the other they take the
sum of both times; block by block they take the longer one, since the machine begins with the next block of the one
while it is at the last block of the other. What passes between them then stays in the first cache as well.

Walk of one example, 2,000 turns, with ``B`` for `TURNS`::

    for i in 2000 vector:                          for block in 2000 / B, c1 = last(0.0, c2):
      x[i] = in0[i] * 2.0                            for i in B vector:
    for i in 2000, c = last(0.0, t):        ->         x[B*block + i] = in0[B*block + i] * 2.0
      t = fma(x[i], 0.5, c)                          for i in B, c2 = last(c1, t):
    out0[0] = c                                        t = fma(x[B*block + i], 0.5, c2)
                                                   out0[0] = c1

and what does not fill a block follows in loops of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from graphad.backends.loops.ir import (
    Carry,
    Index,
    KernelProgram,
    Load,
    Loop,
    LoopNest,
    Statement,
    Step,
    Store,
    While,
)
from graphad.backends.loops.rewrites import Names, names_of, renamed, substituted
from graphad.ir.types import EXTENT, literal

#: Turns of a block.
TURNS: Final = 32
#: Loops of fewer blocks stay as they are.
_FEWEST: Final = 4
#: The statements of a block of the loop in order: what a machine looks ahead has room for so many, and the others.
_MOST: Final = 256


def in_blocks(program: KernelProgram) -> KernelProgram:
    """``program`` with adjacent nests run together in blocks of turns, where one of them is in order."""
    return replace(program, steps=tuple(_blocked(program.steps)))


def _blocked(steps: Iterable[Step]) -> Iterator[Step]:
    run: list[_Nest] = []
    for step in steps:
        nest = _as_nest(step)
        if nest is None or not all([_fit(n, nest) for n in run]):
            yield from _closed(run)
            run = []
        if nest is None:
            yield step
        else:
            run.append(nest)
    yield from _closed(run)


@dataclass(frozen=True, slots=True)
class _Nest:
    """A nest that is one loop without loops inside, and what stands before and behind it."""

    nest: LoopNest
    before: tuple[Statement, ...]
    loop: Loop
    behind: tuple[Statement, ...]


def _as_nest(step: Step) -> _Nest | None:
    """The step as a nest that may be cut into blocks."""
    if not isinstance(step, LoopNest):
        return None
    places = [k for k, s in enumerate(step.body) if isinstance(s, (Loop, While))]
    if len(places) != 1:
        return None
    k = places[0]
    loop = step.body[k]
    if not isinstance(loop, Loop) or not _FEWEST * TURNS <= loop.extent < EXTENT:
        return None
    combine = "sum" if loop.vector else "last"
    if any([c.combine != combine for c in loop.carries]) or any([isinstance(s, (Loop, While)) for s in loop.body]):
        return None
    if not loop.vector and len(loop.body) * TURNS > _MOST:
        return None
    return _Nest(step, step.body[:k], loop, step.body[k + 1 :])


# ---- whether nests can run together


def _fit(first: _Nest, second: _Nest) -> bool:
    """Whether both can run together: as many turns, in one direction, and element by element where they share some.

    What stands before the second then runs ahead of the first loop, and what stands behind the first after the second.
    """
    if first.loop.extent != second.loop.extent:
        return False
    if not first.loop.vector and not second.loop.vector and first.loop.reverse != second.loop.reverse:
        return False
    done, seen = _stored((*first.loop.body, *first.behind)), _loaded((*first.loop.body, *first.behind))
    ahead, late = _stored(second.before), _stored(first.behind)
    if _loaded(second.before) & done or ahead & (done | seen | _stored(first.before)):
        return False
    mine, theirs = _places(second.loop), _places(first.loop)
    if not late.isdisjoint(mine) or _loaded(first.behind) & _stored(second.loop.body):
        return False
    written = _stored(first.loop.body) | _stored(second.loop.body)
    shared = [mine[name] | theirs[name] for name in mine.keys() & theirs.keys() & written]
    return all([len(places) == 1 and None not in places for places in shared])


def _stored(statements: Iterable[Statement]) -> set[str]:
    return {s.buffer for s in statements if isinstance(s, Store)}


def _loaded(statements: Iterable[Statement]) -> set[str]:
    return {s.buffer for s in statements if isinstance(s, Load)}


def _places(loop: Loop) -> dict[str, set[tuple[int, int] | None]]:
    """Where a loop looks at each buffer: offset and stride; None if that is not one element of its own in each turn."""
    found: dict[str, set[tuple[int, int] | None]] = {}
    for s in loop.body:
        if isinstance(s, (Load, Store)):
            stride = sum([by for var, by in s.index.terms if var == loop.var])
            place = (s.index.offset, stride) if stride and s.dynamic is None else None
            found.setdefault(s.buffer, set()).add(place)
    return found


# ---- how they do


def _closed(run: Sequence[_Nest]) -> list[Step]:
    """The nests as one, if some are in order and others are not."""
    if len({n.loop.vector for n in run}) == 2:
        return [_together(run)]
    return [n.nest for n in run]


def _together(run: Sequence[_Nest]) -> LoopNest:
    names = Names([])
    own = [_with_own_names(n, names) for n in run]
    extent, loc = run[0].loop.extent, run[0].nest.loc
    reverse = any([n.loop.reverse for n in run])
    blocks, rest = divmod(extent, TURNS)
    block = names.fresh("block")
    at = Index(extent - TURNS, ((block, -TURNS),)) if reverse else Index(0, ((block, TURNS),))
    parts = [_part(n.loop, TURNS, at, names) for n in own]
    carries = [
        Carry(c.name, c.dtype, c.combine, c.init, part.name)
        for n, p in zip(own, parts, strict=True)
        for c, part in zip(n.loop.carries, p.carries, strict=True)
    ]
    loops = [Loop(block, blocks, tuple(parts), tuple(carries), loc=loc)]
    final: dict[str, str] = {}
    if rest:
        at = Index(0) if reverse else Index(extent - rest)
        for n in own:
            tail = _part(n.loop, rest, at, names, goes_on=True)
            loops.append(tail)
            final |= {c.name: t.name for c, t in zip(n.loop.carries, tail.carries, strict=True)}
    before = [s for n in own for s in n.before]
    behind = renamed([s for n in own for s in n.behind], final)
    return LoopNest((*before, *loops, *behind), loc)


def _part(loop: Loop, turns: int, at: Index, names: Names, *, goes_on: bool = False) -> Loop:
    """So many turns of ``loop`` from ``at`` on.

    It begins with what is carried under the names of ``loop``; its sums are of its own turns, unless it ``goes_on``.
    """
    var = names.fresh(loop.var)
    copies = {n: names.fresh(f"{n}_") for n in [*names_of(loop.body), *[c.name for c in loop.carries]]}
    body = substituted(loop.body, loop.var, Index(at.offset, (*at.terms, (var, 1))))
    (part,) = renamed((replace(loop, var=var, extent=turns, body=body),), copies)
    assert isinstance(part, Loop)
    zeros = [literal(-0.0 if c.dtype.is_float else 0, c.dtype) for c in loop.carries]
    sums_anew = loop.vector and not goes_on
    begins = zeros if sums_anew else [c.name for c in loop.carries]
    carries = [replace(c, init=init) for c, init in zip(part.carries, begins, strict=True)]
    return replace(part, carries=tuple(carries))


def _with_own_names(n: _Nest, names: Names) -> _Nest:
    body = renamed(n.nest.body, {name: names.fresh(f"{name}_") for name in names_of(n.nest.body)})
    k = len(n.before)
    loop = body[k]
    assert isinstance(loop, Loop)
    return _Nest(n.nest, body[:k], loop, body[k + 1 :])
