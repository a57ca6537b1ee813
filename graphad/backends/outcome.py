"""How a run of a compiled program can end, other than with results. A module of its own, for fast start-up."""

from __future__ import annotations

from typing import NamedTuple

from graphad.errors import GuardError, at
from graphad.ir.loc import Loc, format_loc
from graphad.ir.types import Literal


class GuardFailure(NamedTuple):
    """A run that ended at guard ``ordinal``, whose predicate was ``observed``."""

    ordinal: int
    observed: Literal


def guard_error(name: str, expected: Literal, observed: Literal, loc: Loc) -> GuardError:
    """The error of a program that was called on its own and failed a guard."""
    message = (
        f"{name} was compiled for {expected} at a Python branch, but this call has {observed}. "
        "Call the function that it was made from: it knows its other paths."
    )
    return GuardError(at(format_loc(loc), message))
