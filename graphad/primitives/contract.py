"""`dot_general`: sums of products over axes of two arrays; matrix products of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from graphad.ir.lowering import Contract
from graphad.ir.params import NESTED
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, b1, f32, f64
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulator,
    check_axes,
    check_kind,
    random_array,
    strided_array,
)
from graphad.primitives.layout import inverse_permutation, moved_to_front, transpose

_SMALL = 4096  # multiplications, up to which the reference sums in order
Pair = tuple[Shape, Shape]  # axes of the left and of the right operand


def _free(rank: int, used: Shape) -> Shape:
    return tuple(a for a in range(rank) if a not in used)


def _type_rule(x: OperandType, y: OperandType, *, contract: Pair, batch: Pair) -> Aval:
    if x.dtype is not y.dtype:
        raise TypeError(f"dot_general got {x} and {y}; the dtypes must be equal. Convert one operand.")
    check_kind("dot_general", x, "iuf", "convert booleans to integers first.")
    for operand, side in ((x, 0), (y, 1)):
        check_axes("dot_general", operand, (*batch[side], *contract[side]), "batch and contract axes")
    for what, (left, right) in (("contract", contract), ("batch", batch)):
        sizes = tuple(x.shape[a] for a in left), tuple(y.shape[a] for a in right)
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"dot_general got {x} and {y} with {what}={(left, right)}, of sizes {sizes[0]} and {sizes[1]}; "
                "they must be equal, in order. Transpose an operand, or name other axes."
            )
    shape = [x.shape[a] for a in batch[0]]
    for operand, side in ((x, 0), (y, 1)):
        shape.extend(operand.shape[a] for a in _free(len(operand.shape), batch[side] + contract[side]))
    return aval(tuple(shape), x.dtype)


def _reference(x: Any, y: Any, *, contract: Pair, batch: Pair) -> Array:
    x, y = np.asarray(x), np.asarray(y)
    dtype = x.dtype
    free_x, free_y = _free(x.ndim, batch[0] + contract[0]), _free(y.ndim, batch[1] + contract[1])
    batch_shape = tuple(x.shape[a] for a in batch[0])
    rows, columns = tuple(x.shape[a] for a in free_x), tuple(y.shape[a] for a in free_y)
    depth = prod(x.shape[a] for a in contract[0])
    left = x.transpose(batch[0] + free_x + contract[0]).reshape((*batch_shape, prod(rows), depth))
    right = y.transpose(batch[1] + contract[1] + free_y).reshape((*batch_shape, depth, prod(columns)))
    if dtype == np.float32 and depth * prod((*batch_shape, *rows, *columns)) <= _SMALL:
        return _summed_in_order(left, right).reshape((*batch_shape, *rows, *columns))
    wide = accumulator(dtype)
    product = np.matmul(left.astype(wide, copy=False), right.astype(wide, copy=False))
    return product.astype(dtype, copy=False).reshape((*batch_shape, *rows, *columns))


def _summed_in_order(left: Array, right: Array) -> Array:
    """A small product by fused multiply-adds, first term first: no BLAS gives these digits, JAX and small loops do."""
    total = np.zeros((*left.shape[:-1], right.shape[-1]), np.float32)
    for k in range(left.shape[-1]):
        term = left[..., k, None].astype(np.float64) * right[..., k, None, :]  # exact
        total = (total + term).astype(np.float32)
    return total


def _swapped(pair: Pair) -> Pair:
    return pair[1], pair[0]


def _transpose_left(ct: Ref, x: Aval, y: Any, *, contract: Pair, batch: Pair, swapped: bool = False) -> Ref:
    """The cotangent of ``x``: the product of ``ct`` and ``y`` over the free axes of ``y``, its axes put in order.

    ``swapped``: ``y`` was the left operand.
    """
    batch_axes = len(batch[0])
    free_x = _free(x.ndim, batch[0] + contract[0])
    free_y = _free(len(y.shape), batch[1] + contract[1])
    start = batch_axes if swapped else batch_axes + len(free_x)
    ct_axes = tuple(range(start, start + len(free_y)))
    ct_batch = tuple(range(batch_axes))
    # The contracted axes of y are left over, in y's order; put x's own axes beside them in that order too.
    in_order = sorted(range(len(contract[1])), key=contract[1].__getitem__)
    contracted_x = tuple(contract[0][k] for k in in_order)
    if swapped:
        product = dot_general(y, ct, contract=(free_y, ct_axes), batch=(batch[1], ct_batch))
        axes = (*batch[0], *contracted_x, *free_x)
    else:
        product = dot_general(ct, y, contract=(ct_axes, free_y), batch=(ct_batch, batch[1]))
        axes = (*batch[0], *free_x, *contracted_x)
    return transpose(product, perm=inverse_permutation(axes)) if axes != tuple(sorted(axes)) else product


def _transpose_right(ct: Ref, x: Any, y: Aval, *, contract: Pair, batch: Pair) -> Ref:
    return _transpose_left(ct, y, x, contract=_swapped(contract), batch=_swapped(batch), swapped=True)


def _shifted(axes: Shape) -> Shape:
    return tuple(a + 1 for a in axes)


def _batch_rule(size: int, batched: tuple[bool, ...], x: Any, y: Any, *, contract: Pair, batch: Pair) -> Ref:
    """A batch axis that both operands have is one more batch axis; of one operand alone it is a free one."""
    del size
    if all(batched):
        return dot_general(
            x, y,
            contract=(_shifted(contract[0]), _shifted(contract[1])),
            batch=((0, *_shifted(batch[0])), (0, *_shifted(batch[1]))),
        )  # fmt: skip
    if batched[0]:
        sides = (_shifted(contract[0]), contract[1]), (_shifted(batch[0]), batch[1])
        return moved_to_front(dot_general(x, y, contract=sides[0], batch=sides[1]), len(batch[0]))
    left, right = (contract[0], _shifted(contract[1])), (batch[0], _shifted(batch[1]))
    if len(contract[1]) + len(batch[1]) + 1 == y.ndim:
        # y has no free axis but the new one: as the left operand it brings that to the front by itself.
        swapped = dot_general(y, x, contract=left[::-1], batch=right[::-1])
        return moved_to_front(swapped, len(batch[0]))
    free_x = x.ndim - len(contract[0]) - len(batch[0])
    return moved_to_front(dot_general(x, y, contract=left, batch=right), len(batch[0]) + free_x)


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if dtype is b1:
        return
    none: Pair = ((), ())
    cases: list[tuple[Shape, Shape, Pair, Pair]] = [
        ((), (), none, none),
        ((), (3,), none, none),
        ((1,), (1,), ((0,), (0,)), none),
        ((7,), (7,), ((0,), (0,)), none),
        ((3,), (5,), none, none),
        ((3, 5), (5,), ((1,), (0,)), none),
        ((5,), (5, 3), ((0,), (0,)), none),
        ((3, 5), (5, 7), ((1,), (0,)), none),
        ((5, 3), (7, 5), ((0,), (1,)), none),
        ((13, 11), (11, 17), ((1,), (0,)), none),
        ((2, 3, 5), (5, 3), ((1, 2), (1, 0)), none),
        ((5, 2, 3), (3, 4, 5), ((0, 2), (2, 0)), none),
        ((2, 3, 5), (2, 5, 4), ((2,), (1,)), ((0,), (0,))),
        ((3, 2, 5), (5, 4, 2), ((2,), (0,)), ((1,), (2,))),
        ((2, 3), (2, 3), ((1,), (1,)), ((0,), (0,))),
        ((3, 2), (2, 3), none, ((0, 1), (1, 0))),
        ((2, 3, 5, 4), (3, 2, 4, 6), ((3,), (2,)), ((0, 1), (1, 0))),
        ((2, 3, 5), (7, 5), ((2,), (1,)), none),
        ((3, 0), (0, 5), ((1,), (0,)), none),
        ((0, 3), (3, 5), ((1,), (0,)), none),
        ((0, 2, 3), (0, 3, 2), ((2,), (1,)), ((0,), (0,))),
    ]
    for k, (left, right, contract, batch) in enumerate(cases):
        make = strided_array if k % 2 else random_array
        yield Sample((make(rng, left, dtype), make(rng, right, dtype)), {"contract": contract, "batch": batch})


_MATRIX = {"contract": ((1,), (0,)), "batch": ((), ())}

dot_general = Primitive(
    "dot_general",
    "Products of elements summed over the axes ``contract = (of the left, of the right operand)``, side by side along "
    "the axes ``batch`` (likewise). The output has the batch axes, then the free axes of the left and of the right "
    "operand, each in the operand's order. It accumulates in the operands' dtype, half precision in f32.",
    _type_rule,
    _reference,
    {"contract": NESTED, "batch": NESTED},
    jvp=(
        lambda t, _x, y, _out, **params: dot_general(t, y, **params),
        lambda t, x, _y, _out, **params: dot_general(x, t, **params),
    ),
    linear=(0, 1),
    transpose={0: _transpose_left, 1: _transpose_right},
    batch=_batch_rule,
    lowering=lambda _types, params: Contract(params["contract"], params["batch"]),
    samples=_samples,
    errors=(
        ErrorSample((aval((3, 2), f32), aval((2, 3), f64)), _MATRIX, "the dtypes must be equal"),
        ErrorSample((aval((3, 2), f32), aval((3, 4), f32)), _MATRIX, "Transpose an operand, or name other axes"),
        ErrorSample((aval((3,), f32), aval((3,), f32)), _MATRIX, "distinct and in range(1)"),
        ErrorSample((aval((3, 2), b1), aval((2, 3), b1)), _MATRIX, "convert booleans to integers"),
    ),
    tolerance=64.0,
)
