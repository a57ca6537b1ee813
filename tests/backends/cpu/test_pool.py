"""The pool of threads: each block once, whoever asks, and whatever else the process does."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from graphad.backends.cpu.pool import RUN_BLOCKS, make
from graphad.backends.cpu.pool.code import pool_text
from graphad.backends.cpu.pool.system import System
from graphad.backends.llvm import library
from graphad.config import config
from tests.backends.cpu.pool_harness import BLOCK, LONG, Harness, harness
from tests.backends.loading import load
from tests.threads import side_by_side

pytestmark = pytest.mark.skipif(not make.AVAILABLE, reason="there is no pool on this system")

KINDS = ["own", "pthread"]


@pytest.fixture(params=KINDS)
def h(request):
    found = harness(request.param)
    found.pool.set_threads(2)
    found.pool.set_break_evens(0, 0)
    return found


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_each_block_once(h, threads):
    h.pool.set_threads(threads)
    for count in (0, 1, 2, 7, 1000, 0xFFFF, 0x10000, 200_000):
        words = np.zeros(count + 1, np.int64)
        h.run("mark", words, count)
        assert (words[:count] == 1).all()
        assert words[count] == 0
    assert h.pool.state.workers >= threads - 1


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("launches", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_launches(h, threads, launches):
    h.pool.set_threads(threads)
    assert h.repeat(np.zeros(5, np.int64), launches) == 0


def test_many_threads_of_python_at_once(h):
    """One has the pool, the others compute alone."""
    h.pool.set_threads(3)

    def work(k):
        assert h.repeat(np.zeros(3 + k, np.int64), 3_000) == 0

    side_by_side(work, 8)


def test_blocks_that_run_blocks(h):
    words = np.zeros(8 * 50, np.int64)
    for _ in range(20):
        h.run("nested", words, 50)
    assert (words == 20).all()


def meet(h, threads):
    """What each of so many threads says that it is, in a job of which each must have a block."""
    barrier, seen = threading.Barrier(threads), []

    @BLOCK
    def block(_, number):
        barrier.wait(60)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        seen.append((threading.get_native_id(), blocked, number))

    h.run(block, None, threads)
    return seen


def test_threads_work_at_one_time_and_workers_handle_no_signals(h):
    h.pool.set_threads(4)
    seen = meet(h, 4)
    assert sorted(number for *_, number in seen) == [0, 1, 2, 3]
    assert len({thread for thread, *_ in seen}) == 4
    for thread, blocked, number in seen:
        mine = thread == threading.get_native_id()
        assert mine == (number == 0), "the caller begins with the first block"
        assert mine or blocked >= {signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1}


def test_fewer_threads(h):
    """Workers that are too many sleep."""
    h.pool.set_threads(4)
    meet(h, 4)
    h.pool.set_threads(2)
    workers = {thread for _ in range(20) for thread, *_ in meet(h, 2)} - {threading.get_native_id()}
    assert len(workers) == 1
    word = h.pool.state.word.value
    h.pool.set_threads(1)
    h.run("mark", np.zeros(9, np.int64), 9)
    assert h.pool.state.word.value == word


def test_short_jobs_are_the_callers_alone(h):
    h = Harness(system=h.pool.system)  # none of its workers was woken and has not seen it yet
    h.run("spin", np.zeros(9, np.int64), 9)
    h.pool.set_break_evens(10_000, 50_000)
    state, words = h.pool.state, np.zeros(9, np.int64)

    def shared(nanoseconds):
        before = state.word.value
        h.run("mark", words, 9, nanoseconds)
        return state.word.value != before

    h.wait_until_asleep()
    assert not shared(9_999)
    assert not shared(49_999)
    state.workers += 1  # as if there were one that looked for a job
    assert not shared(9_999)
    assert shared(10_000)
    state.workers -= 1
    h.wait_until_asleep()
    assert shared(50_000)
    assert (words == 5).all()


def test_longer_jobs_have_more_workers(h):
    h.pool.set_threads(4)
    h.pool.set_break_evens(50_000, 50_000)
    for nanoseconds, helpers in ((50_000, 1), (149_999, 2), (150_000, 3), (LONG, 3)):
        h.run("mark", np.zeros(9, np.int64), 9, nanoseconds)
        assert h.pool.state.helpers == helpers


def test_where_there_are_no_threads():
    seen = []
    block = BLOCK(lambda _, number: seen.append(number))
    code = make._run_alone()
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(code.address)
    run(ctypes.cast(block, ctypes.c_void_p), None, 5, 1 << 40)
    assert seen == [0, 1, 2, 3, 4]


def test_no_thread_to_be_had(h):
    """Alone where the system gives no thread."""
    other = Harness(system=h.pool.system)
    other.pool.state.process = os.getpid()
    other.pool.state.refused = 1
    words = np.zeros(9, np.int64)
    other.run("mark", words, 9)
    assert (words == 1).all()
    assert (other.pool.state.workers, other.pool.state.word.value) == (0, 0)


SYSTEMS = [
    System(futex, affinity, wiped, mode, clock=1, set_mask=2)
    for futex, affinity in [(98, True), (None, False)]
    for wiped in (True, False)
    for mode in ("mxcsr", "fpcr", None)
]


@pytest.mark.parametrize("system", SYSTEMS, ids=str)
def test_the_text_for_every_system_is_valid(system):
    module = library.binding().parse_assembly(pool_text(system))
    module.verify()
    missing = {f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")}
    assert missing == set(system.functions)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="this register is of x86")
def test_workers_round_as_the_caller_does(h):
    """Denormals as well: what MXCSR says, but for the flags of what was done before."""
    text = """
    declare void @llvm.x86.sse.stmxcsr(ptr)
    declare void @llvm.x86.sse.ldmxcsr(ptr)
    declare void @ga_run_blocks(ptr, ptr, i64, i64)
    declare void @spin(ptr, i64)
    define void @look(ptr %words, i64 %block) {
      call void @spin(ptr %words, i64 %block)
      %place = getelementptr i64, ptr %words, i64 %block
      call void @llvm.x86.sse.stmxcsr(ptr %place)
      ret void
    }
    define void @with_mode(ptr %words, i64 %count, i64 %mode) {
      %own = alloca i32
      %other = alloca i64
      store i64 %mode, ptr %other
      call void @llvm.x86.sse.stmxcsr(ptr %own)
      call void @llvm.x86.sse.ldmxcsr(ptr %other)
      call void @ga_run_blocks(ptr @look, ptr %words, i64 %count, i64 1099511627776)
      call void @llvm.x86.sse.ldmxcsr(ptr %own)
      ret void
    }
    """
    imports = {"ga_run_blocks": h.pool.address, "spin": h._code.addresses["spin"]}
    code = load(text, "with_mode", imports=imports)
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(code.address)
    for mode in (0x1F80, 0x9FC0, 0x7F80):  # ordinary; no denormals; toward zero
        helped = 0
        for _ in range(200):
            words = np.zeros(40, np.int64)
            run(words.ctypes.data, len(words), mode | 0x20)  # a flag: something was inexact
            assert {w & 0xFFC0 for w in words.tolist()} == {mode}
            helped += h.pool.state.done.value
            if helped:
                break
        assert helped, "no worker took part"


class Rung(Exception):
    pass


def test_a_signal_is_handled_when_the_job_is_done(h):
    def ring(signum, frame):
        raise Rung

    before = signal.signal(signal.SIGALRM, ring)
    words = np.zeros(10_000, np.int64)
    try:
        with pytest.raises(Rung):  # noqa: PT012 - the handler runs as soon as Python does
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            h.run("spin", words, len(words))
            signal.pause()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (words == 1).all()
    h.run("spin", words, 20)
    assert (words[:20] == 2).all()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="threads are not kept off CPUs here")
def test_a_worker_leaves_the_callers_cpu():
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("there is one CPU")
    h = harness("own")
    h.pool.set_threads(2)
    found = []

    def work():
        os.sched_setaffinity(0, {allowed[0]})
        me = threading.get_native_id()
        for _ in range(2):
            (worker,) = {thread for thread, *_ in meet(h, 2)} - {me}
            os.sched_setaffinity(worker, {allowed[0]})
            (worker,) = {thread for thread, *_ in meet(h, 2)} - {me}
            found.append(os.sched_getaffinity(worker))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [set(allowed[1:])] * 2


FORK = """
import ctypes, os, sys, warnings
import numpy as np
from tests.backends.cpu.pool_harness import harness
warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of forks in a process with threads
h = harness(sys.argv[1])
state = h.pool.state
def work():
    assert h.repeat(np.zeros(20, np.int64), 2_000) == 0
    assert state.workers == 1
