"""Loops that carry a running combination (a cumulative sum), told from other recurrences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from graphad.backends.cuda.rewrites import defined, needed, used
from graphad.backends.loops import Carry, Combine, Let, Loop, Operand
from graphad.ir.loc import Loc

#: Operators that may be grouped in any way (of floats, to rounding).
ASSOCIATIVE: Final[dict[str, Combine]] = {
    "add": "sum", "mul": "prod", "maximum": "max", "minimum": "min", "and": "and", "or": "or",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScanCarry:
    """``let``: the carry combined with ``value``, which does not depend on it."""

    carry: Carry
    let: Let
    combine: Combine
    value: Operand

    def step(self, name: str, running: str, value: Operand, loc: Loc) -> Let:
        """``name = combine(running, value)``."""
        return Let(name, self.carry.dtype, self.let.op, (running, value), loc)


def scan_of(loop: Loop) -> ScanCarry | None:
    """The running combination that is the only carry of ``loop``, if that is what it is."""
    if len(loop.carries) != 1 or loop.carries[0].combine != "last":
        return None
    (carry,) = loop.carries
    let = next((s for s in loop.body if isinstance(s, Let) and s.name == carry.update), None)
    if let is None or let.op not in ASSOCIATIVE or carry.name not in let.args or let.dtype is not carry.dtype:
        return None
    value = next((a for a in let.args if a != carry.name), carry.name)
    if isinstance(value, str):
        before = needed({value}, loop.body)
        if {carry.name, let.name} & ({value} | used(before)):
            return None
        if not any(value in defined(s) for s in before):  # from outside: the same for every iteration
            return None
    return ScanCarry(carry, let, ASSOCIATIVE[let.op], value)
