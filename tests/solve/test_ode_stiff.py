"""`odeint` for stiff equations: against SciPy's Radau, closed forms and differences."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import IntegrationError
from graphad.solve import odeint
from tests.solve.problems import differences, scipy_solution

STIFF = {"method": "rodas5p", "rtol": 1e-9, "atol": 1e-12}
RATES = np.array([0.04, 3e7, 1e4])


def robertson(y, t, a, b, c):
    """Robertson 1966: rates of a reaction from 1e-2 to 1e7."""
    u, v, w = y[0], y[1], y[2]
    slow, fast, back = a * u, b * v * v, c * v * w
    return [back - slow, slow - back - fast, fast]


def van_der_pol(y, t, mu):
    return [y[1], mu * (1 - y[0] ** 2) * y[1] - y[0]]


def test_robertson():
    t = np.array([0.0, 4e-3, 0.4, 40.0, 4e3, 4e5])
    found, info = odeint(robertson, np.array([1.0, 0.0, 0.0]), t, *RATES, **STIFF, full_output=True)
    np.testing.assert_allclose(found, scipy_solution(robertson, [1.0, 0, 0], t, RATES, "Radau"), 1e-6, 1e-12)
    np.testing.assert_allclose(gnp.sum(found, 1), 1, rtol=1e-9)  # the sum is conserved
    assert int(info.nsteps) < 500
    assert int(info.nfev) == 2 + 9 * int(info.nsteps)
    with pytest.raises(IntegrationError, match="take method='rodas5p'"):
        odeint(robertson, np.array([1.0, 0.0, 0.0]), t, *RATES, mxstep=2000)


def test_van_der_pol():
    """To its second relaxation; between them the eigenvalue is about -3,000."""
    t = np.array([0.0, 400.0, 807.0, 1500.0])
    found, info = odeint(van_der_pol, np.array([2.0, 0.0]), t, 1000.0, **STIFF, full_output=True)
    expected = scipy_solution(van_der_pol, [2.0, 0.0], t, (1000.0,), "Radau", 1e-11)
    np.testing.assert_allclose(found, expected, 3e-6)
    assert int(info.nsteps) < 2500  # SciPy's Radau takes more


def test_a_solution_that_depends_on_the_time():
    """Prothero and Robinson 1974: y' = -k (y - cos t) - sin t has the solution cos t, whatever k is."""
    t = np.linspace(0.0, 6.0, 61)
    func = lambda y, t, k: -k * (y - gnp.cos(t)) - gnp.sin(t)
    for k in (1.0, 1e3, 1e7):
        found, info = odeint(func, 1.0, t, k, method="rodas5p", rtol=1e-8, atol=1e-8, full_output=True)
        np.testing.assert_allclose(found, np.cos(t), atol=1e-7)
        assert int(info.nsteps) < 200


def test_gradients():
    """Of the fast rates too, by which hardly anything changes: along two directions."""
    t = np.array([0.0, 0.3, 3.0, 40.0])
    weights = np.array([[0, 0, 0], [1, 1e3, 1], [2, 0, -1], [3, 2e4, 1.0]])
    scale = np.array([1.0, 0.1, 0.2, *RATES])
    p = np.ones(6)

    def loss(p):
        q = p * scale
        return gnp.sum(weights * odeint(robertson, q[:3], t, *[q[k] for k in (3, 4, 5)], **STIFF))

    def reference(p):
        q = p * scale
        return np.sum(weights * scipy_solution(robertson, q[:3], t, q[3:], "Radau", 1e-12))

    value, gradient = graphad.jit(graphad.value_and_grad(loss))(p)
    np.testing.assert_allclose(value, reference(p), 1e-7)
    for v in np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, -1, 1]]):
        slope = differences(lambda h, v=v: reference(p + h[0] * v), np.zeros(1), 0.1)[0]
        np.testing.assert_allclose(gradient @ v, slope, 2e-5)


def test_the_continuous_adjoint():
    options = {**STIFF, "adjoint": "continuous"}
    last = lambda k: odeint(lambda y, t: -k * y * y, np.float64(1.0), np.array([0.0, 2.0]), **options)[-1]
    np.testing.assert_allclose(graphad.grad(last)(np.float64(0.6)), -2 / 2.2**2, 1e-7)


def test_second_derivatives_and_batches():
    def last(k):
        return odeint(lambda y, t: -k * y * y, np.float64(1.0), np.array([0.0, 0.5, 2.0]), **STIFF)[-1]

    k = np.array([0.3, 1.0, 40.0])
    n = 1 + 2 * k  # y = 1 / (1 + k t)
    np.testing.assert_allclose(graphad.jit(graphad.vmap(last))(k), 1 / n, 1e-8)
    np.testing.assert_allclose(graphad.vmap(graphad.grad(last))(k), -2 / n**2, 1e-7)
    np.testing.assert_allclose(graphad.jit(graphad.vmap(graphad.grad(graphad.grad(last))))(k), 8 / n**3, 1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_events_dtypes_and_containers(dtype):
    """A capacitor that is charged quickly through one resistor, and slowly through another."""
    tau = dtype(1e-4)

    def func(y, t):
        return {"fast": (y["slow"][0] - y["fast"]) / tau, "slow": [1 - y["slow"][0]]}

    def when(level):
        y0 = {"fast": np.ones(2, dtype), "slow": [dtype(0)]}
        options = {"method": "rodas5p", "rtol": 1e-5, "atol": 1e-6}
        return odeint(func, y0, np.array([0.0, 5.0]), event=lambda y, t: y["slow"][0] - level, **options)

    found = when(dtype(0.7))
    assert found.found
    assert found.time.dtype == found.state["fast"].dtype == dtype
    wanted = -np.log1p(-0.7)
    np.testing.assert_allclose(found.time, wanted, 1e-4)
    np.testing.assert_allclose(found.state["fast"], [0.7, 0.7], 1e-3)
    np.testing.assert_allclose(graphad.grad(lambda level: when(level).time)(dtype(0.7)), 1 / 0.3, 1e-3)
