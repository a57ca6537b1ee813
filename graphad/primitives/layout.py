"""Primitives that repeat elements or rename their axes: iota, broadcast, reshape, transpose.

`reduce_sum` is here too: it is the transpose of `broadcast`, and `broadcast` is its.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.lowering import Iota, Reduce, Reshape, View
from graphad.ir.params import DTYPE, INT, INTS
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, b1, f32, i32, literal
from graphad.primitives.families_shape import (
    Array,
    Shape,
    accumulated,
    check_axes,
    check_kind,
    check_rank,
    linear_op,
    strided_view,
    unary_samples,
)

# ---------------------------------------------------------------------------------------------------------------------
# iota


def _iota_type(*, shape: Shape, dtype: DType, axis: int) -> Aval:
    if dtype is b1:
        raise TypeError("iota got dtype=bool; count in integers and compare.")
    if not 0 <= axis < len(shape):
        raise ValueError(f"iota got axis={axis} for shape {shape}; axis must be in range({len(shape)}).")
    return aval(shape, dtype)


def _iota(*, shape: Shape, dtype: DType, axis: int) -> Array:
    along = [1] * len(shape)
    along[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis]).astype(dtype.numpy).reshape(along), shape)


def _iota_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    del rng
    if dtype is not b1:
        for shape, axis in (((7,), 0), ((0,), 0), ((2, 3), 0), ((2, 3), 1), ((3, 1, 5), 2), ((2, 0, 3), 2)):
            yield Sample((), {"shape": shape, "dtype": dtype, "axis": axis})


iota = Primitive(
    "iota",
    "``out[i_0, ..., i_n] = i_axis``. It has no operands: rules emit it with `positions`.",
    _iota_type,
    _iota,
    {"shape": INTS, "dtype": DTYPE, "axis": INT},
    nondifferentiable="it has no operands",
    batch=lambda size, _batched, *, shape, dtype, axis: _iota(shape=(size, *shape), dtype=dtype, axis=axis + 1),
    lowering=lambda _types, params: Iota(params["axis"]),
    samples=_iota_samples,
    errors=(
        ErrorSample((), {"shape": (3,), "dtype": f32, "axis": 1}, "axis must be in range(1)"),
        ErrorSample((), {"shape": (3,), "dtype": b1, "axis": 0}, "count in integers and compare"),
    ),
)


def positions(builder: Builder, shape: Shape, axis: int, dtype: DType = i32) -> Ref:
    """An `iota` in ``builder``."""
    return Ref(builder, builder.emit(iota, (), (shape, dtype, axis))[0])


# ---------------------------------------------------------------------------------------------------------------------
# broadcast and reduce_sum


def _broadcast_type(x: OperandType, *, shape: Shape, dims: Shape) -> Aval:
    check_rank("broadcast", x, dims=dims)
    if list(dims) != sorted(set(dims)) or any(not 0 <= d < len(shape) for d in dims):
        raise ValueError(f"broadcast got dims={dims} for shape {shape}; dims must increase, in range({len(shape)}).")
    if tuple(shape[d] for d in dims) != x.shape:
        raise ValueError(
            f"broadcast got {x} for axes {dims} of shape {shape}; the sizes must be equal. "
            "Reshape away axes of size 1 that are to be repeated."
        )
    return aval(shape, x.dtype)


def _broadcast(x: Any, *, shape: Shape, dims: Shape) -> Array:
    return np.broadcast_to(np.reshape(x, [n if a in dims else 1 for a, n in enumerate(shape)]), shape)


def _broadcast_transpose(ct: Ref, _x: Aval, *, shape: Shape, dims: Shape) -> Ref:
    return reduce_sum(ct, axes=tuple(a for a in range(len(shape)) if a not in dims))


broadcast = linear_op(
    "broadcast",
    doc="The operand repeated: its axis ``k`` is the output's axis ``dims[k]``, of the same size. ``dims`` increase.",
    type_rule=_broadcast_type,
    numpy=_broadcast,
    params={"shape": INTS, "dims": INTS},
    transpose=_broadcast_transpose,
    batch=lambda size, _batched, x, *, shape, dims: broadcast(
        x, shape=(size, *shape), dims=(0, *(d + 1 for d in dims))
    ),
    lowering=lambda _types, params: strided_view([(0, 1, d) for d in params["dims"]]),
    samples=unary_samples(
        [
            ((), {"shape": (), "dims": ()}),
            ((), {"shape": (2, 3), "dims": ()}),
            ((3,), {"shape": (2, 3), "dims": (1,)}),
            ((2,), {"shape": (2, 3), "dims": (0,)}),
            ((2, 3), {"shape": (2, 5, 3), "dims": (0, 2)}),
            ((2, 1), {"shape": (2, 1, 7), "dims": (0, 1)}),
            ((0,), {"shape": (4, 0), "dims": (1,)}),
            ((3,), {"shape": (0, 3), "dims": (1,)}),
        ]
    ),
    errors=(
        ErrorSample((aval((3,), f32),), {"shape": (3, 2), "dims": (1,)}, "the sizes must be equal"),
        ErrorSample((aval((1,), f32),), {"shape": (3,), "dims": (0,)}, "Reshape away axes of size 1"),
        ErrorSample((aval((3,), f32),), {"shape": (3,), "dims": (1,)}, "must increase, in range(1)"),
        ErrorSample((aval((3,), f32),), {"shape": (3,), "dims": ()}, "one entry for each of its 1 axes"),
    ),
)


def reduced_type(name: str, x: OperandType, axes: Shape) -> Aval:
    """The operand's type without ``axes``."""
    check_axes(name, x, axes)
    return aval(tuple(n for a, n in enumerate(x.shape) if a not in axes), x.dtype)


