"""How a run of a compiled program can end, apart from its results. On its own so that it costs no start-up time."""

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
    """What a program says that was called by itself and left at a guard."""
    message = (
        f"{name} was compiled for {expected} at a Python branch, but this call has {observed}. "
        "Call the function that it was made from: it knows its other paths."
    )
    return GuardError(at(format_loc(loc), message))
