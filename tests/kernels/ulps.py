"""Errors in units in the last place, against references of higher precision."""

from __future__ import annotations

import inspect

import mpmath
import numpy as np
from graphad_kernels.math import FUNCTIONS

DTYPES = {"f32": np.float32, "f64": np.float64}
INTEGERS = {"f32": np.int32, "f64": np.int64}


def bits(x):
    return np.asarray(x).view(INTEGERS["f32"] if x.dtype == np.float32 else INTEGERS["f64"])


def arity(name, dtype):
    return len(inspect.signature(FUNCTIONS[name, dtype]).parameters)


def arguments(name, dtype, count, rng):
    """Arrays to call an elementary function with."""
    if dtype == "u32":
        return rng.integers(0, 2**32, (arity(name, dtype), count), dtype=np.uint32)
    if name == "tanh_slope":
        x = sample(name, dtype, count, rng)
        return [x, np.tanh(x)]
    return [sample(name, dtype, count, rng) for _ in range(arity(name, dtype))]


def sample(name, dtype, count, rng):
    """Random bit patterns, nans and infinities among them, and numbers where the function does things."""
    real, integer = DTYPES[dtype], INTEGERS[dtype]
    limits = np.iinfo(integer)
    anything = rng.integers(limits.min, limits.max, count, dtype=integer, endpoint=True).view(real)
    if name in ("asin", "acos", "atanh", "erf_inv"):
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
