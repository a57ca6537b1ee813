"""Entries and memory: references, leaks, cycles, threads, and the end of the process."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import tracemalloc
import weakref

import numpy as np
import pytest

from graphad.backends.boxes import Input, Output
from graphad.backends.cpu.entry import make as entry
from graphad.backends.cpu.entry.make import Program, make_entry
from tests.backends.cpu.entry_harness import BOX, F32, F64, I64, Boxed, Slow, both, program, raise_it, refuse
from tests.backends.loading import load
from tests.threads import side_by_side


def counts(objects):
    return [sys.getrefcount(x) for x in objects]


@both
def test_reference_counts_are_as_before(make):
    marks = (["mark of inputs"], ["mark of outputs"])
    f = make(
        program(
            inputs=2,
            given_inputs=(Input(F32, (3,), mark=marks[0]),) * 2,
            given_outputs=(Output(F32, (3,), mark=marks[1]),),
            box=BOX,
        )
    )
    x, y = Boxed(np.ones(3, np.float32), marks[0]), np.ones(3, np.float32)
    watched = [f, x, x.array, y, *marks, F32, Boxed, refuse, np.ndarray]
    kept = f(x, y)
    gc.collect()  # what other tests have left behind holds dtypes too
    before = counts(watched)
    for _ in range(300):
        f(x, y)
        with pytest.raises(Slow):
            f(x)
        with pytest.raises(Slow):
            f(x, 1.0)
    gc.collect()
    assert counts(watched) == before
    assert kept.mark is marks[1]


@both
@pytest.mark.parametrize("way", ["result", "guard", "wrap error", "fallback"])
def test_nothing_leaks(make, way):
    shape = (1000,)
    options = {
        "result": {},
        "guard": {"status": 1, "on_guard": lambda status, outputs, x: None},
        "wrap error": {"given_outputs": (Output(F32, shape, wrap=raise_it),)},
        "fallback": {"fallback": lambda x: None},
    }[way]
    f = make(program(shape=shape, **options))
    x = np.ones(shape, np.float64 if way == "fallback" else np.float32)

    def work(times):
        for _ in range(times):
            with contextlib.suppress(KeyError):
                f(x)

    tracemalloc.start()
    try:
        work(50)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        work(500)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000  # one array an iteration would be 2,000,000
    finally:
        tracemalloc.stop()


@both
def test_an_entry_in_a_cycle_with_its_fallback_is_collected(make):
    class Owner:
        def fall_back(self, *args):
            return "slow"

    owner = Owner()
    owner.f = make(program(fallback=owner.fall_back))
    gone = weakref.ref(owner)
    assert owner.f(1) == "slow"
    del owner
    gc.collect()
    assert gone() is None


@both
def test_the_executable_lives_as_long_as_the_entry(make):
    f = make(program())
    gc.collect()
    assert (f(np.ones(3, np.float32)) == 1).all()


@both
def test_threads_share_an_entry(make):
    size = 20_000
    f = make(program(F64, (size,), arena_bytes=4096))
    problems = []

    def work(number):
        for turn in range(40):
            x = np.full(size, number * 1000.0 + turn)
            if not (f(x) == x).all():
                problems.append((number, turn))

    side_by_side(work)
    assert problems == []


WAIT = """
define i64 @wait(ptr %T) {
entry:
  %in = load ptr, ptr %T
  %go = getelementptr ptr, ptr %T, i64 1
  %out = load ptr, ptr %go
  %ga = getelementptr ptr, ptr %T, i64 2
  %arena = load ptr, ptr %ga
  %address = ptrtoint ptr %arena to i64
  store i64 %address, ptr %out
  br label %spin
spin:
  %x = load volatile i64, ptr %in
  %go_on = icmp eq i64 %x, 0
  br i1 %go_on, label %spin, label %end
end:
  ret i64 0
}
"""


def test_the_gil_is_released_and_arenas_are_not_shared():
    loaded = load(WAIT, "wait")
    f = make_entry(
        Program("wait", loaded.address, (Input(I64, ()),), (Output(I64, ()),), refuse, arena_bytes=100, keep=(loaded,))
    )
    released, addresses = np.zeros((), np.int64), []
    thread = threading.Thread(target=lambda: addresses.append(int(f(released))))
    thread.start()
    addresses.append(int(f(np.ones((), np.int64))))  # runs while the other spins, or before it starts
    for _ in range(1000):
        if not thread.is_alive():
            break
        addresses.append(int(f(np.ones((), np.int64))))
    released[()] = 1
    thread.join(timeout=10)
    assert not thread.is_alive()
    assert all(address % entry.ARENA_ALIGNMENT == 0 for address in addresses)
    assert len(set(addresses)) > 1  # the one that was busy had an arena of its own
    again = {int(f(np.ones((), np.int64))) for _ in range(5)}
    assert len(again) == 1  # given back, and taken again


def test_an_array_that_another_thread_lets_go_lives_until_the_call_ends():
    loaded = load(WAIT, "wait")
    f = make_entry(
        Program(
            "wait", loaded.address, (Input(I64, (), mark=False),), (Output(I64, ()),), refuse, box=BOX, keep=(loaded,)
        )
    )
    box = Boxed(np.zeros((), np.int64))
    alive = weakref.ref(box.array)
    thread = threading.Thread(target=f, args=(box,))
    thread.start()
    while sys.getrefcount(box.array) == 2:
        pass
    box.array = None
    gc.collect()
    array = alive()
    assert array is not None
    array[()] = 1
    thread.join(timeout=10)
    assert not thread.is_alive()
    del array
    assert alive() is None


def test_processes_end_cleanly_with_entries_alive():
    code = (
        "from tests.backends.cpu.entry_harness import *; import builtins; "
        "builtins.kept = make_entry(program()); kept(np.ones(3, np.float32))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
