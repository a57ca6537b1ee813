"""A GPU through NVIDIA's driver.

The calls are those of ``cuda.bindings.driver``, one to one with the driver's C interface. All work goes to one stream
of our own, which does not wait for the default stream.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.blas import WORKSPACE_BYTES, CublasLt
from graphad.backends.cuda.cubins import cubin
from graphad.backends.cuda.nvptx import PTX_VERSIONS
from graphad.backends.cuda.pinned import NO_TIMING, PinnedBuffers
from graphad.backends.cuda.runtime import Launch
from graphad.backends.loops import Gemm
from graphad.device import Device
from graphad.errors import DeviceError

NDArray = np.ndarray[Any, Any]

#: Of the CUDA that the driver supports, as the driver counts: 13.0.
_OLDEST_DRIVER: Final = 13_000
#: Dynamic shared memory that a kernel may have without asking for it.
_SHARED_UNASKED: Final = 48 << 10
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
            raise self._error(name, status)
        return values[0] if len(values) == 1 else tuple(values) or None

    def _error(self, name: str, status: Any) -> Exception:
        title, text = [_decoded(getattr(self.module, f)(status)) for f in ("cuGetErrorName", "cuGetErrorString")]
        message = f"{self.device}: {name} failed with {title}: {text}."
        if title == "CUDA_ERROR_OUT_OF_MEMORY":
            return MemoryError(message)
        if any(title.endswith(fault) for fault in _FAULTS):
            message += " A kernel did what it must not; device='cuda:emulated' names the kernel and the line."
        return DeviceError(message)


def _decoded(result: Any) -> str:
    """The text in what ``cuGetErrorName`` and its like return."""
    text = result[1]
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


class Function:
    """A kernel of a loaded module, which it keeps loaded."""

    def __init__(self, name: str, handle: Any, module: _Handle) -> None:
        self.name = name
        self.handle = handle
        self.module = module
        self.shared_bytes = _SHARED_UNASKED  # dynamic shared memory that it may have


class _Handle:
    """Something of the driver's that is given back when nobody holds it: later, for now may be a bad moment."""

    def __init__(self, handle: Any, release: str, dropped: deque[tuple[str, Any]]) -> None:
        self.handle = handle
        self._release = release
        self._dropped = dropped

    def __del__(self) -> None:
        self._dropped.append((self._release, self.handle))


