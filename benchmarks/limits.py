"""The programs of `threads`, value and gradient on one core, beside what this machine can do.

Run: ``python benchmarks/limits.py [names]``. Two limits are measured with programs of one kind of work each: how long
it takes to move what must be moved, arguments and results (at the rate of ``a + 3 * b`` over arrays that fit no cache),
and how long to compute what its loops compute, each operator at its rate over arrays that do fit, products at that of
1,024 x 1,024. A program takes at least the longer of both. Its share is that limit over its time: more than
100 % where neighbours share their work, as a function and its derivative do.
"""

from __future__ import annotations

import sys
from functools import cache

from threads import PROGRAMS  # first: it clears what slows NumPy
from timing import interleaved, versions

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad.api.stages import default_pipeline
from graphad.backends.cpu.compiler import lowered
from graphad.backends.loops.ir import Gemm, Let, Loop, LoopNest, Repeat, While
from graphad.config import config
from graphad.device import CPU
from graphad.ir.lowering import ELEMENTARY
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.types import DType, f32, f64

LARGE, SMALL = 1 << 23, 4096
OF_TWO = ("div", "pow", "atan2", "hypot", "nextafter")


def seconds(f, *args):
    """Of a call on one thread, with what an empty call takes taken off."""
    compiled, nothing = graphad.jit(f), graphad.jit(lambda x: x)
    args, one = graphad.tree.map(gnp.asarray, list(args)), gnp.asarray(1.0)
    taken = interleaved({"it": lambda: compiled(*args), "nothing": lambda: nothing(one)}, number=3)
    return taken["it"] - taken["nothing"]


@cache
def bytes_a_second():
    a, b = np.ones(LARGE), np.ones(LARGE)
    return 3 * a.nbytes / seconds(lambda a, b: a + 3 * b, a, b)


@cache
def of_addition(dtype: DType):
    """Seconds for one of many, in two rows at once, a fused multiply-add each."""

    def polynomials(x):
        y, z = x, x + 1
        for _ in range(128):
            y, z = y * x + 0.5, z * x + 0.5
        return y + z

    return seconds(polynomials, np.full(SMALL, 0.5, dtype.numpy)) / SMALL / 256


@cache
def of_operator(op: str, dtype: DType):
    """Seconds for one element; all that are instructions are as fast as additions."""
    if not dtype.is_float or (op not in ELEMENTARY and op not in ("div", "sqrt")):
        return of_addition(f32 if dtype.bits <= 32 else f64)
    x = np.random.default_rng(0).uniform(0.5, 3.0, SMALL).astype(dtype.numpy)

    def several(x):
        """Eight of them, of numbers that differ."""
        operands = [x + k / 64 for k in range(8)]
        return sum([PRIMITIVES[op](*[y] * (2 if op in OF_TWO else 1)) for y in operands])

    return max(seconds(several, x) / SMALL / 8 - 2 * of_addition(dtype), of_addition(dtype))


@cache
def of_product(dtype: DType):
    """Seconds for one multiplication and addition."""
    n = 1024
    a = np.ones((n, n), dtype.numpy)
    return seconds(lambda a, b: a @ b, a, a) / n**3


def arithmetic(program):
    """Seconds for all operators of a program and its products."""
    return sum([of_step(s) for s in program.steps])


def of_step(step):
    match step:
        case LoopNest(body=body):
            return of_statements(body, 1)
        case Gemm():
            return step.batch * step.m * step.n * step.k * of_product(step.dtype)
        case Repeat(extent=extent, body=body):
            return extent * sum([of_step(s) for s in body])
        case _:
            return 0.0


def of_statements(body, times):
    total = 0.0
    for s in body:
        match s:
            case Let(op=op, dtype=dtype):
                total += times * of_operator(op, dtype)
            case Loop(extent=extent, body=inside, carries=carries):
                total += times * extent * sum([of_addition(f64 if c.dtype is f64 else f32) for c in carries])
                total += of_statements(inside, times * extent)
            case While(body=inside):
                total += of_statements(inside, times)
            case _:
                pass
    return total


def limits(f, args):
    """Seconds to move what must be moved, and to compute what is computed."""
    moved = sum([np.asarray(x).nbytes for x in [*graphad.tree.leaves(args), *graphad.tree.leaves(f(*args))]])
    return moved / bytes_a_second(), arithmetic(lowered(f.graph(*args), default_pipeline(CPU), "f").program)


@config.override(num_threads=1)
def main(*names):
    print(versions("numpy", "llvmlite", "graphad"))
    for dtype in (f32, f64):
        rates = [2e-9 / one(dtype) for one in (of_addition, of_product)]
        print(f"{dtype}: {rates[0]:.1f} GFLOP/s in operators, {rates[1]:.1f} in products")
    print(f"memory: {bytes_a_second() / 1e9:.1f} GB/s")
    print(f"{'value and gradient of':29} {'ms':>8} {'memory':>8} {'arithmetic':>10} {'share':>6}")
    for name, (make, args) in PROGRAMS.items():
        if names and name not in names:
            continue
        f = graphad.jit(graphad.value_and_grad(make(gnp)))
        memory, computed = limits(f, args)
        ms = 1e3 * seconds(f, *args)
        share = 1e3 * max(memory, computed) / ms
        print(f"{name:29} {ms:8.3f} {1e3 * memory:8.3f} {1e3 * computed:10.3f} {share:6.0%}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
