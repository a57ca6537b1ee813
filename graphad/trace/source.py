"""The user's line: the innermost Python frame outside graphad."""

from __future__ import annotations

import os
import sys
import warnings
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, TypeVar

import numpy as np
import optree

from graphad.ir.bounded import BoundedDict
from graphad.ir.loc import Loc, format_loc, innermost, line_text, source_of
from graphad.trace.tracebacks import hide_in_pytest

_PACKAGE: Final = os.path.dirname(os.path.dirname(os.path.realpath(__file__))) + os.sep
#: Libraries that call back: np.sum(x) calls x.sum(), and optree the functions that are mapped over leaves.
_NUMPY: Final = os.path.dirname(os.path.realpath(np.__file__)) + os.sep
_OPTREE: Final = os.path.dirname(os.path.realpath(optree.__file__)) + os.sep
_ENTRY_POINT: Final = 0  # neither ours nor the user's: no user's code lies beyond
_entry_points: Final[dict[CodeType, str]] = {}  # and their modules
#: By the address of the code, which is kept with the answer: the hash of a code object is computed anew each time, of
#: all that it holds.
_is_ours: Final[BoundedDict[int, tuple[CodeType, bool | int]]] = BoundedDict(8192)
#: The globals of modules of ours, by their names. They are looked at first: to read the code of a frame, or an address,
#: is an event that audit hooks are told of, and many a process has one (filelock's, which comes with JAX and PyTorch).
_our_modules: Final[dict[str, dict[str, Any]]] = {}

F = TypeVar("F", bound=FunctionType)


def entry_point(function: F) -> F:
    """Mark a function of ours as an entry point of the process: its callers are no user code."""
    _entry_points[function.__code__] = function.__module__
    return function


def user_loc(depth: int = 1) -> Loc:
    """Where the user's code called into graphad: ``(code, instruction offset)`` of the innermost frame not ours."""
    frame = sys._getframe(depth)
    modules, ours = _our_modules, _is_ours
    while frame is not None:
        names = frame.f_globals
        if modules.get(names.get("__name__", "")) is not names:  # a copy of them is that of a doctest
            code = frame.f_code
            found = ours.get(id(code))
            known = _classified(frame) if found is None else found[1]
            if not known:
                return (code, frame.f_lasti) if known is False else None
        frame = frame.f_back
    return None


def _classified(frame: FrameType) -> bool | int:
    """Whether the code of ``frame`` is ours, looked up and remembered."""
    code = frame.f_code
    is_entry_point = code in _entry_points
    hide_in_pytest(frame)
    known = _ENTRY_POINT if is_entry_point else code.co_filename.startswith((_PACKAGE, _NUMPY, _OPTREE))
    _is_ours[id(code)] = code, known
    module = frame.f_globals.get("__name__", "")
    if known and module.startswith("graphad.") and module not in _entry_points.values():
        _our_modules[module] = frame.f_globals
    return known


def user_frames(loc: Loc) -> list[tuple[CodeType, int]]:
    """The user's code at ``loc`` and, where that is running, what has called it, up to a call of graphad."""
    at = innermost(loc)
    if not (isinstance(at, tuple) and isinstance(at[0], CodeType) and isinstance(at[1], int)):
        return []
    frames = [(at[0], at[1])]
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code is not at[0]:
        frame = frame.f_back
    while frame is not None and (frame := frame.f_back) is not None and _classified(frame) is False:
        frames.append((frame.f_code, frame.f_lasti))
    return frames


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
