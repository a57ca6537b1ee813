"""The solutions of `odeint`: against closed forms, SciPy and JAX."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax.experimental.ode import odeint as jax_odeint

import graphad
import graphad.experimental.ode
import graphad.numpy as gnp
from graphad.solve import odeint
from graphad.solve._ode_control import Field, Tolerance, initial
from graphad.solve._ode_integrate import ADAPTIVE
from tests.solve.problems import LV, LV_START, forced_pendulum, lotka_volterra, scipy_solution
from tests.thinned import every

T = np.linspace(0.0, 3.0, 13)
METHODS = [{}, {"method": "rk4", "substeps": 50}]
ALL = [*METHODS, {"method": "rodas5p"}]


def exponential(y, t):
    return -0.7 * y


def oscillator(y, t):
    return [y[1], -4.0 * y[0]]


def logistic(y, t):
    return y * (1.0 - y)


@pytest.mark.parametrize("options", ALL)
@pytest.mark.parametrize("times", every(2, [T, T + 5.0, -T, T[::-1]]))
def test_closed_forms(options, times):
    s = times - times[0]
    options = {"rtol": 1e-10, "atol": 1e-10, **options}
    np.testing.assert_allclose(odeint(exponential, 2.0, times, **options), 2 * np.exp(-0.7 * s), rtol=2e-7)
    found = odeint(oscillator, np.array([1.0, 0.5]), times, **options)
    expected = np.stack([np.cos(2 * s) + 0.25 * np.sin(2 * s), 0.5 * np.cos(2 * s) - 2 * np.sin(2 * s)], 1)
    np.testing.assert_allclose(found, expected, atol=3e-7)
    found = odeint(logistic, np.array([0.1, 0.9]), times, **options)
    np.testing.assert_allclose(found, 1 / (1 + (1 / np.array([0.1, 0.9]) - 1) * np.exp(-s[:, None])), rtol=2e-7)


@pytest.mark.parametrize("tol", [1e-4, 1e-7, 1e-10, 1e-12])
def test_the_error_follows_the_tolerance(tol):
    t = np.linspace(0.0, 20.0, 57)
    expected = scipy_solution(lotka_volterra, LV_START, t, LV)
    found, info = odeint(lotka_volterra, LV_START, t, *LV, rtol=tol, atol=tol, full_output=True)
    error = np.max(abs(found - expected) / expected)
    assert error < 60 * tol
    assert 0 < int(info.naccepted) <= int(info.nsteps) < 900
    assert int(info.nfev) == 2 + 6 * int(info.nsteps)


def test_about_as_many_steps_as_scipy_takes():
    """Both are the same pair with step size control of another kind."""
    from scipy.integrate import solve_ivp

    reference = solve_ivp(
        lambda t, y: lotka_volterra(y, t, *LV), (0, 50), LV_START, method="RK45", rtol=1e-6, atol=1e-6
    )
    info = odeint(lotka_volterra, LV_START, np.array([0.0, 50.0]), *LV, rtol=1e-6, atol=1e-6, full_output=True)[1]
    assert int(info.naccepted) == pytest.approx(len(reference.t) - 1, rel=0.15)


def test_times_do_not_limit_the_steps():
    few, many = (odeint(lotka_volterra, LV_START, np.linspace(0.0, 20.0, n), *LV, full_output=True) for n in (2, 1001))
    assert int(few[1].nsteps) == int(many[1].nsteps)
    np.testing.assert_array_equal(few[0][-1], many[0][-1])


def test_jax_finds_the_same():
    with jax.enable_x64(True):
        expected = np.asarray(jax_odeint(lotka_volterra, LV_START, T, *LV, rtol=1e-10, atol=1e-10))
    for function in (odeint, graphad.experimental.ode.odeint):
        found = function(lotka_volterra, LV_START, T, *LV, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_containers_times_and_scipy():
    p = {"g": 9.8, "friction": 0.3, "force": 1.5, "sin": gnp.sin}
    start = {"angle": np.array([0.5, 2.0]), "speed": np.zeros(2)}
    found = odeint(forced_pendulum, start, T, p, rtol=1e-10, atol=1e-10)
    for k in range(2):

        def right_side(y, t):
            by = forced_pendulum({"angle": y[0], "speed": y[1]}, t, {**p, "sin": np.sin})
            return [by["angle"], by["speed"]]

        expected = scipy_solution(right_side, [start["angle"][k], 0.0], T)
        np.testing.assert_allclose(found["angle"][:, k], expected[:, 0], atol=1e-8)
        np.testing.assert_allclose(found["speed"][:, k], expected[:, 1], atol=1e-8)


# ---------------------------------------------------------------------------------------------------------------------
# Orders


def errors_of_a_step(method, h):
    """Of one step along the logistic function: of the new state, of its estimate, and of the states within the step."""
    y0, t0 = 0.2, 0.3

    def exact(t):
        return 1 / (1 + (1 / y0 - 1) * np.exp(-(t - t0)))

    field = Field(lambda y, t, _, again: [y[0] * (1.0 - y[0])], 0.0, [])
    tolerance = Tolerance(0.0, 1.0, np.inf)
    at = initial(
        method, field, [gnp.asarray(np.array(y0))], gnp.asarray(np.array(t0)), gnp.asarray(np.array(9.0)), tolerance
    )
    piece, square = method.step(field, at, gnp.asarray(np.array(h)), tolerance)
    within = [float(method.interpolated(piece, t)[0]) - exact(t) for t in t0 + h * np.linspace(0.05, 0.95, 19)]
    return abs(float(piece.after[0]) - exact(t0 + h)), np.sqrt(float(square)), np.max(np.abs(within))


@pytest.mark.parametrize("method", ADAPTIVE)
def test_orders(method):
    """Local errors of a step of size h: h⁶ for order 5, h⁵ for the estimate, of order 4, and for the polynomial."""
    coarse, fine = errors_of_a_step(ADAPTIVE[method], 0.2), errors_of_a_step(ADAPTIVE[method], 0.1)
    found = [np.log2(a / b) for a, b in zip(coarse, fine, strict=True)]
    np.testing.assert_allclose(found, [6, 5, 5], atol=0.35)


def test_the_order_of_rk4():
    exact = 1 / (1 + 4 * np.exp(-2.0))
    errors = [
        abs(float(odeint(logistic, 0.2, np.array([0.0, 2.0]), method="rk4", substeps=n)[1]) - exact) for n in (8, 16)
    ]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.1)


# ---------------------------------------------------------------------------------------------------------------------
# Times and types


@pytest.mark.parametrize("options", ALL)
def test_one_time_and_equal_times(options):
    y0 = np.array([1.0, 2.0])
    np.testing.assert_array_equal(odeint(exponential, y0, [1.0], **options), y0[None])
    found = odeint(exponential, y0, np.array([1.0, 1.0, 2.0, 2.0, 2.0, 3.0]), **options)
    s = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(found, y0 * np.exp(-0.7 * s)[:, None], rtol=1e-7)
    np.testing.assert_array_equal(found[0], y0)
    np.testing.assert_array_equal(found[1], y0)
    np.testing.assert_array_equal(found[2], found[4])


@pytest.mark.parametrize("options", every(2, METHODS))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_of_the_state_stays(options, dtype):
    t = np.linspace(0.0, 1.0, 4)
    for y0 in (np.ones(3, dtype), np.ones((2, 0), dtype), np.array(1.0, dtype), [np.ones(2, dtype), np.ones(1, dtype)]):
        for times in (t, t.astype(np.float32), list(t)):
            found = odeint(lambda y, s: graphad.tree.map(lambda x: -x * 0.1, y), y0, times, **options)
            for a, b in zip(graphad.tree.leaves(found), graphad.tree.leaves(y0), strict=True):
                assert a.dtype == dtype
                assert a.shape == (4, *b.shape)
                np.testing.assert_allclose(
                    a, np.broadcast_to(b, a.shape) * np.exp(-0.1 * t).reshape(4, *[1] * b.ndim), rtol=2e-6
                )


def test_leaves_of_two_dtypes():
    found = odeint(lambda y, t: (-y[0], y[1]), (np.ones(2, np.float32), 1.0 * np.ones(1)), T)
    assert [y.dtype for y in found] == [np.float32, np.float64]
    np.testing.assert_allclose(found[0][:, 1], np.exp(-T), rtol=1e-6)
    np.testing.assert_allclose(found[1][:, 0], np.exp(T), rtol=1e-7)


def test_numbers_take_the_dtype_that_they_meet():
    assert odeint(exponential, 1.0, [0.0, 1.0]).dtype == np.float32
    assert odeint(exponential, 1, T).dtype == np.float64
    assert odeint(exponential, np.arange(2), T).dtype == np.float64
    assert odeint(lambda y, t: -y * np.ones(1)[0], 1.0, [0, 1]).dtype == np.float32
    assert odeint(lambda y, t: (-y * np.ones(1)).sum(), 1.0, [0, 1]).dtype == np.float64


@pytest.mark.parametrize("compiled", [False, True])
def test_numbers_keep_their_digits(compiled):
    """0.1 is no float32: as an argument, closed over, as a result, as the initial state, and as a time."""
    wrap = graphad.jit if compiled else lambda f: f
    rate, y0, expected = 0.1, np.array(1.0), np.exp(-0.1 * T)

    def solve(func, y0, t, *args):
        return odeint(func, y0, t, *args, rtol=1e-12, atol=1e-12)

    np.testing.assert_allclose(wrap(lambda k: solve(lambda y, t, k: -k * y, y0, T, k))(rate), expected, rtol=1e-11)
    np.testing.assert_allclose(wrap(lambda k: solve(lambda y, t: -k * y, y0, T))(rate), expected, rtol=1e-11)
    np.testing.assert_allclose(wrap(lambda k: solve(lambda y, t: k, y0, T))(rate), 1 + 0.1 * T, rtol=1e-11)
    np.testing.assert_allclose(wrap(lambda k: solve(lambda y, t: [k, 0.1], np.zeros(2), T))(rate)[-1], 0.3, rtol=1e-11)
    np.testing.assert_allclose(wrap(lambda s: solve(lambda y, t: 1.0, s, T))(0.1), 0.1 + T, rtol=1e-11)
    np.testing.assert_allclose(solve(lambda y, t: 1.0, y0, [0.1, 0.7]), [1.0, 1.6], rtol=1e-11)


def test_a_list_of_elements_for_an_array():
    found = odeint(lambda y, t: [[y[0, 1], 0.0], [1.0, -y[1, 1]]], np.ones((2, 2)), T)
    np.testing.assert_allclose(found[:, 0, 0], 1 + T, rtol=1e-8)
    np.testing.assert_allclose(found[:, 1], np.stack([1 + T, np.exp(-T)], 1), rtol=1e-7)


def test_integer_and_other_arguments():
    def power(y, t, n, what, mask):
        assert what == "decay"
        return gnp.where(mask, -(y**n), 0.0)

    found = graphad.jit(lambda n, mask: odeint(power, np.ones(2), T, n, "decay", mask))(2, np.array([True, False]))
    np.testing.assert_allclose(found, np.stack([1 / (1 + T), np.ones_like(T)], 1), rtol=1e-7)


# ---------------------------------------------------------------------------------------------------------------------
# Transformations of values


@pytest.mark.parametrize("options", METHODS)
def test_compiled_as_eager(options):
    def solve(y0, t):
        return odeint(lotka_volterra, y0, t, *LV, **options)

    np.testing.assert_allclose(graphad.jit(solve)(LV_START, T), solve(LV_START, T), rtol=1e-12)


@pytest.mark.parametrize("options", ALL)
@pytest.mark.parametrize("compiled", every(2, [False, True]))
def test_batches(options, compiled, rng):
    """Of initial states, arguments and times; each member has steps of its own."""
    starts, rates = rng.uniform(0.5, 3.0, (5, 2)), rng.uniform(0.1, 4.0, 5)
    ends = rng.uniform(0.5, 4.0, 5)

    def solve(y0, rate, end):
        return odeint(lambda y, t: [y[1], -rate * y[0]], y0, end * np.array([0.0, 0.3, 1.0]), **options)

    batched = graphad.vmap(solve)
    found = (graphad.jit(batched) if compiled else batched)(starts, rates, ends)
    for k in range(5):
        np.testing.assert_allclose(found[k], solve(starts[k], rates[k], ends[k]), rtol=1e-9, atol=1e-12)
    over_starts = graphad.vmap(solve, in_axes=(0, None, None))(starts, 2.0, 3.0)
    np.testing.assert_allclose(over_starts[2], solve(starts[2], 2.0, 3.0), rtol=1e-9, atol=1e-12)


def test_func_prints_as_often_as_it_is_evaluated(capfd):
    def func(y, t):
        graphad.debug.print("at {}", t)
        return -y

    info = odeint(func, 1.0, np.array([0.0, 0.5]), rtol=1e-2, atol=1e-2, full_output=True)[1]
    assert capfd.readouterr().out.count("at ") == int(info.nfev)


def test_func_may_not_branch_on_the_time():
    with pytest.raises(graphad.errors.TracerBoolError, match="a body of odeint"):
        odeint(lambda y, t: y if t > 1 else -y, 1.0, T)
    np.testing.assert_allclose(
        graphad.jit(lambda k: odeint(lambda y, t: k * y if k > 0 else 0 * y, 1.0, T))(-1.0), np.ones_like(T)
    )
