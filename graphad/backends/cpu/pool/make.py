"""The pool of this process: loaded with the first program that has blocks, and told how many threads it has."""

from __future__ import annotations

import atexit
import ctypes
import mmap
import os
from typing import Any, Final

from graphad.backends.artifact import Artifact
from graphad.backends.cpu.pool import RUN_BLOCKS, break_evens
from graphad.backends.cpu.pool.available import available_threads
from graphad.backends.cpu.pool.code import pool_text, run_alone_text
from graphad.backends.cpu.pool.measure import GUESS
from graphad.backends.cpu.pool.state import Settings, State
from graphad.backends.cpu.pool.system import System, this_system
from graphad.backends.llvm import loader
from graphad.config import config, watch
from graphad.ir.forks import compiling

#: Whether threads can be made on this system.
AVAILABLE: Final = os.name == "posix" and ctypes.sizeof(ctypes.c_void_p) == 8
_WIPE_ON_FORK: Final = 18  # of madvise

_loaded: Final[dict[str, Pool | loader.Executable]] = {}


def address() -> int:
    """Address of `RUN_BLOCKS`, for the life of the process.

    No thread is started before a job is long enough for it.
    """
    with compiling:
        if RUN_BLOCKS not in _loaded:
            _loaded[RUN_BLOCKS] = _pool_of_process() if AVAILABLE else _run_alone()
        return _loaded[RUN_BLOCKS].address


class Pool:
    """A pool, its code loaded; it is never freed, for its workers end with the process.

    Attributes
    ----------
    address
        Of `RUN_BLOCKS`.
    settings, state
        What its code reads and writes.
    system
        What its code was made for.
    """

    def __init__(self, threads: int, system: System | None = None) -> None:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        self.system = system or this_system()
        if self.system.wiped and not _wipes(page):
            self.system = self.system._replace(wiped=False)
        self.state = State.from_buffer(page)
        self.settings = Settings(threads, *GUESS, measured=0)
        library = ctypes.CDLL(None)
        imports = {name: _address_of(library, name) for name in self.system.functions}
        imports |= {"pool_state": ctypes.addressof(self.state), "pool_settings": ctypes.addressof(self.settings)}
        self._code = loader.find_text(Artifact(b"", RUN_BLOCKS), pool_text(self.system), opt=2, imports=imports)
        self.address = self._code.address
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))

    def set_threads(self, threads: int) -> None:
        """From the next job on. Workers that are too many sleep; those that are missing start when they are needed."""
        self.settings.threads = threads

    def set_break_evens(self, spinning: int, sleeping: int) -> None:
        """From how many nanoseconds on a job has workers that look for jobs, and workers that sleep."""
        self.settings.spinning, self.settings.sleeping, self.settings.measured = spinning, sleeping, 1


def _pool_of_process() -> Pool:
    default = available_threads()

    def number(setting: int | None) -> int:
        return default if setting is None else setting

    pool = Pool(default)
    watch("num_threads", lambda setting: pool.set_threads(number(setting)))
    pool.set_threads(number(config.num_threads))
    known = break_evens.read()
    if known is not None:
        pool.set_break_evens(*known)
    else:
        atexit.register(_keep_what_was_measured, pool.settings)
    return pool


def _keep_what_was_measured(settings: Settings) -> None:
    if settings.measured:
        break_evens.write(settings.spinning, settings.sleeping)


def _run_alone() -> loader.Executable:
    return loader.find_text(Artifact(b"", RUN_BLOCKS), run_alone_text())


def _wipes(page: mmap.mmap) -> bool:
    """Have ``page`` all zeros in the children of this process; whether the system can do that."""
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # before Linux 4.14
        return False
    return True


def _address_of(library: Any, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
