"""The derivatives of `odeint`: against closed forms, differences of SciPy's solutions, and JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.ode import odeint as jax_odeint

import graphad
import graphad.numpy as gnp
from graphad.errors import DifferentiationError
from graphad.solve import odeint
from tests.solve.problems import LV, LV_START, differences, forced_pendulum, lotka_volterra, scipy_solution
from tests.thinned import every

T = np.linspace(0.0, 3.0, 7)
FINE = {"rtol": 1e-11, "atol": 1e-11}
WAYS = [
    {**FINE},
    {**FINE, "adjoint": "continuous"},
    {"method": "rk4", "substeps": 100},
    {"method": "rk4", "substeps": 100, "adjoint": "continuous"},
    {**FINE, "method": "rodas5p"},
]
DISCRETE = WAYS[:4:2]
WEIGHTS = np.linspace(1.0, 2.0, 14).reshape(7, 2)  # so that each time and part counts


def loss(p, t=T, **options):
    return gnp.sum(WEIGHTS * odeint(lotka_volterra, p[:2], t, *p[2:], **options))


POINT = np.concatenate([LV_START, LV])


@pytest.mark.parametrize("options", every(2, WAYS))
def test_lotka_volterra(options):
    def reference(p):
        return np.sum(WEIGHTS * scipy_solution(lotka_volterra, p[:2], T, p[2:]))

    value, gradient = graphad.jit(graphad.value_and_grad(lambda p: loss(p, **options)))(POINT)
    assert value == pytest.approx(reference(POINT), rel=1e-7)
    np.testing.assert_allclose(gradient, differences(reference, POINT), rtol=2e-6)


@pytest.mark.parametrize("options", every(2, WAYS))
@pytest.mark.parametrize("direction", every(2, [1, -1]))
def test_times_and_what_depends_on_them(options, direction):
    """The first time too: it moves all that is behind it."""
    times = direction * np.array([0.3, 0.5, 1.1, 2.0])
    weights = np.array([1.0, 2.0, -1.0, 3.0])

    def func(y, t, p):
        return p[0] * gnp.cos(p[1] * t) * y

    def exact(x):
        p, t, y0 = x[:2], x[2:6], x[6]
        return np.sum(weights * y0 * np.exp(p[0] / p[1] * (np.sin(p[1] * t) - np.sin(p[1] * t[0]))))

    def loss(x):
        return gnp.sum(weights * odeint(func, x[6], x[2:6], x[:2], **options))

    x = np.array([1.3, 0.8, *times, 1.7])
    np.testing.assert_allclose(graphad.grad(loss)(x), differences(exact, x), rtol=1e-6)


@pytest.mark.parametrize("options", every(3, WAYS))
def test_containers_and_what_is_closed_over(options):
    def solve(p, y0):
        def func(y, t):
            by = forced_pendulum({"angle": y[0], "speed": y[1]}, t, {**p, "sin": gnp.sin})
            return by["angle"], by["speed"]

        return gnp.sum(odeint(func, y0, T, **options)[0] * np.arange(7.0))

    def reference(x):
        def right_side(y, t):
            p = {"g": x[0], "friction": x[1], "force": x[2], "sin": np.sin}
            by = forced_pendulum({"angle": y[0], "speed": y[1]}, t, p)
            return [by["angle"], by["speed"]]

        return np.sum(scipy_solution(right_side, x[3:], T)[:, 0] * np.arange(7.0))

    p = {"g": np.float64(3.0), "friction": np.float64(0.3), "force": np.float64(0.5)}
    by_p, by_start = graphad.grad(solve, (0, 1))(p, (np.float64(0.5), np.float64(0.1)))
    found = [by_p["g"], by_p["friction"], by_p["force"], *by_start]
    np.testing.assert_allclose(found, differences(reference, [3.0, 0.3, 0.5, 0.5, 0.1]), rtol=2e-6)


@pytest.mark.slow
def test_the_gradient_is_that_of_jax():
    def of_jax(p):
        y = jax_odeint(lambda y, t, *p: jnp.array(lotka_volterra(y, t, *p)), p[:2], T, *p[2:], rtol=1e-10, atol=1e-10)
        return jnp.sum(WEIGHTS * y)

    with jax.enable_x64(True):
        expected = np.asarray(jax.grad(of_jax)(POINT))
    for options in WAYS[:2]:
        np.testing.assert_allclose(graphad.grad(lambda p: loss(p, **options))(POINT), expected, rtol=1e-6)


@pytest.mark.parametrize("options", WAYS)
def test_parameters_that_are_matrices(options, rng):
    w, y0 = rng.normal(size=(3, 3)), rng.normal(size=3)

    def loss(w, y0):
        return gnp.sum(odeint(lambda y, t, w: gnp.tanh(w @ y), y0, T, w, **options)[-1] ** 2)

    def reference(x):
        w, y0 = x[:9].reshape(3, 3), x[9:]
        return np.sum(scipy_solution(lambda y, t: np.tanh(w @ y), y0, T)[-1] ** 2)

    by_w, by_start = graphad.grad(loss, (0, 1))(w, y0)
    expected = differences(reference, np.concatenate([w.ravel(), y0]))
    np.testing.assert_allclose([*np.ravel(by_w), *by_start], expected, rtol=1e-5, atol=1e-8)


# ---------------------------------------------------------------------------------------------------------------------
# Modes and orders


def final(p, **options):
    """``y' = -a y²``: y is y0 / (1 + a y0 t)."""
    return odeint(lambda y, t: -p[0] * y**2, p[1], np.array([0.0, 0.7, 2.0]), **options)[-1]


