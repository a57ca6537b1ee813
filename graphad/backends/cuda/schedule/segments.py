"""Deterministic scattered sums: updates sorted by position, a segmented scan, and one store per element.

The segmented scan works by doubling (Hillis and Steele 1986): after step ``d`` each entry holds the combination of the
last ``2*d`` of its run of equal positions, so it takes log2(n) steps over all updates, and no atomic update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from graphad.backends.cuda.program.ir import Atomic
from graphad.backends.cuda.schedule.scatter import around, path_to_store
from graphad.backends.loops.ir import (
    Buffer,
    Combine,
    Index,
    Let,
    Load,
    Loop,
    LoopNest,
    Operand,
    Position,
    RoutineCall,
    Statement,
    Step,
    Store,
)
from graphad.backends.loops.rewrites import Names
from graphad.backends.loops.visit import walk
from graphad.errors import LoweringError, at
from graphad.ir.loc import format_loc
from graphad.ir.types import DType, b1, i32, i64, literal

_OPS: Final[dict[Combine, str]] = {"sum": "add", "prod": "mul"}


def depends_on_order(body: Sequence[Statement], buffers: Mapping[str, Buffer]) -> bool:
    """Whether an atomic update in ``body`` rounds, so that the result depends on the order of updates."""
    updates = [s for s in walk(body) if isinstance(s, Atomic)]
    return any(s.combine in _OPS and buffers[s.buffer].dtype.is_float for s in updates)


def sorted_updates(body: Sequence[Statement], names: Names, buffers: dict[str, Buffer]) -> list[Step]:
    """Steps that do what the one atomic update in ``body`` does, in a fixed order."""
    path = path_to_store(body[0]) if len(body) == 1 and isinstance(body[0], Loop) else None
    if path is None or not isinstance(path[1], Atomic):
        loc = next(s.loc for s in walk(body) if isinstance(s, Atomic))
        message = "these scattered updates have no form of fixed order; set config.deterministic to False for them."
        raise LoweringError(at(format_loc(loc), message))
    return _SortedUpdates(path[0], path[1], names, buffers).steps()


class _SortedUpdates:
    """The steps for one update statement; new buffers hold the position and the value of each update."""

    def __init__(self, loops: list[Loop], update: Atomic, names: Names, buffers: dict[str, Buffer]) -> None:
        self.loops, self.update, self.names, self.buffers = loops, update, names, buffers
        self.loc = update.loc
        self.dtype = buffers[update.buffer].dtype
        self.end = buffers[update.buffer].size
        self.count = 1
        strides: dict[str, int] = {}
        for loop in reversed(loops):
            strides[loop.var] = self.count
            self.count *= loop.extent
        self.number = Index(0, tuple(sorted(strides.items())))

    def steps(self) -> list[Step]:
        """Collect, sort, permute, combine by doubling, store."""
        places, values = self._buffer("place", i64), self._buffer("value", self.dtype)
        order = self._buffer("order", i32)
        sort = RoutineCall("argsort", i64, (places,), (order,), (1, self.count, self.end.bit_length()), self.loc)
        sorted_places, front = self._buffer("place", i64), self._buffer("value", self.dtype)
        steps: list[Step] = [self._collect(places, values), sort]
        steps.append(self._in_order(order, (places, sorted_places), (values, front)))
        step = 1
        while step < self.count:
            back = self._buffer("value", self.dtype)
            steps.append(self._double(sorted_places, front, back, step))
            front, step = back, 2 * step
        return [*steps, self._store(sorted_places, front)]

    def _buffer(self, hint: str, dtype: DType) -> str:
        name = self.names.fresh(hint)
        self.buffers[name] = Buffer(name, dtype, self.count, "temporary")
        return name

    def _collect(self, places: str, values: str) -> LoopNest:
        """Every update's position (past the end, if it is dropped) and value."""
        u = self.update
        body: list[Statement] = []
        fixed = self._position(body, u.index)
        place = fixed if u.dynamic is None else self._let(body, i64, "add", fixed, u.dynamic)
        if u.mask is not None:
            place = self._let(body, i64, "select", u.mask, place, literal(self.end, i64))
        body += [Store(places, self.number, place, loc=self.loc), Store(values, self.number, u.value, loc=self.loc)]
        return LoopNest((around(self.loops, body, keep=False),), self.loc)

    def _in_order(self, order: str, places: tuple[str, str], values: tuple[str, str]) -> LoopNest:
        var, body = self.names.fresh("k"), list[Statement]()
        here = Index(0, ((var, 1),))
        which = self._let(body, i64, "cast", self._load(body, order, here))
        for source, target in (places, values):
            body.append(Store(target, here, self._load(body, source, Index(), which), loc=self.loc))
        return self._nest(var, self.count, body)

    def _double(self, places: str, source: str, target: str, step: int) -> LoopNest:
        """Each entry combined with the one ``step`` before it, if both have the same position."""
        var, body = self.names.fresh("k"), list[Statement]()
        here = Index(0, ((var, 1),))
        number = self._position(body, here)
        before = self._let(
            body, i64, "maximum", self._let(body, i64, "sub", number, literal(step, i64)), literal(0, i64)
        )
        behind = self._let(body, b1, "ge", number, literal(step, i64))
        mine, other = self._load(body, places, here), self._load(body, places, Index(), before)
        together = self._let(body, b1, "and", behind, self._let(body, b1, "eq", mine, other))
        value, earlier = self._load(body, source, here), self._load(body, source, Index(), before)
        both = self._let(body, self.dtype, _OPS[self.update.combine], earlier, value)
        result = self._let(body, self.dtype, "select", together, both, value)
        body.append(Store(target, here, result, loc=self.loc))
        return self._nest(var, self.count, body)

    def _store(self, places: str, values: str) -> LoopNest:
        """Store the last entry of each run to its element."""
        var, body = self.names.fresh("k"), list[Statement]()
        here = Index(0, ((var, 1),))
        number = self._position(body, Index(1, here.terms))
        following = self._let(body, i64, "minimum", number, literal(self.count - 1, i64))
        mine, other = self._load(body, places, here), self._load(body, places, Index(), following)
        last = self._let(
            body,
            b1,
            "or",
            self._let(body, b1, "ne", mine, other),
            self._let(body, b1, "eq", number, literal(self.count, i64)),
        )
        kept = self._let(body, b1, "and", last, self._let(body, b1, "lt", mine, literal(self.end, i64)))
        place = self._let(body, i64, "minimum", mine, literal(self.end - 1, i64))
        value = self._load(body, values, here)
        target = self.update.buffer
        # Runs go to different elements: the atomic update only says that these stores do not conflict.
        body.append(Atomic(target, Index(), value, place, kept, self.loc, self.update.combine))
        return self._nest(var, self.count, body)

    # ---- statements

    def _position(self, body: list[Statement], index: Index) -> str:
        name = self.names.fresh("t")
        body.append(Position(name, i64, index, self.loc))
        return name

    def _let(self, body: list[Statement], dtype: DType, op: str, *args: Operand) -> str:
        name = self.names.fresh("t")
        body.append(Let(name, dtype, op, args, self.loc))
        return name

    def _load(self, body: list[Statement], buffer: str, index: Index, dynamic: str | None = None) -> str:
        name = self.names.fresh("t")
        body.append(Load(name, buffer, index, dynamic, self.loc))
        return name

    def _nest(self, var: str, extent: int, body: Sequence[Statement]) -> LoopNest:
        return LoopNest((Loop(var, extent, tuple(body), loc=self.loc),), self.loc)
