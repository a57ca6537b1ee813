"""Messages on results of a program that are nan or infinite, with their origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.check.messages import element, number, origin_text
from graphad.check.origin import Index, Origin, Run, find_origin, first_of
from graphad.ir.graph import Graph
from graphad.ir.verify import effects

NDArray = np.ndarray[Any, Any]
Test = Callable[[Any], Any]


class Complaint(NamedTuple):
    """A paragraph, and whether it begins with the user's line."""

    text: str
    has_line: bool


def complaint(
    graph: Graph, arrays: Sequence[Any], results: Sequence[NDArray], bad: Sequence[tuple[int, Test]]
) -> Complaint | None:
    """One paragraph on the first of the ``bad`` results; None if all are intended.

    Parameters
    ----------
    graph
        The program, not simplified.
    arrays, results
        Its arguments and results.
    bad
        Outputs, by position, that hold nan or infinities. An infinity that comes from an argument or a constant is
        intended.
    """
    for k, is_bad in bad:
        what = f"result {k} of {graph.name}" if len(results) > 1 else f"the result of {graph.name}"
        found = _origin(graph, arrays, k, is_bad(results[k]), is_bad)
        if isinstance(found, Origin):
            text = origin_text(found, f"{what}{element(first_of(is_bad(results[k])))}")
            return Complaint(text, found.eqn is not None and found.loc is not None)
        if found:
            return Complaint(f"{what}{found}", False)
    return None


def _origin(graph: Graph, arrays: Sequence[Any], k: int, bad: NDArray, is_bad: Test) -> Origin | str:
    """The origin of output ``k``, or a note that only the compiled program makes it bad; empty if there is none."""
    there: list[NDArray] = []
    for flush in (False, True):  # compiled programs may have treated a denormal number as zero
        run = Run(graph, arrays, flush=flush)
        there.append(run.results[k])
        mine = is_bad(there[-1]) & bad
        if mine.any() and is_bad is np.isinf:
            mine &= np.isinf(Run(graph, arrays, flush=flush, finite=True).results[k])
            if not mine.any():
                return ""
        if mine.any():
            return find_origin(run, graph.outputs[k], first_of(mine))
    index: Index = first_of(bad)
    kind = "nan" if is_bad is np.isnan else "infinite"
    if any([eqn.outputs for eqn in effects(graph)]):
        return (
            f"{element(index)} is {kind}. It depends on what an io_callback has answered, which is not called again to "
            "find out. Look at its answers, in the callback."
        )
    return (
        f"{element(index)} is {kind} in the compiled program, and {number(there[0][index])} when NumPy computes it: "
        "it is at the edge of the range of its dtype. Scale it, or compute in a wider dtype."
    )
