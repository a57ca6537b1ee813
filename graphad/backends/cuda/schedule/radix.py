"""Radix sort of long rows, the least significant digit first (Satish, Harris, Garland, "Designing Efficient Sorting
Algorithms for Manycore GPUs", IPDPS 2009).

A row that fits in shared memory is sorted by one block, in one launch. A longer row is cut into tiles, and takes three
launches for every digit, 8 bits of its keys:

1. a histogram of the digit for each tile;
2. an exclusive prefix sum of the counts over the tiles;
3. a sort of each tile by the digit, and the scatter: equal digits, now side by side, go to consecutive places.

Every step is stable, and all counts are integers: the sort is stable and deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from graphad.backends.cuda.program.ir import WARP, Axis, Kernel
from graphad.backends.cuda.schedule.body import Body
from graphad.backends.cuda.schedule.radix_tile import Tile, digit_of
from graphad.backends.cuda.schedule.sorting import Element, Pairs, Sort
from graphad.backends.loops.ir import Buffer, Index, Load, Store
from graphad.backends.loops.rewrites import Names
from graphad.backends.loops.visit import walk
from graphad.ir.types import DType, b1, i32, i64, literal, u32

#: Threads of a block that sorts a tile, and elements of each of them.
THREADS: Final = 256
RUN: Final = 4
TILE: Final = THREADS * RUN
#: Bits of a digit, and the number of its values.
DIGIT: Final = 8
VALUES: Final = 1 << DIGIT


def radix_kernels(sort: Sort, names: Names, buffers: dict[str, Buffer]) -> list[Kernel]:
    """The kernels, without names yet, that do ``sort``; temporaries go to ``buffers``."""
    most = 2 * TILE if sort.key_dtype is u32 else TILE
    return [_whole_rows(sort, names)] if sort.n <= most else _Passes(sort, names, buffers).kernels()


def _whole_rows(sort: Sort, names: Names) -> Kernel:
    """A block for each row."""
    run = RUN if sort.n <= TILE else 2 * RUN
    points = -(-sort.n // run)
    row, tile = names.fresh("i"), Tile(sort, names, points, run)
    ragged = points * run != sort.n
    axes, number, place = tile.elements()
    body = tile.body.inner()
    element = Element(body, sort, row, number, ragged=ragged)
    tile.keep(body, place, element.or_last(element.key()), element.position())
    tile.body.spread(axes, body)
    tile.sort_by(sort.unused, sort.bits - sort.unused)
    tile.body.barrier()
    axes, number, place = tile.elements()
    body = tile.body.inner()
    to = Element(body, sort, row, number, ragged=ragged)
    body.store(sort.order, to.at, body.load(tile.here.order, place), to.dynamic, to.inside)
    tile.body.spread(axes, body)
    group = THREADS if points > THREADS // 2 else THREADS // 2
    return _kernel(tile.body, tile.shared, (Axis(row, sort.rows),), group)


class _Passes:
    """One sort of rows that are cut into ``tiles``; tables have an entry for each value of the digit and each tile."""

    def __init__(self, sort: Sort, names: Names, buffers: dict[str, Buffer]) -> None:
        self.sort, self.names, self.buffers = sort, names, buffers
        self.tiles = -(-sort.n // TILE)
        self.ragged = self.tiles * TILE != sort.n
        self.row, self.tile = names.fresh("i"), names.fresh("tile")
        self.grid = Axis(self.row, sort.rows), Axis(self.tile, self.tiles)
        self.counts = self._buffer("counts", i32, VALUES * self.tiles)
        self.earlier = self._buffer("earlier", i32, VALUES * self.tiles)
        self.totals = self._buffer("totals", i32, VALUES)

    def kernels(self) -> list[Kernel]:
        """Three for every digit, which move the pairs from one pair of buffers to another."""
        sort, kernels, source = self.sort, list[Kernel](), None
        shifts = range(sort.unused, sort.bits, DIGIT)
        between = [self._pairs() for _ in shifts[1:3]]
        for k, shift in enumerate(shifts):
            bits = min(DIGIT, sort.bits - shift)
            target = between[k % 2] if k + 1 < len(shifts) else None
            kernels += [self._count(source, shift, bits), self._sum(), self._scatter(source, target, shift, bits)]
            source = target
        return kernels

    def _buffer(self, hint: str, dtype: DType, size: int) -> str:
        name = self.names.fresh(hint)
        self.buffers[name] = Buffer(name, dtype, self.sort.rows * size, "temporary")
        return name

    def _pairs(self) -> Pairs:
        return Pairs(self._buffer("key", self.sort.key_dtype, self.sort.n), self._buffer("order", i32, self.sort.n))

    def _entry(self, value: str, tile: str) -> Index:
        """An entry of a table: of one value, those of all tiles lie side by side."""
        return Index(0, ((self.row, VALUES * self.tiles), (tile, 1), (value, self.tiles)))

    def _clear(self, body: Body, counts: str) -> None:
        value, inner = self.names.fresh("value"), body.inner()
        inner.store(counts, Index(0, ((value, 1),)), literal(0, i32))
        body.spread([Axis(value, VALUES)], inner)
        body.barrier()

    # ---- the three launches

    def _count(self, source: Pairs | None, shift: int, bits: int) -> Kernel:
        """The histogram of each tile."""
        counts = self.names.fresh("counts")
        body = Body(self.names, self.sort.loc)
        self._clear(body, counts)
        j, inner = self.names.fresh("j"), body.inner()
        number = Index(0, ((j, 1), (self.tile, TILE)))
        element = Element(inner, self.sort, self.row, number, source, ragged=self.ragged)
        inner.count(counts, i32, self._digit(inner, element.key(), shift, bits), element.inside)
        body.spread([Axis(j, TILE)], inner)
        body.barrier()
        value, inner = self.names.fresh("value"), body.inner()
        inner.store(self.counts, self._entry(value, self.tile), inner.load(counts, Index(0, ((value, 1),))))
        body.spread([Axis(value, VALUES)], inner)
        return _kernel(body, [Buffer(counts, i32, VALUES, "temporary")], self.grid, THREADS)

    def _sum(self) -> Kernel:
        """For each value, the exclusive prefix sum of its counts over the tiles, and its count in the row."""
        value, tile = self.names.fresh("value"), self.names.fresh("tile")
        body = Body(self.names, self.sort.loc)
        inner = body.inner()
        before = inner.scan(i32, inner.load(self.counts, self._entry(value, tile)))
        inner.store(self.earlier, self._entry(value, tile), before)
        body.spread([Axis(tile, self.tiles)], inner)
        body.store(self.totals, Index(0, ((self.row, VALUES), (value, 1))), before)
        grid = Axis(self.row, self.sort.rows), Axis(value, VALUES)
        return _kernel(body, [], grid, WARP if self.tiles <= 4 * WARP else THREADS)

    def _scatter(self, source: Pairs | None, target: Pairs | None, shift: int, bits: int) -> Kernel:
        """The scatter of the pairs, or (None), for the last digit, of the positions alone."""
        tile = Tile(self.sort, self.names, THREADS, RUN)
        counts, first = tile.memory("counts", i32, VALUES), tile.memory("first", i32, VALUES)
        body = tile.body
        self._clear(body, counts)
        axes, number, place = tile.elements()
        inner = body.inner()
        number = Index(0, (*number.terms, (self.tile, TILE)))
        element = Element(inner, self.sort, self.row, number, source, ragged=self.ragged)
        key = element.key()
        inner.count(counts, i32, self._digit(inner, key, shift, bits), element.inside)
        tile.keep(inner, place, element.or_last(key), element.position())
        body.spread(axes, inner)
        tile.sort_by(shift, bits)
        self._first_places(body, counts, first)
        self._write(tile, first, target, shift, bits)
        return _kernel(body, tile.shared, self.grid, THREADS)

    def _first_places(self, body: Body, counts: str, first: str) -> None:
        """For each value, ``first``: element e of the sorted tile goes to ``first + e`` if it has that value."""
        value, inner = self.names.fresh("value"), body.inner()
        here = Index(0, ((value, 1),))
        lower = inner.scan(i32, inner.load(self.totals, Index(0, ((self.row, VALUES), (value, 1)))))
        lower_here = inner.scan(i32, inner.load(counts, here))
        start = inner.let(i32, "add", lower, inner.load(self.earlier, self._entry(value, self.tile)))
        inner.store(first, here, inner.let(i32, "sub", start, lower_here))
        body.spread([Axis(value, VALUES)], inner)
        body.barrier()

    def _write(self, tile: Tile, first: str, target: Pairs | None, shift: int, bits: int) -> None:
        """Write the sorted tile, value by value; the padding comes last, and is not written."""
        sort = self.sort
        axes, number, place = tile.elements()
        inner = tile.body.inner()
        key, position = inner.load(tile.here.keys, place), inner.load(tile.here.order, place)
        start = inner.load(first, Index(), self._digit(inner, key, shift, bits))
        goal = inner.let(i64, "cast", inner.let(i32, "add", start, inner.position(i32, number)))
        inside = None
        if self.ragged:
            in_row = inner.position(i64, Index(0, (*number.terms, (self.tile, TILE))))
            inside = inner.let(b1, "lt", in_row, literal(sort.n, i64))
            goal = inner.let(i64, "minimum", goal, literal(sort.n - 1, i64))
        of_row = Index(0, ((self.row, sort.n),))
        if target is not None:
            inner.store(target.keys, of_row, key, goal, inside)
        inner.store(sort.order if target is None else target.order, of_row, position, goal, inside)
        tile.body.spread(axes, inner)

    def _digit(self, body: Body, key: str, shift: int, bits: int) -> str:
        """The digit as an offset."""
        kind = self.sort.key_dtype
        return body.cast(digit_of(body, key, kind, shift, bits), kind, i64)


def _kernel(body: Body, shared: Sequence[Buffer], grid: tuple[Axis, ...], group: int) -> Kernel:
    """A kernel whose parameters are all buffers that are not ``shared``."""
    own = {b.name for b in shared}
    touched = dict.fromkeys([s.buffer for s in walk(body.statements) if isinstance(s, (Load, Store))])
    parameters = tuple([name for name in touched if name not in own])
    threads = max(group, 4 * WARP)
    return Kernel("", parameters, tuple(shared), grid, tuple(body.statements), group, 1, threads, body.loc)
