"""The runtimes, alike: memory, kernels, capture. The driver's is run on a stand-in for the driver."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cuda.driver import Driver
from graphad.backends.cuda.emulated import Emulated
from graphad.backends.cuda.runtime import Launch
from graphad.device import Device
from graphad.errors import DeviceError
from tests.cuda.runtime.fake_driver import FakeDriver, fake
from tests.cuda.runtime.modules import ptx


@pytest.fixture(params=["driver", "emulated"])
def runtime(request, monkeypatch):
    if request.param == "emulated":
        yield Emulated()
        return
    runtime, module = fake(monkeypatch)
    yield runtime
    assert module.contexts == [], "the context that was current is current again"


def put(runtime, array):
    address = runtime.allocate(array.nbytes)
    runtime.upload(address, array)
    return address


def got(runtime, address, like):
    result = np.empty_like(like)
    runtime.download(result, address)
    return result


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (70_001,)])
def test_what_is_uploaded_comes_back(runtime, rng, dtype, shape):
    x = (100 * rng.random(shape)).astype(dtype)
    address = put(runtime, np.asarray(x))
    np.testing.assert_array_equal(got(runtime, address, np.asarray(x)), x)


def test_the_source_may_change_after_an_upload(runtime):
    x = np.arange(10.0)
    address = put(runtime, x)
    x[:] = -1
    np.testing.assert_array_equal(got(runtime, address, x), np.arange(10.0))


def test_many_uploads_in_a_row(runtime):
    """More than there are page-locked buffers, and one array in several pieces."""
    arrays = [np.full(1000, k) for k in range(20)] + [np.arange(5 << 20, dtype=np.float64)]
    for x, address in [(x, put(runtime, x)) for x in arrays]:
        np.testing.assert_array_equal(got(runtime, address, x), x)


def test_copy(runtime):
    x = np.arange(100.0)
    source, target = put(runtime, x), runtime.allocate(x.nbytes)
    runtime.copy(target + 8, source, x.nbytes - 8)
    np.testing.assert_array_equal(got(runtime, target + 8, x[:-1]), x[:-1])


def test_addresses_are_aligned(runtime):
    assert [runtime.allocate(n) % 256 for n in (1, 3, 1000)] == [0, 0, 0]


def test_launch(runtime, rng):
    x = rng.random(128, np.float32)
    source, target = put(runtime, x), runtime.allocate(x.nbytes)
    functions = runtime.load(ptx(), ["double_it", "add_one"])
    runtime.launch(Launch(functions["double_it"], 2, 64, 0, (source, target)))
    runtime.launch(Launch(functions["add_one"], 2, 64, 0, (target, source)))
    runtime.free(target)  # what was queued before may still use it
    np.testing.assert_array_equal(got(runtime, source, x), 2 * x + 1)
    runtime.synchronize()


def test_capture_records_and_replay_runs(runtime):
    x = np.arange(64, dtype=np.float32)
    source, target = put(runtime, x), put(runtime, np.zeros_like(x))
    double = runtime.load(ptx(), ["double_it"])["double_it"]

    def work():
        runtime.launch(Launch(double, 1, 64, 0, (source, target)))
        runtime.copy(source, target, x.nbytes)

    captured = runtime.capture(work)
    np.testing.assert_array_equal(got(runtime, source, x), x)
    for factor in (2, 4, 8):
        runtime.replay(captured)
        np.testing.assert_array_equal(got(runtime, source, x), factor * x)


def test_an_error_ends_the_capture(runtime):
    x = np.arange(64, dtype=np.float32)
    source, target = put(runtime, x), put(runtime, x)

    def work():
        runtime.copy(target, source, 8)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        runtime.capture(work)
    runtime.copy(target, source + 128, 128)  # not recorded any more
    np.testing.assert_array_equal(got(runtime, target, x[:32]), x[32:])


def test_nothing_is_waited_for_within_a_capture(monkeypatch):
    runtime, _ = fake(monkeypatch)
    with pytest.raises(DeviceError, match=r"cuda:0: cuEventSynchronize failed with CUDA_ERROR_STREAM_CAPTURE"):
        runtime.capture(runtime.synchronize)


def test_modules_and_graphs_that_nobody_holds_are_given_back(monkeypatch):
    runtime, module = fake(monkeypatch)
    functions = runtime.load(ptx(), ["double_it"])
    x = put(runtime, np.zeros(64, np.float32))
    captured = runtime.capture(lambda: runtime.launch(Launch(functions["double_it"], 1, 64, 0, (x, x))))
    assert len(module.alive) == 2
    runtime.replay(captured)
    functions.clear()
    del captured
    held = runtime.load(ptx(), ["double_it"])  # the next moment at which that does no harm
    assert held
    assert len(module.alive) == 1


def test_dynamic_shared_memory_is_asked_for_once(monkeypatch):
    runtime, module = fake(monkeypatch)
    x = put(runtime, np.zeros(64, np.float32))
    double = runtime.load(ptx(), ["double_it"])["double_it"]
    for nbytes in (1000, 60_000, 50_000, 60_000):
        runtime.launch(Launch(double, 1, 64, nbytes, (x, x)))
    assert module.calls.count("cuFuncSetAttribute") == 1
    assert module.shared_allowed == 60_000


def test_out_of_memory_says_how_much_is_in_use(monkeypatch):
    runtime, _ = fake(monkeypatch, total=10_000)
    runtime.allocate(4_000)
    with pytest.raises(MemoryError, match=r"cuda:0 \(Fake GPU\) has no 7,000 bytes left: 4,000 of 10,000 are in use"):
        runtime.allocate(7_000)


def test_a_gpu_that_is_not_there(monkeypatch):
    fake(monkeypatch)
    with pytest.raises(DeviceError, match=r"cuda:3 is not there: the driver shows one GPU, cuda:0\."):
        Driver(Device("cuda:3"))


def test_an_old_driver(monkeypatch):
    with pytest.raises(DeviceError, match=r"release 580 or later.* supports CUDA 12\.8"):
        fake(monkeypatch, version=12_080)


@pytest.mark.parametrize(
    ("capability", "architecture"), [((7, 5), "sm_75"), ((8, 8), "sm_87"), ((9, 0), "sm_90"), ((12, 1), "sm_121")]
)
def test_architecture_of_a_gpu(monkeypatch, capability, architecture):
    assert fake(monkeypatch, capability=capability)[0].architecture == architecture


def test_a_gpu_for_which_there_is_no_code(monkeypatch):
    with pytest.raises(DeviceError, match=r"compute capability 7\.0, for which no code can be made"):
        fake(monkeypatch, capability=(7, 0))


def test_the_stand_in_has_the_signatures_of_the_driver():
    real = pytest.importorskip("cuda.bindings.driver")
    for name, method in vars(FakeDriver).items():
        if name.startswith("cu"):
            signature = getattr(real, name).__doc__.split("\n")[0]
            inside = signature[signature.index("(") + 1 : signature.rindex(")")]
            depth, count = 0, 1 if inside else 0
            for letter in inside:
                depth += (letter == "[") - (letter == "]")
                count += letter == "," and not depth
            assert method.__code__.co_argcount - 1 == count, signature


def test_watching_the_emulated_device():
    runtime = Emulated()
    x = put(runtime, np.zeros(64, np.float32))
    out = runtime.allocate(256)
    launch = Launch(runtime.load(ptx(), ["double_it"])["double_it"], 1, 64, 0, (x, out))
    with runtime.watch() as seen:
        runtime.launch(launch)
    runtime.launch(launch)
    ((name, report),) = seen
    assert (name, report.distinct_read_bytes, report.distinct_written_bytes) == ("double_it", 256, 256)
