"""What a compiled program gives besides the results of its graph, and how a run of it can end without any.

On its own so that it costs no start-up time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from graphad.errors import GuardError, at
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Literal


#: The status of a program that could not allocate what it needs.
OUT_OF_MEMORY = -1


class GuardFailure(NamedTuple):
    """A run that ended at guard ``ordinal``, whose predicate was ``observed``."""

    ordinal: int
    observed: Literal


class Left:
    """A call that machine code did not finish.

    ``path`` is the program it was for, and ``failure`` the guard at which it left that; None if the arguments are none
    that it takes.
    """

    __slots__ = ("failure", "path")

    def __init__(self, path: Any, failure: GuardFailure | None = None) -> None:
        self.path, self.failure = path, failure


@dataclass(frozen=True, slots=True)
class GuardOutput:
    """A guard of a program: the output that holds its predicate, and the value it must have."""

    output: int
    expected: Literal
    loc: Loc = None


@dataclass(frozen=True, slots=True)
class PrintOutput:
    """A ``debug_print``: its format, how many leading axes are batch axes, and the outputs that hold its operands."""

    fmt: str
    batch_axes: int
    outputs: tuple[int, ...]
    loc: Loc = None


def guard_error(name: str, expected: Literal, observed: Literal, loc: Loc) -> GuardError:
    """The error of a program that was called on its own and failed a guard."""
    message = (
        f"{name} was compiled for {expected} at a Python branch, but this call has {observed}. "
        "Call the function that it was made from: it knows its other paths."
    )
    return GuardError(at(format_loc(loc), message))
