"""What differs between systems in the pool's code, as functions in LLVM text that the rest of it calls.

The caller calls ``note_mode``, ``note_cpu`` and ``wake``, and asks ``is_ours``: whether the state is that of this
process, and not of the one that made it by ``fork``. A worker calls ``take_mode``, ``leave_cpu``, ``keep_away`` (which
leaves the caller's CPU if the worker is there) and ``sleep``. Both use ``clock``, in nanoseconds, and ``pause``.
"""

from __future__ import annotations

import sys
from typing import Final

from graphad.backends.cpu.pool.state import State, place
from graphad.backends.cpu.pool.system import System

_WAIT, _WAKE = 9 | 128, 10 | 128  # FUTEX_WAIT_BITSET and FUTEX_WAKE_BITSET, of this process alone
_CPUS: Final = 1024  # of the mask of a thread


def parts(system: System) -> str:
    """The functions for ``system``, and declarations of the functions of C."""
    declared = [f"declare {types.replace('(', f'@{name}(', 1)} nounwind" for name, types in system.functions.items()]
    return "\n".join([
        *declared,
        _INTRINSICS,
        _CLOCK.format(clock=system.clock),
        _PAUSE.get(system.mode, "define internal void @pause() nounwind {\n  ret void\n}"),
        _CONDITION if system.futex is None else _futex(system.futex),
        _MODE.get(system.mode, _NO_MODE),
        _AFFINITY if system.affinity else _NO_AFFINITY,
        _WIPED if system.wiped else _FORKS,
    ])  # fmt: skip


_INTRINSICS: Final = """
declare i64 @llvm.umin.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

_CLOCK: Final = """
define internal i64 @clock() nounwind {{
  %time = alloca [2 x i64]
  %status = call i32 @clock_gettime(i32 {clock}, ptr %time)
  %seconds = load i64, ptr %time
  %behind = getelementptr i8, ptr %time, i64 8
  %rest = load i64, ptr %behind
  %whole = mul i64 %seconds, 1000000000
  %all = add i64 %whole, %rest
  ret i64 %all
}}
"""

_PAUSE: Final[dict[str | None, str]] = {
    "mxcsr": """
declare void @llvm.x86.sse2.pause()
define internal void @pause() nounwind {
  call void @llvm.x86.sse2.pause()
  ret void
}
""",
    "fpcr": """
declare void @llvm.aarch64.hint(i32)
define internal void @pause() nounwind {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}
""",
}

# ---------------------------------------------------------------------------------------------------------------------
# Sleeping: until the job is no longer number %last. Worker number %index is woken if it is below %helpers.


def _futex(number: int) -> str:
    """Workers above 31 share a bit: which of them are too many they see as they wake."""
    half = f"getelementptr (i8, ptr @pool_state, i64 {State.word.offset + (4 if sys.byteorder == 'little' else 0)})"
    return f"""
define internal void @sleep(i64 %last, i64 %index) nounwind {{
  %number = trunc i64 %last to i32
  %place = call i64 @llvm.umin.i64(i64 %index, i64 31)
  %shift = trunc i64 %place to i32
  %bit = shl i32 1, %shift
  %got = call i64 (i64, ...) @syscall(i64 {number}, ptr {half}, i32 {_WAIT}, i32 %number, ptr null, ptr null, i32 %bit)
  ret void
}}

define internal void @wake(i64 %most, i64 %helpers) nounwind {{
  %number = trunc i64 %most to i32
  %bits = call i64 @llvm.umin.i64(i64 %helpers, i64 32)
  %power = shl i64 1, %bits
  %ones = sub i64 %power, 1
  %mask = trunc i64 %ones to i32
  %got = call i64 (i64, ...) @syscall(i64 {number}, ptr {half}, i32 {_WAKE}, i32 %number, ptr null, ptr null, i32 %mask)
  ret void
}}

define internal void @prepare_sleep() nounwind {{
  ret void
}}
"""


_CONDITION: Final = f"""
define internal void @sleep(i64 %last, i64 %index) nounwind {{
entry:
  %locked = call i32 @pthread_mutex_lock(ptr {place(State, "mutex")})
  br label %look
look:
  %word = load atomic i64, ptr {place(State, "word")} seq_cst, align 8
  %job = lshr i64 %word, 32
  %old = icmp eq i64 %job, %last
  br i1 %old, label %wait, label %end
wait:
  %status = call i32 @pthread_cond_wait(ptr {place(State, "condition")}, ptr {place(State, "mutex")})
  br label %look
end:
  %free = call i32 @pthread_mutex_unlock(ptr {place(State, "mutex")})
  ret void
}}

define internal void @wake(i64 %most, i64 %helpers) nounwind {{
  %locked = call i32 @pthread_mutex_lock(ptr {place(State, "mutex")})
  %told = call i32 @pthread_cond_broadcast(ptr {place(State, "condition")})
  %free = call i32 @pthread_mutex_unlock(ptr {place(State, "mutex")})
  ret void
}}

