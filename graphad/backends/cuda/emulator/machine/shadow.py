"""Shadow memory: which threads have read and written each word, to find data races.

Two accesses to a word race if two threads make them, at least one writes, at least one is not atomic, and nothing
orders them: no barrier of their block, no ``bar.warp.sync`` of their warp, no pair of fences. Two writes of the same
value are allowed. Words are as wide as the narrowest access so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.machine.threads import WARP, Threads

Array = np.ndarray[Any, np.dtype[Any]]

_FAR = 2**31 - 1
_NONE: Array = np.empty(0, np.int64)


class Order:
    """When blocks, warps and threads were last synchronized; time counts such events."""

    def __init__(self, blocks: int, threads_per_block: int, warps_per_block: int) -> None:
        self.clock = 0
        self.threads_per_block = threads_per_block
        self.block_time = np.zeros(blocks, np.int32)
        self.warp_time = np.zeros(blocks * warps_per_block, np.int32)
        self.block_fence = np.zeros(blocks, np.int32)
        self.fence_time: Array | None = None
        self.has_warp_barriers = False

    def barrier(self, threads: Threads) -> None:
        """Note that these threads' blocks have passed a barrier."""
        self.clock += 1
        self.block_time[threads.block] = self.clock

    def warp_barrier(self, threads: Threads) -> None:
        """Note that these threads' warps have passed a barrier of warps."""
        self.clock += 1
        self.has_warp_barriers = True
        self.warp_time[threads.warp] = self.clock

    def fence(self, threads: Threads) -> None:
        """Note that these threads have executed a fence."""
        self.clock += 1
        if self.fence_time is None:
            self.fence_time = np.zeros(len(self.block_time) * self.threads_per_block, np.int32)
        self.fence_time[threads.number] = self.clock
        self.block_fence[threads.block] = self.clock

    def before(self, low: Array, high: Array, when: Array, threads: Threads) -> Array:
        """Whether accesses of the threads from `low` to `high` until a time happen before those of `threads` now."""
        start = threads.number - threads.within
        ordered = (low >= start) & (high < start + self.threads_per_block) & (when < self.block_time[threads.block])
        if self.has_warp_barriers:
            start = threads.number - threads.lane
            ordered |= (low >= start) & (high < start + WARP) & (when < self.warp_time[threads.warp])
        if self.fence_time is not None:
            released = (low == high) & (self.fence_time[np.maximum(high, 0)] > when)
            ordered |= released & (self.block_fence[threads.block] > when)
        return ordered


