"""A GPU through NVIDIA's driver, by way of ``cuda.core``. All work goes to one stream of our own.

What ``cuda.core`` lacks goes to ``cuda.bindings.driver``, which is the driver's C interface (`Calls`):
making a context current for a while only, asking how much memory is free, allowing a kernel more shared memory,
page-locked memory (`pinned`), and loading machine code, for ``cuda.core`` never unloads what it has loaded
(NVIDIA/cuda-python#1670).
"""

from __future__ import annotations

import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.cubins import cubin, reassembled
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS
from graphad.backends.cuda.runtime.nvidia.blas import WORKSPACE_BYTES, CublasLt
from graphad.backends.cuda.runtime.nvidia.pinned import PinnedBuffers
from graphad.backends.cuda.runtime.runtime import Launch
from graphad.backends.loops.ir import Gemm
from graphad.device import Device
from graphad.errors import DeviceError

NDArray = np.ndarray[Any, Any]

#: Of the CUDA that the driver supports, as the driver counts: 13.0.
_OLDEST_DRIVER: Final = 13_000
#: Dynamic shared memory that a kernel may have without asking for it.
_SHARED_UNASKED: Final = 48 << 10
#: How errors of ``cuda.core`` begin: the name of the status, and a sentence about it.
_STATUS: Final = re.compile(r"(CUDA_ERROR_\w+): (.*?)(?:\.(?=\s|$)|$)", re.DOTALL)
_FAULTS: Final = ("ILLEGAL_ADDRESS", "MISALIGNED_ADDRESS", "ILLEGAL_INSTRUCTION", "LAUNCH_FAILED", "ASSERT")


class Calls:
    """Calls of the driver by name, with errors raised."""

    def __init__(self, device: Device, module: Any) -> None:
        self.device = device
        self.module = module

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The result of a call: None, a value, or a tuple of values."""
        status, *values = getattr(self.module, name)(*arguments)
        if int(status):
            title, text = [getattr(self.module, f)(status)[1] for f in ("cuGetErrorName", "cuGetErrorString")]
            raise _error(self.device, title.decode(), f"{text.decode()} ({name})")
        return values[0] if len(values) == 1 else tuple(values) or None


def _error(device: Device, title: str, text: str) -> Exception:
    """The exception for a status of the driver."""
    message = f"{device}: the driver reports {title}: {text}."
    if title == "CUDA_ERROR_OUT_OF_MEMORY":
        return MemoryError(message)
    if title.endswith(_FAULTS):
        message += " A kernel did what it must not; device='cuda:emulated' names the kernel and the line."
    return DeviceError(message)


class Function:
    """A kernel of a loaded module; it keeps the module loaded."""

    def __init__(self, kernel: Any, module: _Held) -> None:
        self.kernel = kernel
        self.module = module
        self.shared_bytes = _SHARED_UNASKED  # dynamic shared memory that it may have


class _Held:
    """A resource of the driver that is released some time after it is dropped, when it is safe to do so."""

    def __init__(self, thing: Any, release: Callable[[], object], dropped: deque[Callable[[], object]]) -> None:
        self.thing = thing
        self._release = release
        self._dropped = dropped

    def __del__(self) -> None:
        self._dropped.append(self._release)


class _Reporting:
    """A context in which errors of ``cuda.core`` are raised as ours."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        status = None if error is None or isinstance(error, DeviceError) else _STATUS.match(str(error))
        if status:
            raise _error(self._device, status[1], status[2]) from error


class _Current(_Reporting):
    """Makes a context the current one of this thread within a ``with``, and locks the stream; re-entrant."""

    def __init__(self, calls: Calls, context: Any) -> None:
        super().__init__(calls.device)
        self._calls = calls
        self._context = context
        self._lock = threading.RLock()
        self._depth = 0

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            if not self._depth:
                self._calls("cuCtxPushCurrent", self._context)
        except BaseException:
            self._lock.release()
            raise
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        try:
            if not self._depth:
                self._calls("cuCtxPopCurrent")
        finally:
            self._lock.release()
        super().__exit__(kind, error, traceback)


