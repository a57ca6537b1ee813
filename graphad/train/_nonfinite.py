"""Where an infinity or a nan came from: the equation, found by running the graph once more with NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.api.jit import jit
from graphad.check.messages import number, operands, quoted
from graphad.check.origin import Origin, Run, find_origin, finite, first_of
from graphad.errors import at
from graphad.ir.loc import transforms_of, user_line
from graphad.trace.pytree import Tree, flatten, path_text
from graphad.train._step import Step, TrainState

NDArray = np.ndarray[Any, Any]


def explain(step: Step, state: TrainState, batch: Tree) -> str:
    """One paragraph on why ``step`` fails at this state and batch, beginning with the user's line."""
    arguments = (state._replace(opt_state=None), batch)

    def loss_and_grads(state: TrainState, batch: Tree) -> tuple[Any, Tree]:
        _, sums = step.gradient(state, batch)
        return sums.loss, sums.grads

    traced = jit(loss_and_grads).trace(*arguments)
    values = [np.asarray(x) for x in (*flatten(arguments)[0], *traced.captures)]
    step_n = int(state.step)
    for flush in (False, True):  # the compiled program may have treated a denormal number as zero
        run = Run(traced.graph, values, flush=flush)
        for k, result in enumerate(run.results):
            if not finite(result):
                bad = np.isnan(result) if np.isnan(result).any() else np.isinf(result)
                origin = find_origin(run, traced.graph.outputs[k], first_of(bad)).first
                return _told(origin, _output_name(k, state.params), result, step_n, arguments)
    return (
        f"step {step_n}: the loss or its gradient is not finite in the compiled program, but is when NumPy computes "
        "it: it is at the edge of the range of its dtype. Scale the loss or the data down, or compute in a wider dtype."
    )


def _told(origin: Origin, what: str, result: NDArray, step: int, arguments: tuple[TrainState, Tree]) -> str:
    start = f"step {step}: {what} is {_kind(result)}"
    made = number(origin.value)
    if origin.input is not None:
        holder = _input_name(arguments, origin.input)
        advice = "Remove or replace it there."
        if step and holder.startswith("params"):
            advice = "An update made it so: lower the learning rate, or clip the gradient (optim.clip_by_global_norm)."
        return f"{start}: {holder} holds {made} already. {advice}"
    if origin.eqn is None:
        return f"{start}: it is a constant of the program. Look for inf and nan in the loss."
    derivative = " (of its derivative)" if transforms_of(origin.loc) else ""
    finite_ones = "finite operands" if all(map(finite, origin.operands)) else "operands that are not finite"
    message = (
        f"{start}. The first equation to blame is {origin.eqn.primitive.name}{derivative}, which gives {made} for "
        f"{finite_ones}:{quoted(origin.loc)}It was given {operands(origin)}. "
        "Lower the learning rate, clip the gradient (optim.clip_by_global_norm), or keep this expression away from "
        "where it is not finite."
    )
    return at(user_line(origin.loc), message)


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


def _kind(x: NDArray) -> str:
    """``nan``, ``inf`` or ``-inf``: the worst that is in ``x``."""
    if np.isnan(x).any():
        return "nan"
    return "inf" if np.any(x == np.inf) else "-inf"
