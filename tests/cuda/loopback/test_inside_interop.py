"""Arrays go to another library on the GPU, and come from it, without a copy: ``cuda.core`` is that library."""

from __future__ import annotations

import cuda.core
import numpy as np
import pytest
from cuda.core.utils import StridedMemoryView

import graphad
import graphad.numpy as gnp
from tests.cuda.loopback.machine import machine


@pytest.fixture
def stream():
    """A stream of the other library."""
    gpu = cuda.core.Device(0)
    gpu.set_current()
    yield gpu.create_stream()
    machine.stack.clear()


@pytest.mark.parametrize("view", [StridedMemoryView.from_dlpack, StridedMemoryView.from_cuda_array_interface])
def test_the_other_library_sees_our_memory(stream, view):
    x = graphad.device_put(np.arange(12, dtype=np.float32).reshape(3, 4), "cuda")
    seen = view(x, int(stream.handle))
    assert seen.ptr == x.memory.address
    assert (seen.shape, seen.dtype, seen.device_id, seen.readonly) == ((3, 4), np.float32, 0, True)


def test_work_on_an_array_has_ended_when_it_is_given_away(stream):
    x = graphad.device_put(np.arange(1000, dtype=np.float32), "cuda")
    y = graphad.jit(lambda x: gnp.cumsum(x * x))(x)
    buffer = cuda.core.Buffer.from_handle(StridedMemoryView.from_dlpack(y, int(stream.handle)).ptr, 4000)
    host = np.zeros(1000, np.float32)
    cuda.core.Buffer.from_handle(host.ctypes.data, 4000).copy_from(buffer, stream=stream)
    stream.sync()
    np.testing.assert_allclose(host, np.cumsum(np.arange(1000.0) ** 2), rtol=1e-5)


def test_we_see_the_memory_of_the_other_library(stream):
    buffer = cuda.core.Device(0).allocate(64, stream=stream)
    host = np.arange(64, dtype=np.int8)
    buffer.copy_from(cuda.core.Buffer.from_handle(host.ctypes.data, 64), stream=stream)
    stream.sync()
    x = gnp.from_dlpack(buffer)
    assert (x.shape, x.dtype, x.device.name) == ((64,), np.int8, "cuda:0")
    assert x.memory.address == int(buffer.handle)
    assert int(gnp.sum(x.astype(np.int32))) == 2016
    held = int(buffer.handle)
    del buffer
    assert x.memory.address == held
    np.testing.assert_array_equal(np.asarray(x), host)


class Foreign:
    """Memory with the protocol of 2018."""

    def __init__(self, buffer, stream):
        self.buffer = buffer
        data = int(buffer.handle), False
        self.__cuda_array_interface__ = {"shape": (8,), "typestr": "<f8", "data": data, "version": 3, "stream": stream}


@pytest.mark.parametrize("on", [None, 1, 2])
def test_a_copy_of_what_has_a_cuda_array_interface(stream, on):
    buffer = cuda.core.Device(0).allocate(64, stream=stream)
    host = np.linspace(0, 1, 8)
    buffer.copy_from(cuda.core.Buffer.from_handle(host.ctypes.data, 64), stream=stream)
    stream.sync()
    x = gnp.asarray(Foreign(buffer, on))
    assert x.memory.address != int(buffer.handle)
    np.testing.assert_array_equal(np.asarray(x), host)


def test_a_stream_that_is_none(stream):
    buffer = cuda.core.Device(0).allocate(64, stream=stream)
    with pytest.raises(ValueError, match="cuda:0: waiting for the stream 0x3039 of another library failed"):
        gnp.asarray(Foreign(buffer, 12345))
