"""One step of training as one program."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.errors import DeletedArrayError
from graphad.train import LossScale, batches, make_step
from tests.compose.tools import close
from tests.train.problems import (
    bits,
    line_data,
    line_loss,
    line_params,
    net_data,
    net_loss,
    net_loss_with_dropout,
    net_params,
)

OPTIMIZERS = {
    "sgd": lambda: optim.sgd(0.1, momentum=0.9),
    "adam": lambda: optim.adam(optim.cosine_decay_schedule(1e-2, 50)),
    "adamw": lambda: optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(1e-2)),
}


def run(step, params, data, size=24, epochs=3, key=0):
    state = step.init(params, key)
    losses = []
    for epoch in range(epochs):
        for batch in batches(data, size, key, epoch, drop_last=True):
            state, loss = step(state, batch)
            losses.append(loss)
    return state, losses


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("halt", [True, False])
def test_a_step_is_what_one_would_write_by_hand(name, halt):
    optimizer, params = OPTIMIZERS[name](), net_params()

    @graphad.jit
    def by_hand(params, opt_state, batch):
        loss, grads = graphad.value_and_grad(net_loss)(params, batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state, loss

    state, losses = run(make_step(net_loss, optimizer, halt=halt), params, net_data())
    opt_state, expected = optimizer.init(params), []
    for epoch in range(3):
        for batch in batches(net_data(), 24, 0, epoch, drop_last=True):
            params, opt_state, loss = by_hand(params, opt_state, batch)
            expected.append(loss)
    found, wanted = (losses, state.params, state.opt_state), (expected, params, opt_state)
    if halt:  # what looks for nan is computed with the rest, and sums may be added in another order
        graphad.tree.map(lambda got, want: close(got, want, 1e-5), found, wanted)
    else:
        assert bits(found) == bits(wanted)
    assert int(state.step) == len(losses) == 12


def test_the_program_is_compiled_once_and_uses_the_state_up():
    step = make_step(net_loss, optim.adam(1e-2))
    params = net_params()
    first = step.init(params)
    state, _ = step(first, net_data())
    for _ in range(3):
        state, _ = step(state, net_data())
    assert "1 signature(s), 1 path(s)" in repr(step._program)
    with pytest.raises(DeletedArrayError):
        np.asarray(first.params[0]["w"])
    assert np.isfinite(np.asarray(params[0]["w"])).all()  # the caller's own
    kept = make_step(net_loss, optim.adam(1e-2), donate=False)
    first = kept.init(params)
    kept(first, net_data())
    np.asarray(first.params[0]["w"])


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulation_is_the_big_batch(parts):
    whole, _ = run(make_step(net_loss, optim.sgd(0.1)), net_params(), net_data())
    parted, losses = run(make_step(net_loss, optim.sgd(0.1), accumulate=parts), net_params(), net_data())
    for a, b in zip(graphad.tree.leaves(whole.params), graphad.tree.leaves(parted.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert losses[-1] < losses[0]


def test_accumulation_must_divide_the_batch():
    step = make_step(net_loss, optim.sgd(0.1), accumulate=5)
    with pytest.raises(ValueError, match=r"accumulate=5 does not divide the batch of 24 .* batch size of 20"):
        run(step, net_params(), net_data())
    with pytest.raises(ValueError, match="accumulate=0"):
        make_step(net_loss, optim.sgd(0.1), accumulate=0)


def test_keys_differ_between_steps_and_parts_and_depend_on_the_seed():
    def loss(params, x, key):
        return params["w"] * 0.0 + graphad.random.uniform(key)

    data = np.ones(8, np.float32)
    _, losses = run(make_step(loss, optim.sgd(0.1)), {"w": 1.0}, data, 2)
    assert len({float(x) for x in losses}) == len(losses) == 12
    _, again = run(make_step(loss, optim.sgd(0.1)), {"w": 1.0}, data, 2)
    assert bits(losses) == bits(again)
    _, other = run(make_step(loss, optim.sgd(0.1)), {"w": 1.0}, data, 2, key=1)
    assert bits(losses) != bits(other)
    _, parted = run(make_step(loss, optim.sgd(0.1), accumulate=2), {"w": 1.0}, data, 2, epochs=1)
    assert bits(parted) != bits(losses[:4])
    _, trained = run(make_step(net_loss_with_dropout, optim.adam(1e-2)), net_params(), net_data(), epochs=20)
    assert trained[-1] < trained[0]


def test_aux_comes_along_and_is_averaged():
    def loss(params, x, y):
        return line_loss(params, x, y), {"largest": gnp.max(x)}

    step = make_step(loss, optim.sgd(0.1), has_aux=True, accumulate=2)
    _, (value, aux) = step(step.init(line_params()), line_data())
    x, y = line_data()
    np.testing.assert_allclose(value, np.mean(y**2), rtol=1e-6)
    np.testing.assert_allclose(aux["largest"], (x[31] + x[63]) / 2, rtol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_mixed_precision_trains_and_keeps_the_parameters_wide(precision):
    seen = []

    def loss(params, batch):
        seen.append((params[0]["w"].dtype.name, batch["x"].dtype.name, batch["label"].dtype.name))
        return net_loss(params, batch)

    state, losses = run(make_step(loss, optim.adam(0.05), precision=precision), net_params(), net_data(), epochs=50)
    exact, expected = run(make_step(net_loss, optim.adam(0.05)), net_params(), net_data(), epochs=50)
    assert seen[0] == (precision, precision, "int32")
    assert {x.dtype.name for x in graphad.tree.leaves(state.params)} == {"float32"}
    assert losses[0].dtype == np.float32
    assert losses[-1] < 0.75 * losses[0]
    np.testing.assert_allclose(losses[-1], expected[-1], rtol=0.1)
    assert (state.loss_scale is None) == (precision == "bfloat16")
    assert bits(state.params) != bits(exact.params)


def test_an_overflow_is_skipped_and_halves_the_scale():
    def loss(params, x):
        return gnp.mean(params["w"] * x)

    step = make_step(loss, optim.sgd(0.5, momentum=0.9), precision="float16", loss_scale=LossScale(2.0**15, period=2))
    state = step.init({"w": 1.0})
    scales, params = [], []
    for x in (1.0, 1.0, 4.0, 1.0, 1.0, 1.0):  # 4 times the scale is more than float16 holds
        state, _ = step(state, np.full(1, x, np.float32))
        scales.append(float(state.loss_scale.value))
        params.append(float(state.params["w"]))
    assert scales == [2.0**15, 2.0**16, 2.0**15, 2.0**15, 2.0**16, 2.0**15]
    assert params[2] == params[1]
    assert params[5] == params[4]
    assert int(state.step) == 6
    assert int(state.halted) == -1


def test_the_scale_has_limits():
    scale = LossScale(2.0**24, period=1).adjusted(finite=True)
    assert float(scale.value) == 2.0**24
    assert bool(LossScale(2.0).adjusted(finite=False).exhausted)
    assert float(LossScale(1.0).adjusted(finite=False).value) == 1.0


def test_small_gradients_survive_float16_by_the_scale_alone():
    def loss(params, x):
        return gnp.mean(params["w"] * x * np.float16(1e-7))

    x = np.full(1, 0.01, np.float32)
    for scale, vanishes in ((LossScale(1.0), True), (LossScale(2.0**15), False)):
        step = make_step(loss, optim.sgd(1.0), precision="float16", loss_scale=scale)
        state, _ = step(step.init({"w": 0.0}), x)
        assert (float(state.params["w"]) == 0.0) == vanishes


def test_a_step_that_fails_leaves_everything_as_it_was():
    def loss(params, x):
        return gnp.mean(gnp.log(params["w"] * x))

    step = make_step(loss, optim.adam(0.1), donate=False)
    state = step.init({"w": 1.0})
    for x in (1.0, 2.0, 3.0):
        state, _ = step(state, np.full(1, x, np.float32))
    good = bits(state._replace(halted=None))
    for x in (-1.0, 1.0, 2.0):
        state, _ = step(state, np.full(1, x, np.float32))
        assert int(state.halted) == 3
        assert bits(state._replace(halted=None)) == good


def test_a_gradient_that_fails_counts_as_well():
    step = make_step(lambda params, x: gnp.mean(gnp.sqrt(params["w"] * x)), optim.sgd(0.1))
    state, loss = step(step.init({"w": 0.0}), np.ones(1, np.float32))
    assert float(loss) == 0.0
    assert int(state.halted) == 0
    assert float(state.params["w"]) == 0.0


def test_float64_stays():
    data = [x.astype(np.float64) for x in line_data()]
    step = make_step(line_loss, optim.sgd(0.1))
    state = step.init({"a": np.zeros(()), "b": np.zeros(())})
    state, loss = step(state, tuple(data))
    assert loss.dtype == np.float64
    assert state.params["a"].dtype == np.float64


def test_the_line_search_of_lbfgs_gets_what_it_needs():
    step = make_step(line_loss, optim.lbfgs())
    state = step.init(line_params())
    for _ in range(5):
        state, loss = step(state, line_data())
    best = np.polyfit(*line_data(), 1)
    np.testing.assert_allclose([state.params["a"], state.params["b"]], best, rtol=1e-3)
    assert float(loss) < 0.01


def test_wrong_losses_and_parameters():
    def run_once(loss, params=None, **options):
        step = make_step(loss, optim.sgd(0.1), **options)
        step(step.init(params or line_params()), line_data())

    with pytest.raises(TypeError, match=r"test_step\.py:\d+: .*one float, but lambda returns f32\[64\]. Average it"):
        run_once(lambda params, x, y: (params["a"] * x - y) ** 2)
    with pytest.raises(TypeError, match=r"returns a tuple. To pass other results along: .*has_aux=True"):
        run_once(lambda params, x, y: (line_loss(params, x, y), x))
    with pytest.raises(TypeError, match=r"must return \(loss, aux\)"):
        run_once(line_loss, has_aux=True)
    with pytest.raises(TypeError, match=r"returns i32\[\]. Convert it"):
        run_once(lambda params, x, y: gnp.int32(3))
    with pytest.raises(TypeError, match=r"params\['b'\] is i32\[\]. Keep it out .* write 3.0 for 3"):
        run_once(line_loss, {"a": 1.0, "b": np.int32(1)})
    with pytest.raises(ValueError, match="no parameters to train"):
        make_step(line_loss, optim.sgd(0.1)).init({})
    with pytest.raises(ValueError, match="precision='float8'"):
        make_step(line_loss, optim.sgd(0.1), precision="float8")
    with pytest.raises(TypeError, match="takes a function"):
        make_step(3, optim.sgd(0.1))