class Driver:
    """A runtime on a GPU.

    Attributes
    ----------
    device, architecture
        Which GPU, and what code is made for it.
    stream
        Address of the stream that all work is queued on.
    lock
        Held, and the GPU made the current one of the thread, while things are queued that belong together.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self.has_gemm = True
        self._calls = Calls(device, toolkit.driver())
        self._core = core = toolkit.core()
        self._check_presence()
        gpu = core.Device(device.index)
        self.name = str(gpu.name)
        major, minor = gpu.compute_capability
        self.architecture = architecture_for(major, minor, f"{device} ({self.name})")
        # `gpu.set_current` would change the current GPU of this thread, which other libraries may have chosen.
        self._context = self._calls("cuDevicePrimaryCtxRetain", self._calls("cuDeviceGet", device.index))
        self.lock = _Current(self._calls, self._context)
        with self.lock:
            gpu.set_current()
            self._stream = gpu.create_stream(options=core.StreamOptions(nonblocking=True))
            # A pool of our own returns freed memory to the system: caching is the work of `Allocator`.
            self._pool = core.DeviceMemoryResource(gpu, core.DeviceMemoryResourceOptions())
            self._events = deque([gpu.create_event()])  # for reuse: nobody waits for them
        self.stream = int(self._stream.handle)
        self._buffers: dict[int, Any] = {}  # by address
        self._pinned = PinnedBuffers(self._calls, self._stream)
        self._dropped: deque[Callable[[], object]] = deque()
        self._config = lru_cache(maxsize=1024)(partial(_launch_config, core.LaunchConfig))
        self._products: CublasLt | None = None

    # ---- memory

    def allocate(self, nbytes: int) -> int:
        """Memory on the device, 256-byte aligned."""
        try:
            with self.lock:
                buffer = self._pool.allocate(nbytes, stream=self._stream)
                address = int(buffer.handle)
                self._buffers[address] = buffer
                return address
        except MemoryError:
            with self.lock:
                free, total = self._calls("cuMemGetInfo")
            raise MemoryError(
                f"{self.device} ({self.name}) has no {nbytes:,} bytes left: {total - free:,} of {total:,} are in "
                "use. Use smaller batches, or drop arrays that are not needed any more."
            ) from None

    def free(self, address: int) -> None:
        """Give memory back; work queued before may still use it."""
        with self.lock:
            self._buffers.pop(address).close(self._stream)

    def upload(self, address: int, source: NDArray) -> None:
        """Copy a C-contiguous array of the host to the device; the array may be changed once this returns."""
        with self.lock:
            for start, piece, nbytes in self._pinned.pieces(source):
                self.copy(address + start, piece, nbytes)

    def download(self, target: NDArray, address: int) -> None:
        """Copy to a C-contiguous array of the host, after all work queued before; returns when it is there."""
        self.synchronize()
        with self.lock:
            self.copy(target.ctypes.data, address, target.nbytes)
            self._stream.sync()

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device, or from and to it: the driver tells these apart by the addresses."""
        at = self._core.Buffer.from_handle
        with self.lock:
            at(source, nbytes).copy_to(at(target, nbytes), stream=self._stream)

    # ---- kernels

    def load(self, ptx: str, names: Sequence[str]) -> dict[str, Any]:
        """The kernels of a module, ready to launch. The module stays loaded while one of them is held."""
        code = cubin(ptx, self.architecture).cubin
        try:
            return self._load(code, names)
        except DeviceError:
            anew = reassembled(ptx, self.architecture).cubin
            if anew == code:
                raise
        return self._load(anew, names)

    def _load(self, code: bytes, names: Sequence[str]) -> dict[str, Any]:
        with self.lock:
            self._release_dropped()
            library = self._calls("cuLibraryLoadData", code, [], [], 0, [], [], 0)
            module = _Held(library, partial(self._calls, "cuLibraryUnload", library), self._dropped)
            found = {name: self._calls("cuLibraryGetKernel", library, name.encode()) for name in names}
            return {name: Function(self._core.Kernel.from_handle(int(k)), module) for name, k in found.items()}

    def launch(self, launch: Launch) -> None:
        """Queue a kernel."""
        function: Function = launch.function
        with self.lock:
            if launch.shared_bytes > function.shared_bytes:
                self._allow_shared(function, launch.shared_bytes)
            config = self._config(launch.blocks, launch.threads, launch.shared_bytes)
            self._core.launch(self._stream, config, function.kernel, *launch.arguments)

    def gemm(self, g: Gemm, a: int, b: int, c: int, bias: int | None = None) -> None:
        """Queue a matrix product over buffers that start at these addresses; ``bias`` is None where it has none."""
        with self.lock:
            if self._products is None:
                self._products = CublasLt(self.stream, self.allocate(WORKSPACE_BYTES))
            self._products.gemm(g, a, b, c, bias)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues instead of running it; the result is for `replay`."""
        with self.lock:
            self._release_dropped()
            builder = self._stream.create_graph_builder().begin_building(mode="thread_local")
            try:
                work()
                graph = builder.end_building().complete()
            except BaseException:
                del builder  # which ends the capture, even an invalidated one, of which `close` would complain
                raise
            builder.close()
            return _Held(graph, graph.close, self._dropped)

    def replay(self, captured: Any) -> None:
        """Queue all that was captured, as one launch."""
        with self.lock:
            captured.thing.launch(self._stream)

    def synchronize(self) -> None:
        """Wait for all queued work; errors in it are raised here. Other threads may queue more in the meantime."""
        with self.lock:
            free = self._events[0] if self._events else None
            event = self._stream.record(free)
            if free is not None:
                self._events.popleft()
        self._calls("cuCtxPushCurrent", self._context)
        try:
            with _Reporting(self.device):
                event.sync()
        finally:
            self._events.append(event)
            self._calls("cuCtxPopCurrent")

    # ---- inside

    def _check_presence(self) -> None:
        there = toolkit.gpu_count()
        if self.device.index >= there:
            shown = "one GPU, cuda:0" if there == 1 else f"{there} GPUs, cuda:0 to cuda:{there - 1}"
            raise DeviceError(f"{self.device} is not there: the driver shows {shown}.")
        version = int(self._calls("cuDriverGetVersion"))
        if version < _OLDEST_DRIVER:
            supported = f"{version // 1000}.{version % 1000 // 10}"
            raise DeviceError(
                f"{self.device} needs a driver of release 580 or later, which supports CUDA 13; this one supports "
                f"CUDA {supported}. Update the driver, or use device='cuda:emulated'."
            )

    def _allow_shared(self, function: Function, nbytes: int) -> None:
        attribute = self._calls.module.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        ordinal = self._calls("cuDeviceGet", self.device.index)
        self._calls("cuKernelSetAttribute", attribute, nbytes, function.kernel.handle, ordinal)
        function.shared_bytes = nbytes

    def _release_dropped(self) -> None:
        """Unload modules and destroy captured graphs that were dropped, once they have run."""
        if self._dropped and not sys.is_finalizing():
            self._stream.sync()
            while self._dropped:
                self._dropped.popleft()()


def _launch_config(make: Callable[..., Any], blocks: int, threads: int, shared_bytes: int) -> Any:
    return make(grid=blocks, block=threads, shmem_size=shared_bytes)


def architecture_for(major: int, minor: int, device: str) -> str:
    """The architecture to generate code for: of the same generation, and not newer than the GPU.

    >>> architecture_for(9, 0, "cuda:0"), architecture_for(8, 8, "cuda:0")
    ('sm_90', 'sm_87')
    """
    fitting = [
        (int(name[3:]), name)
        for name in PTX_VERSIONS
        if int(name[3:]) // 10 == major and int(name[3:]) <= 10 * major + minor
    ]
    if not fitting:
        known = ", ".join(PTX_VERSIONS)
        raise DeviceError(
            f"{device} has compute capability {major}.{minor}, for which no code can be made; there is code "
            f"for {known}. device='cuda:emulated' runs the same kernels on the CPU."
        )
    return max(fitting)[1]
