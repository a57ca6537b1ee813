"""What the shape, reduction, contraction and indexing primitives share: slots filled alike, type checks, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.lowering import AffineDim, Lowering, View
from graphad.ir.params import ParamKind
from graphad.ir.primitive import PRIMITIVES, ErrorSample, Primitive, Sample, SampleMaker
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]


# ---------------------------------------------------------------------------------------------------------------------
# Families


def linear_op(
    name: str,
    *,
    doc: str,
    type_rule: Callable[..., Aval],
    numpy: Callable[..., Any],
    params: Mapping[str, ParamKind],
    transpose: Callable[..., Any],
    batch: Callable[..., Any],
    lowering: Lowering | Callable[..., Lowering],
    samples: SampleMaker,
    errors: tuple[ErrorSample, ...],
    jvp: Callable[..., Any] | None = None,
    tolerance: float = 0.0,
) -> Primitive:
    """A primitive that is linear in its operand 0, and in no other: its jvp is itself, unless one is given.

    ``transpose`` is ``(ct, aval of operand 0, *other operands, **params) -> ct of operand 0``.
    """

    def itself(tangent: Ref, _operand: Any, *rest: Any, **values: Any) -> Any:
        return PRIMITIVES[name](tangent, *rest[:-1], **values)

    return Primitive(
        name, doc, type_rule, numpy, params, jvp=(jvp or itself,), linear=(0,), transpose={0: transpose}, batch=batch,
        lowering=lowering, samples=samples, errors=errors, tolerance=tolerance,
    )  # fmt: skip


def strided_view(dims: Sequence[tuple[int, int, int]]) -> View:
    """The `View` whose operand axes lie at ``offset + step * output axis``, given as (offset, step, output axis)."""
    return View(tuple(AffineDim(offset, ((axis, step),)) for offset, step, axis in dims))


# ---------------------------------------------------------------------------------------------------------------------
# In references


def accumulator(dtype: np.dtype[Any]) -> Any:
    """What a sum of ``dtype`` runs in: half precision in f32, as in the compiled programs."""
    return np.float32 if dtype.itemsize == 2 and dtype.kind not in "iu" else dtype


def accumulated(function: Callable[..., Any], x: Any, axis: int | Shape) -> Array:
    """``function(x, axis)``, a sum or product of NumPy's, run in `accumulator` and rounded to the dtype of ``x``."""
    x = np.asarray(x)
    return np.asarray(function(x, axis=axis, dtype=accumulator(x.dtype))).astype(x.dtype, copy=False)


# ---------------------------------------------------------------------------------------------------------------------
# In rules


def builder_of(operands: Iterable[Any]) -> Builder:
    """The builder that the first `Ref` among ``operands`` belongs to."""
    return next(x.builder for x in operands if isinstance(x, Ref))


# ---------------------------------------------------------------------------------------------------------------------
# In type rules


def check_axes(name: str, x: OperandType, axes: Shape, what: str = "axes") -> None:
    """Axes must be distinct and within the rank; negative ones are for the faces to wrap."""
    rank = len(x.shape)
    if len(set(axes)) != len(axes) or any(not 0 <= a < rank for a in axes):
        raise ValueError(
            f"{name} got {what}={axes} for {x}; {what} must be distinct and in range({rank}). "
            "Count negative axes from the end first."
        )


def check_rank(name: str, x: OperandType, **params: Shape) -> None:
    """Every param must have one entry per axis of ``x``."""
    for key, value in params.items():
        if len(value) != len(x.shape):
            raise ValueError(f"{name} got {key}={value} for {x}; give one entry for each of its {len(x.shape)} axes.")


def check_kind(name: str, x: OperandType, kinds: str, remedy: str) -> None:
    """The dtype of ``x`` must be of one of ``kinds`` (the letters of `DType.kind`)."""
    if x.dtype.kind not in kinds:
        raise TypeError(f"{name} got {x}; {remedy}")


# ---------------------------------------------------------------------------------------------------------------------
# Samples


def random_array(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """Floats are normal, integers small (negative ones too, where there are any), booleans fair."""
    if dtype.is_float:
        return rng.normal(size=shape).astype(dtype.numpy)
    low, high = {"b": (0, 2), "u": (0, 9), "i": (-8, 9)}[dtype.kind]
    return rng.integers(low, high, size=shape).astype(dtype.numpy)


def strided_array(rng: np.random.Generator, shape: Shape, dtype: DType) -> Array:
    """As `random_array`, but no axis is contiguous in memory."""
    wide = random_array(rng, tuple(2 * n for n in reversed(shape)), dtype)
    return wide[tuple(slice(0, 2 * n, 2) for n in reversed(shape))].T


def unary_samples(cases: Iterable[tuple[Shape, dict[str, Any]]], kinds: str = "biuf") -> SampleMaker:
    """Samples of one operand, a ``(shape, params)`` each; the operand of every other one is not contiguous."""
    listed = tuple(cases)

    def make(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
        if dtype.kind in kinds:
            for k, (shape, params) in enumerate(listed):
                yield Sample(((strided_array if k % 2 else random_array)(rng, shape, dtype),), params)

    return make
