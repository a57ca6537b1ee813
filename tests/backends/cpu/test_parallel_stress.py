"""Programs in blocks under load: many callers, forks, interrupts, and every result the same to the last bit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import graphad
from graphad import tree
from graphad.config import config
from tests.backends.cpu.test_parallel import PROGRAMS
from tests.backends.cpu.test_pool import in_new_process


def bits(results):
    return b"".join(np.asarray(x).tobytes() for x in tree.leaves(results))


@pytest.mark.parametrize("calls", [30, pytest.param(3000, marks=pytest.mark.slow)])
def test_many_callers(calls):
    """Eight threads call all programs, each in an order of its own."""
    compiled = {name: graphad.jit(f) for name, (f, _) in PROGRAMS.items()}
    expected = {name: bits(f(*PROGRAMS[name][1])) for name, f in compiled.items()}

    def caller(seed):
        rng = np.random.default_rng(seed)
        for name in rng.choice(list(PROGRAMS), calls):
            assert bits(compiled[name](*PROGRAMS[name][1])) == expected[name], name

    with config.override(num_threads=3), ThreadPoolExecutor(8) as callers:
        list(callers.map(caller, range(8)))


FORKS = """
import os, sys, warnings
import graphad
from tests.backends.cpu.test_parallel_stress import PROGRAMS, bits
warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
f, args = PROGRAMS["network"]
f = graphad.jit(f)
expected = bits(f(*args))
for child in range(8):
    pid = os.fork()
    if not pid:
        os._exit(any([bits(f(*args)) != expected for _ in range(5)]))
    assert bits(f(*args)) == expected
    assert os.waitpid(pid, 0)[1] == 0
print("same")
"""


def test_forks():
    assert in_new_process(FORKS, GRAPHAD_NUM_THREADS="3") == ["same"]


INTERRUPTS = """
import os, signal, threading, time
import graphad
from tests.backends.cpu.test_parallel_stress import PROGRAMS, bits
f, args = PROGRAMS["network"]
f = graphad.jit(f)
expected = bits(f(*args))
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
caught = 0
for attempt in range(12):
    timer = threading.Timer(0.001 * attempt, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        while True:
            f(*args)
    except KeyboardInterrupt:
        caught += 1
    timer.join()
    assert bits(f(*args)) == expected
print(caught)
"""


def test_interrupts():
    assert in_new_process(INTERRUPTS, GRAPHAD_NUM_THREADS="3") == ["12"]
