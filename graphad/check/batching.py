"""Which batching rule is wrong: every equation over a batch, against a loop over the batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Final

import ml_dtypes
import numpy as np

from graphad.check.calculus import Arrays
from graphad.check.compare import batching_mismatch
from graphad.check.equations import Fault, Single, single, singles
from graphad.check.origin import Run
from graphad.ir.graph import Graph
from graphad.transforms.batch import batched

NDArray = np.ndarray[Any, Any]

_MOST_OPERANDS: Final = 4  # of which every choice is tried
_BATCH_SIZE: Final = 3


def batching_faults(graph: Graph, elements: Sequence[Arrays], mask: Sequence[bool]) -> Iterator[Fault]:
    """What is wrong of the batching of the equations of ``graph``, in their order.

    Parameters
    ----------
    graph
        The graph before batching.
    elements
        Its arguments for each element of the batch.
    mask
        Which of them are batched; the others are the same for all elements.
    """
    runs = [Run(graph, args) for args in elements]
    marks = bytearray(len(graph.avals))
    marks[: graph.n_inputs] = bytes(map(bool, mask))
    for eqn, loc in zip(graph.eqns, graph.locs, strict=True):
        mapped = [isinstance(a, int) and bool(marks[a]) for a in eqn.inputs]
        if not any(mapped) or eqn.primitive.effect:
            continue
        values = [run.operands(eqn) for run in runs]
        out_marks: Sequence[bool] = (True,) * len(eqn.outputs)
        one = single(eqn, loc, graph, values[0])
        if eqn.regions:
            if eqn.regions[0].in_avals == tuple([graph.aval_of(a) for a in eqn.inputs]):  # it runs once, on these
                yield from batching_faults(eqn.regions[0], values, mapped)
            out_marks = batched(one.graph, tuple([mapped[k] for k in one.positions]), len(elements)).mask
        for o, m in zip(eqn.outputs, out_marks, strict=True):
            marks[o] = m
        found = _fault(one, [[v[k] for k in one.positions] for v in values], [mapped[k] for k in one.positions])
        if found is not None:
            yield found


def batching_faults_at(graph: Graph, args: Arrays) -> Iterator[Fault]:
    """The same for a graph at one point: each element of the batch has the values of the point in another order."""
    for one in singles(graph, args):
        n = len(one.args)
        masks = list(product((False, True), repeat=n))[1:] if n <= _MOST_OPERANDS else [(True,) * n]
        for mask in masks:
            stacked = [batch_of(x, _BATCH_SIZE) if m else x for x, m in zip(one.args, mask, strict=True)]
            elements = [[x[k] if m else x for x, m in zip(stacked, mask, strict=True)] for k in range(_BATCH_SIZE)]
            found = _fault(one, elements, mask)
            if found is not None:
                yield found
                break


def batch_of(x: NDArray, size: int) -> NDArray:
    """``size`` arrays with the values of ``x``, each in another order."""
    return np.stack([np.roll(x.ravel(), k).reshape(x.shape) for k in range(size)])


def _fault(one: Single, elements: Sequence[Arrays], mask: Sequence[bool]) -> Fault | None:
    if one.eqn.primitive.batch is None and one.eqn.primitive.region_rules is None:
        return None
    stacked = [np.stack([args[k] for args in elements]) if m else elements[0][k] for k, m in enumerate(mask)]
    wrong = batching_mismatch(one.graph, stacked, mask, len(elements), [_bound(a) for a in one.graph.out_avals])
    if wrong is None:
        return None
    mapped = [one.positions[k] for k, m in enumerate(mask) if m]
    operand = mapped[0] if len(mapped) == 1 else None
    numbers = (wrong.place, wrong.expected, wrong.found)
    return Fault("batching", 1, one.eqn, one.loc, None, operand, *numbers, one.operands, is_decided=True)


def _bound(a: Any) -> float:
    """How far two ways of computing an output may be apart: sums may be in another order."""
    return 1e3 * float(ml_dtypes.finfo(a.dtype.numpy).eps) if a.is_float else 0.0
