"""The elementary functions, each written once: `FUNCTIONS` has them by name and dtype.

See `graphad_kernels.math.helpers` for how one text serves NumPy, Numba and LLVM.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

import numpy as np

from graphad_kernels.math import (
    counter_random,
    cube_root,
    error_function,
    exponential,
    hyperbolic,
    inverse_hyperbolic,
    neighbours,
    polar,
    trigonometric,
)

_HOMES: Final[dict[ModuleType, tuple[str, ...]]] = {
    exponential: ("exp", "expm1", "log", "log1p", "pow"),
    trigonometric: ("sin", "cos", "tan", "asin", "acos", "atan"),
    hyperbolic: ("sinh", "cosh", "tanh", "tanh_slope"),
    inverse_hyperbolic: ("asinh", "acosh", "atanh"),
    error_function: ("erf", "erfc", "erf_inv"),
    polar: ("hypot", "atan2"),
    cube_root: ("cbrt",),
    neighbours: ("nextafter",),
}

MODULES: Final[tuple[ModuleType, ...]] = (*_HOMES, counter_random)

FUNCTIONS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    **{
        (name, dtype): getattr(module, f"{name}_{dtype}")
        for module, names in _HOMES.items()
        for name in names
        for dtype in ("f32", "f64")
    },
    ("threefry2x32", "u32"): counter_random.threefry2x32_u32,
}
"""Every elementary function by name and dtype name, e.g. ``FUNCTIONS["exp", "f32"]``."""

SLOW_PATHS: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    (name, dtype): getattr(trigonometric, f"{name}_{dtype}")
    for name in ("sin_large", "cos_large", "tan_large")
    for dtype in ("f32", "f64")
}
"""What `helpers.patch` calls: functions of one number at a time that the others need for rare arguments."""


def evaluate(name: str, dtype: str, *operands: Any) -> Any:
    """An elementary function on NumPy arrays of any shape, without floating-point warnings.

    >>> evaluate("exp", "f64", np.zeros(2))
    array([1., 1.])
    """
    arrays = np.broadcast_arrays(*operands)
    flat = [array.reshape(-1) for array in arrays]  # scalars of NumPy's would warn where arrays wrap around
    with np.errstate(all="ignore"):
        result = FUNCTIONS[name, dtype](*flat)
    if isinstance(result, tuple):
        return tuple(part.reshape(arrays[0].shape) for part in result)
    return result.reshape(arrays[0].shape)
