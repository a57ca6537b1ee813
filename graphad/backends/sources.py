"""Which graphad and which libraries made machine code: part of the keys on disk."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from typing import Final

import graphad_kernels

from graphad.backends.cache import key_of
from graphad.version import __version__

#: The folders of the package that decide what is compiled for a graph.
_FOLDERS: Final = ("ir", "primitives", "passes", "backends")


@cache
def sources() -> str:
    """The version, and in a checkout a digest of the sizes and times of the files: there they are edited.

    What is edited while a process runs is not noticed by that process, which runs the old code anyway.
    """
    package = os.path.dirname(os.path.dirname(__file__))
    if not os.path.exists(os.path.join(os.path.dirname(package), "pyproject.toml")):
        return __version__
    folders = [*(os.path.join(package, name) for name in _FOLDERS), os.path.dirname(graphad_kernels.__file__)]
    return key_of(__version__, *sorted(state for folder in folders for state in _states(folder)))


def _states(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir() and entry.name != "__pycache__":
                yield from _states(entry.path)
            elif entry.name.endswith(".py"):
                status = entry.stat()
                yield f"{entry.path}:{status.st_size}:{status.st_mtime_ns}"


@cache
def installed(package: str) -> str:
    """What differs between versions of a package, which is not imported for that: a digest of the file that says it."""
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for name in ("_version.py", "__init__.py"):
            try:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    return key_of(file.read())
            except OSError:
                continue
    return ""
