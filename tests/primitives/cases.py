"""The registry as a list of test cases, and small programs of one equation made from its samples."""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np

import graphad.primitives  # fills the registry
from graphad.check.calculus import is_float
from graphad.check.calculus import run as run
from graphad.ir.builder import Builder
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.types import DTYPES, aval, b1, dtype_of, f32, f64, i32, literal, u8, u32

assert graphad.primitives
FLOATS = (f32, f64)
USUAL = (f32, f64, i32, u32, u8, b1)


def all_primitives():
    return sorted(PRIMITIVES.values(), key=lambda p: p.name)


def samples_of(primitive, dtype):
    """The samples of a primitive for one dtype: the same in every run."""
    return list(primitive.samples(np.random.default_rng(0), dtype)) if primitive.samples else []


def cases(dtypes=tuple(DTYPES.values()), keep=lambda p: True):
    """(primitive, dtype) wherever there are samples."""
    return [(p, d) for p in all_primitives() if keep(p) for d in dtypes if _has_samples(p, d)]


@cache
def _has_samples(primitive, dtype):
    return bool(samples_of(primitive, dtype))


def case_id(value):
    return value if isinstance(value, str) else value.name


def each(dtypes=tuple(DTYPES.values()), keep=lambda p: True):
    """Arguments of ``pytest.mark.parametrize`` for a test of one primitive with one dtype."""
    return {"argnames": ("primitive", "dtype"), "argvalues": cases(dtypes, keep), "ids": case_id}


def differentiable(primitive):
    return primitive.jvp is not None


def pure(primitive):
    return not primitive.effect


def operand_values(sample, dtype):
    """The operands as the reference gets them: arrays, and NumPy scalars for literals."""
    return [x if isinstance(x, np.ndarray) else as_literal(x, dtype).value for x in sample.operands]


def as_literal(x, dtype):
    return literal(x, b1 if type(x) is bool else dtype)


def program(primitive, sample, dtype):
    """The graph of one equation and its arguments: arrays are inputs, Python scalars literals."""
    builder = Builder()
    atoms, args = [], []
    for x in sample.operands:
        if isinstance(x, np.ndarray):
            atoms.append(builder.input(aval(x.shape, dtype_of(x.dtype))))
            args.append(x)
        else:
            atoms.append(as_literal(x, dtype))
    params = tuple(sample.params[name] for name in primitive.params)
    return builder.close(builder.emit(primitive, tuple(atoms), params)), args


def programs(primitive, dtype, only_differentiable=False):
    """`program` of every sample."""
    for sample in samples_of(primitive, dtype):
        if sample.differentiable or not only_differentiable:
            yield program(primitive, sample, dtype)


def epsilon(dtype):
    return float(ml_dtypes.finfo(dtype).eps)


def assert_close(got, expected, primitive, what, factor=1.0):
    """Equal up to the primitive's tolerance, in units of epsilon relative to max(1, |expected|)."""
    assert got.shape == expected.shape, what
    assert got.dtype == expected.dtype, what
    if not is_float(got):
        np.testing.assert_array_equal(got, expected, err_msg=what)
        return
    tolerance = max(primitive.tolerance, 0) * factor * epsilon(got.dtype)
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance, err_msg=what, equal_nan=True)
