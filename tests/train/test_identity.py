"""A training that goes on with other data or another optimiser is told so, and only then."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import graphad
from graphad import optim
from graphad.optim import GradientTransformation
from graphad.train import Callback, Checkpoint, CheckpointWarning, fit
from graphad.train._identity import checksums_of, difference, parameters_of
from tests.train.problems import line_data, line_loss, line_params

#: What is made of other functions; the numbers of those are found through it, as the tests below say.
COMPOSED = {
    "chain", "masked", "stateless", "scale_by_schedule", "join_schedules", "sgdr_schedule",
    "piecewise_constant_schedule", "piecewise_interpolate_schedule",
}  # fmt: skip
REQUIRED = {"Scalar": 0.5, "ScalarOrSchedule": 0.5, "float": 0.5, "int": 20}
CHOSEN = {"decay_steps": 50, "momentum": 0.9}


def factories():
    """Every public function that gives a transformation or a schedule, with required arguments."""
    for name in dir(optim):
        function = getattr(optim, name)
        if not inspect.isfunction(function) or name in COMPOSED:
            continue
        signature = inspect.signature(function)
        if signature.return_annotation in ("GradientTransformation", "Schedule"):
            required = {
                p.name: CHOSEN.get(p.name) or REQUIRED[p.annotation]
                for p in signature.parameters.values()
                if p.default is p.empty or p.name in CHOSEN
            }
            yield name, function, required


def numbers_of(function, required):
    """Its parameters that are numbers or switches, with another value."""
    for p in inspect.signature(function).parameters.values():
        value = required.get(p.name, p.default)
        if isinstance(value, bool):
            yield p.name, not value
        elif isinstance(value, (int, float)):
            yield p.name, value + 2 if isinstance(value, int) else value / 2 or 0.25


def optimizer_of(made):
    return made if isinstance(made, GradientTransformation) else optim.sgd(made)


@pytest.mark.parametrize(("name", "function", "required"), [pytest.param(*f, id=f[0]) for f in factories()])
def test_every_number_of_every_optimizer_is_noticed(name, function, required):
    base = parameters_of(optimizer_of(function(**required)))
    assert difference(base, parameters_of(optimizer_of(function(**required)))) == ""
    for parameter, value in numbers_of(function, required):
        told = difference(base, parameters_of(optimizer_of(function(**{**required, parameter: value}))))
        assert told, f"{name}({parameter}={value!r}) is told from {name} by nothing"


def test_a_learning_rate_is_named_by_its_name():
    for make in (optim.sgd, optim.adam, optim.adamw, optim.lion, optim.rmsprop, optim.adagrad, optim.lbfgs):
        told = difference(parameters_of(make(0.01)), parameters_of(make(0.001)))
        assert "learning_rate was 0.01 and is 0.001" in told or "step_size was -0.01 and is -0.001" in told
    before = parameters_of(optim.sgd(optim.cosine_decay_schedule(0.1, 100)))
    told = difference(before, parameters_of(optim.sgd(optim.cosine_decay_schedule(0.1, 200))))
    assert told == "cosine_decay_schedule.decay_steps was 100 and is 200"
    told = difference(parameters_of(optim.adam(0.1)), parameters_of(optim.chain(optim.clip(1.0), optim.adam(0.1))))
    assert told.startswith("clip is new, clip.max_delta is new")


RATE = 0.1


class Warmup:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, count):
        return self.rate

    def method(self, count):
        return self.rate


@dataclass
class Constant:
    rate: object

    def __call__(self, count):
        return self.rate


def scheduled(count, rate=0.1):
    return rate


@pytest.mark.parametrize(
    "make",
    [
        lambda r: lambda count: r,
        lambda r: (lambda count: 0.1) if r == 0.1 else (lambda count: 0.2),
        lambda r: (lambda count: (lambda: 0.1)()) if r == 0.1 else (lambda count: (lambda: 0.2)()),
        lambda r: lambda count, rate=r: rate,
        lambda r: lambda count, *, rate=r: rate,
        lambda r: partial(scheduled, rate=r),
        lambda r: partial(lambda rate, count: rate, r),
        Warmup,
        lambda r: Warmup(r).method,
        Constant,
        lambda r: Constant(np.float32(r)),
        lambda r: Constant(np.full(3, r)),
        lambda r: Constant({"rate": (r,)}),
        lambda r: graphad.jit(lambda count: r),
        lambda r: optim.join_schedules([optim.constant_schedule(0.5), optim.constant_schedule(r)], [10]),
        lambda r: optim.piecewise_constant_schedule(1.0, {5: r}),
        lambda r: optim.piecewise_interpolate_schedule("linear", 1.0, {5: r}),
        lambda r: optim.sgdr_schedule([{"init_value": r, "peak_value": 1.0, "decay_steps": 9, "warmup_steps": 2}]),
    ],
)
def test_schedules_of_users_are_read(make):
    texts = [parameters_of(optim.sgd(make(r))) for r in (0.1, 0.1, 0.2)]
    assert difference(texts[0], texts[1]) == ""
    assert difference(texts[0], texts[2])


def test_globals_of_schedules_are_read(monkeypatch):
    before = parameters_of(optim.sgd(lambda count: RATE))
    monkeypatch.setitem(globals(), "RATE", 0.2)
    assert difference(before, parameters_of(optim.sgd(lambda count: RATE))) == "RATE was 0.1 and is 0.2"


def test_other_processes_read_the_same():
    program = (
        "from graphad import optim; from graphad.train._identity import parameters_of; print(parameters_of(optim.chain("
        "optim.masked(optim.adamw(optim.warmup_cosine_decay_schedule(0., 1., 2, 9)), {'w': True}), optim.lbfgs())))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    theirs = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True).stdout
    exec(program.replace("print(", "ours = ("), ours := {})
    assert theirs == f"{ours['ours']}\n"
    assert "init_value" in theirs


def test_every_element_of_the_data_counts():
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    base = checksums_of((x,))
    assert checksums_of((np.asfortranarray(x),)) == base
    assert checksums_of([graphad.numpy.asarray(x)]) == base
    for other in (x.astype(np.float64), x.reshape(2, 3), x[:2]):
        assert difference(base, checksums_of((other,)))
    for k in range(x.size):
        changed = x.copy()
        changed.flat[k] += 1
        assert difference(base, checksums_of((changed,)))
    large = np.broadcast_to(np.float64(1), (5_000, 2_000))
    assert difference(checksums_of(large), checksums_of(large * 2))


# --- as `fit` says it


def train(folder, **options):
    options = {"data": line_data(), "optimizer": optim.adam(1e-2), "epochs": 2, **options}
    data, optimizer = options.pop("data"), options.pop("optimizer")
    return fit(line_loss, line_params(), data, optimizer, batch_size=16, progress=False, checkpoint=folder, **options)


def test_going_on_with_the_same_says_nothing(tmp_path):
    train(tmp_path, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path, data=tuple(map(np.copy, line_data())))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": optim.adam(1e-3)}, r"other optimizer settings \(scale_by_learning_rate.learning_rate was 0.01"),
        ({"optimizer": optim.adam(1e-2, b1=0.8)}, r"other optimizer settings \(scale_by_adam.b1 was 0.9 and is 0.8\)"),
        (
            {"data": (line_data()[0], -line_data()[1])},
            r"other data \(\[1\] was float32\[64\] \w+ and is float32\[64\] \w+\)",
        ),
    ],
    ids=["rate", "decay", "data"],
)
def test_going_on_with_others_is_told_once(tmp_path, options, message):
    train(tmp_path, epochs=1)
    with pytest.warns(CheckpointWarning, match=rf"test_identity\.py:\d+: .* goes on from step 4 with {message}"):
        train(tmp_path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(tmp_path, **options, epochs=3)


def test_checkpoints_beyond_the_epochs_asked_for(tmp_path):
    class Stop(Callback):
        def on_step(self, training):
            if training.step == 18:
                training.stop("enough")

    stopped = train(Checkpoint(tmp_path, every=1), epochs=9, callbacks=[Stop()])
    assert repr(stopped).startswith("FitResult(18 steps: 4 epochs and 2 steps of the next, loss ")
    for epochs in (3, 4):
        with pytest.warns(CheckpointWarning, match=rf"epochs={epochs}, but .* for 18 steps: 4 epochs and 2 steps of"):
            again = train(tmp_path, epochs=epochs)
        assert again.stopped_because == f"the checkpoints are beyond the {epochs} epochs asked for"
        assert again.steps == 18
    assert train(tmp_path, epochs=5).stopped_because == "all 5 epochs are done"