def _sum_type(x: OperandType, *, axes: Shape) -> Aval:
    check_kind("reduce_sum", x, "iuf", "convert booleans to integers first, to count them.")
    return reduced_type("reduce_sum", x, axes)


def _sum_transpose(ct: Ref, x: Aval, *, axes: Shape) -> Ref:
    return broadcast(ct, shape=x.shape, dims=tuple(a for a in range(x.ndim) if a not in axes))


REDUCE_CASES: list[tuple[Shape, dict[str, Any]]] = [
    ((), {"axes": ()}),
    ((1,), {"axes": (0,)}),
    ((7,), {"axes": (0,)}),
    ((7,), {"axes": ()}),
    ((3, 5), {"axes": (0,)}),
    ((3, 5), {"axes": (1,)}),
    ((3, 5), {"axes": (0, 1)}),
    ((2, 3, 5), {"axes": (1,)}),
    ((2, 3, 5), {"axes": (2, 0)}),
    ((2, 1, 37), {"axes": (2,)}),
    ((0,), {"axes": (0,)}),
    ((0, 3), {"axes": (0,)}),
    ((0, 3), {"axes": (1,)}),
]
REDUCE_ERRORS = (
    ErrorSample((aval((3,), f32),), {"axes": (1,)}, "distinct and in range(1)"),
    ErrorSample((aval((3, 2), f32),), {"axes": (0, 0)}, "distinct and in range(2)"),
    ErrorSample((aval((3,), f32),), {"axes": (-1,)}, "Count negative axes from the end first"),
)

reduce_sum = linear_op(
    "reduce_sum",
    doc="The sum over ``axes``; 0 where they are empty. Half precision accumulates in f32, integers wrap around.",
    type_rule=_sum_type,
    numpy=lambda x, *, axes: accumulated(np.sum, x, axes),
    params={"axes": INTS},
    transpose=_sum_transpose,
    batch=lambda _size, _batched, x, *, axes: reduce_sum(x, axes=tuple(a + 1 for a in axes)),
    lowering=lambda _types, params: Reduce("sum", params["axes"]),
    samples=unary_samples(REDUCE_CASES, kinds="iuf"),
    errors=(*REDUCE_ERRORS, ErrorSample((aval((3,), b1),), {"axes": (0,)}, "convert booleans to integers")),
    tolerance=16.0,
)


def zeros_like_aval(builder: Builder, a: Aval) -> Ref:
    """Zeros of type ``a``: a literal, broadcast unless ``a`` is a scalar."""
    zero = Ref(builder, literal(0, a.dtype))
    return broadcast(zero, shape=a.shape, dims=()) if a.shape else zero


def instantiate(builder: Builder, value: Ref | None, a: Aval) -> Ref:
    """``value``, or zeros of type ``a`` where it is None."""
    return zeros_like_aval(builder, a) if value is None else value


