"""Time to the first result of straight-line programs, over their length and the size of their arrays.

Run: ``python benchmarks/first_call.py``. A program is a number of random steps on vectors; every measurement compiles
one that no cache knows. Prints milliseconds of CPU, means over the rounds, and for each length the greatest of its
row over the least (1.5 is the budget): how long a first call takes is a matter of the program, not of the size of a
vector.
"""

from __future__ import annotations

import random

from timing import versions  # first: it clears what slows NumPy

import time

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.config import config

LENGTHS = (10, 30, 100, 300, 1000)
SIZES = (1, 2, 4, 8, 9, 15, 16, 17, 20, 24, 25, 32, 33, 48, 64, 70)
ROUNDS = 5

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


if __name__ == "__main__":
    main()
