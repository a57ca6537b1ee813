"""The adjoint of RK4 for the predator-prey equations, by hand, in Numba: what a careful user writes today."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(error_model="numpy", fastmath={"contract"})
def slopes(x, y, p):
    """The rates of change of prey and predators."""
    return (p[0] - p[1] * y) * x, (p[3] * x - p[2]) * y


@numba.njit(error_model="numpy", fastmath={"contract"})
def back(x, y, p, u, v, g):
    """Cotangents of the state for those of the slopes at it; ``g`` collects those of the parameters."""
    ux, vy = u * x, v * y
    g[0] += ux
    g[1] -= ux * y
    g[2] -= vy
    g[3] += vy * x
    return u * (p[0] - p[1] * y) + p[3] * vy, v * (p[3] * x - p[2]) - p[1] * ux


@numba.njit(error_model="numpy", fastmath={"contract"})
def value_and_gradient(x, y, p, dt, steps):
    """The sum of the squares of the last state after ``steps`` steps, and its gradient by the four parameters."""
    xs, ys = np.empty(steps), np.empty(steps)
    half, sixth = dt / 2, dt / 6
    for t in range(steps):
        xs[t], ys[t] = x, y
        ax, ay = slopes(x, y, p)
        bx, by = slopes(x + half * ax, y + half * ay, p)
        cx, cy = slopes(x + half * bx, y + half * by, p)
        dx, dy = slopes(x + dt * cx, y + dt * cy, p)
        x += sixth * (ax + 2 * (bx + cx) + dx)
        y += sixth * (ay + 2 * (by + cy) + dy)
    value = x * x + y * y
    u, v = 2 * x, 2 * y
    g = np.zeros(4)
    for t in range(steps - 1, -1, -1):
        x, y = xs[t], ys[t]
        ax, ay = slopes(x, y, p)
        x2, y2 = x + half * ax, y + half * ay
        bx, by = slopes(x2, y2, p)
        x3, y3 = x + half * bx, y + half * by
        cx, cy = slopes(x3, y3, p)
        du, dv = back(x + dt * cx, y + dt * cy, p, sixth * u, sixth * v, g)
        cu, cv = back(x3, y3, p, 2 * sixth * u + dt * du, 2 * sixth * v + dt * dv, g)
        bu, bv = back(x2, y2, p, 2 * sixth * u + half * cu, 2 * sixth * v + half * cv, g)
        au, av = back(x, y, p, sixth * u + half * bu, sixth * v + half * bv, g)
        u, v = u + au + bu + cu + du, v + av + bv + cv + dv
    return value, g
