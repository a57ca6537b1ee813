"""What a compiled program gives besides the results of its graph, and how a run of it can end without any.

On its own so that it costs no start-up time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from graphad.errors import GuardError, at
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Aval, Literal

#: The status of a program in which a function of the host has raised.
HOST_ERROR: Final = -1
#: The status of a program that has met a signal whose handler has raised.
INTERRUPTED: Final = -2
#: The status of a program that could not allocate what its first `Counted` step needs; of the next it is one less.
OUT_OF_MEMORY: Final = -3


#: The results of calls of the host, in order.
Answers = tuple[Sequence[np.ndarray[Any, Any]], ...]


class GuardFailure(NamedTuple):
    """A run that ended at guard ``ordinal``, whose predicate was ``observed``.

    ``answers`` are those of the callbacks with effects that it had made, in order: the run that takes its place uses
    them, and calls nobody again.
    """

    ordinal: int
    observed: Literal
    answers: Answers = ()


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


class HostFunction(Protocol):
    """What a program calls: read-only arrays to new ones of the types given."""

    rule_name: str

    def call(self, operands: Sequence[Any], avals: Sequence[Aval], /) -> Sequence[np.ndarray[Any, Any]]: ...


@dataclass(frozen=True, slots=True)
class HostSlot:
    """A call that a program makes to the host: of what, with which types, and whether it does something.

    The program knows it by its number alone; the function is that of the graph at hand.
    """

    function: HostFunction
    inputs: tuple[Aval, ...]
    outputs: tuple[Aval, ...]
    effect: bool
    loc: Loc = None

    @property
    def signature(self) -> str:
        """``(f32[3]) -> (f32[3])``."""
        given, made = (", ".join(map(repr, avals)) for avals in (self.inputs, self.outputs))
        return f"({given}) -> ({made})"


def guard_error(name: str, expected: Literal, observed: Literal, loc: Loc) -> GuardError:
    """The error of a program that was called on its own and failed a guard."""
    message = (
        f"{name} was compiled for {expected} at a Python branch, but this call has {observed}. "
        "Call the function that it was made from: it knows its other paths."
    )
    return GuardError(at(format_loc(loc), message))
