"""Numbers that count along an axis, where they go with an array that may be traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import DType, i32
from graphad.primitives.layout import positions
from graphad.trace.array import Array
from graphad.trace.recording import current
from graphad.trace.tracer import Tracer


def counted(like: Any, shape: tuple[int, ...], axis: int, dtype: DType = i32) -> Any:
    """The place of each element along an axis, as integers.

    Where ``like`` is traced, the program computes it: it carries no array along, and knows each element.
    """
    trace = current()
    if isinstance(like, Tracer) and trace is not None:
        return Tracer(trace, positions(trace, shape, axis, dtype).atom)
    along = np.arange(shape[axis], dtype=dtype.numpy)
    return Array(np.broadcast_to(along.reshape([-1] + [1] * (len(shape) - axis - 1)), shape))
