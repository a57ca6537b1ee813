"""Nests whose outer loop is short, cut along the loop inside it: sums of the columns of many rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphad.backends.loops.ir import Buffer, Load, Loop, LoopNest, Statement, Store
from graphad.backends.loops.rewrites import forward, is_pure
from graphad.backends.loops.visit import walk

#: The outer loop has at most so many turns, and the inner one so many times as many.
_SHORT: Final = 64
_LONGER: Final = 8


@dataclass(frozen=True, slots=True)
class Columns:
    """``before; for outer: ahead; for inner: ...; behind``, all but the loops without loops."""

    before: tuple[Statement, ...]
    outer: Loop
    ahead: tuple[Statement, ...]
    inner: Loop
    behind: tuple[Statement, ...]

    @property
    def results(self) -> set[str]:
        """The buffers whose values are known when all parts are."""
        return {s.buffer for s in self.behind if isinstance(s, Store)}

    @property
    def begins_with(self) -> tuple[Load, ...]:
        """What is read outside of the inner loop."""
        return tuple([s for s in (*self.before, *self.ahead, *self.behind) if isinstance(s, Load)])

    def as_loop(self) -> Loop:
        """The inner loop outside, for analysis."""
        outer = Loop(self.outer.var, self.outer.extent, (*self.ahead, *self.inner.body))
        return Loop(self.inner.var, self.inner.extent, (outer,), vector=self.inner.vector, loc=self.inner.loc)


def as_columns(nest: LoopNest, buffers: Mapping[str, Buffer]) -> Columns | None:
    """A nest in this form, if it is one."""
    *before, outer = nest.body or (None,)
    if not isinstance(outer, Loop) or not all(map(is_pure, before)) or outer.carries:
        return None
    outer = forward(outer)
    places = [k for k, s in enumerate(outer.body) if not is_pure(s) and not isinstance(s, Store)]
    if len(places) != 1:
        return None
    ahead, inner, behind = outer.body[: places[0]], outer.body[places[0]], outer.body[places[0] + 1 :]
    if not isinstance(inner, Loop) or not all(map(is_pure, ahead)) or any([c.combine == "last" for c in inner.carries]):
        return None
    if outer.extent > _SHORT or inner.extent < _LONGER * outer.extent:
        return None
    if any([isinstance(s, (Load, Store)) and buffers[s.buffer].private for s in walk(nest.body)]):
        return None  # lanes have these
    return Columns(tuple(before), outer, ahead, forward(inner), behind)
