"""`checkpoint`: derivatives that compute inner values again instead of keeping them."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any

from graphad.api.functions import Arguments, Function, call_with, check_callable, name_of
from graphad.primitives.control import remat
from graphad.trace.bind import any_tracer, emit_region, trace_function
from graphad.trace.pytree import unflatten
from graphad.trace.recording import current


def checkpoint(fun: Function, *, prevent_cse: bool = True) -> Callable[..., Any]:
    """``fun``, whose derivative computes its inner values again instead of keeping them (rematerialisation).

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these.
    prevent_cse
        Has no effect: what is computed again is never merged with what was computed before.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.grad(graphad.checkpoint(lambda x: gnp.sin(gnp.exp(x))))(0.0)
    Array(0.5403023, dtype=float32, weak_type=True)
    """
    check_callable(fun, "checkpoint")

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        arguments = Arguments.of(args, kwargs)
        if current() is None:
            return fun(*args, **kwargs)
        traced = trace_function(call_with(fun), arguments.leaves, arguments.treedef, name=name_of(fun), region=True)
        if not any_tracer([*arguments.leaves, *traced.captures]):
            return fun(*args, **kwargs)
        return unflatten(traced.out_tree, emit_region(remat, (), traced, arguments.leaves))

    return update_wrapper(checkpointed, fun)
