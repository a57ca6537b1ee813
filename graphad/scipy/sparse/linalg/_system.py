"""What the solvers share: a linear system as they are given it, and vectors that are containers of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from graphad import numpy as gnp
from graphad.api.linear_maps import linear_transpose
from graphad.errors import DifferentiationError
from graphad.trace.bind import type_of
from graphad.trace.pytree import Tree, flatten, structure_text, tree_map
from graphad.trace.semantics import as_operand, result_type
from graphad.trace.source import where

Map = Callable[[Tree], Tree]


class System(NamedTuple):
    """A linear system, its arguments checked.

    Attributes
    ----------
    name
        The function that solves it.
    product
        Multiplies by the matrix.
    b
        The right side, of floats.
    start
        Where to begin, like ``b``, or None.
    precondition
        Multiplies by an approximate inverse of the matrix; None if there is none.
    size
        The number of equations.
    """

    name: str
    product: Map
    b: Tree
    start: Tree | None
    precondition: Map | None
    size: int

    def precondition_of_transpose(self) -> Map | None:
        """Multiplies by an approximate inverse of the transpose: the transpose of that of the matrix."""
        precondition = self.precondition
        if precondition is None:
            return None

        def transposed(x: Tree) -> Tree:
            try:
                return linear_transpose(precondition, self.b)(x)[0]
            except DifferentiationError as error:
                raise DifferentiationError(
                    f"{where()}{self.name}: M must be linear, for systems with the transpose of A are solved with its "
                    f"transpose. {error}"
                ) from None

        return transposed


def system(name: str, A: Any, b: Tree, x0: Tree | None, M: Any) -> System:
    """The linear system of these arguments of the function ``name``."""
    product = _as_map(name, A, "A")
    b = tree_map(lambda x: _floating(name, x, A), b)
    precondition = None if M is None else _in_dtypes(_as_map(name, M, "M"))
    start = None if x0 is None else _start(name, x0, b)
    return System(name, product, b, start, precondition, sum([x.size for x in flatten(b)[0]]))


def _floating(name: str, x: Any, A: Any) -> Any:
    """An array of ``b`` in the dtype in which the system is solved."""
    x = as_operand(x, name)
    dtype, _ = result_type(x) if callable(A) else result_type(x, as_operand(A, name))
    return gnp.astype(x, dtype) if dtype.is_float else gnp.astype(x, float)


def _as_map(name: str, A: Any, role: str) -> Map:
    if callable(A):
        return A
    shape = type_of(A).aval.shape
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"{where()}{name}: {role} is a square matrix or a function x -> {role} x, but got an array of "
            f"shape {shape}."
        )
    return lambda x: gnp.astype(gnp.matmul(A, x), x.dtype)


def _in_dtypes(function: Map) -> Map:
    """``function`` with its results in the dtypes of its arguments: a preconditioner may compute in others."""
    return lambda x: tree_map(lambda y, given: gnp.astype(y, given.dtype), function(x), x)


def _start(name: str, x0: Tree, b: Tree) -> Tree:
    (given, treedef), (leaves, wanted) = flatten(x0), flatten(b)
    if treedef != wanted:
        raise ValueError(
            f"{where()}{name}: x0 is {structure_text(treedef)}, but b is {structure_text(wanted)}: both must be of one "
            "structure."
        )
    shapes = [type_of(x).aval.shape for x in given], [x.shape for x in leaves]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{where()}{name}: x0 has shapes {shapes[0]}, but b has {shapes[1]}: they must be equal.")
    return tree_map(lambda s, x: gnp.astype(as_operand(s, name), x.dtype), x0, b)


# ---------------------------------------------------------------------------------------------------------------------
# Vectors


def begin(A: Map, b: Tree, start: Tree | None) -> tuple[Tree, Tree]:
    """The first solution and its residual: of zeros, or of ``start``, if that is nearer."""
    x = tree_map(gnp.zeros_like, b)
    if start is None:
        return x, b
    residual = add(b, -1, A(start))
    is_better = vdot(residual, residual) < vdot(b, b)
    return choose(is_better, start, x), choose(is_better, residual, b)


def enough(b: Tree, tol: Any, atol: Any) -> Any:
    """The square of the length of a residual that is small enough."""
    return gnp.maximum(tol * tol * vdot(b, b), atol * atol)


def vdot(x: Tree, y: Tree) -> Any:
    """The sum of the products of all elements."""
    products = [gnp.vdot(a, b) for a, b in zip(flatten(x)[0], flatten(y)[0], strict=True)]
    return sum(products[1:], start=products[0]) if products else gnp.zeros(())


def add(x: Tree, scale: Any, y: Tree) -> Tree:
    """``x + scale * y`` in the dtypes of ``x``."""
    return tree_map(lambda a, b: gnp.astype(a + scale * b, a.dtype), x, y)


def choose(condition: Any, x: Tree, y: Tree) -> Tree:
    """``x`` where the condition is true, else ``y``."""
    return tree_map(lambda a, b: gnp.where(condition, a, b), x, y)


def finite_or_nan(square: Any, x: Tree) -> Tree:
    """``x``, or nan where the square of the length of its residual is not finite.

    Such a residual ends a loop, for it is not greater than anything, or as large as what is enough: what has been found
    by then is no solution.
    """
    return tree_map(lambda a: gnp.where(gnp.isfinite(square), a, np.nan), x)
