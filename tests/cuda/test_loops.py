"""Loops and branches on a device, against the CPU's: as statements of one kernel, and as steps that the host runs."""

from __future__ import annotations

from contextlib import redirect_stdout
from functools import partial
from io import StringIO

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cuda.inspection.cross import CrossCompiled
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.run import executable, launches
from graphad.backends.cuda.runtime.allocator import Allocator
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import While
from graphad.backends.loops.visit import walk
from tests.backends.loop_harness import run_llvm
from tests.cuda.devices import DEVICES
from tests.cuda.loops import collatz, halves, large_branch, newton, recurrent, statements, steps
from tests.cuda.programs import for_device_of, lowered_of
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY
from tests.thinned import every

names = pytest.mark.parametrize
KINDS = {"statements": statements, "steps": steps}
ALL = [(kind, name) for kind, found in KINDS.items() for name in found("float32")]
DTYPES = ("float32", "float64")
MATRIX = np.random.default_rng(0).standard_normal((20, 20)) * 0.2


def alike(got, wanted, dtype):
    tolerance = 1e-11 if dtype == "float64" else 1e-4
    for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(wanted), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        scale = max(1.0, float(np.max(np.abs(b), initial=0.0)))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@names("device", DEVICES, ids=str)
@names(("kind", "name", "dtype"), every(2, [(*case, dtype) for dtype in DTYPES for case in ALL], several=True))
def test_a_loop_is_the_cpus(kind, name, dtype, device):
    """The first time, then captured and replayed."""
    function, args = KINDS[kind](dtype)[name]
    wanted = graphad.jit(function)(*args)
    compiled = graphad.jit(function, device=device)
    for _ in range(3):
        alike(compiled(*args), wanted, dtype)


@names("limits", [LIMITS, TINY, JOINED], ids=["usual", "tiny", "joined"])
@names(("kind", "name"), ALL)
def test_a_schedule_keeps_the_loop(kind, name, limits):
    program, args = lowered_of(*KINDS[kind]("float64")[name])
    device = schedule(for_device_of(*KINDS[kind]("float64")[name])[0], limits=limits)
    check_device_program(device)
    again = as_loops(device)
    _, wanted = run_llvm(program, args)
    _, got = run_llvm(again, args)
    alike(got, wanted, "float64")
    assert format_device_program(device).startswith(f"device program @{program.name}")


@pytest.mark.slow
@names("limits", [TINY, JOINED], ids=["tiny", "joined"])
@names(("kind", "name"), ALL)
def test_a_loop_is_the_cpus_however_it_is_dealt_out(kind, name, limits, monkeypatch):
    monkeypatch.setattr(executable, "schedule", partial(schedule, limits=limits))
    function, args = KINDS[kind]("float64")[name]
    alike(graphad.jit(function, device="cuda:emulated")(*args), graphad.jit(function)(*args), "float64")


# ---- one kernel, a thread for each element of a batch


@names(
    ("name", "points"),
    [("whiles", 33), ("newtons", 19), ("batch of small arrays", 11), ("nested, batched", 19)],
)
def test_a_batch_of_loops_is_one_kernel(name, points):
    device = schedule(for_device_of(*statements("float64")[name])[0])
    looping = [k for k in device.kernels if any(isinstance(s, While) for s in walk(k.body))]
    assert [(k.points, k.group, k.lanes) for k in looping] == [(points, 1, 1)], format_device_program(device)


def test_the_turns_of_an_adjoint_are_stored_beside_each_other_for_all_threads():
    device = schedule(for_device_of(*statements("float64")["newtons gradient"])[0])
    adjoint = [k for k in device.kernels if any(b.per_turn for b in device.buffers if b.name in k.parameters)]
    assert [k.points for k in adjoint] == [19], format_device_program(device)
    assert [b.per_turn for b in device.buffers if b.per_turn] == [19, 19]  # two numbers in each turn


# ---- loops of steps


def test_short_loops_of_steps_are_written_out_and_others_are_not(monkeypatch):
    """The same either way."""
    xs = np.ones((9, 2))
    f = lambda a: recurrent(MATRIX, a, xs)
    wanted = graphad.jit(graphad.grad(f))(0.7)
    for most in (launches.MOST_WRITTEN_OUT, 0):
        monkeypatch.setattr(launches, "MOST_WRITTEN_OUT", most)
        compiled = graphad.jit(graphad.grad(lambda a: f(a + 0.0 * most)), device="cuda:emulated")
        for _ in range(3):
            alike(compiled(0.7), wanted, "float32")
        assert str(compiled.explain(0.7)).count("is written out") == (2 if most else 0)


