"""The user's line: the innermost Python frame outside graphad."""

from __future__ import annotations

import os
import sys
import warnings
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar

import numpy as np
import optree

from graphad.ir.bounded import BoundedDict
from graphad.ir.loc import Loc, format_loc, line_text, source_of
from graphad.trace.tracebacks import hide_in_pytest

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep
#: Libraries that call back: np.sum(x) calls x.sum(), and optree the functions that are mapped over leaves.
_NUMPY: Final = os.path.dirname(os.path.realpath(np.__file__)) + os.sep
_OPTREE: Final = os.path.dirname(os.path.realpath(optree.__file__)) + os.sep
_ENTRY_POINT: Final = 0  # neither ours nor the user's: no user's code lies beyond
_entry_points: Final[set[CodeType]] = set()
_is_ours: Final[BoundedDict[CodeType, bool | int]] = BoundedDict(8192)

F = TypeVar("F", bound=FunctionType)


def entry_point(function: F) -> F:
    """Mark a function of ours as an entry point of the process: its callers are no user code."""
    _entry_points.add(function.__code__)
    return function


def user_loc(depth: int = 1) -> Loc:
    """Where the user's code called into graphad: ``(code, instruction offset)`` of the innermost frame not ours."""
    frame = sys._getframe(depth)
    ours = _is_ours
    while frame is not None:
        code = frame.f_code
        known = ours.get(code)
        if known is None:
            is_entry_point = code in _entry_points
            hide_in_pytest(frame)
            known = ours[code] = (
                _ENTRY_POINT if is_entry_point else code.co_filename.startswith((_PACKAGE, _NUMPY, _OPTREE))
            )
        if not known:
            return (code, frame.f_lasti) if known is False else None
        frame = frame.f_back
    return None


def where(loc: Loc = None) -> str:
    """``model.py:14: `` for the start of an error message; by default for the user's current line."""
    text = format_loc(loc if loc is not None else user_loc(2))
    return f"{text}: " if text else ""


def located(error: Exception) -> Exception:
    """The error of a type rule, with the user's current line in front."""
    return type(error)(f"{where(user_loc(2))}{error}")


_warned: Final[dict[Any, Any]] = {}  # as the ``__warningregistry__`` of a module


def warn(message: str, category: type[Warning]) -> None:
    """Warn of the user's current line: once, unless Python's filters say otherwise."""
    file, line = source_of(user_loc(2)) or ("graphad", 0)
    warnings.warn_explicit(message, category, file, line, registry=_warned)


def quoted(loc: Loc = None) -> str:
    """The user's line of source, indented on a line of its own, or nothing where it cannot be read."""
    line = line_text(loc if loc is not None else user_loc(2))
    return f"\n    {line}\n" if line else " "
