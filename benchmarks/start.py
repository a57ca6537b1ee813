"""From the start of a process to its first result, where an earlier process has compiled the program.

    python benchmarks/start.py

The program is a training step of a small perceptron. graphad has its cache on disk, JAX its persistent compilation
cache. Fresh interpreters in turns, the median of each, above one that imports NumPy alone; the budget is a fifth of
JAX's time.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import versions

ROUNDS = 15

STEP = """
import numpy as np
{imports}
rng = np.random.default_rng(0)
sizes = {{"w1": (32, 64), "b1": (64,), "w2": (64, 10), "b2": (10,)}}
p = {{name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}}
x, y = rng.normal(size=(128, 32)).astype(np.float32), rng.integers(0, 10, 128).astype(np.int32)

def loss(p, x, y):
    h = xnp.tanh(x @ p["w1"] + p["b1"])
    logits = h @ p["w2"] + p["b2"]
    logits = logits - xnp.max(logits, axis=1, keepdims=True)
    logs = logits - xnp.log(xnp.sum(xnp.exp(logits), axis=1, keepdims=True))
    return -xnp.mean(logs[xnp.arange(128), y])

def step(p, x, y):
    value, slopes = lib.value_and_grad(loss)(p, x, y)
    return value, {{name: p[name] - 0.1 * slopes[name] for name in p}}

print(float(lib.jit(step)(p, x, y)[0]))
"""
PROGRAMS = {
    "numpy": "import numpy",
    "graphad": STEP.format(imports="import graphad as lib, graphad.numpy as xnp"),
    "jax": STEP.format(imports="import jax as lib, jax.numpy as xnp"),
}


def start(code: str, folder: str) -> float:
    """Milliseconds from starting an interpreter that runs `code` to its end."""
    # Bytecode is compiled once on every machine but one that is told not to: what is measured is not that.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env |= {
        "GRAPHAD_CACHE": str(Path(folder, "graphad")),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=env, capture_output=True)
    return 1e3 * (time.perf_counter() - begin)


def main() -> int:
    """Measure, print a table, and fail over the budget."""
    print(versions("numpy", "jax", "graphad"))
    with tempfile.TemporaryDirectory() as folder:
        cold = {name: start(code, folder) for name, code in PROGRAMS.items()}
        rounds = [{name: start(code, folder) for name, code in PROGRAMS.items()} for _ in range(ROUNDS)]
    warm = {name: statistics.median(r[name] for r in rounds) for name in PROGRAMS}
    print(f"{'ms above import numpy':24} {'graphad':>8} {'jax':>8} {'ratio':>6}")
    for name, times in (("first process", cold), ("second process", warm)):
        ours, theirs = times["graphad"] - times["numpy"], times["jax"] - times["numpy"]
        print(f"{name:24} {ours:8.0f} {theirs:8.0f} {ours / theirs:6.2f}")
    return int(warm["graphad"] - warm["numpy"] > 0.2 * (warm["jax"] - warm["numpy"]))


if __name__ == "__main__":
    sys.exit(main())
