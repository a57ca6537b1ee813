"""Data, losses and options that `fit` cannot work with: refused at once, with what to write instead."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import CheckpointWarning, EarlyStopping, batches, fit, make_step
from tests.train.problems import line_data, line_loss, line_params


def train(loss=line_loss, data=None, optimizer=None, **options):
    data = line_data() if data is None else data
    return fit(loss, line_params(), data, optimizer or optim.adam(1e-2), progress=False, **options)


class Loader:
    """Like the loaders of other libraries."""

    def __iter__(self):
        return batches(line_data(), 8)

    def __len__(self):
        return 8


X, Y = line_data()

DATA = {
    "generator": ((x for x in [(X, Y)]), TypeError, "data is a generator, .* lambda epoch: load_batches()"),
    "loader": (
        Loader(),
        TypeError,
        r"data is a Loader, which gives batches, .* Pass a function .*: lambda epoch: data\.",
    ),
    "lists": ((X.tolist(), Y.tolist()), TypeError, r"hold a list of 64 numbers\. .*write np\.asarray\(\.\.\.\) around"),
    "rows": ({"x": [[1.0, 2.0], [3.0, 4.0]]}, TypeError, "hold a list of 2 numbers"),
    "a number beside": ((X, 2.0), ValueError, r"data\[1\] is a single number; .*Make it a constant of the loss"),
    "unequal": ((X, Y[:-3]), ValueError, r"data\[0\] has 64 examples .* data\[1\] has 61 .*cut the longer array"),
    "empty": ((X[:0], Y[:0]), ValueError, r"there are no examples: the arrays have shape \(0,\)"),
    "a dict for two arguments": (
        {"x": X, "y": Y},
        TypeError,
        r"line_loss is called as line_loss\(params, batch\), and takes \(params, x, y\): missing .*this one is a dict",
    ),
    "too many": (
        (X, Y, Y),
        TypeError,
        r"line_loss\(params, batch\[0\], batch\[1\], batch\[2\]\), .*too many positional",
    ),
    "nothing": (lambda epoch: None, TypeError, r"lambda\(1\) must give the batches of epoch 1, .* returns a NoneType"),
    "no batches": (lambda epoch: [], ValueError, "epoch 1 has no batches"),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case):
    data, error, message = DATA[case]
    with pytest.raises(error, match=rf"^test_wrong_uses\.py:\d+: .*{message}"):
        train(data=data)


PAIRS = "It is a list of {} {}: of examples write {}, of batches lambda epoch: data"
STACKED = "tuple(map(np.stack, zip(*data)))"
DICTS = "{k: np.stack([x[k] for x in data]) for k in data[0]}"
LISTS = {
    "examples": ([(1.0, 2.0), (3.0, 4.0)], "is a single number", PAIRS.format(2, "tuples", STACKED)),
    "batches": ([(X[:4], X[:4])], "line_loss is called as", PAIRS.format(1, "tuple", STACKED)),
    "uneven batches": ([(X[:4], X[:4]), (X[:3], X[:3])], "has 3", PAIRS.format(2, "tuples", STACKED)),
    "dicts": ([{"x": 1.0, "y": 2.0}] * 3, "is a single number", PAIRS.format(3, "dicts", DICTS)),
}


@pytest.mark.parametrize("case", LISTS)
def test_lists_of_examples_and_of_batches(case):
    data, message, told = LISTS[case]
    with pytest.raises((TypeError, ValueError), match=rf"^test_wrong_uses\.py:\d+: .*{message}.*{re.escape(told)}"):
        train(data=data)
    if case in ("examples", "dicts"):
        meant = eval(told.partition("write ")[2].partition(", of batches")[0], {"np": np, "data": data})
        assert [x.shape for x in graphad.tree.leaves(meant)] == [(len(data),)] * 2
    if case != "batches":  # of which nothing but `fit` makes an epoch
        with pytest.raises(ValueError, match=re.escape(told.partition(", of batches")[0] + ".")):
            train(eval_data=data)
    if case == "batches":
        assert train(data=lambda epoch: data).steps == 1


OPTIONS = {
    "epochs": (2.5, TypeError, r"fit: epochs=2\.5 must be an integer"),
    "batch_size": (8.0, TypeError, r"fit: batch_size=8\.0 must be an integer"),
    "accumulate": (True, TypeError, "make_step: accumulate=True must be an integer"),
    "early_stopping": (True, TypeError, "fit: early_stopping=True must be an integer"),
    "precision": ("f16", ValueError, "precision='f16': it is 'float16', 'bfloat16', or None"),
    "key": ("a", TypeError, "key: expected an array or a number, not str"),
    "callbacks": ([3], TypeError, "fit: 3 is no callback"),
    "resume": (True, ValueError, "resume=True, but there are no checkpoints: pass checkpoint="),
    "eval_data": ((X,), TypeError, r"line_loss\(params, batch\[0\]\), and takes \(params, x, y\)"),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options(name):
    value, error, message = OPTIONS[name]
    with pytest.raises(error, match=rf"^test_wrong_uses\.py:\d+: .*{message}"):
        train(**{name: value})


@pytest.mark.parametrize("optimizer", [0.1, optim.adam, "adam", optim.GradientTransformation])
def test_optimizers(optimizer):
    with pytest.raises(TypeError, match=r"make_step takes an optimizer, with init and update, not .*adam\(1e-3\)"):
        train(optimizer=optimizer)


def test_evaluations():
    with pytest.raises(
        TypeError, match=r"lambda is called as lambda\(params, batch\[0\], batch\[1\]\), and takes \(params\)"
    ):
        train(eval_data=line_data(), evaluate=lambda params: 1.0)
    with pytest.raises(TypeError, match=r"lambda is called as lambda\(params\), and takes \(params, x, y\)"):
        train(evaluate=lambda params, x, y: 1.0)

    with pytest.raises(TypeError, match="eval_data is a function; it takes arrays"):
        train(eval_data=lambda: line_data())
    for wrong, kind in ((lambda params: {"a": {"b": 1.0}}, "dict"), (lambda params: (1.0, 2.0), "tuple")):
        with pytest.raises(TypeError, match=f"a metric is a number, but lambda gives a {kind} as"):
            train(evaluate=wrong)


def test_names_of_aux():
    def run(aux):
        step = make_step(lambda *args: (line_loss(*args), aux), optim.sgd(0.1), has_aux=True)
        return fit(step, line_params(), line_data(), progress=False).history[0]

    assert list(run({"a": 1.0, "many": gnp.ones(3), "nested": {"b": 2.0}})) == ["epoch", "step", "loss", "a", "seconds"]
    for name in ("loss", "step", 3):
        with pytest.raises(ValueError, match=rf"a number named {name!r}, which can be no column of the history"):
            run({name: 1.0})


def test_the_users_line_of_what_dataclasses_check():
    with pytest.raises(ValueError, match=r"^test_wrong_uses\.py:\d+: EarlyStopping: patience=0 must be at least one"):
        EarlyStopping(0)
    with pytest.raises(ValueError, match=r"^test_wrong_uses\.py:\d+: EarlyStopping: mode='least' must be"):
        EarlyStopping(1, mode="least")
    with pytest.raises(ValueError, match=r"^test_wrong_uses\.py:\d+: Checkpoint: every=0 must be at least 1"):
        graphad.train.Checkpoint("folder", every=0)


def test_what_may_look_wrong_but_is_not(tmp_path):
    assert train(callbacks=lambda training: None, epochs=np.int64(2), batch_size=np.int32(8)).steps == 16
    assert train(data=lambda epoch: Loader(), epochs=2).steps == 16
    wide = train(data=tuple(x.astype(np.float64) for x in line_data()), epochs=3, batch_size=8)
    narrow = train(epochs=3, batch_size=8)
    assert {x.dtype.name for x in wide.params.values()} == {"float32"}
    np.testing.assert_allclose(wide.losses, narrow.losses, rtol=1e-4)
    deep = fit(
        line_loss, {"a": np.zeros(()), "b": np.zeros(())}, line_data(), optim.adam(1e-2), epochs=3, progress=False
    )
    assert {x.dtype.name for x in deep.params.values()} == {"float64"}

    class Model:
        def loss(self, params, x, y):
            return line_loss(params, x, y)

        def __call__(self, params, x, y):
            return line_loss(params, x, y)

    for loss in (Model().loss, Model(), graphad.jit(line_loss)):
        assert train(loss).losses.tolist() == train().losses.tolist()
    step = make_step(lambda p, batch: gnp.mean((p - batch[0]) ** 2), optim.sgd(0.5))
    state, _ = step(step.init(0.0), [np.ones(3, np.float32)])  # a list is one argument
    assert float(state.params) == 1.0


def test_another_optimizer_or_model_is_not_resumed(tmp_path):
    train(checkpoint=tmp_path)
    for options, message in (
        ({"optimizer": optim.sgd(0.1)}, "it holds also opt_state.0.count and 4 more"),
        ({"optimizer": optim.chain(optim.adam(1e-2), optim.ema(0.9))}, "it lacks opt_state"),
    ):
        with pytest.raises(
            ValueError, match=rf"{message}.*the kind of optimizer and restore_best must be as they were"
        ):
            train(checkpoint=tmp_path, **options)
    with pytest.raises(ValueError, match=r"it lacks opt_state\.0\.mu\.c and 2 more\. "):
        fit(line_loss, {**line_params(), "c": 1.0}, line_data(), optim.adam(1e-2), checkpoint=tmp_path, progress=False)
    with pytest.warns(CheckpointWarning, match="learning_rate was 0.01 and is 0.001"):  # it is the user's choice
        again = train(checkpoint=tmp_path, optimizer=optim.adam(1e-3), epochs=2)
    assert len(again.losses) == 1
