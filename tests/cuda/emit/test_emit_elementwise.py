"""Grids of points: vector accesses, masks, computed positions, loops, wide indices, the user's lines."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.ptx.emit import KernelLaunch, emit
from graphad.backends.cuda.ptx.nvptx import PTX_VERSIONS, cached_ptx, compile_ptx
from graphad.backends.loops.ir import Carry, Copy, GuardStep, Load, Loop, Store
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i32, i64
from tests.cuda.emit.harness import FILL, at, axes, buffers, emitted, kernel, lit, program, run, same
from tests.cuda.emit.programs import affine

names = pytest.mark.parametrize


@names("architecture", ["sm_75", "sm_90", "sm_100"])
@names("dtype", [f32, f64, f16, bf16, i32, DTYPES["i8"]], ids=str)
@names("rows, columns, lanes, threads", [(1, 1, 1, 32), (3, 67, 1, 64), (3, 66, 2, 128), (5, 64, 4, 32), (0, 8, 4, 32)])
def test_lanes(rows: int, columns: int, lanes: int, threads: int, dtype: DType, architecture: str) -> None:
    rng = np.random.default_rng(columns)
    x, w, b = (rng.integers(-4, 5, shape).astype(dtype.numpy) for shape in ((rows, columns), (columns,), (rows,)))
    p = affine(rows, columns, dtype, lanes, threads)
    got = run(p, [x, w, b], architecture=architecture)[0]
    want = x.astype(np.float64) * w.astype(np.float64) + b.astype(np.float64)[:, None] + np.arange(columns)
    same(got, want.astype(dtype.numpy).ravel())


def test_lanes_are_vector_accesses_through_the_read_only_cache() -> None:
    text = emitted(affine(4, 64, f32, 4)).ptx
    assert len(re.findall(r"ld\.global\.nc\.v4\.b32", text)) == 2
    assert len(re.findall(r"ld\.global\.nc\.b32", text)) == 1
    assert len(re.findall(r"st\.global\.v4\.b32", text)) == 1
    assert ".maxntid 128" in text
    assert emitted(affine(4, 64, f64, 2)).ptx.count("ld.global.nc.v2.b64") == 2


def test_the_user_s_lines_are_in_the_text() -> None:
    module = emitted(affine(4, 64, f32, 1))
    files = dict(re.findall(r'\.file\s+(\d+) "([^"]+)"', module.ptx))
    lines = {f"{files[file]}:{line}" for file, line in re.findall(r"\.loc\s+(\d+) (\d+)", module.ptx)}
    assert {"model.py:3", "model.py:4", "other.py:5"} <= lines
    assert "; transpose(other.py:5)" in module.llvm
    plain = emit(affine(4, 64, f32, 1), comments=False)
    assert "model.py" not in plain.llvm
    assert ".loc" not in plain.ptx


@names("lanes", [1, 2])
def test_masks_and_computed_positions(lanes: int) -> None:
    """``y[p[i]] = x[i]`` and ``z[i] = x[p[i]]`` where a mask holds; where it does not, positions may lie anywhere."""
    size = 34
    rng = np.random.default_rng(1)
    x, places, mask = rng.normal(size=size), rng.permutation(size), rng.random(size) < 0.7
    wild = np.where(mask, places, 1 << 40)
    body = [
        Load("a", "x", at(i=1)),
        Load("k", "p", at(i=1)),
        Load("m", "mask", at(i=1)),
        Load("far", "wild", at(i=1)),
        Load("g", "x", at(), "k"),
        Store("y", at(1), "a", "far", "m"),
        Store("z", at(i=1), "g", mask="m"),
    ]
    p = program(
        buffers("input", x=(f64, size), p=(i64, size), wild=(i64, size), mask=(b1, size)),
        buffers("output", y=(f64, size + 1), z=(f64, size)),
        kernel(axes(i=size), *body, uses=["x", "p", "wild", "mask", "y", "z"], lanes=lanes),
    )
    y, z = run(p, [x, places, wild, mask])
    before = np.full(8, FILL, np.uint8).view(np.float64)[0]
    want = np.full(size + 1, before)
    want[1 + places[mask]] = x[mask]
    same(y, want)
    same(z, np.where(mask, x[places], before))


@names("lanes", [1, 2])
def test_loops_of_one_thread(lanes: int) -> None:
    """Running values of every kind, backwards too; in lanes they are as wide as these."""
    rows, columns = 7, 6
    x = np.random.default_rng(3).integers(-5, 6, (rows, columns)).astype(np.int32)
    carries = (Carry("s", i32, "sum", lit(1, i32), "a"), Carry("last", i32, "last", lit(9, i32), "a"))
    body = [
        Loop("i", rows, (Load("a", "x", at(i=columns, j=1)),), carries, reverse=True),
        Store("s_", at(j=1), "s"),
        Store("l_", at(j=1), "last"),
    ]
    p = program(
        buffers("input", x=(i32, x.size)),
        buffers("output", s_=(i32, columns), l_=(i32, columns)),
        kernel(axes(j=columns), *body, uses=["x", "s_", "l_"], lanes=lanes),
    )
    s, last = run(p, [x])
    same(s, (1 + x.sum(0)).astype(np.int32))
    same(last, x[0])


def test_indices_beyond_32_bits_are_computed_in_64() -> None:
    small, large = affine(4, 64, f32, 4), affine(1 << 20, 1 << 12, f32, 4)
    assert "mul nsw i32" in emitted(small).llvm
    assert "mul nsw i64" not in emitted(small).llvm
    assert "mul nsw i64" in emitted(large).llvm
    assert "mul nsw i32" not in emitted(large).llvm
    (step,) = emitted(large).launches
    assert isinstance(step, KernelLaunch)
    assert step.blocks == (1 << 32) // 4 // 128


def test_wide_indices_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphad.backends.cuda.ptx.kernel._fits_32_bits", lambda *_: False)
    x, w, b = (np.arange(n, dtype=np.float32) for n in (5 * 64, 64, 5))
    got = run(affine(5, 64, f32, 4), [x, w, b])[0].reshape(5, 64)
    same(got, x.reshape(5, 64) * w + b[:, None] + np.arange(64, dtype=np.float32))


def test_steps_keep_their_order_and_empty_ones_are_left_out() -> None:
    p = affine(2, 8, f32, 1)
    guard = GuardStep(0, "ok", lit(True, b1))
    copy, nothing = Copy("z", "x"), Copy("none", "none")
    more = buffers("output", ok=(b1, 1), z=(f32, 16), none=(f32, 0))
    again = replace(p.kernels[0], name="again")
    whole = DeviceProgram("p", (*p.buffers, *more), (copy, *p.steps, guard, nothing, again))
    first, second, third, last = emitted(whole).launches
    assert (first, third) == (copy, guard)
    assert isinstance(second, KernelLaunch)
    assert isinstance(last, KernelLaunch)
    assert (second.entry, last.entry) == ("example", "again")
    assert second.parameters == (("x", 0), ("w", 0), ("b", 0), ("y", 0))


def test_every_architecture_gets_code() -> None:
    for architecture, version in PTX_VERSIONS.items():
        text = emitted(affine(2, 8, f32, 1), architecture=architecture).ptx
        assert f".target {architecture}" in text
        assert f".version {version // 10}.{version % 10}" in text


def test_ptx_is_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    text = emitted(affine(2, 8, f32, 1)).llvm
    first = cached_ptx(text, "sm_80")
    assert first == compile_ptx(text, "sm_80")
    monkeypatch.setattr("graphad.backends.cuda.ptx.nvptx.compile_ptx", lambda *_: pytest.fail("compiled again"))
    assert cached_ptx(text, "sm_80") == first
