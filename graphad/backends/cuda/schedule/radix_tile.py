"""A block sorts elements in its shared memory.

It sorts by 2 bits at a time: the counts of the four values are packed into one word, so that one scan over the threads
gives for every value how many elements come before (Satish, Harris, Garland 2009, sort by 1 bit at a time).
"""

from __future__ import annotations

from typing import Final

from graphad.backends.cuda.program.ir import Axis
from graphad.backends.cuda.schedule.body import Body
from graphad.backends.cuda.schedule.sorting import Pairs, Sort
from graphad.backends.loops.ir import Buffer, Carry, Index
from graphad.backends.loops.rewrites import Names
from graphad.ir.types import DType, i32, i64, literal, u64

#: Bits that are sorted by at a time.
_SPLIT: Final = 2
#: Bits of each of the four counts, more than enough for a tile.
_FIELD: Final = 16
#: The packed counts times this are their exclusive prefix sums: for each value, how many elements have a lower one.
_BELOW: Final = (1 << _FIELD) + (1 << 2 * _FIELD) + (1 << 3 * _FIELD)


def digit_of(body: Body, key: str, kind: DType, shift: int, bits: int) -> str:
    """So many bits of a key from ``shift`` on."""
    moved = body.let(kind, "lshr", key, literal(shift, kind)) if shift else key
    return body.let(kind, "and", moved, literal((1 << bits) - 1, kind))


class Tile:
    """``points`` threads with ``run`` consecutive elements each; ``body`` is the code of their block.

    The elements of a thread are stored ``points`` apart, so that the threads of a warp access different banks. The
    memory is double-buffered: each pass moves the elements from one half to the other.
    """

    def __init__(self, sort: Sort, names: Names, points: int, run: int) -> None:
        self.sort, self.names, self.body = sort, names, Body(names, sort.loc)
        self.points, self.run = points, run
        self.shared: list[Buffer] = []
        pairs = [(self.memory("key", sort.key_dtype), self.memory("order", i32)) for _ in range(2)]
        self.here, self.there = Pairs(*pairs[0]), Pairs(*pairs[1])
        self.before = self.memory("before", u64, points)

    def memory(self, hint: str, dtype: DType, size: int | None = None) -> str:
        """A buffer in shared memory; by default with room for all elements."""
        name = self.names.fresh(hint)
        self.shared.append(Buffer(name, dtype, self.points * self.run if size is None else size, "temporary"))
        return name

    def elements(self) -> tuple[tuple[Axis, ...], Index, Index]:
        """The axes of a loop over all elements, the number of an element, and the place where it lies."""
        p, e = self.names.fresh("p"), self.names.fresh("e")
        return (Axis(p, self.points), Axis(e, self.run)), Index(0, ((e, 1), (p, self.run))), self._place(p, e)

    def _place(self, p: str, e: str) -> Index:
        return Index(0, ((e, self.points), (p, 1)))

    def keep(self, body: Body, place: Index, key: str, position: str) -> None:
        """Store an element."""
        body.store(self.here.keys, place, key)
        body.store(self.here.order, place, position)

    def sort_by(self, shift: int, bits: int) -> None:
        """Sort by so many bits of the keys from ``shift`` on, stably.

        It begins with a barrier; the caller adds one before reading the result.
        """
        for begin in range(shift, shift + bits, _SPLIT):
            self._split(begin, min(_SPLIT, shift + bits - begin))

    def _split(self, shift: int, bits: int) -> None:
        self.body.barrier()
        total = self._count(shift, bits)
        self._move(shift, bits, self.body.let(u64, "mul", total, literal(_BELOW, u64)))
        self.here, self.there = self.there, self.here

    def _count(self, shift: int, bits: int) -> str:
        """Store for each thread the counts over the threads before it; returns the total counts."""
        body, run = self.body.inner(), self.body.inner()
        p, e, mine = (self.names.fresh(hint) for hint in ("p", "e", "count"))
        field = self._field(run, run.load(self.here.keys, self._place(p, e)), shift, bits)
        counted = run.let(u64, "shl", literal(1, u64), field)
        body.loop(e, self.run, run, [Carry(mine, u64, "sum", literal(0, u64), counted)])
        before = body.scan(u64, mine)
        body.store(self.before, Index(0, ((p, 1),)), before)
        self.body.spread([Axis(p, self.points)], body)
        return before

    def _move(self, shift: int, bits: int, below: str) -> None:
        """Move each element behind those with lower values, and those before it with its own value."""
        body, run = self.body.inner(), self.body.inner()
        p, e, numbers = (self.names.fresh(hint) for hint in ("p", "e", "number"))
        first = body.let(u64, "add", body.load(self.before, Index(0, ((p, 1),))), below)
        place = self._place(p, e)
        key, position = run.load(self.here.keys, place), run.load(self.here.order, place)
        field = self._field(run, key, shift, bits)
        word = run.let(u64, "and", run.let(u64, "lshr", numbers, field), literal((1 << _FIELD) - 1, u64))
        to = self._place_of(run, run.let(i32, "cast", word))
        run.store(self.there.keys, Index(), key, to)
        run.store(self.there.order, Index(), position, to)
        following = run.let(u64, "add", numbers, run.let(u64, "shl", literal(1, u64), field))
        body.loop(e, self.run, run, [Carry(numbers, u64, "last", first, following)])
        self.body.spread([Axis(p, self.points)], body)

    def _field(self, body: Body, key: str, shift: int, bits: int) -> str:
        """The bit offset, in the packed counts, of the count of a key's value."""
        kind = self.sort.key_dtype
        value = body.cast(digit_of(body, key, kind, shift, bits), kind, u64)
        return body.let(u64, "mul", value, literal(_FIELD, u64))

    def _place_of(self, body: Body, number: str) -> str:
        """Where the element of this number is stored; the run of a thread is a power of two."""
        p = body.let(i32, "lshr", number, literal(self.run.bit_length() - 1, i32))
        e = body.let(i32, "and", number, literal(self.run - 1, i32))
        start = body.let(i32, "mul", e, literal(self.points, i32))
        return body.let(i64, "cast", body.let(i32, "add", start, p))
