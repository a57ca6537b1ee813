"""Tracebacks that end at the user's line: our own frames are removed.

Where errors leave a transformation or a compiled function, our frames are removed there (`boundary`), whoever prints
them; from others when they are shown: by Python, by IPython, by pytest. Nothing of it runs unless there is an error.
``config.hide_frames`` switches it off. Errors that are a fault of this library keep all frames.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from graphad.config import config
from graphad.errors import GraphadError

P = ParamSpec("P")
R = TypeVar("R")

_OURS: Final = frozenset({"graphad", "graphad_kernels"})
#: Packages that we call, besides the standard library: where they were called from here, their frames are hidden too.
_CALLED: Final = sys.stdlib_module_names | {
    "cuda", "llvmlite", "ml_dtypes", "numba", "numpy", "opt_einsum", "optree", "safetensors", "scipy",
}  # fmt: skip
#: Errors that no check of ours raises: such an error from one of our own lines is a bug of ours.
_FAULTS: Final = (AssertionError, KeyError, NameError, SystemError)


def hide_frames(error: BaseException) -> None:
    """Remove our frames from the traceback of ``error``, and from those of its causes."""
    if config.hide_frames:
        for one in _with_causes(error):
            while one.__context__ is not None and one.__context__ is not one.__cause__ and _is_private(one.__context__):
                one.__context__ = one.__context__.__context__
        for one in _with_causes(error):
            if one.__traceback__ is not None:
                one.__traceback__ = trimmed(one)


def trimmed(error: BaseException) -> TracebackType | None:
    """The traceback of ``error`` without our frames; None if there are no others."""
    entries = list(_entries(error.__traceback__))
    shown: list[TracebackType] = []
    hiding = False
    for entry in entries:
        package = _package(entry.tb_frame)
        hiding = package in _OURS or (hiding and package in _CALLED)
        if not hiding:
            shown.append(entry)
    if len(shown) == len(entries) or _is_fault(error):
        return error.__traceback__
    following: TracebackType | None = None
    for entry in reversed(shown):
        entry.tb_next, following = following, entry
    return following


def boundary(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, which users call, without our frames in the errors that leave it.

    A bare ``raise`` adds no frame: not even the one here is left.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            hide_frames(error)
            raise

    return call


def install() -> None:
    """Have Python, its threads, and IPython where it runs, show errors without our frames."""
    show, show_in_thread = sys.excepthook, threading.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        _hide_all_but_ours_alone(error)
        show(kind, error, error.__traceback__ or traceback)

    def thread_excepthook(args: Any) -> None:
        if args.exc_value is not None:
            _hide_all_but_ours_alone(args.exc_value)
            args = threading.ExceptHookArgs((args.exc_type, args.exc_value, args.exc_value.__traceback__, args.thread))
        show_in_thread(args)

    sys.excepthook, threading.excepthook = excepthook, thread_excepthook
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((Exception,), _show_in_ipython)


def hide_in_pytest(frame: FrameType) -> None:
    """If the module of ``frame`` is ours, and pytest is running, mark it as hidden for pytest."""
    if "_pytest" in sys.modules and _package(frame) in _OURS:
        frame.f_globals.setdefault("__tracebackhide__", _hidden_in_pytest)


def _hidden_in_pytest(excinfo: Any) -> bool:
    return config.hide_frames and (excinfo is None or not _is_fault(excinfo.value))


def _show_in_ipython(
    shell: Any, kind: type[BaseException], error: BaseException, traceback: Any, tb_offset: Any = None
) -> None:
    """IPython's own way of showing an error, which begins with frames of its own."""
    _hide_all_but_ours_alone(error)
    shell.showtraceback((kind, error, error.__traceback__ or traceback), tb_offset=tb_offset)


def _hide_all_but_ours_alone(error: BaseException) -> None:
    """`hide_frames`, unless no frame would be left."""
    if not _is_private(error):
        hide_frames(error)


def _is_private(error: BaseException) -> bool:
    """Whether the error was raised and caught within our code, such as the `KeyError` of a look-up."""
    entries = list(_entries(error.__traceback__))
    return bool(entries) and all([_package(entry.tb_frame) in _OURS | _CALLED for entry in entries])


def _is_fault(error: BaseException) -> bool:
    """Whether a line of ours is at fault."""
    if not isinstance(error, _FAULTS) or isinstance(error, GraphadError):
        return False
    packages = [_package(entry.tb_frame) for entry in _entries(error.__traceback__)]
    return bool(packages) and packages[-1] in _OURS


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, its causes and contexts, and the members of groups; each once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _entries(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
