"""The emulated device: runs the kernels of a GPU on the CPU, without a GPU, and checks every access."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import numpy as np

from graphad.backends.cuda import emulator
from graphad.backends.cuda.runtime.runtime import Launch
from graphad.backends.loops.ir import Gemm
from graphad.device import Device
from graphad.errors import LoweringError, at
from graphad.ir.forks import renewed
from graphad.ir.loc import format_loc

NDArray = np.ndarray[Any, Any]


class Copied(NamedTuple):
    """A captured copy within the device."""

    target: int
    source: int
    nbytes: int


class Emulated:
    """A runtime over the emulator.

    Parameters
    ----------
    architecture
        Of the GPU to be emulated; kernels are compiled for it.
    check_uninitialised
        Also report kernels that read memory which nothing has written.
    """

    def __init__(self, architecture: str = "sm_90", *, check_uninitialised: bool = False) -> None:
        self.device = Device("cuda:emulated")
        self.architecture = architecture
        self.has_gemm = False
        self.lock = threading.RLock()
        renewed(self)
        self.memory = emulator.Memory(check_uninitialised=check_uninitialised)
        self._recording: list[Launch | Copied] | None = None
        self._watchers: list[list[tuple[str, emulator.LaunchReport]]] = []

    def allocate(self, nbytes: int) -> int:
        """Memory on the device."""
        with self.lock:
            return self.memory.allocate(nbytes)

    def free(self, address: int) -> None:
        """Give memory back; a later access to it is an error."""
        with self.lock:
            self.memory.free(address)

    def upload(self, address: int, source: NDArray) -> None:
        """Copy a C-contiguous array of the host to the device."""
        with self.lock:
            self.memory.view(address, source.nbytes)[:] = _bytes_of(source)

    def download(self, target: NDArray, address: int) -> None:
        """Copy to a C-contiguous array of the host."""
        with self.lock:
            _bytes_of(target)[:] = self.memory.view(address, target.nbytes, read_only=True)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        with self.lock:
            if self._recording is not None:
                self._recording.append(Copied(target, source, nbytes))
            else:
                self.memory.view(target, nbytes)[:] = self.memory.view(source, nbytes, read_only=True).copy()

    def load(self, ptx: str, names: Sequence[str]) -> dict[str, Any]:
        """The kernels of a module, ready to launch."""
        module = emulator.Module(ptx)
        return {name: module.kernels[name] for name in names}

    def launch(self, launch: Launch) -> None:
        """Run a kernel."""
        with self.lock:
            if self._recording is not None:
                self._recording.append(launch)
                return
            grid, block = (launch.blocks, 1, 1), (launch.threads, 1, 1)
            try:
                report = emulator.launch(
                    launch.function, self.memory, grid, block, launch.shared_bytes, launch.arguments, checks=True
                )
            except emulator.EmulatorError as error:
                if not str(error).startswith("kernel "):  # it begins with the user's line
                    raise
                raise emulator.EmulatorError(at(format_loc(launch.loc), str(error))) from error
            for seen in self._watchers:
                seen.append((launch.function.name, report))

    def gemm(self, g: Gemm, a: int, b: int, c: int, bias: int | None = None) -> NoReturn:
        """Matrix products are kernels here."""
        raise LoweringError("the emulated device has no library of matrix products; emit kernels for them")

    def capture(self, work: Callable[[], None]) -> list[Launch | Copied]:
        """The launches and copies that ``work`` would have run."""
        with self.lock:
            self._recording = recorded = []
            try:
                work()
            finally:
                self._recording = None
        return recorded

    def replay(self, captured: list[Launch | Copied]) -> None:
        """Run all that was captured."""
        with self.lock:
            for step in captured:
                if isinstance(step, Launch):
                    self.launch(step)
                else:
                    self.copy(*step)

    def synchronize(self) -> None:
        """Nothing to wait for."""

    @contextmanager
    def watch(self) -> Generator[list[tuple[str, emulator.LaunchReport]]]:
        """A list that grows by the kernel's name and the emulator's report with each launch in the block."""
        seen: list[tuple[str, emulator.LaunchReport]] = []
        self._watchers.append(seen)
        try:
            yield seen
        finally:
            self._watchers = [w for w in self._watchers if w is not seen]


def _bytes_of(array: NDArray) -> NDArray:
    """The array's bytes in the order of memory; not a copy."""
    return array.reshape(-1).view(np.uint8)
