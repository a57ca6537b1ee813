"""Effects: equations that are neither merged, dropped nor reordered, and have no results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.errors import TracerBoolError
from graphad.ir.lowering import Effect
from graphad.ir.params import INT, LITERAL, STR
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.types import Aval, DType, Literal, OperandType, aval, b1, f32, i32, literal
from graphad.primitives.families import batched_or_literal, draw, expect_operands, listed


def _guard_type(*types: OperandType, expect: Literal) -> tuple[Aval, ...]:
    expect_operands("guard", types, 1)
    (predicate,) = types
    if predicate.shape or predicate.dtype.is_float:
        raise TypeError(f"guard got {predicate}; it takes a boolean or integer scalar. For floats guard ne(x, 0).")
    if expect.dtype is not predicate.dtype:
        raise TypeError(f"guard got {predicate} but expects {expect}; give both the same dtype.")
    return ()


def _guard_batch(_size: int, batched: Sequence[bool], predicate: Any, *, expect: Literal) -> list[Any]:
    if batched[0]:
        raise TracerBoolError(
            "Python branched on a value that differs along the batch axis of a vmap. "
            "Choose with graphad.numpy.where(c, x, y), or branch before the vmap."
        )
    return guard(predicate, expect=expect)


def _guard_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    if not dtype.is_float:
        value = np.ones((), dtype.numpy)
        yield Sample((value,), {"expect": literal(value, dtype)})


guard = Primitive(
    "guard",
    doc="Holds the program to the path it was traced on: what follows is valid where the operand equals ``expect``.",
    type_rule=_guard_type,
    numpy=lambda _predicate, expect: (),
    params={"expect": LITERAL},
    nondifferentiable="it has no result",
    batch=_guard_batch,
    lowering=Effect(),
    samples=_guard_samples,
    errors=(
        ErrorSample((aval((3,), b1),), {"expect": literal(True, b1)}, "boolean or integer scalar"),
        ErrorSample((aval((), f32),), {"expect": literal(1, f32)}, "guard ne(x, 0)"),
        ErrorSample((aval((), i32),), {"expect": literal(True, b1)}, "give both the same dtype"),
        ErrorSample((), {"expect": literal(True, b1)}, "takes 1 operand"),
    ),
    effect=True,
    multiple=True,
)


def _print_type(*types: OperandType, fmt: str, batch_axes: int) -> tuple[Aval, ...]:
    shapes = {t.shape[:batch_axes] for t in types if type(t) is Aval}
    if len(shapes) > 1 or any(len(s) < batch_axes for s in shapes):
        raise TypeError(
            f"debug_print[batch_axes={batch_axes}] got {listed(types)}; their first {batch_axes} axes must be the same."
        )
    stand_ins = [np.zeros((0,) * max(len(t.shape) - batch_axes, 0), t.dtype.numpy) for t in types]
    try:
        fmt.format(*stand_ins)
    except (LookupError, TypeError, ValueError) as error:
        raise TypeError(
            f"debug_print[fmt={fmt!r}] got {listed(types)}: {error}. Write one {{}} for each value to print; "
            "format specifications are for scalars."
        ) from error
    return ()


def _print_samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    yield Sample((), {"fmt": "here", "batch_axes": 0})
    yield Sample((draw(rng, (2, 3), dtype), draw(rng, (), dtype)), {"fmt": "x = {}, y = {}", "batch_axes": 0})
    yield Sample((draw(rng, (2, 3), dtype), draw(rng, (2,), dtype)), {"fmt": "x = {}, y = {:5}", "batch_axes": 1})


def _print_batch(size: int, batched: Sequence[bool], *operands: Any, fmt: str, batch_axes: int) -> list[Any]:
    return debug_print(*batched_or_literal(size, batched, operands), fmt=fmt, batch_axes=batch_axes + 1)


def printed_lines(values: Sequence[Any], *, fmt: str, batch_axes: int) -> Iterator[str]:
    """What an equation of `debug_print` prints: one line for each batch element.

    Examples
    --------
    >>> list(printed_lines([np.array([1.5, 2.5])], fmt="x = {:.2f}", batch_axes=1))
    ['x = 1.50', 'x = 2.50']
    """
    arrays = [np.asarray(v) for v in values]
    shape = next((a.shape[:batch_axes] for a in arrays if a.ndim >= batch_axes), ())
    for index in np.ndindex(shape):
        yield fmt.format(*[a[index] if a.ndim >= batch_axes else a for a in arrays])


debug_print = Primitive(
    "debug_print",
    doc="""Prints its operands through ``fmt`` when the program runs, once for each element of the batch: the first
    ``batch_axes`` axes of every operand are batch axes, added by `vmap`.""",
    type_rule=_print_type,
    numpy=lambda *_operands, fmt, batch_axes: (),
    params={"fmt": STR, "batch_axes": INT},
    nondifferentiable="it has no result",
    batch=_print_batch,
    lowering=Effect(),
    samples=_print_samples,
    errors=(
        ErrorSample((aval((), f32),), {"fmt": "{} and {}", "batch_axes": 0}, "one {} for each value"),
        ErrorSample((aval((3,), f32),), {"fmt": "{:.3f}", "batch_axes": 0}, "format specifications are for scalars"),
        ErrorSample((aval((3,), f32), aval((2,), f32)), {"fmt": "{} {}", "batch_axes": 1}, "must be the same"),
    ),
    effect=True,
    multiple=True,
)
