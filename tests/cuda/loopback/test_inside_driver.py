"""The driver's runtime on the loopback: what it asks of the driver, in which state it leaves it, and what goes wrong.

That it computes the right thing is shown by the tests for all devices.
"""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cuda.bindings import driver as bindings

import graphad
import graphad.numpy as gnp
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.assemble import Assembled
from graphad.backends.cuda.ptx.cubins import cubin
from graphad.backends.cuda.runtime.nvidia import driver
from graphad.backends.cuda.runtime.nvidia.driver import Driver
from graphad.backends.cuda.runtime.runtime import Launch
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.device import Device
from graphad.errors import DeviceError
from graphad.train import fit, make_step
from tests.cuda.loopback import kernels
from tests.cuda.loopback.machine import Graph, Module, Stream, machine
from tests.cuda.programs import mlp, programs
from tests.cuda.runtime.modules import ptx
from tests.cuda.runtime.runtimes import got, put
from tests.train.problems import bits, net_data, net_loss_with_dropout, net_params

GPU = Device("cuda:0")


@pytest.fixture
def runtime():
    """A runtime for this test alone; afterwards the GPU is as good as new."""
    (gpu,) = machine.gpus
    total = gpu.total
    yield Driver(GPU)
    gpu.total, gpu.dead = total, 0
    for stream in machine.alive(Stream):
        stream.queue.clear()


def calls_of(act):
    """Names of the calls of the driver."""
    machine.calls.clear()
    act()
    return list(machine.calls)


# ---- what is asked of the driver


def test_the_device_is_what_the_driver_says():
    runtime = Driver(GPU)
    assert (runtime.name, runtime.architecture) == ("Loopback GPU 0", "sm_90")
    assert GPU in graphad.devices()


def test_a_launch_is_one_call(runtime):
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    double = runtime.load(ptx(), ["double_it"])["double_it"]
    calls = calls_of(lambda: runtime.launch(Launch(double, 1, 64, 0, (x, y))))
    assert calls == ["cuCtxPushCurrent", "cuLaunchKernelEx", "cuCtxPopCurrent"]


def test_calls_that_belong_together_make_the_context_current_once(runtime):
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    double = runtime.load(ptx(), ["double_it"])["double_it"]

    def act():
        with runtime.lock:
            runtime.launch(Launch(double, 1, 64, 0, (x, y)))
            runtime.copy(x, x + 128, 128)

    assert calls_of(act) == ["cuCtxPushCurrent", "cuLaunchKernelEx", "cuMemcpyAsync", "cuCtxPopCurrent"]


def test_the_context_of_others_stays_current(runtime):
    _, context = bindings.cuDevicePrimaryCtxRetain(0)
    bindings.cuCtxPushCurrent(context)
    try:
        got(runtime, put(runtime, np.zeros(3)), np.zeros(3))
        assert machine.stack == [int(context)]
    finally:
        bindings.cuCtxPopCurrent()


def test_a_small_array_waits_for_nothing(runtime):
    x = np.zeros(1000)
    address = put(runtime, x)
    calls = calls_of(lambda: runtime.upload(address, x))
    assert not [name for name in calls if "Synchronize" in name]


def test_dynamic_shared_memory_is_asked_for_once(runtime):
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    double = runtime.load(ptx(), ["double_it"])["double_it"]

    def act():
        for nbytes in (1000, 60_000, 50_000, 60_000):
            runtime.launch(Launch(double, 1, 64, nbytes, (x, y)))

    assert calls_of(act).count("cuKernelSetAttribute") == 1
    assert machine.find(int(double.kernel.handle), object).shared_bytes == 60_000


def test_modules_and_graphs_that_nobody_holds_are_given_back(runtime):
    gc.collect()
    before = len(machine.alive(Module)), len(machine.alive(Graph))
    functions = runtime.load(ptx(), ["double_it"])
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    captured = runtime.capture(lambda: runtime.launch(Launch(functions["double_it"], 1, 64, 0, (x, y))))
    assert (len(machine.alive(Module)), len(machine.alive(Graph))) == (before[0] + 1, before[1] + 1)
    runtime.replay(captured)
    functions.clear()
    del captured
    assert machine.alive(Graph), "they may be running"
    held = runtime.load(ptx(), ["double_it"])  # the next moment at which that does no harm
    assert held
    assert (len(machine.alive(Module)), len(machine.alive(Graph))) == (before[0] + 1, before[1])
    runtime.synchronize()


