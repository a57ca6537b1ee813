"""Primitives that take arrays apart and put them together: slice, rev, pad, concatenate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Piece, Pieces
from graphad.ir.params import INT, INTS
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval, f32, f64
from graphad.primitives.families_shape import (
    Array,
    Shape,
    builder_of,
    check_axes,
    check_rank,
    linear_op,
    random_array,
    strided_view,
    unary_samples,
)
from graphad.primitives.layout import all_batched, broadcast, instantiate, reduce_sum, repeat_leading, reshape

# ---------------------------------------------------------------------------------------------------------------------
# slice and rev


def _slice_type(x: OperandType, *, start: Shape, stop: Shape, step: Shape) -> Aval:
    check_rank("slice", x, start=start, stop=stop, step=step)
    for axis, (lo, hi, by, n) in enumerate(zip(start, stop, step, x.shape, strict=True)):
        if not (0 <= lo <= hi <= n and by >= 1):
            raise ValueError(
                f"slice got {lo}:{hi}:{by} for axis {axis} of {x}; it takes 0 <= start <= stop <= {n} and step >= 1. "
                "Clip the bounds first; rev reverses."
            )
    return aval(tuple(-(-(hi - lo) // by) for lo, hi, by in zip(start, stop, step, strict=True)), x.dtype)


def _slice_transpose(ct: Ref, x: Aval, *, start: Shape, stop: Shape, step: Shape) -> Ref:
    del stop
    low = tuple(lo if n else 0 for lo, n in zip(start, ct.shape, strict=True))
    high = tuple(
        full - lo - ((n - 1) * by + 1 if n else 0) for full, lo, by, n in zip(x.shape, low, step, ct.shape, strict=True)
    )
    return pad(ct, 0, low=low, high=high, interior=tuple(by - 1 for by in step))


slice_ = linear_op(
    "slice",
    doc="Every ``step``-th element from ``start`` to ``stop`` (excluded), per axis.",
    type_rule=_slice_type,
    numpy=lambda x, *, start, stop, step: np.asarray(x)[tuple(map(slice, start, stop, step))],
    params={"start": INTS, "stop": INTS, "step": INTS},
    transpose=_slice_transpose,
    batch=lambda size, _batched, x, *, start, stop, step: slice_(
        x, start=(0, *start), stop=(size, *stop), step=(1, *step)
    ),
    lowering=lambda _types, params: strided_view(
        [(lo, by, k) for k, (lo, by) in enumerate(zip(params["start"], params["step"], strict=True))]
    ),
    samples=unary_samples(
        [
            ((), {"start": (), "stop": (), "step": ()}),
            ((7,), {"start": (1,), "stop": (6,), "step": (1,)}),
            ((7,), {"start": (0,), "stop": (7,), "step": (3,)}),
            ((7,), {"start": (1,), "stop": (6,), "step": (2,)}),
            ((7,), {"start": (3,), "stop": (3,), "step": (2,)}),
            ((1,), {"start": (0,), "stop": (1,), "step": (5,)}),
            ((5, 3), {"start": (1, 0), "stop": (5, 2), "step": (2, 1)}),
            ((0, 3), {"start": (0, 1), "stop": (0, 3), "step": (1, 1)}),
        ]
    ),
    errors=(
        ErrorSample((aval((3,), f32),), {"start": (0,), "stop": (4,), "step": (1,)}, "0 <= start <= stop <= 3"),
        ErrorSample((aval((3,), f32),), {"start": (2,), "stop": (0,), "step": (-1,)}, "rev reverses"),
        ErrorSample((aval((3,), f32),), {"start": (), "stop": (3,), "step": (1,)}, "one entry for each of its 1 axes"),
    ),
)


def slice_axis(x: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
    """``x[..., start:stop:step, ...]`` along one axis."""
    n = x.shape
    if (start, stop, step) == (0, n[axis], 1):
        return x
    return slice_(
        x,
        start=tuple(start if a == axis else 0 for a in range(len(n))),
        stop=tuple(stop if a == axis else n[a] for a in range(len(n))),
        step=tuple(step if a == axis else 1 for a in range(len(n))),
    )


def _rev_type(x: OperandType, *, axes: Shape) -> Aval:
    check_axes("rev", x, axes)
    return aval(x.shape, x.dtype)


rev = linear_op(
    "rev",
    doc="The elements in reverse order along ``axes``.",
    type_rule=_rev_type,
    numpy=lambda x, *, axes: np.flip(np.asarray(x), axes),
    params={"axes": INTS},
    transpose=lambda ct, _x, *, axes: rev(ct, axes=axes),
    batch=lambda _size, _batched, x, *, axes: rev(x, axes=tuple(a + 1 for a in axes)),
    lowering=lambda types, params: strided_view(
        [(n - 1, -1, k) if k in params["axes"] else (0, 1, k) for k, n in enumerate(types[0].shape)]
    ),
    samples=unary_samples(
        [
            ((), {"axes": ()}),
            ((7,), {"axes": (0,)}),
            ((2, 3), {"axes": (1,)}),
            ((2, 3), {"axes": (0, 1)}),
            ((2, 3, 5), {"axes": (0, 2)}),
            ((0, 3), {"axes": (0,)}),
        ]
    ),
    errors=(ErrorSample((aval((3,), f32),), {"axes": (1,)}, "distinct and in range(1)"),),
)


# ---------------------------------------------------------------------------------------------------------------------
# pad


def _padded(n: int, low: int, high: int, interior: int) -> int:
    return low + high + n + max(n - 1, 0) * interior


def _pad_type(x: OperandType, fill: OperandType, *, low: Shape, high: Shape, interior: Shape) -> Aval:
    check_rank("pad", x, low=low, high=high, interior=interior)
    if fill.shape or fill.dtype is not x.dtype:
        raise TypeError(f"pad got {x} and fill {fill}; fill must be a scalar of dtype {x.dtype}.")
    shape = tuple(map(_padded, x.shape, low, high, interior))
    if any(n < 0 for n in shape) or any(i < 0 for i in interior):
        raise ValueError(
            f"pad got low={low}, high={high}, interior={interior} for {x}; interior must not be negative, "
            f"nor any size of the result {shape}."
        )
    return aval(shape, x.dtype)


def _pad(x: Any, fill: Any, *, low: Shape, high: Shape, interior: Shape) -> Array:
    x = np.asarray(x)
    # Laid out without cutting, then cut: negative low and high take elements away.
    room = tuple(
        _padded(n, max(lo, 0), max(hi, 0), i) for n, lo, hi, i in zip(x.shape, low, high, interior, strict=True)
    )
    out = np.full(room, fill, x.dtype)
    out[
        tuple(
            slice(max(lo, 0), max(lo, 0) + _padded(n, 0, 0, i), i + 1)
            for n, lo, i in zip(x.shape, low, interior, strict=True)
        )
    ] = x
    return out[tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, lo, hi in zip(room, low, high, strict=True))]


def _pad_jvp(tangents: Sequence[Ref | None], operands: Sequence[Any], _outputs: Any, **params: Shape) -> list[Ref]:
    t_x, t_fill = tangents
    if t_fill is None:
        assert t_x is not None
        return [pad(t_x, 0, **params)]
    return [pad(instantiate(t_fill.builder, t_x, operands[0].aval), t_fill, **params)]


def _pad_transpose(
    cts: Sequence[Ref], operands: Sequence[Any], *, low: Shape, high: Shape, interior: Shape
) -> list[Ref | None]:
    (ct,), (x, fill) = cts, operands
    shape = x.shape if isinstance(x, (Aval, Ref)) else ()
    ct_x = ct_fill = None
    if isinstance(x, Aval):
        if min((*low, *high), default=0) < 0:
            # What was cut has no cotangent: put zeros back in its place.
            ct = pad(ct, 0, low=tuple(-n for n in low), high=tuple(-n for n in high), interior=(0,) * len(low))
            start, stop = (0,) * len(low), ct.shape
        else:
            start, stop = low, tuple(n - after for n, after in zip(ct.shape, high, strict=True))
        ct_x = slice_(ct, start=start, stop=stop, step=tuple(i + 1 for i in interior))
    if isinstance(fill, Aval):
        ct_fill = reduce_sum(_padding_of(cts[0], shape, low, high, interior), axes=(0,))
    return [ct_x, ct_fill]


def _padding_of(y: Ref, shape: Shape, low: Shape, high: Shape, interior: Shape) -> Ref:
    """The elements of ``y`` that padding an operand of ``shape`` has filled, in one flat array."""
    parts: list[Ref] = []

    def take(axis: int, start: int, stop: int, step: int) -> None:
        stop = min(stop, y.shape[axis])
        if start < stop:
            part = slice_axis(y, axis, start, stop, step)
            parts.append(reshape(part, shape=(part.aval.size,)))

    for axis, (n, lo, hi, i) in enumerate(zip(shape, low, high, interior, strict=True)):
        end = lo + _padded(n, 0, 0, i)
        take(axis, 0, lo, 1)
        take(axis, max(end, 0), end + hi, 1)
        for phase in range(1, i + 1):
            first = lo + phase
            take(axis, first if first >= 0 else first % (i + 1), min(end, end + hi), i + 1)
        # The following axes are looked at only where this one holds elements of the operand.
        begin, stop = (lo if lo >= 0 else lo % (i + 1)), max(min(end, end + hi), 0)
        y = slice_axis(y, axis, min(begin, stop), stop, i + 1)
    return _concatenated(parts) if parts else slice_axis(reshape(y, shape=(y.aval.size,)), 0, 0, 0)


def _pad_batch(
    size: int, batched: tuple[bool, ...], x: Any, fill: Any, *, low: Shape, high: Shape, interior: Shape
) -> Ref:
    if not batched[0]:
        x = repeat_leading(x, size)
    if not batched[1]:
        return pad(x, fill, low=(0, *low), high=(0, *high), interior=(0, *interior))
    # Every row has its own fill: joined from the operand and repeated fills, and cut, one axis after the other.
    for axis, (lo, hi, i) in enumerate(zip(low, high, interior, strict=True), start=1):
        x = _pad_axis(x, fill, axis, lo, hi, i)
    return x


def _pad_axis(x: Ref, fills: Ref, axis: int, low: int, high: int, interior: int) -> Ref:
    """Pad one axis of ``x: [size, ...]`` with ``fills: [size]``."""

    def filled(shape: Shape) -> Ref:
        return broadcast(fills, shape=shape, dims=(0,))

    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    if interior and n:
        apart = reshape(x, shape=(*before, n, 1, *after))
        joined = concatenate(apart, filled((*before, n, interior, *after)), axis=axis + 1)
        x = reshape(joined, shape=(*before, n * (interior + 1), *after))
        x = slice_axis(x, axis, 0, _padded(n, 0, 0, interior))
    sides = [filled((*before, max(side, 0), *after)) for side in (low, high)]
    x = concatenate(sides[0], x, sides[1], axis=axis)
    return slice_axis(x, axis, max(-low, 0), x.shape[axis] - max(-high, 0))


def _pad_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    cases: list[tuple[Shape, Shape, Shape, Shape]] = [
        ((), (), (), ()),
        ((3,), (2,), (1,), (0,)),
        ((3,), (0,), (0,), (2,)),
        ((5,), (-1,), (-2,), (0,)),
        ((5,), (-2,), (3,), (1,)),
        ((5,), (-3,), (-4,), (2,)),
        ((3,), (-4,), (4,), (0,)),
        ((3,), (4,), (-5,), (1,)),
        ((0,), (2,), (1,), (3,)),
        ((2, 3), (1, 0), (0, 2), (0, 1)),
        ((2, 3), (1, -1), (2, 1), (1, 1)),
        ((0, 3), (1, 1), (1, 1), (0, 0)),
        ((1, 7), (0, -7), (0, 0), (0, 0)),
    ]
    for k, (shape, low, high, interior) in enumerate(cases):
        x = random_array(rng, shape, dtype)
        fill: Any = dtype.numpy.type(1) if k % 2 else random_array(rng, (), dtype)
        yield Sample((x, fill), {"low": low, "high": high, "interior": interior})
    yield Sample((random_array(rng, (3,), dtype), 0), {"low": (1,), "high": (1,), "interior": (1,)})


_PAD_ONE = {"low": (1,), "high": (1,), "interior": (0,)}

pad = Primitive(
    "pad",
    "The operand with the scalar ``fill`` around it (``low`` before, ``high`` after; negative ones cut) and "
    "``interior`` times between neighbours, per axis. The cut comes after the interior padding.",
    _pad_type,
    _pad,
    {"low": INTS, "high": INTS, "interior": INTS},
    jvp=_pad_jvp,
    linear=(0, 1),
    transpose=_pad_transpose,
    batch=_pad_batch,
    lowering=lambda _types, params: Pieces(
        (Piece(0, params["low"], tuple(i + 1 for i in params["interior"])),), fill=1
    ),
    samples=_pad_samples,
    errors=(
        ErrorSample((aval((3,), f32), aval((), f64)), _PAD_ONE, "fill must be a scalar of dtype f32"),
        ErrorSample((aval((3,), f32), aval((1,), f32)), _PAD_ONE, "fill must be a scalar"),
        ErrorSample((aval((3, 2), f32), aval((), f32)), _PAD_ONE, "one entry for each of its 2 axes"),
        ErrorSample((aval((3,), f32), aval((), f32)), _PAD_ONE | {"low": (-5,)}, "nor any size of the result (-1,)"),
    ),
    tolerance=16.0,
)


def padded_axis(x: Ref, axis: int, low: int, high: int) -> Ref:
    """``x`` with so many zeros before and behind it along an axis."""
    before, behind = (tuple([n if k == axis else 0 for k in range(x.ndim)]) for n in (low, high))
    return pad(x, 0, low=before, high=behind, interior=(0,) * x.ndim)


# ---------------------------------------------------------------------------------------------------------------------
# concatenate


def _concatenate_type(*operands: OperandType, axis: int) -> Aval:
    if not operands:
        raise TypeError("concatenate got no operands; give at least one.")
    first = operands[0]
    check_axes("concatenate", first, (axis,), "axis")
    for x in operands:
        if x.dtype is not first.dtype or len(x.shape) != len(first.shape):
            raise TypeError(f"concatenate got {first} and {x}; convert and reshape them to one dtype and rank.")
        if any(a != b and k != axis for k, (a, b) in enumerate(zip(first.shape, x.shape, strict=True))):
            raise ValueError(f"concatenate got {first} and {x}; their sizes may differ along axis {axis} only.")
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in operands)
    return aval(tuple(shape), first.dtype)


def _concatenate_jvp(tangents: Sequence[Ref | None], operands: Sequence[Any], _outputs: Any, *, axis: int) -> list[Ref]:
    builder = builder_of(tangents)
    whole = [instantiate(builder, t, x.aval) for t, x in zip(tangents, operands, strict=True)]
    return [concatenate(*whole, axis=axis)]


def _concatenate_transpose(cts: Sequence[Ref], operands: Sequence[Any], *, axis: int) -> list[Ref | None]:
    results: list[Ref | None] = []
    start = 0
    for x in operands:
        stop = start + x.shape[axis]
        results.append(slice_axis(cts[0], axis, start, stop) if isinstance(x, Aval) else None)
        start = stop
    return results


def _concatenate_batch(size: int, batched: tuple[bool, ...], *operands: Any, axis: int) -> Ref:
    return concatenate(*all_batched(size, batched, operands), axis=axis + 1)


def _concatenate_lowering(types: Sequence[OperandType], params: dict[str, Any]) -> Pieces:
    axis, rank, start = params["axis"], len(types[0].shape), 0
    pieces: list[Piece] = []
    for k, x in enumerate(types):
        offsets = tuple(start if a == axis else 0 for a in range(rank))
        pieces.append(Piece(k, offsets, (1,) * rank))
        start += x.shape[axis]
    return Pieces(tuple(pieces))


def _concatenate_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    cases: list[tuple[int, list[Shape]]] = [
        (0, [(3,)]),
        (0, [(3,), (4,)]),
        (0, [(1,), (0,), (7,)]),
        (1, [(2, 3), (2, 1)]),
        (0, [(2, 3), (1, 3), (5, 3)]),
        (1, [(0, 3), (0, 2)]),
        (1, [(2, 3, 1), (2, 2, 1)]),
    ]
    for axis, shapes in cases:
        yield Sample(tuple(random_array(rng, s, dtype) for s in shapes), {"axis": axis})


concatenate = Primitive(
    "concatenate",
    "The operands one after the other along ``axis``.",
    _concatenate_type,
    lambda *operands, axis: np.concatenate(operands, axis=axis),
    {"axis": INT},
    jvp=_concatenate_jvp,
    transpose=_concatenate_transpose,
    batch=_concatenate_batch,
    lowering=_concatenate_lowering,
    samples=_concatenate_samples,
    errors=(
        ErrorSample((), {"axis": 0}, "give at least one"),
        ErrorSample((aval((3,), f32), aval((3,), f64)), {"axis": 0}, "to one dtype and rank"),
        ErrorSample((aval((3, 2), f32), aval((3, 3), f32)), {"axis": 0}, "may differ along axis 0 only"),
        ErrorSample((aval((), f32),), {"axis": 0}, "in range(0)"),
    ),
)


def _concatenated(parts: Sequence[Ref]) -> Ref:
    return parts[0] if len(parts) == 1 else concatenate(*parts, axis=0)
