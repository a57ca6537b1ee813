"""Where an infinity came from: the user's line."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.train import NonFiniteError, fit, make_step


def line_of(text):
    """The number of the line of this file that ends in ``text``."""
    lines = inspect.getsource(inspect.getmodule(line_of)).splitlines()
    return next(k + 1 for k, line in enumerate(lines) if line.endswith(text))


def failure(loss, params, data, optimizer=None, **options):
    options = {"batch_size": 1, "shuffle": False, "progress": False, **options}
    with pytest.raises(NonFiniteError) as caught:
        fit(loss, params, data, optimizer or optim.sgd(1.0), **options)
    return caught.value


def test_the_step_the_line_and_the_equation():
    def loss(params, x):
        z = params["w"] * x
        risky = gnp.log(z)  # here
        return gnp.mean(risky * 2.0)

    error = failure(loss, {"w": 1.0}, np.float32([1, 2, -3, 4]), optim.sgd(0.1))
    expected = (
        f"test_nonfinite.py:{line_of('# here')}: step 2: the loss is nan. The first equation to blame is log, which"
    )
    assert str(error).startswith(expected)
    assert "gives nan for finite operands:\n    risky = gnp.log(z)  # here\n" in str(error)
    assert error.step == 2
    assert error.batch.tolist() == [-3.0]
    np.testing.assert_allclose(error.params["w"], 1.0 - 0.2 - 0.2 / 0.8, rtol=1e-6)
    assert isinstance(error, ArithmeticError)


def test_within_other_functions():
    @graphad.jit
    def inner(z):
        return gnp.exp(z)  # inner

    @graphad.checkpoint
    def outer(z):
        return inner(z) - inner(z * 1.5)

    def loss(params, x):
        return gnp.mean(outer(params["w"] * x))

    error = failure(loss, {"w": 1.0}, np.float32([1, 100]))
    assert str(error).startswith(f"test_nonfinite.py:{line_of('# inner')}: step 1: the loss is ")
    assert "exp, which gives inf" in str(error)


def test_infinities_that_do_no_harm_are_not_blamed():
    def loss(params, x):
        masked = gnp.where(x > 0, x * params["w"], -gnp.inf)
        scores = graphad.nn.softmax(masked)
        safe = gnp.where(x > 0, gnp.log(gnp.abs(x)), 0.0)
        return gnp.mean(scores * safe) + gnp.mean(1.0 / (params["w"] - 1.0))  # guilty

    x = np.float32([[1.0, 0.0, 2.0], [3.0, 0.0, 1.0]])
    error = failure(loss, {"w": 1.0}, x)
    assert str(error).startswith(f"test_nonfinite.py:{line_of('# guilty')}: step 0: the loss is inf")


def test_the_gradient_alone():
    def loss(params, x):
        length = gnp.sqrt(gnp.sum(params["w"] ** 2))  # root
        return gnp.mean(length * x)

    error = failure(loss, {"w": np.zeros(3, np.float32)}, np.ones(2, np.float32))
    assert str(error).startswith(
        f"test_nonfinite.py:{line_of('# root')}: step 0: the loss is finite, but its gradient with respect to "
        "params['w'] is nan. The first equation to blame is"
    )
    assert "(of its derivative)" in str(error)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"precision": "float16"}, {"precision": "bfloat16"}])
def test_data_that_are_not_finite(options):
    def loss(params, x, y):
        return gnp.mean((params["w"] * x - y[:, None]) ** 2)

    x = np.ones((6, 2), np.float32)
    x[3, 1] = np.nan
    error = failure(loss, {"w": 0.5}, (x, x[:, 0]), optim.sgd(0.1), batch_size=2, **options)
    assert str(error).startswith("step 1: the loss is nan: batch[0] holds nan already.")


def test_an_array_of_the_program_that_is_not_finite():
    table = gnp.array([1.0, np.inf, 2.0])
    error = failure(lambda params, k: gnp.mean(params["w"] * table[k]), {"w": 0.5}, np.arange(3, dtype=np.int32))
    assert "an array that the loss closes over holds inf already" in str(error)


def test_a_gradient_too_large_for_float16_is_given_up_when_no_scale_helps():
    def loss(params, x):
        return gnp.sum(params["w"] * x)  # large

    data = np.full((40, 8), 6e4, np.float32)
    error = failure(loss, {"w": 1e-4}, data, optim.sgd(1e-9), precision="float16")
    assert error.step == 15
    assert str(error).startswith(
        f"test_nonfinite.py:{line_of('# large')}: step 15: the loss is finite, but its gradient"
    )


def test_stop_returns_what_there_was(tmp_path):
    def loss(params, x):
        return gnp.mean(gnp.sqrt(params["w"] * x))

    x = np.float32([1, 1, 1, -1, 1, 1])
    result = fit(
        loss,
        {"w": 1.0},
        x,
        optim.sgd(0.1),
        batch_size=1,
        shuffle=False,
        progress=False,
        on_nan="stop",
        epochs=5,
        checkpoint=tmp_path,
    )
    assert result.steps == 3
    assert len(result.losses) == 3
    assert "step 3: the loss is nan" in result.stopped_because
    assert np.isfinite(float(result.params["w"]))
    assert list(tmp_path.iterdir()) == []
    result = fit(loss, {"w": 1.0}, x, optim.sgd(0.1), batch_size=1, shuffle=False, progress=False, on_nan="ignore")
    assert result.steps == 6
    assert np.isnan(float(result.params["w"]))


def test_nothing_is_kept_of_a_training_that_fails(tmp_path):
    def loss(params, x):
        return gnp.mean(gnp.sqrt(params["w"] * x))

    x = np.float32([1, 1, 1, -1, 1, 1])
    error = failure(loss, {"w": 1.0}, x, optim.sgd(0.1), checkpoint=graphad.train.Checkpoint(tmp_path, every=2))
    assert error.step == 3
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002.safetensors"]
    step = make_step(loss, optim.sgd(0.1), halt=False)
    result = fit(step, {"w": 1.0}, x, batch_size=1, progress=False)
    assert np.isnan(float(result.params["w"]))


def test_parameters_that_an_update_has_spoilt():
    error = failure(
        lambda params, x: gnp.mean(params["w"] * x), {"w": 1.0}, np.full(3, 1e30, np.float32), optim.sgd(1e30)
    )
    assert "step 1: the loss is -inf: params['w'] holds -inf already. An update made it so: lower the" in str(error)
    error = failure(lambda params, x: gnp.mean(params["w"] * x), {"w": np.nan}, np.ones(3, np.float32))
    assert str(error).endswith("params['w'] holds nan already. Remove or replace it there.")