def test_freed_memory_goes_back_to_the_system(runtime):
    (gpu,) = machine.gpus
    before = gpu.used
    addresses = [runtime.allocate(1 << 20) for _ in range(3)]
    assert gpu.used == before + (3 << 20)
    for address in addresses:
        runtime.free(address)
    assert gpu.used == before


def test_machine_code_of_the_real_assembler(runtime, monkeypatch):
    try:
        toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("the assembler is not installed")

    def assembled(text, architecture):
        made = cubin(text, architecture)
        kernels.ASSEMBLED[made.cubin] = text, architecture
        return made

    monkeypatch.setattr(driver, "cubin", assembled)
    x = np.arange(64, dtype=np.float32)
    source, target = put(runtime, x), runtime.allocate(x.nbytes)
    runtime.launch(Launch(runtime.load(ptx(), ["double_it"])["double_it"], 1, 64, 0, (source, target)))
    np.testing.assert_array_equal(got(runtime, target, x), 2 * x)
    assert kernels.ASSEMBLED


def test_machine_code_that_the_driver_refuses_is_made_anew(runtime, monkeypatch):
    """What was kept of an earlier run may be of no use to this driver; what is made anew and as bad is an error."""
    kept = Assembled(b"no machine code" * 8, runtime.architecture, (), "")
    anew = Assembled(kernels.image(ptx(), runtime.architecture), runtime.architecture, (), "")
    monkeypatch.setattr(driver, "cubin", lambda text, architecture: kept)
    made = []
    monkeypatch.setattr(driver, "reassembled", lambda *asked: made.append(asked) or anew)
    assert list(runtime.load(ptx(), ["double_it"])) == ["double_it"]
    assert made == [(ptx(), runtime.architecture)]
    monkeypatch.setattr(driver, "reassembled", lambda *asked: kept)
    with pytest.raises(DeviceError, match="CUDA_ERROR_INVALID_IMAGE"):
        runtime.load(ptx(), ["double_it"])


# ---- what goes wrong


def test_a_gpu_that_is_not_there():
    with pytest.raises(DeviceError, match=r"cuda:3 is not there: the driver shows one GPU, cuda:0\."):
        Driver(Device("cuda:3"))


def test_an_old_driver(monkeypatch):
    monkeypatch.setattr(machine, "version", 12_080)
    with pytest.raises(DeviceError, match=r"release 580 or later.* supports CUDA 12\.8"):
        Driver(GPU)


def test_out_of_memory_says_how_much_is_in_use(runtime):
    (gpu,) = machine.gpus
    gpu.total = gpu.used + 10_000
    runtime.allocate(4_000)
    total, used = f"{gpu.total:,}", f"{gpu.used:,}"
    expected = rf"cuda:0 \(Loopback GPU 0\) has no 7,000 bytes left: {used} of {total} are in use"
    with pytest.raises(MemoryError, match=expected):
        runtime.allocate(7_000)
    with runtime.lock, pytest.raises(MemoryError, match="in use"):
        runtime.allocate(7_000)
    runtime.allocate(5_000)


def test_arrays_that_are_dropped_make_room():
    (gpu,) = machine.gpus
    allocator(GPU).empty_cache()
    total, gpu.total = gpu.total, gpu.used + (1 << 20)
    try:
        for k in range(20):
            x = graphad.device_put(np.full(100_000 + 1000 * k, k, np.float32), "cuda")
            assert float(x[-1]) == k
        with pytest.raises(MemoryError, match="Use smaller batches"):
            graphad.device_put(np.zeros(1 << 20), "cuda")
    finally:
        gpu.total = total


def test_a_fault_of_a_kernel(runtime):
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    double = runtime.load(ptx(), ["double_it"])["double_it"]
    runtime.launch(Launch(double, 2, 64, 0, (x, y)))  # of 64 elements it doubles 128
    fault = (
        r"cuda:0: the driver reports CUDA_ERROR_ILLEGAL_ADDRESS: .*\. A kernel did what it must not; device='cuda:em"
    )
    with pytest.raises(DeviceError, match=fault):
        runtime.synchronize()
    for act in (runtime.synchronize, lambda: runtime.allocate(8), lambda: runtime.copy(x, x + 128, 8)):
        with pytest.raises(DeviceError, match="CUDA_ERROR_ILLEGAL_ADDRESS"):
            act()
    assert "double_it" in machine.gpus[0].why


