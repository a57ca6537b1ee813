"""Threads that work together: reductions, running combinations, rows, shared memory and barriers."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.program.ir import Barrier, DeviceProgram, DeviceStatement, Scan
from graphad.backends.loops.ir import Carry, Combine, Let, Load, Loop, Position, Store
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i8, i32, i64, u8, u64
from tests.cuda.emit.harness import at, axes, buffers, emitted, kernel, lit, program, run, run_module, same, spread
from tests.cuda.emit.programs import product, scan, softmax

names = pytest.mark.parametrize
GROUPS = [(1, 32), (2, 64), (8, 64), (32, 32), (32, 128), (64, 64), (96, 96), (256, 256)]
groups = names("group, threads", GROUPS)

REDUCERS: dict[Combine, Any] = {
    "sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum,
    "and": np.bitwise_and, "or": np.bitwise_or,
}  # fmt: skip


def numbers(shape: tuple[int, ...], dtype: DType, seed: int = 0) -> np.ndarray[Any, Any]:
    """Small integers, whose sums are exact in every dtype that can hold them."""
    rng = np.random.default_rng(seed)
    if dtype is b1:
        return rng.random(shape) < 0.9
    return rng.integers(0 if dtype.kind == "u" else -3, 4, shape).astype(dtype.numpy)


@groups
@names("rows, columns", [(1, 1), (3, 7), (5, 48), (2, 300)])
def test_softmax_of_rows(rows: int, columns: int, group: int, threads: int) -> None:
    x = np.random.default_rng(columns).normal(size=(rows, columns)).astype(np.float32)
    p = softmax(rows, columns, group, threads)
    e = np.exp(x - x.max(1, keepdims=True))
    same(run(p, [x])[0].reshape(x.shape), e / e.sum(1, keepdims=True), rtol=1e-6)


@names("group, threads", [(1, 32), (4, 32), (32, 64), (128, 128)])
@names("dtype", DTYPES.values(), ids=str)
def test_reductions_of_every_dtype(dtype: DType, group: int, threads: int) -> None:
    """Over two axes of three, with what the reduction starts from, all in one kernel."""
    combines = [c for c in REDUCERS if _has(dtype, c)]
    x = numbers((3, 5, 11), dtype)
    start = numbers((1,), dtype, 9)[0]
    carries = [Carry(f"c_{c}", dtype, c, lit(start.item(), dtype), "a") for c in combines]
    loop = spread([Load("a", "x", at(i=55, j=11, k=1))], *carries, j=5, k=11)
    stores = [Store(f"o_{c}", at(i=1), f"c_{c}") for c in combines]
    outputs = buffers("output", **{f"o_{c}": (dtype, 3) for c in combines})
    uses = ["x", *[o.name for o in outputs]]
    p = program(
        buffers("input", x=(dtype, x.size)),
        outputs,
        kernel(axes(i=3), loop, *stores, uses=uses, group=group, threads=threads),
    )
    for combine, got in zip(combines, run(p, [x]), strict=True):
        wide = x if dtype is b1 else x.astype(np.float64) if dtype.is_float else x.astype(np.int64)
        want = REDUCERS[combine].reduce(wide.reshape(3, -1), axis=1)
        want = REDUCERS[combine](want, wide.dtype.type(start))
        same(got, want.astype(dtype.numpy))


def _has(dtype: DType, combine: Combine) -> bool:
    if dtype.is_float:
        return combine in ("sum", "max", "min") or (dtype in (f32, f64) and combine == "prod")
    return dtype is not b1 or combine not in ("sum", "prod")


@groups
def test_nan_wins_and_zeros_keep_their_sign_in_sums(group: int, threads: int) -> None:
    x = np.arange(4 * 70, dtype=np.float32).reshape(4, 70)
    x[1, 33], x[2] = np.nan, -0.0
    carries = [Carry(c, f32, c, lit(v, f32), "a") for c, v in (("max", -np.inf), ("min", np.inf), ("sum", -0.0))]
    p = program(
        buffers("input", x=(f32, x.size)),
        buffers("output", hi=(f32, 4), lo=(f32, 4), total=(f32, 4)),
        kernel(
            axes(i=4),
            spread([Load("a", "x", at(i=70, j=1))], *carries, j=70),
            *[Store(out, at(i=1), c) for out, c in (("hi", "max"), ("lo", "min"), ("total", "sum"))],
            uses=["x", "hi", "lo", "total"],
            group=group,
            threads=threads,
        ),
    )
    hi, lo, total = run(p, [x])
    same(hi, x.max(1))
    same(lo, x.min(1))
    same(total, x.sum(1))
    assert np.signbit(total[2])


@names("group", [1, 32])
def test_long_sums_are_accurate(group: int) -> None:
    """One after the other in f32, these numbers would be summed with an error of 4e-4."""
    x = np.full(40000, 0.1, np.float32)
    p = program(
        buffers("input", x=(f32, x.size)),
        buffers("output", y=(f32, 1)),
        kernel(
            (),
            spread([Load("a", "x", at(j=1))], Carry("s", f32, "sum", lit(0.0, f32), "a"), j=x.size),
            Store("y", at(), "s"),
            uses=["x", "y"],
            group=group,
            threads=32,
        ),
    )
    np.testing.assert_allclose(run(p, [x])[0], x.sum(dtype=np.float64), rtol=5e-6)


def test_column_sums_by_one_thread_each() -> None:
    x = np.random.default_rng(1).normal(size=(200, 37)).astype(np.float32)
    p = program(
        buffers("input", x=(f32, x.size)),
        buffers("output", y=(f32, 37)),
        kernel(
            axes(j=37),
            Loop("i", 200, (Load("a", "x", at(i=37, j=1)),), (Carry("s", f32, "sum", lit(0.0, f32), "a"),)),
            Store("y", at(j=1), "s"),
            uses=["x", "y"],
        ),
    )
    same(run(p, [x])[0], x.sum(0), rtol=1e-5)


@names("reverse", [False, True])
@groups
@names("size", [1, 5, 33, 300])
def test_running_sums(size: int, group: int, threads: int, reverse: bool) -> None:
    check_scan(np.arange(2 * size, dtype=np.float32).reshape(2, size) % 7, f32, "sum", group, threads, reverse)


@names("group, threads", [(1, 32), (16, 32), (128, 128)])
@names(
    "dtype, combine", [(i8, "max"), (u8, "sum"), (i64, "min"), (f64, "prod"), (bf16, "max"), (u64, "or"), (b1, "and")]
)
def test_scans_of_every_kind(dtype: DType, combine: Combine, group: int, threads: int) -> None:
    check_scan(numbers((3, 70), dtype), dtype, combine, group, threads, reverse=False)


def check_scan(x: Any, dtype: DType, combine: Combine, group: int, threads: int, reverse: bool) -> None:
    rows, size = x.shape
    start = numbers((1,), dtype, 4)[0]
    p = scan(rows, size, dtype, combine, start.item(), group, threads, reverse)
    e, y, t = run(p, [x])
    way = x[:, ::-1] if reverse else x
    whole = REDUCERS[combine].accumulate(np.concatenate([np.full((rows, 1), start), way], 1), axis=1, dtype=x.dtype)
    exclusive, inclusive = whole[:, :-1], whole[:, 1:]
    if reverse:
        exclusive, inclusive = exclusive[:, ::-1], inclusive[:, ::-1]
    same(e.reshape(x.shape), exclusive.astype(x.dtype))
    same(y.reshape(x.shape), inclusive.astype(x.dtype))
    same(t, whole[:, -1].astype(x.dtype))


def test_two_scans_and_a_sum_in_one_loop() -> None:
    x = np.arange(150, dtype=np.int32) % 11
    body: list[DeviceStatement] = [
        Load("a", "x", at(j=1)),
        Scan("s0", "s1", i32, "sum", lit(0, i32), "a"),
        Scan("m0", "m1", i32, "max", lit(-5, i32), "s0"),
        Store("y", at(j=1), "m1"),
    ]
    p = program(
        buffers("input", x=(i32, x.size)),
        buffers("output", y=(i32, x.size), t=(i32, 1)),
        kernel(
            (),
            spread(body, Carry("total", i32, "sum", lit(0, i32), "s1"), j=x.size),
            Store("t", at(), "total"),
            uses=["x", "y", "t"],
            group=64,
            threads=64,
        ),
    )
    y, t = run(p, [x])
    sums = np.cumsum(x, dtype=np.int32)
    same(y, np.maximum(-5, np.concatenate([np.zeros(1, np.int32), sums[:-1]])))
    assert t.tolist() == [sums.sum()]


@names("group, threads", [(32, 64), (128, 128)])
def test_values_go_from_thread_to_thread_through_memory(group: int, threads: int) -> None:
    """A row is reversed through global memory and through shared memory, then read by its first thread alone."""
    size = 100
    x = np.arange(3 * size, dtype=np.float64)
    body: list[DeviceStatement] = [
        spread([Load("a", "x", at(i=size, j=1)), Store("tmp", at(j=1), "a"), Store("y", at(i=size, j=1), "a")], j=size),
        Barrier(),
        spread([Load("b", "tmp", at(size - 1, j=-1)), Load("c", "y", at(size - 1, i=size, j=-1)),
                Let("d", f64, "add", ("b", "c")), Store("z", at(i=size, j=1), "d")], j=size),
        Load("last", "tmp", at(size - 1)),
        Position("n", f64, at(i=1)),
        Let("sum", f64, "add", ("last", "n")),
        Store("w", at(i=1), "sum"),
    ]  # fmt: skip
    p = program(
        buffers("input", x=(f64, x.size)),
        buffers("output", y=(f64, x.size), z=(f64, x.size), w=(f64, 3)),
        kernel(
            axes(i=3), *body, uses=["x", "y", "z", "w"], shared=buffers("temporary", tmp=(f64, size)), group=group,
            threads=threads,
        ),
    )  # fmt: skip
    y, z, w = run(p, [x])
    same(y, x)
    same(z, 2 * x.reshape(3, size)[:, ::-1].ravel())
    same(w, x[size - 1 :: size] + np.arange(3))
    assert "noalias %y" not in emitted(p).llvm
    assert "noalias readonly %x" in emitted(p).llvm


def test_shared_memory_beyond_what_a_kernel_can_declare() -> None:
    size = 13000
    x = np.arange(size, dtype=np.float32)
    p = program(
        buffers("input", x=(f32, size)),
        buffers("output", y=(f32, size)),
        kernel(
            (),
            spread([Load("a", "x", at(j=1)), Store("tmp", at(j=1), "a")], j=size),
            Barrier(),
            spread([Load("b", "tmp", at(size - 1, j=-1)), Store("y", at(j=1), "b")], j=size),
            uses=["x", "y"],
            shared=buffers("temporary", tmp=(f32, size)),
            group=256,
            threads=256,
        ),
    )
    (step,) = emitted(p).launches
    assert step.shared_bytes == 4 * size  # pyright: ignore[reportAttributeAccessIssue]
    same(run(p, [x])[0], x[::-1])


def test_empty_loops_and_grids() -> None:
    p = program(
        buffers("output", y=(f16, 2), z=(f16, 0)),
        kernel(
            axes(i=2),
            spread([Position("a", f16, at(j=1))], Carry("s", f16, "sum", lit(3.0, f16), "a"), j=0),
            Store("y", at(i=1), "s"),
            uses=["y"],
            group=32,
        ),
        kernel(axes(i=0, j=4), Store("z", at(), lit(1.0, f16)), uses=["z"]),
    )
    assert len(emitted(p).launches) == 1
    same(run(p)[0], np.full(2, 3.0, np.float16))


@names("p", [scan(2, 300, f32, "sum", 0.0, 128, 128), product(f32, 70)], ids=["scan", "gemm"])
def test_no_barrier_of_a_block_can_be_left_out(p: DeviceProgram) -> None:
    module = emitted(p)
    barriers = list(re.finditer(r"bar(?:rier)?\.(?:cta\.)?sync[^;]*;", module.ptx))
    assert len(barriers) >= 2
    inputs = [np.ones(b.size, np.float32) for b in p.buffers if b.role == "input"]
    for found in barriers:
        mutant = replace(module, ptx=module.ptx[: found.start()] + module.ptx[found.end() :])
        with pytest.raises(EmulatorError):
            run_module(p, mutant, inputs)
