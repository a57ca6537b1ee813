"""Where an infinity or a nan came from: the equation, found by running the graph once more with NumPy."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from graphad.api.jit import jit
from graphad.errors import GraphadError, at
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.loc import Loc, format_loc, source_of
from graphad.primitives import control, custom
from graphad.trace.pytree import Tree, flatten, path_text
from graphad.trace.source import quoted
from graphad.train._step import Step, TrainState

NDArray = np.ndarray[Any, Any]

_CALLS = (control.jit, control.remat, custom.custom_jvp, custom.custom_vjp)  # their region has the equation's operands


class NonFiniteError(GraphadError, ArithmeticError):
    """The loss of a training, or its gradient, became infinite or nan.

    Remedy: the message names the line; mostly a lower learning rate, `optim.clip_by_global_norm`, or a form of the
    expression that stays finite.

    Attributes
    ----------
    step : int
        The number of the step.
    params
        The parameters before it.
    batch
        The batch it was given.
    """

    def __init__(self, message: str, step: int, params: Tree, batch: Tree) -> None:
        super().__init__(message)
        self.step, self.params, self.batch = step, params, batch


class Origin(NamedTuple):
    """What first was not finite: the outcome of an equation, or input number ``input`` of the graph."""

    value: NDArray
    eqn: Eqn | None = None
    loc: Loc = None
    input: int | None = None


def explain(step: Step, state: TrainState, batch: Tree) -> str:
    """One paragraph on why ``step`` fails at this state and batch, beginning with the user's line."""
    arguments = (state._replace(opt_state=None), batch)

    def loss_and_grads(state: TrainState, batch: Tree) -> tuple[Any, Tree]:
        _, sums = step.gradient(state, batch)
        return sums.loss, sums.grads

    traced = jit(loss_and_grads).trace(*arguments)
    values = [np.asarray(x) for x in (*flatten(arguments)[0], *traced.captures)]
    number = int(state.step)
    for k, result in enumerate(evaluate(traced.graph, values)):
        if not _finite(result):
            origin = find_origin(traced.graph, values, traced.graph.outputs[k])
            return _told(origin, _output_name(k, state.params), result, number, arguments)
    return (
        f"step {number}: the loss or its gradient is not finite in the compiled program, but is when NumPy computes "
        "it: it is at the edge of the range of its dtype. Scale the loss or the data down, or compute in a wider dtype."
    )


def find_origin(graph: Graph, args: list[NDArray], output: Atom) -> Origin | None:
    """Follow what is not finite upwards from ``output`` to an equation whose operands are; None if it is a literal."""
    everything = tuple(range(len(graph.avals)))
    values = evaluate(Graph(graph.avals, graph.n_inputs, graph.eqns, everything, locs=graph.locs), args)
    owner = {o: k for k, eqn in enumerate(graph.eqns) for o in eqn.outputs}
    atom = output
    while isinstance(atom, int):
        if atom not in owner:
            return Origin(values[atom], input=atom)
        eqn, loc = graph.eqns[owner[atom]], graph.locs[owner[atom]]
        if eqn.primitive in _CALLS:
            operands = [values[a] if isinstance(a, int) else np.asarray(a.value) for a in eqn.inputs]
            inner = find_origin(eqn.regions[0], operands, eqn.regions[0].outputs[eqn.outputs.index(atom)])
            if inner is None or inner.input is None:
                return inner
            atom = eqn.inputs[inner.input]
            continue
        bad = [a for a in eqn.inputs if isinstance(a, int) and not _finite(values[a])]
        if not bad:
            return Origin(values[atom], eqn, loc)
        atom = next((a for a in bad if _has_nan(values[a])), bad[0]) if _has_nan(values[atom]) else bad[0]
    return None


def _told(origin: Origin | None, what: str, result: NDArray, step: int, arguments: tuple[TrainState, Tree]) -> str:
    start = f"step {step}: {what} is {_kind(result)}"
    if origin is None:
        return f"{start}: it is a constant of the program. Look for inf and nan in the loss."
    if origin.input is not None:
        holder = _input_name(arguments, origin.input)
        advice = "Remove or replace it there."
        if step and holder.startswith("params"):
            advice = "An update made it so: lower the learning rate, or clip the gradient (optim.clip_by_global_norm)."
        return f"{start}: {holder} holds {_kind(origin.value)} already. {advice}"
    assert origin.eqn is not None
    derivative = " (of its derivative)" if isinstance(origin.loc, tuple) and isinstance(origin.loc[0], str) else ""
    message = (
        f"{start}. The first equation to blame is {origin.eqn.primitive.name}{derivative}, which gives "
        f"{_kind(origin.value)} for finite operands:{quoted(origin.loc)}"
        "Lower the learning rate, clip the gradient (optim.clip_by_global_norm), or keep this expression away from "
        "where it is not finite."
    )
    return at(_line(origin.loc), message)


def _line(loc: Loc) -> str:
    """``model.py:14``, whatever transforms the equation went through."""
    place = source_of(loc)
    return f"{os.path.basename(place[0])}:{place[1]}" if place else format_loc(loc)


def _input_name(arguments: tuple[TrainState, Tree], number: int) -> str:
    """What holds an input, in words: ``params['w']``, ``batch[0]``."""
    if number >= len(flatten(arguments)[0]):
        return "an array that the loss closes over"
    argument, rest = path_text(arguments, number)[1:].split("]", 1)
    if argument == "1":
        return f"batch{rest}"
    field, rest = rest[1:].split("]", 1)
    name = TrainState._fields[int(field)]
    return {"model_state": "the state", "loss_scale": "the loss scale"}.get(name, name) + rest


def _output_name(k: int, params: Tree) -> str:
    return f"the loss is finite, but its gradient with respect to params{path_text(params, k - 1)}" if k else "the loss"


def _finite(x: NDArray) -> bool:
    return bool(np.all(np.isfinite(x)))


def _has_nan(x: NDArray) -> bool:
    return bool(np.any(np.isnan(x)))


def _kind(x: NDArray) -> str:
    """``nan``, ``inf`` or ``-inf``: the worst that is in ``x``."""
    if _has_nan(x):
        return "nan"
    return "inf" if np.any(x == np.inf) else "-inf"
