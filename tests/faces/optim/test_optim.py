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
    leaves = graphad.tree.leaves((stepped, updates, state))
    assert {np.dtype(x.dtype) for x in leaves} == {np.dtype(dtype), np.dtype(np.int32)}


def test_bfloat16_counts_beyond_256():
    """1 - b2**t has to go on growing where t itself is no longer a bfloat16."""
    optimizer = optim.adam(1.0, b2=0.999)
    one = gnp.array(1.0, gnp.bfloat16)
    state = (optim.ScaleByAdamState(gnp.array(999, np.int32), one, one), optim.EmptyState())
    updates, _ = optimizer.update(gnp.array(1.0, gnp.bfloat16), state)
    assert float(updates) == pytest.approx(-np.sqrt(1 - 0.999**1000), rel=1e-2)


def test_the_count_stays_at_its_end():
    last = gnp.array(np.iinfo(np.int32).max)
    _, state = optim.scale_by_schedule(decay).update(1.0, optim.ScaleByScheduleState(last))
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


WRONG = [
    (lambda: optim.adamw(0.1).update(1.0, optim.adamw(0.1).init(1.0)), ValueError, "add_decayed_weights needs"),
    (lambda: optim.chain(optim.scale(2.0)).update(1.0, ()), ValueError, "chain of 1 transformations got a state for 0"),
    (lambda: optim.lbfgs().update(1.0, optim.lbfgs().init(1.0), 1.0), TypeError, "line search needs value=: call"),
    (lambda: optim.scale_by_lbfgs(0), ValueError, "memory_size of at least 1, got 0"),
    (lambda: optim.scale_by_zoom_linesearch(9, initial_guess_strategy="two"), ValueError, "'keep' or 'one', got 'two'"),
    (lambda: optim.value_and_grad_from_state(abs)(1.0, state=()), ValueError, "no part of the optimiser is"),
    (lambda: optim.cosine_decay_schedule(1.0, 0), ValueError, "takes a positive decay_steps, got 0"),
    (lambda: optim.join_schedules([abs, abs], []), ValueError, "one boundary less than schedules, got 0 for 2"),
    (lambda: optim.piecewise_constant_schedule(1.0, {3: -1.0}), ValueError, "not negative, got -1.0"),
    (lambda: optim.piecewise_interpolate_schedule("cubic", 1.0), ValueError, "'linear' or 'cosine', got 'cubic'"),
    (lambda: optim.masked(optim.scale(2.0), {"v": True}).init({"w": 1.0}), ValueError, "v"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_wrong_uses_say_what_to_do(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


def test_gradients_of_another_structure_are_refused():
    optimizer = optim.adam(0.1)
    state = optimizer.init({"w": 1.0})
    with pytest.raises(ValueError, match="key mismatch"):
        optimizer.update({"v": 1.0}, state)


def test_the_line_search_runs_under_jit():
    """As a path of guards for each sequence of decisions."""

    def f(x):
        return gnp.sum(gnp.log1p(gnp.exp(-3 * x))) + 0.05 * gnp.sum(x**2)

    optimizer = optim.lbfgs(memory_size=3)

    def step(x, state):
        value, grad = graphad.value_and_grad(f)(x)
        updates, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=f)
        return optim.apply_updates(x, updates), state

    points = {}
    for wrap in (lambda f: f, graphad.jit):
        x = gnp.array([-0.5, 0.0, 2.0], np.float64)
        state, run = optimizer.init(x), wrap(step)
        for _ in range(3):
            x, state = run(x, state)
        points[wrap] = np.asarray(x)
    np.testing.assert_allclose(*points.values(), rtol=1e-9)


def test_a_schedule_of_accumulation_under_jit():
    """Large batches later on, in one compiled step."""
    optimizer = optim.MultiSteps(optim.sgd(1.0), lambda step: 1 + step)
    state, moved = optimizer.init(0.0), []
    update = graphad.jit(optimizer.update)
    for _ in range(6):
        updates, state = update(gnp.array(1.0), state)
        moved.append((float(updates), bool(optimizer.has_updated(state))))
    assert moved == [(-1, True), (0, False), (-1, True), (0, False), (0, False), (-1, True)]
