"""The reference interpreter: runs a graph with NumPy, one equation after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphad.errors import GraphadError, at
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc, format_loc
from graphad.ir.rounding import converted
from graphad.ir.types import Aval

Array = np.ndarray[Any, Any]
RunRegion = Callable[[Eqn, Loc, list[Any]], Sequence[Any]]
OnEffect = Callable[[Eqn, Loc, list[Any]], Sequence[Any] | None]


def evaluate(
    graph: Graph,
    args: Sequence[Any],
    run_region: RunRegion | None = None,
    on_effect: OnEffect | None = None,
) -> list[Array]:
    """The outputs of ``graph`` on ``args``.

    Parameters
    ----------
    graph
        What to run.
    args
        One array per input, of the input's shape and dtype.
    run_region
        Runs an equation with regions (``api`` compiles them); by default its regions are interpreted in place.
    on_effect
        Called with each effectful equation and its operand values; gives its results. By default effects do nothing,
        and their results are zeros.

    Returns
    -------
    list of numpy.ndarray
        One per output.
    """

    def run(region: Graph, values: Sequence[Any]) -> list[Array]:
        return evaluate(region, values, None, on_effect)

    env: list[Any] = [*args, *([None] * (len(graph.avals) - graph.n_inputs))]
    avals = graph.avals
    with np.errstate(all="ignore"):
        for k, eqn in enumerate(graph.eqns):
            primitive, inputs, params, outputs, regions = eqn
            values = [env[a] if isinstance(a, int) else a.value for a in inputs]
            if regions:
                if run_region is not None:
                    results: Any = run_region(eqn, graph.locs[k], values)
                else:
                    results = primitive.region_rules.evaluate(eqn, values, run)  # type: ignore[union-attr]
            elif primitive.effect:
                results = None if on_effect is None else on_effect(eqn, graph.locs[k], values)
                if results is None:
                    results = [np.zeros(avals[o].shape, avals[o].dtype.numpy) for o in outputs]
            else:
                try:
                    read = None if primitive.alone is None else [o in graph.values_read for o in outputs]
                    results = primitive.evaluate(tuple(values), params, read)
                except GraphadError as error:
                    raise type(error)(at(format_loc(graph.locs[k]), str(error))) from None
                if not primitive.multiple:
                    results = (results,)
            for o, r in zip(outputs, results, strict=True):
                env[o] = conform(r, avals[o])
    return [env[a] if isinstance(a, int) else np.asarray(a.value) for a in graph.outputs]


def conform(result: Any, aval: Aval) -> Array:
    """``result`` as an array of exactly this shape and dtype (NumPy turns 0-d arrays into scalars, and widens)."""
    if type(result) is not np.ndarray or result.dtype != aval.dtype.numpy:
        result = converted(np.asarray(result), aval.dtype.numpy)
    if result.shape != aval.shape:
        result = np.broadcast_to(result, aval.shape)
    return result
