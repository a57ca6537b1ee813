"""Sites of guards, by which a retrace checks that it observes the same values as the path that it continues."""

from __future__ import annotations

from typing import NamedTuple

from graphad.ir.loc import Loc
from graphad.ir.types import Literal


class GuardSite(NamedTuple):
    """The identity of a guard: the user's line, and the primitive of its predicate with its constants."""

    loc: Loc
    primitive: str
    constants: tuple[Literal, ...]

    @property
    def text(self) -> str:
        """``gt with the constant 2.0``, for errors."""
        numbers = ", ".join(str(c.item()) for c in self.constants)
        return f"{self.primitive or 'an argument'}{f' with the constant {numbers}' if numbers else ''}"
