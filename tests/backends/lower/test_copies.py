"""Copies of what nobody reads afterwards are gone, and all others stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.stages import simplify
from graphad.backends.loops.ir import (
    Buffer,
    Copy,
    Counted,
    Index,
    Load,
    LoopNest,
    Repeat,
    RepeatWhile,
    RoutineCall,
    Store,
    Window,
)
from graphad.backends.loops.memory import plan
from graphad.backends.loops.steps import every_step
from graphad.backends.lower.copies import without_copies
from graphad.backends.lower.fuse import lower
from graphad.ir.types import EXTENT, b1, f64

A, B, C = (Buffer(name, f64, 8, "temporary") for name in "ABC")
IN, OUT = Buffer("in0", f64, 8, "input"), Buffer("out0", f64, 8, "output")
ZERO = Index()


def written(name):
    return LoopNest((Store(name, ZERO, "t0"),))


def read(name):
    return LoopNest((Load("t0", name, ZERO), Store("out0", ZERO, "t0")))


def run(*steps, buffers=(IN, OUT, A, B, C)):
    return without_copies(buffers, steps)


def test_source_and_target_become_one():
    buffers, steps = run(written("A"), Copy("B", "A"), read("B"), Copy("C", "B"), read("C"))
    assert buffers == (IN, OUT, A)
    assert steps == (written("A"), read("A"), read("A"))


def test_so_do_those_that_a_loop_alone_knows():
    window = Window("W", "in0", 0, 1)
    inner = (written("A"), Copy("B", "A"), read("B"), read("W"))
    buffers, (step,) = run(Repeat("i", 5, (window,), (), inner), buffers=(IN, OUT, A, B, Buffer("W", f64, 1, "window")))
    assert [b.name for b in buffers] == ["in0", "out0", "A", "W"]
    assert step.body == (written("A"), read("A"), read("W"))


def test_a_copy_further_inside_stays_where_its_source_is_known_outside():
    inner = Repeat("j", 3, (), (), (Copy("C", "B"), read("C")))
    _, (step,) = run(Repeat("i", 5, (), (), (written("A"), Copy("B", "A"), inner)))
    assert step.body == (written("A"), replace(inner, body=(Copy("C", "A"), read("C"))))


def test_an_output_is_the_place_of_what_is_copied_there():
    buffers, steps = run(written("A"), Copy("B", "A"), Copy("out0", "B"))
    assert (buffers, steps) == ((IN, OUT, C), (written("out0"),))
    second = Buffer("out1", f64, 8, "output")
    buffers, steps = run(written("A"), Copy("out0", "A"), Copy("out1", "A"), buffers=(IN, OUT, second, A))
    assert (buffers, steps) == ((IN, OUT, second), (written("out1"), Copy("out0", "out1")))


def solved(matrix, right, result):
    return RoutineCall("triangular_solve", f64, (matrix, right), (result,), (1, 2, 4, 1, 1, 0, 0))


def test_routines_work_in_what_nobody_reads_later():
    matrix = Buffer("M", f64, 4, "temporary")
    steps = written("A"), solved("M", "A", "B"), solved("M", "B", "C"), read("C")
    buffers, steps = run(*steps, buffers=(OUT, matrix, A, B, C))
    assert buffers == (OUT, matrix, A)
    assert steps == (written("A"), solved("M", "A", "A"), solved("M", "A", "A"), read("A"))
    buffers, steps = run(written("A"), solved("M", "A", "out0"), buffers=(OUT, matrix, A))
    assert (buffers, steps) == ((OUT, matrix), (written("out0"), solved("M", "out0", "out0")))


def test_a_cholesky_factor_and_its_adjoint_need_one_array_besides(rng):
    def gradient(a, weights):
        return graphad.grad(lambda a: gnp.sum(gnp.linalg.cholesky(a) * weights))(a)

    n = 40
    weights = rng.normal(size=(n, n))
    a = weights @ weights.T + n * np.eye(n)
    program = lower(simplify(graphad.jit(gradient).graph(a, weights))).program
    assert plan(program).size < 2.5 * n * n * 8
    kept = a.copy()
    found, step = graphad.jit(gradient)(a, weights), 1e-6
    np.testing.assert_array_equal(a, kept)
    along = rng.normal(size=(n, n))
    moved = [np.sum(np.linalg.cholesky(a + s * (along + along.T)) * weights) for s in (step, -step)]
    np.testing.assert_allclose(np.sum(found * (along + along.T)), (moved[0] - moved[1]) / (2 * step), rtol=1e-6)


CONDITION = Buffer("P", b1, 1, "temporary")
STAY = {
    "an input that a routine may overwrite": (solved("A", "in0", "B"), read("B")),
    "an operand that is read again": (written("B"), solved("A", "B", "C"), read("C"), read("B")),
    "an operand that is two": (written("A"), solved("A", "A", "B"), read("B")),
    "an operand that is known outside": (written("B"), Repeat("i", 3, (), (), (solved("A", "B", "C"), read("C")))),
    "the source is read again": (written("A"), Copy("B", "A"), read("B"), read("A")),
    "the target was read before": (written("A"), read("B"), Copy("B", "A"), read("B")),
    "an input": (Copy("A", "in0"), read("A")),
    "an output that is written before": (written("A"), written("out0"), Copy("out0", "A")),
    "a source of an output that is read again": (
        written("A"),
        Copy("out0", "A"),
        Copy("B", "A"),
        read("B"),
        written("A"),
    ),
    "a loop exchanges the target": (
        written("A"),
        Copy("B", "A"),
        Repeat("i", 3, (), (("B", "C"),), (written("C"),)),
        read("B"),
    ),
    "the source is known outside": (written("A"), Repeat("i", 3, (), (), (Copy("B", "A"), read("B"), written("B")))),
    "the target is read in the next turn": (
        written("B"),
        Repeat("i", 3, (), (), (written("A"), Copy("B", "A"))),
        read("B"),
    ),
    "what a loop goes on by": (RepeatWhile("P", (), (LoopNest((Store("Q", ZERO, "t0"),)), Copy("P", "Q"))),),
}


@pytest.mark.parametrize("steps", STAY.values(), ids=STAY)
def test_others_stay(steps):
    buffers = (IN, OUT, A, B, C, CONDITION, Buffer("Q", b1, 1, "temporary"))
    assert run(*steps, buffers=buffers) == (buffers, steps)


def test_buffers_of_other_kinds_stay():
    narrow, private = Buffer("N", f64, 4, "temporary"), Buffer("R", f64, 8, "temporary", private=True)
    per_turn = Buffer("T", f64, EXTENT, "temporary")
    steps = (Copy("N", "A"), Copy("R", "B"), Counted("P", (Copy("T", "C"),)))
    buffers = (A, B, C, narrow, private, per_turn, CONDITION)
    assert without_copies(buffers, steps) == (buffers, steps)


def test_an_array_that_loops_change_one_after_the_other_lies_in_one_place():
    def f(x):
        a = gnp.zeros((1000, 3)) + x
        for turns in (1000, 500):
            a = lax.fori_loop(0, turns, lambda i, a: a.at[i].set(gnp.sin(a[i - 1]) + 1), a)
        return a.sum()

    program = lower(simplify(graphad.jit(f).graph(1.0))).program
    assert not [s for s in every_step(program.steps) if type(s) is Copy and program_size(program, s.target) > 3]
    assert plan(program).size < 1000 * 3 * 4 * 2
    a = np.full((1000, 3), 0.5, np.float32)
    for turns in (1000, 500):
        for i in range(turns):
            a[i] = np.sin(a[i - 1]) + 1
    np.testing.assert_allclose(graphad.jit(f)(0.5), a.sum(), rtol=1e-5)


def program_size(program, name):
    return next(b.size for b in program.buffers if b.name == name)


def test_what_is_stacked_by_an_inner_loop_goes_to_its_place():
    """A window is no buffer of its own."""

    def f(x):
        def outer(c, _):
            d, ys = lax.scan(lambda d, _: (gnp.sin(d), d * d), c, None, 12)
            return d, (ys, ys[::5])

        return lax.scan(outer, x, None, 9)

    x = np.linspace(-1, 1, 200)
    c, (all_of, some) = graphad.jit(f)(x)
    plain = x
    for k in range(9):
        for j in range(12):
            np.testing.assert_allclose(all_of[k, j], plain**2, rtol=1e-12, atol=1e-12)
            plain = np.sin(plain)
    np.testing.assert_allclose(c, plain, rtol=1e-12)
    np.testing.assert_array_equal(some, np.asarray(all_of)[:, ::5])
