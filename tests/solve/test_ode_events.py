"""Integrations of `odeint` that end early: at an event, or because they fail."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import IntegrationError
from graphad.solve import odeint

G = 9.81
SPAN = np.array([0.0, 10.0])


def fall(height, speed=0.0, g=G, span=SPAN, **options):
    return odeint(lambda y, t: (y[1], -g), (height, speed), span, event=lambda y, t: y[0], **options)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_fall(compiled):
    for height in (1e-9, 0.3, 20.0):
        found = (graphad.jit(fall) if compiled else fall)(height)
        assert bool(found.found)
        np.testing.assert_allclose(found.time, np.sqrt(2 * height / G), rtol=1e-7)
        np.testing.assert_allclose(found.state[0], 0, atol=1e-12)
        np.testing.assert_allclose(found.state[1], -np.sqrt(2 * height * G), rtol=1e-7)


def test_the_time_is_as_exact_as_the_solution():
    """A pendulum of small amplitude is at its lowest point after a quarter of a period, also backwards in time."""
    for direction in (1, -1):
        found = odeint(
            lambda y, t: [y[1], -4.0 * y[0]], np.array([1.0, 0.0]), 3 + direction * np.array([0.0, 2.0]),
            event=lambda y, t: y[0], rtol=1e-12, atol=1e-12,
        )  # fmt: skip
        assert float(found.time) == pytest.approx(3 + direction * np.pi / 4, rel=1e-10)
        np.testing.assert_allclose(found.state, [0, -2 * direction], atol=1e-9)


def test_the_first_of_many_zeros():
    found, info = odeint(
        lambda y, t: [y[1], -4.0 * y[0]], np.array([1.0, 0.0]), np.array([0.0, 100.0]), event=lambda y, t: y[0] - 0.9,
        full_output=True,
    )  # fmt: skip
    assert float(found.time) == pytest.approx(np.arccos(0.9) / 2, rel=1e-6)
    assert int(info.status) == 0
    assert int(info.nsteps) < 20


def test_events_of_time_and_of_parameters():
    found = odeint(lambda y, t: -y, 1.0, SPAN, event=lambda y, t: t - 1.234)
    assert float(found.time) == pytest.approx(1.234, rel=1e-12)
    assert float(found.state) == pytest.approx(np.exp(-1.234), rel=1e-6)
    slope = graphad.grad(lambda c: odeint(lambda y, t: -y, 1.0, SPAN, event=lambda y, t: y - c).time)(np.float64(0.3))
    assert slope == pytest.approx(-1 / 0.3, rel=1e-6)


def test_no_event():
    found, info = odeint(lambda y, t: -y, 1.0, np.array([0.0, 2.0]), event=lambda y, t: y - 5.0, full_output=True)
    assert not bool(found.found)
    assert float(found.time) == 2.0
    assert float(found.state) == pytest.approx(np.exp(-2.0), rel=1e-7)
    assert int(info.status) == 0
    slope = graphad.grad(lambda a: odeint(lambda y, t: -a * y, 1.0, SPAN, event=lambda y, t: y - 5.0).state)
    assert slope(np.float64(0.1)) == pytest.approx(-10 * np.exp(-1.0), rel=1e-6)


def test_an_event_at_the_start():
    found = fall(0.0, 5.0)
    assert bool(found.found)
    assert float(found.time) == 0.0
    np.testing.assert_array_equal([float(y) for y in found.state], [0.0, 5.0])
    # Moved up, the stone is there a little earlier than it starts.
    assert graphad.grad(lambda h: fall(h, 5.0).time)(np.float64(0.0)) == pytest.approx(-1 / 5)


def test_derivatives_of_the_time():
    """Of the square root of 2 h / g, up to the third order; and of the speed."""
    h = np.float64(20.0)
    f = lambda h: fall(h).time
    expected = [np.sqrt(2 / G) * c * h ** (0.5 - k) for k, c in enumerate((1.0, 0.5, -0.25, 0.375))]
    for value in expected:
        assert float(graphad.jit(f)(h)) == pytest.approx(value, rel=1e-7)
        f = graphad.grad(f)
    assert graphad.jacfwd(lambda h: fall(h).time)(h) == pytest.approx(expected[1], rel=1e-7)
    assert graphad.grad(lambda g: fall(20.0, g=g).state[1])(np.float64(G)) == pytest.approx(-np.sqrt(10 / G), rel=1e-7)
    by_start = graphad.grad(lambda t0: fall(20.0, span=gnp.stack([t0, t0 + 10.0])).time)
    assert by_start(np.float64(1.0)) == pytest.approx(1.0, rel=1e-7)


def test_a_batch_of_events():
    heights = np.array([0.5, 20.0, 3.0])
    found = graphad.jit(graphad.vmap(fall))(heights)
    np.testing.assert_allclose(found.time, np.sqrt(2 * heights / G), rtol=1e-7)
    slopes = graphad.vmap(graphad.grad(lambda h: fall(h).time))(heights)
    np.testing.assert_allclose(slopes, np.sqrt(0.5 / G / heights), rtol=1e-7)


def test_float32_events():
    found = fall(np.float32(20.0), np.float32(0.0), rtol=1e-6, atol=1e-6)
    assert found.time.dtype == found.state[0].dtype == np.float32
    assert float(found.time) == pytest.approx(np.sqrt(40 / G), rel=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Failures

FAILURES = {
    1: (lambda y, t: -1e4 * (y - np.cos(1.0)), 0.0, {"mxstep": 40}),
    2: (lambda y, t: gnp.where(t < 1.0, -y, -1e20 * y), 1.0, {}),
    3: (lambda y, t: -y * gnp.sqrt(1.0 - t), 1.0, {}),
}
MESSAGES = {
    1: r"test_ode_events.py:\d+: odeint: 40 steps did not lead .* give a larger mxstep",
    2: "the step size became too small .* widen rtol",
    3: "nan or infinite.* end before the solution grows",
}


@pytest.mark.parametrize("status", FAILURES)
def test_results_are_nan_from_there_on(status):
    func, y0, options = FAILURES[status]
    t = np.array([0.0, 1e-4, 1.5, 2.0])
    with pytest.raises(IntegrationError, match=MESSAGES[status]):
        odeint(func, y0, t, **options)
    compiled = graphad.jit(lambda y0: odeint(func, y0, t, full_output=True, **options))
    for found, info in (compiled(y0), odeint(func, y0, t, full_output=True, **options)):
        assert int(info.status) == status
        np.testing.assert_array_equal(np.isnan(found), [False, False, True, True])
    np.testing.assert_array_equal(np.isnan(graphad.jit(lambda y0: odeint(func, y0, t, **options))(y0)), np.isnan(found))
    with pytest.raises(IntegrationError, match=MESSAGES[status]):
        odeint(func, y0, t, event=lambda y, t: y - 1e300, **options)
    found = graphad.jit(lambda y0: odeint(func, y0, t, event=lambda y, t: y - 1e300, **options))(y0)
    assert np.isnan(found.time)
    assert np.isnan(found.state)
    assert not bool(found.found)


def test_one_member_of_a_batch_fails():
    found = graphad.jit(graphad.vmap(lambda y0: odeint(lambda y, t: y**2, y0, np.array([0.0, 1.5]))))(
        np.array([0.5, 1.0])
    )
    assert found[0, 1] == pytest.approx(2.0)
    assert np.isnan(found[1, 1])


@pytest.mark.parametrize("options", [{}, {"method": "rk4"}])
def test_a_state_that_is_nan(options):
    with pytest.raises(IntegrationError, match="Begin with a finite state"):
        odeint(lambda y, t: -y, np.array([1.0, np.nan]), np.array([0.0, 1.0]), **options)
    info = odeint(lambda y, t: -y / 0.0, 1.0, np.array([0.0, 1.0]), full_output=True, **options)[1]
    assert int(info.status) == 3
    large = odeint(lambda y, t: -y, np.array([1e300]), np.array([0.0, 1.0]), **options)
    np.testing.assert_allclose(large[1], 1e300 * np.exp(-1.0), rtol=3e-2)


@pytest.mark.parametrize("t", [[0.0, 1.0, 0.5], [0.0, 1.0, 0.0], [0.0, np.nan]])
def test_times_in_no_order(t):
    t = np.array(t)
    with pytest.raises(IntegrationError, match="neither increase nor decrease"):
        odeint(lambda y, t: -y, 1.0, t)
    found, info = graphad.jit(lambda t: odeint(lambda y, t: -y, 1.0, t, full_output=True))(t)
    assert int(info.status) == 4
    assert np.all(np.isnan(found))


def test_a_longest_step():
    info = odeint(lambda y, t: 0 * y, 1.0, SPAN, hmax=0.01, full_output=True)[1]
    assert 990 <= int(info.nsteps) <= 1010
    assert int(odeint(lambda y, t: 0 * y, 1.0, SPAN, full_output=True)[1].nsteps) < 20


# ---------------------------------------------------------------------------------------------------------------------
# Wrong uses

WRONG = {
    "method": (ValueError, lambda: odeint(abs, 1.0, SPAN, method="rk5"), "no method='rk5'.*rk4"),
    "adjoint": (ValueError, lambda: odeint(abs, 1.0, SPAN, adjoint="exact"), "no adjoint='exact'"),
    "substeps": (ValueError, lambda: odeint(abs, 1.0, SPAN, substeps=3), "substeps is for method='rk4'"),
    "no step": (ValueError, lambda: odeint(abs, 1.0, SPAN, method="rk4", substeps=0), "positive int"),
    "rk4 event": (ValueError, lambda: fall(1.0, method="rk4"), "leave method='rk4' and adjoint out"),
    "continuous event": (ValueError, lambda: fall(1.0, adjoint="continuous"), "adjoint='discrete'"),
    "event": (TypeError, lambda: odeint(lambda y, t: -y, np.ones(2), SPAN, event=lambda y, t: y), r"not f64\[2\]"),
    "bool": (TypeError, lambda: odeint(lambda y, t: -y, 1.0, SPAN, event=lambda y, t: y < 0), "one float"),
    "one time": (ValueError, lambda: odeint(lambda y, t: -y, 1.0, 3.0), r"one axis.*shape is \(\)"),
    "no time": (ValueError, lambda: odeint(lambda y, t: -y, 1.0, []), r"shape is \(0,\)"),
    "no state": (TypeError, lambda: odeint(lambda y, t: -y, {}, SPAN), "no leaves"),
    "shape": (TypeError, lambda: odeint(lambda y, t: y[0], np.ones(2), SPAN), r"shape \(2,\).*shape \(\)"),
    "structure": (TypeError, lambda: odeint(lambda y, t: {"a": y}, np.ones(2), SPAN), "func returns"),
    "half": (TypeError, lambda: odeint(lambda y, t: -y, np.float16(1), SPAN), r"astype\('float32'\)"),
    "wide": (
        TypeError, lambda: odeint(lambda y, t: y * np.ones(2), np.ones(2, np.float32), SPAN), r"astype\('float64'\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uses(name):
    error, call, text = WRONG[name]
    with pytest.raises(error, match=rf"test_ode_events.py:\d+: odeint.*{text}"):
        call()
