"""Staging buffers for the inputs and outputs of a program whose addresses change from call to call.

Captured launches hold addresses. In a training loop those of the state settle, because it is donated; a loss that
somebody keeps, or a batch, comes at a new one each time. Such a small array gets a staging buffer, which the captured
launches read or write, and which is copied to before them, or from after them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from graphad.backends.cuda.runtime.allocator import Allocator, DeviceMemory

#: Calls that are remembered, and at how many distinct addresses among these an array gets a staging buffer.
_LOOK_BACK: Final = 6
_DISTINCT: Final = 4
#: Bytes of the largest array that is staged.
_LARGEST: Final = 1 << 20


class StagingBuffers:
    """Decides which arrays are staged, and copies them.

    Parameters
    ----------
    memory
        Of the device.
    sizes
        Bytes of each input and output, inputs first.
    n_inputs
        How many of them are inputs.
    launches
        How many launches the program has: copies must be few beside them.
    """

    def __init__(self, memory: Allocator, sizes: Sequence[int], n_inputs: int, launches: int) -> None:
        self._memory = memory
        self._sizes = sizes
        self._n_inputs = n_inputs
        self._most = launches // 2 - 1
        self._recent: deque[tuple[int, ...]] = deque(maxlen=_LOOK_BACK)
        self._buffers: dict[int, DeviceMemory] = {}
        self._wanted: list[int] = []

    def enter(self, addresses: Sequence[int]) -> tuple[int, ...]:
        """Where the launches shall find their arrays; staged inputs are copied there."""
        for k in self._wanted:
            self._buffers[k] = self._memory.allocate(self._sizes[k])
        self._wanted = []
        places = list(addresses)
        for k, buffer in self._buffers.items():
            places[k] = buffer.address
            if k < self._n_inputs and self._sizes[k]:
                self._memory.runtime.copy(buffer.address, addresses[k], self._sizes[k])
        return tuple(places)

    def leave(self, addresses: Sequence[int]) -> None:
        """Copy staged outputs to where they were asked for."""
        for k, buffer in self._buffers.items():
            if k >= self._n_inputs and self._sizes[k]:
                self._memory.runtime.copy(addresses[k], buffer.address, self._sizes[k])

    def missed(self, addresses: Sequence[int]) -> None:
        """Note that a program came with addresses not seen before; from the next call on more may be staged."""
        self._recent.append(tuple(addresses))
        if len(self._recent) < _LOOK_BACK:
            return
        seen = [len(set(places)) for places in zip(*self._recent, strict=True)]
        moving = [k for k, count in enumerate(seen) if count >= _DISTINCT]
        if len(moving) <= self._most and all(self._sizes[k] <= _LARGEST for k in moving):
            self._wanted = [k for k in moving if k not in self._buffers]
