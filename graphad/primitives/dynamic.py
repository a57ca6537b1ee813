"""Blocks of static size at computed positions: `dynamic_slice` and `dynamic_update_slice`.

The leading ``batch`` axes of all operands are batch axes; every other axis has a start, an operand with one number for
each batch element. A start with which the block would be out of bounds is clamped to the nearest valid one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import DynamicSlice, DynamicUpdate
from graphad.ir.params import INT, INTS
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64, i32, i64, literal
from graphad.primitives.families_shape import Array, Shape, builder_of, random_array
from graphad.primitives.layout import all_batched, instantiate, zeros_like_aval


def _check_starts(name: str, x: OperandType, sizes: Shape, starts: Sequence[OperandType], batch: int) -> None:
    rank = len(x.shape)
    if not 0 <= batch <= rank or len(starts) != rank - batch:
        raise TypeError(
            f"{name} got {len(starts)} starts and batch={batch} for {x}; give a start for each axis behind "
            "the batch axes."
        )
    for s in starts:
        if s.dtype not in (i32, i64) or s.shape != x.shape[:batch]:
            raise TypeError(
                f"{name} got a start {s} for {x}; a start is i32 or i64, with one number for each element of the batch "
                f"{x.shape[:batch]}. Convert or broadcast it."
            )
    if any(not 0 <= size <= n for size, n in zip(sizes, x.shape[batch:], strict=True)):
        raise ValueError(f"{name} got a block of {sizes} in {x}; its sizes may be those of the axes at most. Cut it.")


def _blocks(x: Array, sizes: Shape, starts: Sequence[Any], batch: int) -> Iterator[tuple[Shape, tuple[slice, ...]]]:
    """For the references: the index of each batch element, and the slices of its block."""
    for element in np.ndindex(x.shape[:batch]):
        place = []
        for start, size, n in zip(starts, sizes, x.shape[batch:], strict=True):
            first = min(max(int(np.asarray(start)[element]), 0), n - size)
            place.append(slice(first, first + size))
        yield element, tuple(place)


#: Shape of the operand, sizes of the block, starts (the first and last are out of range), and the number of batch axes.
_CASES: list[tuple[Shape, Shape, list[Any], int]] = [
    ((), (), [], 0),
    ((7,), (3,), [2], 0),
    ((7,), (3,), [6], 0),
    ((7,), (3,), [-2], 0),
    ((7,), (7,), [1], 0),
    ((7,), (0,), [3], 0),
    ((5, 3), (2, 3), [3, 0], 0),
    ((5, 37), (4, 20), [0, 11], 0),
    ((2, 3, 5), (1, 2, 3), [1, 1, 2], 0),
    ((3, 5), (2,), [[0, 9, 2]], 1),
    ((2, 5, 3), (2, 1), [[1, -1], [2, 0]], 1),
    ((0, 5), (2,), [[]], 1),
    ((0, 3), (0, 2), [0, 1], 0),
]
_ONE: dict[str, Any] = {"sizes": (2,), "batch": 0}
_AT = aval((), i32)


def _start_arrays(starts: list[Any], k: int) -> list[Array]:
    return [np.array(s, np.int64 if k % 2 else np.int32) for s in starts]


# ---------------------------------------------------------------------------------------------------------------------
# dynamic_slice


def _slice_type(x: OperandType, *starts: OperandType, sizes: Shape, batch: int) -> Aval:
    if len(sizes) != len(starts):
        raise TypeError(
            f"dynamic_slice got sizes={sizes} and {len(starts)} starts for {x}; give a size for each start."
        )
    _check_starts("dynamic_slice", x, sizes, starts, batch)
    return aval((*x.shape[:batch], *sizes), x.dtype)


def _slice(x: Any, *starts: Any, sizes: Shape, batch: int) -> Array:
    x = np.asarray(x)
    out = np.empty((*x.shape[:batch], *sizes), x.dtype)
    for element, place in _blocks(x, sizes, starts, batch):
        out[element] = x[element][place]
    return out


def _slice_jvp(tangents: Sequence[Ref | None], operands: Sequence[Any], _outputs: Any, **params: Any) -> list[Ref]:
    return [dynamic_slice(tangents[0], *operands[1:], **params)]


def _slice_transpose(cts: Sequence[Ref], operands: Sequence[Any], *, sizes: Shape, batch: int) -> list[Ref | None]:
    del sizes
    (ct,), (x, *starts) = cts, operands
    onto = zeros_like_aval(ct.builder, x)
    return [dynamic_update_slice(onto, ct, *starts, batch=batch), *[None] * len(starts)]


def _slice_batch(size: int, batched: Sequence[bool], *operands: Any, sizes: Shape, batch: int) -> Ref:
    x, *starts = operands
    if not any(batched[1:]):
        # The same block of every batch element: the new axis is one more that is taken whole.
        if batch:
            return dynamic_slice(*all_batched(size, batched, operands), sizes=sizes, batch=batch + 1)
        return dynamic_slice(x, literal(0, i32), *starts, sizes=(size, *sizes), batch=0)
    return dynamic_slice(*all_batched(size, batched, operands), sizes=sizes, batch=batch + 1)


def _slice_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    for k, (shape, sizes, starts, batch) in enumerate(_CASES):
        operands = (random_array(rng, shape, dtype), *_start_arrays(starts, k))
        yield Sample(operands, {"sizes": sizes, "batch": batch})


dynamic_slice = Primitive(
    "dynamic_slice",
    "A block of operand 0 of the given ``sizes``; see `graphad.primitives.dynamic` for where.",
    _slice_type,
    _slice,
    {"sizes": INTS, "batch": INT},
    jvp=_slice_jvp,
    linear=(0,),
    transpose=_slice_transpose,
    batch=_slice_batch,
    lowering=lambda _types, params: DynamicSlice(params["batch"]),
    samples=_slice_samples,
    errors=(
        ErrorSample((aval((3,), f32),), _ONE, "give a size for each start"),
        ErrorSample((aval((3,), f32), _AT, _AT), _ONE | {"sizes": (2, 2)}, "give a start for each axis"),
        ErrorSample((aval((3,), f32), aval((), f32)), _ONE, "a start is i32 or i64"),
        ErrorSample((aval((3, 3), f32), _AT), _ONE | {"batch": 1}, "for each element of the batch (3,)"),
        ErrorSample((aval((3,), f32), _AT), _ONE | {"sizes": (4,)}, "Cut it"),
    ),
    tolerance=0.0,
)


# ---------------------------------------------------------------------------------------------------------------------
# dynamic_update_slice


def _update_type(x: OperandType, update: OperandType, *starts: OperandType, batch: int) -> Aval:
    if update.dtype is not x.dtype or len(update.shape) != len(x.shape) or update.shape[:batch] != x.shape[:batch]:
        raise TypeError(
            f"dynamic_update_slice got {x} and the update {update}; dtype, number of axes and batch axes must be "
            "equal. Convert or reshape the update."
        )
    _check_starts("dynamic_update_slice", x, update.shape[batch:], starts, batch)
    return aval(x.shape, x.dtype)


def _update(x: Any, update: Any, *starts: Any, batch: int) -> Array:
    out, update = np.array(x), np.asarray(update)
    for element, place in _blocks(out, update.shape[batch:], starts, batch):
        out[(*element, *place)] = update[element]
    return out


def _update_jvp(tangents: Sequence[Ref | None], operands: Sequence[Any], _outputs: Any, *, batch: int) -> list[Ref]:
    builder = builder_of(tangents)
    t_x, t_update = (instantiate(builder, t, v.aval) for t, v in zip(tangents[:2], operands[:2], strict=True))
    return [dynamic_update_slice(t_x, t_update, *operands[2:], batch=batch)]


def _update_transpose(cts: Sequence[Ref], operands: Sequence[Any], *, batch: int) -> list[Ref | None]:
    (ct,), (x, update, *starts) = cts, operands
    ct_x = ct_update = None
    if isinstance(x, Aval):
        blank = zeros_like_aval(ct.builder, aval(update.shape, ct.dtype))
        ct_x = dynamic_update_slice(ct, blank, *starts, batch=batch)
    if isinstance(update, Aval):
        ct_update = dynamic_slice(ct, *starts, sizes=update.shape[batch:], batch=batch)
    return [ct_x, ct_update, *[None] * len(starts)]


def _update_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    for k, (shape, sizes, starts, batch) in enumerate(_CASES):
        update = random_array(rng, (*shape[:batch], *sizes), dtype)
        yield Sample((random_array(rng, shape, dtype), update, *_start_arrays(starts, k)), {"batch": batch})


dynamic_update_slice = Primitive(
    "dynamic_update_slice",
    "Operand 0 with operand 1 in place of a block; see `graphad.primitives.dynamic` for where.",
    _update_type,
    _update,
    {"batch": INT},
    jvp=_update_jvp,
    linear=(0, 1),
    transpose=_update_transpose,
    batch=lambda size, batched, *operands, batch: dynamic_update_slice(
        *all_batched(size, batched, operands), batch=batch + 1
    ),
    lowering=lambda _types, params: DynamicUpdate(params["batch"]),
    samples=_update_samples,
    errors=(
        ErrorSample((aval((3,), f32), aval((2,), f64), _AT), {"batch": 0}, "Convert or reshape the update"),
        ErrorSample((aval((3,), f32), aval((2,), f32)), {"batch": 0}, "give a start for each axis"),
        ErrorSample((aval((3,), f32), aval((4,), f32), _AT), {"batch": 0}, "Cut it"),
    ),
    tolerance=0.0,
)
