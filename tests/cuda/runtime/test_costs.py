"""Elements touched, counted by hand and by going through all points."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.ir import Atomic, Axis, DeviceProgram, Kernel, Spread
from graphad.backends.loops.costs import lattice
from graphad.backends.loops.ir import Buffer, Copy, Gemm, GuardStep, Index, Load, Loop, Matrix, Store
from graphad.ir.types import b1, f32, f64, literal

N = 600


def program(*steps):
    buffers = (
        Buffer("x", f32, N, "input"),
        Buffer("y", f64, N, "output"),
        Buffer("t", f32, N, "temporary"),
        Buffer("ok", b1, 1, "output"),
    )
    return DeviceProgram("p", buffers, steps)


def kernel(*body, grid=(Axis("i", 10),), shared=()):
    return Kernel("k", ("x", "y"), shared, grid, body)


def cost_of(*body, **options):
    (step,) = costs(program(kernel(*body, **options))).steps
    return step.read_bytes // 4, step.written_bytes // 8


def at(offset=0, **strides):
    return Index(offset, tuple(strides.items()))


def test_elementwise():
    assert cost_of(Load("v", "x", at(i=1)), Store("y", at(i=1), "v")) == (10, 10)


def test_what_is_read_again_counts_once():
    loop = Loop("j", 6, (Load("v", "x", at(i=6, j=1)), Load("w", "x", at(j=1)), Load("u", "x", at())))
    assert cost_of(loop, Store("y", at(i=1), "v")) == (60, 10)


def test_neighbours_count_once():
    loads = [Load(f"v{k}", "x", at(k, i=1)) for k in range(3)]
    assert cost_of(*loads, Store("y", at(i=1), "v0")) == (12, 10)


def test_a_spread_loop_and_shared_memory():
    shared = (Buffer("s", f32, 32, "temporary"),)
    spread = Spread((Axis("j", 4), Axis("k", 8)), (Load("v", "x", at(i=32, j=8, k=1)), Store("s", at(j=8, k=1), "v")))
    assert cost_of(spread, Store("y", at(i=1), literal(0.0, f64)), shared=shared) == (320, 10)


def test_somewhere():
    """At a position that is computed: at most one element for each point, and no more than there are."""
    assert cost_of(Load("v", "x", at(), dynamic="p"), Store("y", at(i=1), "v")) == (10, 10)
    big = (Axis("i", 5000),)
    assert cost_of(Load("v", "x", at(), dynamic="p"), Store("y", at(), "v", "q"), grid=big) == (N, N)


def test_an_atomic_update_is_a_write():
    (step,) = costs(program(kernel(Atomic("y", at(i=1), "sum", literal(1.0, f64))))).steps
    assert (step.read_bytes, step.written_bytes) == (0, 80)


def test_loops_without_iterations():
    assert cost_of(Loop("j", 0, (Load("v", "x", at(i=1, j=1)),)), Store("y", at(i=1), literal(0.0, f64))) == (0, 10)


@pytest.mark.parametrize(
    ("terms", "extents"),
    [
        ([("i", 7)], [5]),
        ([("i", 3), ("j", 1)], [4, 5]),
        ([("i", 3), ("j", 2)], [4, 5]),
        ([("i", -3), ("j", 1)], [4, 3]),
        ([("i", 0), ("j", 2)], [4, 3]),
        ([("i", 20), ("j", 5), ("k", 1)], [3, 4, 7]),
        ([("i", 6), ("j", 4), ("k", 9)], [3, 4, 5]),
        ([("i", 1), ("j", 1), ("k", 8)], [3, 4, 1]),
    ],
)
def test_overlapping_strides(terms, extents):
    """Windows, transposes, strides with and without a common divisor."""
    index = Index(60, tuple(terms))
    points = itertools.product(*[range(e) for e in extents])
    wanted = {60 + sum(s * p for (_, s), p in zip(terms, point, strict=True)) for point in points}
    sizes = dict(zip([v for v, _ in terms], extents, strict=True))
    found = lattice(index, sizes)
    reached = {found.offset}
    for stride, extent in found.steps:
        reached = {r + stride * x for r in reached for x in range(extent)}
    assert reached == wanted
    grid = tuple([Axis(v, e) for v, e in sizes.items()])
    assert cost_of(Load("v", "x", index), Store("y", at(), "v"), grid=grid) == (len(wanted), 1)


def test_other_steps():
    a, b, c = Matrix("x", 0, 4), Matrix("x", 8, 3), Matrix("t", 0, 3)
    gemm = Gemm(f32, 2, 3, 4, a, b, c, 5, 8, 0, 6)
    counted = costs(program(gemm, Copy("t", "x"), GuardStep(0, "ok", literal(True, b1))))
    assert [(s.name, s.read_bytes, s.written_bytes) for s in counted.steps] == [
        ("5 x 2x4 @ 4x3", 4 * 40, 4 * 5 * 6),
        ("copy", 4 * N, 4 * N),
        ("guard", 1, 0),
    ]
    assert counted.minimum_bytes == 4 * N + 8 * N + 1
    assert counted.excess == counted.moved_bytes / counted.minimum_bytes


def test_what_is_done_to_the_elements_of_a_product():
    a, b, c = Matrix("x", 0, 4), Matrix("x", 8, 3), Matrix("t", 0, 3)
    plain = Gemm(f32, 2, 3, 4, a, b, c)
    fused = Gemm(f32, 2, 3, 4, a, b, c, bias="x", bias_offset=50, relu=True)
    one, other = costs(program(plain, fused)).steps
    assert other.name == "2x4 @ 4x3 + bias, relu"
    assert (other.read_bytes, other.written_bytes) == (one.read_bytes + 3 * 4, one.written_bytes)
    assert other.operations == one.operations + 2 * 6


def test_nothing_to_move():
    empty = DeviceProgram("p", (), ())
    assert costs(empty).excess == 1.0
    assert np.isfinite(costs(empty).excess)
