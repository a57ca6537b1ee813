"""What functions of matrices ask of their arguments, and what several of them make of these."""

from __future__ import annotations

from typing import Any

from graphad import numpy as gnp
from graphad.numpy._typing import ArrayLike
from graphad.numpy.linalg._systems import check_square, stacks_alike
from graphad.trace import source
from graphad.trace.array import Array
from graphad.trace.semantics import as_float, as_floats, shape_text


def matrices(name: str, a: ArrayLike) -> Array:
    """``a`` as a stack of matrices of floats."""
    x = as_float(a, name)
    if x.ndim < 2:
        raise ValueError(f"{source.where()}{name} takes matrices, (..., m, n), not {shape_text(x)}.")
    return x


def squares(name: str, a: ArrayLike) -> Array:
    """``a`` as a stack of square matrices of floats."""
    x = as_float(a, name)
    check_square(x, name)
    return x


def system(name: str, a: ArrayLike, b: ArrayLike) -> tuple[Array, Array, bool]:
    """Matrices and columns with the same leading axes, and whether the right side is one vector."""
    x, right = as_floats(name, a, b)
    if not right.ndim:
        raise ValueError(f"{source.where()}{name} takes a right side (n,) or (..., n, k), not {shape_text(right)}.")
    is_vector = right.ndim == 1
    return *stacks_alike(x, right[:, None] if is_vector else right, name), is_vector


def of_triangle(x: Array, lower: bool) -> Array:
    """The symmetric matrices of which one triangle is read."""
    triangle, beside = (gnp.tril(x), gnp.tril(x, -1)) if lower else (gnp.triu(x), gnp.triu(x, 1))
    return triangle + gnp.matrix_transpose(beside)


def checked_option(name: str, option: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """``value`` is one that is allowed."""
    if value not in allowed:
        listed = f"{', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}" if allowed[1:] else repr(allowed[0])
        raise ValueError(f"{source.where()}{name} takes {option}={listed}, not {value!r}.")
