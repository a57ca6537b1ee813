"""Page-locked memory of the host: copies from it to a GPU are asynchronous."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

NDArray = np.ndarray[Any, Any]

_SMALLEST: Final = 64 << 10
_LARGEST: Final = 16 << 20  # larger arrays go in pieces
_KEPT: Final = 4  # of each size


@dataclass(slots=True)
class _Buffer:
    address: int
    ready: Any = None  # the event after the last copy from it


class PinnedBuffers:
    """Page-locked buffers for uploads to one GPU, each reused when the copy from it has ended.

    They live as long as the process.

    Parameters
    ----------
    calls
        Calls of the driver by name. ``cuda.core`` has page-locked memory too, but frees it by the default stream of
        the context that happens to be current, and complains if none is.
    stream
        The stream of ``cuda.core`` on which the copies are queued.
    """

    def __init__(self, calls: Callable[..., Any], stream: Any) -> None:
        self._calls = calls
        self._stream = stream
        self._buffers: dict[int, list[_Buffer]] = {}

    def pieces(self, array: NDArray) -> Iterator[tuple[int, int, int]]:
        """Copies of the pieces of a C-contiguous array: where each starts in it, its address, and how many bytes.

        The caller queues the copy to the GPU before asking for the next one.
        """
        for start in range(0, array.nbytes, _LARGEST):
            nbytes = min(array.nbytes - start, _LARGEST)
            buffer = self._take(nbytes)
            ctypes.memmove(buffer.address, array.ctypes.data + start, nbytes)
            yield start, buffer.address, nbytes
            buffer.ready = self._stream.record(buffer.ready)

    def _take(self, nbytes: int) -> _Buffer:
        """The least recently used buffer of this size, or a new one while there are few."""
        size = max(1 << (nbytes - 1).bit_length(), _SMALLEST)
        buffers = self._buffers.setdefault(size, [])
        if len(buffers) < _KEPT:
            buffers.append(_Buffer(int(self._calls("cuMemHostAlloc", size, 0))))
        else:
            buffers.append(buffers.pop(0))
            buffers[-1].ready.sync()
        return buffers[-1]