class _Current:
    """Makes a context the current one of this thread for the time of a ``with``, and locks the stream; re-entrant."""

    def __init__(self, calls: Calls, context: Any) -> None:
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
        cuda = self._calls.module
        self._check_presence()
        ordinal = self._calls("cuDeviceGet", device.index)
        attributes = cuda.CUdevice_attribute
        major, minor = [
            int(self._calls("cuDeviceGetAttribute", getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{which}"), ordinal))
            for which in ("COMPUTE_CAPABILITY_MAJOR", "COMPUTE_CAPABILITY_MINOR")
        ]
        self.name = _decoded((0, self._calls("cuDeviceGetName", 256, ordinal))).rstrip("\0")
        self.architecture = architecture_for(major, minor, f"{device} ({self.name})")
        self._context = self._calls("cuDevicePrimaryCtxRetain", ordinal)
        self.lock = _Current(self._calls, self._context)
        self._events: list[Any] = []  # that nobody waits for
        self._dropped: deque[tuple[str, Any]] = deque()
        with self.lock:
            self._stream = self._calls("cuStreamCreate", cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
            self._pinned = PinnedBuffers(self._calls)
        self.stream = int(self._stream)
        self._products: CublasLt | None = None

    # ---- memory

    def allocate(self, nbytes: int) -> int:
        """Memory on the device, 256-byte aligned."""
        with self.lock:
            try:
                return int(self._calls("cuMemAllocAsync", nbytes, self._stream))
            except MemoryError:
                free, total = self._calls("cuMemGetInfo")
                raise MemoryError(
                    f"{self.device} ({self.name}) has no {nbytes:,} bytes left: {total - free:,} of {total:,} are in "
                    "use. Use smaller batches, or drop arrays that are not needed any more."
                ) from None

    def free(self, address: int) -> None:
        """Give memory back; work queued before may still use it."""
        with self.lock:
            self._calls("cuMemFreeAsync", address, self._stream)

    def upload(self, address: int, source: NDArray) -> None:
        """Copy a C-contiguous array of the host to the device; the array may be changed once this returns."""
        with self.lock:
            for start, piece, nbytes in self._pinned.pieces(source, self._stream):
                self._calls("cuMemcpyHtoDAsync", address + start, piece, nbytes, self._stream)

    def download(self, target: NDArray, address: int) -> None:
        """Copy to a C-contiguous array of the host, after all work queued before; returns when it is there."""
        self.synchronize()
        with self.lock:
            self._calls("cuMemcpyDtoHAsync", target.ctypes.data, address, target.nbytes, self._stream)
            self._calls("cuStreamSynchronize", self._stream)

    def copy(self, target: int, source: int, nbytes: int) -> None:
        """Copy within the device."""
        with self.lock:
            self._calls("cuMemcpyDtoDAsync", target, source, nbytes, self._stream)

    # ---- kernels

    def load(self, ptx: str, names: Sequence[str]) -> dict[str, Any]:
        """The kernels of a module, ready to launch. The module stays loaded while one of them is held."""
        code = cubin(ptx, self.architecture).cubin
        with self.lock:
            self._release_dropped()
            module = _Handle(self._calls("cuModuleLoadData", code), "cuModuleUnload", self._dropped)
            return {
                name: Function(name, self._calls("cuModuleGetFunction", module.handle, name.encode()), module)
                for name in names
            }

    def launch(self, launch: Launch) -> None:
        """Queue a kernel."""
        function: Function = launch.function
        with self.lock:
            if launch.shared_bytes > function.shared_bytes:
                self._allow_shared(function, launch.shared_bytes)
            arguments = _packed(launch.arguments)
            self._calls(
                "cuLaunchKernel", function.handle, launch.blocks, 1, 1, launch.threads, 1, 1, launch.shared_bytes,
                self._stream, arguments.address, 0,
            )  # fmt: skip

    def gemm(self, g: Gemm, a: int, b: int, c: int, bias: int | None = None) -> None:
        """Queue a matrix product over buffers that start at these addresses; ``bias`` is None where it has none."""
        with self.lock:
            if self._products is None:
                workspace = int(self._calls("cuMemAllocAsync", WORKSPACE_BYTES, self._stream))
                self._products = CublasLt(self.stream, workspace)
            self._products.gemm(g, a, b, c, bias)

    def capture(self, work: Callable[[], None]) -> Any:
        """Record what ``work`` queues instead of running it; the result is for `replay`."""
        mode = self._calls.module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self.lock:
            self._release_dropped()
            self._calls("cuStreamBeginCapture", self._stream, mode)
            try:
                work()
            except BaseException:
                status, graph = self._calls.module.cuStreamEndCapture(self._stream)
                if not int(status):
                    self._calls("cuGraphDestroy", graph)
                raise
            graph = self._calls("cuStreamEndCapture", self._stream)
            try:
                return _Handle(self._calls("cuGraphInstantiate", graph, 0), "cuGraphExecDestroy", self._dropped)
            finally:
                self._calls("cuGraphDestroy", graph)

    def replay(self, captured: Any) -> None:
        """Queue all that was captured, as one launch."""
        with self.lock:
            self._calls("cuGraphLaunch", captured.handle, self._stream)

    def synchronize(self) -> None:
        """Wait for all queued work; what went wrong in it is raised here. Others may queue more in the meantime."""
        with self.lock:
            event = self._events.pop() if self._events else self._calls("cuEventCreate", NO_TIMING)
            self._calls("cuEventRecord", event, self._stream)
        self._calls("cuCtxPushCurrent", self._context)
        try:
            self._calls("cuEventSynchronize", event)
        finally:
            self._calls("cuCtxPopCurrent")
        self._events.append(event)

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
        self._calls("cuFuncSetAttribute", function.handle, attribute, nbytes)
        function.shared_bytes = nbytes

    def _release_dropped(self) -> None:
        """Unload modules and destroy captured graphs that nobody holds any more, once they have run."""
        if self._dropped and not sys.is_finalizing():
            self._calls("cuStreamSynchronize", self._stream)
            while self._dropped:
                self._calls(*self._dropped.popleft())


class _Packed:
    """Arguments as the driver reads them: an array of pointers to the values."""

    __slots__ = ("_pointers", "_values", "address")

    def __init__(self, arguments: tuple[int, ...]) -> None:
        count = len(arguments)
        self._values = (ctypes.c_uint64 * count)(*arguments)
        first = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * count)(*[first + 8 * k for k in range(count)])
        self.address = ctypes.addressof(self._pointers)


@lru_cache(maxsize=4096)
def _packed(arguments: tuple[int, ...]) -> _Packed:
    return _Packed(arguments)


def architecture_for(major: int, minor: int, device: str) -> str:
    """The architecture to make code for: of the same generation, and not newer than the GPU.

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
