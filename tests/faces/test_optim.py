"""`graphad.optim` against transcriptions of the published updates, and inside the transforms."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim


def quadratic(params):
    """A bowl that is steeper in `w` than in `b`."""
    return (3.0 * params["w"] ** 2).sum() + (params["b"][0] - 1.0) ** 2


def start(dtype=np.float64):
    return {"w": gnp.array([1.0, -2.0, 0.0], dtype), "b": (gnp.array(0.5, dtype),)}


def as_vector(params):
    return np.array([*np.asarray(params["w"]), float(params["b"][0])])


def gradient_of(x):
    """Of `quadratic`, on the vector of all parameters."""
    return np.array([*(6.0 * x[:3]), 2.0 * (x[3] - 1.0)])


def trajectory(optimizer, steps, params=None, wrap=lambda f: f):
    params = start() if params is None else params
    state = optimizer.init(params)

    @wrap
    def step(params, state):
        updates, state = optimizer.update(graphad.grad(quadratic)(params), state)
        return optim.apply_updates(params, updates), state

    points = []
    for _ in range(steps):
        params, state = step(params, state)
        points.append(as_vector(params))
    return np.stack(points)


def numpy_sgd(rate, momentum, nesterov, steps):
    x, trace, points = as_vector(start()), np.zeros(4), []
    for t in range(steps):
        g = gradient_of(x)
        trace = g + momentum * trace
        x = x - rate(t) * (g + momentum * trace if nesterov else trace)
        points.append(x)
    return np.stack(points)


def numpy_adam(rate, b1, b2, eps, steps):
    """Algorithm 1 of Kingma and Ba 2015; the schedule counts from 0."""
    x, m, v, points = as_vector(start()), np.zeros(4), np.zeros(4), []
    for t in range(1, steps + 1):
        g = gradient_of(x)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        x = x - rate(t - 1) * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        points.append(x)
    return np.stack(points)


def decay(step):
    return 0.1 / (1.0 + 0.5 * step)


SGD = [(0.1, None, False), (0.05, 0.9, False), (0.05, 0.9, True), (decay, 0.5, False), (decay, None, False)]


@pytest.mark.parametrize(("rate", "momentum", "nesterov"), SGD)
def test_sgd_follows_the_formulas(rate, momentum, nesterov):
    points = trajectory(optim.sgd(rate, momentum, nesterov), 12)
    schedule = rate if callable(rate) else lambda _t: rate
    # A schedule's own values are float32: the count it gets is an int32, and 0.5 is a Python number.
    tolerance = 1e-6 if callable(rate) else 1e-13
    np.testing.assert_allclose(points, numpy_sgd(schedule, momentum or 0.0, nesterov, 12), rtol=tolerance, atol=1e-12)


@pytest.mark.parametrize(
    ("rate", "b1", "b2", "eps"), [(0.1, 0.9, 0.999, 1e-8), (0.02, 0.5, 0.9, 1e-3), (decay, 0.9, 0.99, 1e-8)]
)
def test_adam_follows_the_formulas(rate, b1, b2, eps):
    points = trajectory(optim.adam(rate, b1, b2, eps), 12)
    schedule = rate if callable(rate) else lambda _t: rate
    tolerance = 1e-6 if callable(rate) else 1e-11
    np.testing.assert_allclose(points, numpy_adam(schedule, b1, b2, eps, 12), rtol=tolerance, atol=1e-12)


def test_sgd_on_a_parabola_shrinks_by_a_constant_factor():
    points = trajectory(optim.sgd(0.05), 10)
    np.testing.assert_allclose(points[:, 1], -2.0 * (1 - 0.05 * 6.0) ** np.arange(1, 11), rtol=1e-12)
    np.testing.assert_allclose(points[:, 3], 1 - 0.5 * (1 - 0.05 * 2.0) ** np.arange(1, 11), rtol=1e-12)


def test_the_first_step_of_adam_has_the_size_of_the_rate():
    """Whatever the scale of the gradient; and where that is zero, nothing moves."""
    (first,) = trajectory(optim.adam(0.01), 1)
    np.testing.assert_allclose(first - as_vector(start()), [-0.01, 0.01, 0.0, 0.01], rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optim.sgd(0.05, 0.9, True), optim.adam(0.1)], ids=["sgd", "adam"])
def test_a_compiled_step_is_the_same_step(optimizer):
    np.testing.assert_allclose(trajectory(optimizer, 5, wrap=graphad.jit), trajectory(optimizer, 5), rtol=1e-12)


def test_vmap_over_learning_rates_trains_each_alone():
    def train(rate):
        optimizer = optim.adam(rate)
        params = start(np.float32)
        state = optimizer.init(params)
        for _ in range(3):
            updates, state = optimizer.update(graphad.grad(quadratic)(params), state)
            params = optim.apply_updates(params, updates)
        return params["w"]

    rates = [0.1, 0.01, 0.001]
    expected = np.stack([trajectory(optim.adam(r), 3, start(np.float32))[-1, :3] for r in rates])
    np.testing.assert_allclose(graphad.vmap(train)(gnp.array(rates)), expected, rtol=1e-5)


def test_the_gradient_through_an_update():
    """Through `eps_root`, also where the gradient is zero."""

    def after_one_step(rate, x):
        optimizer = optim.adam(rate, eps_root=1e-12)
        updates, _ = optimizer.update(2 * x, optimizer.init(x))
        return optim.apply_updates(x, updates)

    by_rate = graphad.grad(after_one_step)(0.1, 3.0)
    assert by_rate == pytest.approx(-1.0, rel=1e-5)
    assert np.isfinite(float(graphad.grad(after_one_step, argnums=1)(0.1, 0.0)))


@pytest.mark.parametrize("dtype", [gnp.bfloat16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("optimizer", [optim.sgd(decay, 0.9), optim.adam(decay)], ids=["sgd", "adam"])
def test_dtypes_stay(optimizer, dtype):
    params = start(dtype)
    state = optimizer.init(params)
    updates, state = optimizer.update(params, state)
    stepped = optim.apply_updates(params, updates)
    leaves = graphad.tree.leaves((stepped, updates, state[1:]))
    assert {np.dtype(x.dtype) for x in leaves} == {np.dtype(dtype)}
    assert state.count.dtype == np.int32


def test_bfloat16_counts_beyond_256():
    """1 - b2**t has to go on growing where t itself is no longer a bfloat16."""
    optimizer = optim.adam(1.0, b2=0.999)
    state = optim.AdamState(gnp.array(999, np.int32), gnp.array(1.0, gnp.bfloat16), gnp.array(1.0, gnp.bfloat16))
    updates, _ = optimizer.update(gnp.array(1.0, gnp.bfloat16), state)
    assert float(updates) == pytest.approx(-np.sqrt(1 - 0.999**1000), rel=1e-2)


def test_the_count_stays_at_its_end():
    last = gnp.array(np.iinfo(np.int32).max)
    _, state = optim.sgd(0.1).update(1.0, optim.SgdState(last, None))
    assert int(state.count) == np.iinfo(np.int32).max


def test_parameters_may_be_numbers_and_none():
    optimizer = optim.adam(0.1)
    params = {"scale": 2.0, "unused": None}
    updates, _ = optimizer.update({"scale": 1.0, "unused": None}, optimizer.init(params))
    moved = optim.apply_updates(params, updates)
    assert moved["unused"] is None
    assert float(moved["scale"]) == pytest.approx(1.9)


@pytest.mark.parametrize("shape", [(), (0,), (1, 7)])
def test_odd_shapes(shape):
    x = gnp.ones(shape)
    for optimizer in (optim.sgd(0.1, 0.9), optim.adam(0.1)):
        updates, _ = optimizer.update(x, optimizer.init(x))
        np.testing.assert_allclose(optim.apply_updates(x, updates), np.full(shape, 0.9), rtol=1e-6)


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match=r"adam moves floating-point parameters, but params\['n'\] is i32\[\]"):
        optim.adam(0.1).init({"n": 3, "x": 1.0})


def test_gradients_of_another_structure_are_refused():
    optimizer = optim.adam(0.1)
    state = optimizer.init({"w": 1.0})
    with pytest.raises(ValueError, match="key mismatch"):
        optimizer.update({"v": 1.0}, state)
