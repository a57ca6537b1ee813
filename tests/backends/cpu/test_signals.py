"""Long loops look for signals; where there is no memory for a loop, the error says for which."""

from __future__ import annotations

import signal
import subprocess
import sys

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cpu import signals
from graphad.backends.cpu.entry import make
from graphad.backends.cpu.executable import compile_graph

WEIGHTS = np.full((200, 200), 1e-3)


class Rung(Exception):
    pass


@pytest.fixture
def alarm():
    """Rings in a moment; what the handler does is the first element of what this gives, then how often it has rung."""
    state = [Rung(), 0]

    def ring(signum, frame):
        state[1] += 1
        if state[0] is not None:
            raise state[0]

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    yield state
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def endless(x):
    return lax.while_loop(lambda s: s < 2.0, gnp.sin, x)


def lanes(x):
    return graphad.vmap(endless)(gnp.full(16, x))


def steps(x):
    return lax.while_loop(lambda s: gnp.sum(s) < 1e9, lambda s: gnp.tanh(WEIGHTS @ s), gnp.full(200, x))


def many_turns(x):
    return lax.fori_loop(0, 10**12, lambda _, c: gnp.sin(c), x)


def many_steps(x):
    return lax.fori_loop(0, 10**12, lambda _, c: gnp.tanh(WEIGHTS @ c), gnp.full(200, x))


@pytest.mark.parametrize("loop", [endless, lanes, steps, many_turns, many_steps])
@pytest.mark.parametrize("form", [lambda f: f, graphad.jit], ids=["eager", "compiled"])
def test_a_handler_ends_a_loop(loop, form, alarm):
    with pytest.raises(Rung) as caught:
        form(loop)(0.5)
    assert caught.value is alarm[0]
    assert alarm[1] == 1


def test_without_machine_code_at_the_entry(alarm, monkeypatch):
    monkeypatch.setattr(make, "make_entry", make.call_through_ctypes)
    monkeypatch.setattr("graphad.backends.cpu.executable.make_entry", make.call_through_ctypes)
    with pytest.raises(Rung):
        graphad.jit(lambda x: endless(x) + 1)(0.5)


def test_a_handler_that_returns(alarm):
    alarm[0] = None

    @graphad.jit
    def count(x, n):
        return lax.while_loop(lambda s: s[1] < n, lambda s: (gnp.cos(s[0]), s[1] + 1), (x, 0))

    n = 10_000
    while not alarm[1]:  # it takes half a second or so
        n *= 4
        fixed, turns = count(0.5, n)
        assert turns == n
    np.testing.assert_allclose(fixed, 0.7390851332151607, rtol=1e-6)


def test_short_programs_do_not_look():
    def short(x):
        return lax.fori_loop(0, 100, lambda _, c: gnp.sin(c), x) + gnp.sum(gnp.sin(gnp.arange(1e6)))

    assert signals.HANDLE not in compile_graph(graphad.make_graph(short)(0.5)).artifact.routines
    assert signals.HANDLE in compile_graph(graphad.make_graph(endless)(0.5)).artifact.routines


SCRIPT = """
import resource
import graphad, graphad.numpy as gnp
from graphad import lax

def f(x, n):
    return lax.while_loop(lambda s: s[1] < n, lambda s: (gnp.sin(s[0]), s[1] + 1), (x, 0))[0]

slope = graphad.jit(graphad.grad(f))
slope(0.5, 10)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**8,) * 2)
try:
    slope(0.5, 50_000_000)
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by Linux's means")
def test_no_memory_for_a_loop(tmp_path):
    script = tmp_path / "fit.py"
    script.write_text(SCRIPT)
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    (line,) = ended.stdout.splitlines()
    assert line.endswith("fit.py:7: the loop has more turns than there is memory for what its derivative reads")
