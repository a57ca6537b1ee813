"""The state of one launch: sizes, memory, traffic so far. Every access to memory goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.faults import Fault
from graphad.backends.cuda.emulator.machine.memory import WINDOW, WINDOWS, Allocation, Memory, Region
from graphad.backends.cuda.emulator.machine.shadow import Order, Shadow
from graphad.backends.cuda.emulator.machine.threads import WARP, Threads
from graphad.backends.cuda.emulator.ptx_types import BITS

Array = np.ndarray[Any, np.dtype[Any]]
Size = tuple[int, int, int]

_SECTOR = 5  # 32 bytes
_SAFELY_ALIGNED = 16
# `ld.global.nc` is for memory that nothing writes while the kernel runs: its cache is not coherent.
_READ_AS_CONSTANT = ", which the kernel reads by ld.global.nc: that may give what was there before"
_WRITTEN_BEFORE = ", which the kernel has written: .nc may give what was there before"


@dataclass(slots=True)
class Counters:
    """The counters of a launch; see `LaunchReport`."""

    instructions: int = 0
    global_read_bytes: int = 0
    global_written_bytes: int = 0
    read_transactions: int = 0
    write_transactions: int = 0
    barriers: int = 0
    atomics: int = 0


@dataclass(slots=True)
class Piece:
    """The part of an access that falls into one region."""

    region: Region
    offsets: Array
    threads: Threads
    chosen: Array | None
    """Which of the threads these are; None for all."""
    addresses: Array
    """As the kernel gave them."""
    space: str

    def words(self, word: int, count: int) -> tuple[Array, Array]:
        """The region as words, and the indices of those that each thread accesses, in columns."""
        first = self.offsets >> (word.bit_length() - 1)
        return self.region.view(BITS[word]), first[:, None] + np.arange(count)

    def fault(self, before: str, index: int, after: str = "") -> Fault:
        """An error of one of the threads, with its address in the middle."""
        lane = index if self.chosen is None else int(self.chosen[index])
        address = int(self.addresses[index])
        shown = f"{address} in {self.space} memory"
        if isinstance(self.region, Allocation):
            where = f"byte {self.offsets[index]} of the {self.region.nbytes} bytes at {self.region.start:#x}"
            shown = f"{address:#x} in global memory ({where})"
        return Fault(f"{before} at {shown}{after}", lane)


class LaunchState:
    """Everything that the threads of a launch share."""

    def __init__(
        self, kernel: str, memory: Memory, grid: Size, block: Size, parameters: Array, sizes: tuple[int, int, int],
        *, checks: bool,
    ) -> None:  # fmt: skip
        self.kernel = kernel
        self.memory = memory
        self.grid = grid
        self.block = block
        self.parameters = parameters
        self.shared_bytes, self.dynamic_shared_bytes, self.local_bytes = sizes
        self.checks = checks
        self.threads_per_block = block[0] * block[1] * block[2]
        self.warps_per_block = -(-self.threads_per_block // WARP)
        self.blocks = grid[0] * grid[1] * grid[2]
        self.counters = Counters()
        self.order = Order(self.blocks, self.threads_per_block, self.warps_per_block)
        self.shadows: dict[int, tuple[Region, Shadow]] = {}
        self.first_block = 0
        self.shared_stride = -(-self.shared_bytes // _SAFELY_ALIGNED) * _SAFELY_ALIGNED
        self.local_stride = -(-self.local_bytes // _SAFELY_ALIGNED) * _SAFELY_ALIGNED
        self.shared = self.local = Region(0)

    def start(self, first_block: int, blocks: int) -> Threads:
        """Start some blocks, with shared and local memory of their own; returns their threads."""
        self.first_block = first_block
        self.shadows.pop(id(self.shared), None)
        self.shared = Region(blocks * self.shared_stride, track=self.memory.check_uninitialised)
        count = blocks * self.threads_per_block
        self.local = Region(count * self.local_stride)
        position = np.arange(count)
        return Threads(self, position + first_block * self.threads_per_block, position)

    def load(
        self, space: str, addresses: Array, word: int, count: int, threads: Threads, *, strong: bool, constant: bool
    ) -> Array:
        """Words at addresses, in ``count`` columns.

        `strong` reads are volatile, relaxed or acquire; `constant` ones go through the non-coherent cache (``.nc``).
        """
        result: Array = np.empty((threads.count, count), BITS[word])
        for piece in self.pieces(space, addresses, word * count, threads, "reads"):
            words, index = piece.words(word, count)
            result[slice(None) if piece.chosen is None else piece.chosen] = words[index]
            self.check_initialised(piece, word * count)
            if piece.space == "local":
                continue
            self.count_traffic(piece, word * count, reads=True)
            self.note_read(piece, word * count, strong=strong, constant=constant)
        return result

    def store(self, space: str, addresses: Array, values: Array, threads: Threads, *, strong: bool) -> None:
        """Write words, in columns, to addresses."""
        count, word = values.shape[1], values.dtype.itemsize
        for piece in self.pieces(space, addresses, word * count, threads, "writes"):
            words, index = piece.words(word, count)
            given = values if piece.chosen is None else values[piece.chosen]
            if piece.space == "local":
                words[index] = given
                continue
            self.count_traffic(piece, word * count, reads=False)
            shadow = self.shadow(piece.region, word)
            if self.checks:
                columns = np.repeat(np.arange(piece.threads.count), count)
                flat = index.ravel()
                self.check_write(piece, shadow, flat, word, given.ravel(), columns, strong)
                words[index] = given
                if not strong and (differ := np.flatnonzero(words[flat] != given.ravel())).size:
                    self.race(piece, int(columns[differ[0]]), "other threads write another value at the same time")
            else:
                words[index] = given
                touched, _ = shadow.words(piece.offsets, word * count, piece.threads)
                shadow.mark(touched, read=False)
            if piece.region.initialised is not None:
                piece.region.initialised[piece.offsets[:, None] + np.arange(word * count)] = True

    def check_write(
        self, piece: Piece, shadow: Shadow, index: Array, word: int, given: Array, columns: Array, strong: bool
    ) -> None:
        """Look for races of writes with earlier reads and writes."""
        threads = piece.threads if len(columns) == piece.threads.count else piece.threads.take(columns)
        touched, who = shadow.words(index * word, word, threads)
        each = len(touched) // len(index)
        if len(stale := shadow.read_as_constants(touched)):
            raise piece.fault("writes", int(columns[stale[0] // each]), _READ_AS_CONSTANT)
        writers, earlier = shadow.unordered_writers(touched, who, self.order, atomic=strong)
        if len(writers):
            same = piece.region.view(BITS[word])[index] == given
            writers, earlier = writers[~same[writers // each]], earlier[~same[writers // each]]
        if len(writers):
            lane = int(columns[writers[0] // each])
            self.race(piece, lane, f"{self.who(int(earlier[0]))} has written another value there")
        readers, earlier = shadow.unordered_readers(touched, who, self.order)
        if len(readers):
            self.race(piece, int(columns[readers[0] // each]), f"{self.who(int(earlier[0]))} has read there")
        if strong:
            shadow.note_atomic(touched, who, self.order)
        else:
            shadow.note_write(touched, who, self.order)

    def note_read(self, piece: Piece, size: int, *, strong: bool, constant: bool) -> None:
        """Record a read, after looking for writes that it races with."""
        shadow = self.shadow(piece.region, size)
        touched, who = shadow.words(piece.offsets, size, piece.threads)
        if not self.checks:
            shadow.mark(touched, read=True)
            return
        writers, earlier = shadow.unordered_writers(touched, who, self.order, atomic=strong)
        if len(writers):
            lane = int(writers[0]) // (len(touched) // piece.threads.count)
            self.race(piece, lane, f"{self.who(int(earlier[0]))} has written there")
        if constant:
            if len(stale := shadow.written(touched)):
                lane = int(stale[0]) // (len(touched) // piece.threads.count)
                raise piece.fault("reads", lane, _WRITTEN_BEFORE)
            shadow.note_constant(touched)
        if not strong:
            shadow.note_read(touched, who, self.order)

    def note_update(self, piece: Piece, size: int) -> None:
        """Record an atomic update, after looking for plain accesses that it races with."""
        shadow = self.shadow(piece.region, size)
        touched, who = shadow.words(piece.offsets, size, piece.threads)
        if self.checks:
            if len(stale := shadow.read_as_constants(touched)):
                lane = int(stale[0]) // (len(touched) // piece.threads.count)
                raise piece.fault("updates", lane, _READ_AS_CONSTANT)
            for what, (index, earlier) in (
                ("written", shadow.unordered_writers(touched, who, self.order, atomic=True)),
                ("read", shadow.unordered_readers(touched, who, self.order)),
            ):
                if len(index):
                    lane = int(index[0]) // (len(touched) // piece.threads.count)
                    self.race(piece, lane, f"{self.who(int(earlier[0]))} has {what} there, not atomically")
        shadow.note_atomic(touched, who, self.order)

    def race(self, piece: Piece, index: int, what: str) -> None:
        """Raise the error for a race."""
        raise piece.fault("data race", index, f": {what}, and nothing orders the two")

    def who(self, number: int) -> str:
        """A description of another thread, for error messages."""
        return Threads(self, np.array([number]), np.array([0])).name(0)

    def shadow(self, region: Region, size: int) -> Shadow:
        """The history of a region."""
        found = self.shadows.get(id(region))
        if found is None:
            found = self.shadows[id(region)] = region, Shadow(region.nbytes, size)
        return found[1]

    def check_initialised(self, piece: Piece, size: int) -> None:
        """Report uninitialised bytes, in memory that tracks them."""
        initialised = piece.region.initialised
        if initialised is None:
            return
        known = initialised[piece.offsets[:, None] + np.arange(size)].all(axis=1)
        if not known.all():
            raise piece.fault(f"reads {size} bytes that nobody has written,", int(np.argmin(known)))

    def count_traffic(self, piece: Piece, size: int, *, reads: bool) -> None:
        """Count the bytes moved, and the 32-byte sectors that each warp touches with this instruction."""
        if piece.space != "global":
            return
        warp = piece.threads.warp
        sectors = (piece.offsets >> _SECTOR) + ((warp - warp[0]) << 40)
        if np.count_nonzero(sectors[1:] < sectors[:-1]):
            sectors.sort()
        transactions = 1 + int(np.count_nonzero(sectors[1:] != sectors[:-1]))
        counters = self.counters
        if reads:
            counters.global_read_bytes += size * len(sectors)
            counters.read_transactions += transactions
        else:
            counters.global_written_bytes += size * len(sectors)
            counters.write_transactions += transactions

    def pieces(self, space: str, addresses: Array, size: int, threads: Threads, verb: str) -> Iterator[Piece]:
        """The regions that an access falls into, after checking it."""
        if int(np.bitwise_or.reduce(addresses)) & (size - 1):
            lane = int(np.flatnonzero(addresses & (size - 1))[0])
            raise Fault(f"{verb} {size} bytes at {int(addresses[lane]):#x}, which is no multiple of {size}", lane)
        if space == "generic":
            yield from self.generic_pieces(addresses, size, threads, verb)
        elif space == "shared":
            offsets = self.within(addresses, size, self.shared_bytes, "shared", verb)
            offsets = offsets + (threads.block - self.first_block) * self.shared_stride
            yield Piece(self.shared, offsets, threads, None, addresses, "shared")
        elif space == "local":
            offsets = self.within(addresses, size, self.local_bytes, "local", verb)
            yield Piece(self.local, offsets + threads.position * self.local_stride, threads, None, addresses, "local")
        else:
            yield from self.global_pieces(addresses, size, threads, verb)

    def within(self, addresses: Array, size: int, extent: int, space: str, verb: str) -> Array:
        """Addresses of shared or local memory, checked against its size."""
        if int(np.minimum.reduce(addresses)) < 0 or int(np.maximum.reduce(addresses)) + size > extent:
            lane = int(np.flatnonzero((addresses < 0) | (addresses > extent - size))[0])
            address = int(addresses[lane])
            raise Fault(f"{verb} {size} bytes at {address} of {space} memory, which has {extent} bytes", lane)
        return addresses

    def generic_pieces(self, addresses: Array, size: int, threads: Threads, verb: str) -> Iterator[Piece]:
        """The space of a generic address is given by the window that it lies in."""
        window = addresses // WINDOW
        for space, base in (("global", 0), *WINDOWS.items()):
            chosen = np.flatnonzero(window == base // WINDOW)
            if not len(chosen):
                continue
            everyone = len(chosen) == len(addresses)
            who = threads if everyone else threads.take(chosen)
            for piece in self.pieces(space, (addresses if everyone else addresses[chosen]) - base, size, who, verb):
                if not everyone:
                    piece.chosen = chosen if piece.chosen is None else chosen[piece.chosen]
                yield piece
        outside = (window < 0) | (window > len(WINDOWS))
        if outside.any():
            lane = int(np.argmax(outside))
            raise Fault(f"{verb} {size} bytes at {int(addresses[lane]):#x}, which is in no space", lane)

    def global_pieces(self, addresses: Array, size: int, threads: Threads, verb: str) -> Iterator[Piece]:
        low, high = int(np.minimum.reduce(addresses)), int(np.maximum.reduce(addresses))
        allocation = self.memory.find(low)
        if allocation is not None and high + size <= allocation.end:
            yield Piece(allocation, addresses - allocation.start, threads, None, addresses, "global")
            return
        index = np.searchsorted(np.array(self.memory.starts, np.int64), addresses, side="right") - 1
        for number in np.unique(index).tolist():
            chosen = np.flatnonzero(index == number)
            near = self.memory.allocations[number] if number >= 0 else Allocation(0, 0, track=False)
            offsets = addresses[chosen] - near.start
            outside = offsets + size > near.nbytes
            if outside.any():
                lane = int(chosen[np.argmax(outside)])
                address = int(addresses[lane])
                where = self.memory.whereabouts(address)
                raise Fault(f"{verb} {size} bytes at {address:#x}, out of bounds: {where}", lane)
            yield Piece(near, offsets, threads.take(chosen), chosen, addresses[chosen], "global")
