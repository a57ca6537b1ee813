"""Errors in units in the last place, against references of higher precision."""

from __future__ import annotations

import mpmath
import numpy as np

DTYPES = {"f32": np.float32, "f64": np.float64}
INTEGERS = {"f32": np.int32, "f64": np.int64}


def bits(x):
    return np.asarray(x).view(INTEGERS["f32"] if x.dtype == np.float32 else INTEGERS["f64"])


def sample(name, dtype, count, rng):
    """Random bit patterns, nans and infinities among them, and numbers where the function does things."""
    real, integer = DTYPES[dtype], INTEGERS[dtype]
    limits = np.iinfo(integer)
    anything = rng.integers(limits.min, limits.max, count, dtype=integer, endpoint=True).view(real)
    if name in ("asin", "acos", "erf_inv"):
        usual = np.concatenate([rng.uniform(-1, 1, 2 * count), 1 - 10.0 ** rng.uniform(-6, 0, count)])
    else:
        sizes = np.exp(rng.uniform(-12, 8, count)) * rng.choice([-1, 1], count)
        usual = np.concatenate([rng.uniform(-2, 2, count), rng.normal(0, 30, count), sizes, rng.normal(1, 1e-3, count)])
    return np.concatenate([anything, usual.astype(real)])


def errors(values, references):
    """Distance in ulps of the reference rounded to the values' dtype; 0 for equal infinities and nans."""
    real = values.dtype.type
    info = np.finfo(real)
    result = np.empty(values.size)
    with mpmath.workprec(200), np.errstate(all="ignore"):
        for i, (value, reference) in enumerate(zip(values, references, strict=True)):
            if mpmath.isnan(reference) or np.isnan(value):
                result[i] = 0 if mpmath.isnan(reference) and np.isnan(value) else np.inf
                continue
            rounded = real(float(reference))
            if not np.isfinite(rounded) or not np.isfinite(value):
                result[i] = 0 if rounded == value else np.inf
                continue
            unit = max(float(np.spacing(abs(rounded))), float(info.smallest_subnormal))
            result[i] = float(abs(mpmath.mpf(float(value)) - reference) / unit)
    return result