def second_derivatives(a, y0, t=2.0):
    n = 1 + a * y0 * t
    mixed = (-2 * y0 * t * n + 2 * a * y0**2 * t**2) / n**3
    return np.array([[2 * y0**3 * t**2 / n**3, mixed], [mixed, -2 * a * t / n**3]])


@pytest.mark.parametrize("options", every(3, WAYS))
def test_gradient_of_a_gradient(options):
    p = np.array([0.6, 1.4])

    def along(p, v):
        return gnp.dot(graphad.grad(lambda p: final(p, **options))(p), v)

    for v in np.eye(2):
        found = graphad.jit(graphad.grad(along))(p, v)
        np.testing.assert_allclose(found, second_derivatives(*p) @ v, rtol=1e-6)


@pytest.mark.parametrize("options", every(2, DISCRETE[::-1]))
def test_forward_mode_and_mixtures(options):
    p = np.array([0.6, 1.4])

    def f(p):
        return final(p, **options)

    np.testing.assert_allclose(graphad.jacfwd(f)(p), graphad.grad(f)(p), rtol=1e-10)
    np.testing.assert_allclose(graphad.jit(graphad.hessian(f))(p), second_derivatives(*p), rtol=1e-7)
    np.testing.assert_allclose(graphad.jacfwd(graphad.jacfwd(f))(p), second_derivatives(*p), rtol=1e-7)


def test_the_continuous_adjoint_refuses_forward_mode():
    with pytest.raises(DifferentiationError, match="custom_vjp"):
        graphad.jvp(lambda p: final(p, adjoint="continuous"), (np.array([0.6, 1.4]),), (np.ones(2),))


@pytest.mark.parametrize("options", every(3, WAYS))
def test_batches_of_gradients(options, rng):
    points = np.array([0.6, 1.4]) * rng.uniform(0.8, 1.2, (4, 2))
    gradient = graphad.grad(lambda p: final(p, **options))
    found = graphad.jit(graphad.vmap(gradient))(points)
    for p, g in zip(points, found, strict=True):
        np.testing.assert_allclose(g, gradient(p), rtol=1e-9)
    summed = graphad.grad(lambda a: gnp.sum(graphad.vmap(lambda y0: final((a, y0), **options))(points[:, 1])))
    expected = sum(gradient(np.array([0.6, y0]))[0] for y0 in points[:, 1])
    np.testing.assert_allclose(summed(np.float64(0.6)), expected, rtol=1e-9)


