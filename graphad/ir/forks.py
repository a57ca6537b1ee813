"""Locks and `os.fork`: a child must not wait for threads that it does not have.

A child process begins as a copy of its parent, in which only the thread that forked runs. What another thread held at
that moment would be held for ever. Therefore the locks of compiling, ours and those of Numba and LLVM, are taken before
a fork, so that no compile is under way, and given back on both sides; those under which the user's functions run, which
may take any time, are made anew in the child.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, TypeVar
from weakref import WeakSet

from graphad.config import update_lock

Lock = AbstractContextManager[Any]
L = TypeVar("L", bound=Lock)

#: Held while something is compiled, loaded or imported for that. The user's code never runs under it.
compiling: Final = threading.RLock()

_leaves: Final[list[Lock]] = [update_lock]
_owners: Final[WeakSet[Any]] = WeakSet()
_after: Final[list[Callable[[], None]]] = []
_held: Final[list[ExitStack]] = []


def leaf(lock: L) -> L:
    """``lock``, to be taken before a fork. Whoever holds it waits for nothing."""
    _leaves.append(lock)
    return lock


def renewed(owner: Any) -> None:
    """Give ``owner.lock``, an `RLock`, up in a child for a new one. The owner is held weakly."""
    _owners.add(owner)


def in_children(function: Callable[[], None]) -> None:
    """Call ``function`` in every child."""
    _after.append(function)


def _foreign() -> list[Lock]:
    """The locks of the compilers that are loaded, Numba's before LLVM's, as Numba takes them."""
    numba, llvmlite = (sys.modules.get(name) for name in ("numba.core.compiler_lock", "llvmlite.binding.ffi"))
    found = [getattr(numba, "global_compiler_lock", None), getattr(getattr(llvmlite, "lib", None), "_lock", None)]
    return [lock for lock in found if lock is not None]


def _before_fork() -> None:
    held = ExitStack()
    held.enter_context(compiling)  # first: it is held while the others are taken
    for lock in (*_foreign(), *_leaves):
        held.enter_context(lock)
    _held.append(held)


def _after_fork() -> None:
    _held.pop().close()


def _after_fork_in_child() -> None:
    _after_fork()
    for owner in list(_owners):
        owner.lock = threading.RLock()
    for function in _after:
        function()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
