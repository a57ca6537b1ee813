"""The runtimes, alike: memory, kernels, capture. The driver's where there is a GPU, be it on the loopback."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.backends.cuda.runtime.nvidia.driver import architecture_for
from graphad.backends.cuda.runtime.runtime import Launch
from graphad.errors import DeviceError
from tests.cuda.runtime.modules import ptx
from tests.cuda.runtime.runtimes import RUNTIMES, got, put


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    return RUNTIMES[request.param]()


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


@pytest.mark.parametrize(
    ("capability", "architecture"), [((7, 5), "sm_75"), ((8, 8), "sm_87"), ((9, 0), "sm_90"), ((12, 1), "sm_121")]
)
def test_architecture_of_a_gpu(capability, architecture):
    assert architecture_for(*capability, "cuda:0") == architecture


def test_a_gpu_for_which_there_is_no_code():
    with pytest.raises(DeviceError, match=r"compute capability 7\.0, for which no code can be made"):
        architecture_for(7, 0, "cuda:0")


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
