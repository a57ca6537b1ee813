"""The interface of a device, implemented by the driver of a GPU (`driver`) and by the emulator (`emulated`).

Addresses are ints. Work is queued in order on one stream per runtime; `download` and `synchronize` wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphad.backends.loops.ir import Gemm
from graphad.device import Device
from graphad.ir.loc import Loc

NDArray = np.ndarray[Any, Any]


class Launch(NamedTuple):
    """One launch with all its arguments, to be queued or captured."""

    function: Any  # of `Runtime.load`
    blocks: int
    threads: int
    shared_bytes: int  # dynamic, beyond what the kernel declares
    arguments: tuple[int, ...]  # addresses
    loc: Loc = None


class Runtime(Protocol):
    """A device at work."""

    device: Device
    architecture: str  # "sm_90"
    has_gemm: bool  # whether `gemm` works; else matrix products must come as kernels

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Re-entrant; held while things are queued that belong together."""
        ...

    def allocate(self, nbytes: int) -> int:
        """Memory on the device, 256-byte aligned; `MemoryError` with how much is in use where there is none left."""
        ...

    def free(self, address: int) -> None:
        """Free memory; work queued before may still use it."""
        ...

    def upload(self, address: int, source: NDArray) -> None:
        """Copy a C-contiguous array of the host to the device; the array may be changed once this returns."""
        ...

    def download(self, target: NDArray, address: int) -> None:
        """Copy to a C-contiguous array of the host, after all work queued before; returns when it is there."""
        ...

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        ...

    def load(self, ptx: str, names: Sequence[str]) -> dict[str, Any]:
        """The kernels of a module, ready to launch. The module stays loaded while one of them is held."""
        ...

    def launch(self, launch: Launch) -> None:
        """Queue a kernel."""
        ...

    def gemm(self, g: Gemm, a: int, b: int, c: int, bias: int | None = None) -> None:
        """Queue a matrix product over buffers that start at these addresses; ``bias`` is None where it has none."""
        ...

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues instead of running it; the result is for `replay`.

        ``work`` only launches, copies and multiplies, and has run before, so that nothing is loaded or allocated
        meanwhile. Nothing else is queued meanwhile, for the `lock` is held.
        """
        ...

    def replay(self, captured: Any) -> None:
        """Queue all that was captured, as one launch."""
        ...

    def synchronize(self) -> None:
        """Wait for all queued work; errors in it are raised here."""
        ...
