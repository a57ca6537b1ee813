"""The user's lines in LLVM text: debug locations, which become ``.loc`` directives for profilers and errors."""

from __future__ import annotations

import re
from typing import Final

from graphad.backends.llvm.text import Code
from graphad.ir.loc import Loc, format_loc

_PLACE: Final = re.compile(r"([^():]+):(\d+)\)*")


class SourceLines:
    """The metadata of a module: one scope per kernel, and locations in it."""

    def __init__(self) -> None:
        self._nodes: dict[str, int] = {}  # text -> number

    def scope(self, kernel: str, loc: Loc) -> int | None:
        """The scope that a kernel's locations are in; None where ``loc``, that of the kernel, has no file and line."""
        found = _PLACE.search(format_loc(loc))
        if found is None:
            return None
        file = self._file(found[1])
        unit = self._node(
            f'distinct !DICompileUnit(language: DW_LANG_C, file: !{self._file("graphad")}, producer: "graphad", '
            "isOptimized: true, runtimeVersion: 0, emissionKind: DebugDirectivesOnly)"
        )
        kind = self._node(f"!DISubroutineType(types: !{self._node('!{}')})")
        return self._node(
            f'distinct !DISubprogram(name: "{kernel}", scope: !{file}, file: !{file}, line: {found[2]}, '
            f"type: !{kind}, unit: !{unit}, spFlags: DISPFlagDefinition)"
        )

    def location(self, scope: int, loc: Loc) -> int | None:
        """The number of a location, or None where it has no file and line."""
        found = _PLACE.search(format_loc(loc))
        if found is None:
            return None
        block = self._node(f"!DILexicalBlockFile(scope: !{scope}, file: !{self._file(found[1])}, discriminator: 0)")
        return self._node(f"!DILocation(line: {found[2]}, scope: !{block})")

    def definitions(self) -> list[str]:
        """The lines that a module ends with."""
        if not self._nodes:
            return []
        unit = next(number for text, number in self._nodes.items() if "!DICompileUnit" in text)
        version = self._node('!{i32 2, !"Debug Info Version", i32 3}')
        rows = [f"!{number} = {text}" for text, number in self._nodes.items()]
        return [f"!llvm.dbg.cu = !{{!{unit}}}", f"!llvm.module.flags = !{{!{version}}}", *rows]

    def _file(self, name: str) -> int:
        safe = re.sub(r'["\\\x00-\x1f]', "_", name)
        return self._node(f'!DIFile(filename: "{safe}", directory: "")')

    def _node(self, text: str) -> int:
        return self._nodes.setdefault(text, len(self._nodes))


class LocatedCode(Code):
    """A function under construction whose instructions carry the location that was last set."""

    def __init__(self) -> None:
        super().__init__()
        self.location: int | None = None

    def let(self, text: str, hint: str = "v") -> str:
        return super().let(text + self._suffix(), hint)

    def do(self, text: str) -> None:
        super().do(text + self._suffix())

    def _suffix(self) -> str:
        return "" if self.location is None else f", !dbg !{self.location}"
