"""Checkpoints: binomial schedules that reverse a loop of few stored states.

Reverse mode of a loop reads what its turns computed, in reverse. To store all of it takes memory in proportion to the
number of turns. Here ``s`` states are stored, and turns are run again from the nearest one; ``r`` sweeps over
``C(s + r - 1, r)`` blocks of turns are enough [1]_. States within a block of turns are stored while it is reversed.

A *segment* of blocks is reversed with ``s`` slots, of which the first holds the state at its start, in ``r`` sweeps.
One puts states into the slots, such that what begins at the ``k``-th can be reversed with the slots from there on in
``r - 1`` sweeps; then these parts are reversed from the last to the first. Of one sweep each part is a block.

Walk of one example: six blocks with three slots are reversed in two sweeps, as ``C(4, 2)`` is six. States 0, 3 and 5
are stored by the first, which is the loop itself. The part from 5 is one block. That from 3 has the slots of 3 and 5: a
sweep stores 4 where 5 was. Last comes the part from 0, with all three slots.

.. [1] A. Griewank, A. Walther, Algorithm 799: revolve, ACM Transactions on Mathematical Software 26(1), 2000.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from math import comb, factorial
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.api.control_flow import fori_loop, while_loop
from graphad.ir.types import i32, literal
from graphad.primitives.arithmetic import minimum, quo
from graphad.primitives.comparison import select
from graphad.primitives.dynamic import dynamic_slice, dynamic_update_slice
from graphad.primitives.layout import broadcast, reshape
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.bind import type_of
from graphad.trace.float0 import float0

#: Turns of a block.
BLOCK: Final = 8
#: A program for more sweeps would be long: each is a loop in the one before.
MOST_SWEEPS: Final = 6


class Schedule(NamedTuple):
    """How ``blocks`` blocks are reversed: with ``slots`` states, in ``sweeps`` sweeps."""

    blocks: int
    slots: int
    sweeps: int


def schedule(turns: int, checkpoint: int | str) -> Schedule:
    """The schedule of a loop.

    >>> schedule(1_000_000, 180)
    Schedule(blocks=125000, slots=180, sweeps=3)
    >>> schedule(1_000_000, "sqrt")
    Schedule(blocks=125000, slots=500, sweeps=2)
    """
    blocks = turns // BLOCK
    if checkpoint == "sqrt":
        return Schedule(blocks, least_slots(blocks, 2), 2)
    if type(checkpoint) is not int or checkpoint < 1:
        text = f"{source.where()}lax.scan: checkpoint is a number of states to store, or 'sqrt', not {checkpoint!r}."
        raise ValueError(text)
    for sweeps in range(1, MOST_SWEEPS + 1):
        if reach(checkpoint, sweeps) >= blocks:
            return Schedule(blocks, min(checkpoint, max(blocks, 1)), sweeps)
    text = f"{source.where()}lax.scan: {turns:,} turns cannot be reversed with checkpoint={checkpoint}. "
    raise ValueError(f"{text}Store {least_slots(blocks, MOST_SWEEPS)} states at least.")


def least_slots(blocks: int, sweeps: int) -> int:
    """The least number of slots with which so many sweeps reverse ``blocks`` blocks."""
    return bisect_left(range(1, blocks), blocks, key=lambda slots: reach(slots, sweeps)) + 1


def reach(slots: Any, sweeps: int) -> Any:
    """How many blocks can be reversed, for a number of slots known now or when the program runs."""
    if isinstance(slots, int):
        return comb(slots + sweeps - 1, sweeps)
    product = slots
    for k in range(1, sweeps):
        product = product * (slots + k)
    return quo(product, factorial(sweeps)) if sweeps > 1 else product


# ---------------------------------------------------------------------------------------------------------------------
# Lists of arrays, of which floats have cotangents


def is_float(x: Any) -> bool:
    """Whether ``x`` has a cotangent."""
    return type_of(x).aval.dtype.is_float


def floats(xs: Sequence[Any]) -> list[Any]:
    """Those that have a cotangent."""
    return [x for x in xs if is_float(x)]


def number(n: int) -> Any:
    """A number of blocks or slots."""
    return Array(np.asarray(n, np.int64))


def put(x: Any, element: Any, k: Any) -> Any:
    """``x`` with another element at ``k`` of its first axis."""
    return put_block(x, reshape(element, shape=(1, *element.shape)), k)


def put_block(x: Any, block: Any, start: Any) -> Any:
    """``x`` with other elements of its first axis from ``start`` on."""
    return dynamic_update_slice(x, block, start, *_zeros(x), batch=0)


def at(x: Any, k: Any) -> Any:
    """The element at ``k`` of the first axis."""
    return reshape(blocks_of([x], k, 1)[0], shape=x.shape[1:])


def blocks_of(xs: list[Any], start: Any, size: int) -> list[Any]:
    """``size`` elements of each array from ``start`` on."""
    return [dynamic_slice(x, start, *_zeros(x), sizes=(size, *x.shape[1:]), batch=0) for x in xs]


def _zeros(x: Any) -> list[Any]:
    """Starts along all axes but the first."""
    return [literal(0, i32)] * (x.ndim - 1)


def chosen(predicate: Any, x: Any, y: Any) -> Any:
    """``x`` where the predicate, of no axes, is True; else ``y``."""
    return select(broadcast(predicate, shape=x.shape, dims=()) if x.ndim else predicate, x, y)


def empty(x: Any, *leading: int) -> Any:
    """Zeros of the type of ``x``, or of so many of it, stacked."""
    return Array(np.broadcast_to(np.zeros((), x.dtype), (*leading, *x.shape)))


def of_all(given: list[Any], cotangents: list[Any]) -> list[Any]:
    """Cotangents of floats, among those of what has none."""
    found = iter(cotangents)
    return [next(found) if is_float(x) else np.zeros(x.shape, float0) for x in given]


# ---------------------------------------------------------------------------------------------------------------------
# The reverse


class Segment(NamedTuple):
    """Blocks from ``start`` to ``stop``; ``slots`` slots from ``first`` on, which has the state at ``start``."""

    start: Any
    stop: Any
    first: Any
    slots: Any


class Reversed(NamedTuple):
    """What goes from block to block in reverse: the stored states, and cotangents of floats."""

    stored: list[Any]
    carry: list[Any]
    consts: list[Any]
    xs: list[Any]


class Reverse(ABC):
    """The reverse of a loop, part by part."""

    @abstractmethod
    def advance(self, b: Any, carry: list[Any]) -> list[Any]:
        """The state after block ``b``, from that before it."""

    @abstractmethod
    def block(self, found: Reversed, carry: list[Any], b: Any) -> Reversed:
        """Reverse block ``b``, which begins with ``carry``."""

    def segment(self, found: Reversed, segment: Segment, sweeps: int) -> Reversed:
        """Reverse a segment in so many sweeps."""
        if not sweeps:
            return self.block(found, [at(s, segment.first) for s in found.stored], segment.start)
        count = self.count(segment, sweeps)
        stored = self.sweep(found.stored, segment, sweeps, count)
        return self.parts(found._replace(stored=stored), segment, sweeps, count)

    def start_of(self, k: Any, segment: Segment, sweeps: int) -> Any:
        """Where part ``k`` of a segment begins."""
        return segment.start + reach(segment.slots, sweeps) - reach(segment.slots - k, sweeps)

    def count(self, segment: Segment, sweeps: int) -> Any:
        """How many parts a segment has."""
        return while_loop(lambda k: self.start_of(k, segment, sweeps) < segment.stop, lambda k: k + 1, number(1))

    def sweep(self, stored: list[Any], segment: Segment, sweeps: int, count: Any) -> list[Any]:
        """Store the states at which the parts of a segment begin."""

        def part(k: Any, stored: list[Any]) -> list[Any]:
            carry = [at(s, segment.first + k - 1) for s in stored]
            begins, ends = (self.start_of(j, segment, sweeps) for j in (k - 1, k))
            carry = fori_loop(begins, ends, self.advance, carry)
            return [put(s, c, segment.first + k) for s, c in zip(stored, carry, strict=True)]

        return fori_loop(number(1), count, part, stored)

    def parts(self, found: Reversed, segment: Segment, sweeps: int, count: Any) -> Reversed:
        """Reverse the parts of a segment, from the last to the first; their first states are stored."""

        def part(done: Any, found: Reversed) -> Reversed:
            k = count - 1 - done
            begins = self.start_of(k, segment, sweeps)
            ends = minimum(self.start_of(k + 1, segment, sweeps), segment.stop)
            return self.segment(found, Segment(begins, ends, segment.first + k, segment.slots - k), sweeps - 1)

        return fori_loop(number(0), count, part, found)
