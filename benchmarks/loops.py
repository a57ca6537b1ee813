"""Value and gradient of loops, beside JAX and adjoints by hand in the same run, on one thread each, float64.

Run: ``python benchmarks/loops.py [NAME ...]``. Every program is first compared in value. Prints medians of interleaved
runs, and how long the first call took.
"""

from __future__ import annotations

import os

# One thread each, said before the libraries are loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import sys
import time

from timing import interleaved, versions  # before NumPy: it clears what slows NumPy

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp

RNG = np.random.default_rng(0)
PARAMETERS = np.array([1.5, 1.0, 3.0, 1.0])
STEP, TURNS = 0.01, 1000


def slopes(x, y, p):
    return p[0] * x - p[1] * x * y, -p[2] * y + p[3] * x * y


def rk4(f, state, h):
    """One step for a tuple of numbers."""

    def moved(by, k):
        return tuple([s + by * d for s, d in zip(state, k, strict=True)])

    a = f(*state)
    b = f(*moved(h / 2, a))
    c = f(*moved(h / 2, b))
    d = f(*moved(h, c))
    return moved(h / 6, [i + 2 * j + 2 * k + m for i, j, k, m in zip(a, b, c, d, strict=True)])


def predators(lib, np_):
    """RK4 for predators and prey as a scan; both begin with 1."""

    def f(p):
        q = [p[k] for k in range(4)]
        start = (q[0] * 0 + 1.0, q[0] * 0 + 1.0)
        (x, y), _ = lib.lax.scan(lambda s, _: (rk4(lambda x, y: slopes(x, y, q), s, STEP), None), start, None, TURNS)
        return x * x + y * y

    return f, (PARAMETERS,)


def predators_in_python(lib, np_):
    """The same as a Python loop."""
    if lib is jax:
        return predators(lib, np_)

    def f(p):
        q = [p[k] for k in range(4)]
        state = (q[0] * 0 + 1.0, q[0] * 0 + 1.0)
        for _ in range(TURNS):
            state = rk4(lambda x, y: slopes(x, y, q), state, STEP)
        return state[0] * state[0] + state[1] * state[1]

    return f, (PARAMETERS,)


def lorenz(lib, np_):
    """RK4 with the trajectory stacked, against data."""
    data = RNG.normal(size=(TURNS, 3))

    def f(p, target):
        q = [p[k] for k in range(3)]

        def rate(x, y, z):
            return q[0] * (y - x), x * (q[1] - z) - y, x * y - q[2] * z

        def step(s, _):
            s = rk4(rate, s, STEP)
            return s, np_.stack(s)

        zero = q[0] * 0
        _, ys = lib.lax.scan(step, (zero + 1.0, zero + 1.0, zero + 1.0), None, TURNS)
        return np_.mean((ys - target) ** 2)

    return f, (np.array([10.0, 28.0, 8 / 3]), data)


def garch(lib, np_):
    """The negative log-likelihood of GARCH(1,1) for 2,000 returns."""

    def f(p, returns):
        def step(v, r):
            return p[0] + p[1] * r * r + p[2] * v, np_.log(v) + r * r / v

        return lib.lax.scan(step, p[0] / (1 - p[1] - p[2]), returns)[1].sum()

    return f, (np.array([0.1, 0.1, 0.8]), RNG.normal(size=2000))


def kalman(lib, np_):
    """The likelihood of a local linear trend: two states, 200 observations."""

    def f(p, ys):
        q, r, s = np_.exp(p[0]), np_.exp(p[1]), np_.exp(p[2])

        def step(state, y):
            m0, m1, c00, c01, c11 = state
            m0, c00, c01 = m0 + m1, c00 + 2 * c01 + c11 + q, c01 + c11
            c11 = c11 + s
            v = c00 + r
            e, k0, k1 = y - m0, c00 / v, c01 / v
            after = (m0 + k0 * e, m1 + k1 * e, c00 - k0 * c00, c01 - k0 * c01, c11 - k1 * c01)
            return after, np_.log(v) + e * e / v

        zero = p[0] * 0
        return lib.lax.scan(step, (zero, zero, zero + 1.0, zero, zero + 1.0), ys)[1].sum()

    return f, (np.zeros(3), np.cumsum(RNG.normal(size=200)))


def gru(lib, np_):
    """A GRU of 32 units over 200 steps of 16 inputs, float32."""
    r = np.random.default_rng(1)
    shapes = {"w": (16, 96), "u": (32, 96), "b": (96,)}
    params = {k: (r.normal(size=s) / 6).astype(np.float32) for k, s in shapes.items()}

    def sigmoid(x):
        return 1 / (1 + np_.exp(-x))

    def f(p, xs):
        def step(h, x):
            i, g = x @ p["w"] + p["b"], h @ p["u"]
            z, r = sigmoid(i[:32] + g[:32]), sigmoid(i[32:64] + g[32:64])
            h = (1 - z) * np_.tanh(i[64:] + r * g[64:]) + z * h
            return h, None

        return (lib.lax.scan(step, np_.zeros(32, np_.float32), xs)[0] ** 2).sum()

    return f, (params, r.normal(size=(200, 16)).astype(np.float32))


