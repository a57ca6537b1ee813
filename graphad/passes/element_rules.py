"""What is computed around small matrices, by elements: the rules of the pass `unroll_matrices`.

Each gives the elements of a result in row-major order, or None where an axis of the stack is in the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from math import prod
from typing import Final, Protocol

import numpy as np

from graphad.ir.graph import Atom, Eqn, Graph
from graphad.ir.primitive import Primitive
from graphad.ir.types import Aval, literal
from graphad.passes.lane_arithmetic import Lanes, Shape
from graphad.primitives.contract import dot_general
from graphad.primitives.layout import broadcast, reduce_sum, reshape, transpose
from graphad.primitives.linalg.matrices import most_rows
from graphad.primitives.shape import concatenate, pad, slice_


def fits(lead: Shape, shape: Shape) -> bool:
    """Whether arrays of this shape in a stack are few enough elements."""
    return prod(shape) <= most_rows(lead) ** 2


class Values(Protocol):
    """The values of a graph, by elements."""

    graph: Graph

    def element(self, x: Lanes, a: Atom, at: Shape) -> Atom:
        """One element of each array of a stack, or a number."""
        ...

    def elements(self, x: Lanes, a: Atom) -> list[Atom]:
        """All elements of a value that has the axes of the stack."""
        ...


def places(shape: Shape) -> Iterable[Shape]:
    """The indices of all elements, in row-major order."""
    return np.ndindex(*shape)


def elementwise(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    """Of an elementwise primitive."""
    shape = out.shape[len(x.lead) :]
    if not fits(x.lead, shape):
        return None
    rows = []
    for at in places(shape):
        atoms = [u.element(x, a, at) for a in eqn.inputs]
        spread = any([type(a) is int for a in atoms])
        if spread and all([type(a) is not int or not x.builder.avals[a].shape for a in atoms]) and x.lead:
            return None
        rows.append(x.apply(eqn.primitive, atoms, eqn.params)[0])
    return rows


def _transpose(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (perm,), n = eqn.params, len(x.lead)
    if perm[:n] != tuple(range(n)):
        return None
    found = []
    for at in places(out.shape[n:]):
        inner = [0] * len(at)
        for k, axis in enumerate(perm[n:]):
            inner[axis - n] = at[k]
        found.append(u.element(x, eqn.inputs[0], tuple(inner)))
    return found


def _dot_general(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    contract, batch = eqn.params
    n = len(x.lead)
    leading = tuple(range(n))
    shapes = [u.graph.aval_of(a).shape for a in eqn.inputs]
    if batch != (leading, leading) or any([s[:n] != x.lead or not fits(x.lead, s[n:]) for s in shapes]):
        return None
    free = [[k for k in range(n, len(s)) if k not in c] for s, c in zip(shapes, contract, strict=True)]
    if not out.dtype.is_float or out.dtype.bits < 32 or not fits(x.lead, out.shape[n:]):
        return None
    sums = [shapes[0][k] for k in contract[0]]
    found = []
    for at in places(out.shape[n:]):
        operands: list[list[Atom]] = []
        for side, rest in ((0, at[: len(free[0])]), (1, at[len(free[0]) :])):
            index = dict(zip(free[side], rest, strict=True))
            operands.append(
                [u.element(x, eqn.inputs[side], _index(n, index, contract[side], s)) for s in places(tuple(sums))]
            )
        found.append(x.dot(operands[0], operands[1], out.dtype))
    return found


def _index(n: int, index: dict[int, int], axes: Shape, at: Shape) -> Shape:
    """An index behind ``n`` axes of a stack, of two parts."""
    both = index | dict(zip(axes, at, strict=True))
    return tuple([both[k] for k in sorted(both) if k >= n])


def _reduce_sum(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (axes,), n = eqn.params, len(x.lead)
    shape = u.graph.aval_of(eqn.inputs[0]).shape
    if any([a < n for a in axes]) or (out.dtype.is_float and out.dtype.bits < 32):
        return None
    kept = [k for k in range(n, len(shape)) if k not in axes]
    found = []
    for at in places(out.shape[n:]):
        index = dict(zip(kept, at, strict=True))
        terms = [
            u.element(x, eqn.inputs[0], _index(n, index, axes, s)) for s in places(tuple([shape[a] for a in axes]))
        ]
        found.append(reduce(x.add, terms, literal(0, out.dtype)))
    return found


def _broadcast(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (_, dims), n = eqn.params, len(x.lead)
    shape = u.graph.aval_of(eqn.inputs[0]).shape
    if dims[:n] != tuple(range(n)) or shape[:n] != x.lead or not fits(x.lead, out.shape[n:]):
        return None
    pairs = list(zip(dims[n:], shape[n:], strict=True))
    return [
        u.element(x, eqn.inputs[0], tuple([at[d - n] if size > 1 else 0 for d, size in pairs]))
        for at in places(out.shape[n:])
    ]


def _reshape(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    n = len(x.lead)
    shape = u.graph.aval_of(eqn.inputs[0]).shape
    if shape[:n] != x.lead or out.shape[:n] != x.lead or not fits(x.lead, shape[n:]):
        return None
    return u.elements(x, eqn.inputs[0])


def _slice(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (start, _, step), n = eqn.params, len(x.lead)
    if out.shape[:n] != x.lead or u.graph.aval_of(eqn.inputs[0]).shape[:n] != x.lead:
        return None
    return [
        u.element(x, eqn.inputs[0], tuple([s + k * i for s, k, i in zip(start[n:], step[n:], at, strict=True)]))
        for at in places(out.shape[n:])
    ]


def _concatenate(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (axis,), n = eqn.params, len(x.lead)
    if axis < n or not fits(x.lead, out.shape[n:]):
        return None
    parts = [(a, k) for a in eqn.inputs for k in range(u.graph.aval_of(a).shape[axis])]
    found = []
    for at in places(out.shape[n:]):
        a, k = parts[at[axis - n]]
        found.append(u.element(x, a, (*at[: axis - n], k, *at[axis - n + 1 :])))
    return found


def _pad(u: Values, x: Lanes, eqn: Eqn, out: Aval) -> list[Atom] | None:
    (low, high, interior), n = eqn.params, len(x.lead)
    array, fill = eqn.inputs
    shape = u.graph.aval_of(array).shape
    if type(fill) is int or any([*low[:n], *high[:n], *interior[:n]]) or not fits(x.lead, out.shape[n:]):
        return None
    found: list[Atom] = []
    for at in places(out.shape[n:]):
        pairs = [divmod(i - b, 1 + s) for i, b, s in zip(at, low[n:], interior[n:], strict=True)]
        inside = all([not rest and 0 <= k < d for (k, rest), d in zip(pairs, shape[n:], strict=True)])
        found.append(u.element(x, array, tuple([k for k, _ in pairs])) if inside else fill)
    return found


RULES: Final[dict[Primitive, Callable[[Values, Lanes, Eqn, Aval], list[Atom] | None]]] = {
    transpose: _transpose,
    dot_general: _dot_general,
    reduce_sum: _reduce_sum,
    broadcast: _broadcast,
    reshape: _reshape,
    slice_: _slice,
    concatenate: _concatenate,
    pad: _pad,
}
