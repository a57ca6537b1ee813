"""One training at a time for a folder."""

from __future__ import annotations

import os
import sys

from graphad.trace.source import where
from graphad.train._files import PathLike


class FolderLock:
    """Holds a folder from its making until `release`, or the end of the process, however that ends.

    File systems and systems without such locks are trusted.

    Raises
    ------
    RuntimeError
        If somebody else holds it.
    """

    def __init__(self, folder: PathLike) -> None:
        self._descriptor: int | None = None
        if sys.platform == "win32":
            return
        import fcntl  # late: Windows has none

        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise RuntimeError(
                f"{where()}fit: another training is writing its checkpoints into {os.fspath(folder)}. Choose a folder "
                "for each, or wait until it has ended."
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            return
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
