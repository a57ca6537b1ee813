"""A caching allocator of device memory.

Freed blocks are kept by size. The one at the lowest address is reused first, so a loop that allocates and drops the
same sizes in each iteration soon sees the same addresses, in the same order, in every second iteration: captured
launches can then be replayed. All work of a runtime is queued on one stream, in order, so a block may be reused while
earlier work still reads it. Other libraries have streams of their own: before blocks that were lent to one are reused,
all work of the device must have ended.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from graphad.backends.cuda.runtime.pointers import wait_for, wait_for_all
from graphad.backends.cuda.runtime.runtime import Runtime
from graphad.device import Device

NDArray = np.ndarray[Any, Any]

#: Blocks start, and small ones end, at multiples of this.
ALIGNMENT: Final = 256
#: Bytes that the smallest atomic update accesses.
WORD: Final = 4
_SMALL: Final = 16 << 10
_KDL_CUDA: Final = 2  # DLPack's number for the memory of a GPU
_STEPS: Final = 8  # sizes between a power of two and the next, for blocks that are not small

_Returned = tuple[int, int, bool]  # block, address, and whether another library may still use it


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Bytes, in whole blocks: in use by arrays and programs, the peak of that, and reserved from the device."""

    in_use: int
    peak: int
    reserved: int


class DeviceMemory:
    """A block of device memory; it goes back to its `Allocator` when nothing refers to it any more.

    Attributes
    ----------
    device, address, nbytes
        Where it is, and how many bytes were asked for.
    """

    __slots__ = ("__weakref__", "_block", "_give_back", "_is_lent", "_runtime", "address", "device", "nbytes")

    def __init__(
        self, runtime: Runtime, address: int, nbytes: int, block: int, give_back: Callable[[_Returned], None]
    ) -> None:
        self.device: Device = runtime.device
        self.address = address
        self.nbytes = nbytes
        self._runtime = runtime
        self._block = block
        self._give_back = give_back
        self._is_lent = False

    @property
    def dlpack_device(self) -> tuple[int, int] | None:
        """Where it is in the words of DLPack; None of the emulated device, whose memory is its own."""
        return _dlpack_device(self.device)

    def download(self, target: NDArray) -> None:
        """Fill ``target``, C-contiguous and of as many bytes, once all work that writes to this memory has ended."""
        _download(self._runtime, target, self.address, self.nbytes)

    def synchronize(self) -> None:
        """Wait until all work that was queued on the device has ended."""
        self._runtime.synchronize()

    def lend(self) -> None:
        """Note that another library has been given the address."""
        self._is_lent = True

    def __del__(self) -> None:
        self._give_back((self._block, self.address, self._is_lent))

    def __repr__(self) -> str:
        return f"<DeviceMemory {self.nbytes} bytes at {self.address:#x} of {self.device}>"


@dataclass(eq=False, slots=True)
class BorrowedMemory:
    """Device memory of another library, which ``owner`` keeps alive."""

    runtime: Runtime
    address: int
    nbytes: int
    owner: Any

    @property
    def device(self) -> Device:
        return self.runtime.device

    @property
    def dlpack_device(self) -> tuple[int, int] | None:
        """Where it is in the words of DLPack."""
        return _dlpack_device(self.device)

    def download(self, target: NDArray) -> None:
        """Fill ``target``, C-contiguous and of as many bytes."""
        _download(self.runtime, target, self.address, self.nbytes)

    def synchronize(self) -> None:
        """Wait until all work that was queued on the device has ended."""
        self.runtime.synchronize()

    def lend(self) -> None:
        """Nothing to do: the memory is another library's already."""


class Allocator:
    """The memory of one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._free: dict[int, list[int]] = {}
        # Memory can be dropped at any time, even by the garbage collector within `allocate`: it is only noted here.
        self._returned: deque[_Returned] = deque()
        self._in_use = self._peak = self._reserved = 0
        self._scratch: DeviceMemory | None = None

    def allocate(self, nbytes: int) -> DeviceMemory:
        """Memory with unspecified contents.

        Raises
        ------
        MemoryError
            If the device has none left, even after the cached blocks are given back.
        """
        # An emulated device finds accesses that are out of bounds: there a block ends with the last word of the array
        # (atomic updates of smaller elements go by whole words).
        block = max(-nbytes // WORD * -WORD, WORD) if self.runtime.device.is_emulated else block_size(nbytes)
        with self.runtime.lock:
            self._collect()
            free = self._free.get(block)
            address = heapq.heappop(free) if free else self._reserve(block)
            self._in_use += block
            self._peak = max(self._peak, self._in_use)
        return DeviceMemory(self.runtime, address, nbytes, block, self._returned.append)

    def upload(self, array: NDArray) -> DeviceMemory:
        """Memory that holds a copy of an array of the host, in row-major order."""
        memory = self.allocate(array.nbytes)
        if array.nbytes:
            self.runtime.upload(memory.address, np.ascontiguousarray(array))
        return memory

    def borrow(self, address: int, nbytes: int, owner: object) -> BorrowedMemory:
        """Memory of another library, which lives as long as ``owner``."""
        return BorrowedMemory(self.runtime, address, nbytes, owner)

    def wait_for(self, stream: int) -> None:
        """Wait for all work on a stream of another library."""
        wait_for(self.runtime, stream)

    def scratch(self, nbytes: int) -> DeviceMemory:
        """Memory for the temporaries of a program, shared by all programs: they run one after the other."""
        with self.runtime.lock:
            if self._scratch is None or self._scratch.nbytes < nbytes:
                self._scratch = None  # its block may be reused for the new one
                self._scratch = self.allocate(nbytes)
            return self._scratch

    def use(self) -> MemoryUse:
        """How much is in use."""
        with self.runtime.lock:
            self._collect()
            return MemoryUse(self._in_use, self._peak, self._reserved)

    def empty_cache(self) -> None:
        """Give all free blocks back to the device."""
        with self.runtime.lock:
            self._collect()
            for block, addresses in self._free.items():
                self._reserved -= block * len(addresses)
                for address in addresses:
                    self.runtime.free(address)
            self._free.clear()

    def _collect(self) -> None:
        """Put the blocks that were dropped since the last call on the free lists."""
        while self._returned:
            block, address, was_lent = self._returned.popleft()
            if was_lent:
                wait_for_all(self.runtime)
            heapq.heappush(self._free.setdefault(block, []), address)
            self._in_use -= block

    def _reserve(self, block: int) -> int:
        try:
            address = self.runtime.allocate(block)
        except MemoryError:
            self._collect()
            self.empty_cache()
            address = self.runtime.allocate(block)
        self._reserved += block
        return address


def block_size(nbytes: int) -> int:
    """The size of the block for so many bytes: at most an eighth, or 255 bytes, more.

    >>> [block_size(n) for n in (0, 1, 256, 257, 16_384, 16_385, 1_000_000)]
    [256, 256, 256, 512, 16384, 18432, 1048576]
    """
    unit = ALIGNMENT if nbytes <= _SMALL else (1 << (nbytes - 1).bit_length()) // (2 * _STEPS)
    return max(-(-nbytes // unit), 1) * unit


def _dlpack_device(device: Device) -> tuple[int, int] | None:
    return None if device.is_emulated else (_KDL_CUDA, device.index)


def _download(runtime: Runtime, target: NDArray, address: int, nbytes: int) -> None:
    if target.nbytes != nbytes or not target.flags.c_contiguous:
        raise ValueError(f"the target must be C-contiguous and have {nbytes} bytes, but has {target.nbytes}.")
    if nbytes:
        runtime.download(target, address)
