"""Training on another device: the emulated GPU, which is on every machine."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import NonFiniteError, fit, load, save
from tests.train.problems import bits, line_data, line_loss, line_params, net_data, net_loss_with_dropout, net_params

DEVICE = "cuda:emulated"


def train(loss=net_loss_with_dropout, params=None, data=None, optimizer=None, **options):
    params, data = net_params() if params is None else params, net_data() if data is None else data
    options = {"batch_size": 32, "epochs": 2, "progress": False, **options}
    return fit(loss, params, data, optimizer or optim.adam(1e-2), **options)


def device_of(tree):
    (device,) = {x.device.name for x in graphad.tree.leaves(tree)}
    return device


def test_training_there_is_training_here():
    here, there = train(), train(device=DEVICE)
    assert device_of((there.params, there.opt_state)) == DEVICE
    assert device_of(here.params) == "cpu"
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-5)
    for a, b in zip(graphad.tree.leaves(here.params), graphad.tree.leaves(there.params), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-4, atol=1e-5)
    assert not [t for t in threading.enumerate() if t.name == "graphad-prefetch"]


def test_it_goes_where_the_parameters_are():
    params = graphad.device_put(line_params(), DEVICE)
    result = train(line_loss, params, line_data(), optimizer=optim.sgd(0.1), eval_data=line_data())
    assert device_of(result.params) == DEVICE
    np.asarray(params["a"])  # they are copied there too
    expected = train(line_loss, line_params(), line_data(), optimizer=optim.sgd(0.1), eval_data=line_data())
    assert result.history[-1]["eval_loss"] == pytest.approx(expected.history[-1]["eval_loss"], rel=1e-5)


def test_a_checkpoint_belongs_to_no_device(tmp_path):
    whole = train(device=DEVICE)
    train(device=DEVICE, epochs=1, checkpoint=tmp_path / "a")
    again = train(device=DEVICE, checkpoint=tmp_path / "a")
    assert bits((again.params, again.opt_state)) == bits((whole.params, whole.opt_state))
    train(epochs=1, checkpoint=tmp_path / "b")
    moved = train(device=DEVICE, checkpoint=tmp_path / "b")
    assert device_of(moved.params) == DEVICE
    np.testing.assert_allclose(moved.losses, whole.losses[3:], rtol=1e-5)
    save(tmp_path / "params", whole.params)
    assert bits(load(tmp_path / "params", whole.params)) == bits(whole.params)


def test_the_line_of_a_nan_there():
    def loss(params, x):
        return gnp.mean(gnp.log(params["w"] * x))

    with pytest.raises(NonFiniteError, match=r"test_device\.py:\d+: step 2: the loss is nan. .* log, which gives nan"):
        train(loss, {"w": 1.0}, np.float32([1, 2, -3, 4]), batch_size=1, shuffle=False, device=DEVICE)


def test_mixed_precision_there():
    here, there = (train(precision="float16", device=d, epochs=1) for d in ("cpu", DEVICE))
    np.testing.assert_allclose(there.losses, here.losses, rtol=5e-3)


def test_rounded_products_are_finite_there():
    """A gradient that is a product is not compared with the exact product."""

    def loss(params, x):
        return gnp.mean((params["a"] * params["b"] * x - 1) ** 2)

    result = train(loss, {"a": 1.0, "b": 1.0}, line_data()[0], optim.sgd(0.1), batch_size=16, device=DEVICE)
    assert result.steps == 8