class Shadow:
    """The history of one region during a launch: the last writer of each word, and the range of its readers.

    Fresh arrays are zeros, which cost nothing until they are touched: threads are kept as their number and one, the
    first reader as its distance from `_FAR`.
    """

    def __init__(self, nbytes: int, size: int) -> None:
        self.shift = size.bit_length() - 1
        self.count = -(-nbytes // size)
        self.first, self.end = self.count, 0
        self.writer = self.fresh()
        self.written_at = self.fresh()
        self.atomic: Array = np.empty(0, np.int32)
        self.atomic_at: Array = np.empty(0, np.int32)
        self.constant: Array = np.empty(0, np.int32)
        self.first_reader = self.fresh()
        self.last_reader = self.fresh()
        self.read_at = self.fresh()

    def fresh(self) -> Array:
        """A number for each word, zero."""
        return np.zeros(self.count, np.int32)

    def words(self, offsets: Array, size: int, threads: Threads) -> tuple[Array, Threads]:
        """Words that accesses touch, and the thread of each."""
        if size < 1 << self.shift:
            self.refine(size)
        words = offsets >> self.shift
        each = size >> self.shift
        self.first = min(self.first, int(np.minimum.reduce(words)))
        self.end = max(self.end, int(np.maximum.reduce(words)) + each)
        if each == 1:
            return words, threads
        return (words[:, None] + np.arange(each)).ravel(), threads.take(np.repeat(np.arange(threads.count), each))

    def refine(self, size: int) -> None:
        """Switch to narrower words."""
        ratio = (1 << self.shift) // size
        touched = slice(self.first, self.end)
        self.shift = size.bit_length() - 1
        self.count, self.first, self.end = self.count * ratio, self.first * ratio, self.end * ratio
        for name in (
            "writer",
            "written_at",
            "atomic",
            "atomic_at",
            "constant",
            "first_reader",
            "last_reader",
            "read_at",
        ):
            history = getattr(self, name)
            if len(history):
                finer = self.fresh()
                finer[self.first : self.end] = np.repeat(history[touched], ratio)
                setattr(self, name, finer)

    def unordered_writers(self, words: Array, threads: Threads, order: Order, *, atomic: bool) -> tuple[Array, Array]:
        """Indices of accesses that race with a write, and who wrote; atomic accesses do not race with one another."""
        index, who = _racing(self.writer, self.written_at, words, threads, order)
        if not len(index) and len(self.atomic) and not atomic:
            return _racing(self.atomic, self.atomic_at, words, threads, order)
        return index, who

    def unordered_readers(self, words: Array, threads: Threads, order: Order) -> tuple[Array, Array]:
        """Indices of writes that race with a read, and who read."""
        last = self.last_reader[words]
        if not np.count_nonzero(last):
            return _NONE, _NONE
        low, high, now = _FAR - self.first_reader[words], last - 1, threads.number
        foreign = (last != 0) & ((low != now) | (high != now))
        if np.count_nonzero(foreign):
            foreign &= ~order.before(low, high, self.read_at[words], threads)
        index = np.flatnonzero(foreign)
        return index, np.where(low == now, high, low)[index]

    def note_write(self, words: Array, threads: Threads, order: Order) -> None:
        self.writer[words] = threads.number + 1
        self.written_at[words] = order.clock

    def note_atomic(self, words: Array, threads: Threads, order: Order) -> None:
        if not len(self.atomic):
            self.atomic, self.atomic_at = self.fresh(), self.fresh()
        self.atomic[words] = threads.number + 1
        self.atomic_at[words] = order.clock

    def note_read(self, words: Array, threads: Threads, order: Order) -> None:
        """Widen the range of readers; start a new range where all readers so far happen before."""
        first, last = _FAR - threads.number, threads.number + 1
        earlier_first, earlier_last = self.first_reader[words], self.last_reader[words]
        wider_first, wider_last = np.maximum(earlier_first, first), np.maximum(earlier_last, last)
        if order.clock:
            stale = order.before(_FAR - earlier_first, earlier_last - 1, self.read_at[words], threads)
            wider_first, wider_last = np.where(stale, first, wider_first), np.where(stale, last, wider_last)
            self.read_at[words] = order.clock
        # Of several readers of one word at once, the last one written is kept. They are in ascending order.
        self.last_reader[words] = wider_last
        self.first_reader[words[::-1]] = wider_first[::-1]

    def note_constant(self, words: Array) -> None:
        """Record a read through the non-coherent cache (``ld.global.nc``)."""
        if not len(self.constant):
            self.constant = self.fresh()
        self.constant[words] = 1

    def read_as_constants(self, words: Array) -> Array:
        """Indices of the words that were read through the non-coherent cache."""
        return np.flatnonzero(self.constant[words]) if len(self.constant) else _NONE

    def written(self, words: Array) -> Array:
        """Indices of the words that were written."""
        written = self.writer[words] != 0
        return np.flatnonzero(written | (self.atomic[words] != 0) if len(self.atomic) else written)

    def mark(self, words: Array, *, read: bool) -> None:
        """Record an access to words, without looking for races."""
        (self.last_reader if read else self.writer)[words] = 1

    def bytes_read(self) -> int:
        """Distinct bytes read so far."""
        return int(np.count_nonzero(self.last_reader[self.first : self.end])) << self.shift

    def bytes_written(self) -> int:
        """Distinct bytes written so far."""
        touched = self.writer[self.first : self.end]
        if len(self.atomic):
            touched = touched | self.atomic[self.first : self.end]
        return int(np.count_nonzero(touched)) << self.shift


def _racing(history: Array, times: Array, words: Array, threads: Threads, order: Order) -> tuple[Array, Array]:
    """Accesses that race with the recorded thread of each word."""
    kept = history[words]
    if not np.count_nonzero(kept):
        return _NONE, _NONE
    earlier = kept - 1
    foreign = (kept != 0) & (earlier != threads.number)
    if np.count_nonzero(foreign):
        foreign &= ~order.before(earlier, earlier, times[words], threads)
    index = np.flatnonzero(foreign)
    return index, earlier[index]
