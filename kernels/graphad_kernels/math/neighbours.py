"""nextafter: steps from one floating-point number to the next are steps of its bit pattern."""

from __future__ import annotations

import numpy as np

from graphad_kernels.math.helpers import Number, bits, copysign, select, to_f32_bits, to_f64_bits

_f = np.float32


def nextafter_f32(x: Number, y: Number) -> Number:
    """The number next to ``x`` in the direction of ``y``; ``y`` where they are equal."""
    pattern = bits(x)
    outwards = (y > x) == (x > _f(0.0))  # the magnitude grows
    value = to_f32_bits(select(outwards, pattern + 1, pattern - 1))
    value = select(x == _f(0.0), copysign(_f(2.0**-149), y), value)
    value = select(x == y, y, value)
    return select((x != x) | (y != y), x + y, value)


def nextafter_f64(x: Number, y: Number) -> Number:
    """The number next to ``x`` in the direction of ``y``; ``y`` where they are equal."""
    pattern = bits(x)
    outwards = (y > x) == (x > 0.0)
    value = to_f64_bits(select(outwards, pattern + 1, pattern - 1))
    value = select(x == 0.0, copysign(2.0**-1074, y), value)
    value = select(x == y, y, value)
    return select((x != x) | (y != y), x + y, value)
