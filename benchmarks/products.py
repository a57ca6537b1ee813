"""Matrix products on the CPU: training steps on a busy machine, and matrices with vectors beside NumPy.

Run: ``python benchmarks/products.py steps`` and ``python benchmarks/products.py vectors``. The step is that of the demo
(perceptron 64-128-64-10, batch 64, Adam), with BLAS kept to one thread and with its own; both run in turns beside none,
one and two busy processes. Prints percentiles, in microseconds. Products with vectors are first compared with NumPy's,
then timed in turns, all on one thread; a ratio above 1 means that graphad is faster.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

if "vectors" in sys.argv:  # said before the libraries are loaded
    os.environ["OPENBLAS_NUM_THREADS"] = "1"

from timing import interleaved, versions  # before NumPy: it clears what slows NumPy

import time

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import nn, optim
from graphad.config import config

RNG = np.random.default_rng(0)
SIZES, BATCH, STEPS = (64, 128, 64, 10), 64, 2000
SHAPES = [(128, 784), (1000, 1000), (10_000, 10), (10, 10_000), (20_000, 100), (100_000, 30), (30, 100_000)]


def normal(*shape, dtype=np.float32):
    return RNG.normal(size=shape).astype(dtype)


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Other work on the cores: processes that do nothing but run."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def training_step():
    """A compiled step of training, and its state before the first."""
    optimizer = optim.adam(1e-3)

    def loss(params, x, digits):
        *hidden, (w, b) = params
        for v, c in hidden:
            x = nn.relu(x @ v + c)
        return -gnp.mean(gnp.sum(nn.log_softmax(x @ w + b) * nn.one_hot(digits, SIZES[-1]), axis=1))

    def step(params, state, x, digits):
        value, grads = graphad.value_and_grad(loss)(params, x, digits)
        updates, state = optimizer.update(grads, state)
        return optim.apply_updates(params, updates), state, value

    params = [(normal(m, n) / m**0.5, np.zeros(n, np.float32)) for m, n in pairwise(SIZES)]
    params = graphad.tree.map(gnp.asarray, params)
    return graphad.jit(step), params, optimizer.init(params)


def steps_under_load() -> None:
    x, digits = normal(BATCH, SIZES[0]), RNG.integers(0, SIZES[-1], BATCH).astype(np.int32)
    compiled = {}
    for one in (True, False):
        with config.override(one_blas_thread=one):
            compiled["one thread" if one else "its own"] = [one, *training_step()]
    print("a step of training, us    least   median      90 %      95 %      99 %      most")
    for number in (0, 1, 2):
        times: dict[str, list[float]] = {name: [] for name in compiled}
        with busy(number):
            for turn in range(2 * STEPS):
                name = list(compiled)[turn // 20 % 2]  # twenty steps each, as training is steps in a row
                one, step, params, state = compiled[name]
                with config.override(one_blas_thread=one):
                    start = time.perf_counter()
                    params, state, _ = step(params, state, x, digits)
                    times[name].append(1e6 * (time.perf_counter() - start))
                compiled[name][2:] = params, state
        for name, measured in times.items():
            shown = "".join(f"{q:10.0f}" for q in np.percentile(measured[100:], (0, 50, 90, 95, 99, 100)))
            print(f"{number} busy, {name:10} {shown}")


def products_with_vectors() -> None:
    forms = {"X z": lambda x, z, _: x @ z, "X' y": lambda x, _, y: x.T @ y, "y X": lambda x, _, y: y @ x}
    print("a matrix with a vector, us          " + "".join(f"{form:>16} ratio" for form in forms))
    for dtype in (np.float32, np.float64):
        for m, n in SHAPES:
            args = normal(m, n, dtype=dtype), normal(n, dtype=dtype), normal(m, dtype=dtype)
            row = f"{np.dtype(dtype).name} {m:>8} x {n:<8}         "
            for form in forms.values():
                jitted = graphad.jit(form)
                wanted = form(*[a.astype(np.float64) for a in args])
                np.testing.assert_allclose(jitted(*args), wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
                number = max(1, 2_000_000 // (m * n))
                found = interleaved({"ours": lambda: jitted(*args), "numpy": lambda: form(*args)}, number=number)  # noqa: B023
                row += f"{1e6 * found['ours']:16.1f} {found['numpy'] / found['ours']:5.2f}"
            print(row)


def main() -> None:
    print(versions("numpy", "scipy", "graphad"))
    if "steps" in sys.argv:
        steps_under_load()
    elif "vectors" in sys.argv:
        products_with_vectors()
    else:
        print(__doc__)


if __name__ == "__main__":
    main()
