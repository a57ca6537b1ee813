"""Reports on wrong rules of a program, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphad.check.batching import batching_faults, batching_faults_at
from graphad.check.calculus import Arrays
from graphad.check.equations import Fault, faults, singles
from graphad.check.messages import doubt_text, fault_text
from graphad.errors import at
from graphad.ir.graph import Graph
from graphad.ir.loc import user_line
from graphad.primitives.elementwise import stop_gradient


def why_gradients_differ(graph: Graph, args: Arrays, order: int) -> str:
    """The first equation of ``graph`` with a wrong derivative or transpose at ``args``, or another likely reason."""
    found, doubts = _first(faults(graph, args, order))
    if found is not None:
        return fault_text(found)
    stopped = [one for one in singles(graph, args) if one.eqn.primitive is stop_gradient]
    texts = [at(user_line(one.loc), "stop_gradient has the derivative 0, whatever its values do.") for one in stopped]
    texts += [doubt_text(doubt) for doubt in doubts]
    return "\n".join(["Every equation has the right derivative at the values it meets.", *texts])


def why_batch_differs(graph: Graph, elements: Sequence[Arrays], mask: Sequence[bool]) -> str:
    """The first equation of ``graph`` whose batching rule is wrong for this batch."""
    found, _ = _first(batching_faults(graph, elements, mask))
    return fault_text(found) if found is not None else "Every equation of it is right over this batch."


def all_faults(graph: Graph, args: Arrays, order: int) -> tuple[int, list[str]]:
    """The number of equations checked, and the faults of their derivatives, transposes and batching rules."""
    found = [*faults(graph, args, order), *batching_faults_at(graph, args)]
    return sum(1 for _ in singles(graph, args)), [fault_text(f) for f in found if f.is_decided]


def _first(found: Iterable[Fault]) -> tuple[Fault | None, list[Fault]]:
    """The first decided fault, and the doubtful ones before it."""
    doubts: list[Fault] = []
    for fault in found:
        if fault.is_decided:
            return fault, doubts
        doubts.append(fault)
    return None, doubts
