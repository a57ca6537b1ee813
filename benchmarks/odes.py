"""`graphad.solve.odeint` beside those of SciPy, JAX and diffrax (where it is installed), float64, one thread each.

Run: ``python benchmarks/odes.py [PROBLEM ...]``. All of them use the pair of Dormand and Prince, with the same
tolerances and the same times. ``error`` is that of the states, in tolerances, the greatest of all; then that of the
gradient of the sum of the squares of the states, relative to its greatest element. Both are held against solutions of
order 8 with a tolerance of 1e-13, and gradients by complex steps through these. Times are microseconds, medians of
interleaved runs.
"""

from __future__ import annotations

from loops import PARAMETERS, slopes  # before NumPy, as `timing`
from timing import interleaved, versions

import sys
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.ode import odeint as odeint_of_jax
from scipy.integrate import solve_ivp

import graphad
import graphad.numpy as gnp
from graphad.solve import odeint

TOLERANCES = (1e-6, 1e-8)
HAS_DIFFRAX = find_spec("diffrax") is not None


def predators(np_):
    """Predators and prey."""
    return lambda y, t, p: np_.stack(slopes(y[0], y[1], p))


def oscillator(np_):
    """Van der Pol's."""
    return lambda y, t, p: np_.stack([y[1], p[0] * (1 - y[0] ** 2) * y[1] - y[0]])


def rod(np_):
    """Heat that spreads along a rod of 100 points, and is lost."""
    return lambda y, t, p: p[0] * (np_.roll(y, 1) - 2 * y + np_.roll(y, -1)) - p[1] * y**3


#: The slopes, the first state, the times, the parameters.
PROBLEMS = {
    predators: (np.ones(2), np.linspace(0.0, 10.0, 100), PARAMETERS),
    oscillator: (np.array([2.0, 0.0]), np.linspace(0.0, 10.0, 100), np.array([3.0])),
    rod: (np.sin(np.linspace(0.0, np.pi, 100)) + 1, np.linspace(0.0, 10.0, 20), np.array([1.0, 0.5])),
}


def by_scipy(problem, p, tolerance, method):
    """The states, one row for each time."""
    y0, times, _ = PROBLEMS[problem]
    rate = problem(np)
    made = solve_ivp(
        lambda t, y: rate(y, t, p), times[[0, -1]], y0.astype(p.dtype), method, times, rtol=tolerance, atol=tolerance
    )
    return made.y.T


def exact(problem):
    """States and gradient to twelve digits."""
    p, step = PROBLEMS[problem][2], 1e-30
    states = by_scipy(problem, p, 1e-13, "DOP853")
    moved = [by_scipy(problem, p + 1j * step * unit, 1e-13, "DOP853") for unit in np.eye(len(p))]
    return states, np.array([(y**2).sum().imag / step for y in moved])


def by_diffrax(problem, tolerance):
    import diffrax

    y0, times, _ = PROBLEMS[problem]
    rate = problem(jnp)

    def states(p):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, p: rate(y, t, p)), diffrax.Dopri5(), times[0], times[-1], None, y0, p,
            saveat=diffrax.SaveAt(ts=times), stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        ).ys  # fmt: skip

    return states


def candidates(problem, tolerance):
    """The library of each candidate, and the states as a function of the parameters."""
    y0, times, _ = PROBLEMS[problem]
    ours, theirs = problem(gnp), problem(jnp)
    found = {
        "graphad": (graphad, lambda p: odeint(ours, y0, times, p, rtol=tolerance, atol=tolerance)),
        "jax": (jax, lambda p: odeint_of_jax(theirs, y0, times, p, rtol=tolerance, atol=tolerance)),
    }
    return found | {"diffrax": (jax, by_diffrax(problem, tolerance))} if HAS_DIFFRAX else found


def gradient_of(lib, states):
    return lib.jit(lib.grad(lambda p: (states(p) ** 2).sum()))


def measured(problem, tolerance):
    """By candidate: microseconds and error of the states, and of the gradient where it has one."""
    p, (states, gradient) = PROBLEMS[problem][2], exact(problem)
    values, gradients = {"scipy": lambda p: by_scipy(problem, p, tolerance, "RK45")}, {}
    for name, (lib, f) in candidates(problem, tolerance).items():
        values[name], gradients[name] = lib.jit(f), gradient_of(lib, f)
    rows = {name: [0.0, error(f(p), states) / tolerance] for name, f in values.items()}
    assert all([row[1] < 100 for row in rows.values()]), rows
    for name, f in gradients.items():
        rows[name] += [0.0, error(f(p), gradient)]
    for column, functions in ((0, values), (2, gradients)):
        calls = {name: lambda f=f: jax.block_until_ready(f(p)) for name, f in functions.items()}
        for name, seconds in interleaved(calls, repeat=15, number=3).items():
            rows[name][column] = 1e6 * seconds
    return rows


def error(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / max(1.0, np.abs(wanted).max())


@graphad.config.override(num_threads=1)
def main(*names):
    jax.config.update("jax_enable_x64", True)
    print(versions("numpy", "scipy", "llvmlite", "jax", *["diffrax"] * HAS_DIFFRAX, "graphad"))
    if not HAS_DIFFRAX:
        print("diffrax is not installed: pip install diffrax")
    print(f"{'problem':12} {'tolerance':>9}  {'':8} {'states us':>10} {'error':>7} {'gradient us':>12} {'error':>8}")
    for problem in PROBLEMS:
        if names and problem.__name__ not in names:
            continue
        for tolerance in TOLERANCES:
            for name, row in measured(problem, tolerance).items():
                shown = f"{row[0]:10.1f} {row[1]:7.1f}" + (f" {row[2]:12.1f} {row[3]:8.0e}" if row[2:] else "")
                print(f"{problem.__name__:12} {tolerance:9.0e}  {name:8} {shown}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
