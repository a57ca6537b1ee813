"""The arena: the offset of each temporary of a program; temporaries with disjoint lifetimes share memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from graphad.backends.loops.ir import Buffer, Counted, KernelProgram, Repeat, RepeatWhile, Step
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.ir.types import DType

#: Every slot starts on a cache line, which is also the alignment of the widest native vector.
ALIGNMENT = 64

#: A loop in lanes around loops that carry values in registers has as many lanes as fit into so many bytes, whatever the
#: machine: two native vectors of 32 bytes take as long as one of 64, and more take registers and cache.
LANE_BYTES = 64

#: The routines with which a program allocates temporaries whose size is known only when it runs.
ALLOCATE, RELEASE = "PyMem_RawMalloc", "PyMem_RawFree"


@dataclass(frozen=True, slots=True)
class Arena:
    """Byte offset of each temporary, and how many bytes they take together.

    Temporaries may share bytes, so pointers into the arena must never be declared ``noalias``.
    """

    offsets: dict[str, int]
    size: int


@dataclass(slots=True)
class _FreeList:
    """Free slots below ``top``: offset -> size, never adjacent."""

    top: int = 0
    holes: dict[int, int] = field(default_factory=dict)

    def take(self, size: int) -> int:
        """The smallest free slot that fits, else new space at the top (a free slot that ends there is grown)."""
        fitting = [(room, offset) for offset, room in self.holes.items() if room >= size]
        if fitting:
            room, offset = min(fitting)
        else:
            offset = next((o for o, r in self.holes.items() if o + r == self.top), self.top)
            room = self.holes.get(offset, 0)
            self.top = offset + size
        self.holes.pop(offset, None)
        if room > size:
            self.holes[offset + size] = room - size
        return offset

    def give_back(self, offset: int, size: int) -> None:
        """Free a slot, coalesced with its free neighbours."""
        size += self.holes.pop(offset + size, 0)
        before = next((o for o, r in self.holes.items() if o + r == offset), None)
        if before is None:
            self.holes[offset] = size
        else:
            self.holes[before] += size


def plan(program: KernelProgram) -> Arena:
    """Lay the temporaries of ``program`` out in one arena, but for those that parallel turns have alone."""
    alone = {n for s in every_step(program.steps) if isinstance(s, Repeat) for n in s.private}
    shared = [b for b in program.buffers if b.role == "temporary" and b.name not in alone]
    sizes = {b.name: buffer_bytes(b) for b in shared if not b.per_turn}
    other = dict(_exchanged(program.steps))
    other |= {b: a for a, b in other.items()}
    touched = [buffers_read(s) | buffers_written(s) for s in program.steps]
    return lay_out([names | {other[n] for n in names if n in other} for names in touched], sizes, ALIGNMENT)


def _exchanged(steps: Sequence[Step]) -> Iterator[tuple[str, str]]:
    """Pairs of buffers that a loop of steps exchanges: behind it, either name may stand for the memory of either."""
    for step in steps:
        if isinstance(step, (Repeat, RepeatWhile)):
            yield from step.swaps
        if isinstance(step, (Repeat, RepeatWhile, Counted)):
            yield from _exchanged(step.body)


def lay_out(steps: Sequence[Iterable[str]], sizes: Mapping[str, int], alignment: int) -> Arena:
    """Offsets for buffers of these sizes, given the names of the buffers that each step accesses.

    A buffer is live from the first step that accesses it to the last. Steps are taken in order, and each new buffer
    gets the smallest free slot that holds it (best fit).
    """
    slots = {name: max(-size // alignment * -alignment, alignment) for name, size in sizes.items()}
    first, last = _lifetimes(steps, slots)
    free = _FreeList()
    offsets: dict[str, int] = {}
    for step in range(len(steps)):
        # Big ones first: they fit into the fewest slots.
        for name in sorted(first[step], key=lambda n: -slots[n]):
            offsets[name] = free.take(slots[name])
        for name in last[step]:
            free.give_back(offsets[name], slots[name])
    return Arena(offsets, free.top)


def _lifetimes(
    steps: Sequence[Iterable[str]], slots: Mapping[str, int]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """For each step, the buffers that it is the first, and the last, to access."""
    start: dict[str, int] = {}
    end: dict[str, int] = {}
    for number, touched in enumerate(steps):
        for name in sorted(touched):
            if name in slots:
                start.setdefault(name, number)
                end[name] = number
    first, last = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    for name, number in start.items():
        first[number].append(name)
    for name, number in end.items():
        last[number].append(name)
    return first, last


def buffer_bytes(buffer: Buffer) -> int:
    """The size of a buffer in bytes; a private one has a copy for each lane."""
    return buffer.size * buffer.dtype.bits // 8 * (private_lanes(buffer.dtype) if buffer.private else 1)


def private_lanes(dtype: DType) -> int:
    """How many lanes a vector loop with private temporaries of ``dtype`` has at most."""
    return LANE_BYTES * 8 // max(dtype.bits, 32)
