"""What the pool has measured, on disk: it is measured once per machine."""

from __future__ import annotations

import struct
from typing import Final

from graphad.backends.cache import object_cache
from graphad.backends.cpu.pool.measure import LEAST, MOST
from graphad.backends.llvm.library import object_key

_FORMAT: Final = "<qq"


def read() -> tuple[int, int] | None:
    """Nanoseconds of a job from which on workers that look for jobs gain, and from which on those that sleep do.

    None if they are not known: there is no file, or what it says cannot be.
    """
    stored = object_cache().get(_key())
    if stored is None or len(stored) != struct.calcsize(_FORMAT):
        return None
    spinning, sleeping = struct.unpack(_FORMAT, stored)
    return (spinning, sleeping) if LEAST <= spinning <= sleeping <= MOST else None


def write(spinning: int, sleeping: int) -> None:
    """Keep what `read` gives."""
    object_cache().put(_key(), struct.pack(_FORMAT, spinning, sleeping))


def _key() -> str:
    return object_key("break_evens")
