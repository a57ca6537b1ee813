"""Matrix products as kernels, on odd sizes, transposes, batches and every dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphad.backends.cuda.ptx.emit import KernelLaunch
from graphad.backends.loops.ir import Gemm, Matrix
from graphad.errors import LoweringError
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i32
from tests.cuda.emit.harness import FILL, buffers, emitted, program, run

names = pytest.mark.parametrize
EXTRA = 3  # elements between rows, and before the first


def stored(m: np.ndarray[Any, Any], transposed: bool) -> np.ndarray[Any, Any]:
    """The memory of a batch of matrices, rows apart by `EXTRA`, as many elements before them."""
    m = m.swapaxes(1, 2) if transposed else m
    padded = np.zeros((*m.shape[:2], m.shape[2] + EXTRA), m.dtype)
    padded[:, :, : m.shape[2]] = m
    return np.concatenate([np.zeros(EXTRA, m.dtype), padded.ravel()])


def check(
    m: int, n: int, k: int, dtype: DType = f32, *, ta: bool = False, tb: bool = False, batch: int = 1,
    rtol: float = 1e-5, share: bool = False, result: DType | None = None,
) -> None:  # fmt: skip
    into = dtype if result is None else result
    rng = np.random.default_rng(m + 10 * n + 100 * k)
    a, b = (rng.integers(-9, 9, (batch, *shape)).astype(dtype.numpy) for shape in ((m, k), (k, n)))
    if dtype.is_float:
        a, b = (np.asarray(x / 8, dtype.numpy) for x in (a, b))
    if share:
        b = b[:1]
    left, right = stored(a, ta), stored(b, tb)
    rows = ((m if ta else k) + EXTRA, (k if tb else n) + EXTRA, n + EXTRA)
    g = Gemm(
        dtype, m, n, k,
        Matrix("a", EXTRA, rows[0], ta), Matrix("b", EXTRA, rows[1], tb), Matrix("c", EXTRA, rows[2]),
        batch, a[0].size and (left.size - EXTRA) // batch, 0 if share else (right.size - EXTRA) // batch,
        m * rows[2], result=result,
    )  # fmt: skip
    size = EXTRA + batch * m * rows[2]
    p = program(buffers("input", a=(dtype, left.size), b=(dtype, right.size)), buffers("output", c=(into, size)), g)
    c = run(p, [left, right])[0]
    before = np.full(size * into.bits // 8, FILL, np.uint8).view(into.numpy)
    assert (c[:EXTRA] == before[:EXTRA]).all()
    got, old = (x[EXTRA:].reshape(batch, m, rows[2]) for x in (c, before))
    assert (got[:, :, n:] == old[:, :, n:]).all()
    want = a.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(got[:, :, :n].astype(np.float64), want, rtol=rtol, atol=rtol)


@names("ta", [False, True])
@names("tb", [False, True])
@names("m, n, k", [(1, 1, 1), (5, 7, 3), (17, 1, 31), (64, 64, 16), (67, 71, 37)])
def test_products(m: int, n: int, k: int, ta: bool, tb: bool) -> None:
    check(m, n, k, ta=ta, tb=tb)


@names("dtype, rtol", [(f64, 1e-12), (f16, 1e-2), (bf16, 1e-1), (i32, 0), (DTYPES["u8"], 0)], ids=str)
def test_dtypes(dtype: DType, rtol: float) -> None:
    if dtype.kind == "u":
        check(2, 3, 0, dtype, rtol=rtol)
        return
    check(19, 13, 21, dtype, rtol=rtol, tb=True)
    check(70, 65, 18, dtype, rtol=rtol, ta=True)


@names("dtype", [f16, bf16], ids=str)
@names("result", [None, f32], ids=str)
@names("ta", [False, True])
@names("tb", [False, True])
def test_halves_are_rounded_once(ta: bool, tb: bool, result: DType | None, dtype: DType) -> None:
    """Sums of eighths are exact in f32, so the result is the exact one or its rounding, the next in 16 bits."""
    rtol = {f16: 2**-11, bf16: 2**-8}[dtype] if result is None else 0.0
    for m, n, k, batch in ((1, 1, 1, 1), (7, 13, 17, 3), (67, 71, 37, 1), (4, 3, 0, 1)):
        check(m, n, k, dtype, ta=ta, tb=tb, batch=batch, rtol=rtol, result=result)


@names("dtype", [f16, bf16], ids=str)
def test_halves_with_a_wide_result_and_bias(dtype: DType) -> None:
    """Each of its own width: the bias and the result start at multiples of 4 bytes."""
    a, b = (np.asarray(np.arange(12).reshape(shape) - 5, dtype.numpy) for shape in ((3, 4), (4, 3)))
    a[1, 1] = np.nan
    added = np.float32([0, 0.125, -70000, 1e-9])
    g = Gemm(
        dtype, 3, 3, 4, Matrix("a", 0, 4), Matrix("b", 0, 3), Matrix("c", 1, 3), result=f32, bias="v", bias_offset=1,
        relu=True,
    )  # fmt: skip
    p = program(buffers("input", a=(dtype, 12), b=(dtype, 12), v=(f32, 4)), buffers("output", c=(f32, 10)), g)
    want = a.astype(np.float32) @ b.astype(np.float32) + added[1:]
    np.testing.assert_array_equal(run(p, [a, b, added])[0][1:].reshape(3, 3), np.where(want <= 0, 0, want))
    (launch,) = emitted(p).launches
    assert isinstance(launch, KernelLaunch)
    assert launch.parameters == (("a", 0), ("b", 0), ("c", 4), ("v", 4))


def test_batches_and_no_terms() -> None:
    check(9, 4, 5, batch=3, dtype=f64)
    check(65, 66, 5, batch=2, ta=True, share=True)
    check(3, 4, 0)


def test_the_16_bit_floats_are_summed_in_f32() -> None:
    """2048 ones and 2048 times 2**-10: f16 would lose every one of the small terms."""
    a = np.concatenate([np.ones(2048), np.full(2048, 2**-10)]).astype(np.float16)[None]
    p = program(
        buffers("input", a=(f16, 4096), b=(f16, 4096)),
        buffers("output", c=(f16, 1)),
        Gemm(f16, 1, 1, 4096, Matrix("a", 0, 4096), Matrix("b", 0, 1), Matrix("c", 0, 1)),
    )
    assert run(p, [a, np.ones(4096, np.float16)])[0].tolist() == [2050.0]


@names("dtype", [f32, f64, bf16], ids=str)
@names("bias, relu", [(True, False), (False, True), (True, True)])
@names("m, n, k, batch", [(5, 7, 3, 2), (67, 71, 9, 1)])
def test_what_is_done_to_the_elements(
    m: int, n: int, k: int, batch: int, bias: bool, relu: bool, dtype: DType
) -> None:  # fmt: skip
    """A bias at an offset; relu of nan is nan."""
    rng = np.random.default_rng(m)
    a, b = (rng.integers(-9, 9, shape).astype(dtype.numpy) for shape in ((batch, m, k), (k, n)))
    a[0, 1, :] = np.nan
    added = np.asarray(rng.integers(-50, 50, n), dtype.numpy)
    g = Gemm(
        dtype, m, n, k, Matrix("a", 0, k), Matrix("b", 0, n), Matrix("c", 2, n), batch, m * k, 0, m * n,
        bias="v" if bias else None, bias_offset=EXTRA if bias else 0, relu=relu,
    )  # fmt: skip
    inputs = buffers("input", a=(dtype, batch * m * k), b=(dtype, k * n), v=(dtype, EXTRA + n))
    p = program(inputs, buffers("output", c=(dtype, 2 + batch * m * n)), g)
    got = run(p, [a, b, np.concatenate([np.zeros(EXTRA, dtype.numpy), added])])[0][2:].reshape(batch, m, n)
    want = a.astype(np.float64) @ b.astype(np.float64) + (added.astype(np.float64) if bias else 0)
    want = np.asarray(np.where(want <= 0, 0.0, want) if relu else want, dtype.numpy)
    np.testing.assert_array_equal(got.astype(np.float64), want.astype(np.float64))
    assert not (relu and np.signbit(got[~np.isnan(got)]).any())


def test_products_that_end_alike_share_a_kernel() -> None:
    square = [Matrix(name, 0, 8) for name in "abc"]
    g = Gemm(f32, 8, 8, 8, *square, bias="a", relu=True)
    moved = replace(g, bias="b", bias_offset=4)
    p = program(buffers("input", a=(f32, 64), b=(f32, 64)), buffers("output", c=(f32, 64)), g, moved, g.alone)
    first, second, third = emitted(p).launches
    assert isinstance(first, KernelLaunch)
    assert isinstance(second, KernelLaunch)
    assert isinstance(third, KernelLaunch)
    assert first.entry == second.entry != third.entry
    assert first.parameters == (("a", 0), ("b", 0), ("c", 0), ("a", 0))
    assert second.parameters == (("a", 0), ("b", 0), ("c", 0), ("b", 16))
    assert third.parameters == (("a", 0), ("b", 0), ("c", 0))
    assert emitted(p, has_gemm=True).launches == (g, moved, g.alone)


def test_equal_products_share_a_kernel_and_empty_ones_are_left_out() -> None:
    square = [Matrix(name, offset, 8) for name, offset in (("a", 0), ("b", 64), ("c", 0))]
    g = Gemm(f32, 8, 8, 8, *square)
    moved = Gemm(f32, 8, 8, 8, square[0], Matrix("a", 64, 8), Matrix("c", 64, 8))
    nothing = Gemm(f32, 0, 8, 8, *square)
    p = program(buffers("input", a=(f32, 128), b=(f32, 128)), buffers("output", c=(f32, 128)), g, nothing, moved)
    module = emitted(p)
    first, second = module.launches
    assert isinstance(first, KernelLaunch)
    assert isinstance(second, KernelLaunch)
    assert first.entry == second.entry
    assert first.parameters == (("a", 0), ("b", 256), ("c", 0))
    assert second.parameters == (("a", 0), ("a", 256), ("c", 256))
    assert module.ptx.count(".entry") == 1
    assert emitted(p, has_gemm=True).launches == (g, moved)


def test_products_of_bool_are_refused() -> None:
    g = Gemm(b1, 1, 1, 1, Matrix("a", 0, 1), Matrix("a", 0, 1), Matrix("c", 0, 1), loc="model.py:7")
    p = program(buffers("input", a=(b1, 1)), buffers("output", c=(b1, 1)), g)
    with pytest.raises(LoweringError, match=r"model\.py:7: a matrix product of bool has no kernel; cast"):
        emitted(p)
