"""Memory of the emulated device: allocations in one 64-bit address space."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from graphad.backends.cuda.emulator.faults import EmulatorError

Array = np.ndarray[Any, np.dtype[Any]]

ALIGNMENT = 256
POISON = 0xFF
"""What fresh memory is filled with: nan in every floating-point type, -1 in signed integers."""

WINDOW = 1 << 56
"""Width of the windows through which generic addresses reach the spaces; global memory is the first."""

WINDOWS = {"shared": WINDOW, "local": 2 * WINDOW}
"""Where the window of each other space begins."""

_FIRST_ADDRESS = 1 << 32
_GUARD = 4096
_FREED_KEPT = 4096


class Region:
    """Bytes that kernels read and write, rounded up to whole words."""

    __slots__ = ("data", "initialised", "nbytes", "words")

    def __init__(self, nbytes: int, *, track: bool = False) -> None:
        self.nbytes = nbytes
        self.data: Array = np.full(-(-nbytes // 16) * 16, POISON, np.uint8)
        self.words: dict[np.dtype[Any], Array] = {}
        self.initialised: Array | None = np.zeros(nbytes, bool) if track else None

    def view(self, dtype: np.dtype[Any]) -> Array:
        """The region as words."""
        words = self.words.get(dtype)
        if words is None:
            words = self.words[dtype] = self.data.view(dtype)
        return words


class Allocation(Region):
    """A region of global memory with its address."""

    __slots__ = ("start",)

    def __init__(self, start: int, nbytes: int, *, track: bool) -> None:
        super().__init__(nbytes, track=track)
        self.start = start

    @property
    def end(self) -> int:
        return self.start + self.nbytes


class Memory:
    """A device's global memory.

    Parameters
    ----------
    check_uninitialised
        Report kernels that read bytes which neither a kernel nor the host has written. Costs a byte for each byte.
    """

    def __init__(self, *, check_uninitialised: bool = False) -> None:
        self.check_uninitialised = check_uninitialised
        self.starts: list[int] = []
        self.allocations: list[Allocation] = []
        self.freed: deque[tuple[int, int]] = deque(maxlen=_FREED_KEPT)
        self.next = _FIRST_ADDRESS
        self.modules: WeakKeyDictionary[Any, dict[str, int]] = WeakKeyDictionary()
        """Addresses of the variables of the modules that have been launched here."""
        self.unused: list[int] = []
        """Addresses of variables of modules that are no more; nothing is freed in the middle of something else."""

    @property
    def allocated_bytes(self) -> int:
        """Bytes in use."""
        return sum(allocation.nbytes for allocation in self.allocations)

    def allocate(self, nbytes: int) -> int:
        """The address of new, poisoned memory, surrounded by addresses that are out of bounds."""
        if nbytes < 0:
            raise ValueError(f"cannot allocate {nbytes} bytes.")
        start = self.next
        self.next = -(-(start + nbytes + _GUARD) // ALIGNMENT) * ALIGNMENT
        self.starts.append(start)
        self.allocations.append(Allocation(start, nbytes, track=self.check_uninitialised))
        return start

    def free(self, address: int) -> None:
        """Free memory; later accesses are errors."""
        index = bisect_right(self.starts, address) - 1
        if index < 0 or self.starts[index] != address:
            raise EmulatorError(f"cannot free {address:#x}: {self.whereabouts(address)}.")
        self.freed.append((address, self.allocations[index].nbytes))
        del self.starts[index], self.allocations[index]

    def free_unused(self) -> None:
        """Free the variables of modules that are gone."""
        while self.unused:
            self.free(self.unused.pop())

    def view(self, address: int, nbytes: int, *, read_only: bool = False) -> Array:
        """The bytes at an address, to copy into and out of; they count as initialised unless `read_only`."""
        allocation = self.find(address)
        if allocation is None or address + nbytes > allocation.end:
            raise EmulatorError(f"cannot copy {nbytes} bytes at {address:#x}: {self.whereabouts(address)}.")
        chosen = slice(address - allocation.start, address - allocation.start + nbytes)
        view = allocation.data[chosen]
        if read_only:
            view.flags.writeable = False
        elif allocation.initialised is not None:
            allocation.initialised[chosen] = True
        return view

    def find(self, address: int) -> Allocation | None:
        """The allocation that an address lies in, its end included."""
        index = bisect_right(self.starts, address) - 1
        if index < 0:
            return None
        allocation = self.allocations[index]
        return allocation if address <= allocation.end else None

    def whereabouts(self, address: int) -> str:
        """A description of where an address lies, for error messages."""
        for start, nbytes in self.freed:
            if start <= address < max(start + nbytes, start + 1):
                return f"that is byte {address - start} of the {nbytes} bytes at {start:#x}, which have been freed"
        index = bisect_right(self.starts, address) - 1
        if index >= 0:
            allocation = self.allocations[index]
            start, nbytes = allocation.start, allocation.nbytes
            if address < allocation.end:
                return f"that is byte {address - start} of the {nbytes} bytes at {start:#x}"
            if address - allocation.end < _GUARD:
                return f"that is {address - allocation.end} bytes behind the {nbytes} bytes at {start:#x}"
        if index + 1 < len(self.starts) and self.starts[index + 1] - address <= _GUARD:
            after = self.allocations[index + 1]
            return f"that is {after.start - address} bytes before the {after.nbytes} bytes at {after.start:#x}"
        return "no allocation is near it"