@pytest.mark.parametrize("options", [{}, {"adjoint": "continuous"}, {"method": "rk4", "substeps": 20}])
def test_float32(options):
    p = np.array([0.6, 1.4], np.float32)
    options = options if "method" in options else {"rtol": 1e-5, "atol": 1e-5, **options}
    value, gradient = graphad.jit(graphad.value_and_grad(lambda p: final(p, **options)))(p)
    assert value.dtype == gradient.dtype == np.float32
    n = 1 + 0.6 * 1.4 * 2
    np.testing.assert_allclose(gradient, [-(1.4**2) * 2 / n**2, 1 / n**2], rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Steps that are not part of the solution


def test_rejected_steps_outside_of_the_domain():
    """The state decays quickly, so that steps are tried whose ends are negative: their square roots are nan."""
    t = np.array([0.0, 1.05])

    def solve(k, full_output=False):
        return odeint(
            lambda y, t: [gnp.sqrt(y[1]), -k * y[1]], np.array([0.0, 1.0]), t, rtol=1e-2, atol=1e-2,
            full_output=full_output,
        )  # fmt: skip

    info = solve(100.0, full_output=True)[1]
    assert int(info.nsteps) > int(info.naccepted)
    value, slope = graphad.value_and_grad(lambda k: solve(k)[-1, 0])(np.float64(100.0))
    assert value == pytest.approx(2 / 100, rel=0.2)
    assert slope == pytest.approx(-2 / 100**2, rel=0.5)


def test_step_sizes_are_constants():
    """The derivative is that of the steps made: as exact as they are, whatever their sizes depend on."""

    def solve(a):
        return odeint(lambda y, t: -a * y, 1.0, np.array([0.0, 2.0]), rtol=1e-3, atol=1e-3)[-1]

    a = np.float64(1.3)
    assert graphad.grad(solve)(a) == pytest.approx(-2 * np.exp(-2.6), rel=2e-2)
    for name, value in (("rtol", 1e-3), ("atol", 1e-3), ("hmax", 0.1)):
        by = graphad.grad(lambda x: odeint(lambda y, t: -y, 1.0, np.array([0.0, 2.0]), **{name: x})[-1])
        assert by(value) == 0


def test_derivatives_of_results_before_a_failure():
    """The solution 1 / (1 - a t) ends at t = 1/a; what is known until then has its derivative."""
    t = np.array([0.0, 0.5, 2.0])

    def first(a):
        y = odeint(lambda y, t: a * y**2, np.float64(1.0), t)
        return y[1], y

    (value, states), slope = graphad.jit(graphad.value_and_grad(first, has_aux=True))(np.float64(1.0))
    assert value == pytest.approx(2.0)
    assert np.isnan(states[2])
    assert slope == pytest.approx(0.5 / 0.5**2, rel=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Arguments and times of all kinds


@pytest.mark.parametrize("options", every(3, WAYS))
def test_integers_keys_and_numbers_among_the_arguments(options):
    def func(y, t, n, key, scale):
        return -scale * y**n + graphad.random.normal(key, dtype=np.float64)

    def loss(scale, n=np.int32(2)):
        return odeint(func, np.float64(1.0), np.array([0.0, 0.5, 1.0]), n, graphad.random.key(3), scale, **options)[-1]

    slope = (8 * (loss(0.101) - loss(0.099)) - (loss(0.102) - loss(0.098))) / 0.012
    assert graphad.jit(graphad.grad(loss))(0.1) == pytest.approx(float(slope), rel=1e-6)
    assert graphad.grad(loss)(np.float64(0.1)) == pytest.approx(float(slope), rel=1e-6)


@pytest.mark.parametrize("options", every(2, WAYS))
def test_one_time_and_equal_times(options):
    def loss(y0, a, times):
        return gnp.sum(odeint(lambda y, t: -a * y, y0, times, **options) * gnp.arange(1.0, 1.0 + len(times)))

    y0, a = np.float64(2.0), np.float64(0.7)
    np.testing.assert_array_equal(graphad.grad(loss, (0, 1))(y0, a, np.array([1.0])), [1, 0])
    times = np.array([1.0, 1.0, 2.0, 2.0])
    e = np.exp(-0.7)
    np.testing.assert_allclose(graphad.grad(loss, (0, 1))(y0, a, times), [3 + 7 * e, -7 * 2 * e], rtol=1e-7)
    by_times = graphad.grad(loss, 2)(y0, a, times)
    rate = -0.7 * 2 * np.array([1.0, e])
    np.testing.assert_allclose(by_times, [-2 * rate[0] - 7 * rate[1], 2 * rate[0], 3 * rate[1], 4 * rate[1]], rtol=1e-7)


def test_a_list_of_times_that_are_traced():
    def last(t1):
        return odeint(lambda y, t: -y, np.float64(1.0), [0.0, t1], **FINE)[-1]

    value, slope = graphad.jit(graphad.value_and_grad(last))(0.1)
    assert value == pytest.approx(np.exp(-0.1), rel=1e-10)
    assert float(slope) == pytest.approx(-np.exp(-0.1), rel=1e-7)


@pytest.mark.parametrize("options", every(3, WAYS))
@pytest.mark.parametrize("n", [3, 70])
def test_states_of_many_elements(options, n):
    """The heat equation on a ring: a wave of length n decays at a rate that is known, and so does its derivative."""
    x = 2 * np.pi * np.arange(n) / n
    rate = 2 - 2 * np.cos(2 * np.pi / n)

    def last(c, amplitude):
        start = amplitude * gnp.cos(x)
        change = lambda u, t: c * (gnp.roll(u, 1) - 2.0 * u + gnp.roll(u, -1))
        return odeint(change, start, np.array([0.0, 0.3, 1.0]), **options)[-1, 0]

    value, by = graphad.jit(graphad.value_and_grad(last, (0, 1)))(np.float64(2.0), np.float64(3.0))
    decay = np.exp(-2.0 * rate)
    np.testing.assert_allclose([value, *by], [3 * decay, -3 * rate * decay, decay], rtol=1e-6)
