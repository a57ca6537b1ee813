"""Blocks for the pool to run, as machine code."""

from __future__ import annotations

import ctypes
import time
from functools import cache

from graphad.backends.artifact import Artifact
from graphad.backends.cpu.pool.make import Pool
from graphad.backends.cpu.pool.system import this_system
from graphad.backends.llvm import loader

pointer, word = ctypes.c_void_p, ctypes.c_int64
#: An estimate that is always enough.
LONG = 1 << 40

BLOCK = ctypes.CFUNCTYPE(None, pointer, word)

# `mark` adds one to the word of its block, `spin` takes some 30 us besides; `nested` runs as many blocks again on a row
# of eight words. `repeat` launches jobs of `mark`, and gives the number of words that were not right after one.
_TEXT = """
declare void @ga_run_blocks(ptr, ptr, i64, i64)

define void @mark(ptr %words, i64 %block) {
  %place = getelementptr i64, ptr %words, i64 %block
  %before = atomicrmw add ptr %place, i64 1 monotonic
  ret void
}

define void @spin(ptr %words, i64 %block) {
entry:
  call void @mark(ptr %words, i64 %block)
  br label %turn
turn:
  %k = phi i64 [ 0, %entry ], [ %next, %turn ]
  %x = phi double [ 1.0, %entry ], [ %y, %turn ]
  %half = fmul double %x, 0.5
  %y = fadd double %half, 1.0
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, 10000
  br i1 %more, label %turn, label %end
end:
  ret void
}

define void @nested(ptr %words, i64 %block) {
  %first = shl i64 %block, 3
  %row = getelementptr i64, ptr %words, i64 %first
  call void @ga_run_blocks(ptr @mark, ptr %row, i64 8, i64 1099511627776)
  ret void
}

define i64 @repeat(ptr %words, i64 %count, i64 %launches, i64 %nanoseconds) {
entry:
  br label %launch
launch:
  %number = phi i64 [ 0, %entry ], [ %right, %checked ]
  %wrong = phi i64 [ 0, %entry ], [ %sum, %checked ]
  %right = add i64 %number, 1
  call void @ga_run_blocks(ptr @mark, ptr %words, i64 %count, i64 %nanoseconds)
  br label %check
check:
  %k = phi i64 [ 0, %launch ], [ %next, %check ]
  %so_far = phi i64 [ %wrong, %launch ], [ %sum, %check ]
  %place = getelementptr i64, ptr %words, i64 %k
  %found = load i64, ptr %place
  %differs = icmp ne i64 %found, %right
  %one = zext i1 %differs to i64
  %sum = add i64 %so_far, %one
  %next = add i64 %k, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %check, label %checked
checked:
  %again = icmp ult i64 %right, %launches
  br i1 %again, label %launch, label %end
end:
  ret i64 %sum
}
"""


def other_system():
    """This one without what only Linux has."""
    return this_system()._replace(futex=None, affinity=False, wiped=False)


class Harness:
    """A pool with ``threads``, and blocks for it."""

    def __init__(self, threads=2, system=None):
        self.pool = Pool(threads, system)
        self.pool.set_break_evens(0, 0)
        self._run = ctypes.CFUNCTYPE(None, pointer, pointer, word, word)(self.pool.address)
        draft = Artifact(b"", "mark", exports=("spin", "nested", "repeat"))
        self._code = loader.find_text(draft, _TEXT, imports={"ga_run_blocks": self.pool.address})
        self._repeat = ctypes.CFUNCTYPE(word, pointer, word, word, word)(self._code.addresses["repeat"])

    def run(self, function, words, count, nanoseconds=LONG):
        """Run blocks of a function named, or of one of Python's, on an array or an address."""
        if isinstance(function, str):
            address = self._code.addresses[function]
        else:
            address = ctypes.cast(function, pointer).value
        self._run(address, None if words is None else words.ctypes.data, count, nanoseconds)

    def repeat(self, words, launches, nanoseconds=LONG):
        return self._repeat(words.ctypes.data, len(words), launches, nanoseconds)

    def wait_until_asleep(self):
        end = time.monotonic() + 60
        while self.pool.state.sleepers.value < self.pool.state.workers:
            assert time.monotonic() < end, "some worker does not sleep"
            time.sleep(0.001)


@cache
def harness(kind):
    """The pool of this system, or one that does without what only Linux has."""
    return Harness(system=other_system() if kind == "pthread" else None)
