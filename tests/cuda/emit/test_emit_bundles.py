"""Kernels side by side in one launch: to the bit what each of them alone computes."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.deduplication import kinds_of
from graphad.backends.cuda.program.ir import Axis, Barrier, Bundle, DeviceProgram, Kernel
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.loops.ir import Buffer, Carry, Let, Load, Store
from graphad.ir.types import DType, bf16, f16, f32, f64, i32
from tests.backends.loop_harness import run_llvm, same
from tests.cuda.emit.harness import at, axes, emitted, lit, run, spread

BLOCK = 128


def doubled(k: int, dtype: DType, size: int, lanes: int = 1, more: float = 0.5) -> tuple[list[Buffer], Kernel]:
    """``y = x * x + more``."""
    body = (
        Load("a", f"x{k}", at(i=1)),
        Let("b", dtype, "mul", ("a", "a")),
        Let("c", dtype, "add", ("b", lit(more, dtype))),
        Store(f"y{k}", at(i=1), "c"),
    )
    kernel = Kernel(f"k{k}", (f"x{k}", f"y{k}"), (), axes(i=size), body, lanes=lanes, threads=BLOCK)
    return [Buffer(f"x{k}", dtype, size, "input"), Buffer(f"y{k}", dtype, size, "output")], kernel


def shifted(k: int, dtype: DType, rows: int, columns: int, group: int) -> tuple[list[Buffer], Kernel]:
    """Every row less its sum, its elements in the opposite order, by way of shared memory."""
    mine, back = at(i=columns, j=1), at(columns - 1, i=columns, j=-1)
    body = (
        spread([Load("a", f"x{k}", mine), Store(f"t{k}", at(j=1), "a")], Carry("s", dtype, "sum", lit(0, dtype), "a"),
               j=columns),
        Barrier(),
        spread([Load("b", f"t{k}", at(j=1)), Let("c", dtype, "sub", ("b", "s")), Store(f"y{k}", back, "c")], j=columns),
    )  # fmt: skip
    shared = (Buffer(f"t{k}", dtype, columns, "temporary"),)
    kernel = Kernel(f"k{k}", (f"x{k}", f"y{k}"), shared, axes(i=rows), body, group=group, threads=BLOCK)
    sizes = (dtype, rows * columns)
    return [Buffer(f"x{k}", *sizes, "input"), Buffer(f"y{k}", *sizes, "output")], kernel


def programs(parts: list[tuple[list[Buffer], Kernel]]) -> tuple[DeviceProgram, DeviceProgram]:
    """The kernels in a row, and in one launch."""
    listed = sorted([b for own, _ in parts for b in own], key=lambda b: b.role)  # inputs, then outputs
    kernels = tuple([kernel for _, kernel in parts])
    alone = DeviceProgram("p", tuple(listed), kernels)
    return alone, replace(alone, steps=(Bundle("bundle", kernels),))


def inputs(p: DeviceProgram) -> list[np.ndarray]:
    r = np.random.default_rng(len(p.buffers))
    return [r.integers(-9, 9, b.size).astype(b.dtype.numpy) for b in p.buffers if b.role == "input"]


def compare(parts: list[tuple[list[Buffer], Kernel]]) -> None:
    alone, together = programs(parts)
    args = inputs(alone)
    for a, b in zip(run(together, args), run(alone, args), strict=True):
        np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8))


def test_parts_of_many_sizes_and_dtypes() -> None:
    compare([
        doubled(0, f32, 1), doubled(1, f64, 1000, lanes=2), doubled(2, f16, 64, lanes=4), doubled(3, i32, 0, more=3),
        doubled(4, f32, 4097), doubled(5, bf16, 7), doubled(6, f32, 4096, lanes=4), doubled(7, f64, 0),
    ])  # fmt: skip


def test_parts_that_work_in_groups() -> None:
    compare([
        shifted(0, f32, 3, 70, 32), shifted(1, f64, 2, 300, BLOCK), doubled(2, f32, 700), shifted(3, f32, 17, 5, 8),
        shifted(4, f32, 1, 129, BLOCK), shifted(5, f32, 0, 4, 32), shifted(6, i32, 5, 1, 2), doubled(7, f64, 3),
    ])  # fmt: skip


def test_a_bundle_of_one() -> None:
    compare([doubled(0, f32, 300)])


def test_nobody_has_any_points() -> None:
    _, together = programs([doubled(0, f32, 0), shifted(1, f32, 0, 4, 32)])
    assert not emitted(together).launches
    run(together, inputs(together))


@st.composite
def bundles(draw: st.DrawFn) -> list[tuple[list[Buffer], Kernel]]:
    parts: list[tuple[list[Buffer], Kernel]] = []
    for k in range(draw(st.integers(1, 7))):
        dtype = draw(st.sampled_from([f32, f64, f16, i32]))
        if draw(st.booleans()):
            lanes = draw(st.sampled_from([1, 2] if dtype is f64 else [1, 2, 4]))
            size = lanes * draw(st.sampled_from([0, 1, 2, 7, 31, 32, 128, 300]))
            parts.append(doubled(k, dtype, size, lanes, draw(st.sampled_from([1.0, 2.0]))))
        else:
            rows = draw(st.sampled_from([0, 1, 2, 5, 33]))
            group, columns = draw(st.sampled_from([(2, 1), (2, 3), (8, 31), (32, 64), (32, 129), (BLOCK, 129)]))
            parts.append(shifted(k, dtype, rows, columns, group))
    return parts


@settings(max_examples=15, deadline=None)
@given(bundles())
def test_any_parts(parts: list[tuple[list[Buffer], Kernel]]) -> None:
    compare(parts)


@settings(max_examples=15, deadline=None)
@given(bundles())
def test_any_parts_as_loops(parts: list[tuple[list[Buffer], Kernel]]) -> None:
    alone, together = programs(parts)
    check_device_program(together)
    args = inputs(alone)
    for a, b in zip(run_llvm(as_loops(together), args)[1], run_llvm(as_loops(alone), args)[1], strict=True):
        same(a, b, 1e-3)


# ---- one text for parts of a kind


def entries(ptx: str) -> int:
    return len(re.findall(r"^\.visible \.entry", ptx, re.MULTILINE))


def test_parts_of_a_kind_share_their_code() -> None:
    """However many arrays there are, their sizes apart alike, the text grows by a few lines for each."""
    few, many = (programs([doubled(k, f32, 4 * (k + 33), lanes=4) for k in range(n)])[1] for n in (4, 40))
    texts = [emitted(p, comments=False).ptx for p in (few, many)]
    assert [entries(t) for t in texts] == [1, 1]
    assert [t.count("add.rn") for t in texts] == [4, 4]
    compare([doubled(k, f32, 4 * (k + 33), lanes=4) for k in range(9)])


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ([doubled(0, f32, 5), doubled(1, f32, 500), doubled(2, f32, 70000)], [3]),
        ([doubled(0, f32, 5), doubled(1, f64, 5), doubled(2, f32, 8, 4), doubled(3, f32, 6, more=2.0)], [1, 1, 1, 1]),
        ([shifted(0, f32, 3, 9, 32), shifted(1, f32, 4, 9, 32), shifted(2, f32, 3, 9, 32)], [2, 1]),
        ([doubled(0, f32, 0), doubled(1, f32, 1), doubled(2, f32, 1)], [2]),
    ],
)
def test_kinds(parts: list[tuple[list[Buffer], Kernel]], kinds: list[int]) -> None:
    _, together = programs(parts)
    (bundle,) = together.launches
    found = kinds_of(bundle, {b.name: b for b in together.buffers})
    assert [len(kind.members) for kind in found] == kinds
    assert all(kind.kernel.points == max(p.points for p, _ in kind.members) for kind in found)


def test_what_is_loaded_only_is_read_through_the_read_only_cache() -> None:
    ptx = emitted(programs([doubled(k, f32, 4 * (k + 33), lanes=4) for k in range(5)])[1]).ptx
    assert "ld.global.nc.v4" in ptx
    assert "ld.global.v4" not in ptx


def test_memory_of_parts_is_laid_over_each_other() -> None:
    parts = [shifted(k, f32, 2, 900 + 100 * k, BLOCK) for k in range(3)]
    (size,) = re.findall(r"bundle_shared\[(\d+)\]", emitted(programs(parts)[1]).ptx)
    assert 4 * 1100 <= int(size) < 4 * 1100 + 100
    compare(parts)


def test_axes_are_named_in_the_key_only_by_their_place() -> None:
    (own, kernel), (other, second) = doubled(0, f32, 40), doubled(1, f32, 40)
    second = replace(second, grid=(Axis("row", 40),), body=tuple([_over(s, "row") for s in second.body]))
    _, together = programs([(own, kernel), (other, second)])
    assert len(kinds_of(together.launches[0], {b.name: b for b in together.buffers})) == 1
    compare([(own, kernel), (other, second)])


def _over(s: object, var: str) -> object:
    return replace(s, index=at(**{var: 1})) if isinstance(s, (Load, Store)) else s
