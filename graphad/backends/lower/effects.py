"""What the frame of a program does between its loops: guards, prints, calls of the host, barriers.

Prints happen once a program has run, of values that it has kept. In a program that calls `io_callback` they are calls
of the host as well, so that both happen in the order of the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.backends.lower.definitions import (
    BarrierItem,
    FlatProgram,
    Guard,
    HostCallValue,
    HostResultValue,
    Print,
)
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.lowering import Inline
from graphad.ir.types import Aval, aval, b1
from graphad.ir.verify import effects
from graphad.primitives.barrier import optimization_barrier
from graphad.primitives.callbacks import io_callback
from graphad.primitives.effects import guard, printed_lines


class PrintFunction:
    """A print as a function of the host."""

    rule_name = "print"

    def __init__(self, fmt: str, batch_axes: int) -> None:
        self.fmt, self.batch_axes = fmt, batch_axes

    def call(self, operands: Sequence[Any], _avals: Sequence[Aval]) -> list[Any]:
        """Print ``operands``."""
        for line in printed_lines(operands, fmt=self.fmt, batch_axes=self.batch_axes):
            print(line)  # noqa: T201 - what the user asked for
        return []


def prints_are_calls(graph: Graph) -> bool:
    """Whether ``graph`` does something else between its prints, or prints in loops and branches."""
    return graph.effectful and (any([eqn.primitive is io_callback for eqn in effects(graph)]) or _in_regions(graph))


def _in_regions(graph: Graph) -> bool:
    """Whether something with an effect stands in a region that is not inlined."""
    effectful = [eqn for eqn in graph.eqns if any([r.effectful for r in eqn.regions])]
    return any([type(e.primitive.lowering) is not Inline or any(map(_in_regions, e.regions)) for e in effectful])


def between_loops(flat: FlatProgram, eqn: Eqn, operands: list[Atom], outs: Sequence[Aval], loc: Loc) -> list[Atom]:
    """Append one equation of `Effect`, `Host` or `Barrier`; its results. Operands of calls are values."""
    params = eqn.primitive.named(eqn.params)
    if eqn.primitive is guard:
        flat.effects.append(Guard(operands[0], params["expect"], loc))
        return []
    if eqn.primitive is optimization_barrier:
        flat.effects.append(BarrierItem(tuple([a for a in operands if type(a) is int])))
        return list(operands)
    if "function" in params:
        return _call(flat, params["function"], operands, outs, eqn.primitive.effect, loc)
    if flat.prints_are_calls:
        return _call(flat, PrintFunction(**params), operands, (), True, loc)
    flat.prints.append(Print(params["fmt"], params["batch_axes"], tuple(operands), loc))
    return []


def _call(
    flat: FlatProgram, function: Any, operands: Sequence[Atom], outs: Sequence[Aval], effect: bool, loc: Loc
) -> list[Atom]:
    inputs = tuple([flat.value(a, loc) for a in operands])
    call = HostCallValue(aval((0,), b1), loc, function, inputs, effect)
    number = flat.add(call)
    call.results = tuple([flat.add(HostResultValue(a, loc, number)) for a in outs])
    if effect:
        flat.effects.append(number)
    return list(call.results)
