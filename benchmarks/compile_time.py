"""Time from a Python function to its first result, process warm, nothing cached: tracing, derivative, compilation, run.

Run: ``python benchmarks/compile_time.py``. Every round compiles new functions, with another constant in each, so that
no cache knows the program, and none from an earlier run. Prints medians beside JAX in the same run, then the sum over
the programs of ``programs.py``, and the share that each of our stages has in it. Budgets: 30 ms for the functions of
the tutorials, 150 ms for the training step of ``examples/demo.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import one_thread  # noqa: F401
from programs import PROGRAMS  # first: it clears what slows NumPy
from first_call import stage_times
from timing import versions

import random
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import optim

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import mlp


def tutorials(lib, numpy, k):
    """The compiled functions of the tutorials, each with its arguments; ``k`` makes them new."""
    inputs = np.array([[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.30], [0.74, -2.49, 1.39]], np.float32)
    targets = np.array([True, True, False, True])

    def logistic(w, b):
        p = 0.5 * (numpy.tanh((numpy.dot(inputs, w) + b) / (2 + k)) + 1)
        return -numpy.sum(numpy.log(p * targets + (1 - p) * (1 - targets)))

    def potential(x):
        return (numpy.abs(x[numpy.newaxis, :] - x[:, numpy.newaxis]) ** 2).sum() / (2 + k)

    x = np.linspace(-3, 3, 100, dtype=np.float32)
    two, three = np.array([1, 2], np.float32), np.array([0.1, 0.2, 0.3], np.float32)
    return {
        "grad(polynomial)": (lib.grad(lambda x: x**3 + (2 + k) * x**2 - 3 * x + 1), (1.0,)),
        "grad(sigmoid)": (lib.grad(lambda x: 1 / (1 + k + numpy.exp(-x))), (2.0,)),
        "slow_fn": (lambda x: numpy.sin(x) + numpy.cos(x) * x**2 * (1 + k), (x,)),
        "vmap(grad(square))": (lib.vmap(lib.grad(lambda x: (1 + k) * x**2)), (x,)),
        "grad(logistic loss)": (lib.grad(logistic, (0, 1)), (three, np.float32(0.1))),
        "grad(potential)": (lib.grad(potential), (two,)),
        "jacobian": (lib.jacobian(lambda x: numpy.array([x[0] ** 2 + x[1] ** 2, (1 + k) * x[0] * x[1]])), (two,)),
        "hessian": (lib.hessian(lambda x: x[0] ** 3 + x[1] ** 2 + (1 + k) * x[0] * x[1]), (two,)),
    }


def programs(lib, numpy, k):
    """Values and gradients of the programs whose run time is measured elsewhere, with another factor in each round."""
    made = {program.__name__: program(numpy) for program in PROGRAMS}
    return {name: (lib.value_and_grad(scaled(f, 1 + k)), args) for name, (f, args) in made.items()}


def scaled(f, factor):
    return lambda *args: factor * f(*args)


def training_step(k):
    """The training step of the demo, with its arguments."""
    params = mlp.init_params(graphad.random.key(0), [64, 128, 64, 10])
    optimizer = optim.adam(3e-3 * (1 + k))
    gradient = graphad.compile_grad(mlp.mlp_loss, with_value=True)
    images, digits = np.ones((64, 64), np.float32), np.zeros(64, np.int32)

    def step(params, state, images, digits):
        loss, grads = gradient(params, images, digits)
        updates, state = optimizer.update(grads, state)
        return optim.apply_updates(params, updates), state, loss

    return step, (params, optimizer.init(params), images, digits)


def first_call(lib, f, args):
    start = time.perf_counter()
    lib.block_until_ready(lib.jit(f)(*args))
    return 1e3 * (time.perf_counter() - start)


def main():
    rounds = {}
    start = random.random()
    for k in range(8):
        constant = start + k * 0.0625
        for name, lib, numpy in (("graphad", graphad, gnp), ("jax", jax, jnp)):
            functions = tutorials(lib, numpy, constant) | programs(lib, numpy, constant)
            for title, (f, args) in functions.items():
                rounds.setdefault(title, {}).setdefault(name, []).append(first_call(lib, f, args))
        f, args = training_step(constant)
        rounds.setdefault("demo's training step", {}).setdefault("graphad", []).append(first_call(graphad, f, args))
    print(versions("numpy", "llvmlite", "jax", "graphad"))
    print(f"{'function':24} {'graphad ms':>11} {'jax ms':>8} {'ratio':>6}")
    names = {program.__name__ for program in PROGRAMS}
    totals = {"graphad": 0.0, "jax": 0.0}
    for title, times in rounds.items():
        # The first round warms the process up.
        medians = {name: statistics.median(t[1:]) for name, t in times.items()}
        show(title, medians)
        if title in names:
            totals = {name: total + medians[name] for name, total in totals.items()}
    show("sum over programs.py", totals)
    show_stages()


def show_stages():
    """What each stage has of the sum: the least of several rounds, program by program."""
    total = dict.fromkeys(stage_times(lambda x: x * x, 1.0)[0], 0.0)
    for program in PROGRAMS:
        f, args = program(gnp)
        rounds = [stage_times(scaled(f, 1 + k), *args)[0] for k in range(4)]
        for stage in total:
            total[stage] += min(times[stage] for times in rounds)
    whole = sum(total.values())
    print("of it: " + ", ".join(f"{stage} {100 * t / whole:.0f} %" for stage, t in total.items()))


def show(title, times):
    theirs = times.get("jax")
    shown = f"{theirs:8.1f} {theirs / times['graphad']:6.1f}" if theirs else ""
    print(f"{title:24} {times['graphad']:11.1f} {shown}")


if __name__ == "__main__":
    main()
