"""Object code on disk, so that a program is compiled once per machine.

A file is named by the hash of all that its contents depend on, begins with a checksum, and appears under its name only
when it is whole: processes may share a directory. Where the directory cannot be written, code is kept in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

from graphad.config import config
from graphad.errors import CacheWarning

MAX_BYTES: Final = 512 << 20
"""Size of a cache directory above which its oldest files are deleted."""

_MAGIC: Final = b"graphad-object-1"
_HEADER: Final = len(_MAGIC) + hashlib.sha256().digest_size
_SUFFIX: Final = ".o"
_PUTS_PER_SWEEP: Final = 64
_TOUCH_AFTER_S: Final = 3600.0  # a file in use is made young again at most this often


def key_of(*parts: str) -> str:
    """The file name for contents that depend on all ``parts``, and on nothing else.

    >>> key_of("a", "b") == key_of("a", "b"), key_of("a", "b") == key_of("ab", "")
    (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()[:40]


class ObjectCache:
    """Byte strings by key, in a directory or, if that is None or cannot be written, in memory.

    Parameters
    ----------
    directory
        Created when first written to.
    max_bytes
        When the files take more, the least recently used are deleted, down to four fifths of it. In memory, the oldest.
    """

    def __init__(self, directory: str | None, max_bytes: int = MAX_BYTES) -> None:
        self.directory = directory
        self.max_bytes = max_bytes
        self._memory: dict[str, bytes] = {}  # the oldest first
        self._memory_bytes = 0
        self._in_memory = directory is None
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._puts = 0

    def get(self, key: str) -> bytes | None:
        """The contents stored under ``key``; None if there are none, or if the file is damaged."""
        if self.directory is None or key in self._memory:
            return self._memory.get(key)
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
                age = time.time() - os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        payload = data[_HEADER:]
        if data[:_HEADER] != _MAGIC + hashlib.sha256(payload).digest():
            self._delete(path)
            return None
        if age > _TOUCH_AFTER_S:
            with suppress(OSError):  # read-only, or just evicted: the contents are right all the same
                os.utime(path)
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Store ``payload``; the last writer of a key wins, and writers of one key write the same."""
        if self._in_memory or self.directory is None:
            self._keep(key, payload)
            return
        unfinished = f"{self._path(key)}.{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}.tmp"
        try:
            os.makedirs(self.directory, exist_ok=True)
            with open(unfinished, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(payload).digest())
                file.write(payload)
            os.replace(unfinished, self._path(key))
        except OSError as error:
            self._delete(unfinished)
            self._fall_back(key, payload, error)
            return
        with self._lock:
            sweep = self._puts % _PUTS_PER_SWEEP == 0
            self._puts += 1
        if sweep:
            self.evict()

    def get_or_make(self, key: str, make: Callable[[], bytes]) -> bytes:
        """What is stored under ``key``, made and stored first if need be."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def evict(self) -> None:
        """If the files take more than `max_bytes`, delete the oldest until the rest takes at most four fifths of it."""
        files: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self.directory or ".") as entries:
                for entry in entries:
                    if entry.name.endswith((_SUFFIX, ".tmp")):
                        status = entry.stat()
                        files.append((status.st_mtime, status.st_size, entry.path))
        except OSError:
            return
        total = sum(size for _, size, _ in files)
        if total <= self.max_bytes:
            return
        for _, size, path in sorted(files):
            self._delete(path)
            total -= size
            if total <= self.max_bytes * 4 // 5:
                return

    def _keep(self, key: str, payload: bytes) -> None:
        """Store ``payload`` in memory, where the oldest give way."""
        with self._lock:
            self._memory_bytes += len(payload) - len(self._memory.pop(key, b""))
            self._memory[key] = payload
            while self._memory_bytes > self.max_bytes and len(self._memory) > 1:
                self._memory_bytes -= len(self._memory.pop(next(iter(self._memory))))

    def _path(self, key: str) -> str:
        return os.path.join(self.directory or "", key + _SUFFIX)

    def _fall_back(self, key: str, payload: bytes, error: OSError) -> None:
        self._keep(key, payload)
        with self._lock:
            first, self._in_memory = not self._in_memory, True
        if first:
            warnings.warn(
                f"cannot write the cache directory {self.directory!r} ({error.strerror or error}); compiled code is "
                "kept in memory, and every process compiles anew. Set GRAPHAD_CACHE to a directory you may write, or "
                "to nothing to keep code in memory without this warning.",
                CacheWarning,
                stacklevel=4,
            )

    @staticmethod
    def _delete(path: str) -> None:
        with suppress(OSError):  # another process was faster, or the directory is read-only
            os.unlink(path)


@lru_cache(maxsize=16)
def _cache_at(directory: str | None) -> ObjectCache:
    return ObjectCache(directory)


def object_cache() -> ObjectCache:
    """The cache at ``config.cache_dir``."""
    return _cache_at(config.cache_dir)
