"""Where Python has looked at traced values, so that a retrace can tell whether it looks at the same."""

from __future__ import annotations

from typing import NamedTuple

from graphad.ir.loc import Loc
from graphad.ir.types import Literal


class Place(NamedTuple):
    """Which observation a guard is: the user's line, and what its predicate says there, with the constants in it."""

    loc: Loc
    primitive: str
    constants: tuple[Literal, ...]

    @property
    def text(self) -> str:
        """``gt with the constant 2.0``, for errors."""
        numbers = ", ".join(str(c.item()) for c in self.constants)
        return f"{self.primitive or 'an argument'}{f' with the constant {numbers}' if numbers else ''}"
