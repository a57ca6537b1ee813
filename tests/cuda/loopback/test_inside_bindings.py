"""The stand-in is as strict as NVIDIA's driver: seen through ``cuda.bindings``, which knows no other."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from cuda.bindings import driver

from tests.cuda.loopback.kernels import image
from tests.cuda.loopback.machine import machine
from tests.cuda.runtime.modules import ptx

THREAD_LOCAL = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


def status(result):
    return result[0].name.removeprefix("CUDA_ERROR_")


def value(result):
    assert result[0] == 0, result[0]
    return result[1]


@pytest.fixture
def context():
    context = value(driver.cuDevicePrimaryCtxRetain(0))
    driver.cuCtxPushCurrent(context)
    yield context
    machine.gpus[0].dead = 0
    driver.cuCtxPopCurrent()


@pytest.fixture
def stream(context):
    stream = value(driver.cuStreamCreate(1))
    yield stream
    if machine.find(int(stream), object).capture is not None:
        driver.cuStreamEndCapture(stream)
    machine.gpus[0].dead = 0
    driver.cuStreamDestroy(stream)


def test_without_a_context():
    assert status(driver.cuStreamCreate(1)) == "INVALID_CONTEXT"
    assert status(driver.cuMemAllocAsync(8, 0)) == "INVALID_CONTEXT"
    assert status(driver.cuCtxPopCurrent()) == "INVALID_CONTEXT"


def test_handles_that_are_none(context, stream):
    assert status(driver.cuStreamSynchronize(driver.CUstream(12345))) == "INVALID_HANDLE"
    assert status(driver.cuEventRecord(driver.CUevent(int(stream)), stream)) == "INVALID_HANDLE"
    event = value(driver.cuEventCreate(0))
    assert driver.cuEventDestroy(event) == (0,)
    assert status(driver.cuEventDestroy(event)) == "INVALID_HANDLE"
    assert status(driver.cuDeviceGet(1)) == "INVALID_DEVICE"


def test_memory(stream):
    address = value(driver.cuMemAllocAsync(64, stream))
    host = np.arange(64, dtype=np.uint8)
    copy = driver.cuMemcpyHtoDAsync
    assert status(copy(int(address) + 32, host.ctypes.data, 64, stream)) == "INVALID_VALUE"
    assert copy(address, host.ctypes.data, 64, stream) == (0,)
    host[:] = 0  # it is not page-locked: it has been read
    back = np.zeros(64, np.uint8)
    assert driver.cuMemcpyDtoHAsync(back.ctypes.data, address, 64, stream) == (0,)
    np.testing.assert_array_equal(back, np.arange(64))
    assert driver.cuMemFreeAsync(address, stream) == (0,)
    assert status(copy(address, host.ctypes.data, 64, stream)) == "INVALID_VALUE"
    assert status(driver.cuMemFreeAsync(address, stream)) == "INVALID_VALUE"


def test_page_locked_memory_is_read_late(stream):
    address, pinned = value(driver.cuMemAllocAsync(8, stream)), value(driver.cuMemHostAlloc(8, 0))
    cell = ctypes.c_uint64.from_address(int(pinned))
    cell.value = 1
    driver.cuMemcpyHtoDAsync(address, pinned, 8, stream)
    cell.value = 2  # too early
    back = np.zeros(1, np.uint64)
    driver.cuMemcpyDtoHAsync(back.ctypes.data, address, 8, stream)
    assert back[0] == 2
    assert driver.cuMemFreeHost(pinned) == (0,)


def test_recordings(stream):
    assert status(driver.cuStreamBeginCapture(driver.CUstream(0), THREAD_LOCAL)) == "STREAM_CAPTURE_UNSUPPORTED"
    assert status(driver.cuStreamEndCapture(stream)) == "INVALID_VALUE"
    for forbidden in (
        lambda: driver.cuStreamSynchronize(stream),
        lambda: driver.cuMemAlloc(8),
        lambda: driver.cuMemHostAlloc(8, 0),
        lambda: driver.cuModuleLoadData(image(ptx(), "sm_90")),
    ):
        assert driver.cuStreamBeginCapture(stream, THREAD_LOCAL) == (0,)
        assert status(forbidden()) == "STREAM_CAPTURE_UNSUPPORTED"
        assert status(driver.cuStreamEndCapture(stream)) == "STREAM_CAPTURE_INVALIDATED"


def test_machine_code(context):
    assert status(driver.cuModuleLoadData(b"x" * 64)) == "INVALID_IMAGE"
    assert status(driver.cuModuleLoadData(image(ptx(), "sm_100"))) == "NO_BINARY_FOR_GPU"
    module = value(driver.cuModuleLoadData(image(ptx("sm_80"), "sm_90")))
    assert status(driver.cuModuleGetFunction(module, b"nothing")) == "NOT_FOUND"
    assert driver.cuModuleUnload(module) == (0,)
    assert status(driver.cuModuleGetFunction(module, b"double_it")) == "INVALID_HANDLE"


def launch(function, stream, blocks, threads, shared, *arguments):
    values = (ctypes.c_uint64 * len(arguments))(*arguments)
    pointers = (ctypes.c_void_p * len(arguments))(*[ctypes.addressof(values) + 8 * k for k in range(len(arguments))])
    return driver.cuLaunchKernel(
        function, blocks, 1, 1, threads, 1, 1, shared, stream, ctypes.addressof(pointers), 0
    )  # fmt: skip


def test_launches(stream):
    module = value(driver.cuModuleLoadData(image(ptx(), "sm_90")))
    function = value(driver.cuModuleGetFunction(module, b"double_it"))
    x, y = [int(value(driver.cuMemAllocAsync(256, stream))) for _ in range(2)]
    assert status(launch(function, stream, 0, 64, 0, x, y)) == "INVALID_VALUE"
    assert status(launch(function, stream, 1, 64, 50_000, x, y)) == "INVALID_VALUE"
    assert launch(function, stream, 2, 64, 0, x, y) == (0,), "what it does wrong is known later"
    assert status(driver.cuStreamSynchronize(stream)) == "ILLEGAL_ADDRESS"
    assert status(driver.cuMemAllocAsync(8, stream)) == "ILLEGAL_ADDRESS", "and from then on"


def test_a_kernel_on_memory_that_has_been_freed(stream):
    module = value(driver.cuModuleLoadData(image(ptx(), "sm_90")))
    function = value(driver.cuModuleGetFunction(module, b"double_it"))
    x, y = [int(value(driver.cuMemAllocAsync(256, stream))) for _ in range(2)]
    assert launch(function, stream, 1, 64, 0, x, y) == (0,)
    assert driver.cuMemFreeAsync(y, stream) == (0,)
    assert driver.cuStreamSynchronize(stream) == (0,), "it was freed behind the launch"
    assert launch(function, stream, 1, 64, 0, x, y) == (0,)
    assert status(driver.cuStreamSynchronize(stream)) == "ILLEGAL_ADDRESS"
