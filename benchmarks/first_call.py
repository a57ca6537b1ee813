"""Time to the first result of straight-line programs, over their length and the size of their arrays.

Run: ``python benchmarks/first_call.py``. A program is a number of random steps on vectors; every measurement compiles
one that no cache knows. Prints milliseconds of CPU, means over the rounds, and for each length the greatest of its
row over the least (1.5 is the budget): how long a first call takes is a matter of the program, not of the size of a
vector.

Then value and gradient of 200 and 1000 unrolled steps of RK4, some 200 equations each: milliseconds of CPU for a step,
stage by stage, with its share. What a step costs may differ by 25 % between the two.
"""

from __future__ import annotations

import random

from timing import versions  # first: it clears what slows NumPy

import time

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.api.stages import default_pipeline, gradient
from graphad.backends.cpu.compiler import emitted
from graphad.backends.llvm.native import compile_object
from graphad.backends.lower.fuse import lower
from graphad.config import config
from graphad.ir.collector import paused
from graphad.ir.digest import encode
from graphad.passes import applied

LENGTHS = (10, 30, 100, 300, 1000)
SIZES = (1, 2, 4, 8, 9, 15, 16, 17, 20, 24, 25, 32, 33, 48, 64, 70)
ROUNDS = 5
UNROLLED = (200, 1000)

STEPS = (
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1),
    lambda a, b: gnp.maximum(a, b) - 0.5,
    lambda a, b: gnp.where(a > b, a, 0.5 * b),
    lambda a, b: gnp.sin(a) + b,
    lambda a, b: gnp.tanh(a - b),
    lambda a, b: gnp.exp(-a * a) - b,
    lambda a, b: gnp.sqrt(a * a + 1) - b,
    lambda a, b: gnp.floor(4 * a) % (b * b + 1),
    lambda a, b: a // (b * b + 1) - b,
    lambda a, b: (10 * a).astype(gnp.int32).astype(a.dtype) - b,
)


def straight_line(length, seed):
    """A function of one vector: ``length`` random steps, each on two of the last eight values."""

    def program(x):
        rng = random.Random(seed)
        values = [x, 0.5 * x + rng.random()]
        for _ in range(length):
            values.append(rng.choice(STEPS)(rng.choice(values), rng.choice(values)))
            del values[:-8]
        return sum(values)

    return program


def first_call(length, size, seed, dtype):
    start = time.process_time()
    graphad.jit(straight_line(length, seed))(np.linspace(-1, 1, size, dtype=dtype))
    return 1e3 * (time.process_time() - start)


def runge_kutta(steps):
    """The end of a path of a predator and its prey, as a function of the four rates between them."""

    def slope(y, p):
        return gnp.stack([p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]])

    def loss(p):
        y, h = gnp.array([1.0, 1.0]), 0.01
        for _ in range(steps):
            a = slope(y, p)
            b = slope(y + h / 2 * a, p)
            c = slope(y + h / 2 * b, p)
            d = slope(y + h * c, p)
            y = y + h / 6 * (a + 2 * b + 2 * c + d)
        return gnp.sum(y**2)

    return loss


def stage_times(f, *args):
    """Milliseconds of CPU of each stage of a first call of value and gradient, and the number of equations compiled."""
    times = {}

    def timed(stage, f, *args, **options):
        start = time.process_time()
        result = f(*args, **options)
        times[stage] = 1e3 * (time.process_time() - start)
        return result

    with paused():
        traced = timed("trace", graphad.make_graph(f), *args)
        graph = timed("differentiate", gradient, traced, (True, *[False] * (len(args) - 1))).graph
        timed("key on disk", encode, graph)
        simple = timed("simplify", applied, graph, default_pipeline())
        program = timed("lower", lower, simple).program
        text = timed("emit", emitted, program, comments=False, one_blas_thread=False)
        timed("LLVM", compile_object, text.text, text.opt)
    return times, len(simple.eqns)


def unrolled():
    print("\nvalue and gradient of RK4, ms a step" + "".join(f"{n:8} steps      " for n in UNROLLED))
    rates = np.array([1.5, 1.0, 3.0, 1.0])
    stage_times(runge_kutta(20), rates)
    columns, equations = zip(*[stage_times(runge_kutta(n), rates) for n in UNROLLED], strict=True)
    rows = [{stage: t / n for stage, t in times.items()} for times, n in zip(columns, UNROLLED, strict=True)]
    totals = [sum(times.values()) for times in rows]
    for stage in rows[0]:
        shares = zip([times[stage] for times in rows], totals, strict=True)
        print(f"{stage:36}" + "".join(f"{t:9.2f} {100 * t / total:6.0f} %  " for t, total in shares))
    print(f"{'all':36}" + "".join(f"{t:9.2f} {n:6} eqns" for t, n in zip(totals, equations, strict=True)))
    print(f"longest over shortest: {max(totals) / min(totals):.2f}")


def main():
    config.update("cache_dir", None)
    print(versions("numpy", "llvmlite", "graphad"))
    for dtype in ("float32", "float64"):
        print(f"\n{dtype}, size" + "".join(f"{size:6}" for size in SIZES) + "   greatest/least")
        for size in SIZES:
            first_call(100, size, -1, dtype)  # elementary functions are compiled once
        for length in LENGTHS:
            rounds = [[first_call(length, size, r, dtype) for size in SIZES] for r in range(ROUNDS)]
            row = [sum(times) / ROUNDS for times in zip(*rounds, strict=True)]
            print(f"{length:7} steps " + "".join(f"{t:6.0f}" for t in row) + f"   {max(row) / min(row):.2f}")
    unrolled()


if __name__ == "__main__":
    main()
