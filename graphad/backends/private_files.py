"""The rules of a cache from which machine code is loaded: it is private, and every file in it is checked.

Whoever can write the files of such a folder can run code as its owner. The folder is therefore made for its owner alone
and refused if it is somebody else's or everybody may write it; a file is read only if it is regular, its owner's, and
writable by nobody else. The contents of a file are sealed: a checksum over the key and the contents precedes them, so
that damage, and contents of another key, are detected.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Final

_MAGIC: Final = b"graphad-object-2"
_DIGEST: Final = hashlib.sha256().digest_size
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
#: Neither through a symbolic link, nor waiting for whoever writes to a pipe. Windows knows neither flag.
_READ: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def seal(key: str, payload: bytes) -> bytes:
    """The contents of a file that stores ``payload`` under ``key``."""
    sealed = _with_length(key.encode()) + payload
    return _MAGIC + hashlib.sha256(sealed).digest() + sealed


def unseal(key: str, data: bytes) -> bytes | None:
    """What `seal` stored under ``key``; None if the file is damaged or is another key's.

    >>> unseal("k", seal("k", b"code")), unseal("other", seal("k", b"code"))
    (b'code', None)
    """
    head = len(_MAGIC) + _DIGEST
    sealed, begin = data[head:], _with_length(key.encode())
    if data[:head] != _MAGIC + hashlib.sha256(sealed).digest() or not sealed.startswith(begin):
        return None
    return sealed[len(begin) :]


def refusal(folder: str) -> str | None:
    """Why code is neither read from nor written to this folder, and what to do; None if it is private or missing."""
    if not hasattr(os, "geteuid"):  # Windows: a user's folders are his by their access lists
        return None
    try:
        found = os.stat(folder)
        linked = os.lstat(folder)
    except OSError:
        return None  # whoever writes finds out
    for status in (linked, found):
        if status.st_uid != os.geteuid():
            return (
                f"it belongs to user {status.st_uid}, and this process runs as user {os.geteuid()}: compiled code of "
                "others is not run. Set GRAPHAD_CACHE to a folder of your own"
            )
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IWOTH:
        return (
            f"everybody may write to it (mode {stat.S_IMODE(found.st_mode):04o}), and so choose the code that you run. "
            f"Empty it and say `chmod 700 {folder}`, or set GRAPHAD_CACHE to a folder of your own"
        )
    return None


def make_folder(folder: str) -> None:
    """Make the folder for its owner alone, if it is not there."""
    os.makedirs(folder, mode=stat.S_IRWXU, exist_ok=True)


def read(path: str) -> tuple[bytes, float]:
    """The bytes of a file and when it was written.

    Raises
    ------
    OSError
        If there is none, or it is no regular file of this user that he alone may write.
    """
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no regular file")
        if hasattr(os, "geteuid") and (status.st_uid != os.geteuid() or status.st_mode & _OTHERS_WRITE):
            raise OSError(f"others than its owner may write {path}")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(), status.st_mtime
    finally:
        os.close(descriptor)


def write(path: str, unfinished: str, data: bytes) -> None:
    """Write a file for its owner alone, which appears under ``path`` only when it is whole.

    ``unfinished`` is the name until then: in the same folder, and nobody else's.
    """
    with open(os.open(unfinished, _CREATE, stat.S_IRUSR | stat.S_IWUSR), "wb") as file:
        file.write(data)
    os.replace(unfinished, path)


def _with_length(part: bytes) -> bytes:
    return len(part).to_bytes(4, "little") + part
