"""Finished code: from the cache on disk or through it, and into memory.

What compiles is imported when nothing is found, and only then.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from graphad.backends.artifact import Artifact
from graphad.backends.cache import object_cache
from graphad.backends.llvm import library
from graphad.backends.llvm.library import Linked, object_key
from graphad.errors import LoweringError
from graphad.ir.forks import compiling


class Executable:
    """Loaded machine code. Its address holds as long as this object lives: keep it with whatever may call it."""

    __slots__ = ("_linked", "artifact")

    def __init__(self, artifact: Artifact, linked: Linked) -> None:
        self.artifact = artifact
        self._linked = linked

    @property
    def addresses(self) -> Mapping[str, int]:
        """The addresses of all that it exports."""
        return self._linked.addresses

    @property
    def address(self) -> int:
        """Address of the function the code was loaded for."""
        return self.addresses[self.artifact.symbol]

    def __repr__(self) -> str:
        return f"<Executable {self.artifact.symbol} at {self.address:#x}>"


_numbers: Final = itertools.count()  # LLVM wants a new name for everything it loads
_functions: Final[dict[str, Executable]] = {}


def load(artifact: Artifact, imports: Mapping[str, int] | None = None) -> Executable:
    """Load code; the elementary functions it calls are found, other names come from ``imports`` or the process.

    Raises
    ------
    LoweringError
        Where the code is none, or calls what is found nowhere.
    """
    names = {**function_addresses(artifact.functions), **(imports or {})}
    symbol = artifact.symbol
    with compiling:
        try:
            exports = (symbol, *artifact.exports)
            linked = library.link(artifact.code, exports, names, f"{symbol}.{next(_numbers)}")
        except RuntimeError as error:
            raise LoweringError(f"cannot load {symbol}: {str(error).strip()}") from error
    return Executable(artifact, linked)


def find(key: str, symbol: str, make: Callable[[], Artifact], imports: Mapping[str, int] | None = None) -> Executable:
    """The code of ``symbol`` that is stored under ``key``, made and stored first if need be."""

    def read(stored: bytes) -> Executable:
        artifact = Artifact.from_bytes(stored)
        if artifact.symbol != symbol:
            raise LoweringError(f"this is the code of {artifact.symbol}, not of {symbol}")
        return load(artifact, imports)

    return object_cache().use(key, lambda: make().to_bytes(), read)


def find_text(draft: Artifact, text: str, opt: int = 1, imports: Mapping[str, int] | None = None) -> Executable:
    """`native.finished`, kept by the text and by all that ``draft`` says of it."""
    key = object_key("text", draft.to_bytes(), str(opt), text)
    return find(key, draft.symbol, lambda: _native().finished(draft, text, opt), imports)


def function_addresses(symbols: Iterable[str]) -> dict[str, int]:
    """Addresses of elementary functions, for the life of the process."""
    with compiling:
        for symbol in symbols:
            if symbol not in _functions:
                _functions[symbol] = find(
                    object_key("function", symbol), symbol, lambda symbol=symbol: _native().elementary_function(symbol)
                )
        return {symbol: _functions[symbol].address for symbol in symbols}


def _native() -> Any:
    from graphad.backends.llvm import native  # late: what was found on disk needs none

    return native
