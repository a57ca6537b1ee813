"""Loops and branches as equations: `scan`, `while_loop`, `cond` and what is made of them.

Each function traces its bodies once, from types, and makes a graph of one equation, which is appended to the running
trace or, where there is none, run. The public functions are in `graphad.lax`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.api.functions import name_of
from graphad.api.loop_bodies import (
    Body,
    cast_to,
    check_carry,
    common_dtype,
    guard,
    reordered,
    settled_types,
    traced_body,
    types_of,
    with_all_captures,
)
from graphad.api.stages import run_on
from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.ref import Ref
from graphad.ir.types import aval, b1, i32
from graphad.primitives.cast import convert
from graphad.primitives.cond import cond as cond_primitive
from graphad.primitives.elementwise import add, maximum, minimum
from graphad.primitives.layout import positions
from graphad.primitives.scan import scan as scan_primitive
from graphad.primitives.while_loop import while_ as while_primitive
from graphad.trace.bind import Spec, any_tracer, type_of
from graphad.trace.pytree import TreeDef, flatten, path_text, structure_text, unflatten
from graphad.trace.source import user_loc, where

# ---------------------------------------------------------------------------------------------------------------------
# scan


class TracedScan(NamedTuple):
    """A loop to be: its traced body, and what it starts with.

    Attributes
    ----------
    region
        What the body closes over, carried values, slices -> carried values, and what is stacked.
    given
        The types of the carried values.
    carry, slices
        The leaves that it starts with, and those that it runs over.
    length
        The number of turns.
    carry_tree, y_tree
        The structures of the results.
    """

    body: Body
    region: Graph
    given: list[Spec]
    carry: list[Any]
    slices: list[Any]
    length: int
    carry_tree: TreeDef
    y_tree: TreeDef


def traced_scan(f: Callable[..., Any], init: Any, xs: Any, length: int | None, name: str) -> TracedScan:
    """Trace the body of a scan."""
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
    return TracedScan(body, region, given, carry, slices, n, carry_tree, out_trees[1])


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    name: str = "scan",
) -> tuple[Any, Any]:
    """See `graphad.lax.scan`."""
    t = traced_scan(f, init, xs, length, name)
    builder = Builder()
    builder.loc = user_loc()
    consts = [builder.input(a) for a in t.region.in_avals[: len(t.body.captures)]]
    starts = [builder.input(g.aval) for g in t.given]
    arrays = [
        builder.input(aval((t.length, *x.shape), x.dtype)) for x in t.region.in_avals[len(consts) + len(starts) :]
    ]
    params = (t.length, bool(reverse), len(consts), len(starts))
    numbers = builder.emit(scan_primitive, (*consts, *starts, *arrays), params, (t.region,))
    graph = builder.close(numbers, t.region.weak, name=name_of(f))
    guard([t.body])
    results = run_on(graph, [*t.body.captures, *t.carry, *t.slices])
    n = len(t.carry)
    return unflatten(t.carry_tree, results[:n]), unflatten(t.y_tree, results[n:])


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
    graph = builder.close(numbers[:-1], [t.weak for t in body.out_types], name=name_of(body_fun))
    guard([body, test])
    return unflatten(treedef, run_on(graph, [*captures, *carry]))


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init: Any) -> Any:
    """See `graphad.lax.fori_loop`."""
    bounds = (lower, upper)
    for bound in bounds:
        kind = type_of(bound).aval
        if kind.shape or not kind.dtype.is_integer:
            raise TypeError(f"{where()}lax.fori_loop counts between integers without axes, not to {kind}.")
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
    graph = builder.close(results, [t.weak for t in body.out_types], name=name_of(body_fun))
    guard([body])
    return unflatten(treedef, run_on(graph, [*body.captures, *carry]))


# ---------------------------------------------------------------------------------------------------------------------
# cond and switch


def switch(index: Any, branches: Sequence[Callable[..., Any]], operands: Sequence[Any], name: str) -> Any:
    """See `graphad.lax.switch`; ``index`` is a scalar of i32 or bool."""
    leaves, treedef = flatten(tuple(operands))
    types = types_of(leaves)
    bodies = [
        traced_body(lambda args, f=branch: f(*args), types, treedef, name_of(branch), f"lax.{name}")
        for branch in branches
    ]
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
    """The types of the results; weak ones yield to those of other branches, where these hold their values."""
    first = bodies[0]
    for body, other in zip(bodies[1:], names[1:], strict=True):
        if body.out_tree != first.out_tree:
            raise TypeError(
                f"{where()}lax.{name}: {names[0]} returns {structure_text(first.out_tree)}, and {other} returns "
                f"{structure_text(body.out_tree)}. Branches must return the same structure."
            )
    joined: list[Spec] = []
    for k, candidates in enumerate(zip(*[b.out_types for b in bodies], strict=True)):
        at = next((n for n, t in enumerate(candidates) if not t.weak), 0)
        strong = candidates[at]
        if strong.weak:
            strong = strong._replace(aval=aval(strong.aval.shape, common_dtype(*candidates)))
        for t, which in zip(candidates, names, strict=True):
            yields = t.weak and common_dtype(strong, t) is strong.aval.dtype
            if t.aval.shape != strong.aval.shape or (t.aval is not strong.aval and not yields):
                path = path_text(unflatten(first.out_tree, list(range(len(first.out_types)))), k)
                remedy = "astype(dtype)" if t.aval.shape == strong.aval.shape else "reshape(shape)"
                raise TypeError(
                    f"{where()}lax.{name}: result{path} is {strong.aval} in {names[at]} and {t.aval} in {which}. "
                    f"Branches must return results of the same types: convert in one of them, as by x.{remedy}."
                )
        joined.append(strong)
    return joined


def scalar_predicate(pred: Any, name: str) -> Any:
    """``pred`` of `cond` as a boolean scalar."""
    t = type_of(pred)
    if t.aval.shape:
        raise TypeError(
            f"{where()}lax.{name} chooses by one boolean, but pred is {t.aval}. For a choice element by element write "
            "graphad.numpy.where(pred, a, b), or vmap the function."
        )
    return pred if t.aval.dtype is b1 else pred != 0
