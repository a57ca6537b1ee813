"""What loops, steps and memory accesses mean: the engines against each other and against NumPy."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from graphad.backends.cpu.emit import emit
from graphad.backends.loops.ir import Carry, Copy, GuardStep, Let, Load, Loop, Position, Store
from graphad.backends.numba import source as emit_numba
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i8, i32, i64, u8
from tests.backends.loop_harness import agree, at, buffers, lit, nest, program, run_llvm, run_numba, run_python, same

names = pytest.mark.parametrize
SIZES = [0, 1, 2, 3, 7, 16, 17, 64, 127, 128, 131, 1000]
rng = np.random.default_rng(7)


def whole(size: int, dtype: DType) -> np.ndarray[Any, Any]:
    """Small whole numbers, of which sums are exact in any order."""
    return rng.integers(0 if dtype.kind == "u" else -8, 9, size).astype(dtype.numpy)


@names("size", SIZES)
def test_map_and_reduction_of_every_extent(size: int) -> None:
    p = program(
        buffers("input", x=(f32, size)),
        buffers("output", y=(f32, size), s=(f32, 3)),
        nest(
            Loop(
                "i",
                size,
                (Load("a", "x", at(i=1)), Let("b", f32, "mul", ("a", lit(2, f32))), Store("y", at(i=1), "b")),
                (
                    Carry("total", f32, "sum", lit(1, f32), "b"),
                    Carry("top", f32, "max", lit(-3, f32), "a"),
                    Carry("low", f32, "min", lit(np.inf, f32), "b"),
                ),
                vector=True,
            ),
            *(Store("s", at(k), name) for k, name in enumerate(("total", "top", "low"))),
        ),
    )
    x = whole(size, f32)
    y, s = agree(p, [x], numba=size in (0, 1, 3, 131), natives=(16, 32, 64))
    same(y, 2 * x)
    same(s, np.array([1 + 2 * x.sum(), max([-3, *x]), min([np.inf, *(2 * x)])], np.float32))


COMBINES: list[tuple[str, DType]] = [
    *(("sum", d) for d in (f32, f64, f16, i8, i32, i64, u8)),
    *(("prod", d) for d in (f32, i8, i64)),
    *((c, d) for c in ("max", "min") for d in (f32, f64, bf16, i8, i64, u8, b1)),
    *((c, d) for c in ("and", "or") for d in (b1, u8, i64)),
]


@names("size", [1, 3, 67])
def test_every_combine(size: int) -> None:
    parts, steps, data = [], [], []
    for k, (combine, dtype) in enumerate(COMBINES):
        start = lit(1, dtype) if dtype is not b1 else lit(combine in ("and", "min"), b1)
        parts += [buffers("input", **{f"x{k}": (dtype, size)})]
        steps += [
            nest(
                Loop(
                    "i",
                    size,
                    (Load("a", f"x{k}", at(i=1)),),
                    (Carry("r", dtype, combine, start, "a"),),  # pyright: ignore[reportArgumentType]
                    vector=True,
                ),
                Store(f"y{k}", at(), "r"),
            )
        ]
        data.append(whole(size, dtype) if combine != "prod" else rng.choice([1, -1, 2], size).astype(dtype.numpy))
    parts += [buffers("output", **{f"y{k}": (d, 1)}) for k, (_, d) in enumerate(COMBINES)]
    agree(program(*parts, *steps), data)


@names("combine", ["max", "min"])
@names("where", [0, 17, 63, 66])
def test_nan_in_any_lane_reaches_the_extreme(combine: str, where: int) -> None:
    x = whole(67, f32)
    x[where] = np.nan
    p = program(
        buffers("input", x=(f32, 67)),
        buffers("output", y=(f32, 1)),
        nest(
            Loop(
                "i",
                67,
                (Load("a", "x", at(i=1)),),
                (Carry("r", f32, combine, lit(0, f32), "a"),),  # pyright: ignore[reportArgumentType]
                vector=True,
            ),
            Store("y", at(), "r"),
        ),
    )
    (y,) = agree(p, [x], numba=where == 0)
    assert np.isnan(y[0])


@names("rows", [0, 1, 2, 5])
@names("columns", [1, 3, 16, 67])
def test_row_and_column_sums(rows: int, columns: int) -> None:
    body = (Load("a", "x", at(i=columns, j=1)),)
    p = program(
        buffers("input", x=(f64, rows * columns)),
        buffers("output", r=(f64, rows), c=(f64, columns)),
        nest(
            Loop(
                "i",
                rows,
                (
                    Loop("j", columns, body, (Carry("s", f64, "sum", lit(0, f64), "a"),), vector=True),
                    Store("r", at(i=1), "s"),
                ),
            )
        ),
        nest(
            Loop(
                "j",
                columns,
                (
                    Loop("i", rows, body, (Carry("s", f64, "sum", lit(0, f64), "a"),)),
                    Store("c", at(j=1), "s"),
                ),
                vector=True,
            )
        ),
    )
    x = whole(rows * columns, f64)
    r, c = agree(p, [x], numba=(rows, columns) == (5, 67))
    same(r, x.reshape(rows, columns).sum(1))
    same(c, x.reshape(rows, columns).sum(0))


@names("dtype", [b1, u8, f16, bf16, i32, f64], ids=str)
@names("size", [5, 64, 67])
def test_strided_reversed_shared_and_gathered_elements(dtype: DType, size: int) -> None:
    p = program(
        buffers("input", x=(dtype, 3 * size), k=(i64, size)),
        buffers("output", s=(dtype, 2 * size), r=(dtype, size), b=(dtype, size), g=(dtype, size), t=(dtype, size)),
        nest(
            Loop(
                "i",
                size,
                (
                    Load("third", "x", at(2, i=3)),
                    Load("back", "x", at(size, i=-1)),
                    Load("one", "x", at(4)),
                    Load("where", "k", at(i=1)),
                    Load("found", "x", at(size, i=1), dynamic="where"),
                    Store("s", at(2 * size - 1, i=-2), "third"),
                    Store("r", at(size - 1, i=-1), "back"),
                    Store("b", at(i=1), "one"),
                    Store("g", at(i=1), "found"),
                    Store("t", at(), "found", dynamic="where"),
                ),
                vector=True,
            )
        ),
    )
    x = rng.integers(0, 2, 3 * size).astype(dtype.numpy) if dtype is b1 else whole(3 * size, dtype)
    k = rng.permutation(size)
    s, r, b, g, t = agree(p, [x, k], numba=size == 5)
    same(s[1::2][::-1], x[2::3])
    same(r, x[1 : size + 1])
    same(b, np.full(size, x[4]))
    same(g, x[size + np.arange(size) + k])
    same(t[k], g)


@names("size", [1, 9, 64, 70])
def test_masks(size: int) -> None:
    p = program(
        buffers("input", x=(i32, size), k=(i64, size)),
        buffers("output", y=(i32, size), z=(i32, 2 * size), w=(i32, size), q=(i32, 1)),
        nest(
            Loop(
                "i",
                size,
                (
                    Load("a", "x", at(i=1)),
                    Load("where", "k", at(i=1)),
                    Let("m", b1, "gt", ("a", lit(0, i32))),
                    Store("y", at(i=1), "a", mask="m"),
                    Store("z", at(i=2), "a", mask="m"),
                    Store("w", at(), "a", dynamic="where", mask="m"),
                ),
                vector=True,
            ),
            Loop(
                "i",
                size,
                (
                    Load("a2", "x", at(i=1)),
                    Let("m2", b1, "gt", ("a2", lit(3, i32))),
                    Store("q", at(), "a2", mask="m2"),
                ),
            ),
        ),
    )
    x, k = whole(size, i32), rng.permutation(size)
    y, z, w, _ = agree(p, [x, k], numba=size == 9)
    assert (y == np.where(x > 0, x, 0x01010101)).all()
    assert (z[::2] == np.where(x > 0, x, 0x01010101)).all()
    assert (w[k] == np.where(x > 0, x, 0x01010101)).all()


@names("reverse", [False, True])
@names("size", [0, 1, 2, 9])
def test_carried_values_advance_together(size: int, reverse: bool) -> None:
    """Fibonacci, and the states that it goes through."""
    p = program(
        buffers("output", seen=(i64, size), last=(i64, 2)),
        nest(
            Loop(
                "i",
                size,
                (Let("c", i64, "add", ("a", "b")), Store("seen", at(i=1), "a")),
                (Carry("a", i64, "last", lit(0, i64), "b"), Carry("b", i64, "last", lit(1, i64), "c")),
                reverse=reverse,
            ),
            Store("last", at(0), "a"),
            Store("last", at(1), "b"),
        ),
    )
    seen, last = agree(p)
    numbers = [0, 1]
    while len(numbers) < size + 2:
        numbers.append(numbers[-1] + numbers[-2])
    assert last.tolist() == numbers[size : size + 2]
    assert seen.tolist() == (numbers[:size][::-1] if reverse else numbers[:size])


def test_inner_loops_run_in_the_lanes_of_the_outer() -> None:
    """Powers by repeated multiplication, one base a lane, the values of the inner loop as wide as the lanes."""
    size = 21
    p = program(
        buffers("input", x=(i32, size)),
        buffers("output", y=(i32, size), m=(i32, 1)),
        nest(
            Loop(
                "i",
                size,
                (
                    Load("a", "x", at(i=1)),
                    Loop(
                        "n",
                        5,
                        (Let("u", i32, "mul", ("r", "a")), Position("p", i32, at(i=1, n=10))),
                        (Carry("r", i32, "last", lit(1, i32), "u"), Carry("t", i32, "sum", lit(0, i32), "p")),
                        reverse=True,
                    ),
                    Let("v", i32, "add", ("r", "t")),
                    Store("y", at(i=1), "v"),
                ),
                (Carry("best", i32, "max", lit(0, i32), "v"),),
                vector=True,
            ),
            Store("m", at(), "best"),
        ),
    )
    x = whole(size, i32)
    y, m = agree(p, [x])
    want = x**5 + 100 + 5 * np.arange(size, dtype=np.int32)
    same(y, want)
    assert m[0] == want.max()


@names("dtype", [i8, u8, i64, f16, f32, f64], ids=str)
def test_positions(dtype: DType) -> None:
    size = 70
    p = program(
        buffers("output", y=(dtype, size), z=(dtype, 3)),
        nest(
            Loop("i", size, (Position("n", dtype, at(3, i=2)), Store("y", at(i=1), "n")), vector=True),
            Loop("k", 3, (Position("m", dtype, at(1, k=-1)), Store("z", at(k=1), "m"))),
        ),
    )
    y, z = agree(p)
    same(y, (3 + 2 * np.arange(size)).astype(dtype.numpy))
    if dtype is not u8:
        same(z, np.array([1, 0, -1]).astype(dtype.numpy))


def test_positions_beyond_32_bits() -> None:
    p = program(
        buffers("output", y=(i64, 5), z=(f64, 5)),
        nest(
            Loop(
                "i",
                5,
                (
                    Position("n", i64, at(2**31 - 3, i=1)),
                    Position("x", f64, at(-(2**31) + 2, i=-1)),
                    Store("y", at(i=1), "n"),
                    Store("z", at(i=1), "x"),
                ),
                vector=True,
            )
        ),
    )
    y, z = agree(p)
    assert y.tolist() == [2**31 - 3 + k for k in range(5)]
    assert z.tolist() == [-(2**31) + 2 - k for k in range(5)]


def test_loops_that_run_once_or_never_leave_no_loop() -> None:
    inner = Loop("j", 1, (Load("a", "x", at(i=7, j=3)), Store("y", at(i=1, j=1), "a")), vector=True)
    p = program(
        buffers("input", x=(f32, 8), n=(f32, 0)),
        buffers("output", y=(f32, 1), z=(f32, 1)),
        nest(
            Loop("i", 1, (inner,), (Carry("s", f32, "sum", lit(2, f32), lit(1, f32)),)),
            Loop("k", 0, (Load("b", "n", at(k=1)),), (Carry("t", f32, "sum", "s", "b"),), vector=True),
            Store("z", at(), "t"),
        ),
    )
    _, z = agree(p, [whole(8, f32), whole(0, f32)])
    assert z[0] == 3
    assert "br " not in emit(p, lanes_bytes=64).text
    assert "for " not in emit_numba.source(p).partition("def ")[2]


@names("size", [10_007, 1_000_003])
def test_long_sums_are_accurate(size: int) -> None:
    x = rng.uniform(0, 1, size).astype(np.float32)
    p = program(
        buffers("input", x=(f32, size)),
        buffers("output", s=(f32, 2)),
        nest(
            Loop("i", size, (Load("a", "x", at(i=1)),), (Carry("r", f32, "sum", lit(0, f32), "a"),), vector=True),
            Loop("k", size, (Load("b", "x", at(k=1)),), (Carry("t", f32, "sum", lit(0, f32), "b"),)),
            Store("s", at(0), "r"),
            Store("s", at(1), "t"),
        ),
    )
    want = x.astype(np.float64).sum()
    for run in (run_llvm, run_numba):
        _, (s,) = run(p, [x])
        assert abs(s / want - 1).max() < 1e-6


def test_long_sums_beside_other_carries() -> None:
    """A sum in chunks hands the values that are not summed from chunk to chunk."""
    size = 700
    p = program(
        buffers("input", x=(f64, size)),
        buffers("output", y=(f64, 3)),
        nest(
            Loop(
                "i",
                size,
                (Load("a", "x", at(i=1)), Let("n", f64, "add", ("count", lit(1, f64)))),
                (
                    Carry("s", f64, "sum", lit(5, f64), "a"),
                    Carry("count", f64, "last", lit(0, f64), "n"),
                    Carry("top", f64, "max", lit(0, f64), "a"),
                ),
                reverse=True,
            ),
            *(Store("y", at(k), name) for k, name in enumerate(("s", "count", "top"))),
        ),
    )
    x = whole(size, f64)
    (y,) = agree(p, [x])
    assert y.tolist() == [5 + x.sum(), size, x.max()]


def test_guards_leave_early_with_their_number() -> None:
    p = program(
        buffers("input", go=(b1, 1), n=(i32, 1)),
        buffers("output", y=(i32, 1), z=(i32, 1)),
        GuardStep(0, "go", lit(True, b1)),
        Copy("y", "n"),
        GuardStep(1, "n", lit(3, i32)),
        Copy("z", "n"),
    )
    for go, n, status in ((False, 3, 1), (True, 4, 2), (True, 3, 0)):
        inputs = [np.array([go]), np.array([n], np.int32)]
        y, z = agree(p, inputs)
        assert run_python(p, inputs)[0] == status
        assert (y[0] == n) == (status != 1)
        assert (z[0] == n) == (status == 0)


def test_temporaries_lie_in_the_arena() -> None:
    size = 33
    steps = []
    for source, target in (("x", "t1"), ("t1", "t2"), ("t2", "t3"), ("t3", "y")):
        body = (Load("a", source, at(i=1)), Let("b", f32, "add", ("a", lit(1, f32))), Store(target, at(i=1), "b"))
        steps.append(nest(Loop("i", size, body, vector=True)))
    p = program(
        buffers("input", x=(f32, size)),
        buffers("output", y=(f32, size)),
        buffers("temporary", t1=(f32, size), t2=(f32, size), t3=(f32, size), unused=(f32, 5)),
        *steps,
    )
    emitted = emit(p, lanes_bytes=64)
    assert emitted.arena_bytes == 2 * 192  # t3 lies where t1 lay
    x = whole(size, f32)
    (y,) = agree(p, [x])
    same(y, x + 4)


@names("dtype", DTYPES.values(), ids=str)
def test_extreme_literals(dtype: DType) -> None:
    if dtype is b1:
        values: list[Any] = [True, False]
    elif dtype.is_integer:
        values = [np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max]
    else:
        info = ml_dtypes.finfo(dtype.numpy)
        values = [math.inf, -math.inf, math.nan, -0.0, float(info.max), float(info.smallest_subnormal), 0.1]
    p = program(
        buffers("output", y=(dtype, len(values))),
        nest(*(Store("y", at(k), lit(v, dtype)) for k, v in enumerate(values))),
    )
    (y,) = agree(p)
    assert y.tobytes() == np.array(values, dtype.numpy).tobytes()
