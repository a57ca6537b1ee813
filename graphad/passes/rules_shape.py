"""Rules of shape operations: data movement is composed, eliminated, or moved past arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from graphad.ir.graph import Eqn
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, f64, literal
from graphad.passes.pattern import const, param, var
from graphad.passes.rewrite import Candidate, Rewriter, RuleSet, general_rule, rule
from graphad.passes.rules_algebra import MANTISSA
from graphad.primitives.contract import dot_general
from graphad.primitives.elementwise import mul
from graphad.primitives.layout import broadcast, reshape, transpose
from graphad.primitives.reduce import reduce_and, reduce_max, reduce_min, reduce_or, reduce_prod, reduce_sum
from graphad.primitives.shape import concatenate, pad, rev, slice_

Shape = tuple[int, ...]

x, y = var("x"), var("y")
c = const("c")
shape, inner_shape = param("shape"), param("inner_shape")
dims, inner_dims = param("dims"), param("inner_dims")
perm, inner_perm = param("perm"), param("inner_perm")
axes, inner_axes = param("axes"), param("inner_axes")
start, stop, step = param("start"), param("stop"), param("step")
low, high, interior = param("low"), param("high"), param("interior")
contract, batch = param("contract"), param("batch")


# ---------------------------------------------------------------------------------------------------------------------
# Identities

IDENTITIES = RuleSet(
    [
        rule("broadcast-nothing", broadcast(x, shape=shape, dims=dims), x, when=lambda x, shape: x.shape == shape,
             examples=[{"x": (2, 3), "shape": (2, 3), "dims": (0, 1)}]),
        rule("reshape-nothing", reshape(x, shape=shape), x, when=lambda x, shape: x.shape == shape,
             examples=[{"x": (2, 3), "shape": (2, 3)}]),
        rule("transpose-nothing", transpose(x, perm=perm), x, when=lambda perm: perm == tuple(range(len(perm))),
             examples=[{"x": (2, 3), "perm": (0, 1)}]),
        rule("slice-nothing", slice_(x, start=start, stop=stop, step=step), x, when=lambda x, out: x.shape == out.shape,
             examples=[{"x": (2, 3), "start": (0, 0), "stop": (2, 3), "step": (1, 1)}]),
        rule("rev-nothing", rev(x, axes=axes), x, when=lambda x, axes: all(x.shape[a] == 1 for a in axes),
             examples=[{"x": (2, 3), "axes": ()}, {"x": (2, 1), "axes": (1,)}]),
        rule("pad-nothing", pad(x, y, low=low, high=high, interior=interior), x, when=lambda x, low, high, interior:
             not any(low) and not any(high) and all(i == 0 or n < 2 for i, n in zip(interior, x.shape, strict=True)),
             examples=[{"x": (2, 1), "y": (), "low": (0, 0), "high": (0, 0), "interior": (0, 4)}]),
        *[rule(f"{reducer.name}-nothing", reducer(x, axes=axes), lambda x, out: reshape(x, shape=out.shape),
               when=lambda x, axes: all(x.shape[a] == 1 for a in axes), reorders_sums=reducer is reduce_sum,
               examples=[{"x": (3,), "axes": ()}, {"x": (2, 1, 5), "axes": (1,)}])
          for reducer in (reduce_sum, reduce_prod, reduce_max, reduce_min, reduce_and, reduce_or)],
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Compositions


def _slice_of_slice(x: Ref, inner_start: Shape, inner_step: Shape, start: Shape, step: Shape, out: Aval) -> Ref:
    begin = tuple(a + b * by for a, by, b in zip(inner_start, inner_step, start, strict=True))
    by = tuple(a * b for a, b in zip(inner_step, step, strict=True))
    begin = tuple(b if n else 0 for b, n in zip(begin, out.shape, strict=True))
    end = tuple(b + (n - 1) * k + 1 if n else b for b, k, n in zip(begin, by, out.shape, strict=True))
    return slice_(x, start=begin, stop=end, step=by)


def _only_ones_move(x: Ref, perm: Shape) -> bool:
    moved = [p for p in perm if x.shape[p] != 1]
    return moved == sorted(moved)


def _sum_of_transpose(x: Ref, perm: Shape, axes: Shape) -> Ref:
    summed = tuple(sorted(perm[a] for a in axes))
    kept = [p for a, p in enumerate(perm) if a not in axes]
    order = sorted(kept)
    return transpose(reduce_sum(x, axes=summed), perm=tuple(order.index(p) for p in kept))


def _sum_of_sum(x: Ref, inner_axes: Shape, axes: Shape) -> Ref:
    kept = [a for a in range(x.ndim) if a not in inner_axes]
    return reduce_sum(x, axes=tuple(sorted((*inner_axes, *(kept[a] for a in axes)))))


def _transposed_broadcast(x: Ref, shape: Shape, dims: Shape, perm: Shape) -> Ref:
    """A transposed broadcast is a broadcast if the operand's axes keep their order."""
    places = [perm.index(d) for d in dims]
    moved = transpose(x, perm=tuple(sorted(range(len(dims)), key=lambda k: places[k])))
    return broadcast(moved, shape=tuple(shape[p] for p in perm), dims=tuple(sorted(places)))


