"""``optimization_barrier``: its operands, past which nothing is merged, moved or fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from graphad.ir.lowering import Barrier
from graphad.ir.primitive import ErrorSample, Primitive, Sample
from graphad.ir.ref import Ref
from graphad.ir.types import Aval, DType, OperandType, aval
from graphad.primitives.families import draw
from graphad.primitives.layout import all_batched


def _type(*types: OperandType) -> tuple[Aval, ...]:
    if not types:
        raise TypeError("optimization_barrier got no operands; give it at least one")
    return tuple([aval(t.shape, t.dtype) for t in types])


def _past_barrier(refs: Sequence[Ref | None]) -> list[Ref | None]:
    """Those that are not None, behind a barrier of their own."""
    made = [r for r in refs if r is not None]
    passed = iter(optimization_barrier(*made) if made else ())
    return [None if r is None else next(passed) for r in refs]


def _transpose(cts: Sequence[Ref | None], operands: Sequence[Any]) -> list[Ref | None]:
    passed = _past_barrier(cts)
    return [ct if isinstance(x, Aval) else None for ct, x in zip(passed, operands, strict=True)]


def _jvp(tangents: Sequence[Ref | None], _operands: Sequence[Any], outputs: Sequence[Ref]) -> list[Ref | None]:
    return _past_barrier([t if y.aval.is_float else None for t, y in zip(tangents, outputs, strict=True)])


def _samples(rng: np.random.Generator, dtype: DType) -> Iterator[Sample]:
    yield Sample((draw(rng, (3,), dtype),))
    yield Sample((draw(rng, (2, 5), dtype), draw(rng, (), dtype)))
    yield Sample((draw(rng, (0, 2), dtype), draw(rng, (4,), dtype)))


optimization_barrier = Primitive(
    "optimization_barrier",
    doc="""Its operands. All are computed before anything that reads a result: no pass looks through it, and no loop is
    fused across it. A barrier of which nothing is read is dropped.""",
    type_rule=_type,
    numpy=lambda *operands: tuple(map(np.asarray, operands)),
    jvp=_jvp,
    transpose=_transpose,
    batch=lambda size, batched, *operands: optimization_barrier(*all_batched(size, batched, operands)),
    lowering=Barrier(),
    samples=_samples,
    errors=(ErrorSample((), {}, "give it at least one"),),
    multiple=True,
)