work()
for fork in (os.fork, ctypes.CDLL(None).fork):
    child = fork()
    if child == 0:
        if sys.argv[1] == "own":
            assert state.workers == state.word.value == 0
        work()
        os._exit(0)
    work()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
import threading
stop = []
thread = threading.Thread(target=lambda: [work() for _ in iter(lambda: bool(stop), True)])
thread.start()
for _ in range(20):  # while the pool is busy
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.append(1)
thread.join()
h.run("mark", np.zeros(9, np.int64), 9)  # the process ends while the worker looks for a job
print("end")
"""


def in_new_process(code, *arguments, **environment):
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.split()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("kind", KINDS)
def test_forks_and_the_end_of_the_process(kind):
    assert in_new_process(FORK, kind) == ["end"]


UNUSED = """
import sys, numpy as np, graphad
f = graphad.jit(lambda x: x + 1)
f(np.ones(3))
assert not [name for name in sys.modules if "cpu.pool." in name]
from graphad.backends.cpu.pool import RUN_BLOCKS, make
make.address()
pool = make._loaded[RUN_BLOCKS]
assert pool.state.workers == 0
print(pool.settings.threads)
"""


def test_the_pool_of_the_process_starts_no_thread_before_it_must():
    assert in_new_process(UNUSED, GRAPHAD_NUM_THREADS="3") == ["3"]


def test_the_number_of_threads_is_a_setting():
    make.address()
    settings = make._loaded[RUN_BLOCKS].settings
    default = settings.threads
    assert default == (config.num_threads or make.available_threads())
    with config.override(num_threads=5):
        assert settings.threads == 5
        with config.override(num_threads=None):
            assert settings.threads == make.available_threads()
        assert settings.threads == 5
    assert settings.threads == default
    before = config.num_threads
    config.update("num_threads", 2)
    assert settings.threads == 2
    config.update("num_threads", before)
    assert settings.threads == default
