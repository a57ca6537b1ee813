"""Tangents and cotangents as users give and get them: their dtype, their zeros, and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphad.errors import DifferentiationError
from graphad.ir.types import Aval, f64
from graphad.trace.array import Array
from graphad.trace.bind import Spec, Traced, type_of
from graphad.trace.float0 import float0
from graphad.trace.keys import is_keys
from graphad.trace.pytree import flatten, path_text, structure_text, unflatten
from graphad.trace.semantics import cast
from graphad.trace.source import where


def zeros(a: Aval, weak: bool = False) -> Any:
    """A zero tangent; of ``float0`` for what has no tangent."""
    if not a.is_float:
        return np.zeros(a.shape, float0)
    return Array(np.broadcast_to(np.zeros((), a.dtype.numpy), a.shape), weak)


def check_tangents(
    primals: Any, tangents: Any, what: str, transform: str, name: str, avals: Sequence[Aval] | None = None
) -> list[Any]:
    """The tangents (or cotangents) of the float leaves, checked against the primals and cast to their dtypes.

    ``avals`` are those of the graph's inputs, the floats first: of a Python float, only the graph knows the dtype.
    """
    leaves, treedef = flatten(tuple(primals) if isinstance(primals, list) else primals, is_keys)
    directions, other = flatten(tuple(tangents) if isinstance(tangents, list) else tangents)
    if treedef != other:
        raise TypeError(
            f"{where()}{transform}({name}): the {what} have structure {structure_text(other)}, which is not that of "
            f"what they belong to, {structure_text(treedef)}"
        )
    checked: list[Any] = []
    inputs = None if avals is None else iter(avals)
    for k, (x, t) in enumerate(zip(leaves, directions, strict=True)):
        if is_keys(x) or not type_of(x).aval.is_float:
            if getattr(t, "dtype", None) != float0:
                kind, shape = (x.dtype, x.shape) if is_keys(x) else (type_of(x).aval, type_of(x).aval.shape)
                raise DifferentiationError(
                    f"{where()}{transform}({name}): the {what}{_at(tangents, k)} belong to a value of type {kind}, "
                    f"which has no tangent. Pass a float in its place, or np.zeros({shape}, graphad.float0)."
                )
            continue
        a, _, exact = type_of(x)
        spec = type_of(t)
        fits = spec.weak or spec.aval.dtype is a.dtype or (exact and spec.aval.is_float)
        if spec.aval.shape != a.shape or not fits:
            remedy = "" if spec.aval.shape != a.shape else f". Convert them: .astype({a.dtype.numpy.name!r})"
            raise TypeError(
                f"{where()}{transform}({name}): the {what}{_at(tangents, k)} are {spec.aval}, but must have the shape "
                f"and dtype of what they belong to, {a}{remedy}"
            )
        checked.append(cast(t, a.dtype if inputs is None else next(inputs).dtype))
    return checked


def derivative_types(leaves: Sequence[Any], traced: Traced) -> list[Spec]:
    """For each argument of a function that is ``traced`` in its floats the type of the derivative by it."""
    of_floats = iter(traced.derivatives)
    return [next(of_floats) if s.aval.is_float else s for s in map(type_of, leaves)]


def converted(primals: Any, tangents: Any) -> Any:
    """``tangents`` with the leaves that belong to floats converted to their dtypes."""
    leaves, treedef = flatten(tuple(primals))
    directions, other = flatten(tuple(tangents))
    if treedef != other:
        return tangents  # `check_tangents` has the words for that
    specs = [type_of(x) for x in leaves]
    dtypes = [f64 if s.exact else s.aval.dtype for s in specs]
    return unflatten(other, [cast(t, d) if d.is_float else t for t, d in zip(directions, dtypes, strict=True)])


def _at(tree: Any, index: int) -> str:
    path = path_text(tree, index)
    return f" at {path}" if path else ""
