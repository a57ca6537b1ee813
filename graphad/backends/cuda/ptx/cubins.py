"""A cache on disk of machine code for GPUs: a module is assembled once per architecture and assembler version."""

from __future__ import annotations

from typing import Final

from graphad.backends.cache import key_of, object_cache
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.ptx.assemble import Assembled, assemble

#: To be changed with the format of the files, and with the assembler's options.
_FORM: Final = "2"


def cubin(ptx: str, architecture: str) -> Assembled:
    """`assemble` through the cache."""
    key = _key(ptx, architecture)
    return object_cache().use(key, lambda: assemble(ptx, architecture).to_bytes(), Assembled.from_bytes)


def reassembled(ptx: str, architecture: str) -> Assembled:
    """`cubin` made anew, when the driver refuses the cached one."""
    object_cache().forget(_key(ptx, architecture))
    return cubin(ptx, architecture)


def _key(ptx: str, architecture: str) -> str:
    versions = [toolkit.version_of(name) or "" for name in ("nvidia-nvjitlink", "cuda-bindings", "llvmlite")]
    return key_of("cubin", _FORM, *versions, architecture, ptx)
