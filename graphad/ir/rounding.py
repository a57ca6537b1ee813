"""Values of one dtype as those of another, rounded once: what `convert` and literals mean.

NumPy (with ml_dtypes) goes to bfloat16 by way of float32, which rounds twice where the float32 is half way between two
bfloat16 numbers. Here what has more digits than a float32 is first rounded to odd.
"""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np

NDArray = np.ndarray[Any, Any]

_BFLOAT16: Final = np.dtype(ml_dtypes.bfloat16)
_EXACT: Final = 1 << 53  # float64 holds every integer up to here


def converted(x: NDArray, dtype: np.dtype[Any]) -> NDArray:
    """``x`` in ``dtype``: the nearest value.

    Floats become integers toward zero, saturating, nan as 0; integers wrap around.
    """
    if dtype.kind in "iu" and x.dtype.kind not in "biu":
        return _saturated(x, dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # a float too large for the narrower type becomes an infinity
        if dtype == _BFLOAT16 and x.dtype.itemsize >= 4:
            x = _float32_to_odd(x)
        return x.astype(dtype)


def array_of(items: Any, dtype: np.dtype[Any]) -> NDArray:
    """Python's numbers, in sequences or not, as an array of ``dtype``."""
    return converted(np.array(items, np.float64), dtype) if dtype == _BFLOAT16 else np.array(items, dtype)


def integer_to_odd(value: int) -> float:
    """A Python integer as float64 rounded to odd, after which rounding to a narrower float is as if done in one step.

    Raises
    ------
    OverflowError
        Beyond the largest float64.
    """
    size = abs(value)
    shift = size.bit_length() - 53
    if shift <= 0:
        return float(value)
    kept = size >> shift
    odd = float((kept | (kept << shift != size)) << shift)
    return odd if value > 0 else -odd


def _float32_to_odd(x: NDArray) -> NDArray:
    """Numbers of 32 or 64 bits as float32 rounded to odd.

    Boldo and Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE
    Transactions on Computers 57 (2008).
    """
    if x.dtype == np.float32:
        return x
    if x.dtype.itemsize == 8 and x.dtype.kind in "iu":
        # Beyond 2**53 a sticky bit replaces the low bits, far below the precision of bfloat16.
        large = (x > _EXACT) | (x < -_EXACT) if x.dtype.kind == "i" else x > _EXACT
        low = x & x.dtype.type(0xFFF)
        x = np.where(large, x - low + (low != 0) * x.dtype.type(0x800), x)
    wide = x.astype(np.float64)
    near = wide.astype(np.float32)
    size, rounded = np.abs(wide), np.abs(near.astype(np.float64))
    bits = near.view(np.uint32) - (rounded > size)
    odd = np.asarray((bits | ((rounded != size) & ~np.isnan(wide))).astype(np.uint32))
    return odd.view(np.float32)


def _saturated(x: NDArray, dtype: np.dtype[Any]) -> NDArray:
    """Floats to integers: toward zero, what lies outside to the nearest end of the range, nan to 0."""
    x = x.astype(np.float64)  # exact, and its range holds every limit
    info = np.iinfo(dtype)
    low, high = float(info.min), float(info.max) + 1 if dtype.itemsize < 8 else float(info.max)
    inside = (x >= low) & (x < high) if dtype.kind == "i" else (x > -1) & (x < high)
    truncated = np.where(inside, x, 0).astype(dtype)
    end = np.where(x > 0, dtype.type(info.max), dtype.type(info.min))
    return np.where(inside | np.isnan(x), truncated, end).astype(dtype)
