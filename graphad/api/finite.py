"""Checks of results for nan and infinities, while ``config.debug_nans`` or ``debug_infs`` is on.

Compiled programs are wrapped when they are made; the settings are part of the key they are cached under, so programs
compiled without them have no checks. Where a result is bad, the graph that was compiled, primal and adjoint equations
alike, is run once more with NumPy, and the value is traced back to the equation that made it (`graphad.check`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.backends.outcome import Answers, GuardFailure
from graphad.config import config
from graphad.errors import NonFiniteError
from graphad.ir.graph import Graph
from graphad.ir.types import Aval
from graphad.trace.source import where

NDArray = np.ndarray[Any, Any]


class Watched:
    """An executable whose results are checked; everything else is delegated to it.

    Attributes
    ----------
    executable
        What runs.
    graph
        What it was compiled from, with the user's lines.
    """

    entry = None  # nothing but `run` looks at results

    def __init__(self, executable: Any, graph: Graph) -> None:
        self.executable, self.graph = executable, graph

    def run(self, operands: Sequence[Any], answers: Answers = ()) -> Any:
        outcome = self.executable.run(operands, answers)
        if type(outcome) is not GuardFailure:
            look(self.graph, operands, outcome)
        return outcome

    def __call__(self, *operands: Any) -> Any:
        results = self.executable(*operands)
        look(self.graph, operands, results)
        return results

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executable, name)


def watched(executable: Any, graph: Graph) -> Any:
    """``executable``, compiled from ``graph``, wrapped if the settings in force ask for checks."""
    return Watched(executable, graph) if config.looks else executable


def look(graph: Graph, operands: Sequence[Any], outcome: Sequence[Any]) -> None:
    """Raise `NonFiniteError` where a program's ``outcome`` has a value that the settings in force do not allow."""
    results = _on_host(outcome, graph.out_avals)
    floats = [(k, x) for k, x in enumerate(results) if graph.out_avals[k].is_float]
    tests = [np.isnan] * ("debug_nans" in config.looks) + [np.isinf] * ("debug_infs" in config.looks)
    bad = [(k, is_bad) for is_bad in tests for k, x in floats if bool(np.any(is_bad(x)))]
    if not bad:
        return
    from graphad.check.results import complaint  # late: only where there is something to complain of

    found = complaint(graph, _on_host(operands, graph.in_avals), results, bad)
    if found is not None:
        raise NonFiniteError(found.text if found.has_line else f"{where()}{found.text}")


def _on_host(values: Sequence[Any], avals: Sequence[Aval]) -> list[NDArray]:
    """Arrays as they are, memory of a device downloaded."""
    arrays: list[NDArray] = []
    for x, a in zip(values, avals, strict=True):
        if not isinstance(x, np.ndarray):
            memory, x = x, np.empty(a.shape, a.dtype.numpy)
            memory.download(x)
        arrays.append(x)
    return arrays
