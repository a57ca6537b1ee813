"""Register allocation: which registers share storage, and which storage each basic block needs.

A register that only one block uses, and writes before it reads, is live from its first use to its last. A block
executed by some of the threads only works on copies of the elements of those threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from graphad.backends.cuda.emulator.instructions.decoder import Block, Layout, Values
from graphad.backends.cuda.emulator.machine.threads import SPECIAL, Threads

Array = np.ndarray[Any, np.dtype[Any]]
View = tuple[int, int, np.dtype[Any]]
"""A slot, its storage and its type."""


@dataclass(slots=True)
class Needs:
    """The storage that one block reads and writes, as indices."""

    reads: list[int] = field(default_factory=list)
    writes: list[int] = field(default_factory=list)
    temporaries: list[int] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    specials: list[tuple[int, str, np.dtype[Any]]] = field(default_factory=list)


@dataclass(slots=True)
class Storage:
    """Storage of a program's registers."""

    dtypes: list[np.dtype[Any]]
    kept: list[int]
    """What holds values from one block to another."""
    views: list[View]
    specials: list[tuple[int, str, np.dtype[Any]]]
    needs: list[Needs]
    constants: list[tuple[int, Any]]
    addresses: list[tuple[int, str, int, np.dtype[Any]]]
    """Slots of addresses of variables in global memory: the name, and what to add."""


def assign(layout: Layout, blocks: list[Block]) -> Storage:
    """Give registers their storage."""
    users: dict[int, set[int]] = {}
    exposed: set[int] = set()
    for number, block in enumerate(blocks):
        written: set[int] = set()
        for reads, writes in block.accesses:
            for register in reads:
                users.setdefault(register, set()).add(number)
                if register not in written:
                    exposed.add(register)
            for register in writes:
                users.setdefault(register, set()).add(number)
                written.add(register)
    storage = Storage([], [], [], [], [], [], [])
    homes: dict[int, int] = {}
    for register, where in users.items():
        if len(where) > 1 or register in exposed:
            homes[register] = len(storage.dtypes)
            storage.dtypes.append(layout.registers[register])
    storage.kept = list(range(len(storage.dtypes)))
    shared: dict[np.dtype[Any], list[int]] = {}
    for block in blocks:
        _assign_temporaries(layout, block, homes, storage, {dtype: list(all_) for dtype, all_ in shared.items()})
        for number in range(len(storage.kept), len(storage.dtypes)):
            numbers = shared.setdefault(storage.dtypes[number], [])
            if number not in numbers:
                numbers.append(number)
    _collect(layout, blocks, homes, storage)
    return storage


def _assign_temporaries(
    layout: Layout, block: Block, homes: dict[int, int], storage: Storage, free: dict[np.dtype[Any], list[int]]
) -> None:
    """Storage of the registers local to one block, reused after the last step that uses it."""
    last: dict[int, int] = {}
    for index, (reads, writes) in enumerate(block.accesses):
        for register in (*reads, *writes):
            if register not in homes:
                last[register] = index
    ends: dict[int, list[int]] = {}
    for register, index in last.items():
        ends.setdefault(index, []).append(register)
    for index, (_, writes) in enumerate(block.accesses):
        for register in writes:
            if register not in homes:
                dtype = layout.registers[register]
                numbers = free.setdefault(dtype, [])
                if not numbers:
                    numbers.append(len(storage.dtypes))
                    storage.dtypes.append(dtype)
                homes[register] = numbers.pop()
        for register in ends.get(index, ()):
            free[layout.registers[register]].append(homes[register])


def _collect(layout: Layout, blocks: list[Block], homes: dict[int, int], storage: Storage) -> None:
    """Collect the slots of each block, and of all."""
    kept = len(storage.kept)
    for block in blocks:
        needs = Needs()
        read = {homes[register] for reads, _ in block.accesses for register in reads}
        written = {homes[register] for _, writes in block.accesses for register in writes}
        needs.reads = sorted(number for number in read if number < kept)
        needs.writes = sorted(number for number in written if number < kept)
        needs.temporaries = sorted(number for number in read | written if number >= kept)
        for number in block.slots:
            slot = layout.slots[number]
            if slot.kind == "register":
                needs.views.append((number, homes[slot.source], slot.dtype))
            elif slot.kind == "special":
                needs.specials.append((number, slot.source, slot.dtype))
        storage.needs.append(needs)
    storage.views = sorted({view for needs in storage.needs for view in needs.views}, key=lambda view: view[:2])
    for number, slot in enumerate(layout.slots):
        if slot.kind == "constant":
            storage.constants.append((number, slot.source))
        elif slot.kind == "special":
            storage.specials.append((number, slot.source, slot.dtype))
        elif slot.kind == "global":
            storage.addresses.append((number, *slot.source, slot.dtype))


def viewed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Storage viewed in the type of a slot; of a narrower slot, the low words."""
    if array.dtype is dtype:
        return array
    view = array.view(dtype)
    ratio = array.itemsize // dtype.itemsize
    return view if ratio == 1 else view[::ratio]


class Frame:
    """The values of some threads: storage, and the list of slots over it."""

    def __init__(self, storage: Storage, template: Values, threads: Threads) -> None:
        self.storage = storage
        self.threads = threads
        self.values = list(template)
        count = threads.count
        self.arrays: list[Array] = [np.zeros(count, dtype) for dtype in storage.dtypes]
        self.fill()

    def fill(self) -> None:
        """Point the slots to the storage."""
        values, arrays = self.values, self.arrays
        for slot, number, dtype in self.storage.views:
            values[slot] = viewed(arrays[number], dtype)
        for slot, name, dtype in self.storage.specials:
            values[slot] = special(name, self.threads, dtype)

    def keep(self, alive: Array) -> None:
        """Keep the values of some of the threads only."""
        self.threads = self.threads.take(alive)
        kept = len(self.storage.kept)
        count = self.threads.count
        self.arrays = [
            array[alive] if number < kept else array[:count] for number, array in enumerate(self.arrays)
        ]  # fmt: skip
        self.fill()

    def part(self, needs: Needs, chosen: Array) -> tuple[Values, dict[int, Array]]:
        """The values that one block needs, for some of the threads, and the copies that they are views of."""
        arrays = {number: self.arrays[number][chosen] for number in needs.reads}
        count = len(chosen)
        for number in needs.writes:
            if number not in arrays:
                arrays[number] = np.empty(count, self.storage.dtypes[number])
        for number in needs.temporaries:
            arrays[number] = np.empty(count, self.storage.dtypes[number])
        values = list(self.values)
        for slot, number, dtype in needs.views:
            values[slot] = viewed(arrays[number], dtype)
        for slot, _, _ in needs.specials:
            whole = self.values[slot]
            values[slot] = whole[chosen] if whole.ndim else whole
        return values, arrays


def special(name: str, threads: Threads, dtype: np.dtype[Any]) -> Any:
    """A special register in a type."""
    value = SPECIAL[name](threads)
    return value.astype(dtype) if isinstance(value, np.ndarray) else dtype.type(value)
