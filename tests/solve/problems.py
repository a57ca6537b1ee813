"""Equations for the tests: each a right side that NumPy, JAX and graphad can run."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

LV = np.array([0.55, 0.028, 0.84, 0.026])
LV_START = np.array([33.0, 6.0])


def lotka_volterra(y, t, a, b, c, d):
    u, v = y[0], y[1]
    return [a * u - b * u * v, d * u * v - c * v]


def forced_pendulum(y, t, p):
    """It depends on the time, and on parameters in a container; ``p["sin"]`` is the sine of the library at hand."""
    angle, speed = y["angle"], y["speed"]
    sin = p["sin"]
    return {"angle": speed, "speed": -p["g"] * sin(angle) - p["friction"] * speed + p["force"] * sin(2.0 * t)}


def scipy_solution(func, y0, t, args=(), method="DOP853", tol=1e-12):
    """The states at the times ``t``, one row each."""

    def right_side(s, y):
        return np.array(func(y, s, *args), float)

    found = solve_ivp(right_side, (t[0], t[-1]), y0, t_eval=t, method=method, rtol=tol, atol=tol)
    assert found.success
    return found.y.T


def differences(f, x, h=1e-5):
    """The derivative of a scalar function of a vector, by central differences of fourth order."""
    x = np.asarray(x, float)
    steps = h * np.maximum(abs(x), 1e-2)
    by = []
    for k, e in enumerate(np.eye(len(x))):
        d = steps[k]
        by.append((8 * (f(x + d * e) - f(x - d * e)) - (f(x + 2 * d * e) - f(x - 2 * d * e))) / (12 * d))
    return np.array(by)
