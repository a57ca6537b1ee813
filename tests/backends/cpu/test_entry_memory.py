"""Large results and temporaries: blocks of memory that are kept when they are freed."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name

import graphad
from graphad.backends.cpu.entry import make, memory
from graphad.config import config
from tests.backends.cpu.entry_harness import F64, program
from tests.threads import side_by_side

pytestmark = pytest.mark.skipif(not memory.AVAILABLE, reason="there is no store on this system")

MIB = 1 << 20
SHAPE = (MIB // 4,)  # of float64: two MiB
X = np.arange(SHAPE[0], dtype=np.float64)


@pytest.fixture
def store():
    """The store of the process, empty before and after."""
    found, _ = make._store()
    give_back(found)
    yield found
    give_back(found)


def give_back(store):
    """Keep nothing: a block that comes in pushes the others out, and is itself taken and freed."""
    size = store.limit
    if size:
        f = functions()
        f["give"](ctypes.addressof(store), f["take"](ctypes.addressof(store), size), size)
        block = f["take"](ctypes.addressof(store), size)
        ctypes.CDLL(None).free(ctypes.c_void_p(block))
    assert store.count == store.kept == 0


def functions():
    address = make._entry().addresses
    word, pointer = ctypes.c_int64, ctypes.c_void_p
    types = {"take": (pointer, pointer, word), "zeroed": (pointer, pointer, word, word)}
    types |= {"resized": (pointer, pointer, pointer, word), "give": (None, pointer, pointer, word)}
    return {name: ctypes.PYFUNCTYPE(*t)(address[f"graphad_{name}"]) for name, t in types.items()}


def test_a_result_that_was_dropped_is_the_memory_of_the_next(store):
    f = make.make_entry(program(F64, SHAPE))
    y = f(X)
    assert get_handler_name(y) == "graphad"
    assert get_handler_name(np.empty(SHAPE)) == "default_allocator"
    first = y.ctypes.data
    assert first % (2 * MIB) == 0
    z = f(X)  # while the first is held
    assert z.ctypes.data != first
    assert (y == X).all()
    del y
    assert (store.count, store.kept) == (1, 2 * MIB)
    assert f(X).ctypes.data == first
    assert (z == X).all()


def test_small_results_are_numpys(store):
    assert get_handler_name(make.make_entry(program(F64, (100,)))(X[:100])) == "default_allocator"
    assert store.count == 0


def test_a_result_belongs_to_nobody_else(store):
    """It may be resized, and outlives the program and whoever made it."""
    f = make.make_entry(program(F64, SHAPE))
    y = f(X)
    y.resize((3 * SHAPE[0],), refcheck=False)
    assert (y[: SHAPE[0]] == X).all()
    del f
    y.resize((5,), refcheck=False)
    assert y.tolist() == [0, 1, 2, 3, 4]
    del y
    assert store.kept % (2 * MIB) == 0
    assert np.asarray(graphad.jit(lambda x: x + 1)(X))[-1] == SHAPE[0]


@pytest.mark.parametrize("kept", [1, 5 * MIB, 64 * MIB])
def test_no_more_is_kept_than_the_setting_says(store, kept):
    with config.override(kept_bytes=kept):
        f = make.make_entry(program(F64, SHAPE))
        ys = [f(X) for _ in range(40)]
        ys.clear()
        assert store.kept == min(kept // (2 * MIB), 40) * 2 * MIB
        assert all([(f(X) == X).all() for _ in range(5)])
    make.make_entry(program(F64, SHAPE))  # the setting is that of the program made last
    assert store.limit == config.kept_bytes


def test_any_order_of_requests(store):
    """A block is never handed out twice, holds what was asked for, and no more is kept than allowed."""
    f, at = functions(), ctypes.addressof(store)
    store.limit = 40 * MIB
    held: dict[int, tuple[int, int]] = {}
    choose = random.Random(0)
    for turn in range(3_000):
        if held and choose.random() < 0.5:
            block = choose.choice([*held])
            size, mark = held.pop(block)
            for place in (block, block + size - 1):
                assert ctypes.c_uint8.from_address(place).value == mark
            f["give"](at, block, size)
        elif len(held) < 30:
            size = choose.randrange(1, 24) * MIB + choose.choice([-1, 0, 1])
            block = f["take"](at, size)
            assert block % (2 * MIB) == 0
            assert all([block + size <= b or b + s <= block for b, (s, _) in held.items()])
            mark = turn % 251
            held[block] = size, mark
            for place in (block, block + size - 1):
                ctypes.c_uint8.from_address(place).value = mark
        assert store.kept == sum([store.places[k].size for k in range(store.count)]) <= store.limit
    for block, (size, _) in held.items():
        f["give"](at, block, size)
    block = f["zeroed"](at, 3, MIB)
    assert not any(ctypes.string_at(block, 3 * MIB))
    f["give"](at, block, 3 * MIB)
    assert f["zeroed"](at, 1 << 40, 1 << 40) is None
    store.busy = 1  # somebody else is at the table
    count = store.count
    f["give"](at, f["take"](at, MIB), MIB)
    store.busy = 0
    assert store.count == count
    store.limit = config.kept_bytes


def test_more_blocks_than_places(store):
    f, at = functions(), ctypes.addressof(store)
    store.limit = 1 << 40
    blocks = [f["take"](at, 1) for _ in range(len(store.places) + 3)]
    for block in blocks:
        f["give"](at, block, 1)
    assert store.count == len(store.places)
    assert [store.places[k].block for k in range(store.count)] == blocks[3:]
    store.limit = config.kept_bytes


def test_large_temporaries_are_shared_by_programs_and_not_by_threads(store):
    programs = [make.make_entry(program(F64, SHAPE, arena_bytes=8 * MIB)) for _ in range(3)]
    for f in programs:
        assert (f(X) == X).all()
    assert store.kept == (8 + 2) * MIB

    def work(k):
        for _ in range(20):
            assert (programs[k % 3](X + k) == X + k).all()

    side_by_side(work, 4)


def test_no_memory(store):
    with config.override(kept_bytes=1 << 61):
        f = make.make_entry(program(F64, SHAPE, arena_bytes=1 << 60))
    with pytest.raises(MemoryError):
        f(X)
    make.make_entry(program(F64, SHAPE))


END = """
import os, warnings, numpy as np, graphad
warnings.simplefilter("ignore", DeprecationWarning)  # of forks in a process with threads
f = graphad.jit(lambda x: x * 2)
x = np.ones(1 << 18)
held = f(x)
if os.fork() == 0:
    again = [f(x) for _ in range(3)]
    assert all(float(y[-1]) == 2 for y in again)
    del again
else:
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
class Late:
    def __init__(self, y): self.y = y
    def __del__(self): assert self.y[0] == 2
graphad.held, np.late = held, Late(f(x)._value)
print("end")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_forks_and_the_end_of_the_process():
    run = subprocess.run([sys.executable, "-c", END], capture_output=True, text=True, check=False, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.split() == ["end", "end"]