def lstm(lib, np_):
    """An LSTM of 64 units over 100 steps of a batch of 32, 32 inputs, float32."""
    r = np.random.default_rng(1)
    shapes = {"w": (32, 256), "u": (64, 256), "b": (256,)}
    params = {k: (r.normal(size=s) / 8).astype(np.float32) for k, s in shapes.items()}

    def sigmoid(x):
        return 1 / (1 + np_.exp(-x))

    def f(p, xs):
        def step(state, x):
            h, c = state
            g = x @ p["w"] + h @ p["u"] + p["b"]
            c = sigmoid(g[:, 64:128]) * c + sigmoid(g[:, :64]) * np_.tanh(g[:, 128:192])
            return (sigmoid(g[:, 192:]) * np_.tanh(c), c), None

        zero = np_.zeros((32, 64), np_.float32)
        return (lib.lax.scan(step, (zero, zero), xs)[0][0] ** 2).sum()

    return f, (params, r.normal(size=(100, 32, 32)).astype(np.float32))


def chains(size):
    """RK4 for a chain of ``size`` coupled numbers, 100 steps."""

    def made(lib, np_):
        def f(k, start):
            def rate(x):
                return (-k * x * x * x + 0.1 * (np_.roll(x, 1) - x),)

            def step(x, _):
                return rk4(rate, (x,), STEP)[0], None

            return (lib.lax.scan(step, start, None, 100)[0] ** 2).sum()

        return f, (np.float64(1.0), RNG.normal(size=size))

    made.__name__ = f"chain_{size}"
    return made


def adaptive(lib, np_):
    """Lotka-Volterra by `odeint` at tolerances of 1e-8, at 100 times."""
    if lib is jax:
        from jax.experimental.ode import odeint
    else:
        from graphad.solve import odeint

    def rate(y, t, p):
        return np_.stack(slopes(y[0], y[1], p))

    def f(p):
        return (odeint(rate, np.ones(2), np.linspace(0.0, 10.0, 100), p, rtol=1e-8, atol=1e-8) ** 2).sum()

    return f, (PARAMETERS,)


def tridiagonal(size):
    """Thomas's algorithm for ``size`` equations, which writes its arrays element by element."""

    def made(lib, np_):
        def f(diagonal, right):
            def down(i, arrays):
                c, x = arrays
                pivot = 1.0 / (diagonal[i] + c[i - 1])
                return c.at[i].set(-pivot), x.at[i].set((right[i] + x[i - 1]) * pivot)

            def up(k, x):
                i = size - 2 - k
                return x.at[i].add(-c[i] * x[i + 1])

            c, x = np_.zeros_like(right), np_.zeros_like(right)
            start = c.at[0].set(-1.0 / diagonal[0]), x.at[0].set(right[0] / diagonal[0])
            c, x = lib.lax.fori_loop(1, size, down, start)
            return (lib.lax.fori_loop(0, size - 1, up, x) ** 2).sum()

        return f, (RNG.uniform(2.5, 3.0, size), RNG.normal(size=size))

    made.__name__ = f"tridiagonal_{size}"
    return made


def batch(lib, np_):
    """A thousand fits of predators at once: values and gradients."""
    f, (p,) = predators(lib, np_)
    return lib.vmap(lib.value_and_grad(f)), (p * np.linspace(0.9, 1.1, 1000)[:, None],)


PROGRAMS = (
    predators, predators_in_python, lorenz, garch, kalman, gru, lstm, chains(1000), chains(10_000), batch,
    tridiagonal(1000), tridiagonal(10_000), adaptive,
)  # fmt: skip


def by_hand(program):
    """The peers of a program besides JAX."""
    if program not in (predators, predators_in_python):
        return {}
    from peers.runge_kutta import value_and_gradient

    p = tuple(PARAMETERS.tolist())
    return {"by hand": lambda: value_and_gradient(1.0, 1.0, p, STEP, TURNS)}


def measured(program):
    """Microseconds of each candidate, after comparing the results; and seconds of the first call of ours."""
    (f, args), (g, _) = program(graphad, gnp), program(jax, jnp)
    if program is not batch:
        f, g = graphad.value_and_grad(f), jax.value_and_grad(g)
    ours, theirs = graphad.jit(f), jax.jit(g)
    mine, their = graphad.tree.map(gnp.asarray, args), jax.tree.map(jnp.asarray, args)
    start = time.perf_counter()
    ours(*mine)
    first = time.perf_counter() - start
    for a, b in zip(graphad.tree.leaves(ours(*mine)), jax.tree.leaves(theirs(*their)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=2e-3, atol=2e-3 * np.abs(np.asarray(b)).max())
    calls = {"graphad": lambda: ours(*mine), "jax": lambda: jax.block_until_ready(theirs(*their)), **by_hand(program)}
    return {name: 1e6 * seconds for name, seconds in interleaved(calls, repeat=15, number=5).items()}, first


@graphad.config.override(num_threads=1)
def main(*names):
    jax.config.update("jax_enable_x64", True)
    print(versions("numpy", "llvmlite", "numba", "jax", "graphad"))
    print(f"{'value and gradient of':22} {'graphad us':>11} {'jax us':>11} {'ratio':>6}  {'first call s':>12}  peers")
    for program in PROGRAMS:
        if names and program.__name__ not in names:
            continue
        us, first = measured(program)
        mine, their = us.pop("graphad"), us.pop("jax")
        peers = ", ".join([f"{mine / t:.2f} of {name}" for name, t in us.items()])
        print(
            f"{program.__name__:22} {mine:11.1f} {their:11.1f} {their / mine:6.1f}  {first:12.2f}  {peers}", flush=True
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
