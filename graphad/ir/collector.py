"""Tracing and transforming without the garbage collector.

Graphs are made of many small tuples that live on. Python's collector visits all of them again and again while they are
made, without finding anything, and so makes the cost of a transform grow faster than its graph: 20 us an equation at
1,000 equations, 40 at 10,000.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from graphad.ir import forks

P = ParamSpec("P")
R = TypeVar("R")

_lock = forks.leaf(threading.RLock())
_depth = 0
_was_enabled = False
_mine = threading.local()  # the part of `_depth` that is this thread's


def without_collector(f: Callable[P, R]) -> Callable[P, R]:
    """``f`` with the collector paused: calls may nest, and run in several threads."""

    @wraps(f)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        _pause()
        try:
            return f(*args, **kwargs)
        finally:
            _resume()

    return wrapper


@contextmanager
def paused() -> Generator[None]:
    """The same for a block of code."""
    _pause()
    try:
        yield
    finally:
        _resume()


def _pause() -> None:
    global _depth, _was_enabled
    with _lock:
        if not _depth:
            _was_enabled = gc.isenabled()
            gc.disable()
        _depth += 1
        _mine.depth = getattr(_mine, "depth", 0) + 1


def _resume() -> None:
    global _depth
    with _lock:
        _depth -= 1
        _mine.depth -= 1
        if not _depth and _was_enabled:
            gc.enable()


def _alone() -> None:
    """In a child process: forget the calls of threads that are not there."""
    global _depth
    paused, _depth = bool(_depth), getattr(_mine, "depth", 0)
    if paused and not _depth and _was_enabled:
        gc.enable()


forks.in_children(_alone)
