"""Memory shared with other libraries: capsules, checked against NumPy's, and what arrays on a GPU say and take."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api import foreign
from graphad.backends.cuda.runtime.allocator import BorrowedMemory
from graphad.device import parse
from graphad.ir.types import aval, dtype_of
from graphad.trace import dlpack
from graphad.trace.device_array import DeviceArray
from tests.thinned import every

CPU, GPU = (1, 0), (dlpack.KDL_CUDA, 1)
ARRAYS = [
    np.arange(6.0).reshape(2, 3),
    np.float32(3)[None][0:1].reshape(()),
    np.zeros((0, 3), np.int8),
    np.array([True, False]),
    np.arange(5, dtype=np.uint32),
    np.ones((2, 1, 3), np.float16),
]


class Producer:
    """Hands out one capsule."""

    def __init__(self, capsule, device):
        self.capsule, self.device, self.asked = capsule, device, []

    def __dlpack__(self, **options):
        self.asked.append(options)
        return self.capsule

    def __dlpack_device__(self):
        return self.device


def capsule_of(x, device=CPU, owner=None, versioned=True):
    return dlpack.capsule(x.ctypes.data, device, dtype_of(x.dtype), x.shape, owner or x, versioned=versioned)


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("x", ARRAYS, ids=lambda x: f"{x.dtype}{list(x.shape)}")
def test_numpy_reads_our_capsules(x, versioned):
    got = np.from_dlpack(Producer(capsule_of(x, versioned=versioned), CPU))
    assert got.dtype == x.dtype
    assert got.ctypes.data == x.ctypes.data or not x.size
    np.testing.assert_array_equal(got, x)
    assert not got.flags.writeable


@pytest.mark.parametrize("options", [{}, {"max_version": (1, 0)}], ids=["0.8", "1.0"])
@pytest.mark.parametrize("x", [*ARRAYS, np.arange(6.0)[::2], np.ones((2, 3)).T, np.ones((1, 4))[:, :4]], ids=str)
def test_we_read_capsules_of_numpy(x, options):
    tensor = dlpack.take(x.__dlpack__(**options))
    assert (tensor.shape, tensor.dtype, tensor.device) == (x.shape, dtype_of(x.dtype), CPU)
    assert tensor.contiguous == x.flags.c_contiguous
    assert tensor.address == x.ctypes.data or not x.size
    assert tensor.nbytes == x.nbytes


class Owner:
    pass


@pytest.mark.parametrize("versioned", every(2, [True, False]))
@pytest.mark.parametrize("taken", [False, True], ids=["dropped", "taken"])
def test_the_owner_lives_as_long_as_it_is_looked_at(versioned, taken):
    owner, x = Owner(), np.ones(3)
    gone = weakref.ref(owner)
    capsule = capsule_of(x, owner=owner, versioned=versioned)
    del owner
    gc.collect()
    assert gone() is not None
    if taken:
        tensor = dlpack.take(capsule)
        with pytest.raises(BufferError, match="used before"):
            dlpack.take(capsule)
        del capsule
        gc.collect()
        assert gone() is not None
        del tensor
    else:
        del capsule
    gc.collect()
    assert gone() is None


def test_bfloat16_and_places():
    x = gnp.ones(3, "bfloat16")._value
    tensor = dlpack.take(capsule_of(np.ascontiguousarray(x), GPU))
    assert (tensor.dtype.name, tensor.device) == ("bf16", GPU)


def test_what_has_no_dtype_of_ours():
    with pytest.raises(BufferError, match="type code 5, 128 bits"):
        dlpack.take(np.ones(2, complex).__dlpack__())
    with pytest.raises(BufferError, match="no DLPack capsule"):
        dlpack.take(object())


# ---- a GPU of the host's memory: enough for what the protocols say


class Host:
    """Memory, and the runtime, of the GPU ``cuda:1``, which is the host."""

    device = parse("cuda:1")
    dlpack_device = GPU
    stream = 1234

    def __init__(self, array=None):
        self.array = array
        self.waited = self.lent = 0
        self.streams = []

    @property
    def address(self):
        return self.array.ctypes.data

    @property
    def nbytes(self):
        return self.array.nbytes

    @property
    def runtime(self):
        return self

    def allocate(self, nbytes):
        return Host(np.zeros(nbytes, np.uint8))

    def borrow(self, address, nbytes, owner):
        return BorrowedMemory(self, address, nbytes, owner)

    def wait_for(self, stream):
        self.streams.append(stream)

    def copy(self, target, source, nbytes):
        ctypes.memmove(target, source, nbytes)

    def synchronize(self):
        self.waited += 1

    def lend(self):
        self.lent += 1

    def download(self, target, address=None):
        size = target.nbytes
        ctypes.memmove(target.ctypes.data, self.address if address is None else address, size)


@pytest.fixture
def host(monkeypatch):
    host = Host()
    monkeypatch.setattr(foreign, "memory_on", lambda device: host)
    return host


def on_gpu(x):
    return DeviceArray(Host(x), aval(x.shape, dtype_of(x.dtype)))


@pytest.mark.parametrize("version", every(3, [None, (0, 8), (1, 0), (1, 3)]))
def test_export(version):
    x = np.arange(6.0).reshape(2, 3)
    array = on_gpu(x)
    assert array.__dlpack_device__() == GPU
    tensor = dlpack.take(array.__dlpack__(stream=1, max_version=version, dl_device=GPU))
    assert (tensor.address, tensor.device, tensor.shape) == (x.ctypes.data, GPU, (2, 3))
    assert array.memory.waited == 1
    array.__dlpack__(stream=-1)
    assert (array.memory.waited, array.memory.lent) == (1, 2)
    memory = weakref.ref(array.memory)
    array.delete()
    gc.collect()
    assert memory() is not None
    del tensor
    gc.collect()
    assert memory() is None


def test_export_to_the_cpu_is_a_copy():
    array = on_gpu(np.arange(3.0))
    np.testing.assert_array_equal(np.from_dlpack(array, device="cpu"), np.arange(3.0))
    with pytest.raises(BufferError, match=r"copy=False.*on cuda:1, not on the CPU"):
        array.__dlpack__(dl_device=CPU, copy=False)
    with pytest.raises(BufferError, match="is on cuda:1, and is not copied to"):
        array.__dlpack__(dl_device=(2, 5))


def test_the_interface():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    array = on_gpu(x)
    assert array.__cuda_array_interface__ == {
        "shape": (2, 3), "typestr": "<f4", "data": (x.ctypes.data, True), "version": 3, "stream": None,
    }  # fmt: skip
    assert array.memory.waited == array.memory.lent == 1
    assert on_gpu(np.zeros((0, 2))).__cuda_array_interface__["data"] == (0, True)
    assert not hasattr(on_gpu(np.ascontiguousarray(gnp.ones(2, "bfloat16")._value)), "__cuda_array_interface__")
    assert not hasattr(gnp.ones(2), "__cuda_array_interface__")


def test_import_shares_memory(host):
    x = np.arange(6.0).reshape(2, 3)
    owner = Owner()
    gone = weakref.ref(owner)
    producer = Producer(capsule_of(x, GPU, owner), GPU)
    array = gnp.from_dlpack(producer)
    assert type(array) is DeviceArray
    assert (array.shape, array.dtype, array.memory.address) == ((2, 3), np.float64, x.ctypes.data)
    assert producer.asked == [{"stream": Host.stream, "max_version": (1, 0)}]
    np.testing.assert_array_equal(array, x)
    del owner, producer
    gc.collect()
    assert gone() is not None
    array.delete()
    gc.collect()
    assert gone() is None


def test_import_from_before_dlpack_1(host):
    class Old(Producer):
        def __dlpack__(self, stream=None):
            self.asked.append(stream)
            return self.capsule

    old = Old(capsule_of(np.arange(3.0), GPU, versioned=False), GPU)
    np.testing.assert_array_equal(gnp.from_dlpack(old), np.arange(3.0))
    assert old.asked == [Host.stream]


def test_import_refuses_gaps(host):
    spread = np.ones((3, 2)).T
    tensor = dlpack.take(spread.__dlpack__())
    assert not tensor.contiguous
    with pytest.raises(ValueError, match=r"^test_dlpack\.py:\d+: from_dlpack: f64\[2,3\].*x\.contiguous\(\)"):
        gnp.from_dlpack(Producer(spread.__dlpack__(), GPU))


def test_unaligned_memory_is_copied(host):
    x = np.arange(9, dtype=np.float32)[1:]
    x = x if x.ctypes.data % 16 else np.arange(9, dtype=np.float32)[2:]
    array = gnp.from_dlpack(Producer(capsule_of(x, GPU), GPU))
    assert array.memory.address != x.ctypes.data
    np.testing.assert_array_equal(array, x)
    with pytest.raises(ValueError, match="begins at no multiple of 16 bytes"):
        gnp.from_dlpack(Producer(capsule_of(x, GPU), GPU), copy=False)


def test_the_owner_gets_memory_back_when_work_on_it_has_ended(host):
    array = gnp.from_dlpack(Producer(capsule_of(np.zeros(2), GPU), GPU), copy=False)
    assert not host.waited
    array.delete()
    gc.collect()
    assert host.waited == 1


def test_asarray_copies(host, monkeypatch):
    x = np.arange(3.0)
    copied = gnp.asarray(Producer(capsule_of(x, GPU), GPU))
    assert copied.memory.address != x.ctypes.data
    np.testing.assert_array_equal(copied, x)

    class Interface:
        def __init__(self, **changes):
            self.__cuda_array_interface__ = {**x.__array_interface__, "version": 3, **changes}

    waited = host.streams
    monkeypatch.setattr(foreign, "_device_of", lambda address: parse("cuda:1"))
    interface = Interface(strides=(8,))
    for array in (gnp.asarray(interface), gnp.array(interface)):
        assert array.memory.address != x.ctypes.data
        np.testing.assert_array_equal(array, x)
    assert waited == []
    with pytest.raises(TypeError, match=r"has no __dlpack__ method\. graphad\.numpy\.asarray copies it"):
        gnp.from_dlpack(interface)
    for changes, expected in (({"version": 2}, [1]), ({"stream": 77}, [1, 77])):
        foreign.copied(Interface(**changes))
        assert waited == expected
    for changes in ({"strides": (16,)}, {"shape": (3, 1), "strides": (16, 8)}):
        with pytest.raises(ValueError, match=r"cupy\.ascontiguousarray"):
            foreign.copied(Interface(**changes))
    with pytest.raises(TypeError, match="with a mask"):
        foreign.copied(Interface(mask=x))


# ---- the devices there are


def test_the_emulated_device_shares_nothing():
    x = graphad.device_put(np.arange(3.0), "cuda:emulated")
    with pytest.raises(BufferError, match=r"^test_dlpack\.py:\d+: .*the emulator's own.*np\.asarray\(x\)"):
        x.__dlpack__()
    with pytest.raises(BufferError, match="emulator's own"):
        np.from_dlpack(x)
    assert x.__dlpack_device__() == (12, 0)  # an extension: no place that others know
    assert not hasattr(x, "__cuda_array_interface__")
    for copy in (None, True):
        np.testing.assert_array_equal(np.from_dlpack(x, device="cpu", copy=copy), np.arange(3.0))
    with pytest.raises(BufferError, match="not on the CPU"):
        np.from_dlpack(x, device="cpu", copy=False)


def test_from_dlpack_of_our_own(device):
    x = graphad.device_put(np.arange(3.0), device)
    y, z = gnp.from_dlpack(x), gnp.from_dlpack(x, copy=True)
    assert y.device == z.device == x.device
    np.testing.assert_array_equal(z, x)
    if device != "cpu":
        assert y is x
        assert z.memory.address != x.memory.address
    assert gnp.from_dlpack(np.arange(3.0), device=device).device.name == device
    assert gnp.from_dlpack(x, device="cpu").device.name == "cpu"


@pytest.mark.skipif("cuda:0" not in [d.name for d in graphad.devices()], reason="there is no GPU")
def test_pytorch():
    torch = pytest.importorskip("torch")
    x = graphad.device_put(np.arange(6.0, dtype=np.float32).reshape(2, 3), "cuda")
    there = torch.from_dlpack(x)
    assert there.data_ptr() == x.memory.address
    assert (there * 2).sum().item() == 30
    y = gnp.from_dlpack(there * 3)
    assert y.device.name == "cuda:0"
    np.testing.assert_array_equal(y, np.arange(6.0).reshape(2, 3) * 3)
    np.testing.assert_array_equal(gnp.asarray(there + 1), np.arange(6.0).reshape(2, 3) + 1)
