"""Time and memory of reverse mode with few stored states: a million steps of RK4, value and gradient.

As a ``scan`` with ``checkpoint``, and as a ``while_loop`` under ``max_residual_bytes``. ``limit`` is what the sweeps
and one reversal take, ``(sweeps - 1) * value + plain``, with what the plain program and its value took in the same run.
"""

from __future__ import annotations

from loops import PARAMETERS, STEP, rk4, slopes  # before NumPy, as `timing`
from timing import interleaved, versions

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.checkpoints import schedule
from graphad.api.stages import simplify
from graphad.backends.loops.memory import plan
from graphad.backends.lower.fuse import lower

TURNS = 1_000_000


def loss(checkpoint):
    def f(p):
        def step(state, _):
            return rk4(lambda x, y: slopes(x, y, p), state, STEP), None

        (x, y), _ = lax.scan(step, (gnp.float64(1.0), gnp.float64(1.0)), None, TURNS, checkpoint=checkpoint)
        return x * x + y

    return f


def loss_of_while(p, n):
    def turn(state):
        return state[0] + 1, rk4(lambda x, y: slopes(x, y, p), state[1], STEP)

    _, (x, y) = lax.while_loop(lambda state: state[0] < n, turn, (0, (gnp.float64(1.0), gnp.float64(1.0))))
    return x * x + y


def temporaries(f, *args):
    """How many bytes the temporaries of a compiled function take."""
    return plan(lower(simplify(f.graph(*args))).program).size


def report_of_scans(p):
    checkpoints = (None, "sqrt", 1420, 180, 40)
    programs = {c: graphad.jit(graphad.value_and_grad(loss(c))) for c in checkpoints}
    value = graphad.jit(loss(None))
    for f in programs.values():
        np.testing.assert_allclose(f(p)[1], programs[None](p)[1], rtol=1e-9)
    calls = {c: lambda f=f: f(p) for c, f in programs.items()} | {"value": lambda: value(p)}
    seconds = interleaved(calls, repeat=5, number=1)
    plain, forward = seconds[None], seconds["value"]
    print(f"{'checkpoint':>12} {'sweeps':>7} {'of the plain time':>18} {'limit':>6} {'MB':>8}")
    for c, f in programs.items():
        sweeps = 1 if c is None else schedule(TURNS, c).sweeps
        limit = ((sweeps - 1) * forward + plain) / plain
        print(f"{c!s:>12} {sweeps:7} {seconds[c] / plain:18.2f} {limit:6.2f} {temporaries(f, p) / 1e6:8.3f}")


def report_of_whiles(p):
    limits = (None, 100_000, 30_000, 5_000)
    programs = {n: graphad.jit(graphad.value_and_grad(loss_of_while, max_residual_bytes=n)) for n in limits}
    for f in programs.values():
        np.testing.assert_array_equal(f(p, TURNS)[1], programs[None](p, TURNS)[1])
    seconds = interleaved({n: lambda f=f: f(p, TURNS) for n, f in programs.items()}, repeat=5, number=1)
    print(f"{'bytes':>12} {'of the plain time':>26}")
    for n in limits:
        print(f"{n!s:>12} {seconds[n] / seconds[None]:26.2f}")


def main():
    print(versions("numpy", "llvmlite", "graphad"))
    p = gnp.asarray(PARAMETERS)
    report_of_scans(p)
    report_of_whiles(p)


if __name__ == "__main__":
    main()
