"""What the pool's code reads and writes: structures in memory, and where their fields are.

What the threads of one process share is the `State`, on a page of its own. In a process made by ``fork`` it is all
zeros, which says that there are no workers yet, and that nobody is at the pool. What `Settings` says holds there too.
"""

from __future__ import annotations

import ctypes
from typing import Final

_word = ctypes.c_int64

#: Bytes apart at which two words are in no processor's one line, nor in two that it fetches together.
_APART: Final = 128


class Settings(ctypes.Structure):
    """What is set from outside, and what was measured. Times are nanoseconds, for a job's estimate with one thread."""

    _fields_ = [
        ("threads", _word),  # the caller of a job, and workers
        ("spinning", _word),  # shorter jobs are the caller's alone, even if workers look for jobs
        ("sleeping", _word),  # likewise, if the workers must be woken
        ("measured", _word),  # whether these two are more than a guess
    ]


class _Line(ctypes.Structure):
    _fields_ = [("value", _word), ("_", ctypes.c_char * (_APART - 8))]


class State(ctypes.Structure):
    """The pool: the word of the job, what its blocks are, and who sleeps."""

    _fields_ = [
        ("word", _Line),  # job number (32 bits) | behind the last free unit (16) | first free unit (16)
        ("done", _Line),  # units that workers have finished
        ("sleepers", _Line),
        ("function", _word),
        ("context", _word),
        ("count", _word),  # of blocks
        ("group", _word),  # blocks of a unit
        ("mode", _word),  # the caller's rounding and treatment of denormals
        ("cpu", _word),  # where the caller runs
        ("helpers", _word),  # workers that may take part
        ("_", ctypes.c_char * (_APART - 7 * 8)),
        ("taken", _word),  # whether somebody is at the pool
        ("workers", _word),
        ("refused", _word),  # whether the system has given no further thread
        ("process", _word),  # whose state this is; -1 while it is being cleared
        ("mutex", ctypes.c_char * 64),
        ("condition", ctypes.c_char * 64),
    ]


def place(structure: type[State] | type[Settings], field: str) -> str:
    """The address of a field, as an operand in LLVM text.

    >>> place(Settings, "spinning")
    'getelementptr (i8, ptr @pool_settings, i64 8)'
    """
    name = "pool_state" if structure is State else "pool_settings"
    return f"getelementptr (i8, ptr @{name}, i64 {getattr(structure, field).offset})"
