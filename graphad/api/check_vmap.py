"""`check_vmap`: a batched function against a loop over the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from graphad.api.functions import Function, arrays_in, check_callable, name_of
from graphad.api.vmap import InAxes, parts_of, vmap
from graphad.ir.types import aval
from graphad.trace.array import Array, to_array
from graphad.trace.bind import Spec, trace_function, type_of
from graphad.trace.pytree import flatten, tree_map, unflatten
from graphad.trace.source import where
from graphad.trace.tracebacks import boundary

NDArray = np.ndarray[Any, Any]

_TOLERANCE: Final = {16: 3e-2, 32: 1e-4, 64: 1e-9}


@boundary
def check_vmap(
    f: Function, args: Sequence[Any], in_axes: InAxes = 0, *, atol: float | None = None, rtol: float | None = None
) -> None:
    """Raise AssertionError unless ``vmap(f, in_axes)(*args)`` is what ``f`` gives in a loop over the batch.

    The message names the first equation of ``f`` whose batching rule is wrong for this batch: the line, the primitive
    or custom rule, what is expected and what is found.

    Parameters
    ----------
    f
        A function of arrays without a batch axis.
    args
        The batched arguments, a tuple.
    in_axes
        As for `vmap`.
    atol, rtol
        Tolerances; by default 3e-2 for 16 bits, 1e-4 in float32, 1e-9 in float64. Integers must be equal.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> graphad.check_vmap(lambda x, w: gnp.tanh(x @ w), (gnp.ones((5, 3)), gnp.ones(3)), in_axes=(0, None))
    """
    check_callable(f, "check_vmap")
    args, name = tuple(args), name_of(f)
    parts, prefix, axes = parts_of(tuple(in_axes) if isinstance(in_axes, list) else in_axes, args, {}, name)
    results = flatten(vmap(f, in_axes)(*args))[0]
    size = results[0].shape[0] if results else 0

    def call(element: Sequence[Any]) -> Any:
        it = iter(element)
        given, _ = unflatten(prefix, [p if a is None else next(it) for p, a in zip(parts, axes, strict=True)])
        return f(*given)

    mapped = [
        tree_map(lambda x, a=a: np.moveaxis(np.asarray(to_array(x)), a, 0), p)
        for p, a in zip(parts, axes, strict=True)
        if a is not None
    ]
    singly = [flatten(call(tree_map(lambda x, k=k: Array(np.array(x[k])), mapped)))[0] for k in range(size)]
    for k, found in enumerate(results):
        expected = np.stack([np.asarray(results[k]) for results in singly])
        try:
            what = f"result {k} of vmap({name}) differs from a loop over the batch"
            _close(np.asarray(found), expected, atol, rtol, what)
        except AssertionError as error:
            beside = arrays_in([p for p, a in zip(parts, axes, strict=True) if a is None])
            reason = _reason(call, mapped, beside, size, name)
            raise AssertionError(f"{where()}{str(error).strip()}\n{reason}") from None


def _close(found: NDArray, expected: NDArray, atol: float | None, rtol: float | None, what: str) -> None:
    spec = type_of(found).aval
    default = _TOLERANCE[spec.dtype.bits] if spec.is_float else 0.0
    if spec.is_float:
        found, expected = found.astype(np.float64), expected.astype(np.float64)
    atol, rtol = default if atol is None else atol, default if rtol is None else rtol
    np.testing.assert_allclose(found, expected, atol=atol, rtol=rtol, err_msg=what)


def _reason(call: Any, mapped: Any, beside: Sequence[Any], size: int, name: str) -> str:
    from graphad.check.report import why_batch_differs  # late: only where they do

    leaves, treedef = flatten(mapped)
    specs = [Spec(aval(x.shape[1:], type_of(x).aval.dtype)) for x in leaves]
    traced = trace_function(call, specs, treedef, name=name, beside=beside)
    shared = [np.asarray(to_array(x)) for x in traced.captures]
    elements = [[*[np.asarray(x[k]) for x in leaves], *shared] for k in range(size)]
    return why_batch_differs(traced.graph, elements, (True,) * len(leaves) + (False,) * len(shared))
