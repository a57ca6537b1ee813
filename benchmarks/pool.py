"""The pool of threads in bad company, and results that are kept.

Run: ``python benchmarks/pool.py``. A job of about 200 us on all cores against one, alone and with four busy processes:
the ratios of medians and of 95th percentiles. A program too small for threads, with and without them. And a million
sines and their gradient whose last eight results are kept, against results that are dropped.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from statistics import median, quantiles

from timing import versions  # first: it clears what slows NumPy

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.config import config

BUSY, CALLS = 4, 400


def interleaved(calls, rounds):
    """Microseconds of each call of each candidate, on all threads or on ``one``."""
    taken = {name: [] for name in calls}
    for _ in range(rounds + 3):
        for name, call in calls.items():
            with config.override(num_threads=1 if name == "one" else None):
                start = time.perf_counter()
                call()
                taken[name].append(1e6 * (time.perf_counter() - start))
    return {name: times[3:] for name, times in taken.items()}


def on_threads(f, x):
    """Calls of a program on all threads and on one."""
    return {"all": lambda: f(x), "one": lambda: f(x)}


def compared(title, taken, mine, other):
    late = [quantiles(taken[name], n=20)[-1] for name in (mine, other)]
    ratio = median(taken[mine]) / median(taken[other])
    print(f"{title:46} {median(taken[mine]):9.1f} {median(taken[other]):9.1f} {ratio:7.2f} {late[0] / late[1]:7.2f}")


def main():
    print(versions("numpy", "llvmlite", "graphad"))
    print(f"{'us':46} {'':9} {'against':>9} {'medians':>7} {'95 %':>7}")
    sines = graphad.jit(lambda x: gnp.sum(gnp.sin(x) * gnp.cos(x)))
    job = on_threads(sines, gnp.asarray(np.ones(50_000)))
    compared("a job, all threads against one", interleaved(job, CALLS), "all", "one")
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        compared(f"the same beside {BUSY} busy processes", interleaved(job, CALLS), "all", "one")
    finally:
        for process in others:
            process.kill()
            process.wait()
    small = on_threads(sines, gnp.asarray(np.ones(300)))
    compared("a program too small for threads", interleaved(small, 10 * CALLS), "all", "one")
    slope = graphad.jit(graphad.value_and_grad(lambda x: gnp.sum(gnp.sin(x))))
    x, kept = gnp.asarray(np.ones(1_000_000)), deque(maxlen=8)
    both = {"kept": lambda: kept.append(slope(x)), "dropped": lambda: slope(x)}
    compared("results kept against dropped", interleaved(both, CALLS // 4), "kept", "dropped")


if __name__ == "__main__":
    main()
