"""Tracing a function to a graph, and running a graph on operands: tracers or arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from graphad.config import config
from graphad.errors import ConcretizationError
from graphad.ir.builder import Builder
from graphad.ir.collector import without_collector
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Atom, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.rounding import converted
from graphad.ir.types import Aval, Literal, aval, dtype_of, f32, f64
from graphad.primitives.cast import convert
from graphad.primitives.collectives import axis_names
from graphad.trace.array import Array, as_container, refuse_masked, to_array
from graphad.trace.device_array import DeviceArray, any_on_device, run_on_device
from graphad.trace.exact import Exact, Origin
from graphad.trace.float0 import flatten_results
from graphad.trace.guard_sites import GuardSite
from graphad.trace.guards import record
from graphad.trace.pytree import TreeDef, path_text, unflatten
from graphad.trace.recording import NO_EXAMPLE, Trace, current, lift, state
from graphad.trace.source import located, user_loc, where
from graphad.trace.tracer import Tracer
from graphad.transforms.narrow import narrow_inputs


class Spec(NamedTuple):
    """An abstract argument: a type without an example value.

    Attributes
    ----------
    aval, weak
        Of a Python float: the default dtype, weak.
    exact
        It is a Python float, or a tracer that stands for one.
    """

    aval: Aval
    weak: bool = False
    exact: bool = False


#: A Python float, by the width of the default dtype. Where that is float64, it is no more exact than other numbers.
_FLOAT: Final = {32: Spec(aval((), f32), True, exact=True), 64: Spec(aval((), f64), True)}


class Traced(NamedTuple):
    """A traced function.

    Attributes
    ----------
    graph
        Arguments, then captures -> results, then (of a region) the predicates of its guards.
    captures
        The operands after the arguments: tracers of enclosing traces, and Arrays.
    out_tree
        The structure of the results.
    expected
        Of a region: what each predicate must be.
    examples
        Values of outputs that are known already, by position.
    branched
        A Python branch was decided by the arguments: for others the graph may be another.
    derivatives
        For each argument the type in which users get a derivative by it.
    sites
        Of a path: the sites of its guards.
    """

    graph: Graph
    captures: list[Any]
    out_tree: TreeDef
    expected: list[Literal]
    examples: dict[int, Any]
    branched: bool
    derivatives: list[Spec]
    sites: Sequence[GuardSite] = ()


def type_of(x: Any) -> Spec:
    """The type of a leaf: tracer, array, number, or `Spec`."""
    if isinstance(x, Tracer):
        return Spec(x.aval, x.weak_type, x.exact)
    if type(x) is Spec:
        return x
    if type(x) is float:
        return _FLOAT[config.default_dtype_bits]
    if isinstance(x, np.ndarray):
        refuse_masked(x)
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
    loop: str = "",
) -> Traced:
    """Run ``call`` on tracers in place of ``leaves``, and close the recorded equations into a graph.

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
    loop
        What the graph is the body of, of a loop or a branch: for the error where its arguments decide a Python branch.
    """
    trace = Trace(name, region, path)
    trace.loop = loop
    trace.handed = {id(x._value) for x in beside if type(x) is Array and not x.ndim}
    specs = [type_of(x) for x in leaves]
    sources = [_source(x) if examples else NO_EXAMPLE for x in leaves]
    arguments = [_argument(trace, spec, source) for spec, source in zip(specs, sources, strict=True)]
    if primal is not None:
        trace.follow(*primal)
    state.stack.append(trace)
    try:
        out_leaves, out_tree = flatten_results(call(unflatten(treedef, arguments)))
        atoms, weak = _results(trace, out_leaves, out_tree, name)
    except ValueError as error:
        # NumPy hides the error of out[i] = x behind "setting an array element with a sequence".
        if isinstance(error.__cause__, ConcretizationError):
            raise error.__cause__.with_traceback(error.__traceback__) from None
        raise
    finally:
        state.stack.pop()
    predicates = [p for p, _ in trace.guards]
    numbered = [(k, a) for k, a in enumerate([*atoms, *predicates]) if isinstance(a, int)]
    known = {k: trace.examples[a] for k, a in numbered if a in trace.examples}
    graph = trace.close([*atoms, *predicates], [*weak, *([False] * len(predicates))], name=name)
    if trace.exact and primal is None:
        graph = narrow_inputs(graph, [k for k in range(graph.n_inputs) if k in trace.exact])
    captured = [c.value for c in trace.captures.values()]
    derivatives = [_derivative(a) for a in arguments]
    traced = Traced(
        graph, captured, out_tree, [e for _, e in trace.guards], known, trace.branched, derivatives, trace.sites
    )
    note_float64(leaves, traced)
    return traced


def _source(x: Any) -> Any:
    """Where the example of an argument comes from: a tracer, memory of a device, or an array."""
    if type(x) is Spec:
        return NO_EXAMPLE
    if type(x) is float:
        return np.asarray(x)
    return x if isinstance(x, (Tracer, DeviceArray)) else to_array(x)._value


def _argument(trace: Trace, spec: Spec, source: Any) -> Tracer:
    if spec.exact:
        return Exact(trace, trace.argument(aval((), f64), source), (Origin(),))
    return Tracer(trace, trace.argument(spec.aval, source), spec.weak)


def _derivative(argument: Tracer) -> Spec:
    """The type in which users get a derivative by ``argument``."""
    wide = type(argument) is Exact and argument.origins[0].met_float64
    return Spec(aval((), f64) if wide else argument.aval, argument.weak_type, argument.exact)


def note_float64(leaves: Sequence[Any], traced: Traced) -> None:
    """Note that Python floats of enclosing traces have met float64, if their arguments of ``traced`` have."""
    for x, derivative in zip(leaves, traced.derivatives, strict=True):
        if type(x) is Exact and derivative.aval.dtype is f64:
            x.meet_float64()


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
                    f"numbers, None, and containers of these{as_container(x)}."
                ) from error
        atoms.append(lift(trace, x))
        weak.append(x.weak_type)
    return atoms, weak


def any_tracer(xs: Sequence[Any]) -> bool:
    """Whether one of ``xs`` is a tracer."""
    return any([isinstance(x, Tracer) for x in xs])


def is_over_axes(graph: Graph) -> bool:
    """Whether ``graph`` is over named batch axes that are being traced: it has no value before they are batched."""
    return bool(state.axes) and bool(axis_names(graph))


def replay(
    graph: Graph, operands: Sequence[Any], evaluate: Callable[[Graph, list[np.ndarray[Any, Any]]], Sequence[Any]]
) -> list[Any]:
    """The outputs of ``graph`` on ``operands``.

    Appended to the running trace if one of them is a tracer, or if it has effects, which happen when that runs; run on
    the device where one of them is, else by ``evaluate``. A graph over a named batch axis is appended in any case.
    """
    trace = current()
    if any_tracer(operands) or (trace is not None and graph.effectful) or is_over_axes(graph):
        atoms = [as_input(trace, x, a) for x, a in zip(operands, graph.in_avals, strict=True)]
        assert trace is not None, "where no trace runs, the tracer has outlived its own, and `lift` has raised"
        return [Tracer(trace, a, w) for a, w in zip(trace.inline(graph, atoms), graph.weak, strict=True)]
    if any_on_device(operands):
        return run_on_device(graph, operands)
    values = [_value(x, a) for x, a in zip(operands, graph.in_avals, strict=True)]
    return [Array(r, w) for r, w in zip(evaluate(graph, values), graph.weak, strict=True)]


def results_alone(primitive: Primitive, *operands: Any, **params: Any) -> list[Any]:
    """Those results of ``primitive`` that its slot ``alone`` names, computed of arrays without the others.

    In a trace there is one equation with all results: its program computes those that are read.
    """
    assert primitive.alone is not None
    if any_tracer(operands):
        found = primitive(*operands, **params)
        return [found[k] for k in primitive.alone[0]]
    try:
        graph = _alone(primitive, tuple([x.aval for x in operands]), tuple([params[n] for n in primitive.params]))
    except (TypeError, ValueError) as error:
        raise located(error) from None
    return replay(graph, operands, evaluate)


@lru_cache(1024)
def _alone(primitive: Primitive, types: tuple[Aval, ...], params: tuple[Any, ...]) -> Graph:
    builder = Builder()
    found = builder.emit(primitive, tuple([builder.input(a) for a in types]), params)
    return builder.close([found[k] for k in primitive.alone[0]], name=primitive.name)  # type: ignore[index]


def as_input(trace: Trace | None, x: Any, a: Aval) -> Atom:
    """``x`` as an input of type ``a``."""
    if isinstance(x, Tracer):
        x = x.wide if type(x) is Exact else x
        return lift(trace, x if x.aval.dtype is a.dtype else convert(x, dtype=a.dtype))
    if type(x) is DeviceArray:
        return lift(trace, x if x.aval is a else convert(x, dtype=a.dtype))
    return lift(trace, Array(_value(x, a)))


def values_of(operands: Sequence[Any], avals: Sequence[Aval]) -> list[np.ndarray[Any, Any]]:
    """Concrete operands as arrays for inputs of types ``avals``, of which there may be more."""
    return [x._value if type(x) is Array else _value(x, a) for x, a in zip(operands, avals, strict=False)]


def as_argument(x: Any, a: Aval) -> Tracer:
    """``x`` as an operand of type ``a`` in the running trace, in the form of an argument of another one."""
    trace = current()
    assert trace is not None
    number = as_input(trace, x, a)
    return Exact(trace, number, (Origin(),)) if type_of(x).exact and a.dtype is f64 else Tracer(trace, number)


def _value(x: Any, a: Aval) -> np.ndarray[Any, Any]:
    """A concrete operand as an array of the input's dtype; what the caller may write to later is copied."""
    value = np.asarray(x) if type(x) is float else to_array(x)._value
    return value if value.dtype == a.dtype.numpy else converted(value, a.dtype.numpy)


def emit_region(primitive: Primitive, params: tuple[Any, ...], traced: Traced, operands: Sequence[Any]) -> list[Any]:
    """Append an equation with ``traced`` as its region to the running trace; guard its predicates; its results."""
    trace = current()
    assert trace is not None
    graph = traced.graph
    inputs = [as_input(trace, x, a) for x, a in zip([*operands, *traced.captures], graph.in_avals, strict=True)]
    trace.loc = user_loc(2)
    numbers = trace.emit(primitive, tuple(inputs), params, (graph,))
    for k, value in traced.examples.items():
        if value is not NO_EXAMPLE:
            trace.examples.setdefault(numbers[k], value)
            trace.varying.setdefault(numbers[k], True)
    n_results = len(numbers) - len(traced.expected)
    for number, expected in zip(numbers[n_results:], traced.expected, strict=True):
        # Also if it is guarded already: a retrace counts the observations, so none may be omitted.
        record(trace, number, expected)
    return [Tracer(trace, n, w) for n, w in zip(numbers[:n_results], graph.weak, strict=False)]
