"""Compiled functions from several threads: the first calls among them, in a process where nothing is loaded yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

import graphad
import graphad.numpy as gnp
from tests.threads import side_by_side

ROOT = Path(__file__).parent.parent.parent

COLD = """
import faulthandler, threading
faulthandler.enable()
import graphad, graphad.numpy as gnp

f = graphad.jit(lambda x: gnp.exp(x) * 2 if x.sum() > 0 else -x)
start, found = threading.Barrier(4), []

def work(s):
    start.wait()
    for _ in range(50):
        found.append((s, float(f(gnp.array([s, 1.0])).sum())))

threads = [threading.Thread(target=work, args=(s,)) for s in (1.0, -5.0, 2.0, -3.0)]
[t.start() for t in threads]
[t.join() for t in threads]
assert len(found) == 200 and len(set(found)) == 4, set(found)
print(f)
"""


def test_first_calls_at_the_same_time():
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), "GRAPHAD_CACHE": ""}
    for _ in range(3):
        run = subprocess.run([sys.executable, "-c", COLD], capture_output=True, text=True, env=env)
        assert run.returncode == 0, run.stderr
        assert "2 path(s)" in run.stdout


def test_threads_share_paths_and_not_results():
    f = graphad.jit(graphad.grad(lambda x: (gnp.sin(x) * x).sum() if x[0] > 0 else (x * x).sum()))
    inputs = [np.full(64, s, np.float32) for s in (-2.0, -1.0, 1.0, 2.0)]
    expected = [np.asarray(f(x)) for x in inputs]
    wrong: list[int] = []

    def work(k):
        for _ in range(200):
            if not np.array_equal(np.asarray(f(inputs[k])), expected[k]):
                wrong.append(k)

    side_by_side(work)
    assert not wrong
    assert "2 path(s)" in repr(f)
