"""From how much work on a job gains by workers: measured once per machine, in some milliseconds, when it matters.

If the caller begins at once and a worker after a time o, a job that takes one thread A takes both P = (A + o) / 2. So
o = 2 P - A, and a job of A = o takes as long either way. What is measured are jobs of many small blocks, right behind
another, while the worker looks for jobs, and with a worker that sleeps. A and P are measured in turn, for a busy
machine may be half as fast a moment later, and the median of o counts.
"""

from __future__ import annotations

from typing import Final

from graphad.backends.cpu.pool.state import Settings, State, place

#: What a break-even may be, in nanoseconds. Jobs between the two make the pool measure.
LEAST, MOST = 5_000, 200_000
#: What they are thought to be, until then.
GUESS: Final = (LEAST, 60_000)

_ROUNDS: Final = 9
_TURNS: Final = 300  # of a block, about a microsecond
_SHORT, _LONG = 64, 256  # blocks of a job
_UNTIL_ASLEEP: Final = 2_000_000  # nanoseconds

MEASURE: Final = f"""
define internal void @measure() nounwind {{
entry:
  %workers = call i64 @need(i64 1)
  %none = icmp eq i64 %workers, 0
  br i1 %none, label %end, label %go
go:
  %spinning = call i64 @break_even(i64 {_SHORT}, i1 false)
  %asleep = call i64 @break_even(i64 {_LONG}, i1 true)
  %sleeping = call i64 @llvm.smax.i64(i64 %spinning, i64 %asleep)
  store atomic i64 %spinning, ptr {place(Settings, "spinning")} monotonic, align 8
  store atomic i64 %sleeping, ptr {place(Settings, "sleeping")} monotonic, align 8
  store atomic i64 1, ptr {place(Settings, "measured")} release, align 8
  br label %end
end:
  ret void
}}

define internal i64 @break_even(i64 %blocks, i1 %asleep) nounwind {{
entry:
  %times = alloca [{_ROUNDS} x i64]
  br label %round
round:
  %number = phi i64 [ 0, %entry ], [ %more, %place ]
  %alone = call i64 @timed(i64 %blocks, i64 0)
  br i1 %asleep, label %rest, label %wake
rest:
  call void @until_asleep()
  br label %time
wake:
  %first = call i64 @timed(i64 %blocks, i64 1)
  %second = call i64 @timed(i64 %blocks, i64 1)
  br label %time
time:
  %shared = call i64 @timed(i64 %blocks, i64 1)
  %twice = mul i64 %shared, 2
  %new = sub i64 %twice, %alone
  br label %test
test:  ; put it in its place among those before
  %k = phi i64 [ %number, %time ], [ %below, %move ]
  %lowest = icmp eq i64 %k, 0
  br i1 %lowest, label %place, label %compare
compare:
  %below = sub i64 %k, 1
  %from = getelementptr i64, ptr %times, i64 %below
  %other = load i64, ptr %from
  %larger = icmp sgt i64 %other, %new
  br i1 %larger, label %move, label %place
move:
  %to = getelementptr i64, ptr %times, i64 %k
  store i64 %other, ptr %to
  br label %test
place:
  %at = getelementptr i64, ptr %times, i64 %k
  store i64 %new, ptr %at
  %more = add i64 %number, 1
  %all = icmp eq i64 %more, {_ROUNDS}
  br i1 %all, label %end, label %round
end:
  %middle = getelementptr i64, ptr %times, i64 {_ROUNDS // 2}
  %median = load i64, ptr %middle
  %least = call i64 @llvm.smax.i64(i64 %median, i64 {LEAST})
  %most = call i64 @llvm.smin.i64(i64 %least, i64 {MOST})
  ret i64 %most
}}

define internal i64 @timed(i64 %blocks, i64 %helpers) nounwind {{
entry:
  %begin = call i64 @clock()
  %several = icmp ne i64 %helpers, 0
  br i1 %several, label %shared, label %alone
shared:
  call void @launch(ptr @busy, ptr null, i64 %blocks, i64 %helpers)
  br label %end
alone:
  call void @each(ptr @busy, ptr null, i64 0, i64 %blocks)
  br label %end
end:
  %now = call i64 @clock()
  %spent = sub i64 %now, %begin
  ret i64 %spent
}}

define internal void @until_asleep() nounwind {{
entry:
  %begin = call i64 @clock()
  br label %look
look:
  %sleepers = load atomic i64, ptr {place(State, "sleepers")} monotonic, align 8
  %workers = load i64, ptr {place(State, "workers")}
  %all = icmp eq i64 %sleepers, %workers
  %now = call i64 @clock()
  %spent = sub i64 %now, %begin
  %late = icmp sgt i64 %spent, {_UNTIL_ASLEEP}
  %enough = or i1 %all, %late
  br i1 %enough, label %end, label %yield
yield:
  %status = call i32 @sched_yield()
  br label %look
end:
  ret void
}}

define internal void @busy(ptr %context, i64 %block) nounwind {{
entry:
  %result = alloca double
  br label %turn
turn:
  %k = phi i64 [ 0, %entry ], [ %next, %turn ]
  %x = phi double [ 1.0, %entry ], [ %sum, %turn ]
  %product = fmul double %x, 0.5
  %sum = fadd double %product, 1.0
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, {_TURNS}
  br i1 %more, label %turn, label %end
end:
  store volatile double %sum, ptr %result
  ret void
}}
"""