COMPOSITIONS = RuleSet(
    [
        rule("broadcast-broadcast", broadcast(broadcast(x, shape=inner_shape, dims=inner_dims), shape=shape, dims=dims),
             lambda x, inner_dims, shape, dims: broadcast(x, shape=shape, dims=tuple(dims[d] for d in inner_dims)),
             examples=[{"x": (3,), "inner_shape": (2, 3), "inner_dims": (1,), "shape": (2, 5, 3), "dims": (0, 2)}]),
        rule("reshape-reshape", reshape(reshape(x, shape=inner_shape), shape=shape), reshape(x, shape=shape),
             examples=[{"x": (2, 6), "inner_shape": (12,), "shape": (3, 4)}]),
        rule("transpose-transpose", transpose(transpose(x, perm=inner_perm), perm=perm),
             lambda x, inner_perm, perm: transpose(x, perm=tuple(inner_perm[a] for a in perm)),
             examples=[{"x": (2, 3, 4), "inner_perm": (2, 0, 1), "perm": (0, 2, 1)}]),
        rule("transpose-ones", transpose(x, perm=perm), lambda x, out: reshape(x, shape=out.shape),
             when=_only_ones_move, examples=[{"x": (2, 1, 3), "perm": (1, 0, 2)}]),
        rule("reshape-scalar", reshape(x, shape=shape), lambda x, shape: broadcast(x, shape=shape, dims=()),
             when=lambda x: x.shape == (), examples=[{"x": (), "shape": (1, 1)}]),
        rule("slice-slice",
             slice_(slice_(x, start=param("inner_start"), stop=param("inner_stop"), step=param("inner_step")),
                    start=start, stop=stop, step=step), _slice_of_slice,
             examples=[{"x": (20, 5), "inner_start": (1, 0), "inner_stop": (18, 4), "inner_step": (3, 1),
                        "start": (1, 1), "stop": (6, 3), "step": (2, 1)}]),
        rule("rev-rev", rev(rev(x, axes=inner_axes), axes=axes),
             lambda x, inner_axes, axes: rev(x, axes=tuple(sorted(set(axes) ^ set(inner_axes)))),
             examples=[{"x": (2, 3, 4), "inner_axes": (0, 2), "axes": (1, 2)},
                       {"x": (3,), "inner_axes": (0,), "axes": (0,)}]),
        rule("sum-sum", reduce_sum(reduce_sum(x, axes=inner_axes), axes=axes), _sum_of_sum, reorders_sums=True,
             examples=[{"x": (2, 3, 4), "inner_axes": (1,), "axes": (1,)}]),
        rule("sum-transpose", reduce_sum(transpose(x, perm=perm), axes=axes), _sum_of_transpose, reorders_sums=True,
             examples=[{"x": (2, 3, 4), "perm": (2, 0, 1), "axes": (1,)}]),
        rule("transpose-broadcast", transpose(broadcast(x, shape=shape, dims=dims), perm=perm), _transposed_broadcast,
             examples=[{"x": (2, 3), "shape": (2, 4, 3), "dims": (0, 2), "perm": (2, 0, 1)}]),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Broadcast scalars, which data movement does not change


_MINUS_ZERO = literal(-0.0, f64)


def _sum_of_repeated(c: Any, inner_shape: Shape, axes: Shape, out: Aval) -> Any:
    """``count * c``, where that is bitwise the sum: all partial sums are exact."""
    count = prod(inner_shape[a] for a in axes)
    if count == 0:
        return 0
    if not out.dtype.is_float:
        return mul.evaluate((c.value, np.asarray(count).astype(out.dtype.numpy)), ())
    value = float(c.value)
    if not value.is_integer() or abs(value) * count > 2 ** MANTISSA[out.dtype] or literal(value, f64) is _MINUS_ZERO:
        return None
    return value * count


def _extremum_of_repeated(reducer: Any) -> Any:
    return rule(
        f"{reducer.name}-of-constant", reducer(broadcast(c, shape=inner_shape, dims=()), axes=axes), c,
        when=lambda inner_shape, axes: all(inner_shape[a] > 0 for a in axes),
        examples=[{"inner_shape": (2, 3), "axes": (1,)}, {"inner_shape": (3,), "axes": (0,)}],
    )  # fmt: skip


_REPEATED = {"x": (), "inner_shape": (2, 3)}
CONSTANTS = RuleSet(
    [
        rule("reshape-repeated", reshape(broadcast(x, shape=inner_shape, dims=()), shape=shape), x,
             examples=[{**_REPEATED, "shape": (6,)}]),
        rule("slice-repeated", slice_(broadcast(x, shape=inner_shape, dims=()), start=start, stop=stop, step=step), x,
             examples=[{**_REPEATED, "start": (0, 1), "stop": (1, 3), "step": (1, 1)}]),
        rule("rev-repeated", rev(broadcast(x, shape=inner_shape, dims=()), axes=axes), x,
             examples=[{**_REPEATED, "axes": (0,)}]),
        rule("pad-repeated", pad(broadcast(x, shape=inner_shape, dims=()), x, low=low, high=high, interior=interior), x,
             examples=[{**_REPEATED, "low": (0, 1), "high": (2, 0), "interior": (0, 1)}]),
        rule("sum-of-constant", reduce_sum(broadcast(c, shape=inner_shape, dims=()), axes=axes), _sum_of_repeated,
             examples=[{"inner_shape": (3, 7), "axes": (1,), "c": 3}]),
        *map(_extremum_of_repeated, (reduce_max, reduce_min, reduce_and, reduce_or)),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Contractions absorb transpositions


def _free(rank: int, used: Sequence[int]) -> list[int]:
    return [a for a in range(rank) if a not in used]


def _absorbed(x: Ref, perm: Shape, contract: Shape, batch: Shape) -> tuple[Ref, Shape, Shape] | None:
    """The operand untransposed and its axes renamed, unless that would change the order of the result's axes."""
    free = [perm[a] for a in _free(len(perm), contract + batch)]
    if free != sorted(free):
        return None
    return x, tuple(perm[a] for a in contract), tuple(perm[a] for a in batch)


def _left(x: Ref, y: Any, perm: Shape, contract: Any, batch: Any) -> Ref | None:
    found = _absorbed(x, perm, contract[0], batch[0])
    if found is None:
        return None
    return dot_general(found[0], y, contract=(found[1], contract[1]), batch=(found[2], batch[1]))


def _right(x: Any, y: Ref, perm: Shape, contract: Any, batch: Any) -> Ref | None:
    found = _absorbed(y, perm, contract[1], batch[1])
    if found is None:
        return None
    return dot_general(x, found[0], contract=(contract[0], found[1]), batch=(batch[0], found[2]))


def _swapped(x: Ref, y: Ref, perm: Shape, contract: Any, batch: Any) -> Ref | None:
    """A transposition that swaps the operands' free axes swaps the operands."""
    n_batch = len(batch[0])
    n_left = x.ndim - n_batch - len(contract[0])
    wanted = (*range(n_batch), *range(n_batch + n_left, len(perm)), *range(n_batch, n_batch + n_left))
    if perm != wanted:
        return None
    return dot_general(y, x, contract=contract[::-1], batch=batch[::-1])


def _scaled(x: Ref, y: Ref) -> Ref:
    return mul(broadcast(x, shape=y.shape, dims=()), y)


_DOT = {"x": (2, 3), "y": (3, 4), "batch": ((), ())}
CONTRACTIONS = RuleSet(
    [
        rule("dot-scalar-left", dot_general(x, y, contract=contract, batch=batch), _scaled,
             when=lambda x: x.shape == (), reorders_sums=True, examples=[{**_DOT, "x": (), "contract": ((), ())}]),
        rule("dot-scalar-right", dot_general(y, x, contract=contract, batch=batch), _scaled,
             when=lambda x: x.shape == (), reorders_sums=True, examples=[{**_DOT, "x": (), "contract": ((), ())}]),
        rule("dot-transposed-left", dot_general(transpose(x, perm=perm), y, contract=contract, batch=batch), _left,
             reorders_sums=True, examples=[{**_DOT, "x": (3, 2), "perm": (1, 0), "contract": ((1,), (0,))}]),
        rule("dot-transposed-right", dot_general(x, transpose(y, perm=perm), contract=contract, batch=batch), _right,
             reorders_sums=True, examples=[{**_DOT, "y": (4, 3), "perm": (1, 0), "contract": ((1,), (0,))}]),
        rule("transposed-dot", transpose(dot_general(x, y, contract=contract, batch=batch), perm=perm), _swapped,
             reorders_sums=True, examples=[{**_DOT, "perm": (1, 0), "contract": ((1,), (0,))}]),
    ]
)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Concatenations: any number of operands, so not a pattern


@general_rule("concatenate-parts", concatenate)
def _concatenate_parts(builder: Rewriter, eqn: Candidate) -> Any:
    """Empty parts are dropped; a concatenation along the same axis is flattened; one part is itself."""
    (axis,) = eqn.params
    parts: list[Ref] = []
    for a in eqn.inputs:
        ref = Ref(builder, a)
        maker = builder.maker(a)
        if maker is not None and maker.primitive is concatenate and maker.params == eqn.params:
            parts += [Ref(builder, b) for b in maker.inputs]
        elif ref.shape[axis]:
            parts.append(ref)
    if len(parts) == 1:
        return parts[0]
    if not parts or [p.atom for p in parts] == list(eqn.inputs):
        return None
    return concatenate(*parts, axis=axis)


@general_rule("slice-of-concatenate", slice_, fits=lambda _, heads, _empty: heads[0] is concatenate)
def _slice_of_concatenate(builder: Rewriter, eqn: Candidate) -> Any:
    """A slice that lies within one part is a slice of that part."""
    maker: Eqn | None = builder.maker(eqn.inputs[0])
    if maker is None or maker.primitive is not concatenate or eqn.avals[0].size == 0:
        return None
    start, stop, step = eqn.params
    (axis,) = maker.params
    begin = 0
    for a in maker.inputs:
        part = Ref(builder, a)
        end = begin + part.shape[axis]
        last = start[axis] + (eqn.avals[0].shape[axis] - 1) * step[axis]
        if begin <= start[axis] and last < end:
            shifted = [start, (*stop[:axis], last + 1, *stop[axis + 1 :])]
            lo, hi = (tuple(v - begin if k == axis else v for k, v in enumerate(s)) for s in shifted)
            return slice_(part, start=lo, stop=hi, step=step)
        begin = end
    return None


PIECES = RuleSet([_concatenate_parts, _slice_of_concatenate])