def repeat_leading(x: Any, size: int) -> Any:
    """``x`` repeated along a new leading axis."""
    return broadcast(x, shape=(size, *x.shape), dims=tuple(range(1, x.ndim + 1)))


def all_batched(size: int, batched: Sequence[bool], operands: Sequence[Any]) -> list[Ref]:
    """The operands of a batching rule, each with the batch axis: repeated along it where it has none."""
    return [x if b else repeat_leading(x, size) for x, b in zip(operands, batched, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# reshape and transpose


def _reshape_type(x: OperandType, *, shape: Shape) -> Aval:
    if any(n < 0 for n in shape) or prod(shape) != prod(x.shape):
        raise ValueError(f"reshape got {x} for shape {shape}; it has {prod(x.shape)} elements, not {prod(shape)}.")
    return aval(shape, x.dtype)


reshape = linear_op(
    "reshape",
    doc="The same elements, in row-major order, under another ``shape``.",
    type_rule=_reshape_type,
    numpy=lambda x, *, shape: np.reshape(x, shape),
    params={"shape": INTS},
    transpose=lambda ct, x, *, shape: reshape(ct, shape=x.shape),
    batch=lambda size, _batched, x, *, shape: reshape(x, shape=(size, *shape)),
    lowering=lambda types, _params: Reshape() if types[0].shape else View(()),
    samples=unary_samples(
        [
            ((), {"shape": ()}),
            ((), {"shape": (1, 1)}),
            ((1,), {"shape": ()}),
            ((6,), {"shape": (2, 3)}),
            ((2, 3), {"shape": (6,)}),
            ((2, 3), {"shape": (3, 2)}),
            ((2, 3), {"shape": (2, 1, 3)}),
            ((2, 3, 5), {"shape": (6, 5)}),
            ((0, 3), {"shape": (5, 0)}),
        ]
    ),
    errors=(
        ErrorSample((aval((3,), f32),), {"shape": (2,)}, "it has 3 elements, not 2"),
        ErrorSample((aval((3,), f32),), {"shape": (-1, -3)}, "for shape (-1, -3)"),
    ),
)


def _transpose_type(x: OperandType, *, perm: Shape) -> Aval:
    check_rank("transpose", x, perm=perm)
    check_axes("transpose", x, perm, "perm")
    return aval(tuple(x.shape[p] for p in perm), x.dtype)


def inverse_permutation(perm: Shape) -> Shape:
    """The permutation that undoes ``perm``."""
    inverse = [0] * len(perm)
    for k, p in enumerate(perm):
        inverse[p] = k
    return tuple(inverse)


transpose = linear_op(
    "transpose",
    doc="Axes in another order: the output's axis ``k`` is the operand's axis ``perm[k]``.",
    type_rule=_transpose_type,
    numpy=lambda x, *, perm: np.transpose(x, perm),
    params={"perm": INTS},
    transpose=lambda ct, _x, *, perm: transpose(ct, perm=inverse_permutation(perm)),
    batch=lambda _size, _batched, x, *, perm: transpose(x, perm=(0, *(p + 1 for p in perm))),
    lowering=lambda _types, params: strided_view([(0, 1, k) for k in inverse_permutation(params["perm"])]),
    samples=unary_samples(
        [
            ((), {"perm": ()}),
            ((7,), {"perm": (0,)}),
            ((2, 3), {"perm": (1, 0)}),
            ((2, 3), {"perm": (0, 1)}),
            ((2, 3, 5), {"perm": (1, 2, 0)}),
            ((2, 3, 5), {"perm": (2, 0, 1)}),
            ((2, 3, 5), {"perm": (0, 2, 1)}),
            ((0, 3), {"perm": (1, 0)}),
        ]
    ),
    errors=(
        ErrorSample((aval((3, 2), f32),), {"perm": (0,)}, "one entry for each of its 2 axes"),
        ErrorSample((aval((3, 2), f32),), {"perm": (1, 1)}, "distinct and in range(2)"),
    ),
)


def moved_to_front(x: Ref, axis: int) -> Ref:
    """``x`` with ``axis`` first and the others in their order."""
    return x if axis == 0 else transpose(x, perm=(axis, *(a for a in range(x.ndim) if a != axis)))
