"""The only place that strings tracing, transforms, passes and backends together.

The stages of a compiled gradient, in order: *traced* (the user's function as a graph), *simplified*, *adjoint* (the
gradient's graph, simplified again), then the backend's *loops* and machine code. Without compilation the graph is
evaluated with NumPy, once.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphad.config import config
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Eqn, Graph
from graphad.ir.loc import Loc
from graphad.ir.types import literal
from graphad.primitives.control import jit
from graphad.primitives.effects import debug_print, printed_lines
from graphad.trace.bind import replay
from graphad.transforms.linearize import jvp_graph
from graphad.transforms.transpose import Transposed, transposed

if TYPE_CHECKING:
    from graphad.backends.executable import Executable
    from graphad.passes import Pipeline

NDArray = np.ndarray[Any, Any]


def default_pipeline() -> Pipeline:
    """The passes that every graph goes through before it is compiled, under the settings in force."""
    from graphad.passes import Inline, Simplify  # late: eager code needs no passes

    return (Inline(custom=True), Simplify(fast_math=config.fast_math))


def simplify(graph: Graph) -> Graph:
    """Calls inlined and rewritten: what is compiled. Memoised."""
    from graphad.passes import run  # late: eager code needs no passes

    pipeline = default_pipeline()
    return graph.memoize(("simplified", *pipeline), lambda: run(graph, pipeline))


def compiled(graph: Graph) -> Executable:
    """The executable of ``graph`` under the settings in force; made once for each graph and setting."""
    from graphad.backends.executable import compile_graph  # late: eager code needs no compiler

    key: Hashable = ("compiled", config.trace_key)
    return graph.memoize(key, lambda: compile_graph(simplify(graph), name=graph.name))


def run_graph(graph: Graph, arrays: Sequence[NDArray]) -> list[NDArray]:
    """Evaluate with NumPy; regions of ``jit`` run compiled, and prints print."""
    return evaluate(graph, arrays, _run_region, _on_effect)


def _run_region(eqn: Eqn, _loc: Loc, values: list[Any]) -> Sequence[Any]:
    if eqn.primitive is jit and not config.disable_jit:
        region = eqn.regions[0]
        arrays = [np.asarray(v, a.dtype.numpy) for v, a in zip(values, region.in_avals, strict=True)]
        return compiled(region)(*arrays)
    return run_graph(eqn.regions[0], values)


def _on_effect(eqn: Eqn, _loc: Loc, values: list[Any]) -> None:
    if eqn.primitive is debug_print:
        for line in printed_lines(values, **debug_print.named(eqn.params)):
            print(line)  # noqa: T201 - what the user asked for


def run_on(graph: Graph, operands: Sequence[Any]) -> list[Any]:
    """``graph`` on tracers (appended to the running trace) or arrays (evaluated): its outputs."""
    return replay(graph, operands, run_graph)


def gradient(graph: Graph, mask: tuple[bool, ...], output: int = 0) -> Transposed:
    """Values and gradient of the scalar ``output`` of ``graph``.

    Returns a graph from the inputs of ``graph`` to all its outputs and then one cotangent per marked float input that
    the output depends on.
    """

    def make() -> Transposed:
        joint, nonzero = jvp_graph(graph, mask)
        n_outputs = len(graph.outputs)
        n_tangents = joint.n_inputs - graph.n_inputs
        one = literal(1, graph.out_avals[output].dtype)
        seeds = [one if k == output else False for k, hot in enumerate(nonzero) if hot]
        linear = (False,) * graph.n_inputs + (True,) * n_tangents
        cts = (False,) * n_outputs + tuple(seeds)
        return transposed(joint, linear, cts, tuple(range(n_outputs)))

    return graph.memoize(("gradient", mask, output), make)