def test_a_launch_that_cannot_be(runtime):
    x, y = put(runtime, np.zeros(64, np.float32)), runtime.allocate(256)
    double = runtime.load(ptx(), ["double_it"])["double_it"]
    with pytest.raises(DeviceError, match=r"cuda:0: the driver reports CUDA_ERROR_INVALID_VALUE: "):
        runtime.launch(Launch(double, 1, 64, 1 << 20, (x, y)))


def test_a_kernel_that_is_not_there(runtime):
    with pytest.raises(DeviceError, match=r"CUDA_ERROR_NOT_FOUND: .* \(cuLibraryGetKernel\)\."):
        runtime.load(ptx(), ["treble_it"])


@pytest.mark.parametrize("stop", ["synchronize", "raise"])
def test_a_recording_that_breaks_off(runtime, stop):
    x = np.arange(64, dtype=np.float32)
    source, target = put(runtime, x), put(runtime, np.zeros_like(x))

    def work():
        runtime.copy(target, source, x.nbytes)
        if stop == "raise":
            raise KeyError("mine")
        runtime.synchronize()

    expected, text = (KeyError, "mine") if stop == "raise" else (DeviceError, "CUDA_ERROR_(STREAM_CAPTURE|CAPTURED)")
    with pytest.raises(expected, match=text):
        runtime.capture(work)
    np.testing.assert_array_equal(got(runtime, target, x), 0)
    captured = runtime.capture(lambda: runtime.copy(target, source, x.nbytes))
    runtime.replay(captured)
    np.testing.assert_array_equal(got(runtime, target, x), x)


def test_memory_is_not_allocated_within_a_recording(runtime):
    x = put(runtime, np.zeros(8))

    def work():
        runtime.copy(x, x + 32, 32)
        runtime.allocate(8)

    with pytest.raises(RuntimeError, match="capturing"):
        runtime.capture(work)


# ---- threads, and whole training loops


def test_threads_share_the_gpu():
    """Each launches, records, replays, downloads; contexts are current for each thread by itself."""
    f = graphad.jit(lambda w, x: gnp.sum(gnp.tanh(x @ w), 0) * gnp.cumsum(x, 1)[0])
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.asarray(f(x, x))

    def run(_):
        a = graphad.device_put(x, "cuda")
        results = [np.asarray(f(a, a)) for _ in range(12)]
        return results, machine.stack

    with ThreadPoolExecutor(4) as pool:
        for results, stack in pool.map(run, range(4)):
            assert stack == []
            for result in results:
                np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_a_training_step_becomes_one_launch():
    params, images, labels = programs()["mlp_gradient"][1]
    step = make_step(mlp, graphad.optim.adam(1e-2))
    results = {}
    for device in ("cpu", "cuda"):
        state = graphad.device_put(step.init(params, graphad.random.key(0)), device)
        batch = graphad.device_put((images, labels), device)
        losses, calls = [], []
        for _ in range(16):
            machine.calls.clear()
            state, value = step(state, batch)
            calls.append(list(machine.calls))
            losses.append(value)
        results[device] = np.array([float(x) for x in losses])
    np.testing.assert_allclose(results["cuda"], results["cpu"], rtol=1e-5)
    for last in calls[-2:]:
        assert last.count("cuGraphLaunch") == 1
        assert not {"cuLaunchKernelEx", "cublasLtMatmul", "cuStreamSynchronize", "cuEventSynchronize"} & set(last)


def test_training_goes_on_from_a_checkpoint(tmp_path):
    """Bit by bit, with random numbers in the loss."""

    def train(**options):
        options = {"batch_size": 32, "epochs": 2, "progress": False, "device": "cuda", **options}
        return fit(net_loss_with_dropout, net_params(), net_data(), graphad.optim.adam(1e-2), **options)

    whole = train()
    train(epochs=1, checkpoint=tmp_path / "a")
    again = train(checkpoint=tmp_path / "a")
    assert {x.device.name for x in graphad.tree.leaves(again.params)} == {"cuda:0"}
    assert bits((again.params, again.opt_state)) == bits((whole.params, whole.opt_state))
