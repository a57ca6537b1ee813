"""Where an equation comes from: the user's file and line, and the transforms it went through.

A location is captured as ``(code, instruction offset)`` and resolved to a line only when printed: asking a frame for
its line number is linear in the length of the function.
"""

from __future__ import annotations

import linecache
import os
from functools import lru_cache
from types import CodeType

# None: unknown. str: parsed back from text. (code, lasti): the user's frame. (name, Loc): went through that transform.
Loc = None | str | tuple[CodeType, int] | tuple[str, "Loc"]


def format_loc(loc: Loc) -> str:
    """``model.py:14``, or ``transpose(model.py:14)`` after a transform; empty if unknown."""
    if loc is None:
        return ""
    if isinstance(loc, str):
        return loc
    head, tail = loc
    if isinstance(head, CodeType):
        return f"{os.path.basename(head.co_filename)}:{line_of(head, tail)}"
    return f"{head}({format_loc(tail)})"  # pyright: ignore[reportArgumentType]


def source_of(loc: Loc) -> tuple[str, int] | None:
    """Full file name and line of the user's frame, or None if the location holds none."""
    while loc is not None and not isinstance(loc, str):
        head, tail = loc
        if isinstance(head, CodeType):
            return head.co_filename, line_of(head, tail)
        loc = tail  # pyright: ignore[reportAssignmentType]
    return None


def line_text(loc: Loc) -> str:
    """The user's line of source, or nothing where it cannot be read."""
    place = source_of(loc)
    return linecache.getline(*place).strip() if place else ""


def user_line(loc: Loc) -> str:
    """``model.py:14``, whatever transforms the equation went through."""
    place = source_of(loc)
    return f"{os.path.basename(place[0])}:{place[1]}" if place else format_loc(innermost(loc))


def innermost(loc: Loc) -> Loc:
    """``loc`` before all transforms."""
    while isinstance(loc, tuple) and isinstance(loc[0], str):
        loc = loc[1]  # pyright: ignore[reportAssignmentType]
    return loc


def transforms_of(loc: Loc) -> list[str]:
    """The names of the transforms that an equation went through, the last one first."""
    names: list[str] = []
    while isinstance(loc, tuple) and isinstance(loc[0], str):
        names.append(loc[0])
        loc = loc[1]  # pyright: ignore[reportAssignmentType]
    return names


@lru_cache(maxsize=4096)
def line_of(code: CodeType, lasti: int) -> int:
    """The line of the instruction at offset ``lasti``."""
    for start, end, line in code.co_lines():
        if start <= lasti < end and line is not None:
            return line
    return code.co_firstlineno
