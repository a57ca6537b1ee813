"""A job, its units of work, and the caller's side of it, in LLVM text: who claims a unit runs its blocks."""

from __future__ import annotations

from typing import Final

from graphad.backends.cpu.pool.state import State, place

#: Nanoseconds that callers look for the end of a job, and workers for the next one, before they let others run.
PATIENCE: Final = 20_000
#: What `claim` adds to the word of the job to take the first free unit, or the last one.
FIRST, LAST = 1, -(1 << 16)
_MOST_UNITS: Final = 0xFFFF

# `each` calls a function for some blocks in order.
EACH: Final = """
define internal void @each(ptr %function, ptr %context, i64 %from, i64 %to) nounwind {
entry:
  br label %test
test:
  %block = phi i64 [ %from, %entry ], [ %next, %run ]
  %more = icmp slt i64 %block, %to
  br i1 %more, label %run, label %end
run:
  call void %function(ptr %context, i64 %block)
  %next = add i64 %block, 1
  br label %test
end:
  ret void
}
"""

# `claim` gives a unit of a job, or -1; `work` runs one and all that it can claim after it, and gives their number.
_UNITS: Final = f"""
define internal i64 @job() nounwind {{
  %word = load atomic i64, ptr {place(State, "word")} acquire, align 8
  %job = lshr i64 %word, 32
  ret i64 %job
}}

define internal i64 @claim(i64 %job, i64 %by) nounwind {{
entry:
  %before = load atomic i64, ptr {place(State, "word")} acquire, align 8
  br label %look
look:
  %word = phi i64 [ %before, %entry ], [ %found, %try ]
  %number = lshr i64 %word, 32
  %same = icmp eq i64 %number, %job
  %first = and i64 %word, {_MOST_UNITS}
  %shifted = lshr i64 %word, 16
  %behind = and i64 %shifted, {_MOST_UNITS}
  %free = icmp ult i64 %first, %behind
  %open = and i1 %same, %free
  br i1 %open, label %try, label %none
try:
  %after = add i64 %word, %by
  %tried = cmpxchg ptr {place(State, "word")}, i64 %word, i64 %after acq_rel acquire
  %found = extractvalue {{ i64, i1 }} %tried, 0
  %done = extractvalue {{ i64, i1 }} %tried, 1
  br i1 %done, label %claimed, label %look
claimed:
  %last = sub i64 %behind, 1
  %upward = icmp eq i64 %by, {FIRST}
  %unit = select i1 %upward, i64 %first, i64 %last
  ret i64 %unit
none:
  ret i64 -1
}}

define internal i64 @work(i64 %job, i64 %by, i64 %claimed) nounwind {{
entry:
  %function = load ptr, ptr {place(State, "function")}
  %context = load ptr, ptr {place(State, "context")}
  %count = load i64, ptr {place(State, "count")}
  %group = load i64, ptr {place(State, "group")}
  br label %run
run:
  %unit = phi i64 [ %claimed, %entry ], [ %another, %run ]
  %number = phi i64 [ 0, %entry ], [ %more, %run ]
  %from = mul i64 %unit, %group
  %behind = add i64 %from, %group
  %to = call i64 @llvm.umin.i64(i64 %behind, i64 %count)
  call void @each(ptr %function, ptr %context, i64 %from, i64 %to)
  %more = add i64 %number, 1
  %another = call i64 @claim(i64 %job, i64 %by)
  %none = icmp slt i64 %another, 0
  br i1 %none, label %end, label %run
end:
  ret i64 %more
}}
"""

# `launch` is called while the pool is taken; `join` waits until workers have finished so many units.
_LAUNCH: Final = f"""
define internal void @launch(ptr %function, ptr %context, i64 %count, i64 %helpers) nounwind {{
entry:
  %least = sub i64 %count, 1
  %steps = udiv i64 %least, {_MOST_UNITS}
  %group = add i64 %steps, 1
  %above = add i64 %least, %group
  %units = udiv i64 %above, %group
  store ptr %function, ptr {place(State, "function")}
  store ptr %context, ptr {place(State, "context")}
  store i64 %count, ptr {place(State, "count")}
  store i64 %group, ptr {place(State, "group")}
  store atomic i64 %helpers, ptr {place(State, "helpers")} monotonic, align 8
  store atomic i64 0, ptr {place(State, "done")} monotonic, align 8
  call void @note_mode()
  call void @note_cpu()
  %before = call i64 @job()
  %next = add i64 %before, 1
  %job = and i64 %next, 4294967295
  %high = shl i64 %job, 32
  %behind = shl i64 %units, 16
  %word = or i64 %high, %behind
  store atomic i64 %word, ptr {place(State, "word")} seq_cst, align 8
  %sleepers = load atomic i64, ptr {place(State, "sleepers")} seq_cst, align 8
  %asleep = icmp ne i64 %sleepers, 0
  br i1 %asleep, label %call, label %claim
call:
  %others = sub i64 %units, 1
  %most = call i64 @llvm.umin.i64(i64 %others, i64 %helpers)
  call void @wake(i64 %most, i64 %helpers)
  br label %claim
claim:
  %unit = call i64 @claim(i64 %job, i64 {FIRST})
  %none = icmp slt i64 %unit, 0
  br i1 %none, label %join, label %take
take:
  %done = call i64 @work(i64 %job, i64 {FIRST}, i64 %unit)
  br label %join
join:
  %own = phi i64 [ 0, %claim ], [ %done, %take ]
  %theirs = sub i64 %units, %own
  call void @join(i64 %theirs)
  ret void
}}

define internal void @join(i64 %units) nounwind {{
entry:
  %soon = load atomic i64, ptr {place(State, "done")} acquire, align 8
  %now_all = icmp eq i64 %soon, %units
  br i1 %now_all, label %end, label %late
late:
  %begin = call i64 @clock()
  br label %look
look:
  %done = load atomic i64, ptr {place(State, "done")} acquire, align 8
  %all = icmp eq i64 %done, %units
  br i1 %all, label %end, label %wait
wait:
  call void @pause()
  %now = call i64 @clock()
  %spent = sub i64 %now, %begin
  %long = icmp sgt i64 %spent, {PATIENCE}
  br i1 %long, label %yield, label %look
yield:
  %status = call i32 @sched_yield()
  br label %look
end:
  ret void
}}
"""

JOB: Final = EACH + _UNITS + _LAUNCH
