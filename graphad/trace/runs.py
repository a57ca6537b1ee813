"""Arrays as equations, by their runs of equal elements."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from graphad.ir.builder import Builder
from graphad.ir.types import dtype_of, literal
from graphad.primitives.layout import broadcast, reshape
from graphad.primitives.shape import concatenate

NDArray = np.ndarray[Any, Any]

#: An array of at most so many runs of equal elements can be written out.
_MAX_STRETCHES: Final = 128


def written_out(trace: Builder, value: NDArray) -> int | None:
    """``value`` as equations on literals: a concatenation of its runs of equal elements; None if there are too many."""
    if not value.size:
        return None
    flat = value.reshape(-1)
    words = flat.view(f"u{flat.itemsize}")
    starts = [0, *(np.flatnonzero(words[1:] != words[:-1]) + 1).tolist()]
    if len(starts) > _MAX_STRETCHES:
        return None
    pieces: list[int] = []
    for start, stop in zip(starts, [*starts[1:], flat.size], strict=True):
        element = literal(flat[start], dtype_of(flat.dtype))
        pieces.extend(trace.emit(broadcast, (element,), ((stop - start,), ())))
    if len(pieces) > 1:
        pieces = list(trace.emit(concatenate, tuple(pieces), (0,)))
    return pieces[0] if value.ndim == 1 else trace.emit(reshape, tuple(pieces), (value.shape,))[0]
