"""A stand-in for the module ``cuda.bindings.driver``: the calls that are used, over the emulator's memory.

It is stricter than a driver: work that is queued may be done at any time until the stream is waited for, so it is done
as late as that; what is freed or overwritten too early is then seen.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
from types import SimpleNamespace

import numpy as np

from graphad.backends.cuda import driver as driver_module
from graphad.backends.cuda import emulator, toolkit
from graphad.backends.cuda.assemble import Assembled
from graphad.backends.cuda.driver import Driver
from graphad.backends.cuda.program import FusedGemm
from graphad.device import Device

OK = 0
OUT_OF_MEMORY, INVALID_VALUE, INVALID_CONTEXT, NOT_CAPTURABLE = 2, 1, 201, 900


class Status(enum.IntEnum):
    CUDA_ERROR_INVALID_VALUE = INVALID_VALUE
    CUDA_ERROR_OUT_OF_MEMORY = OUT_OF_MEMORY
    CUDA_ERROR_INVALID_CONTEXT = INVALID_CONTEXT
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = NOT_CAPTURABLE


class FakeDriver:
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR="major", CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR="minor"
    )
    CUstream_flags = SimpleNamespace(CU_STREAM_NON_BLOCKING=1)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    CONTEXT, STREAM = 77, 88

    def __init__(self, *, capability=(9, 0), version=13_000, total=1 << 30):
        self.capability, self.version, self.total = capability, version, total
        self.memory = emulator.Memory()
        self.sizes = {}
        self.contexts = []
        self.queue = []
        self.capturing = None
        self.calls = []
        self.alive = {}  # modules and graphs by handle
        self.pinned = {}
        self.numbers = itertools.count(1)

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name.startswith("cu") and callable(found):
            self.calls.append(name)
        return found

    # ---- what needs no context

    def cuDriverGetVersion(self):
        return OK, self.version

    def cuDeviceGet(self, ordinal):
        return OK, ordinal

    def cuDeviceGetAttribute(self, attrib, dev):
        return OK, self.capability[attrib == "minor"]

    def cuDeviceGetName(self, length, dev):
        return OK, b"Fake GPU".ljust(length, b"\0")

    def cuDevicePrimaryCtxRetain(self, dev):
        return OK, self.CONTEXT

    def cuCtxPushCurrent(self, ctx):
        self.contexts.append(ctx)
        return (OK,)

    def cuCtxPopCurrent(self):
        return OK, self.contexts.pop()

    def cuGetErrorName(self, error):
        return OK, Status(error).name.encode()

    def cuGetErrorString(self, error):
        return OK, Status(error).name.lower().encode()

    # ---- memory

    def cuStreamCreate(self, Flags):
        return self._status(), self.STREAM

    def cuMemAllocAsync(self, bytesize, hStream):
        if sum(self.sizes.values()) + bytesize > self.total:
            return OUT_OF_MEMORY, None
        address = self.memory.allocate(bytesize)
        self.sizes[address] = bytesize
        return self._status(capturable=False), address

    def cuMemFreeAsync(self, dptr, hStream):
        del self.sizes[dptr]
        return (self._enqueue(lambda: self.memory.free(dptr), capturable=False),)

    def cuMemGetInfo(self):
        return self._status(), self.total - sum(self.sizes.values()), self.total

    def cuMemHostAlloc(self, bytesize, Flags):
        buffer = ctypes.create_string_buffer(bytesize)
        self.pinned[ctypes.addressof(buffer)] = buffer
        return self._status(capturable=False), ctypes.addressof(buffer)

    def cuMemcpyHtoDAsync(self, dstDevice, srcHost, ByteCount, hStream):
        assert any(0 <= srcHost - start < len(b) for start, b in self.pinned.items()), "not page-locked"
        source = np.frombuffer((ctypes.c_uint8 * ByteCount).from_address(srcHost), np.uint8)
        return (self._enqueue(lambda: self._put(dstDevice, source), capturable=False),)

    def cuMemcpyDtoHAsync(self, dstHost, srcDevice, ByteCount, hStream):
        target = (ctypes.c_uint8 * ByteCount).from_address(dstHost)

        def copy():
            target[:] = self.memory.view(srcDevice, ByteCount, read_only=True).tobytes()

        return (self._enqueue(copy, capturable=False),)

    def cuMemcpyDtoDAsync(self, dstDevice, srcDevice, ByteCount, hStream):
        return (self._enqueue(lambda: self._put(dstDevice, self.memory.view(srcDevice, ByteCount, read_only=True))),)

    def cuStreamSynchronize(self, hStream):
        status = self._status(capturable=False)
        self._drain()
        return (status,)

    def cuEventCreate(self, Flags):
        return self._status(), next(self.numbers)

    def cuEventRecord(self, hEvent, hStream):
        return (self._status(),)

    def cuEventSynchronize(self, hEvent):
        self._drain()
        return (self._status(capturable=False),)

    # ---- kernels

    def cuModuleLoadData(self, image):
        assert isinstance(image, bytes)
        handle = next(self.numbers)
        self.alive[handle] = emulator.Module(image.decode())
        return self._status(capturable=False), handle

    def cuModuleUnload(self, hmod):
        assert not self.queue, "unloaded while kernels may run"
        del self.alive[hmod]
        return (self._status(),)

    def cuModuleGetFunction(self, hmod, name):
        return self._status(), (hmod, name.decode())

    def cuFuncSetAttribute(self, hfunc, attrib, value):
        self.shared_allowed = value
        return (self._status(),)

    def cuLaunchKernel(
        self, f, gridDimX, gridDimY, gridDimZ, blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams,
        extra,
    ):  # fmt: skip
        module, name = f
        kernel = self.alive[module].kernels[name]
        count = len(kernel.parameters)
        pointers = (ctypes.c_void_p * count).from_address(kernelParams) if count else []
        arguments = tuple([ctypes.c_uint64.from_address(p).value for p in pointers])
        grid, block = (gridDimX, gridDimY, gridDimZ), (blockDimX, blockDimY, blockDimZ)
        work = lambda: emulator.launch(kernel, self.memory, grid, block, sharedMemBytes, arguments)
        return (self._enqueue(work),)

    # ---- captured graphs

    def cuStreamBeginCapture(self, hStream, mode):
        self.capturing = []
        return (self._status(),)

    def cuStreamEndCapture(self, hStream):
        handle = next(self.numbers)
        self.alive[handle], self.capturing = self.capturing, None
        return self._status(), handle

    def cuGraphInstantiate(self, hGraph, flags):
        handle = next(self.numbers)
        self.alive[handle] = self.alive[hGraph]
        return self._status(), handle

    def cuGraphDestroy(self, hGraph):
        del self.alive[hGraph]
        return (self._status(),)

    def cuGraphLaunch(self, hGraphExec, hStream):
        for work in self.alive[hGraphExec]:
            self._enqueue(work)
        return (self._status(),)

    def cuGraphExecDestroy(self, hGraphExec):
        del self.alive[hGraphExec]
        return (self._status(),)

    # ---- inside

    def _status(self, *, capturable=True):
        if self.contexts[-1:] != [self.CONTEXT]:
            return INVALID_CONTEXT
        return NOT_CAPTURABLE if self.capturing is not None and not capturable else OK

    def _enqueue(self, work, *, capturable=True):
        status = self._status(capturable=capturable)
        if status == OK:
            (self.queue if self.capturing is None else self.capturing).append(work)
        return status

    def _drain(self):
        while self.queue:
            self.queue.pop(0)()

    def _put(self, address, data):
        self.memory.view(address, len(data))[:] = data


class FakeProducts:
    """A stand-in for cuBLASLt on a stand-in for the driver."""

    def __init__(self, module):
        self.module = module
        self.count = 0

    def gemm(self, g, a, b, c, bias=None):
        self.count += 1

        def work():
            whole = [self._all(address) for address in (a, b, c)]
            for k in range(g.batch):
                x, y, z = [
                    self._view(buffer.view(g.dtype.numpy), matrix, rows, columns, k * step)
                    for buffer, matrix, rows, columns, step in zip(
                        whole,
                        (g.a, g.b, g.c),
                        (g.m, g.k, g.m),
                        (g.k, g.n, g.n),
                        (g.a_step, g.b_step, g.c_step),
                        strict=True,
                    )
                ]
                z[:] = g.alpha * (x @ y) + (g.beta * z if g.beta else 0)
                if bias is not None:
                    z += self._all(bias).view(g.dtype.numpy)[g.bias_offset :][: g.n]
                if isinstance(g, FusedGemm) and g.relu:
                    z[:] = np.fmax(z, 0)  # as a device may that does not keep nan

        assert self.module._enqueue(work) == OK

    def _all(self, address):
        found = self.module.memory.find(address)
        return self.module.memory.view(address, (found.end - address) // 8 * 8)

    def _view(self, buffer, matrix, rows, columns, start):
        if matrix.transposed:
            rows, columns = columns, rows
        step = buffer.itemsize
        strides = matrix.row_stride * step, step
        seen = np.lib.stride_tricks.as_strided(buffer[matrix.offset + start :], (rows, columns), strides)
        return seen.T if matrix.transposed else seen


def fake(monkeypatch, **options):
    """A driver runtime and the stand-in below it; its machine code is PTX."""
    module = FakeDriver(**options)
    monkeypatch.setattr(toolkit, "driver", lambda: module)
    monkeypatch.setattr(toolkit, "gpu_count", lambda: 1)
    monkeypatch.setattr(driver_module, "cubin", lambda text, arch: Assembled(text.encode(), arch, (), ""))
    runtime = Driver(Device("cuda:0"))
    runtime._products = FakeProducts(module)
    return runtime, module
