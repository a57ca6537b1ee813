"""Tracing as transformations do it: what Python has unrolled becomes loops before anything is made of the graph."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from graphad.backends.targets import target_of
from graphad.config import config
from graphad.device import parse
from graphad.ir.graph import Graph
from graphad.trace.bind import Traced, trace_function
from graphad.trace.device_array import DeviceArray
from graphad.trace.pytree import TreeDef
from graphad.trace.recording import state

#: The least number of equations in which loops are looked for.
_FEWEST: Final = 256

_listening: ContextVar[list[str] | None] = ContextVar("graphad_loops", default=None)


def trace_with_loops(call: Callable[[Any], Any], leaves: Sequence[Any], treedef: TreeDef, **options: Any) -> Traced:
    """`trace_function`, with loops in the graph where Python has unrolled them; ``options`` are of that."""
    traced = trace_function(call, leaves, treedef, **options)
    if not _wanted(traced.graph, [*leaves, *traced.captures]):
        return traced
    return traced._replace(graph=with_loops(traced.graph))


def _wanted(graph: Graph, arrays: Sequence[Any]) -> bool:
    """Whether loops are looked for: not for GPUs, which run what is unrolled, but not all loops.

    ``arrays`` are what it is traced with.
    """
    if len(graph.eqns) < _FEWEST or not config.reroll:
        return False
    placed = [*arrays, *[x for trace in state.stack for x in trace.on_devices]]
    devices = {parse(config.default_device), *[x.device for x in placed if type(x) is DeviceArray]}
    return all([target_of(device).rerolls for device in devices])


def with_loops(graph: Graph) -> Graph:
    """``graph``, with loops where Python has unrolled them."""
    from graphad.passes import applied  # late: short functions need no passes

    note_loops(graph)
    return applied(graph, "reroll")


def note_loops(graph: Graph) -> None:
    """Tell who listens which loops there are in ``graph``."""
    notes = _listening.get()
    if notes is not None:
        from graphad.passes import Reroll  # late: short functions need no passes

        Reroll().run(graph, notes.append)


def note(text: str) -> None:
    """Tell who listens something of a loop."""
    notes = _listening.get()
    if notes is not None:
        notes.append(text)


@contextmanager
def loop_notes() -> Generator[list[str]]:
    """What is said of loops while functions are traced: those that were made, and what was in the way of others."""
    notes: list[str] = []
    token = _listening.set(notes)
    try:
        yield notes
    finally:
        _listening.reset(token)
