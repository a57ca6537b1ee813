"""What the pool's code finds on a system: how threads sleep, which clock there is, what a thread computes by."""

from __future__ import annotations

import platform
import sys
from typing import Final, NamedTuple

#: Numbers of the system call ``futex`` on Linux, by architecture.
_FUTEX: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
#: Functions of C that are called, and their types.
COMMON: Final = {
    "clock_gettime": "i32 (i32, ptr)",
    "getpid": "i32 ()",
    "sched_yield": "i32 ()",
    "pthread_attr_init": "i32 (ptr)",
    "pthread_attr_setstacksize": "i32 (ptr, i64)",
    "pthread_attr_destroy": "i32 (ptr)",
    "pthread_sigmask": "i32 (i32, ptr, ptr)",
    "pthread_create": "i32 (ptr, ptr, ptr, ptr)",
    "pthread_detach": "i32 (ptr)",
}
FUTEX: Final = {"syscall": "i64 (i64, ...)"}
CONDITIONS: Final = {
    "pthread_mutex_init": "i32 (ptr, ptr)",
    "pthread_mutex_lock": "i32 (ptr)",
    "pthread_mutex_unlock": "i32 (ptr)",
    "pthread_cond_init": "i32 (ptr, ptr)",
    "pthread_cond_wait": "i32 (ptr, ptr)",
    "pthread_cond_broadcast": "i32 (ptr)",
}
AFFINITY: Final = {
    "sched_getcpu": "i32 ()",
    "sched_getaffinity": "i32 (i32, i64, ptr)",
    "sched_setaffinity": "i32 (i32, i64, ptr)",
}


class System(NamedTuple):
    """What the code depends on.

    ``futex`` is the number of that system call, None where threads sleep by condition variables of pthread (on macOS:
    untested there); ``affinity`` says whether threads can be kept off a CPU, ``wiped`` whether the pages of a child
    process can begin as zeros, ``mode`` in which register a thread keeps its rounding and treatment of denormals.
    """

    futex: int | None
    affinity: bool
    wiped: bool
    mode: str | None
    clock: int  # that never goes back
    set_mask: int  # SIG_SETMASK

    @property
    def functions(self) -> dict[str, str]:
        """The functions of C that the code calls, and their types."""
        sleeping = CONDITIONS if self.futex is None else FUTEX
        return COMMON | sleeping | (AFFINITY if self.affinity else {})


def this_system() -> System:
    """The system of this process."""
    machine = platform.machine().lower()
    mode = {"x86_64": "mxcsr", "amd64": "mxcsr", "aarch64": "fpcr", "arm64": "fpcr"}.get(machine)
    if sys.platform == "linux":
        return System(_FUTEX.get(machine), affinity=True, wiped=True, mode=mode, clock=1, set_mask=2)
    darwin = sys.platform == "darwin"
    return System(None, affinity=False, wiped=False, mode=mode, clock=6 if darwin else 4, set_mask=3)
