"""Updates in one piece: every combination on every dtype, by threads that all want the same few elements."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphad.backends.cuda.program.ir import Atomic, Barrier
from graphad.backends.loops.ir import Combine, Let, Load, Position, Store
from graphad.ir.types import DTYPES, DType, b1, f32, f64, i32, i64
from tests.cuda.emit.harness import at, axes, buffers, kernel, lit, program, run, same, spread

names = pytest.mark.parametrize
BINS = 5
AT: dict[Combine, Any] = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
                          "and": np.bitwise_and, "or": np.bitwise_or}  # fmt: skip
KINDS = [(d, c) for d in DTYPES.values() for c in AT
         if not (d.is_float and c in ("and", "or")) and not (d is b1 and c in ("sum", "prod"))]  # fmt: skip


def updates(dtype: DType, combine: Combine, size: int) -> np.ndarray[Any, Any]:
    """Values whose combination is exact in any order."""
    rng = np.random.default_rng(2)
    if dtype is b1:
        return rng.random(size) < 0.5
    if combine == "prod":
        return rng.choice([1, 2, 1, 1], size).astype(dtype.numpy)
    return rng.integers(0 if dtype.kind == "u" else -3, 4, size).astype(dtype.numpy)


@names("dtype, combine", KINDS, ids=lambda v: str(v))
@names("lanes", [1, 4])
def test_every_combination(dtype: DType, combine: Combine, lanes: int) -> None:
    """Into elements at computed positions, where a mask holds; first set to something by a kernel before."""
    size = 40
    x = updates(dtype, combine, size)
    where = np.random.default_rng(5).integers(0, BINS, size)
    mask = np.arange(size) % 7 != 3
    start = True if dtype is b1 else 2
    body = [
        Load("v", "x", at(i=1)),
        Load("k", "n", at(i=1)),
        Load("m", "mask", at(i=1)),
        Atomic("y", at(), "v", "k", "m", combine=combine),
    ]
    fill = kernel(axes(i=BINS), Store("y", at(i=1), lit(start, dtype)), uses=["y"])
    update = kernel(axes(i=size), *body, uses=["x", "n", "mask", "y"], lanes=lanes)
    p = program(
        buffers("input", x=(dtype, size), n=(i64, size), mask=(b1, size)),
        buffers("output", y=(dtype, BINS)),
        fill,
        replace(update, name="update"),
    )
    want = np.full(BINS, start, dtype.numpy)
    for value, at_, holds in zip(x, where, mask, strict=True):
        if holds:
            want[at_] = AT[combine](want[at_], value)
    same(run(p, [x, where, mask])[0], want)


@names("dtype", [f32, f64], ids=str)
def test_nan_wins(dtype: DType) -> None:
    x = np.array([1.0, np.nan, 5.0, -2.0, np.inf, 0.0], dtype.numpy)
    body = [
        Load("v", "x", at(i=3, j=1)),
        Atomic("hi", at(i=1), "v", combine="max"),
        Atomic("lo", at(i=1), "v", combine="min"),
    ]
    p = program(
        buffers("input", x=(dtype, 6)),
        buffers("output", hi=(dtype, 2), lo=(dtype, 2)),
        kernel(axes(i=2, j=3), *body, uses=["x", "hi", "lo"]),
    )
    hi, lo = run(p, [x])
    same(hi, np.array([np.nan, np.inf], dtype.numpy))
    same(lo, np.array([np.nan, -2.0], dtype.numpy))


def test_a_histogram_in_shared_memory() -> None:
    x = np.random.default_rng(0).integers(0, 8, 500)
    body = [
        spread([Store("tmp", at(j=1), lit(0, i32))], j=8),
        Barrier(),
        spread([Load("k", "x", at(j=1)), Atomic("tmp", at(), lit(1, i32), "k")], j=500),
        Barrier(),
        spread([Load("n", "tmp", at(j=1)), Store("y", at(j=1), "n")], j=8),
        # Outside of loops that are shared out, one thread speaks for all of them.
        Position("one", i32, at(1)),
        Let("two", i32, "add", ("one", "one")),
        Atomic("z", at(), "two"),
    ]
    shared = buffers("temporary", tmp=(i32, 8))
    p = program(
        buffers("input", x=(i64, 500)),
        buffers("output", y=(i32, 8), z=(i32, 1)),
        kernel((), *body, uses=["x", "y", "z"], shared=shared, group=128, threads=128),
    )
    y, z = run(p, [x])
    same(y, np.bincount(x, minlength=8).astype(np.int32))
    assert z.tolist() == [0x01010101 + 2]
