"""The rules that a function goes through, checked at values of its arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from graphad.api.abstract import ShapeDtypeStruct
from graphad.api.functions import Function, name_of
from graphad.api.jit import jit
from graphad.check.report import all_faults
from graphad.inspection.stages import plain_function
from graphad.trace.array import to_array
from graphad.trace.pytree import flatten, tree_map


class Checked(NamedTuple):
    """The outcome of a check: what there is to say, and how many faults it tells of."""

    text: str
    faults: int


def check_rules(fun: Function, args: Sequence[Any], order: int = 1, seed: int = 0) -> Checked:
    """Every equation of ``fun`` at the values that it meets: derivative, transpose and batching rule.

    Parameters
    ----------
    fun, args
        As in `stage_text`; a `ShapeDtypeStruct` stands for random numbers of that type.
    order
        Up to which derivatives are compared with differences.
    seed
        Of the random numbers.

    Examples
    --------
    >>> import graphad, graphad.numpy as gnp
    >>> print(check_rules(gnp.tanh, [ShapeDtypeStruct((3,), "float32")]).text)
    tanh: 1 equation, its derivative, transpose and batching rule: all are right at these values
    """
    rng = np.random.default_rng(seed)
    values = tree_map(lambda x: _random(rng, x) if isinstance(x, ShapeDtypeStruct) else x, tuple(args))
    function = plain_function(fun)
    traced = jit(function).trace(*values)
    arrays = [np.asarray(to_array(x)) for x in (*flatten((values, {}))[0], *traced.captures)]
    arrays = [x.astype(a.dtype.numpy) for x, a in zip(arrays, traced.graph.in_avals, strict=True)]
    count, faults = all_faults(traced.graph, arrays, order)
    name = name_of(fun)
    one = count == 1
    what = f"{name}: {count} equation{'s' * (not one)}"
    derivatives = ("its" if one else "their") + (" derivative" if order == 1 else f" derivatives up to order {order}")
    if not one and order == 1:
        derivatives += "s"
    rules = f"{derivatives}, transpose{'s' * (not one)} and batching rule{'s' * (not one)}"
    if not faults:
        return Checked(f"{what}, {rules}: all are right at these values", 0)
    return Checked("\n\n".join([f"{what}, {rules}: {len(faults)} wrong at these values", *faults]), len(faults))


def _random(rng: np.random.Generator, x: ShapeDtypeStruct) -> Any:
    """Normal floats, small integers."""
    if np.dtype(x.dtype).kind in "biu":
        return np.asarray(rng.integers(0, 2 if np.dtype(x.dtype).kind == "b" else 8, x.shape)).astype(x.dtype)
    return np.asarray(rng.normal(size=x.shape)).astype(x.dtype)
