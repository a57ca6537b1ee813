"""``Graph -> KernelProgram``: loop fusion, buffers, and the order of steps.

The stages, each plain data to the next: `flatten` (one definition per value), `anchors` (which values are roots of
fusion), `plan` and `nests` (the loops they share), `generate` (the statements). Then buffers that need no copy become
one (`copies`), and products and sums one operation wherever `loops.contraction` says, the same for every target.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass

from graphad.backends.loops.check import check_program
from graphad.backends.loops.contraction import contracted
from graphad.backends.loops.ir import (
    KernelProgram,
    LoopNest,
)
from graphad.backends.loops.steps import mapped_steps
from graphad.backends.lower.copies import without_copies
from graphad.backends.lower.definitions import FlatProgram, HostCallValue
from graphad.backends.lower.flatten import flatten
from graphad.backends.lower.generate import generate
from graphad.backends.lower.plan import make_plan
from graphad.backends.outcome import GuardOutput, HostSlot, PrintOutput
from graphad.backends.traits import CPU, Traits
from graphad.config import config
from graphad.ir.graph import Graph
from graphad.ir.types import Aval


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program, and what its outputs are.

    Attributes
    ----------
    outputs
        The types of all outputs of the program. The first ``n_outputs`` are those of the graph; then come predicates
        of guards and operands of prints.
    calls
        What the program calls on the host, by number.
    """

    program: KernelProgram
    outputs: tuple[Aval, ...]
    n_outputs: int
    guards: tuple[GuardOutput, ...]
    prints: tuple[PrintOutput, ...]
    calls: tuple[HostSlot, ...]


def lower(graph: Graph, name: str | None = None, *, traits: Traits = CPU) -> Lowered:
    """The program of ``graph``.

    Parameters
    ----------
    graph
        What to compute. Its regions are inlined.
    name
        The program's name; by default that of the graph.
    traits
        What the machine can do that the program is for.

    Raises
    ------
    LoweringError
        Where an equation has no compiled form.
    ValueError
        If the program breaks the rules of loop programs, which is checked from ``config.verify`` 2 on.
    """
    flat = flatten(graph, traits)
    plan = make_plan(flat)
    generated = generate(plan)
    buffers, steps = without_copies(generated.buffers, generated.steps)
    if traits.fma:
        steps = mapped_steps(steps, lambda s: contracted(s) if isinstance(s, LoopNest) else s)
    program = KernelProgram(_identifier(name or graph.name), buffers, steps)
    if config.verify >= 2:
        check_program(program)
    guards = zip(flat.guards, plan.guards, strict=True)
    prints = zip(flat.prints, plan.prints, strict=True)
    return Lowered(
        program,
        tuple(plan.slots),
        len(graph.outputs),
        tuple([GuardOutput(slot, g.expected, g.loc) for g, slot in guards]),
        tuple([PrintOutput(p.fmt, p.batch_axes, slots, p.loc) for p, slots in prints]),
        tuple([_slot_of(inside, call) for inside, call in plan.calls]),
    )


def _slot_of(flat: FlatProgram, call: HostCallValue) -> HostSlot:
    given, made = (tuple([flat.values[v].aval for v in values]) for values in (call.inputs, call.results))
    return HostSlot(call.function, given, made, call.effect, call.loc)


def _identifier(name: str) -> str:
    """``name`` as an identifier: other characters become underscores, and ``<lambda>`` becomes ``lambda_``."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "main"
    plain = plain if not plain[0].isdigit() else f"f{plain}"
    return f"{plain}_" if keyword.iskeyword(plain) else plain
