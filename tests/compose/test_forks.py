"""`os.fork` while another thread compiles: the child compiles and runs, and does not wait for a thread it has not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

#: Forks ``argv[1]`` times while two threads compile without a pause; prints what became of the children.
FORKS = """
import gc, os, signal, sys, threading, time
import numpy as np
import graphad, graphad.numpy as gnp

def program(k):
    def f(x):
        for i in range(12):
            x = gnp.sin(x) * (1 + k / 1024) + i
        return gnp.sort(x) if k % 3 else (x if x.sum() > 0 else -x)
    return f

def compile_all(k):
    while True:
        k += 1
        graphad.jit(program(k))(np.ones(5, np.float32))

same = graphad.jit(program(-1))
for k in (0, 10**6):
    threading.Thread(target=compile_all, args=(k,), daemon=True).start()
threading.Thread(target=lambda: [same(np.ones(n, np.float32)) for n in range(1, 10**6)], daemon=True).start()

for trial in range(int(sys.argv[1])):
    time.sleep(0.013 * (trial % 7))
    child = os.fork()
    if not child:
        right = np.isfinite(np.asarray(graphad.jit(program(-trial - 2))(np.ones(7, np.float32)))).all()
        same(np.ones(2000 + trial, np.float32))
        os._exit(0 if right and gc.isenabled() else 1)
    for _ in range(3000):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.02)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = "hangs"
    print(status, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize(
    ("processes", "forks"), [(1, 15), pytest.param(3, 1, marks=pytest.mark.slow)]
)  # the last ones while the compiler is still imported
def test_children_of_a_process_that_compiles(processes: int, forks: int) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), "GRAPHAD_CACHE": ""}
    for _ in range(processes):
        command = [sys.executable, "-c", FORKS, str(forks)]
        run = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
        assert run.stdout.split() == ["0"] * forks, run.stderr
