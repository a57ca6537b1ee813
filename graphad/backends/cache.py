"""Object code on disk, so that a program is compiled once per machine.

A file is named by the hash of all that its contents depend on, is sealed (`private_files`), and appears under its name
only when it is whole: processes of one user may share a directory. Where the directory cannot be written, or is not
private, code is kept in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final, TypeVar

from graphad.backends import private_files
from graphad.config import config
from graphad.errors import CacheWarning
from graphad.ir.forks import compiling

T = TypeVar("T")

MAX_BYTES: Final = 512 << 20
"""Size of a cache directory above which its oldest files are deleted."""

_KEY_LENGTH: Final = 40
_SUFFIX: Final = ".o"
#: Files that are this cache's: others in the directory are left alone.
_OURS: Final = re.compile(rf"[0-9a-f]{{{_KEY_LENGTH}}}\{_SUFFIX}|.*\{_SUFFIX}\..*\.tmp")
_PUTS_PER_SWEEP: Final = 64  # on average, of all processes together: keys are random numbers
_TOUCH_AFTER_S: Final = 3600.0  # a file in use is made young again at most this often


def key_of(*parts: str | bytes) -> str:
    """The file name for contents that depend on all ``parts``, and on nothing else.

    >>> key_of("a", "b") == key_of("a", "b"), key_of("a", "b") == key_of("ab", "")
    (True, False)
    """
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode() if isinstance(part, str) else part
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return digest.hexdigest()[:_KEY_LENGTH]


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
        self._numbers = itertools.count()

    def get(self, key: str) -> bytes | None:
        """The contents stored under ``key``; None if there are none, or if the file is damaged or not private."""
        if self.directory is None or key in self._memory:
            return self._memory.get(key)
        if private_files.refusal(self.directory) is not None:
            return None
        path = self._path(key)
        try:
            data, written = private_files.read(path)
        except OSError:
            return None
        payload = private_files.unseal(key, data)
        if payload is None:
            self._delete(path)
        elif time.time() - written > _TOUCH_AFTER_S:
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
            private_files.make_folder(self.directory)
            reason = private_files.refusal(self.directory)
            if reason is None:
                private_files.write(self._path(key), unfinished, private_files.seal(key, payload))
        except OSError as error:
            self._delete(unfinished)
            reason = f"{error.strerror or error}. Set GRAPHAD_CACHE to a directory you may write"
        if reason is not None:
            self._fall_back(key, payload, reason)
            return
        if int(key, 16) % _PUTS_PER_SWEEP == 0:
            self.evict()

    def forget(self, key: str) -> None:
        """Have nothing stored under ``key``."""
        with compiling:
            self._memory_bytes -= len(self._memory.pop(key, b""))
        if self.directory is not None and private_files.refusal(self.directory) is None:
            self._delete(self._path(key))

    def use(self, key: str, make: Callable[[], bytes], load: Callable[[bytes], T]) -> T:
        """``load`` of what is stored under ``key``, made and stored first if need be.

        What was stored and cannot be loaded is no use to anybody: it is deleted, and made anew.
        """
        found = self.get(key)
        if found is not None:
            try:
                return load(found)
            except Exception:  # noqa: BLE001 - what is made anew meets the same error if it is not the file's
                self.forget(key)
        made = make()
        loaded = load(made)
        self.put(key, made)
        return loaded

    def evict(self) -> None:
        """If the files take more than `max_bytes`, delete the oldest until the rest takes at most four fifths of it."""
        files: list[tuple[float, int, str]] = []
        try:
            with os.scandir(self.directory or ".") as entries:
                for entry in entries:
                    if _OURS.fullmatch(entry.name):
                        status = entry.stat(follow_symlinks=False)
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
        with compiling:
            self._memory_bytes += len(payload) - len(self._memory.pop(key, b""))
            self._memory[key] = payload
            while self._memory_bytes > self.max_bytes and len(self._memory) > 1:
                self._memory_bytes -= len(self._memory.pop(next(iter(self._memory))))

    def _path(self, key: str) -> str:
        return os.path.join(self.directory or "", key + _SUFFIX)

    def _fall_back(self, key: str, payload: bytes, reason: str) -> None:
        self._keep(key, payload)
        with compiling:
            first, self._in_memory = not self._in_memory, True
        if first:
            warnings.warn(
                f"cannot write the cache directory {self.directory!r}: {reason}, or to nothing to keep code in memory "
                "without this warning. Until then every process compiles anew.",
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
