"""Fixed places for the inputs and outputs of a program that come at ever new addresses.

Captured launches hold addresses. In a training loop those of the state settle, because it is donated; a loss that
somebody keeps, or a batch, comes at a new one each time. Such a small array gets a stand: a place of its own, which the
captured launches read or write, and which is copied into before, or out of after.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from graphad.backends.cuda.runtime.allocator import Allocator, DeviceMemory

#: Calls that are looked back on, and at how many addresses an array has come in these if it may come at any.
_LOOK_BACK: Final = 6
_RESTLESS: Final = 4
#: Bytes of the largest array that is copied for this.
_LARGEST: Final = 1 << 20


class Stands:
    """Decides what gets a stand, and copies.

    Parameters
    ----------
    memory
        Of the device.
    sizes
        Bytes of each input and output, inputs first.
    n_inputs
        How many of them are inputs.
    launches
        Of the program: copies must be few beside them.
    """

    def __init__(self, memory: Allocator, sizes: Sequence[int], n_inputs: int, launches: int) -> None:
        self._memory = memory
        self._sizes = sizes
        self._n_inputs = n_inputs
        self._most = launches // 2 - 1
        self._recent: deque[tuple[int, ...]] = deque(maxlen=_LOOK_BACK)
        self._stands: dict[int, DeviceMemory] = {}
        self._wanted: list[int] = []

    def enter(self, addresses: Sequence[int]) -> tuple[int, ...]:
        """Where the launches shall find their arrays; inputs with a stand are copied there."""
        for k in self._wanted:
            self._stands[k] = self._memory.allocate(self._sizes[k])
        self._wanted = []
        places = list(addresses)
        for k, stand in self._stands.items():
            places[k] = stand.address
            if k < self._n_inputs and self._sizes[k]:
                self._memory.runtime.copy(stand.address, addresses[k], self._sizes[k])
        return tuple(places)

    def leave(self, addresses: Sequence[int]) -> None:
        """Copy outputs with a stand to where they were asked for."""
        for k, stand in self._stands.items():
            if k >= self._n_inputs and self._sizes[k]:
                self._memory.runtime.copy(addresses[k], stand.address, self._sizes[k])

    def missed(self, addresses: Sequence[int]) -> None:
        """Note that a program came with addresses not seen before; from the next call on there may be more stands."""
        self._recent.append(tuple(addresses))
        if len(self._recent) < _LOOK_BACK:
            return
        seen = [len(set(places)) for places in zip(*self._recent, strict=True)]
        moving = [k for k, count in enumerate(seen) if count >= _RESTLESS]
        if len(moving) <= self._most and all(self._sizes[k] <= _LARGEST for k in moving):
            self._wanted = [k for k in moving if k not in self._stands]
