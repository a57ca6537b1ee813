"""Models with a state that is not trained: running averages, counters."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import nn, optim
from graphad.train import (
    Callback,
    Checkpoint,
    LossScale,
    NonFiniteError,
    TrainingInterrupted,
    batches,
    fit,
    make_step,
)
from tests.train.problems import bits, line_data, line_loss, line_params, net_data, net_loss, net_params


def norm_params():
    return {"net": net_params(), "scale": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)}


def norm_state():
    """Running averages of what goes in and of the parameters, and a counter."""
    average = {"mean": np.zeros(2, np.float32), "variance": np.ones(2, np.float32)}
    return {"average": average, "params": norm_params(), "batches": np.int32(0)}


def norm_loss(params, state, batch):
    y, mean, variance = nn.batch_norm(batch["x"], params["scale"], params["bias"])
    average = optim.incremental_update({"mean": mean, "variance": variance}, state["average"], 0.1)
    state = {
        "average": average,
        "params": optim.incremental_update(params, state["params"], 0.5),
        "batches": state["batches"] + 1,
    }
    return net_loss(params["net"], {**batch, "x": y}), state


def norm_evaluate(params, state, batch):
    y, _, _ = nn.batch_norm(batch["x"], params["scale"], params["bias"], **state["average"])
    return {"loss": net_loss(params["net"], {**batch, "x": y}), "seen": state["batches"]}


def train(**options):
    options = {"batch_size": 16, "epochs": 3, "progress": False, "key": 3, **options}
    return fit(norm_loss, norm_params(), net_data(), optim.adam(1e-2), state=norm_state(), **options)


def test_the_state_goes_from_step_to_step():
    result = train()
    params, state, optimizer = norm_params(), norm_state(), optim.adam(1e-2)
    opt_state = optimizer.init(params)
    for epoch in (1, 2, 3):
        for batch in batches(net_data(), 16, 3, epoch, drop_last=True):
            (_, state), grads = graphad.value_and_grad(norm_loss, has_aux=True)(params, state, batch)
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optim.apply_updates(params, updates)
    assert int(result.state["batches"]) == 18
    assert result.state["batches"].dtype == np.int32
    for found, expected in (
        (result.params, params),
        (result.state["average"], state["average"]),
        (result.state["params"], state["params"]),
    ):
        for a, b in zip(graphad.tree.leaves(found), graphad.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert train(epochs=1).state["average"]["mean"].shape == (2,)
    assert fit(line_loss, line_params(), line_data(), optim.sgd(0.1), progress=False).state is None


def test_the_initial_state_stays_the_callers():
    state = norm_state()
    before = bits(state)
    fit(norm_loss, norm_params(), net_data(), optim.adam(1e-2), state=state, progress=False)
    assert bits(state) == before


def test_evaluation_and_callbacks_see_it():
    seen = []
    result = train(
        eval_data=net_data(),
        evaluate=norm_evaluate,
        callbacks=lambda training: seen.append(int(training.model_state["batches"])),
    )
    assert seen == [6, 12, 18]
    assert [row["eval_seen"] for row in result.history] == [6, 12, 18]
    expected = norm_evaluate(result.params, result.state, net_data())["loss"]
    assert result.history[-1]["eval_loss"] == pytest.approx(float(expected), rel=1e-5)
    result = train(evaluate=lambda params, state: {"n": state["batches"]})
    assert result.history[0]["eval_n"] == 6


def test_it_comes_beside_aux_and_a_key():
    def loss(params, state, x, y, key):
        return line_loss(params, x, y), state + 1, {"noise": graphad.random.uniform(key)}

    step = make_step(loss, optim.sgd(0.1), has_state=True, has_aux=True)
    state, (_, aux) = step(step.init(line_params(), 0, np.int64(41)), line_data())
    assert (int(state.model_state), state.model_state.dtype) == (42, np.int64)
    assert 0 <= float(aux["noise"]) < 1


@pytest.mark.parametrize("parts", [2, 3])
def test_it_passes_from_part_to_part(parts):
    def loss(params, state, x, y):
        return line_loss(params, x, y), {"last": x[-1], "sum": state["sum"] + gnp.sum(x), "n": state["n"] + 1}

    step = make_step(loss, optim.sgd(0.1), has_state=True, accumulate=parts)
    state = step.init(line_params(), 0, {"last": np.float32(0), "sum": np.float32(0), "n": 0})
    x, y = line_data(12)
    for k in (1, 2):
        state, _ = step(state, (x + 1, y))
        assert int(state.model_state["n"]) == k * parts
        np.testing.assert_allclose(state.model_state["sum"], k * np.sum(x + 1), rtol=1e-6)
        assert float(state.model_state["last"]) == x[-1] + 1


def test_a_state_that_is_handed_back_as_it_is():
    def loss(params, state, x, y):
        return line_loss(params, x, y) + state["offset"], state

    for options in ({}, {"accumulate": 2}, {"halt": False}):
        step = make_step(loss, optim.sgd(0.1), has_state=True, **options)
        state = step.init(line_params(), 0, {"offset": np.float32(2), "none": None, "empty": np.zeros((0, 3))})
        for _ in range(3):
            state, value = step(state, line_data())
        assert float(state.model_state["offset"]) == 2.0
        assert state.model_state["empty"].shape == (0, 3)
        assert float(value) > 2


def test_steps_that_are_skipped_leave_it():
    def loss(params, state, x):
        return gnp.mean(params["w"] * x), state + 1

    step = make_step(loss, optim.sgd(0.5), precision="float16", loss_scale=LossScale(2.0**15), has_state=True)
    state = step.init({"w": 1.0}, 0, 0)
    counts = []
    for x in (1.0, 4.0, 1.0):  # 4 times the scale is more than float16 holds
        state, _ = step(state, np.full(1, x, np.float32))
        counts.append(int(state.model_state))
    assert counts == [1, 1, 2]


def test_what_is_not_finite_leaves_it():
    def loss(params, state, x):
        return gnp.mean(gnp.sqrt(params["w"] * x)), {
            "n": state["n"] + 1,
            "largest": gnp.maximum(state["largest"], x[0]),
        }

    data = np.float32([1, 1, 1, -1, 1, 1])
    options = {"state": {"n": 0, "largest": np.float32(-np.inf)}, "batch_size": 1, "shuffle": False, "progress": False}
    result = fit(loss, {"w": 1.0}, data, optim.sgd(0.1), on_nan="stop", **options)
    assert (int(result.state["n"]), float(result.state["largest"])) == (3, 1.0)
    with pytest.raises(NonFiniteError, match=r"test_state\.py:\d+: step 3: the loss is nan"):
        fit(loss, {"w": 1.0}, data, optim.sgd(0.1), accumulate=1, **options)
    with pytest.raises(NonFiniteError, match=r"step 0: the loss is nan: the state\['m'\] holds nan already"):
        fit(
            lambda w, state, x: (gnp.mean(w * x) * state["m"], state),
            1.0,
            data,
            optim.sgd(0.1),
            **{**options, "state": {"m": np.float32(np.nan)}},
        )


EMULATED = {"device": "cuda:emulated", "batch_size": 48, "epochs": 2}


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "float16"}, EMULATED])
def test_resuming_changes_nothing(options, tmp_path):
    whole = train(**options)

    class Interrupt(Callback):
        def on_step(self, training):
            if training.step == 1 + whole.steps // 2:
                raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(checkpoint=Checkpoint(tmp_path, every=3), callbacks=[Interrupt()], **options)
    again = train(checkpoint=tmp_path, **options)
    assert len(again.losses) == whole.steps - 1 - whole.steps // 2
    assert bits((again.params, again.opt_state, again.state)) == bits((whole.params, whole.opt_state, whole.state))


def test_another_state_is_not_resumed(tmp_path):
    def plain(params, batch):
        return norm_loss(params, norm_state(), batch)[0]

    options = {"batch_size": 16, "progress": False}
    fit(plain, norm_params(), net_data(), optim.adam(1e-2), checkpoint=tmp_path / "without", **options)
    with pytest.raises(ValueError, match=r"it lacks model_state\.average\.mean and .* must be as they were"):
        train(checkpoint=tmp_path / "without", key=0)
    train(checkpoint=tmp_path / "with")
    with pytest.raises(ValueError, match=r"it holds also model_state\.average\.mean and 8 more"):
        fit(plain, norm_params(), net_data(), optim.adam(1e-2), checkpoint=tmp_path / "with", key=3, **options)


def test_it_stays_in_its_own_precision():
    def loss(params, state, x, y):
        return line_loss(params, x, y), optim.incremental_update(gnp.mean(x), state, 0.1)

    for precision in ("float16", "bfloat16"):
        step = make_step(loss, optim.sgd(0.1), has_state=True, precision=precision, loss_scale=LossScale(8.0))
        state, _ = step(step.init(line_params(), 0, np.float32(1)), line_data())
        assert state.model_state.dtype == np.float32
        assert float(state.model_state) == pytest.approx(0.9, rel=1e-2)


def test_it_stays_on_the_device():
    here, there = train(**{**EMULATED, "device": "cpu"}), train(**EMULATED)
    assert {x.device.name for x in graphad.tree.leaves(there.state)} == {"cuda:emulated"}
    for a, b in zip(graphad.tree.leaves(here.state), graphad.tree.leaves(there.state), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-4, atol=1e-5)


def test_wrong_states():
    def run(returned, state=None, **options):
        def loss(params, state, x, y):
            value = line_loss(params, x, y)
            return (value, returned(state)) if returned else value

        step = make_step(loss, optim.sgd(0.1), **{"has_state": True, **options})
        step(step.init(line_params(), 0, {"m": np.zeros(2, np.float32)} if state is None else state), line_data())

    with pytest.raises(TypeError, match=r"is given a state whose \['m'\] is f32\[2\], and returns f32\[3\] for it"):
        run(lambda s: {"m": gnp.zeros(3)})
    with pytest.raises(TypeError, match=r"\['m'\] is f32\[2\], and returns f64\[2\] for it. .*new.astype\(old.dtype\)"):
        run(lambda s: {"m": np.zeros(2)})
    with pytest.raises(TypeError, match=r"is given a state whose array is i32\[\], and returns f32\[\] for it"):
        run(lambda s: s * 0.5, np.int32(0))
    with pytest.raises(TypeError, match=r"in the structure that it is given, {'m': \*}, but it returns \(\*, \*\)"):
        run(lambda s: (s["m"], 1.0))
    with pytest.raises(TypeError, match=r"has_state=True\): loss must return \(loss, state\), but returns a Tracer"):
        run(None)
    with pytest.raises(TypeError, match=r"must return \(loss, state, aux\), but returns a tuple of 2"):
        run(lambda s: s, has_aux=True)
    with pytest.raises(TypeError, match="there is an initial state, but loss takes none"):
        run(lambda s: s, has_state=False)
    with pytest.raises(TypeError, match=r"norm_loss takes a state besides the parameters: pass the initial one"):
        fit(make_step(norm_loss, optim.sgd(0.1), has_state=True), norm_params(), net_data(), progress=False)
    with pytest.raises(TypeError, match=r"line_loss is called as line_loss\(params, state, batch\[0\], batch\[1\]\)"):
        fit(line_loss, line_params(), line_data(), optim.sgd(0.1), state=0, progress=False)
    with pytest.raises(ValueError, match=r"norm_loss takes a state, .*evaluate\(params, state, \*batch\)"):
        train(eval_data=net_data())
    with pytest.raises(TypeError, match="an array or a number, not str"):
        fit(norm_loss, norm_params(), net_data(), optim.sgd(0.1), state="mean", progress=False)
