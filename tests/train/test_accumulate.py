"""Batches that are computed in parts: the same gradient, from programs whose size does not depend on their number."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.backends.cuda.run.launches import Sequences
from graphad.backends.cuda.runtime.emulated import Emulated
from graphad.train import NonFiniteError, batches, fit, make_step
from tests.train.problems import bits, line_data, line_loss, line_params, net_data, net_loss, net_params


def make(parts, loss=net_loss, **options):
    return make_step(loss, optim.adam(1e-2), accumulate=parts, **options)


def run(step, data, size, epochs=2):
    state, losses = step.init(net_params(), 0), []
    for epoch in range(epochs):
        for batch in batches(data, size, 0, epoch, drop_last=True):
            state, loss = step(state, batch)
            losses.append(loss)
    return state, losses


@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("precision", [None, "float16"])
def test_the_parts_are_summed_in_their_order(parts, precision):
    """To the last bit what the gradients of the parts give, one added to the other, in one program."""

    def in_one(state, batch):
        return step._updated(state, batch, *step.gradient(state, batch))

    step = make(parts, precision=precision, donate=False)
    together = graphad.jit(in_one)
    state, other = step.init(net_params(), 0), step.init(net_params(), 0)
    for batch in batches(net_data(), 24, drop_last=True):
        (state, loss), (other, expected) = step(state, batch), together(other, batch)
        assert bits((state, loss)) == bits((other, expected))


def sizes(step, batch):
    state = step.init(net_params())
    part = (state, batch, np.int32(0), state.model_state)
    _, sums = step._part(*part)
    graphs = (
        step._part.graph(*part),
        step._add.graph(sums, sums),
        step._update.graph(state, batch, state.model_state, sums),
    )
    return [len(g.eqns) for g in graphs]


def test_programs_do_not_grow_with_the_number_of_parts():
    assert sizes(make(2), net_data()) == sizes(make(32), net_data())
    step = make(16)
    run(step, net_data(), 32)
    assert all("1 signature(s), 1 path(s)" in repr(program) for program in (step._part, step._add, step._update))
    assert "0 signature(s)" in repr(step._program)


def test_a_loss_may_branch():
    def loss(params, batch):
        value = net_loss(params, batch)
        return value if value > 0.5 else value * 2.0

    state, losses = run(make(4, loss), net_data(), 48)
    assert np.isfinite(losses).all()
    assert int(state.step) == 4


def test_truth_values_and_small_integers_are_averaged_as_numbers():
    def loss(params, x, y):
        aux = {"right": x[0] > 0, "count": gnp.sum(x > -2).astype(np.int8), "half": x[-1].astype(np.float16)}
        return line_loss(params, x, y), aux

    step = make_step(loss, optim.sgd(0.1), accumulate=4, has_aux=True)
    x, y = line_data(400)
    _, (_, aux) = step(step.init(line_params()), (x, y))
    assert float(aux["right"]) == 0.5
    assert float(aux["count"]) == 100
    assert float(aux["half"]) == pytest.approx(np.mean([x[99], x[199], x[299], x[399]]), abs=1e-3)


def test_explanations_name_the_programs():
    step, batch = make(8), net_data()
    found = step.explain(step.init(net_params()), batch)
    assert list(found) == ["part", "add", "update"]
    assert found["part"].operations > found["add"].operations > 0
    assert found["add"].name == "added"
    on_gpu = step.explain(step.init(net_params()), batch, device="cuda", architecture="sm_80")
    assert "sm_80" in str(on_gpu["update"])
    assert list(make(1).explain(make(1).init(net_params()), batch)) == ["step"]


def test_the_users_line_of_a_nan_in_a_later_part():
    def loss(params, x):
        return gnp.mean(gnp.log(params["w"] * x))  # here

    x = np.ones(12, np.float32)
    x[10] = -1
    with pytest.raises(
        NonFiniteError, match=r"test_accumulate\.py:\d+: step 1: the loss is nan.* log, which gives nan"
    ):
        fit(loss, {"w": 1.0}, x, optim.sgd(0.1), batch_size=6, accumulate=3, shuffle=False, progress=False)


def test_wrong_parts():
    with pytest.raises(TypeError, match=r"accumulate=2\.0 must be an integer"):
        make(2.0)
    step = make(2, lambda params, x, n: gnp.mean(params["w"] * x) / n)
    with pytest.raises(ValueError, match=r"accumulate: data\[1\] is a single number"):
        step(step.init({"w": 1.0}), (np.ones(4, np.float32), np.float32(2)))
    with pytest.raises(ValueError, match=r"data\[0\] has 4 examples .* data\[1\] has 3"):
        step(step.init({"w": 1.0}), (np.ones(4, np.float32), np.ones(3, np.float32)))


@pytest.mark.parametrize("has_state", [False, True])
def test_captured_parts_settle(has_state, monkeypatch):
    """From some step on the host only replays: nothing is prepared anew, and nothing read."""

    def loss(params, state, batch):
        return net_loss(params, batch), {"mean": 0.9 * state["mean"] + 0.1 * gnp.mean(batch["x"], 0)}

    events = []
    for cls, name in ((Emulated, "replay"), (Emulated, "capture"), (Emulated, "download"), (Sequences, "_prepare")):
        plain = getattr(cls, name)
        monkeypatch.setattr(
            cls, name, lambda self, *args, plain=plain, name=name: (events.append(name), plain(self, *args))[1]
        )
    step = make(4, loss if has_state else net_loss, has_state=has_state)
    with graphad.default_device("cuda:emulated"):
        state = step.init(net_params(), 0, {"mean": np.zeros(2, np.float32)} if has_state else None)
        batch = graphad.device_put(next(batches(net_data(), 32)), "cuda:emulated")
        for _ in range(9):
            state, value = step(state, batch)
        events.clear()
        for _ in range(2):
            state, value = step(state, batch)
    assert "replay" in events
    assert {"capture", "download", "_prepare"}.isdisjoint(events), events
    assert np.isfinite(float(value))
