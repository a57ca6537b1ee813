"""Reads and writes at computed positions: `gather` and the `scatter_*` family.

One scheme serves all of NumPy's indexing. The leading ``batch`` axes of an operand are batch axes, which the indices
have as well; ``axes`` are indexed; the others form the *window*, which is taken whole::

    operand  [*batch, ... axes and window, in any order ...]
    indices  [*batch, *positions, len(axes)]      i32 or i64, one coordinate for each of axes
    updates  [*batch, *positions, *window]        the result of gather, an operand of scatter

``b, position, window -> operand[b, axes at indices[b, position], the others at window]``. Coordinates count
from 0; the faces wrap negative ones. ``mode`` says what happens to an index tuple with a coordinate out of range:

- ``clip`` (both): each coordinate is brought to the nearest valid one. The type rule refuses an empty axis.
- ``fill``, ``zero`` (gather): the element read is `fill_literal` (nan for floats), or 0.
- ``drop`` (scatter): the update is left out.

No implementation may address outside the operand in any mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

from graphad.ir.lowering import Gather, Scatter
from graphad.ir.params import INT, INTS, STR
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample, SampleMaker
from graphad.ir.ref import Ref
from graphad.ir.types import BY_NUMPY, Aval, DType, OperandType, aval, f32, f64, i32
from graphad.primitives.cast import convert
from graphad.primitives.elementwise import div, eq, mul, ne, or_, select, sub
from graphad.primitives.families_index import FIRST_AXIS, INDEX_ERRORS, address, checked_layout, index_samples
from graphad.primitives.families_index import fill_literal as fill_literal
from graphad.primitives.families_index import index_layout as index_layout
from graphad.primitives.families_shape import Array, Shape, builder_of, check_kind, linear_op, random_array
from graphad.primitives.layout import (
    all_batched,
    broadcast,
    instantiate,
    moved_to_front,
    positions,
    repeat_leading,
    reshape,
    transpose,
    zeros_like_aval,
)


def _shifted(axes: Shape) -> Shape:
    return tuple(a + 1 for a in axes)


def _type_of(x: Aval | Ref) -> Aval:
    return x if isinstance(x, Aval) else x.aval


# ---------------------------------------------------------------------------------------------------------------------
# gather


def _gather_type(x: OperandType, indices: OperandType, *, axes: Shape, batch: int, mode: str) -> Aval:
    layout = checked_layout("gather", x, indices, axes, batch, mode, ("clip", "fill", "zero"))
    return aval(layout.shape, x.dtype)


def _gather(x: Array, indices: Array, *, axes: Shape, batch: int, mode: str) -> Array:
    seen, where, inside = address(x, indices, axes, batch)
    layout = index_layout(x.shape, indices.shape, axes, batch)
    fill = fill_literal(mode, BY_NUMPY[x.dtype]).value
    if any(x.shape[a] == 0 for a in axes):
        return np.full(layout.shape, fill, x.dtype)
    read = seen[where]
    return read if mode == "clip" else np.where(inside.reshape(inside.shape + (1,) * len(layout.window)), read, fill)


def _gather_jvp(t: Ref, _x: Ref, indices: Ref, _out: Ref, *, axes: Shape, batch: int, mode: str) -> Ref:
    return gather(t, indices, axes=axes, batch=batch, mode="zero" if mode == "fill" else mode)


def _gather_transpose(ct: Ref, x: Aval, indices: Ref, *, axes: Shape, batch: int, mode: str) -> Ref:
    mode = "clip" if mode == "clip" else "drop"
    if x.dtype.bits < 32 and prod(indices.shape[batch:-1]) > 1:  # cotangents of an element are added up in f32
        onto, ct = zeros_like_aval(ct.builder, aval(x.shape, f32)), convert(ct, dtype=f32)
        return convert(scatter_add(onto, indices, ct, axes=axes, batch=batch, mode=mode), dtype=x.dtype)
    return scatter_add(zeros_like_aval(ct.builder, x), indices, ct, axes=axes, batch=batch, mode=mode)


def _gather_batch(
    size: int, batched: tuple[bool, ...], x: Any, indices: Any, *, axes: Shape, batch: int, mode: str
) -> Ref:
    if batched[0]:
        if not batched[1]:
            indices = repeat_leading(indices, size)
        return gather(x, indices, axes=_shifted(axes), batch=batch + 1, mode=mode)
    # Over one operand the new axis is one more axis of positions.
    behind_batch = (*range(1, batch + 1), 0, *range(batch + 1, indices.ndim))
    indices = transpose(indices, perm=behind_batch) if batch else indices
    return moved_to_front(gather(x, indices, axes=axes, batch=batch, mode=mode), batch)


def _gather_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    for shape, indices, params, _, inside in index_samples(rng, ("clip", "fill", "zero")):
        yield Sample((random_array(rng, shape, dtype), indices), params, inside or params["mode"] != "fill")


gather = linear_op(
    "gather",
    doc="The elements of operand 0 at ``indices`` (operand 1); see `graphad.primitives.indexing` for the params. "
    "Out of range, ``mode`` ``clip`` reads the nearest element, ``fill`` nan, ``zero`` 0.",
    type_rule=_gather_type,
    numpy=_gather,
    params={"axes": INTS, "batch": INT, "mode": STR},
    transpose=_gather_transpose,
    batch=_gather_batch,
    lowering=Gather(),
    samples=_gather_samples,
    errors=tuple(ErrorSample((x, i), FIRST_AXIS | more, message) for x, i, more, message in INDEX_ERRORS),
    jvp=_gather_jvp,
    tolerance=0.0,
)


# ---------------------------------------------------------------------------------------------------------------------
# scatter


def _scatter_samples(combine: str, kinds: str) -> SampleMaker:
    def samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        if dtype.kind not in kinds:
            return
        for shape, indices, params, updates, _ in index_samples(rng, ("clip", "drop")):
            yield Sample((random_array(rng, shape, dtype), indices, random_array(rng, updates, dtype)), params)
        again = np.array([[2], [0], [2], [2], [0], [4]], np.int32)
        zeros = np.array([3, 0, 2, 0, 0, 1]).astype(dtype.numpy)
        yield Sample((random_array(rng, (5,), dtype), again, zeros), FIRST_AXIS, combine not in ("min", "max"))

    return samples


def _scatter(
    combine: str,
    *,
    doc: str,
    update: Callable[[Array, tuple[Array, ...], Array], None],
    kinds: str,
    jvp: Any,
    linear: tuple[int, ...] = (),
    transpose: Any = None,
    tolerance: float = 0.0,
) -> Primitive:
    """``scatter_<combine>``: operand 0 with ``updates`` (operand 2) combined in at ``indices`` (operand 1)."""
    name = f"scatter_{combine}"

    def type_rule(
        x: OperandType, indices: OperandType, updates: OperandType, *, axes: Shape, batch: int, mode: str
    ) -> Aval:
        layout = checked_layout(name, x, indices, axes, batch, mode, ("clip", "drop"))
        check_kind(name, x, kinds, "convert booleans to integers first.")
        if updates.dtype is not x.dtype:
            raise TypeError(f"{name} got {x} and updates {updates}; the dtypes must be equal. Convert the updates.")
        if updates.shape != layout.shape:
            raise ValueError(
                f"{name} got updates {updates} for indices {indices} into {x}; their shape must be {layout.shape}. "
                "Broadcast the updates."
            )
        return aval(x.shape, x.dtype)

    def reference(x: Array, indices: Array, updates: Any, *, axes: Shape, batch: int, mode: str) -> Array:
        out = np.array(x)
        seen, where, inside = address(out, indices, axes, batch)
        chosen = np.ones_like(inside) if mode == "clip" else inside
        # Flat, contiguous index arrays: NumPy then goes through the updates in order.
        flat = tuple(np.broadcast_to(w, inside.shape)[chosen] for w in where)
        update(seen, flat, np.asarray(updates)[chosen])
        return out

    def batch_rule(size: int, batched: tuple[bool, ...], *operands: Any, axes: Shape, batch: int, mode: str) -> Ref:
        batched_operands = all_batched(size, batched, operands)
        return PRIMITIVES[name](*batched_operands, axes=_shifted(axes), batch=batch + 1, mode=mode)

    wrong = ErrorSample((aval((3,), f32), aval((2, 1), i32), aval((3,), f32)), FIRST_AXIS, "their shape must be (2,)")
    narrow = ErrorSample((aval((3,), f32), aval((2, 1), i32), aval((2,), f64)), FIRST_AXIS, "Convert the updates")
    return Primitive(
        name, f"{doc} See `graphad.primitives.indexing` for the params; out of range, ``mode`` ``clip`` writes to the "
        "nearest element, ``drop`` nowhere.",
        type_rule, reference, {"axes": INTS, "batch": INT, "mode": STR},
        jvp=jvp, linear=linear, transpose=transpose, batch=batch_rule, lowering=Scatter(combine),
        samples=_scatter_samples(combine, kinds),
        errors=(
            *(ErrorSample((x, i, aval((2,), f32)), FIRST_AXIS | more, message) for x, i, more, message in INDEX_ERRORS),
            wrong,
            narrow,
        ),
        tolerance=tolerance,
    )  # fmt: skip


def _read_back(x: Ref, indices: Ref, *, axes: Shape, batch: int, mode: str) -> Ref:
    """The elements of ``x`` where a scatter of the same params writes; 0 for updates that it drops."""
    return gather(x, indices, axes=axes, batch=batch, mode="clip" if mode == "clip" else "zero")


def _add_jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], _outputs: Any, **params: Any) -> list[Ref | None]:
    t_x, _, t_updates = tangents
    if t_updates is None:
        return [t_x]
    return [scatter_add(instantiate(t_updates.builder, t_x, operands[0].aval), operands[1], t_updates, **params)]


def _add_transpose(cts: Sequence[Ref], operands: Sequence[Any], **params: Any) -> list[Ref | None]:
    (ct,), (x, indices, updates) = cts, operands
    return [
        ct if isinstance(x, Aval) else None,
        None,
        _read_back(ct, indices, **params) if isinstance(updates, Aval) else None,
    ]


scatter_add = _scatter(
    "add",
    doc="The operand with all updates added, those to one element too.",
    update=np.add.at,
    kinds="iuf",
    jvp=_add_jvp,
    linear=(0, 2),
    transpose=_add_transpose,
    tolerance=16.0,
)


def _assign(out: Array, where: tuple[Array, ...], updates: Array) -> None:
    out[where] = updates


def _set_jvp(tangents: Sequence[Ref | None], operands: Sequence[Ref], _outputs: Any, **params: Any) -> list[Ref]:
    builder = builder_of(tangents)
    t_x, t_updates = (instantiate(builder, tangents[k], operands[k].aval) for k in (0, 2))
    return [scatter_set(t_x, operands[1], t_updates, **params)]


def _set_transpose(cts: Sequence[Ref], operands: Sequence[Any], **params: Any) -> list[Ref | None]:
    (ct,), (x, indices, updates) = cts, operands
    ct_x = ct_updates = None
    if isinstance(x, Aval):
        ct_x = scatter_set(ct, indices, zeros_like_aval(ct.builder, _type_of(updates)), **params)
    if isinstance(updates, Aval):
        ct_updates = _read_back(ct, indices, **params)
        wins = _last_writes(_type_of(x).shape, indices, **params)
        if wins is not None:
            at = tuple(range(wins.ndim))
            ct_updates = select(broadcast(wins, shape=updates.shape, dims=at), ct_updates, 0)
    return [ct_x, None, ct_updates]


def _last_writes(shape: Shape, indices: Ref, *, axes: Shape, batch: int, mode: str) -> Ref | None:
    """Which index tuples are the last ones that write to their element; None if there are no two in a batch element."""
    batch_shape, at, _ = index_layout(shape, indices.shape, axes, batch)
    if prod(at) <= 1:
        return None
    builder = indices.builder
    number = reshape(positions(builder, (*batch_shape, prod(at)), batch), shape=batch_shape + at)
    params: dict[str, Any] = {"axes": tuple(range(batch, batch + len(axes))), "batch": batch, "mode": mode}
    blank = zeros_like_aval(builder, aval((*batch_shape, *(shape[a] for a in axes)), i32))
    return eq(_read_back(scatter_set(blank, indices, number, **params), indices, **params), number)


scatter_set = _scatter(
    "set",
    doc="The operand with updates in place of elements; of several to one element the last wins.",
    update=_assign,
    kinds="biuf",
    jvp=_set_jvp,
    linear=(0, 2),
    transpose=_set_transpose,
)


def _mul_at(t: Ref, _x: Ref, indices: Ref, updates: Ref, _out: Ref, **params: Any) -> Ref:
    return scatter_mul(t, indices, updates, **params)


def _mul_updates_tangent(t: Ref, x: Ref, indices: Ref, updates: Ref, _out: Ref, **params: Any) -> Ref:
    """Each tangent times the element and all other updates to it.

    The product of the others is the product of all divided by one's own. Zeros are kept out of that quotient and
    counted; in their place is their sum, whose value is 0 but whose derivative is not. So the second derivative is
    right at zeros too, and higher ones where no element has two updates of zero.
    """
    one_only = prod(indices.shape[params["batch"] : -1]) <= 1
    if one_only:
        others = _read_back(x, indices, **params)
    else:
        nothing = zeros_like_aval(x.builder, x.aval)
        is_zero = eq(updates, 0)
        nonzero, zeros = select(is_zero, 1, updates), select(is_zero, updates, 0)
        ones = convert(is_zero, dtype=x.dtype)

        def of_others(own: Ref) -> Ref:
            return sub(_read_back(scatter_add(nothing, indices, own, **params), indices, **params), own)

        product = div(_read_back(scatter_mul(x, indices, nonzero, **params), indices, **params), nonzero)
        count = of_others(ones)
        with_zero = select(eq(count, 1), mul(product, of_others(zeros)), 0)
        others = select(eq(count, 0), product, with_zero)
    return scatter_add(zeros_like_aval(x.builder, x.aval), indices, mul(t, others), **params)


scatter_mul = _scatter(
    "mul",
    doc="The operand with elements multiplied by all their updates.",
    update=np.multiply.at,
    kinds="iuf",
    jvp=(_mul_at, None, _mul_updates_tangent),
    linear=(0,),
    transpose={0: lambda ct, _x, indices, updates, **params: scatter_mul(ct, indices, updates, **params)},
    tolerance=16.0,
)


def _extremum_jvp(
    tangents: Sequence[Ref | None], operands: Sequence[Ref], outputs: Sequence[Ref], **params: Any
) -> list[Ref]:
    """The mean of the tangents of the operand's element and the updates that attain the result, or are nan."""
    (t_x, _, t_updates), (x, indices, updates), (out,) = tangents, operands, outputs
    wide = f32 if x.dtype.bits < 32 else x.dtype
    kept = or_(eq(x, out), ne(x, x))
    hits = or_(eq(updates, _read_back(out, indices, **params)), ne(updates, updates))
    count = convert(scatter_add(convert(kept, dtype=i32), indices, convert(hits, dtype=i32), **params), dtype=wide)
    total = zeros_like_aval(x.builder, aval(x.shape, wide))
    if t_x is not None:
        total = convert(select(kept, t_x, 0), dtype=wide)
    if t_updates is not None:
        total = scatter_add(total, indices, convert(select(hits, t_updates, 0), dtype=wide), **params)
    return [convert(div(total, count), dtype=x.dtype)]


scatter_min = _scatter(
    "min",
    doc="The least of the operand's element and all updates to it, nan if any is; ties share derivatives equally.",
    update=np.minimum.at,
    kinds="iuf",
    jvp=_extremum_jvp,
)

scatter_max = _scatter(
    "max",
    doc="The greatest of the operand's element and all updates to it, nan if any is; ties share derivatives equally.",
    update=np.maximum.at,
    kinds="iuf",
    jvp=_extremum_jvp,
)
