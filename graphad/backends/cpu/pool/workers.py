"""Workers, in LLVM text: threads that look for jobs, and sleep where there are none."""

from __future__ import annotations

from typing import Final

from graphad.backends.cpu.pool.job import LAST, PATIENCE
from graphad.backends.cpu.pool.state import State, place

_STACK: Final = 8 << 20


def workers_text(set_mask: int) -> str:
    """Their code, and ``need``, which starts those that are missing, and says how many there are.

    It is called while the pool is taken. ``set_mask`` is SIG_SETMASK.
    """
    return _WORKERS + _START.replace("SET_MASK", str(set_mask))


# `await` gives the number of a job that is not the last one.
_WORKERS: Final = f"""
define internal i64 @await(i64 %last, i64 %patience, i64 %index) nounwind {{
entry:
  %begin = call i64 @clock()
  br label %look
look:
  %job = call i64 @job()
  %new = icmp ne i64 %job, %last
  br i1 %new, label %end, label %wait
wait:
  call void @pause()
  %now = call i64 @clock()
  %spent = sub i64 %now, %begin
  %long = icmp sge i64 %spent, %patience
  br i1 %long, label %rest, label %look
rest:
  %before = atomicrmw add ptr {place(State, "sleepers")}, i64 1 seq_cst
  call void @sleep(i64 %last, i64 %index)
  %after = atomicrmw sub ptr {place(State, "sleepers")}, i64 1 seq_cst
  br label %look
end:
  ret i64 %job
}}

define internal ptr @worker(ptr %argument) nounwind {{
entry:
  %index = ptrtoint ptr %argument to i64
  call void @leave_cpu()
  br label %idle
idle:
  %last = phi i64 [ -1, %entry ], [ %job, %idle ], [ %job, %try ], [ %job, %take ]
  %patience = phi i64 [ 0, %entry ], [ 0, %idle ], [ {PATIENCE}, %try ], [ {PATIENCE}, %take ]
  %job = call i64 @await(i64 %last, i64 %patience, i64 %index)
  %helpers = load atomic i64, ptr {place(State, "helpers")} monotonic, align 8
  %wanted = icmp ult i64 %index, %helpers
  br i1 %wanted, label %try, label %idle
try:
  call void @keep_away()
  %unit = call i64 @claim(i64 %job, i64 {LAST})
  %none = icmp slt i64 %unit, 0
  br i1 %none, label %idle, label %take
take:
  call void @take_mode()
  %number = call i64 @work(i64 %job, i64 {LAST}, i64 %unit)
  %before = atomicrmw add ptr {place(State, "done")}, i64 %number acq_rel
  br label %idle
}}
"""

_START: Final = f"""
define internal void @start(i64 %helpers) nounwind {{
entry:
  %thread = alloca ptr
  %attributes = alloca [128 x i8], align 16
  %every = alloca [128 x i8], align 16
  %signals = alloca [128 x i8], align 16
  call void @llvm.memset.p0.i64(ptr %every, i8 -1, i64 128, i1 false)
  %set = call i32 @pthread_attr_init(ptr %attributes)
  %sized = call i32 @pthread_attr_setstacksize(ptr %attributes, i64 {_STACK})
  %masked = call i32 @pthread_sigmask(i32 SET_MASK, ptr %every, ptr %signals)
  call void @note_cpu()
  %present = load i64, ptr {place(State, "workers")}
  %first = icmp eq i64 %present, 0
  br i1 %first, label %prepare, label %test
prepare:
  call void @prepare_sleep()
  br label %test
test:
  %index = load i64, ptr {place(State, "workers")}
  %more = icmp ult i64 %index, %helpers
  br i1 %more, label %make, label %end
make:
  %argument = inttoptr i64 %index to ptr
  %status = call i32 @pthread_create(ptr %thread, ptr %attributes, ptr @worker, ptr %argument)
  %failed = icmp ne i32 %status, 0
  br i1 %failed, label %refuse, label %made
made:
  %handle = load ptr, ptr %thread
  %left = call i32 @pthread_detach(ptr %handle)
  %number = add i64 %index, 1
  store i64 %number, ptr {place(State, "workers")}
  br label %test
refuse:
  store i64 1, ptr {place(State, "refused")}
  br label %end
end:
  %unmasked = call i32 @pthread_sigmask(i32 SET_MASK, ptr %signals, ptr null)
  %gone = call i32 @pthread_attr_destroy(ptr %attributes)
  ret void
}}

define internal i64 @need(i64 %wanted) nounwind {{
entry:
  %present = load i64, ptr {place(State, "workers")}
  %refused = load i64, ptr {place(State, "refused")}
  %fewer = icmp slt i64 %present, %wanted
  %can = icmp eq i64 %refused, 0
  %go = and i1 %fewer, %can
  br i1 %go, label %make, label %end
make:
  call void @start(i64 %wanted)
  br label %end
end:
  %there = load i64, ptr {place(State, "workers")}
  ret i64 %there
}}
"""
