"""What looks at the bits of numbers: counts of ones and zeros, and the neighbours of a float."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphad.ir.types import f32, f64
from graphad.primitives.families import elementwise

_COUNTS_HAVE_NONE = "its operand is an integer, which has no tangent"


def _pattern(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))


def _population_count(x: Any) -> np.ndarray:
    return np.asarray(np.bitwise_count(_pattern(x))).astype(np.asarray(x).dtype)


def _clz(x: Any) -> np.ndarray:
    pattern = _pattern(x)
    width = 8 * pattern.dtype.itemsize
    bit_length = sum([(pattern >> pattern.dtype.type(k)) != 0 for k in range(width)], np.zeros(pattern.shape, np.intp))
    return np.asarray(width - bit_length).astype(np.asarray(x).dtype)


population_count = elementwise(
    "population_count",
    doc="The number of ones among the bits of x.",
    numpy=_population_count,
    scalar="popcount({0})",
    nondifferentiable=_COUNTS_HAVE_NONE,
    dtypes="iu",
)

clz = elementwise(
    "clz",
    doc="The number of zeros above the highest one among the bits of x; of 0, all of them.",
    numpy=_clz,
    scalar="clz({0})",
    nondifferentiable=_COUNTS_HAVE_NONE,
    dtypes="iu",
)

nextafter = elementwise(
    "nextafter",
    doc="The number next to x in the direction of y; y where they are equal. Its derivative is that of x.",
    numpy=np.nextafter,
    scalar="nextafter({0}, {1})",
    jvp=(lambda t, x, y, z: t, None),
    dtypes=(f32, f64),
    tolerance=0,
)