def test_what_is_said_of_loops():
    xs = np.ones((9, 2))
    said = str(graphad.jit(lambda a: recurrent(MATRIX, a, xs), device="cuda:emulated").explain(0.7))
    assert "1 loop" in said.splitlines()[0]
    assert "loops.py:" in said
    assert "is written out, 9 launches in all." in said
    said = str(graphad.jit(lambda a: halves(MATRIX, a * MATRIX[0]), device="cuda:emulated").explain(0.7))
    assert "is run by the host, which reads the test back before each turn of " in said
    said = str(graphad.jit(large_branch, device="cuda:emulated").explain(MATRIX, 0.7))
    assert "The branch of steps of " in said
    assert "is chosen by the host, which reads the test back: " in said
    gradient = graphad.jit(graphad.grad(newton), device="cuda:emulated")
    assert "which reads the number of turns back and allocates what depends on it." in str(gradient.explain(2.0))
    assert "1 run-time size" in str(graphad.jit(graphad.grad(newton)).explain(2.0)).splitlines()[0]


def test_out_of_memory_names_the_line(monkeypatch):
    allocate = Allocator.allocate

    def limited(self, nbytes):
        if nbytes > 1 << 13:
            raise MemoryError("no more memory")
        return allocate(self, nbytes)

    f = lambda n, a: lax.fori_loop(0, n, lambda i, s: gnp.sin(s) * a, a)
    compiled = graphad.jit(graphad.grad(f, 1), device="cuda:emulated")
    compiled(3, 0.5)
    monkeypatch.setattr(Allocator, "allocate", limited)
    with pytest.raises(MemoryError, match=r"test_loops\.py:\d+\)*: 3000 turns: no more memory"):
        compiled(3000, 0.5)


def test_memory_of_counted_loops_is_given_back():
    compiled = graphad.jit(graphad.grad(newton), device="cuda:emulated")
    compiled(2.0)
    memory = executable.allocator(graphad.device.Device("cuda:emulated"))
    before = memory.use().in_use
    for _ in range(4):
        compiled(2.0)
    assert memory.use().in_use == before


def test_callbacks_and_prints_in_loops_of_steps_come_in_order():
    seen = []

    def f(a):
        def step(h, x):
            h = gnp.tanh(MATRIX @ h)
            graphad.experimental.io_callback(lambda v: seen.append(float(v)), None, x)
            graphad.debug.print("turn {}", x)
            return h, gnp.sum(h)

        return lax.scan(step, MATRIX[0] * a, gnp.arange(4.0))[1]

    with redirect_stdout(StringIO()) as out:
        got = graphad.jit(f, device="cuda:emulated")(0.7)
        np.asarray(got)
    assert seen == [0.0, 1.0, 2.0, 3.0]
    assert [line.split()[1] for line in out.getvalue().splitlines()] == ["0.0", "1.0", "2.0", "3.0"]


# ---- texts


def test_the_text_of_a_loop():
    text = format_device_program(schedule(for_device_of(collatz, (np.float64(27),))[0]))
    assert "    while " in text
    text = format_device_program(schedule(for_device_of(*steps("float64")["scan"])[0]))
    assert "  repeat turn0 in 5 reverse, win0 = " in text
    assert " <-> " in text
    assert "  with n = tmp" in format_device_program(schedule(for_device_of(*steps("float64")["run-time bound"])[0]))


def test_numba_source_of_loops():
    def source(kind, name):
        function, args = KINDS[kind]("float64")[name]
        run = graphad.jit(function)
        run(*args)
        (tree,) = run._trees.values()
        (path,) = tree.paths()
        return CrossCompiled(path.executable.graph, "loop", has_gemm=True).text("source")

    text = source("statements", "while")
    assert "    while " in text
    compile(text, "<source>", "exec")
    text = source("steps", "nested gradient")
    assert "    for turn1 in range(5):" in text
    assert "        for turn0 in range(2):" in text
    compile(text, "<source>", "exec")
    text = source("steps", "run-time bound")
    assert "* n, np.float64, stream=stream)" in text
    compile(text, "<source>", "exec")
