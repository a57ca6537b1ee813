"""All programs of `programs`, `loops`, `linear_algebra` and `threads` beside JAX, each at its own number of threads.

Run: ``python benchmarks/summary.py [names]``. Prints how many times as long JAX takes for value and gradient, from
medians of interleaved runs, the geometric mean of these ratios, and which programs are slower than JAX.
"""

from __future__ import annotations

import sys
from statistics import geometric_mean

import linear_algebra  # first of all, one of these: it clears what slows NumPy
import loops
import programs
import threads
from timing import versions

import jax


def everything():
    """Each program's name, and what measures it: seconds, or so many of a smaller unit, of ``graphad`` and ``jax``."""
    for p in programs.PROGRAMS:
        yield p.__name__, lambda p=p: programs.measured(p)
    for p in loops.PROGRAMS:
        yield p.__name__, lambda p=p: loops.measured(p)[0]
    for name, args in linear_algebra.PROGRAMS.items():
        yield name, lambda args=args: linear_algebra.measured(*args)
    for name, args in threads.PROGRAMS.items():
        yield name, lambda args=args: threads.measured(*args)


def main(*names):
    jax.config.update("jax_enable_x64", True)
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    ratios = {}
    for name, measure in everything():
        if names and name not in names:
            continue
        taken = measure()
        ratios[name] = taken["jax"] / taken.get("graphad", taken.get("all"))
        print(f"{name:29} {ratios[name]:6.1f}", flush=True)
    slower = [name for name, ratio in ratios.items() if ratio < 1]
    print(f"{len(ratios)} programs, geometric mean {geometric_mean(ratios.values()):.1f}, slower: {slower or 'none'}")


if __name__ == "__main__":
    main(*sys.argv[1:])
