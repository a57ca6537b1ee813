"""`graphad.optim` beside optax: the same expression, as text, evaluated with either."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim

OPTIMIZERS = [
    "sgd(0.02)", "sgd(0.02, 0.9)", "sgd(0.02, 0.9, True)", "sgd(0.02, 0.9, accumulator_dtype='bfloat16')", "adam(0.1)",
    "adam(0.05, 0.8, 0.95, 1e-3, 1e-6)", "adam(0.1, nesterov=True)", "adam(0.1, mu_dtype='bfloat16')",
    "adamw(0.1)", "adamw(0.1, weight_decay=0.05, mask={'w': True, 'b': (False,)})", "adamw(0.1, nesterov=True)",
    "adamw(0.1, mask=lambda p: {'w': False, 'b': (True,)}, weight_decay=0.1)", "rmsprop(0.02)",
    "rmsprop(0.02, 0.8, 1e-4, 1.0, eps_in_sqrt=False)", "rmsprop(0.02, centered=True)",
    "rmsprop(0.02, momentum=0.9, nesterov=True)", "rmsprop(0.02, bias_correction=True)",
    "rmsprop(0.02, eps=0.1, centered=True, momentum=0.5, bias_correction=True)",
    "rmsprop(0.02, centered=True, eps_in_sqrt=False)",
    "adagrad(0.5)", "adagrad(0.5, 0.0, 1e-3)", "lion(0.02)", "lion(0.02, 0.8, 0.9, weight_decay=0.1)",
    "adam(cosine_decay_schedule(0.1, 30))", "sgd(exponential_decay(0.05, 10, 0.5), 0.9)",
    "adamw(warmup_cosine_decay_schedule(0.0, 0.1, 10, 40), weight_decay=linear_schedule(0.1, 0.0, 20))",
    "chain(clip(0.5), sgd(0.1))", "chain(clip_by_global_norm(0.5), adam(0.1))",
    "chain(clip_by_block_rms(0.5), sgd(0.1))",
    "chain(add_decayed_weights(0.1), trace(0.9), scale(-0.02))", "chain(ema(0.9), scale(-0.05))",
    "chain(ema(0.9, debias=False), scale_by_learning_rate(0.05))", "chain(identity(), scale_by_sign(), scale(-0.02))",
    "chain(sgd(0.02), apply_every(4))", "MultiSteps(adam(0.1), 3)",
    "MultiSteps(sgd(0.02, 0.9), 4, use_grad_mean=False)",
    "MultiSteps(sgd(0.02), lambda step: 1 + step // 4)", "masked(adam(0.1), {'w': True, 'b': (False,)})",
    "chain(sgd(0.05), masked(set_to_zero(), {'w': False, 'b': (True,)}))",
]  # fmt: skip

SCHEDULES = [
    "constant_schedule(0.1)", "linear_schedule(1.0, 0.1, 10)", "linear_schedule(1.0, 0.1, 10, 5)",
    "polynomial_schedule(1.0, 0.1, 2, 10, 3)", "polynomial_schedule(1.0, 0.1, 0.5, 10)", "linear_schedule(1.0, 0.5, 0)",
    "cosine_decay_schedule(1.0, 20)", "cosine_decay_schedule(1.0, 20, 0.1, 2.0)", "exponential_decay(1.0, 5, 0.5)",
    "exponential_decay(1.0, 5, 0.5, 3, True)", "exponential_decay(1.0, 5, 0.5, end_value=0.2)",
    "exponential_decay(1.0, 5, 2.0, end_value=3.0)", "exponential_decay(1.0, 0, 2.0)",
    "piecewise_constant_schedule(1.0)", "piecewise_constant_schedule(1.0, {10: 0.5, 3: 0.1})",
    "piecewise_interpolate_schedule('linear', 1.0, {10: 0.5, 3: 0.1})",
    "piecewise_interpolate_schedule('cosine', 1.0, {4: 0.5, 15: 3.0})",
    "linear_onecycle_schedule(20, 1.0)", "linear_onecycle_schedule(20, 1.0, 0.2, 0.7, 10.0, 100.0)",
    "cosine_onecycle_schedule(20, 1.0)", "cosine_onecycle_schedule(20, 1.0, 0.5, 10.0, 100.0)",
    "join_schedules([linear_schedule(0.0, 1.0, 5), constant_schedule(0.5), exponential_decay(1.0, 3, 0.5)], [5, 10])",
    "warmup_constant_schedule(0.0, 1.0, 7)", "warmup_cosine_decay_schedule(0.0, 1.0, 5, 20, 0.1)",
    "warmup_cosine_decay_schedule(0.1, 1.0, 5, 20, exponent=2.0)",
    "warmup_exponential_decay_schedule(0.0, 1.0, 5, 4, 0.5, 2, True, 0.2)",
    "sgdr_schedule([dict(init_value=0.0, peak_value=1.0, warmup_steps=2, decay_steps=8, end_value=0.1)] * 3)",
]  # fmt: skip

START = {"w": np.array([1.0, -2.0, 0.0, 0.7]), "b": (np.array(0.5),)}


def made(expression, module):
    return eval(expression, dict(vars(module)))


def loss(params, np):
    """Curved, coupled, with a flat direction in the first steps."""
    w, b = params["w"], params["b"][0]
    return (np.sin(w) ** 2).sum() + (w[0] - 2 * w[1] + b) ** 2 + 0.1 * (b - 1.0) ** 4 + (w[2] * b) ** 2


def trajectory(optimizer, library, xp, wrap, dtype, steps):
    params = library.tree.map(lambda x: xp.asarray(x.astype(dtype)), START) if library is jax else started(dtype)
    apply_updates = optax.apply_updates if library is jax else optim.apply_updates
    state = optimizer.init(params)

    @wrap
    def step(params, state):
        grads = library.grad(lambda p: loss(p, xp))(params)
        updates, state = optimizer.update(grads, state, params)
        return apply_updates(params, updates), state

    points = []
    for _ in range(steps):
        params, state = step(params, state)
        points.append([*np.asarray(params["w"], np.float64), float(params["b"][0])])
    return np.array(points)


def started(dtype):
    return {"w": gnp.asarray(START["w"].astype(dtype)), "b": (gnp.asarray(START["b"][0].astype(dtype)),)}


# What optax keeps in float32, or in less, whatever the parameters are.
SHORT = ("schedule", "decay(", "block_rms", "MultiSteps")


@pytest.mark.parametrize("expression", OPTIMIZERS)
def test_fifty_steps_like_optax(expression):
    """In float64 where optax can: rounding grows along the way, and Lion turns on the sign of it."""
    wide = not any(part in expression for part in (*SHORT, "bfloat16"))
    dtype, rtol = (np.float64, 1e-11) if wide else (np.float32, 2e-2 if "bfloat16" in expression else 2e-5)
    with jax.enable_x64(wide):
        expected = trajectory(made(expression, optax), jax, jnp, jax.jit, dtype, 50)
    mine = made(expression, optim)
    np.testing.assert_allclose(trajectory(mine, graphad, gnp, graphad.jit, dtype, 50), expected, rtol=rtol, atol=rtol)
    eager = trajectory(mine, graphad, gnp, lambda f: f, dtype, 6)
    np.testing.assert_allclose(eager, expected[:6], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("expression", SCHEDULES)
def test_schedules_like_optax(expression):
    mine, theirs = made(expression, optim), made(expression, optax)
    counts = np.arange(25, dtype=np.int32)
    expected = np.array([float(theirs(jnp.asarray(c))) for c in counts])
    traced = graphad.vmap(lambda c: gnp.asarray(mine(c)) + gnp.zeros(()))(counts)
    assert traced.dtype == np.float32
    np.testing.assert_allclose(traced, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose([float(mine(int(c))) for c in counts[::3]], expected[::3], rtol=1e-6, atol=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# L-BFGS and its line search


def rosenbrock(x, np):
    return (100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2).sum()


def logistic(x, np):
    """Convex and smooth, with a known scale."""
    return np.log1p(np.exp(-3 * x * np.arange(1.0, 6.0))).sum() + 0.05 * (x**2).sum()


def steep(x, np):
    """The first trials are far too long."""
    return (1e4 * (x - 1.0) ** 2 * np.arange(1.0, 6.0)).sum() + (x**4).sum()


def walled(x, np):
    """Outside its domain it is nan."""
    return -np.log(1.0 - x**2).sum() + (x * np.arange(1.0, 6.0)).sum()


def minimised(optimizer, library, xp, f, steps):
    """Parameters, length of the step and number of trials, for each step."""
    oracle = library is jax
    at = (optax if oracle else optim).value_and_grad_from_state(f := partial(f, np=xp))
    update = jax.jit(partial(optimizer.update, value_fn=f)) if oracle else partial(optimizer.update, value_fn=f)
    x, rows = xp.asarray(np.linspace(-0.5, 0.8, 5)), []
    state = optimizer.init(x)
    for _ in range(steps):
        value, grad = at(x, state=state)
        updates, state = update(grad, state, x, value=value, grad=grad)
        x = x + updates
        search = state[-1]
        rows.append([*np.asarray(x), float(search.learning_rate), float(search.info.num_linesearch_steps)])
    return np.array(rows)


OTHERS = [
    "lbfgs(memory_size=2, scale_init_precond=False)",
    "lbfgs(0.5, 3, linesearch=scale_by_zoom_linesearch(6, 1.5, 1e-3, 3.0, 1e-2, 0.3, None))",
]


@pytest.mark.parametrize(
    ("f", "expression"),
    [
        *[(f, "lbfgs(memory_size=3)") for f in (rosenbrock, steep, walled)],
        *[pytest.param(f, e, marks=pytest.mark.slow) for f in (rosenbrock, logistic) for e in OTHERS],
    ],
)
def test_lbfgs_like_optax(f, expression):
    """Step for step, until the values differ by rounding only."""
    steps = 12 if f is rosenbrock else 6
    with jax.enable_x64(True):
        expected = minimised(made(expression, optax), jax, jnp, f, steps)
    np.testing.assert_allclose(minimised(made(expression, optim), graphad, gnp, f, steps), expected, rtol=1e-6)


def test_lbfgs_reaches_the_minimum_in_float32():
    x = gnp.asarray(np.linspace(-0.5, 0.8, 5), np.float32)
    f = partial(rosenbrock, np=gnp)
    optimizer = optim.lbfgs()
    state, at = optimizer.init(x), optim.value_and_grad_from_state(f)
    for _ in range(40):
        value, grad = at(x, state=state)
        updates, state = optimizer.update(grad, state, x, value=value, grad=grad, value_fn=f)
        x = optim.apply_updates(x, updates)
    np.testing.assert_allclose(x, np.ones(5), rtol=2e-3)
    assert x.dtype == np.float32
