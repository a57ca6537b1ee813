"""The arena: no two temporaries that live together overlap, and slots are used again."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphad.backends.loops.ir import (
    Buffer,
    Copy,
    Gemm,
    KernelProgram,
    Matrix,
)
from graphad.backends.loops.memory import ALIGNMENT, plan
from graphad.backends.loops.steps import buffers_read, buffers_written
from graphad.ir.types import b1, f32, f64


def chain(count: int, size: int) -> KernelProgram:
    """``t0 -> t1 -> ...``: two live at a time."""
    made = [Buffer("x", f32, size, "input"), Buffer("y", f32, size, "output")]
    made += [Buffer(f"t{k}", f32, size, "temporary") for k in range(count)]
    names = ["x", *(f"t{k}" for k in range(count)), "y"]
    steps = tuple(Copy(b, a) for a, b in itertools.pairwise(names))
    return KernelProgram("chain", tuple(made), steps)


def test_a_chain_of_any_length_needs_two_slots() -> None:
    arena = plan(chain(10, 100))
    assert arena.size == 2 * 448
    assert set(arena.offsets.values()) == {0, 448}


def test_nothing_to_plan() -> None:
    arena = plan(chain(0, 5))
    assert (arena.offsets, arena.size) == ({}, 0)


def test_the_tightest_hole_is_taken_and_the_last_one_grows() -> None:
    sizes = {"big": 64, "keep": 16, "small": 32, "hold": 16, "new": 24, "wide": 160}
    made = tuple(Buffer(n, f32, s, "temporary") for n, s in sizes.items())

    def touch(a: str, b: str, c: str) -> Gemm:
        """A step that touches three buffers."""
        return Gemm(f32, 1, 1, 1, Matrix(a, 0, 1), Matrix(b, 0, 1), Matrix(c, 0, 1))

    steps = (
        Copy("big", "big"),
        touch("big", "keep", "keep"),
        touch("keep", "small", "small"),
        touch("small", "hold", "keep"),
        touch("new", "hold", "keep"),
        touch("wide", "hold", "keep"),
    )
    offsets = plan(KernelProgram("p", made, steps)).offsets
    assert offsets["big"] == 0
    assert offsets["small"] == 0  # where big was
    assert offsets["hold"] == 128  # behind it, the rest of the same hole
    assert offsets["new"] == 0
    assert offsets["wide"] == max(offsets["keep"], offsets["hold"]) + 64


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=25), st.lists(st.integers(0, 90), min_size=8))
def test_lives_that_overlap_never_share_bytes(edges: list[tuple[int, int]], sizes: list[int]) -> None:
    dtypes = [f32, f64, b1, f64, f32, b1, f32, f64]
    made = {f"t{k}": Buffer(f"t{k}", dtypes[k], sizes[k], "temporary") for k in range(8)}
    steps = tuple(Copy(f"t{a}", f"t{b}") for a, b in edges)
    arena = plan(KernelProgram("p", tuple(made.values()), steps))
    touched = [buffers_read(s) | buffers_written(s) for s in steps]
    lives = {n: [k for k, names in enumerate(touched) if n in names] for n in made}
    assert set(arena.offsets) == {n for n in made if lives[n]}
    for step in range(len(steps)):
        taken = np.zeros(arena.size, bool)
        for name, offset in arena.offsets.items():
            if lives[name][0] <= step <= lives[name][-1]:
                length = made[name].size * made[name].dtype.bits // 8
                assert offset % ALIGNMENT == 0
                assert offset + length <= arena.size
                assert not taken[offset : offset + length].any()
                taken[offset : offset + length] = True
