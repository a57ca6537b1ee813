"""Collectives: what the elements of a batch have together, over batch axes that have names.

A function that is mapped by ``vmap(f, axis_name="i")`` may ask for the sum of a value over the whole batch, for its
own place in it, for the values of its neighbours. While the function is traced these are equations with the name of the
axis as a param, and all other transforms see them so. As the axis of that name is batched they become what they are:
reductions, broadcasts and permutations of the leading axis (``resolve``). No graph that is evaluated or compiled has
any left.

Derivatives are JAX's: each element of the batch differentiates the sum of the results of all of them, so the transpose
of a sum over the batch is such a sum, of cotangents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from graphad.errors import AxisNameError
from graphad.ir.builder import Builder
from graphad.ir.graph import Eqn, Graph
from graphad.ir.params import INT, NESTED, STR, STRS
from graphad.ir.primitive import PRIMITIVES, Primitive
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, OperandType, aval, f32, i32, literal
from graphad.primitives.cast import convert, in_f32
from graphad.primitives.elementwise import div, eq, mul, select
from graphad.primitives.families_shape import check_kind
from graphad.primitives.layout import (
    broadcast,
    moved_to_front,
    positions,
    reduce_sum,
    repeat_leading,
    zeros_like_aval,
)
from graphad.primitives.reduce import reduce_max, reduce_min
from graphad.primitives.shape import concatenate, slice_axis

Resolved = tuple[Ref, bool]
"""The result for the whole batch, and whether it has the batch axis."""


# ---------------------------------------------------------------------------------------------------------------------
# The names that a graph has left


def axis_names(graph: Graph, rules: bool = False) -> frozenset[str]:
    """The names of the batch axes that equations of ``graph`` are over, those in regions included. Memoised.

    With ``rules`` also those that custom rules may be over: they are traced when they are first differentiated.
    """

    def make() -> frozenset[str]:
        return frozenset().union(*[names_of(eqn, rules) for eqn in graph.eqns])

    return graph.memoize(("axis names", rules), make)


def names_of(eqn: Eqn, rules: bool = False) -> frozenset[str]:
    """`axis_names` of one equation."""
    if eqn.primitive.resolve is not None:
        names = eqn.params[0]
        return frozenset((names,) if type(names) is str else names)
    found = frozenset().union(*[axis_names(r, rules) for r in eqn.regions])
    return found.union(*[getattr(p, "axis_names", ()) for p in eqn.params]) if rules else found


# ---------------------------------------------------------------------------------------------------------------------
# What collectives have in common


def _collective(
    name: str,
    doc: str,
    *,
    type_rule: Callable[..., Aval],
    resolve: Callable[..., Resolved],
    batch: Callable[..., Any],
    params: dict[str, Any],
    **slots: Any,
) -> Primitive:
    def refuse(*_operands: Any, **_params: Any) -> NoReturn:
        raise AxisNameError(f"{name} is over a batch axis: it has a value only within the vmap that names the axis.")

    return Primitive(name, doc, type_rule, refuse, params, resolve=resolve, batch=batch, lowering=refuse, **slots)


def _linear(name: str, doc: str, *, transpose: Callable[..., Ref], **slots: Any) -> Primitive:
    """A collective that is linear in its one operand."""

    def itself(tangent: Ref, _x: Ref, _y: Ref, **params: Any) -> Any:
        return PRIMITIVES[name](tangent, **params)

    return _collective(name, doc, jvp=(itself,), linear=(0,), transpose={0: transpose}, **slots)


def _with_batch(size: int, is_batched: bool, x: Ref) -> Ref:
    """``x`` with the batch axis first."""
    return x if is_batched else repeat_leading(x, size)


def _split_type(name: str, x: OperandType, axis_size: int) -> None:
    if not x.shape or x.shape[0] != axis_size:
        raise ValueError(f"{name} got {x} and axis_size={axis_size}; the leading axis must be of that size.")


# ---------------------------------------------------------------------------------------------------------------------
# Reductions


def _reduction(
    name: str, doc: str, over_batch: Primitive, unbatched: Callable[[Ref, int], Ref], make: Callable[..., Primitive],
    **slots: Any,
) -> Primitive:  # fmt: skip
    """A collective that keeps the type; ``unbatched`` is its result for an operand that all elements have alike."""

    def type_rule(x: OperandType, *, axes: tuple[str, ...]) -> Aval:
        del axes
        check_kind(name, x, "iuf", "convert booleans to integers first.")
        return aval(x.shape, x.dtype)

    def resolve(
        _builder: Builder, axis: str, size: int, batched: Sequence[bool], x: Ref, *, axes: tuple[str, ...]
    ) -> Resolved:
        result = over_batch(x, axes=(0,)) if batched[0] else unbatched(x, size)
        others = tuple([a for a in axes if a != axis])
        return PRIMITIVES[name](result, axes=others) if others else result, False

    def batch(_size: int, _batched: Sequence[bool], x: Ref, *, axes: tuple[str, ...]) -> Ref:
        return PRIMITIVES[name](x, axes=axes)

    return make(name, doc, type_rule=type_rule, resolve=resolve, batch=batch, params={"axes": STRS}, **slots)


def _times(x: Ref, size: int) -> Ref:
    """``x`` added up ``size`` times; integers wrap around, and 16-bit floats are rounded once."""
    dtype = x.dtype
    if dtype.is_float and dtype.bits < 32:
        return convert(_times(convert(x, dtype=f32), size), dtype=dtype)
    return mul(x, Ref(x.builder, literal(np.asarray(size).astype(dtype.numpy), dtype)))


def _extremum_tangent(t: Ref, x: Ref, y: Ref, *, axes: tuple[str, ...]) -> Ref:
    """The mean of the tangents of all elements that attain the extremum, as `reduce_max` has it."""
    hits = eq(x, y)
    count = psum(convert(hits, dtype=i32), axes=axes)
    return div(psum(select(hits, t, 0), axes=axes), convert(count, dtype=t.dtype))


psum = _reduction(
    "psum",
    "The sum over the batch axes of names ``axes``, for all elements of the batch the same.",
    reduce_sum,
    _times,
    _linear,
    transpose=lambda ct, _x, *, axes: psum(ct, axes=axes),
)

pmax = _reduction(
    "pmax",
    "The greatest of the values over the batch axes of names ``axes``. Those that tie share the derivative equally.",
    reduce_max,
    lambda x, _size: x,
    _collective,
    jvp=(in_f32(_extremum_tangent),),
)

pmin = _reduction(
    "pmin",
    "The least of the values over the batch axes of names ``axes``. Those that tie share the derivative equally.",
    reduce_min,
    lambda x, _size: x,
    _collective,
    jvp=(in_f32(_extremum_tangent),),
)


# ---------------------------------------------------------------------------------------------------------------------
# Values of other elements


axis_index = _collective(
    "axis_index",
    "The place of each element on the batch axis of name ``axis``.",
    type_rule=lambda *, axis: aval((), i32),
    resolve=lambda builder, _name, size, _batched, *, axis: (positions(builder, (size,), 0), True),
    batch=lambda size, _batched, *, axis: axis_index(axis=axis),
    params={"axis": STR},
    nondifferentiable="it has no operands",
)


def _gather_resolve(
    _builder: Builder, _name: str, size: int, batched: Sequence[bool], x: Ref, **_params: Any
) -> Resolved:
    return _with_batch(size, batched[0], x), False


all_gather = _linear(
    "all_gather",
    "The values of all elements on the batch axis of name ``axis``, stacked along a new leading axis.",
    type_rule=lambda x, *, axis, axis_size: aval((axis_size, *x.shape), x.dtype),
    resolve=_gather_resolve,
    batch=lambda _size, _batched, x, *, axis, axis_size: moved_to_front(
        all_gather(x, axis=axis, axis_size=axis_size), 1
    ),
    params={"axis": STR, "axis_size": INT},
    transpose=lambda ct, _x, *, axis, axis_size: psum_scatter(ct, axis=axis, axis_size=axis_size),
)


def _scatter_type(x: OperandType, *, axis: str, axis_size: int) -> Aval:
    del axis
    check_kind("psum_scatter", x, "iuf", "convert booleans to integers first.")
    _split_type("psum_scatter", x, axis_size)
    return aval(x.shape[1:], x.dtype)


def _scatter_resolve(
    _builder: Builder, _name: str, size: int, batched: Sequence[bool], x: Ref, **_params: Any
) -> Resolved:
    return reduce_sum(x, axes=(0,)) if batched[0] else _times(x, size), True


psum_scatter = _linear(
    "psum_scatter",
    "Of the sum over the batch axis of name ``axis``, the row at the place of each element.",
    type_rule=_scatter_type,
    resolve=_scatter_resolve,
    batch=lambda _size, _batched, x, *, axis, axis_size: psum_scatter(
        moved_to_front(x, 1), axis=axis, axis_size=axis_size
    ),
    params={"axis": STR, "axis_size": INT},
    transpose=lambda ct, _x, *, axis, axis_size: all_gather(ct, axis=axis, axis_size=axis_size),
)


def _exchange_type(x: OperandType, *, axis: str, axis_size: int) -> Aval:
    del axis
    _split_type("all_to_all", x, axis_size)
    return aval(x.shape, x.dtype)


def _exchange_resolve(
    _builder: Builder, _name: str, size: int, batched: Sequence[bool], x: Ref, **_params: Any
) -> Resolved:
    if batched[0]:
        return moved_to_front(x, 1), True
    return broadcast(x, shape=(x.shape[0], size, *x.shape[1:]), dims=(0, *range(2, x.ndim + 1))), True


all_to_all = _linear(
    "all_to_all",
    "Row ``j`` at place ``i`` of the batch axis of name ``axis`` is what was row ``i`` at place ``j``.",
    type_rule=_exchange_type,
    resolve=_exchange_resolve,
    batch=lambda _size, _batched, x, *, axis, axis_size: moved_to_front(
        all_to_all(moved_to_front(x, 1), axis=axis, axis_size=axis_size), 1
    ),
    params={"axis": STR, "axis_size": INT},
    transpose=lambda ct, _x, *, axis, axis_size: all_to_all(ct, axis=axis, axis_size=axis_size),
)


def _permute_resolve(
    _builder: Builder,
    _name: str,
    size: int,
    batched: Sequence[bool],
    x: Ref,
    *,
    axis: str,
    perm: tuple[tuple[int, int], ...],
) -> Resolved:
    """Runs of neighbours that stay neighbours, and of zeros, one after the other."""
    del axis
    x = _with_batch(size, batched[0], x)
    source = {target: place for place, target in perm}
    pieces: list[Ref] = []
    start = 0
    while start < size:
        stop, first = start + 1, source.get(start)
        while stop < size and source.get(stop) == (None if first is None else first + stop - start):
            stop += 1
        if first is None:
            pieces.append(zeros_like_aval(x.builder, aval((stop - start, *x.shape[1:]), x.dtype)))
        else:
            pieces.append(slice_axis(x, 0, first, first + stop - start))
        start = stop
    if not pieces:
        return x, True
    return concatenate(*pieces, axis=0) if len(pieces) > 1 else pieces[0], True


ppermute = _linear(
    "ppermute",
    "The value at another place of the batch axis of name ``axis``, by pairs (from, to); 0 where no pair leads to.",
    type_rule=lambda x, *, axis, perm: aval(x.shape, x.dtype),
    resolve=_permute_resolve,
    batch=lambda _size, _batched, x, *, axis, perm: ppermute(x, axis=axis, perm=perm),
    params={"axis": STR, "perm": NESTED},
    transpose=lambda ct, _x, *, axis, perm: ppermute(ct, axis=axis, perm=tuple([(t, s) for s, t in perm])),
)
