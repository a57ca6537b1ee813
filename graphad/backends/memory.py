"""The arena: where each temporary of a program lies, slots being shared by temporaries that never live together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from graphad.backends.loops import Buffer, KernelProgram, buffers_read, buffers_written

#: Every slot starts on a cache line, which is also the alignment of the widest native vector.
ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Arena:
    """Byte offset of each temporary, and how many bytes they take together.

    Temporaries may share bytes, so pointers into the arena must never be declared ``noalias``.
    """

    offsets: dict[str, int]
    size: int


@dataclass(slots=True)
class _FreeList:
    """Holes below ``top``: offset -> size, never adjacent."""

    top: int = 0
    holes: dict[int, int] = field(default_factory=dict)

    def take(self, size: int) -> int:
        """The smallest hole that fits, else new space at the top (a last hole that touches the top is grown)."""
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
        """Return a slot, joined with the holes beside it."""
        size += self.holes.pop(offset + size, 0)
        before = next((o for o, r in self.holes.items() if o + r == offset), None)
        if before is None:
            self.holes[offset] = size
        else:
            self.holes[before] += size


def plan(program: KernelProgram) -> Arena:
    """Lay the temporaries of ``program`` out in one arena.

    A temporary lives from the first step that touches it to the last. Steps are taken in order, and each new temporary
    gets the smallest free slot that holds it (best fit).
    """
    temporaries = {b.name: b for b in program.buffers if b.role == "temporary"}
    first, last = _lifetimes(program, temporaries)
    free = _FreeList()
    offsets: dict[str, int] = {}
    for step in range(len(program.steps)):
        # Big ones first: they have the fewest holes to choose from.
        for name in sorted(first[step], key=lambda n: -_bytes(temporaries[n])):
            offsets[name] = free.take(_bytes(temporaries[name]))
        for name in last[step]:
            free.give_back(offsets[name], _bytes(temporaries[name]))
    return Arena(offsets, free.top)


def _lifetimes(
    program: KernelProgram, temporaries: dict[str, Buffer]
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """For each step, the temporaries that it is the first, and the last, to touch."""
    start: dict[str, int] = {}
    end: dict[str, int] = {}
    for number, step in enumerate(program.steps):
        for name in sorted(buffers_read(step) | buffers_written(step)):
            if name in temporaries:
                start.setdefault(name, number)
                end[name] = number
    first, last = defaultdict[int, list[str]](list), defaultdict[int, list[str]](list)
    for name, number in start.items():
        first[number].append(name)
    for name, number in end.items():
        last[number].append(name)
    return first, last


def _bytes(buffer: Buffer) -> int:
    size = buffer.size * buffer.dtype.bits // 8
    return max(-size // ALIGNMENT * -ALIGNMENT, ALIGNMENT)
