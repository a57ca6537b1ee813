"""Tracing a function to a graph, and running a graph on what is at hand: tracers or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.ir.collector import without_collector
from graphad.ir.graph import Atom, Graph
from graphad.ir.loc import Loc
from graphad.ir.primitive import Primitive
from graphad.ir.types import Aval, Literal, aval, dtype_of
from graphad.primitives.cast import convert
from graphad.trace.array import Array, to_array
from graphad.trace.device_array import DeviceArray, any_on_device, run_on_device
from graphad.trace.float0 import flatten_results
from graphad.trace.guards import record
from graphad.trace.pytree import TreeDef, path_text, unflatten
from graphad.trace.recording import NO_EXAMPLE, Trace, current, lift, state
from graphad.trace.source import user_loc, where
from graphad.trace.tracer import Tracer


class Spec(NamedTuple):
    """An argument known by its type alone: it has no example value."""

    aval: Aval
    weak: bool = False


class Traced(NamedTuple):
    """A traced function.

    Attributes
    ----------
    graph
        Arguments, then captures -> results, then (of a region) the predicates of its guards.
    captures
        The operands behind the arguments: tracers of enclosing traces, and Arrays.
    out_tree
        The structure of the results.
    expected
        Of a region: what each predicate must be.
    examples
        Values of outputs that are known already, by position.
    branched
        A Python branch was decided by the arguments: for others the graph may be another.
    """

    graph: Graph
    captures: list[Any]
    out_tree: TreeDef
    expected: list[Literal]
    examples: dict[int, Any]
    branched: bool


def type_of(x: Any) -> Spec:
    """Aval and weakness of a leaf: tracer, array, number, or `Spec`."""
    if isinstance(x, Tracer):
        return Spec(x.aval, x.weak_type)
    if type(x) is Spec:
        return x
    if isinstance(x, np.ndarray):
        return Spec(aval(x.shape, dtype_of(x.dtype)))
    if type(x) is not Array:
        try:
            x = to_array(x)
        except TypeError as error:
            raise TypeError(
                f"{where()}{error}. A transformed function takes arrays, numbers, None, and containers of these; other "
                "values are static arguments of jit, or are closed over."
            ) from None
    return Spec(x.aval, x.weak_type)


@without_collector
def trace_function(
    call: Callable[[Any], Any],
    leaves: Sequence[Any],
    treedef: TreeDef,
    *,
    name: str = "f",
    region: bool = False,
    path: bool = False,
    examples: bool = True,
    primal: tuple[Sequence[Any], dict[int, Any], bool] | None = None,
    beside: Sequence[Any] = (),
) -> Traced:
    """Run ``call`` on tracers that stand for ``leaves`` and close what it did into a graph.

    Parameters
    ----------
    call
        Takes the arguments as one pytree of structure ``treedef``; returns a pytree of results.
    leaves
        Tracers of enclosing traces, Arrays, numbers, or `Spec` for arguments without an example.
    name
        For the graph and for errors.
    region
        The graph becomes a region of an equation: its guards stay outside.
    path
        The graph is a path of a compiled function: its arguments vary from call to call.
    examples
        False hides the values of ``leaves``.
    primal
        For a custom rule: the captures and constants of its primal, which are captured first, used or not; and whether
        their values are known.
    beside
        Leaves that ``call`` is handed untransformed, beside its arguments.
    """
    trace = Trace(name, region, path)
    trace.handed = {id(x._value) for x in beside if type(x) is Array and not x.ndim}
    arguments: list[Tracer] = []
    for x in leaves:
        spec = type_of(x)
        source = x if examples and type(x) is not Spec else NO_EXAMPLE
        if not isinstance(source, (Tracer, DeviceArray)) and source is not NO_EXAMPLE:
            source = to_array(source)._value
        arguments.append(Tracer(trace, trace.argument(spec.aval, source), spec.weak))
    if primal is not None:
        trace.follow(*primal)
    state.stack.append(trace)
    try:
        out_leaves, out_tree = flatten_results(call(unflatten(treedef, arguments)))
        atoms, weak = _results(trace, out_leaves, out_tree, name)
    finally:
        state.stack.pop()
    predicates = [p for p, _ in trace.guards]
    numbered = [(k, a) for k, a in enumerate([*atoms, *predicates]) if isinstance(a, int)]
    known = {k: trace.examples[a] for k, a in numbered if a in trace.examples}
    graph = trace.close([*atoms, *predicates], [*weak, *([False] * len(predicates))], name=name)
    captured = [c.value for c in trace.captures.values()]
    return Traced(graph, captured, out_tree, [e for _, e in trace.guards], known, trace.branched)


def _results(trace: Trace, leaves: list[Any], out_tree: TreeDef, name: str) -> tuple[list[Atom], list[bool]]:
    atoms: list[Atom] = []
    weak: list[bool] = []
    for k, x in enumerate(leaves):
        if not isinstance(x, Tracer):
            try:
                x = to_array(x)
            except TypeError as error:
                path = path_text(unflatten(out_tree, leaves), k)
                raise TypeError(
                    f"{where()}{name} returned a {type(x).__name__} at result{path}; a traced function returns arrays, "
                    "numbers, None, and containers of these."
                ) from error
        atoms.append(lift(trace, x))
        weak.append(x.weak_type)
    return atoms, weak


def any_tracer(xs: Sequence[Any]) -> bool:
    """Whether one of ``xs`` is a tracer."""
    return any([isinstance(x, Tracer) for x in xs])


def replay(
    graph: Graph, operands: Sequence[Any], evaluate: Callable[[Graph, list[np.ndarray[Any, Any]]], Sequence[Any]]
) -> list[Any]:
    """The outputs of ``graph`` on ``operands``.

    Appended to the running trace if one of them is a tracer, run on the device where one of them is, else by
    ``evaluate``.
    """
    if any_tracer(operands):
        trace = current()
        atoms = [_operand(trace, x, a) for x, a in zip(operands, graph.in_avals, strict=True)]
        assert trace is not None, "where no trace runs, the tracer has outlived its own, and `lift` has raised"
        return [Tracer(trace, a, w) for a, w in zip(trace.inline(graph, atoms), graph.weak, strict=True)]
    if any_on_device(operands):
        return run_on_device(graph, operands)
    values = [_value(x, a) for x, a in zip(operands, graph.in_avals, strict=True)]
    return [Array(r, w) for r, w in zip(evaluate(graph, values), graph.weak, strict=True)]


def _operand(trace: Trace | None, x: Any, a: Aval) -> Atom:
    if type(x) is DeviceArray:
        return lift(trace, x if x.aval is a else convert(x, dtype=a.dtype))
    return lift(trace, x if isinstance(x, Tracer) else Array(_value(x, a)))


def as_argument(x: Any, a: Aval) -> Tracer:
    """``x`` as an operand of type ``a`` in the running trace, in the form of an argument of another one."""
    trace = current()
    assert trace is not None
    return Tracer(trace, _operand(trace, x, a))


def _value(x: Any, a: Aval) -> np.ndarray[Any, Any]:
    """A concrete operand as an array of the input's dtype; what the caller may write to later is copied."""
    value = to_array(x)._value
    return value if value.dtype == a.dtype.numpy else value.astype(a.dtype.numpy)


def emit_region(
    primitive: Primitive, params: tuple[Any, ...], traced: Traced, operands: Sequence[Any], loc: Loc = None
) -> list[Any]:
    """Append an equation with ``traced`` as its region to the running trace; guard its predicates; its results."""
    trace = current()
    assert trace is not None
    graph = traced.graph
    inputs = [_operand(trace, x, a) for x, a in zip([*operands, *traced.captures], graph.in_avals, strict=True)]
    trace.loc = loc if loc is not None else user_loc(2)
    numbers = trace.emit(primitive, tuple(inputs), params, (graph,))
    for k, value in traced.examples.items():
        if value is not NO_EXAMPLE:
            trace.examples.setdefault(numbers[k], value)
            trace.varying.setdefault(numbers[k], True)
    n_results = len(numbers) - len(traced.expected)
    for number, expected in zip(numbers[n_results:], traced.expected, strict=True):
        # Also where it is guarded already: a retrace counts the observations, so none may be left out.
        record(trace, number, expected)
    return [Tracer(trace, n, w) for n, w in zip(numbers[:n_results], graph.weak, strict=False)]
