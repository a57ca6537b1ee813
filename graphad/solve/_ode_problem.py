"""What is to be integrated: the user's function as a graph over the leaves of its state, and the times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from graphad import numpy as gnp
from graphad.api.control_flow import Body, cast_to, guard, traced_body
from graphad.api.functions import name_of
from graphad.api.stages import run_on
from graphad.ir.graph import Graph
from graphad.ir.types import Aval, DType, aval, f32, f64
from graphad.primitives.control import without_effects
from graphad.trace.bind import Spec, type_of
from graphad.trace.pytree import Tree, TreeDef, flatten, path_text, structure_text, tree_map, unflatten
from graphad.trace.recording import state as trace_state
from graphad.trace.semantics import cast, result_type
from graphad.trace.source import where


class Problem(NamedTuple):
    """An initial value problem.

    Attributes
    ----------
    graph
        State, time, captures -> the derivative of the state.
    captures
        All else that the derivative is computed of: arguments of the user's function, and what it closes over.
    treedef
        The structure of the state.
    state
        The leaves of the initial state, as arrays.
    times
        The times, in the widest dtype of the state.
    """

    graph: Graph
    captures: list[Any]
    treedef: TreeDef
    state: list[Any]
    times: Any

    def rate(self, state: list[Any], time: Any, captures: Sequence[Any], again: bool) -> list[Any]:
        """The derivative of the state; without its prints where it is computed ``again``."""
        return run_on(without_effects(self.graph) if again else self.graph, [*state, time, *captures])


def posed(func: Callable[..., Any], y0: Tree, t: Any, args: Sequence[Any]) -> Problem:
    """The problem ``dy/dt = func(y, t, *args)``, in dtypes that follow from the state; see `graphad.solve.odeint`."""
    leaves, treedef = flatten(y0)
    if not leaves:
        raise TypeError(f"{where()}odeint: y0 has no leaves. Give it a number, an array, or containers of these.")
    shape = (len(t),) if isinstance(t, (list, tuple)) else type_of(t).aval.shape
    if len(shape) != 1 or not shape[0]:
        raise ValueError(
            f"{where()}odeint takes t as an array with one axis, which begins with the time of y0; its shape is "
            f"{shape}."
        )
    types = [type_of(leaf) for leaf in leaves]
    fixed = [x.aval.is_float and not x.weak for x in types]
    times = flatten(t)[0]
    dtypes = [
        x.aval.dtype if is_fixed else result_type(leaf, 1.0, *times)[0]
        for leaf, x, is_fixed in zip(leaves, types, fixed, strict=True)
    ]
    forced = list(trace_state.forced)
    while True:
        _check_dtypes(dtypes, treedef)
        avals = [aval(x.aval.shape, d) for x, d in zip(types, dtypes, strict=True)]
        time = f64 if f64 in dtypes else f32
        body = _body(func, avals, time, treedef, args)
        # Numbers take the dtype that the function makes of them.
        grown = [
            o.aval.dtype if not is_fixed and o.aval.dtype is f64 and not o.weak else d
            for o, d, is_fixed in zip(body.out_types, dtypes, fixed, strict=True)
        ]
        if grown == dtypes:
            break
        dtypes = grown
        trace_state.forced[:] = forced  # the function is traced once more, and observes the same
    _check_results(body.out_types, avals, treedef)
    guard([body])
    state = [cast(leaf, d, name="odeint") for leaf, d in zip(leaves, dtypes, strict=True)]
    graph = cast_to(body.graph, avals)
    captures = [cast(x, a.dtype) for x, a in zip(body.captures, graph.in_avals[len(leaves) + 1 :], strict=True)]
    return Problem(graph, captures, treedef, state, gnp.asarray(t, time.numpy))


def _body(func: Callable[..., Any], avals: Sequence[Aval], time: DType, treedef: TreeDef, args: Sequence[Any]) -> Body:
    """``func`` as a graph, whose results are as many as there are leaves in the state."""
    *_, pair_tree = flatten((unflatten(treedef, [0] * len(avals)), 0))

    def exact(x: Any, a: Aval) -> Any:
        """``x``; a number with all its digits, which it would not keep as a result of a graph."""
        return cast(x, a.dtype) if type_of(x).weak else x

    def call(pair: Any) -> list[Any]:
        result = func(*pair, *args)
        if treedef.is_leaf() and isinstance(result, (list, tuple)):  # [dx, dy] for an array of x and y
            result = gnp.asarray(tree_map(lambda x: exact(x, avals[0]), list(result)))
        leaves, found = flatten(result)
        if found == treedef:
            return [exact(x, a) for x, a in zip(leaves, avals, strict=True)]
        raise TypeError(
            f"{where()}odeint: y0 is {structure_text(treedef)}, but func returns {structure_text(found)}. It must "
            "return the derivative of each part of the state, in containers like those of y0."
        )

    types = [*[Spec(a) for a in avals], Spec(aval((), time))]
    return traced_body(call, types, pair_tree, name_of(func), "odeint")


def _check_dtypes(dtypes: Sequence[DType], treedef: TreeDef) -> None:
    for k, d in enumerate(dtypes):
        if d not in (f32, f64):
            raise TypeError(
                f"{where()}odeint integrates float32 and float64, but y0{_path(treedef, k)} is {d}: errors of its "
                "rounding would be larger than those of the steps. Convert it, as by y0.astype('float32')."
            )


def _check_results(found: Sequence[Spec], avals: Sequence[Aval], treedef: TreeDef) -> None:
    for k, (o, a) in enumerate(zip(found, avals, strict=True)):
        if o.aval.shape != a.shape:
            raise TypeError(
                f"{where()}odeint: y0{_path(treedef, k)} has the shape {a.shape}, but func returns a derivative of the "
                f"shape {o.aval.shape} for it. Return one number for each of the state."
            )
        if o.aval.dtype is f64 and a.dtype is f32 and not o.weak:
            raise TypeError(
                f"{where()}odeint: y0{_path(treedef, k)} is {a}, but func returns a derivative of float64 for it. "
                "Start with a float64 state, as y0.astype('float64'), or convert what func computes with to float32."
            )


def _path(treedef: TreeDef, k: int) -> str:
    return path_text(unflatten(treedef, list(range(treedef.num_leaves))), k)
