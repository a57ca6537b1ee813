"""How many threads SciPy's OpenBLAS has while programs run, and after."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
from graphad_kernels.cpu import library

import graphad
from graphad.api.stages import compiled
from graphad.backends.cpu.emit import emit
from graphad.backends.loops.ir import Gemm, GuardStep, KernelProgram, Matrix, RoutineCall
from graphad.backends.routines import threads
from graphad.config import config
from graphad.ir.types import b1, f32, i32
from tests.backends.loading import load
from tests.backends.loop_harness import buffers, lit, program, run_llvm
from tests.threads import side_by_side

SWITCH = library.thread_switch()
switched = pytest.mark.skipif(SWITCH is None, reason="this BLAS has no threads of its own")


class Calls:
    """Two routines that stand in for the library's, and what they were asked for.

    ``meanwhile``, once, is what another thread does while the library is asked or told.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.set: list[int] = []
        self.meanwhile = lambda: None
        self.depth = self.deepest = 0
        get, put = ctypes.CFUNCTYPE(ctypes.c_int), ctypes.CFUNCTYPE(None, ctypes.c_int)
        self.routines = get(self.get), put(self.put)

    def get(self) -> int:
        self.other_thread()
        return self.number

    def put(self, number: int) -> None:
        self.other_thread()
        self.set.append(number)
        self.number = number

    def other_thread(self) -> None:
        act, self.meanwhile = self.meanwhile, lambda: None
        self.depth += 1
        self.deepest = max(self.depth, self.deepest)
        act()
        self.depth -= 1

    @property
    def switch(self) -> tuple[int, ...]:
        return tuple(ctypes.cast(routine, ctypes.c_void_p).value for routine in self.routines)


@pytest.fixture
def four(monkeypatch):
    """A library with four threads, for as long as a test runs."""
    calls = Calls(4)
    monkeypatch.setattr(library, "thread_switch", lambda: calls.switch)
    monkeypatch.setattr(threads, "in_children", lambda function: None)
    monkeypatch.setattr(threads, "_loaded", {})
    return calls


def routine(name: str):
    return ctypes.CFUNCTYPE(None)(threads.address(name))


def test_the_first_takes_and_the_last_gives_back(four):
    one, own = routine(threads.ONE_THREAD), routine(threads.OWN_THREADS)
    one()
    one()
    own()
    assert four.set == [1]
    one()
    own()
    own()
    assert four.set == [1, 4]
    four.number = 3
    one()
    own()
    assert four.set == [1, 4, 1, 3], "the number is asked for each time"


def test_a_number_set_meanwhile_stays(four):
    one, own = routine(threads.ONE_THREAD), routine(threads.OWN_THREADS)
    one()
    four.number = 2
    own()
    assert four.set == [1]
    one()
    own()
    assert four.set == [1, 1, 2]


def test_a_user_who_has_one_thread_keeps_it(four):
    four.number = 1
    routine(threads.ONE_THREAD)()
    routine(threads.OWN_THREADS)()
    assert four.set == []


def test_who_comes_while_another_is_at_the_library_is_counted_only(four):
    one, own = routine(threads.ONE_THREAD), routine(threads.OWN_THREADS)
    four.meanwhile = one
    one()
    assert four.set == [1]
    own()
    assert four.set == [1], "the other still runs"
    four.meanwhile = one
    own()
    assert four.set == [1, 4, 1], "the one that came is seen to by the one that went"
    four.meanwhile = lambda: (one(), own())
    own()
    assert four.set == [1, 4, 1, 4]
    four.meanwhile = own
    one()
    assert four.set == [1, 4, 1, 4, 1, 4], "the last may go while the first is coming"
    assert four.deepest == 1


def test_without_a_switch_nothing_is_done(four, monkeypatch):
    monkeypatch.setattr(library, "thread_switch", lambda: None)
    routine(threads.ONE_THREAD)()
    routine(threads.OWN_THREADS)()
    assert four.set == []


PAIRS = f"""
declare void @{threads.ONE_THREAD}()
declare void @{threads.OWN_THREADS}()
define i64 @pairs(ptr %T) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  call void @{threads.ONE_THREAD}()
  call void @{threads.OWN_THREADS}()
  %j = add i64 %i, 1
  %more = icmp ult i64 %j, 1000000
  br i1 %more, label %loop, label %end
end:
  ret i64 0
}}
"""


@switched
def test_many_threads_leave_the_number_as_it_was():
    imports = {name: threads.address(name) for name in (threads.ONE_THREAD, threads.OWN_THREADS)}
    loaded = load(PAIRS, "pairs", imports=imports)
    pairs = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(loaded.address)
    one, own = routine(threads.ONE_THREAD), routine(threads.OWN_THREADS)
    get, put = ctypes.CFUNCTYPE(ctypes.c_int)(SWITCH[0]), ctypes.CFUNCTYPE(None, ctypes.c_int)(SWITCH[1])
    before = get()
    try:
        put(2)
        side_by_side(lambda number: pairs(None))
        assert get() == 2
        one()
        assert get() == 1
        own()
        assert get() == 2
    finally:
        put(before)


IN_A_CHILD = """
import ctypes, os
from graphad_kernels.cpu import library
from graphad.backends.routines import threads

get, put = (f(a) for f, a in zip((ctypes.CFUNCTYPE(ctypes.c_int), ctypes.CFUNCTYPE(None, ctypes.c_int)),
                                 library.thread_switch()))
one, own = (ctypes.CFUNCTYPE(None)(threads.address(name)) for name in (threads.ONE_THREAD, threads.OWN_THREADS))
put(2)
one()
child = os.fork()
if child == 0:
    first = get()
    one()
    during = get()
    own()
    os._exit(0 if (first, during, get()) == (2, 1, 2) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert get() == 1
own()
assert get() == 2
"""


