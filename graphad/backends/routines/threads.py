"""SciPy's OpenBLAS keeps to one thread while programs call it, and then has its own number of threads again.

Which calls are kept to one says `graphad.backends.cpu.one_thread`. The number of threads is one variable of the
library, so it is everybody's. Programs call `ONE_THREAD` before their first call that needs it and `OWN_THREADS` after
the last: the first caller of all keeps the number that the user or the library had chosen and sets 1; the last one sets
the former back, unless the user has set another meanwhile. A pair of calls takes some 30 ns.

BLAS that is no OpenBLAS with threads of its own (Accelerate, MKL, OpenBLAS with OpenMP) is left as it is: what is set
for it in the environment holds.
"""

from __future__ import annotations

import ctypes
from typing import Final

from graphad_kernels.cpu import library

from graphad.backends.artifact import Artifact
from graphad.backends.llvm import loader
from graphad.ir.forks import compiling, in_children

ONE_THREAD: Final = "blas_one_thread"
OWN_THREADS: Final = "blas_own_threads"

_loaded: dict[str, loader.Executable] = {}


def address(symbol: str) -> int:
    """Address of `ONE_THREAD` or `OWN_THREADS`, for the life of the process."""
    with compiling:
        if not _loaded:
            _loaded[""] = _load()
        return _loaded[""].addresses[symbol]


def _load() -> loader.Executable:
    switch = library.thread_switch()
    if switch is None:
        empty = "\n".join(f"define void @{name}() {{\n  ret void\n}}" for name in (ONE_THREAD, OWN_THREADS))
        return loader.find_text(Artifact(b"", ONE_THREAD, exports=(OWN_THREADS,)), empty)
    draft = Artifact(b"", ONE_THREAD, exports=(OWN_THREADS, "begin_anew"))
    imports: dict[str, int] = dict(zip(("get_threads", "set_threads"), switch, strict=True))
    loaded = loader.find_text(draft, _TEXT, imports=imports)
    in_children(ctypes.CFUNCTYPE(None)(loaded.addresses["begin_anew"]))
    return loaded


# Nobody waits for anybody: a thread that finds another at work on the library's number only counts itself in or out,
# and the other looks at the count again before it leaves.
_TEXT: Final = f"""
declare i32 @get_threads()
declare void @set_threads(i32)

@state = internal global i64 0  ; twice the programs that need one thread, and 1 while a thread sees to the library
@kept = internal global i32 0   ; the library's own number while it is replaced by 1, else 0

define void @{ONE_THREAD}() nounwind {{
  call void @count(i64 2)
  ret void
}}

define void @{OWN_THREADS}() nounwind {{
  call void @count(i64 -2)
  ret void
}}

define void @begin_anew() nounwind {{  ; in the child of a fork, which has no other thread
  store atomic i64 0, ptr @state seq_cst, align 8
  call void @see_to_library(i1 false)
  ret void
}}

define internal void @count(i64 %by) nounwind {{
entry:
  %first = load atomic i64, ptr @state seq_cst, align 8
  br label %try
try:
  %before = phi i64 [ %first, %entry ], [ %found, %try ]
  %sum = add i64 %before, %by
  %was = icmp ugt i64 %before, 1
  %is = icmp ugt i64 %sum, 1
  %turns = xor i1 %was, %is
  %taken = trunc i64 %before to i1
  %free = xor i1 %taken, true
  %mine = and i1 %turns, %free
  %bit = zext i1 %mine to i64
  %after = or i64 %sum, %bit
  %tried = cmpxchg ptr @state, i64 %before, i64 %after seq_cst seq_cst
  %found = extractvalue {{ i64, i1 }} %tried, 0
  %done = extractvalue {{ i64, i1 }} %tried, 1
  br i1 %done, label %counted, label %try
counted:
  br i1 %mine, label %act, label %end
act:
  %seen = phi i64 [ %after, %counted ], [ %now, %look ]
  %one = icmp ugt i64 %seen, 1
  call void @see_to_library(i1 %one)
  br label %look
look:
  %now = phi i64 [ %seen, %act ], [ %later, %leave ]
  %still = icmp ugt i64 %now, 1
  %right = icmp eq i1 %still, %one
  br i1 %right, label %leave, label %act
leave:
  %released = and i64 %now, -2
  %left = cmpxchg ptr @state, i64 %now, i64 %released seq_cst seq_cst
  %later = extractvalue {{ i64, i1 }} %left, 0
  %gone = extractvalue {{ i64, i1 }} %left, 1
  br i1 %gone, label %end, label %look
end:
  ret void
}}

define internal void @see_to_library(i1 %one) nounwind {{
  %threads = call i32 @get_threads()
  %own = load i32, ptr @kept
  %replaced = icmp ne i32 %own, 0
  br i1 %one, label %replace, label %restore
replace:
  %several = icmp ugt i32 %threads, 1
  %fresh = xor i1 %replaced, true
  %needed = and i1 %several, %fresh
  br i1 %needed, label %to_one, label %end
to_one:
  store i32 %threads, ptr @kept
  call void @set_threads(i32 1)
  br label %end
restore:
  store i32 0, ptr @kept
  %ours = icmp eq i32 %threads, 1  ; else the user has set another number meanwhile
  %back = and i1 %ours, %replaced
  br i1 %back, label %to_own, label %end
to_own:
  call void @set_threads(i32 %own)
  br label %end
end:
  ret void
}}
"""
