"""Running combinations that are more than one operator: linear recurrences, log-sum-exps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphad.backends.cuda import toolkit
from graphad.backends.cuda.program.ir import DeviceProgram, DeviceStatement, Scan
from graphad.backends.cuda.ptx.assemble import assemble
from graphad.backends.loops.ir import Load, Store
from graphad.errors import DeviceError
from graphad.ir.types import DType, f32, f64, i32, u8
from tests.cuda.emit.harness import at, axes, buffers, emitted, kernel, lit, program, run, same, spread
from tests.cuda.emit.programs import scan

names = pytest.mark.parametrize
groups = names("group, threads", [(1, 32), (4, 32), (32, 64), (96, 96), (256, 256)])


def recurrence(
    rows: int, size: int, dtype: DType, start: float, group: int, threads: int, reverse: bool = False
) -> DeviceProgram:
    """``y[i] = d[i] * y[i-1] + x[i]`` along every row: what is before each element, with it, and the totals."""
    row = at(i=size, j=1)
    body: list[DeviceStatement] = [
        Load("a", "d", row),
        Load("b", "x", row),
        Scan("before", "upto", dtype, "linear", lit(start, dtype), "b", "a"),
        Store("e", row, "before"),
        Store("y", row, "upto"),
    ]
    return program(
        buffers("input", d=(dtype, rows * size), x=(dtype, rows * size)),
        buffers("output", e=(dtype, rows * size), y=(dtype, rows * size), t=(dtype, rows)),
        kernel(
            axes(i=rows),
            spread(body, reverse=reverse, j=size),
            Store("t", at(i=1), "before"),
            uses=["d", "x", "e", "y", "t"],
            group=group,
            threads=threads,
        ),
    )


def one_by_one(d: Any, x: Any, start: float) -> tuple[Any, Any]:
    """Without each element of a row, and with it."""
    running, before, upto = np.full(len(x), start, x.dtype), np.empty_like(x), np.empty_like(x)
    for j in range(x.shape[1]):
        before[:, j] = running
        upto[:, j] = running = (d[:, j] * running + x[:, j]).astype(x.dtype)
    return before, upto


def check(d: Any, x: Any, dtype: DType, start: float, how: tuple[int, int], reverse: bool, rtol: float) -> None:
    way = slice(None, None, -1 if reverse else 1)
    with np.errstate(all="ignore"):
        before, upto = one_by_one(d[:, way], x[:, way], start)
    rows, size = x.shape
    e, y, t = run(recurrence(rows, size, dtype, start, *how, reverse), [d, x])
    same(e.reshape(x.shape), before[:, way], rtol)
    same(y.reshape(x.shape), upto[:, way], rtol)
    same(t, upto[:, -1], rtol)


@names("reverse", [False, True])
@groups
@names("size", [1, 5, 33, 300])
def test_recurrences(size: int, group: int, threads: int, reverse: bool) -> None:
    rng = np.random.default_rng(size)
    d, x = (rng.standard_normal((2, size)).astype(np.float32) for _ in range(2))
    check(d / 2, x, f32, 1.5, (group, threads), reverse, 1e-5)


@names("group, threads", [(1, 32), (16, 32), (128, 128)])
@names("dtype", [i32, u8, f64], ids=str)
def test_recurrences_of_every_kind(dtype: DType, group: int, threads: int) -> None:
    rng = np.random.default_rng(1)
    d, x = (rng.integers(0, 3, (3, 70)).astype(dtype.numpy) for _ in range(2))
    if dtype is f64:
        d = d / 4
    check(d, x, dtype, 2, (group, threads), False, 1e-14)


@groups
def test_zeros_stay_zeros_where_products_of_decays_overflow(group: int, threads: int) -> None:
    d, x = np.full((2, 70), 1e30, np.float32), np.zeros((2, 70), np.float32)
    d[1, 35], x[1, 69] = 0, 1
    check(d, x, f32, 0.0, (group, threads), False, 0.0)


@groups
def test_sums_that_begin_anew_are_exact(group: int, threads: int) -> None:
    rng = np.random.default_rng(3)
    d, x = (rng.random((2, 300)) < 0.9).astype(np.float32), np.ones((2, 300), np.float32)
    check(d, x, f32, 7.0, (group, threads), True, 0.0)


@groups
def test_infinite_decays_leave_nothing_finite_behind(group: int, threads: int) -> None:
    d, x = np.ones((4, 70), np.float32), np.zeros((4, 70), np.float32)
    d[0, 20] = d[2, 20] = np.inf  # of 0: nan
    d[1, 20] = np.nan
    x[2, 5] = 3  # inf, or nan
    x[3, 9], d[3, 40] = -np.inf, 0
    with np.errstate(all="ignore"):
        want = one_by_one(d, x, 0.0)[1]
    _, y, _ = run(recurrence(4, 70, f32, 0.0, group, threads), [d, x])
    same(np.where(np.isfinite(y), y, np.nan).reshape(x.shape), np.where(np.isfinite(want), want, np.nan))
    assert np.isnan(y.reshape(x.shape)[np.isnan(want)]).all()


@names("reverse", [False, True])
@groups
@names("dtype", [f32, f64], ids=str)
def test_log_sum_exps(dtype: DType, group: int, threads: int, reverse: bool) -> None:
    x = (30 * np.random.default_rng(2).standard_normal((4, 70))).astype(dtype.numpy)
    x[1, :9], x[2, 33], x[3, 50] = -np.inf, np.inf, np.nan
    e, y, t = run(scan(4, 70, dtype, "logsumexp", -np.inf, group, threads, reverse), [x])
    way = slice(None, None, -1 if reverse else 1)
    with np.errstate(invalid="ignore"):
        want = np.logaddexp.accumulate(x[:, way], axis=1)
    same(y.reshape(x.shape), want[:, way], 2e-6 if dtype is f32 else 1e-14)
    same(e.reshape(x.shape)[:, way][:, 1:], want[:, :-1], 2e-6 if dtype is f32 else 1e-14)
    assert np.all(e.reshape(x.shape)[:, way][:, 0] == -np.inf)
    same(t, want[:, -1], 2e-6 if dtype is f32 else 1e-14)


PROGRAMS = {
    "recurrence of f32": (recurrence(8, 3000, f32, 0.0, 256, 256), 48),
    "recurrence of f64": (recurrence(8, 3000, f64, 0.0, 32, 64), 64),
    "recurrence of i32": (recurrence(8, 3000, i32, 0, 256, 256), 48),
    "log-sum-exp of f32": (scan(8, 3000, f32, "logsumexp", -np.inf, 256, 256), 48),
    "log-sum-exp of f64": (scan(8, 3000, f64, "logsumexp", -np.inf, 32, 64), 72),
}


@names("architecture", ["sm_75", "sm_80", "sm_90", "sm_100"])
def test_nothing_is_spilled(architecture: str) -> None:
    try:
        toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("the assembler is not installed")
    for name, (p, ceiling) in PROGRAMS.items():
        (report,) = assemble(emitted(p, architecture=architecture, comments=False).ptx, architecture).kernels
        assert not report.spill_stores, name
        assert report.registers <= ceiling, (name, report)