@switched
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_the_child_of_a_fork_has_the_users_number():
    """The program that was at its products when the process was forked does not run in the child.

    In a process of its own, for other libraries complain where a process with threads forks.
    """
    done = subprocess.run([sys.executable, "-c", IN_A_CHILD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- in programs


def square(size: int, batch: int = 1) -> Gemm:
    x, y, z = (Matrix(name, 0, size) for name in "xyz")
    return Gemm(f32, size, size, size, x, y, z, batch, *[size * size if batch > 1 else 0] * 3)


def vector(size: int) -> Gemm:
    return Gemm(f32, size, 1, size, Matrix("x", 0, size), Matrix("y", 0, 1), Matrix("z", 0, 1))


def factorization(size: int, batch: int = 1) -> RoutineCall:
    return RoutineCall("cholesky", f32, ("x",), ("z", "info"), (batch, size, 0))


SORT = RoutineCall("argsort", f32, ("x",), ("info", "y", "info"), (1, 50_000))
SMALL, MIDDLE, LARGE = square(64), square(128), square(1024)
GO = GuardStep(0, "go", lit(True, b1))


def with_steps(*steps: Gemm | RoutineCall | GuardStep) -> KernelProgram:
    products = [s for s in steps if isinstance(s, Gemm)]
    size = max([g.batch * g.m * max(g.n, g.k) for g in products], default=1)
    own = {"z": (f32, size), "info": (i32, 1), "go": (b1, 1)}
    return program(buffers("input", x=(f32, size), y=(f32, size)), buffers("output", **own), *steps)


def calls(*steps: Gemm | RoutineCall | GuardStep, **options: bool) -> str:
    """A word for each call of a program, in order: ``1`` and ``*`` for one thread and the library's own."""
    text = emit(with_steps(*steps), lanes_bytes=64, **options).text
    words = {threads.ONE_THREAD: "1", threads.OWN_THREADS: "*", "sgemm": "gemm", "sgemv": "gemv"}
    words |= {"gk_cholesky_f32": "potrf", "gk_argsort_f32": "sort"}
    called = [line.split("%")[1].split("(")[0] for line in text.splitlines() if "call void %" in line]
    return " ".join([words[name] for name in called])


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((SMALL, SMALL), "gemm gemm"),
        ((MIDDLE,), "1 gemm *"),
        ((MIDDLE, SMALL, MIDDLE, SMALL), "1 gemm gemm gemm * gemm"),
        ((SMALL, MIDDLE), "gemm 1 gemm *"),
        ((LARGE,), "gemm"),
        ((MIDDLE, LARGE, MIDDLE), "1 gemm * gemm 1 gemm *"),
        ((MIDDLE, GO, MIDDLE), "1 gemm * gemm *"),
        ((MIDDLE, GO), "1 gemm *"),
        ((square(64, batch=9),), "gemm"),
        ((square(128, batch=9), vector(50)), "1 gemm * gemv"),
        ((vector(90),), "gemv"),
        ((vector(100),), "1 gemv *"),
        ((square(128, batch=0),), ""),
        ((factorization(20), factorization(20, batch=99)), "potrf potrf"),
        ((factorization(200), SORT, factorization(20), MIDDLE), "1 potrf sort potrf gemm *"),
        ((MIDDLE, factorization(2000), factorization(200)), "1 gemm * potrf 1 potrf *"),
        ((factorization(200, batch=0),), "potrf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_programs_ask_for_one_thread_where_it_matters(steps, expected):
    assert calls(*steps) == expected


def test_the_library_may_do_as_it_likes():
    assert calls(MIDDLE, LARGE, MIDDLE, one_blas_thread=False) == "gemm gemm gemm"


@pytest.mark.parametrize("go", [True, False])
def test_a_guard_that_fails_gives_the_threads_back(four, go):
    p = program(
        buffers("input", x=(f32, 128 * 128), y=(f32, 128 * 128), go=(b1, 1)),
        buffers("output", z=(f32, 128 * 128)),
        MIDDLE, SMALL, GO, MIDDLE,
    )  # fmt: skip
    x = np.ones(128 * 128, np.float32)
    status, _ = run_llvm(p, [x, x, np.array([go])])
    assert status == (0 if go else 1)
    assert four.set == [1, 4]


def test_the_setting_is_part_of_what_is_compiled():
    a = np.ones((128, 128), np.float32)
    f = graphad.jit(lambda a: a @ a)
    expected = f(a)
    with config.override(one_blas_thread=False):
        np.testing.assert_array_equal(f(a), expected)
        assert threads.ONE_THREAD not in compiled(f.graph(a)).llvm
    assert threads.ONE_THREAD in compiled(f.graph(a)).llvm


@switched
def test_the_users_number_survives_a_call():
    get, put = ctypes.CFUNCTYPE(ctypes.c_int)(SWITCH[0]), ctypes.CFUNCTYPE(None, ctypes.c_int)(SWITCH[1])
    before, f, a = get(), graphad.jit(lambda a: a @ a), np.ones((128, 128), np.float32)
    try:
        for number in (2, 1, 2):
            put(number)
            f(a)
            assert get() == number
    finally:
        put(before)


@pytest.mark.skipif(sys.platform == "win32", reason="there a library gives its own functions only")
def test_the_switch_is_found_through_scipys_extension(monkeypatch):
    monkeypatch.setattr(library, "openblas", lambda: None)
    assert library.thread_switch() == SWITCH