define internal void @prepare_sleep() nounwind {{
  %mutex = call i32 @pthread_mutex_init(ptr {place(State, "mutex")}, ptr null)
  %condition = call i32 @pthread_cond_init(ptr {place(State, "condition")}, ptr null)
  ret void
}}
"""

# ---------------------------------------------------------------------------------------------------------------------
# The mode of arithmetic. The flags that operations leave behind are each thread's own.

_MODE: Final[dict[str | None, str]] = {
    "mxcsr": f"""
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)

define internal void @note_mode() nounwind {{
  %own = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %own)
  %all = load i32, ptr %own
  %mode = and i32 %all, -64
  %word = zext i32 %mode to i64
  store atomic i64 %word, ptr {place(State, "mode")} monotonic, align 8
  ret void
}}

define internal void @take_mode() nounwind {{
  call void @llvm.x86.sse.ldmxcsr(ptr {place(State, "mode")})
  ret void
}}
""",
    "fpcr": f"""
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)

define internal void @note_mode() nounwind {{
  %mode = call i64 @llvm.aarch64.get.fpcr()
  store atomic i64 %mode, ptr {place(State, "mode")} monotonic, align 8
  ret void
}}

define internal void @take_mode() nounwind {{
  %mode = load atomic i64, ptr {place(State, "mode")} monotonic, align 8
  call void @llvm.aarch64.set.fpcr(i64 %mode)
  ret void
}}
""",
}

_NO_MODE: Final = """
define internal void @note_mode() nounwind {
  ret void
}

define internal void @take_mode() nounwind {
  ret void
}
"""

# ---------------------------------------------------------------------------------------------------------------------
# CPUs. A scheduler likes to wake a worker where the caller runs, and then both take turns on one core.

_AFFINITY: Final = f"""
define internal void @note_cpu() nounwind {{
  %number = call i32 @sched_getcpu()
  %cpu = sext i32 %number to i64
  store atomic i64 %cpu, ptr {place(State, "cpu")} monotonic, align 8
  ret void
}}

define internal void @keep_away() nounwind {{
entry:
  %cpu = load atomic i64, ptr {place(State, "cpu")} monotonic, align 8
  %number = call i32 @sched_getcpu()
  %own = sext i32 %number to i64
  %same = icmp eq i64 %cpu, %own
  br i1 %same, label %move, label %end
move:
  call void @leave_cpu()
  br label %end
end:
  ret void
}}

define internal void @leave_cpu() nounwind {{  ; from now on, all CPUs of the main thread but the caller's
entry:
  %mask = alloca [{_CPUS // 8} x i8], align 8
  %cpu = load atomic i64, ptr {place(State, "cpu")} monotonic, align 8
  %known = icmp ult i64 %cpu, {_CPUS}
  br i1 %known, label %ask, label %end
ask:
  %process = call i32 @getpid()
  %status = call i32 @sched_getaffinity(i32 %process, i64 {_CPUS // 8}, ptr %mask)
  %good = icmp eq i32 %status, 0
  br i1 %good, label %go, label %end
go:
  %at = lshr i64 %cpu, 3
  %place = getelementptr i8, ptr %mask, i64 %at
  %low = and i64 %cpu, 7
  %shift = trunc i64 %low to i8
  %bit = shl i8 1, %shift
  %others = xor i8 %bit, -1
  %byte = load i8, ptr %place
  %rest = and i8 %byte, %others
  store i8 %rest, ptr %place
  %moved = call i32 @sched_setaffinity(i32 0, i64 {_CPUS // 8}, ptr %mask)  ; an error where no CPU is left
  br label %end
end:
  ret void
}}
"""

_NO_AFFINITY: Final = """
define internal void @note_cpu() nounwind {
  ret void
}

define internal void @leave_cpu() nounwind {
  ret void
}

define internal void @keep_away() nounwind {
  ret void
}
"""

# ---------------------------------------------------------------------------------------------------------------------
# Forks

_WIPED: Final = """
define internal i1 @is_ours() nounwind {
  ret i1 true
}
"""

_FORKS: Final = f"""
define internal i1 @is_ours() nounwind {{  ; clear the state of another process, of which this one is a copy
entry:
  %number = call i32 @getpid()
  %own = zext i32 %number to i64
  %owner = load atomic i64, ptr {place(State, "process")} acquire, align 8
  %ours = icmp eq i64 %owner, %own
  %busy = icmp eq i64 %owner, -1
  %known = or i1 %ours, %busy
  br i1 %known, label %end, label %try
try:
  %tried = cmpxchg ptr {place(State, "process")}, i64 %owner, i64 -1 seq_cst seq_cst
  %won = extractvalue {{ i64, i1 }} %tried, 1
  br i1 %won, label %clear, label %end
clear:
  call void @llvm.memset.p0.i64(ptr @pool_state, i8 0, i64 {State.process.offset}, i1 false)
  store atomic i64 %own, ptr {place(State, "process")} release, align 8
  br label %end
end:
  %answer = phi i1 [ %ours, %entry ], [ false, %try ], [ true, %clear ]
  ret i1 %answer
}}
"""
