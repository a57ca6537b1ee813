"""What a solver starts with: the type of what the function gives, and the dtype in which it computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphad import numpy as gnp
from graphad.api.abstract import ShapeDtypeStruct, eval_shape
from graphad.flatten_util import ravel_pytree
from graphad.ir.types import aval, dtype_of
from graphad.trace.pytree import flatten
from graphad.trace.semantics import as_operand, dtype_and_weakness
from graphad.trace.source import where


def number_type(f: Callable[[Any], Any], x: Any, name: str) -> ShapeDtypeStruct:
    """The type of ``f(x)``, which must be one number."""
    values = flatten(eval_shape(f, x))[0]
    if len(values) != 1 or values[0].shape:
        text = ", ".join([repr(aval(v.shape, dtype_of(v.dtype))) for v in values]) or "nothing"
        raise TypeError(f"{where()}{name}: f must give one number, but it gives {text}.")
    return values[0]


def started(x: Any, result: Any, name: str) -> Any:
    """The start ``x`` as an array of floats, in the dtype that the function's ``result`` and it are promoted to.

    A number takes that of the result, which is of the type `eval_shape` gives.
    """
    x = as_operand(x, name)
    (own, weak), other = dtype_and_weakness(x), dtype_of(result.dtype)
    if weak and other.is_float:
        return gnp.astype(x, other.numpy)
    joined = gnp.promote_types(own.numpy, other.numpy)
    return gnp.astype(x, joined if dtype_of(joined).is_float else float)


def vector_type(f: Callable[[Any], Any], x: Any) -> ShapeDtypeStruct:
    """The type of the vector of all that ``f(x)`` gives: the numbers of containers of arrays."""
    return eval_shape(lambda x: ravel_pytree(f(x))[0], x)
