"""Small arrays in lanes: neighbours read and written as rows that are transposed in registers."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cpu.emit import emit
from graphad.backends.llvm.tiles import tiles_of
from graphad.backends.loops.ir import KernelProgram, Let, Load, Loop, Statement, Store
from graphad.ir.types import DType, b1, bf16, f32, f64, i32, u8
from tests.backends.loop_harness import at, blank, buffers, nest, program, run_llvm

NATIVE = (16, 32, 64)


def _program(dtype: DType, size: int, stride: int, read: list[int], written: list[int], width: int) -> KernelProgram:
    """Element ``k`` of ``written`` becomes twice element ``k`` of ``read``, modulo its number of elements."""
    body: list[Statement] = [Load(f"a{k}", "x", at(k, i=stride)) for k in read]
    if dtype is not b1:
        body += [Let(f"b{k}", dtype, "add", (f"a{k}", f"a{k}")) for k in read]
    name = "a" if dtype is b1 else "b"
    body += [Store("y", at(k, i=width), f"{name}{read[j % len(read)]}") for j, k in enumerate(written)]
    return program(
        buffers("input", x=(dtype, stride * size)),
        buffers("output", y=(dtype, width * size)),
        nest(Loop("i", size, tuple(body), vector=True)),
    )


@pytest.mark.parametrize("native", NATIVE)
@pytest.mark.parametrize("dtype", [f64, f32, i32, u8, bf16, b1], ids=str)
def test_rows_of_every_width(dtype: DType, native: int) -> None:
    """Of strides from 2 to beyond the width of any vector, some elements, in any order."""
    rng = np.random.default_rng(native)
    for stride, size in [(2, 64), (3, 67), (4, 1), (4, 8), (5, 35), (7, 64), (9, 300), (16, 33), (36, 40), (70, 19)]:
        read = rng.permutation(stride)[: rng.integers(1, stride + 1)].tolist()
        width = int(rng.integers(1, 12))
        written = rng.permutation(width).tolist()
        x = rng.integers(0, 2 if dtype is b1 else 9, stride * size).astype(dtype.numpy)
        status, (y,) = run_llvm(_program(dtype, size, stride, read, written, width), [x], native)
        rows = x.reshape(size, stride)[:, [read[j % len(read)] for j in range(width)]]
        expected = np.empty((size, width), dtype.numpy)
        expected[:, written] = rows if dtype is b1 else rows + rows
        assert status == 0
        np.testing.assert_array_equal(y.reshape(size, width), expected, err_msg=f"{stride=} {size=} {read=} {written=}")


def test_what_is_not_written_is_left_alone() -> None:
    p = _program(f64, 64, 9, list(range(9)), [0, 1, 2, 4, 5, 6, 7], 9)
    x = np.arange(9.0 * 64)
    (before,) = blank(p)
    _, (y,) = run_llvm(p, [x])
    y, before = y.reshape(64, 9), before.reshape(64, 9)
    np.testing.assert_array_equal(y[:, [3, 8]], before[:, [3, 8]])
    np.testing.assert_array_equal(y[:, [0, 1, 2, 4, 5, 6, 7]], 2 * x.reshape(64, 9)[:, :7])


def test_loads_do_not_pass_stores() -> None:
    """What is loaded behind a store, and stored before a load, is in no tile."""
    body = (
        Load("a", "x", at(0, i=2)),
        Store("x", at(1, i=2), "a"),
        Load("b", "x", at(1, i=2)),
        Store("x", at(0, i=2), "b"),
    )
    x = buffers("output", x=(f64, 64))
    tiles = tiles_of(body, "i", {b.name: b for b in x}, 8)
    assert not tiles.read
    assert not tiles.written


def test_bodies_that_access_tiles_run_in_few_vectors() -> None:
    """Matrices take many registers."""
    short, long = (_program(f64, 1000, 60, list(range(n)), list(range(n)), 60) for n in (8, 60))
    assert "<16 x double>" in emit(short, lanes_bytes=64).text
    assert "<16 x double>" not in emit(long, lanes_bytes=64).text
