"""Small arrays that lie one behind the other, in lanes: vectors of each are loaded, and transposed in registers.

In a loop over a stack of matrices, element ``k`` of each lies a stride behind that of the one before. Where a body
reads several such elements that are neighbours, a `Tile`, each lane loads its own neighbours at once, and shuffles make
of these rows the columns that the body asks for. What it writes goes the other way. This takes about a third of the
instructions that loads and stores of single elements take, and accesses memory in its order.

Walk of one example, 2 lanes of ``x[4*i]`` and ``x[4*i + 1]``: the tile has the rows ``x[0], x[1]`` and ``x[4], x[5]``
of lanes 0 and 1, and the columns ``x[0], x[4]`` and ``x[1], x[5]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from graphad.backends.llvm.access import Access, Place
from graphad.backends.llvm.text import Code, element_type, lanes_of, storage_type
from graphad.backends.loops.ir import Buffer, Index, Load, Loop, Statement, Store, While, stride_of

#: How many blocks of lanes ahead the rows of tiles are fetched into the cache. A block is so many instructions that the
#: CPU meets the next one's loads too late: from memory, 50,000 Cholesky factors of 6x6 take 21 ns each, without 29.
AHEAD: Final = 2
#: Narrower rows, in bytes, are not fetched: their neighbours' lines are near enough.
FETCHED: Final = 32


class Tile(NamedTuple):
    """``width`` neighbours, the first of them at ``first``."""

    buffer: str
    first: Index
    width: int


#: A tile, and which of its columns a value is.
Column = tuple[Tile, int]


class Tiles:
    """What the body of a vector loop accesses by tiles.

    Attributes
    ----------
    read
        The column that a loaded value is, by its name.
    written
        The column that a store makes, by where it goes.
    """

    def __init__(self, read: Mapping[str, Column], written: Mapping[tuple[str, Index], Column]) -> None:
        self.read = read
        self.written = written
        self._columns: dict[Tile, dict[int, str]] = {}  # as far as they are known

    def __bool__(self) -> bool:
        return bool(self.read or self.written)

    def load(self, s: Load, access: Access, place: Callable[[Tile], Place], buffer: Buffer, lanes: int) -> str:
        """The value of a load: with the first of a tile, all columns are loaded."""
        tile, column = self.read[s.name]
        if tile not in self._columns:
            at, element = place(tile), storage_type(buffer.dtype)
            kind, align = lanes_of(element, tile.width), buffer.dtype.bits // 8
            pointers = access.lanes_apart(at, element, lanes)
            _fetch(access, at, tile, buffer, lanes, "0")
            rows = [access.code.let(f"load {kind}, ptr {p}, align {align}", "row") for p in pointers]
            self._columns[tile] = dict(enumerate(columns(access.code, rows, element, tile.width)))
        return self._columns[tile][column]

    def store(
        self, s: Store, value: str, access: Access, place: Callable[[Tile], Place], buffer: Buffer, lanes: int
    ) -> None:
        """Take the value of a store: with the last of a tile, all columns are stored."""
        tile, column = self.written[s.buffer, s.index]
        found = self._columns.setdefault(tile, {})
        found[column] = value
        if len(found) < tile.width:
            return
        at, element = place(tile), storage_type(buffer.dtype)
        kind, align = lanes_of(element, tile.width), buffer.dtype.bits // 8
        _fetch(access, at, tile, buffer, lanes, "1")
        stored = rows(access.code, [found[k] for k in range(tile.width)], element, lanes)
        for pointer, row in zip(access.lanes_apart(at, element, lanes), stored, strict=True):
            access.code.do(f"store {kind} {row}, ptr {pointer}, align {align}")


NO_TILES: Final = Tiles({}, {})


def tiles_of(body: Sequence[Statement], var: str, buffers: Mapping[str, Buffer], widest: int) -> Tiles:
    """What the body of a loop over ``var`` accesses by tiles of at most ``widest`` elements.

    A tile is read where its first load stands, and written where its last store stands. Buffers may share memory, so
    that loads must not pass stores: only those loads are taken that come before all stores, and those stores that come
    behind all loads.
    """
    first = next((k for k, s in enumerate(body) if _accesses(s, Store)), len(body))
    last = next((k for k in reversed(range(len(body))) if _accesses(body[k], Load)), -1)
    loads = [s for s in body[:first] if isinstance(s, Load) and _is_apart(s, var, buffers[s.buffer])]
    stores = [s for s in body[last + 1 :] if isinstance(s, Store) and s.mask is None]
    stores = [s for s in stores if _is_apart(s, var, buffers[s.buffer])]
    places = {(s.buffer, s.index) for s in stores}
    tiles = list(_tiles({(s.buffer, s.index) for s in loads}, widest, lambda width: width // 2 + 1))
    written = list(_tiles(places, widest, lambda width: width)) if len(places) == len(stores) else []
    return Tiles(
        {s.name: found for s in loads for tile in tiles if (found := _column(tile, s)) is not None},
        {(s.buffer, s.index): found for s in stores for tile in written if (found := _column(tile, s)) is not None},
    )


def _accesses(s: Statement, kind: type[Load] | type[Store]) -> bool:
    if isinstance(s, (Loop, While)):
        return any([_accesses(inner, kind) for inner in s.body])
    return isinstance(s, kind)


def _is_apart(s: Load | Store, var: str, buffer: Buffer) -> bool:
    as_it_lies = storage_type(buffer.dtype) == element_type(buffer.dtype)
    return as_it_lies and not buffer.private and s.dynamic is None and stride_of(s.index, var) > 1


def _column(tile: Tile, s: Load | Store) -> Column | None:
    column = s.index.offset - tile.first.offset
    fits = tile.buffer == s.buffer and tile.first.terms == s.index.terms and 0 <= column < tile.width
    return (tile, column) if fits else None


def _tiles(places: Iterable[tuple[str, Index]], widest: int, least: Callable[[int], int]) -> Iterator[Tile]:
    """Tiles among what is accessed, of whose elements at least ``least(width)`` are.

    They lie between the first and the last element that each iteration accesses, so nothing beyond the buffer is read.
    """
    groups: dict[tuple[str, tuple[tuple[str, int], ...]], set[int]] = {}
    for buffer, index in places:
        groups.setdefault((buffer, index.terms), set()).add(index.offset)
    for (buffer, terms), offsets in groups.items():
        at, end = min(offsets), max(offsets) + 1
        while at < end:
            width = min(widest, 1 << (end - at).bit_length() - 1)
            if width > 1 and len(offsets & set(range(at, at + width))) >= least(width):
                yield Tile(buffer, Index(at, terms), width)
            at += width


def _fetch(access: Access, place: Place, tile: Tile, buffer: Buffer, lanes: int, writes: str) -> None:
    """Have the CPU fetch the rows of a later block; nothing happens where there is none."""
    if tile.width * buffer.dtype.bits < FETCHED * 8:
        return
    later = Place(
        place.pointer, access.code.let(f"add i64 {place.index}, {AHEAD * lanes * place.stride}", "later"), place.stride
    )
    for pointer in access.lanes_apart(later, storage_type(buffer.dtype), lanes, inbounds=False):
        access.code.call("llvm.prefetch.p0", "void", [("ptr", pointer), ("i32", writes), ("i32", "3"), ("i32", "1")])


def columns(code: Code, rows: Sequence[str], element: str, width: int) -> list[str]:
    """``width`` vectors with a lane for each of the rows, which are vectors of ``width`` elements."""
    joined: list[str] = []
    for q in range(width):
        parts, size = list(rows[q::width]), width
        while len(parts) > 1:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [_picked(code, element, size, a, b, range(2 * size)) for a, b in pairs]
            size *= 2
        joined += parts
    return _transposed(code, joined, element, len(rows))


def rows(code: Code, columns: Sequence[str], element: str, lanes: int) -> list[str]:
    """Of each lane, a vector of its elements in the columns: the inverse of `columns`."""
    width, joined = len(columns), _transposed(code, columns, element, lanes)
    if width == lanes:
        return joined
    starts = [lane - lane % width for lane in range(lanes)]
    return [
        code.shuffle(joined[lane % width], element, lanes, list(range(start, start + width)))
        for lane, start in enumerate(starts)
    ]


def _transposed(code: Code, vectors: Sequence[str], element: str, lanes: int) -> list[str]:
    """Square blocks, of as many lanes as there are vectors, transposed: halves trade places, then quarters, ..."""
    found, distance = list(vectors), len(vectors) // 2
    while distance:
        for i in range(len(found)):
            if i & distance:
                continue
            a, b = found[i], found[i | distance]
            low = [lane if not lane & distance else lanes + (lane ^ distance) for lane in range(lanes)]
            high = [lane | distance if not lane & distance else lanes + lane for lane in range(lanes)]
            found[i] = _picked(code, element, lanes, a, b, low)
            found[i | distance] = _picked(code, element, lanes, a, b, high)
        distance //= 2
    return found


def _picked(code: Code, element: str, lanes: int, a: str, b: str, picks: Iterable[int]) -> str:
    """The elements ``picks`` of two vectors, those of the second counted on."""
    kind, mask = lanes_of(element, lanes), [f"i32 {pick}" for pick in picks]
    return code.let(f"shufflevector {kind} {a}, {kind} {b}, <{len(mask)} x i32> <{', '.join(mask)}>", "tile")
