"""Whole training steps in emulation: equal to the CPU's, captured, and in few launches with little traffic."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.device import parse
from graphad.train import make_step
from tests.cuda.devices import DEVICES
from tests.cuda.programs import lenet, mlp, programs

EMULATED = parse("cuda:emulated")


def steps(name, device, count):
    """Losses and parameters of a few steps of Adam on one batch."""
    loss = {"mlp_gradient": mlp, "lenet_gradient": lenet}[name]
    params, images, labels = programs()[name][1]
    step = make_step(loss, graphad.optim.adam(1e-2))
    state = graphad.device_put(step.init(params, graphad.random.key(0)), device)
    batch = graphad.device_put((images, labels), device)
    losses = []
    for _ in range(count):
        state, value = step(state, batch)
        losses.append(value)
    return np.array([float(x) for x in losses]), graphad.tree.map(np.asarray, state.params)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", ["mlp_gradient", "lenet_gradient"])
def test_a_training_step_is_the_cpus(name, device):
    losses, params = steps(name, device, 3)
    expected, cpu_params = steps(name, parse("cpu"), 3)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[2] < losses[0]
    for a, b in zip(graphad.tree.leaves(params), graphad.tree.leaves(cpu_params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_captured_steps_are_the_steps(monkeypatch):
    """Donated state settles to the same addresses: from then on a step is one replay, with the same results."""
    replays = []
    replay = Emulated.replay
    monkeypatch.setattr(
        Emulated, "replay", lambda self, captured: (replays.append(len(captured)), replay(self, captured))
    )
    losses, params = steps("mlp_gradient", EMULATED, 14)
    assert len(replays) >= 3
    monkeypatch.undo()
    monkeypatch.setattr("graphad.backends.cuda.run.launches.FEWEST_CAPTURED", 1 << 30)
    again, params_again = steps("mlp_gradient", EMULATED, 14)
    np.testing.assert_array_equal(losses, again)
    for a, b in zip(graphad.tree.leaves(params), graphad.tree.leaves(params_again), strict=True):
        np.testing.assert_array_equal(a, b)


def reports(function, *args):
    compiled = graphad.jit(function, device=EMULATED)
    with allocator(EMULATED).runtime.watch() as seen:
        results = compiled(*args)
    return seen, [np.asarray(x) for x in graphad.tree.leaves(results)]


@pytest.mark.parametrize(("name", "most"), [("mlp_gradient", 4), ("lenet_gradient", 8)])
def test_a_training_step_takes_few_launches(name, most):
    """Beside the matrix products, the update of all parameters included."""
    loss, (params, images, labels) = {"mlp_gradient": mlp, "lenet_gradient": lenet}[name], programs()[name][1]
    optimizer = graphad.optim.adam(1e-2)

    def step(params, state, images, labels):
        value, grads = graphad.value_and_grad(loss)(params, images, labels)
        updates, state = optimizer.update(grads, state)
        return graphad.optim.apply_updates(params, updates), state, value

    seen, _ = reports(step, params, optimizer.init(params), images, labels)
    kernels = [name for name, _ in seen if "gemm" not in name]
    assert len(kernels) < len(seen), "matrix products are launches of their own"
    assert len(kernels) <= most, kernels


@pytest.mark.parametrize("name", ["gelu", "gelu_gradient", "softmax", "layer_norm", "layer_norm_gradient"])
def test_traffic_is_what_must_be_read_and_written(name):
    """Each kernel that is fused reads every input once and writes every output once."""
    function, args = programs()[name]
    seen, results = reports(function, *args)
    least_read, least_written = sum(a.nbytes for a in args), sum(r.nbytes for r in results)
    assert len(seen) == 1
    ((_, report),) = seen
    assert report.distinct_read_bytes + report.distinct_written_bytes <= 1.25 * (least_read + least_written)
    if name.startswith("gelu"):
        moved = report.global_read_bytes + report.global_written_bytes
        assert moved <= 1.25 * (least_read + least_written)
        sectors = report.read_transactions + report.write_transactions
        assert 32 * sectors <= 1.25 * (least_read + least_written), "accesses are coalesced"
