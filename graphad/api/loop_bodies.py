"""Bodies of loops and branches, traced from types, and the types of what they carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphad.api.branching import Predicates, without_predicates
from graphad.api.tracing import trace_with_loops
from graphad.config import config
from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, aval, promote
from graphad.primitives.cast import convert
from graphad.trace.bind import Spec, Traced, type_of
from graphad.trace.pytree import TreeDef, path_text, structure_text, unflatten
from graphad.trace.recording import current, state
from graphad.trace.source import where


class Body(NamedTuple):
    """A traced body.

    Attributes
    ----------
    graph
        Arguments, then captures -> results.
    captures
        What the body closes over.
    out_tree
        The structure of its results.
    out_types
        The types of its results.
    predicates
        Observations of values that it closes over, to be guarded before the equation.
    """

    graph: Graph
    captures: list[Any]
    out_tree: TreeDef
    out_types: list[Spec]
    predicates: Predicates | None


def traced_body(call: Callable[[Any], Any], types: Sequence[Spec], treedef: TreeDef, name: str, loop: str) -> Body:
    """Trace ``call``, which takes the arguments as one pytree. ``loop`` is what it is the body of, for messages."""
    traced: Traced = trace_with_loops(call, types, treedef, name=name, region=True, loop=loop)
    graph, predicates = without_predicates(traced, [None] * len(types) + traced.captures)
    out_types = [Spec(a, w) for a, w in zip(graph.out_avals, graph.weak, strict=True)]
    return Body(graph, traced.captures, traced.out_tree, out_types, predicates)


def types_of(leaves: Sequence[Any]) -> list[Spec]:
    """The types that leaves have inside a body: Python floats are numbers of the default dtype there."""
    return [type_of(x)._replace(exact=False) for x in leaves]


def guard(bodies: Sequence[Body]) -> None:
    """Guard what the bodies have observed of the values that they close over, which is the same in every turn."""
    trace = current()
    for body in bodies:
        if body.predicates is not None and trace is not None:
            body.predicates.guard(trace)


# ---------------------------------------------------------------------------------------------------------------------
# Carried values


def settled_types(
    given: list[Spec], trace: Callable[[list[Spec]], Body], n_carry: int, name: str
) -> tuple[list[Spec], Body]:
    """The types of carried values, and the body traced with them: weak ones take the dtype that it makes of them.

    As in JAX, what has taken another dtype is weak no more, and the results are as weak as those of the body.
    """
    forced = list(state.forced)
    types = given
    while True:
        body = trace(types)
        grown = [_promoted(a, b) for a, b in zip(types, body.out_types[:n_carry], strict=False)]
        if grown == types or len(body.out_types) < n_carry:
            return types, body
        types = grown
        state.forced[:] = forced  # the body is traced once more, and observes the same


def _promoted(a: Spec, b: Spec) -> Spec:
    """What a carried value of type ``a`` starts as, if the body makes ``b`` of it."""
    if not a.weak or a.aval.shape != b.aval.shape:
        return a
    dtype = common_dtype(a, b)
    return a if dtype is a.aval.dtype else Spec(aval(a.aval.shape, dtype), False)


def common_dtype(*types: Spec) -> DType:
    """The dtype of values of either type: a weak integer can be a float, and no weak float an integer."""
    return promote([t.aval.dtype for t in types], [t.weak for t in types], config.default_dtype_bits)[0]


def check_carry(types: Sequence[Spec], treedef: TreeDef, body: Body, out_tree: TreeDef, name: str) -> None:
    """Raise unless the body gives values of the types and the structure that it carries."""
    if out_tree != treedef:
        raise TypeError(
            f"{where()}{name} carries {structure_text(treedef)}, but its body returns {structure_text(out_tree)}: a "
            "loop carries values of one structure from turn to turn."
        )
    wrong = [
        f"{path_text(unflatten(treedef, list(range(len(types)))), k) or 'the carried value'} goes in as {a.aval} and "
        f"comes out as {b.aval}"
        for k, (a, b) in enumerate(zip(types, body.out_types, strict=False))
        if a.aval is not b.aval
    ]
    if wrong:
        raise TypeError(
            f"{where()}{name}: {'; '.join(wrong)}. A loop carries values of one type from turn to turn: start with a "
            "value of the type that comes out, or convert in the body, as by x.astype(carry.dtype)."
        )


def cast_to(graph: Graph, avals: Sequence[Aval]) -> Graph:
    """``graph`` with its first outputs converted to the dtypes of ``avals``."""
    if all([o is a for o, a in zip(graph.out_avals, avals, strict=False)]):
        return graph
    builder = Builder()
    outs = [Ref(builder, a) for a in builder.inline(graph, [builder.input(a) for a in graph.in_avals])]
    for k, a in enumerate(avals):
        if outs[k].aval is not a:
            outs[k] = convert(outs[k], dtype=a.dtype)
    return builder.close([x.atom for x in outs], graph.weak, name=graph.name)


def reordered(graph: Graph, n_arguments: int) -> Graph:
    """``graph`` with its captures first, the arguments behind them."""
    if n_arguments in (0, graph.n_inputs):
        return graph
    builder = Builder()
    avals = graph.in_avals
    captures = [builder.input(a) for a in avals[n_arguments:]]
    arguments = [builder.input(a) for a in avals[:n_arguments]]
    outs = builder.inline(graph, [*arguments, *captures])
    return builder.close(outs, graph.weak, name=graph.name)


def with_all_captures(bodies: Sequence[Body], n_arguments: Sequence[int]) -> tuple[list[Any], list[Graph]]:
    """What any of the bodies closes over, and the bodies as graphs that take all of it behind their arguments."""
    known: dict[Any, tuple[Any, Aval]] = {}
    for body, n in zip(bodies, n_arguments, strict=True):
        for x, a in zip(body.captures, body.graph.in_avals[n:], strict=True):
            known.setdefault(_identity(x, a), (x, a))
    graphs: list[Graph] = []
    for body, n in zip(bodies, n_arguments, strict=True):
        builder = Builder()
        arguments = [builder.input(a) for a in body.graph.in_avals[:n]]
        inputs = {key: builder.input(a) for key, (_, a) in known.items()}
        own = [inputs[_identity(x, a)] for x, a in zip(body.captures, body.graph.in_avals[n:], strict=True)]
        found = builder.inline(body.graph, [*arguments, *own])
        graphs.append(builder.close(found, body.graph.weak, name=body.graph.name))
    return [x for x, _ in known.values()], graphs


def _identity(captured: Any, a: Aval) -> Any:
    """Of a captured value as one of type ``a``: bodies may take a Python float in different dtypes."""
    return ((captured.builder, captured.atom) if isinstance(captured, Ref) else id(captured), a)
