"""How compilation, run time and memory of loops grow with the number of turns, beside JAX in the same run, float64.

Run: ``python benchmarks/growth.py [compilation] [turns] [elements]``. Seconds of compilation are of the CPU, medians of
programs that no cache knows, tracing and derivative included. What XLA makes of a Python loop it makes in a process of
its own, which has a limit of time.
"""

from __future__ import annotations

from loops import PARAMETERS, STEP, rk4, slopes  # before NumPy, as `timing`
from timing import interleaved, versions

import random
import statistics
import subprocess
import sys
import time
import warnings

import first_call
import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp
from checkpoints import temporaries
from graphad.api.stages import compiled
from graphad.config import config

UNROLLED = (200, 2000)
SCANNED = (10, 1000, 1_000_000)
TURNS = (1000, 10_000, 100_000, 1_000_000)
ELEMENTS = (1000, 10_000, 100_000, 1_000_000)
#: JAX's time for an array that is written element by element grows with the square of its size.
MOST_ELEMENTS = 10_000
#: Turns of one measurement, where one call does not have more.
TIMED = 20_000
ROUNDS = 3
#: Seconds for XLA.
LIMIT = 60


def runge_kutta(lib, turns, start=1.0, *, is_scan=True):
    """Predators and prey after ``turns`` steps; with another ``start`` it is another program."""

    def f(p):
        q = [p[k] for k in range(4)]

        def step(state, _):
            return rk4(lambda x, y: slopes(x, y, q), state, STEP), None

        state = (q[0] * 0 + 1.0, q[0] * 0 + start)
        if is_scan:
            state, _ = lib.lax.scan(step, state, None, turns)
        else:
            for _ in range(turns):
                state, _ = step(state, None)
        return state[0] * state[0] + state[1] * state[1]

    return f


def recurrence(lib, np_):
    """The logistic map, each state written to its place in an array."""

    def f(rate, noise):
        def turn(i, x):
            return x.at[i].set(rate * x[i - 1] * (1 - x[i - 1]) + noise[i])

        return (lib.lax.fori_loop(1, noise.size, turn, np_.full_like(noise, 0.5)) ** 2).sum()

    return f


# ---------------------------------------------------------------------------------------------------------------------
# Seconds to compile


def compile_seconds(lib, f):
    """Seconds of CPU from the function to machine code of its value and gradient."""
    f = lib.jit(lib.value_and_grad(f))
    start = time.process_time()
    if lib is jax:
        f.lower(PARAMETERS).compile()
    else:
        compiled(f.trace(PARAMETERS).graph)
    return time.process_time() - start


def scanned(lib, turns):
    return compile_seconds(lib, runge_kutta(lib, turns, 1 + random.random()))


def unrolled(lib, turns):
    return compile_seconds(lib, runge_kutta(lib, turns, 1 + random.random(), is_scan=False))


def unrolled_arrays(lib, turns):
    """Of a state that is an array, whose elements are read and stacked in every turn."""
    f, factor = first_call.runge_kutta(turns), random.random()
    return compile_seconds(lib, lambda p: factor * f(p))


def unrolled_by_jax(turns):
    """`compile_seconds` of JAX for a Python loop; None if it takes longer than the limit."""
    command = [sys.executable, __file__, "unrolled_by_jax", str(turns)]
    try:
        return float(subprocess.run(command, timeout=LIMIT, capture_output=True, text=True, check=True).stdout)
    except subprocess.TimeoutExpired:
        return None


@config.override(cache_dir=None)
def compilation():
    for seconds in (scanned, unrolled, unrolled_arrays):
        seconds(graphad, 20)
    scanned(jax, 20)
    print(f"\n{'to compile':22} {'turns':>9} {'graphad s':>10} {'jax s':>8}")
    for turns in UNROLLED:
        theirs = unrolled_by_jax(turns)
        show_compilation("Python loop", turns, unrolled, f"over {LIMIT}" if theirs is None else f"{theirs:.3f}")
        show_compilation("Python loop of arrays", turns, unrolled_arrays, "")
    for turns in SCANNED:
        theirs = statistics.median([scanned(jax, turns) for _ in range(ROUNDS)])
        show_compilation("scan", turns, scanned, f"{theirs:.3f}")


def show_compilation(what, turns, seconds, theirs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", graphad.errors.GrowthWarning)
        ours = statistics.median([seconds(graphad, turns) for _ in range(ROUNDS)])
    print(f"{what:22} {turns:9} {ours:10.3f} {theirs:>8}", flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Run time and memory


def call(lib, np_, make, args):
    """A compiled call of value and gradient."""
    f, arrays = lib.jit(lib.value_and_grad(make(lib, np_), tuple(range(len(args))))), [np_.asarray(a) for a in args]
    return lambda: lib.block_until_ready(f(*arrays))


def show_run(make, args, count, *, with_jax=True):
    """Nanoseconds of value and gradient for each of ``count`` turns, after comparing the results, and the memory."""
    calls = {"graphad": call(graphad, gnp, make, args)}
    if with_jax:
        calls["jax"] = call(jax, jnp, make, args)
        results = zip(calls["graphad"]()[1], calls["jax"]()[1], strict=True)
        for ours, theirs in results:
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)
    seconds = interleaved(calls, repeat=9, number=max(1, TIMED // count))
    ns = "".join(
        [f"{1e9 * seconds[name] / count:11.1f}" if name in seconds else " " * 11 for name in ("graphad", "jax")]
    )
    value = make(graphad, gnp)
    bytes_of = [temporaries(graphad.jit(f), *args) for f in (value, graphad.value_and_grad(value))]
    print(f"{count:22,} {ns:22} {bytes_of[0]:12,} {bytes_of[1]:14,}", flush=True)


def show_head(title):
    print(f"\n{title:22} {'graphad ns':>11}{'jax ns':>11} {'bytes: value':>12} {'and gradient':>14}")


def turns():
    """Of a `scan` that stacks nothing."""
    show_head("turns of a scan")
    for length in TURNS:
        show_run(lambda lib, _, length=length: runge_kutta(lib, length), (PARAMETERS,), length)


def elements():
    """Of an array that a loop writes element by element."""
    show_head("elements of an array")
    for size in ELEMENTS:
        noise = 1e-3 * np.random.default_rng(0).normal(size=size)
        show_run(recurrence, (np.array(3.2), noise), size, with_jax=size <= MOST_ELEMENTS)


def main(*names):
    jax.config.update("jax_enable_x64", True)
    if names[:1] == ("unrolled_by_jax",):
        print(unrolled(jax, int(names[1])))
        return
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    for part in (compilation, turns, elements):
        if not names or part.__name__ in names:
            part()


if __name__ == "__main__":
    main(*sys.argv[1:])
