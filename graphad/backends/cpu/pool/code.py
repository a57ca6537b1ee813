"""Machine code of the pool: ``ga_run_blocks``, by which a program runs the blocks of a loop on several threads.

In C it would be ``void ga_run_blocks(void (*function)(void *context, int64_t block), void *context, int64_t count,
int64_t nanoseconds)``: it calls ``function`` once for each block from 0 to ``count - 1``, in any order, on the
caller's thread and on workers, and returns when all are done. ``nanoseconds`` estimates what one thread takes for all
of them. The caller runs the blocks alone, in order, where that is too short to gain (`Settings`), where a block makes
the call, and where another thread of the program is at the pool: nobody waits for the pool. A block must not fork the
process.

**A job** is a number, and the units of work that nobody has claimed yet, in one word. A unit is a block, or several
neighbours where there are more than 65,535. The caller claims the first free unit, a worker the last one, by
compare-and-swap on the whole word. So the caller is at the same memory in each job, and if there is one worker, so is
that; several workers share their end. What the units are is written before the word, and read after a claim: a worker
that comes late cannot take a unit of one job for that of another, and the caller waits only for units that were
claimed, never for a worker that has none.

**Workers** are started by the first job that is long enough, and more of them by longer ones: of a job that is k times
as long as one that just gains, k workers take part. They look for the next job for some time, then sleep. They leave
the CPU that the caller runs on, if there is another, round as the caller does, and handle no signals.
"""

from __future__ import annotations

from typing import Final

from graphad.backends.cpu.pool import RUN_BLOCKS
from graphad.backends.cpu.pool.job import EACH, JOB
from graphad.backends.cpu.pool.measure import MEASURE, MOST
from graphad.backends.cpu.pool.parts import parts
from graphad.backends.cpu.pool.state import Settings, State, place
from graphad.backends.cpu.pool.system import System
from graphad.backends.cpu.pool.workers import workers_text


def pool_text(system: System) -> str:
    """LLVM text of the pool."""
    state = "@pool_state = external global i8, align 128\n@pool_settings = external global i8, align 8\n"
    return "\n".join([state, parts(system), JOB, workers_text(system.set_mask), MEASURE, _RUN])


def run_alone_text() -> str:
    """LLVM text of ``ga_run_blocks`` for systems whose threads are not known."""
    return EACH + _RUN_ALONE


# `helpers` says, while the pool is taken, how many workers are to take part: one for each time that the job is as long
# as the break-even, for that is what a worker costs.
_RUN: Final = f"""
define void @{RUN_BLOCKS}(ptr %function, ptr %context, i64 %count, i64 %nanoseconds) nounwind {{
entry:
  %threads = load atomic i64, ptr {place(Settings, "threads")} monotonic, align 8
  %shortest = load atomic i64, ptr {place(Settings, "spinning")} monotonic, align 8
  %several = icmp sgt i64 %threads, 1
  %blocks = icmp sgt i64 %count, 1
  %long = icmp sge i64 %nanoseconds, %shortest
  %both = and i1 %several, %blocks
  %may = and i1 %both, %long
  br i1 %may, label %ask, label %alone
ask:
  %ours = call i1 @is_ours()
  br i1 %ours, label %try, label %alone
try:
  %tried = cmpxchg ptr {place(State, "taken")}, i64 0, i64 1 acquire monotonic
  %taken = extractvalue {{ i64, i1 }} %tried, 1
  br i1 %taken, label %choose, label %alone
choose:
  %most = sub i64 %threads, 1
  %helpers = call i64 @helpers(i64 %nanoseconds, i64 %most)
  %none = icmp eq i64 %helpers, 0
  br i1 %none, label %leave, label %share
share:
  call void @launch(ptr %function, ptr %context, i64 %count, i64 %helpers)
  store atomic i64 0, ptr {place(State, "taken")} release, align 8
  ret void
leave:
  store atomic i64 0, ptr {place(State, "taken")} release, align 8
  br label %alone
alone:
  call void @each(ptr %function, ptr %context, i64 0, i64 %count)
  ret void
}}

define internal i64 @helpers(i64 %nanoseconds, i64 %most) nounwind {{
entry:
  %known = load atomic i64, ptr {place(Settings, "measured")} monotonic, align 8
  %guessed = icmp eq i64 %known, 0
  %near = icmp slt i64 %nanoseconds, {MOST}
  %ask = and i1 %guessed, %near
  br i1 %ask, label %measure, label %choose
measure:
  call void @measure()
  br label %choose
choose:
  %present = load i64, ptr {place(State, "workers")}
  %sleepers = load atomic i64, ptr {place(State, "sleepers")} monotonic, align 8
  %awake = sub i64 %present, %sleepers
  %spinning = load atomic i64, ptr {place(Settings, "spinning")} monotonic, align 8
  %sleeping = load atomic i64, ptr {place(Settings, "sleeping")} monotonic, align 8
  %short = call i64 @llvm.smax.i64(i64 %spinning, i64 1)
  %long = call i64 @llvm.smax.i64(i64 %sleeping, i64 1)
  %gain_awake = sdiv i64 %nanoseconds, %short
  %gain_woken = sdiv i64 %nanoseconds, %long
  %of_awake = call i64 @llvm.smin.i64(i64 %awake, i64 %gain_awake)
  %gain = call i64 @llvm.smax.i64(i64 %of_awake, i64 %gain_woken)
  %wanted = call i64 @llvm.smin.i64(i64 %gain, i64 %most)
  %any = icmp sgt i64 %wanted, 0
  br i1 %any, label %need, label %none
need:
  %there = call i64 @need(i64 %wanted)
  %number = call i64 @llvm.smin.i64(i64 %there, i64 %wanted)
  ret i64 %number
none:
  ret i64 0
}}
"""

_RUN_ALONE: Final = f"""
define void @{RUN_BLOCKS}(ptr %function, ptr %context, i64 %count, i64 %nanoseconds) nounwind {{
  call void @each(ptr %function, ptr %context, i64 0, i64 %count)
  ret void
}}
"""
