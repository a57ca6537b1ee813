"""Machine code for GPUs on disk: a module is assembled once per machine, architecture and version of the assembler."""

from __future__ import annotations

from typing import Final

from graphad.backends.cache import key_of, object_cache
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.assemble import Assembled, assemble

#: To be changed with the form of the files, and with what the assembler is told.
_FORM: Final = "2"


def cubin(ptx: str, architecture: str) -> Assembled:
    """`assemble`, or what it gave before for the same module."""
    key = _key(ptx, architecture)
    return object_cache().use(key, lambda: assemble(ptx, architecture).to_bytes(), Assembled.from_bytes)


def reassembled(ptx: str, architecture: str) -> Assembled:
    """`cubin` once more, when the driver refuses what was kept."""
    object_cache().forget(_key(ptx, architecture))
    return cubin(ptx, architecture)


def _key(ptx: str, architecture: str) -> str:
    versions = [toolkit.version_of(name) or "" for name in ("nvidia-nvjitlink", "cuda-bindings", "llvmlite")]
    return key_of("cubin", _FORM, *versions, architecture, ptx)
