"""The loop: its trajectory, its options, what it reports, resuming."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import (
    Callback,
    Checkpoint,
    CheckpointWarning,
    EarlyStopping,
    Step,
    batches,
    fit,
    make_step,
)
from graphad.train._progress import Progress
from tests import thinned
from tests.train.problems import (
    bits,
    line_data,
    line_loss,
    line_params,
    net_data,
    net_loss,
    net_loss_with_dropout,
    net_params,
    net_scores,
)


def train(loss=net_loss, params=None, data=None, optimizer=None, **options):
    options = {"batch_size": 16, "epochs": 3, "progress": False, **options}
    if not isinstance(loss, Step):
        optimizer = optimizer or optim.adam(1e-2)
    return fit(loss, params or net_params(), data or net_data(), optimizer, **options)


def accuracy(params, batch):
    return gnp.mean(gnp.argmax(net_scores(params, batch["x"]), axis=1) == batch["label"])


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_fit_is_the_loop_one_would_write(shuffle, drop_last):
    result = train(batch_size=20, shuffle=shuffle, drop_last=drop_last, key=5)
    step = make_step(net_loss, optim.adam(1e-2))
    state, losses = step.init(net_params(), 5), []
    for epoch in (1, 2, 3):
        for batch in batches(net_data(), 20, 5 if shuffle else None, epoch, drop_last):
            state, loss = step(state, batch)
            losses.append(float(loss))
    assert bits((result.params, result.opt_state)) == bits((state.params, state.opt_state))
    assert result.losses.tolist() == losses
    assert result.steps == len(losses) == 3 * (4 if drop_last else 5)
    assert [row["step"] for row in result.history] == [len(losses) / 3 * k for k in (1, 2, 3)]
    assert result.history[0]["loss"] == pytest.approx(np.mean(losses[: len(losses) // 3]))


def test_the_initial_parameters_stay_the_callers():
    params = net_params()
    before = bits(params)
    first, second = train(params=params), train(params=params)
    assert bits(params) == before
    assert bits(first.params) == bits(second.params)
    assert bits(train(params=params, key=1).params) != bits(first.params)


def test_all_at_once_is_the_default_batch():
    result = train(line_loss, line_params(), line_data(), optim.sgd(0.3), batch_size=None, epochs=200)
    np.testing.assert_allclose([result.params["a"], result.params["b"]], np.polyfit(*line_data(), 1), rtol=1e-4)
    assert result.steps == 200


def test_a_function_gives_the_batches():
    def data(epoch):
        return batches(net_data(), 16, 9, epoch)

    result = train(data=data, batch_size=None)
    assert result.steps == 18
    assert bits(result.params) == bits(train(key=9).params)
    with pytest.raises(ValueError, match="epoch 1 has no batches"):
        train(data=lambda epoch: iter(()), batch_size=None)
    with pytest.raises(ValueError, match="batch_size=16 would have no effect"):
        train(data=data)


def test_a_step_of_ones_own():
    def loss(params, batch):
        return net_loss(params, batch), {"largest": gnp.max(batch["x"]), "scores": net_scores(params, batch["x"])}

    result = train(make_step(loss, optim.adam(1e-2), has_aux=True))
    assert bits(result.params) == bits(train().params)
    assert list(result.history[0]) == ["epoch", "step", "loss", "largest", "seconds"]
    step = make_step(net_loss, optim.adam(1e-2))
    assert bits(fit(step, net_params(), net_data(), batch_size=16, epochs=3, progress=False).params) == bits(
        result.params
    )
    with pytest.raises(ValueError, match="a step has its own optimizer"):
        train(step, accumulate=2)


def test_options_of_the_step_are_passed_on():
    exact = train(net_loss)
    for options in ({"accumulate": 4}, {"precision": "float16"}, {"precision": "bfloat16"}):
        result = train(net_loss, **options)
        assert bits(result.params) != bits(exact.params)
        np.testing.assert_allclose(result.history[-1]["loss"], exact.history[-1]["loss"], rtol=0.02)


def test_evaluation():
    data = net_data()
    result = train(eval_data=data)
    np.testing.assert_allclose(result.history[-1]["eval_loss"], graphad.jit(net_loss)(result.params, data), rtol=1e-5)
    result = train(eval_data=data, evaluate=accuracy, batch_size=22)  # the last batch is smaller
    assert result.history[-1]["eval_accuracy"] == pytest.approx(float(accuracy(result.params, data)))
    result = train(eval_data=data, evaluate=lambda params, batch: {"a": 1.0, "n": gnp.mean(batch["label"])})
    assert result.history[0]["eval_n"] == pytest.approx(data["label"].mean())
    seen = []
    result = train(evaluate=lambda params: seen.append(1) or len(seen))
    assert [row["eval_lambda"] for row in result.history] == [1, 2, 3]
    with pytest.raises(TypeError, match=r"a metric is one number, but evaluate gives 'lambda' of shape \(16, 2\)"):
        train(eval_data=data, evaluate=lambda params, batch: batch["x"])
    with pytest.raises(ValueError, match="takes a key, so it is random"):
        train(net_loss_with_dropout, eval_data=data)
    with pytest.raises(ValueError, match=r"fit: eval_data: .*no examples"):
        train(eval_data={"x": np.ones((0, 2))})


def test_callbacks():
    calls = []

    class Recorder(Callback):
        def on_step(self, training):
            calls.append(("step", training.step, training.epoch, float(training.last_loss)))

        def on_epoch(self, training):
            calls.append(("epoch", training.step, training.epoch, training.history[-1]["loss"]))
            np.asarray(training.params[0]["w"])

        def on_end(self, training):
            calls.append(("end", training.step, training.stop_reason))

    rows = []
    result = train(callbacks=[Recorder(), lambda training: rows.append(dict(training.history[-1]))], epochs=2)
    assert [c[:3] for c in calls if c[0] == "step"] == [("step", k + 1, 1 + k // 6) for k in range(12)]
    assert [c[3] for c in calls if c[0] == "step"] == result.losses.tolist()
    assert [c[1:3] for c in calls if c[0] == "epoch"] == [(6, 1), (12, 2)]
    assert calls[-1] == ("end", 12, "all 2 epochs are done")
    assert rows == result.history
    with pytest.raises(TypeError, match="is no callback"):
        train(callbacks=[Recorder])


def test_a_callback_stops(tmp_path):
    class Stop(Callback):
        def on_step(self, training):
            if training.step == 8:
                training.stop("enough")

    result = train(callbacks=[Stop()], checkpoint=tmp_path)
    assert result.steps == 8
    assert len(result.history) == 1
    assert result.stopped_because == "enough"
    assert len(result.losses) == 8
    assert bits(train(checkpoint=tmp_path).params) == bits(train().params)  # the rest, later


def test_early_stopping():
    losses = iter([5.0, 4.0, 4.5, 4.2, 3.0])
    result = train(epochs=9, evaluate=lambda params: {"loss": next(losses)}, early_stopping=EarlyStopping(2))
    assert len(result.history) == 4
    assert result.stopped_because == "eval_loss did not improve for 2 epochs; the best was 4 in epoch 2"
    rise = EarlyStopping(1, "m", "max", min_delta=0.5)
    assert rise.reason([{"epoch": 1, "m": 1.0}]) is None
    assert rise.reason([{"epoch": 1, "m": 1.0}, {"epoch": 2, "m": 1.6}]) is None
    assert rise.reason([{"epoch": 1, "m": 1.0}, {"epoch": 2, "m": 1.4}]).startswith("m did not improve for 1 epoch;")
    assert rise.reason([{"epoch": 1, "m": np.nan}, {"epoch": 2, "m": np.nan}]) is not None
    with pytest.raises(ValueError, match=r"no metric 'eval_loss'; the history has 'epoch', 'step', 'loss', 'seconds'"):
        train(early_stopping=EarlyStopping(2))
    assert len(train(early_stopping=2, optimizer=optim.sgd(0.0), shuffle=False, epochs=9).history) == 3


def test_the_result_explains_itself():
    result = train(eval_data=net_data())
    pattern = r"FitResult\(18 steps in 3 epochs, loss [\d.]+ -> [\d.]+, eval_loss [\d.]+ -> [\d.]+; stopped because all"
    assert re.match(pattern, repr(result))
    axes = result.plot()
    assert [line.get_label() for line in axes.lines[1:]] == ["loss", "eval_loss"]
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), np.arange(1, 19))
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), result.losses)


def test_one_line_an_epoch_where_there_is_no_terminal(capsys):
    train(progress=True, eval_data=net_data())
    out, err = capsys.readouterr()
    assert out == ""
    number = r"[\d.]+[kM]?"
    line = rf"epoch \d/3  step \d+  loss {number}  eval_loss {number}  {number} steps/s  {number} examples/s"
    assert [bool(re.fullmatch(line, text)) for text in err.splitlines()] == [True] * 3
    train(progress=False)
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_one_line_that_is_rewritten_on_a_terminal():
    stream = Terminal()
    progress = Progress(epochs=2, per_epoch=40, batch_size=10, enabled=True, stream=stream)
    progress.begin_epoch()
    for _ in range(10):
        progress.count()
    progress.update(1, 10, 0.25)
    shown = stream.getvalue()
    assert shown.startswith("\r\x1b[Kepoch 1/2 [#####...............] 10/40  loss 0.25  ")
    assert "steps/s" in shown
    assert "\n" not in shown
    progress.end_epoch({"epoch": 1, "step": 40, "loss": 0.5, "seconds": 1.0})
    assert stream.getvalue().count("\n") == 1


def test_the_losses_are_looked_at_now_and_then_only(monkeypatch):
    """Each look waits for the device."""
    looks = []
    from graphad.train import _loop

    plain = _loop.Loop._look
    monkeypatch.setattr(_loop.Loop, "_look", lambda self: (looks.append(self.training.step), plain(self)))
    monkeypatch.setattr(_loop, "_LOOK", 1e9)
    result = train(epochs=2)
    assert looks == [6, 12]  # the ends of the epochs
    assert len(result.losses) == 12


@pytest.mark.parametrize("loss", [net_loss, net_loss_with_dropout])
@pytest.mark.parametrize("every", thinned.every(2, [None, 1, 4, 5]))
def test_resuming_changes_nothing(loss, every, tmp_path):
    options = {"epochs": 4, "eval_data": None if loss is net_loss_with_dropout else net_data(), "precision": None}
    whole = train(loss, **options)

    class Interrupt(Callback):
        def on_step(self, training):
            if training.step == stop_at:
                raise KeyboardInterrupt

    for stop_at in (3, 11, 14, 20):
        with pytest.raises(KeyboardInterrupt):
            train(loss, checkpoint=Checkpoint(tmp_path, every), callbacks=[Interrupt()], **options)
    result = train(loss, checkpoint=Checkpoint(tmp_path, every), **options)
    assert bits((result.params, result.opt_state)) == bits((whole.params, whole.opt_state))
    assert result.steps == whole.steps
    for row, expected in zip(result.history, whole.history, strict=True):
        assert {**row, "seconds": 0} == {**expected, "seconds": 0}
    assert len(result.losses) < len(whole.losses)


def test_resuming_after_the_end_and_for_longer(tmp_path, capsys):
    whole = train(epochs=4)
    train(epochs=2, checkpoint=tmp_path)
    again = train(epochs=2, checkpoint=tmp_path)
    assert len(again.losses) == 0
    assert again.stopped_because == "all 2 epochs are done"
    longer = train(epochs=4, checkpoint=tmp_path, progress=True)
    assert f"going on from step 12, in {tmp_path}" in capsys.readouterr().err
    assert bits(longer.params) == bits(whole.params)
    assert repr(again).startswith("FitResult(12 steps in 2 epochs")
    assert again.plot() is not None


def test_resuming_a_mixed_precision_training_keeps_its_scale(tmp_path):
    options = {"precision": "float16", "epochs": 2}
    whole = train(**options)
    train(**{**options, "epochs": 1}, checkpoint=tmp_path)
    assert bits(train(**options, checkpoint=tmp_path).params) == bits(whole.params)


def test_a_damaged_checkpoint_costs_an_epoch(tmp_path):
    whole = train()
    train(checkpoint=tmp_path)
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-7])
    with pytest.warns(
        CheckpointWarning, match=r"step-00000018\.safetensors is damaged.* Going on from that of step 12"
    ):
        result = train(checkpoint=tmp_path)
    assert bits(result.params) == bits(whole.params)
    assert len(result.losses) == 6


def test_what_resume_says(tmp_path):
    with pytest.raises(ValueError, match=r"resume=True, but there is no checkpoint in"):
        train(checkpoint=tmp_path, resume=True)
    train(checkpoint=tmp_path, resume=False)
    train(checkpoint=tmp_path, resume=True)
    with pytest.raises(ValueError, match=r"resume=False, but .* holds checkpoints of another training"):
        train(checkpoint=tmp_path, resume=False)
    with pytest.raises(ValueError, match="a training with batch_size=16, and this one has 8"):
        train(checkpoint=tmp_path, batch_size=8)
    with pytest.raises(ValueError, match=r"a training with key=\[0, 0\], and this one has \[0, 1\]"):
        train(checkpoint=tmp_path, key=1)
    with pytest.raises(ValueError, match=r"is of another tree: params.0.b is float32\[8\] there and float32\[9\] here"):
        train(checkpoint=tmp_path, params=net_params(9))
    with pytest.raises(ValueError, match="is of another tree: it"):
        train(checkpoint=tmp_path, optimizer=optim.sgd(0.1, momentum=0.9))


def test_wrong_uses():
    with pytest.raises(TypeError, match="needs an optimizer"):
        fit(net_loss, net_params(), net_data())
    with pytest.raises(ValueError, match="epochs=0"):
        train(epochs=0)
    with pytest.raises(ValueError, match="on_nan='warn'; it is one of 'raise', 'stop', 'ignore'"):
        train(on_nan="warn")
    with pytest.raises(ValueError, match="resume='yes'; it is one of True, False, 'auto'"):
        train(resume="yes")
    with pytest.raises(ValueError, match="batch_size=97, but there are 96 examples"):
        train(batch_size=97)
    with pytest.raises(ValueError, match=r"fit: data\['label'\] has 96 examples .* data\['x'\] has 95"):
        train(data={**net_data(), "x": net_data()["x"][1:]})
    with pytest.raises(ValueError, match="tpu"):
        train(device="tpu")


def test_train_is_imported_when_first_used():
    import subprocess
    import sys

    code = "import sys, graphad; assert 'graphad.train' not in sys.modules; graphad.train.fit"
    subprocess.run([sys.executable, "-c", code], check=True)
