"""Machine code from LLVM text, for tests."""

from __future__ import annotations

from graphad.backends.artifact import Artifact
from graphad.backends.llvm import loader, mathlib


def load(text, symbol, opt=1, imports=None):
    """The code of a module that defines ``symbol``."""
    return loader.find_text(Artifact(b"", symbol), text, opt, imports)


def load_object(code, symbol, imports=None, functions=()):
    """Object code, loaded."""
    return loader.load(Artifact(code, symbol, functions), imports)


def function_address(name, dtype, lanes):
    """Address of an elementary function."""
    symbol = mathlib.symbol(name, dtype, lanes)
    return loader.function_addresses([symbol])[symbol]
