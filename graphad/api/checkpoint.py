"""`checkpoint`: derivatives that recompute inner values instead of keeping them (rematerialisation)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from graphad.api.functions import arrays_in, call_with, check_callable, name_of
from graphad.api.tracing import trace_with_loops
from graphad.api.transformed import Transformed
from graphad.primitives.control import remat
from graphad.trace.bind import any_tracer, emit_region
from graphad.trace.pytree import flatten, unflatten
from graphad.trace.recording import current
from graphad.trace.tracebacks import boundary

P = ParamSpec("P")
R = TypeVar("R")


@boundary
def checkpoint(fun: Callable[P, R], *, prevent_cse: bool = True) -> Callable[P, R]:
    """``fun``, whose derivative recomputes its inner values instead of keeping them (rematerialisation).

    Parameters
    ----------
    fun
        A function of arrays, numbers and containers of these; other arguments are handed over as they are.
    prevent_cse
        Has no effect: recomputed values are never merged with the original ones.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.grad(graphad.checkpoint(lambda x: gnp.sin(gnp.exp(x))))(0.0)
    Array(0.5403023, dtype=float32, weak_type=True)
    """
    check_callable(fun, "checkpoint")

    def checkpointed(*args: P.args, **kwargs: P.kwargs) -> R:
        if current() is None:
            return fun(*args, **kwargs)
        parts = [*args, *kwargs.values()]
        marks = [any_tracer(arrays_in(p)) for p in parts]
        leaves, treedef = flatten([p for p, m in zip(parts, marks, strict=True) if m])
        rest = arrays_in([p for p, m in zip(parts, marks, strict=True) if not m])

        def call(traced_parts: Any) -> Any:
            it = iter(traced_parts)
            full = [next(it) if m else p for p, m in zip(parts, marks, strict=True)]
            return call_with(fun)((full[: len(args)], dict(zip(kwargs, full[len(args) :], strict=True))))

        traced = trace_with_loops(call, leaves, treedef, name=name_of(fun), region=True, beside=rest)
        if not any_tracer([*leaves, *traced.captures]):
            return fun(*args, **kwargs)
        return unflatten(traced.out_tree, emit_region(remat, (), traced, leaves))

    return Transformed(checkpointed, fun, checkpoint, prevent_cse=prevent_cse)
