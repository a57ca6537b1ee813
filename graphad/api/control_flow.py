"""Loops and branches as equations: `scan`, `while_loop`, `cond` and what is made of them.

Each function traces its bodies once, from types, and makes a graph of one equation, which is appended to the running
trace or, where there is none, run. The public functions are in `graphad.lax`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.api.branching import Predicates, without_predicates
from graphad.api.functions import name_of
from graphad.api.stages import run_on
from graphad.api.tracing import trace_with_loops
from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, aval, b1, i32
from graphad.primitives.cast import convert
from graphad.primitives.cond import cond as cond_primitive
from graphad.primitives.elementwise import add, maximum, minimum
from graphad.primitives.layout import positions
from graphad.primitives.scan import scan as scan_primitive
from graphad.primitives.while_loop import while_ as while_primitive
from graphad.trace.bind import Spec, Traced, any_tracer, type_of
from graphad.trace.pytree import TreeDef, flatten, path_text, structure_text, unflatten
from graphad.trace.recording import current, state
from graphad.trace.source import user_loc, where


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
    """The types of carried values, and the body traced with them: weak ones take the type that it makes of them."""
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
    return b if a.weak and a.aval.shape == b.aval.shape and (not b.weak or a.aval is not b.aval) else a


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


# ---------------------------------------------------------------------------------------------------------------------
# scan


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    name: str = "scan",
) -> tuple[Any, Any]:
    """See `graphad.lax.scan`."""
    carry, carry_tree = flatten(init)
    slices, x_tree = flatten(xs)
    n = _length(slices, x_tree, length, name)
    types = [_slice_type(x) for x in slices]
    _, pair_tree = flatten((unflatten(carry_tree, [0] * len(carry)), unflatten(x_tree, [0] * len(slices))))
    out_trees: list[TreeDef] = []

    def call(pair: Any) -> Any:
        result = f(*pair)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            text = f"{where()}lax.{name}: the body must return a pair (carry, y), not a {type(result).__name__}. "
            raise TypeError(f"{text}Write `return carry, None` if there is nothing to stack.")
        out_trees[:] = [flatten(result[0])[1], flatten(result[1])[1]]
        return tuple(result)

    def trace(carried: list[Spec]) -> Body:
        return traced_body(call, [*carried, *types], pair_tree, name_of(f), f"lax.{name}")

    given, body = settled_types(types_of(carry), trace, len(carry), name)
    check_carry(given, carry_tree, body, out_trees[0], f"lax.{name}")
    region = reordered(body.graph, len(carry) + len(slices))
    builder = Builder()
    builder.loc = user_loc()
    consts = [builder.input(a) for a in region.in_avals[: len(body.captures)]]
    starts = [builder.input(t.aval) for t in given]
    arrays = [builder.input(aval((n, *t.aval.shape), t.aval.dtype)) for t in types]
    numbers = builder.emit(
        scan_primitive, (*consts, *starts, *arrays), (n, bool(reverse), len(consts), len(starts)), (region,)
    )
    weak = [*[t.weak for t in given], *region.weak[len(given) :]]
    graph = builder.close(numbers, weak, name=name_of(f))
    guard([body])
    results = run_on(graph, [*body.captures, *carry, *slices])
    return unflatten(carry_tree, results[: len(carry)]), unflatten(out_trees[1], results[len(carry) :])


def _length(slices: Sequence[Any], treedef: TreeDef, length: int | None, name: str) -> int:
    """The number of turns."""
    found: dict[int, str] = {}
    for k, x in enumerate(slices):
        shape = type_of(x).aval.shape
        path = path_text(unflatten(treedef, list(range(len(slices)))), k)
        if not shape:
            raise ValueError(f"{where()}lax.{name} runs over the first axis of xs, but xs{path} has no axes.")
        found.setdefault(shape[0], f"xs{path}")
    if length is not None:
        found.setdefault(int(length), "length")
    if len(found) > 1:
        text = ", ".join(f"{what} has {n}" if what != "length" else f"length is {n}" for n, what in found.items())
        raise ValueError(f"{where()}lax.{name} got arrays of different lengths: {text}.")
    if not found:
        raise ValueError(f"{where()}lax.{name} got neither xs nor length: give it the number of turns.")
    return next(iter(found))


def _slice_type(x: Any) -> Spec:
    t = type_of(x)
    return Spec(aval(t.aval.shape[1:], t.aval.dtype), t.weak)


# ---------------------------------------------------------------------------------------------------------------------
# while_loop and fori_loop


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init: Any, name: str = "while_loop"
) -> Any:
    """See `graphad.lax.while_loop`."""
    carry, treedef = flatten(init)

    def trace(carried: list[Spec]) -> Body:
        return traced_body(body_fun, carried, treedef, name_of(body_fun), f"lax.{name}")

    given, body = settled_types(types_of(carry), trace, len(carry), name)
    check_carry(given, treedef, body, body.out_tree, f"lax.{name}")
    test = traced_body(cond_fun, given, treedef, name_of(cond_fun), f"lax.{name}")
    if [t.aval for t in test.out_types] != [aval((), b1)]:
        raise TypeError(
            f"{where()}lax.{name} goes on while cond_fun gives True: it must return one boolean without axes, not "
            f"{', '.join(repr(t.aval) for t in test.out_types) or 'nothing'}."
        )
    regions = (reordered(test.graph, len(carry)), reordered(body.graph, len(carry)))
    builder = Builder()
    builder.loc = user_loc()
    captures = [*test.captures, *body.captures]
    avals = [*test.graph.in_avals[len(carry) :], *body.graph.in_avals[len(carry) :], *[t.aval for t in given]]
    numbers = builder.emit(
        while_primitive, tuple([builder.input(a) for a in avals]), (len(test.captures), len(body.captures)), regions
    )
    graph = builder.close(numbers[:-1], [t.weak for t in given], name=name_of(body_fun))
    guard([test, body])
    return unflatten(treedef, run_on(graph, [*captures, *carry]))


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """See `graphad.lax.fori_loop`."""
    bounds = (lower, upper)
    if not any_tracer(bounds):
        first, stop = [int(np.asarray(b)[()]) for b in bounds]
        return _counted_loop(first, max(stop - first, 0), body_fun, init)

    def goes_on(state: Any) -> Any:
        return state[0] < state[1]

    def body(state: Any) -> Any:
        i, stop, x = state
        return i + 1, stop, body_fun(i, x)

    return while_loop(goes_on, body, (lower, upper, init), "fori_loop")[2]


def _counted_loop(first: int, n: int, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """``n`` turns, numbered from ``first`` on."""
    carry, treedef = flatten(init)
    counter = Spec(aval((), type_of(first).aval.dtype), True)
    _, pair_tree = flatten((0, unflatten(treedef, [0] * len(carry))))
    out_tree: list[TreeDef] = []

    def call(pair: Any) -> Any:
        result = body_fun(*pair)
        out_tree[:] = [flatten(result)[1]]
        return result

    def trace(carried: list[Spec]) -> Body:
        return traced_body(call, [counter, *carried], pair_tree, name_of(body_fun), "lax.fori_loop")

    given, body = settled_types(types_of(carry), trace, len(carry), "fori_loop")
    check_carry(given, treedef, body, out_tree[0], "lax.fori_loop")
    inner = Builder()
    captures = [inner.input(a) for a in body.graph.in_avals[1 + len(carry) :]]
    carried = [inner.input(t.aval) for t in given]
    number = inner.input(counter.aval)
    outs = inner.inline(body.graph, [number, *carried, *captures])
    region = inner.close(outs, body.graph.weak, name=body.graph.name)
    builder = Builder()
    builder.loc = user_loc()
    consts = [builder.input(a) for a in body.graph.in_avals[1 + len(carry) :]]
    starts = [builder.input(t.aval) for t in given]
    numbers = positions(builder, (n,), 0, counter.aval.dtype)
    if first:
        numbers = add(numbers, first)
    results = builder.emit(
        scan_primitive, (*consts, *starts, numbers.atom), (n, False, len(consts), len(starts)), (region,)
    )
    graph = builder.close(results, [t.weak for t in given], name=name_of(body_fun))
    guard([body])
    return unflatten(treedef, run_on(graph, [*body.captures, *carry]))


# ---------------------------------------------------------------------------------------------------------------------
# cond and switch


def switch(index: Any, branches: Sequence[Callable[..., Any]], operands: Sequence[Any], name: str) -> Any:
    """See `graphad.lax.switch`; ``index`` is a scalar of i32 or bool."""
    leaves, treedef = flatten(tuple(operands))
    types = types_of(leaves)
    forced = list(state.forced)
    bodies = []
    for k, branch in enumerate(branches):
        if k:
            state.forced[:] = forced
        bodies.append(traced_body(lambda args, f=branch: f(*args), types, treedef, name_of(branch), f"lax.{name}"))
    roles = ("false_fun", "true_fun") if name == "cond" else [f"branches[{k}]" for k in range(len(branches))]
    out_types = _joined_types(bodies, roles, name)
    captures, graphs = with_all_captures(bodies, [len(leaves)] * len(bodies))
    regions = [cast_to(graph, [t.aval for t in out_types]) for graph in graphs]
    builder = Builder()
    builder.loc = user_loc()
    chooser = Ref(builder, builder.input(type_of(index).aval))
    inputs = [builder.input(a) for a in regions[0].in_avals]
    if chooser.dtype is b1:
        chooser = convert(chooser, dtype=i32)
    else:
        chooser = minimum(maximum(chooser, 0), len(branches) - 1)
    params = (len(out_types), (0,) * len(branches))
    numbers = builder.emit(cond_primitive, (chooser.atom, *inputs), params, tuple(regions))
    graph = builder.close(numbers, [t.weak for t in out_types], name=name)
    guard(bodies)
    return unflatten(bodies[0].out_tree, run_on(graph, [index, *leaves, *captures]))


def _joined_types(bodies: Sequence[Body], names: Sequence[str], name: str) -> list[Spec]:
    """The types of the results; weak ones yield to those of other branches."""
    first = bodies[0]
    for body, other in zip(bodies[1:], names[1:], strict=True):
        if body.out_tree != first.out_tree:
            raise TypeError(
                f"{where()}lax.{name}: {names[0]} returns {structure_text(first.out_tree)}, and {other} returns "
                f"{structure_text(body.out_tree)}. Branches must return the same structure."
            )
    joined: list[Spec] = []
    for k, candidates in enumerate(zip(*[b.out_types for b in bodies], strict=True)):
        strong = next((t for t in candidates if not t.weak), candidates[0])
        for t, which in zip(candidates, names, strict=True):
            if t.aval.shape != strong.aval.shape or (t.aval is not strong.aval and not t.weak):
                strong_name = names[candidates.index(strong)]
                path = path_text(unflatten(first.out_tree, list(range(len(first.out_types)))), k)
                remedy = "astype(dtype)" if t.aval.shape == strong.aval.shape else "reshape(shape)"
                raise TypeError(
                    f"{where()}lax.{name}: result{path} is {strong.aval} in {strong_name} and {t.aval} in {which}. "
                    f"Branches must return results of the same types: convert in one of them, as by x.{remedy}."
                )
        joined.append(strong)
    return joined


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


def scalar_predicate(pred: Any, name: str) -> Any:
    """``pred`` of `cond` as a boolean scalar."""
    t = type_of(pred)
    if t.aval.shape:
        raise TypeError(
            f"{where()}lax.{name} chooses by one boolean, but pred is {t.aval}. For a choice element by element write "
            "graphad.numpy.where(pred, a, b), or vmap the function."
        )
    return pred if t.aval.dtype is b1 else pred != 0
