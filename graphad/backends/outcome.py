"""How a run of a compiled program can end, apart from its results. On its own so that it costs no start-up time."""

from __future__ import annotations

from typing import NamedTuple

from graphad.ir.types import Literal


class GuardFailure(NamedTuple):
    """A run that ended at guard ``ordinal``, whose predicate was ``observed``."""

    ordinal: int
    observed: Literal
