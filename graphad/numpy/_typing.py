"""The types that the signatures of `graphad.numpy` speak in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from graphad.ir.types import DType
from graphad.trace.array import Array
from graphad.trace.keys import KeyArray, KeyType

#: What counts as an array: one of ours, of numbers or random keys, one of NumPy's, or a number.
ArrayLike: TypeAlias = Array | KeyArray | np.ndarray[Any, Any] | np.generic | bool | int | float
#: What names an element type: ``jnp.float32``, ``np.float32``, ``"float32"``, ``float``.
DTypeLike: TypeAlias = np.dtype[Any] | type[Any] | str | DType | KeyType
#: A shape; a single int is a shape of one axis.
Shape: TypeAlias = int | Sequence[int]
#: Axes to act over: None for all of them, negative ones count from the end.
Axis: TypeAlias = int | Sequence[int] | None
