"""Page-locked memory of the host: what is copied from there to a GPU goes on while the host does something else."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

NDArray = np.ndarray[Any, Any]

NO_TIMING: Final = 2  # CU_EVENT_DISABLE_TIMING
_SMALLEST: Final = 64 << 10
_LARGEST: Final = 16 << 20  # larger arrays go in pieces
_KEPT: Final = 4  # of each size


@dataclass(slots=True)
class _Buffer:
    address: int
    ready: Any  # the event after the last copy from it


class PinnedBuffers:
    """Buffers through which arrays go to one GPU, each used again when the copy from it has ended."""

    def __init__(self, calls: Callable[..., Any]) -> None:
        self._calls = calls
        self._buffers: dict[int, list[_Buffer]] = {}

    def pieces(self, array: NDArray, stream: Any) -> Iterator[tuple[int, int, int]]:
        """Copies of the pieces of a C-contiguous array: where each starts in it, its address, and how many bytes.

        The caller queues the copy to the GPU on ``stream`` before asking for the next one.
        """
        for start in range(0, array.nbytes, _LARGEST):
            nbytes = min(array.nbytes - start, _LARGEST)
            buffer = self._take(nbytes)
            ctypes.memmove(buffer.address, array.ctypes.data + start, nbytes)
            yield start, buffer.address, nbytes
            self._calls("cuEventRecord", buffer.ready, stream)

    def _take(self, nbytes: int) -> _Buffer:
        """The buffer of this size that has rested longest, or a new one while there are few."""
        size = max(1 << (nbytes - 1).bit_length(), _SMALLEST)
        buffers = self._buffers.setdefault(size, [])
        if len(buffers) < _KEPT:
            event = self._calls("cuEventCreate", NO_TIMING)
            buffers.append(_Buffer(int(self._calls("cuMemHostAlloc", size, 0)), event))
        else:
            buffers.append(buffers.pop(0))
            self._calls("cuEventSynchronize", buffers[-1].ready)
        return buffers[-1]
