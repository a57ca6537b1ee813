"""Dtypes and weak types of results: JAX's table, and where graphad departs from it."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float16", ml_dtypes.bfloat16, "float32", "float64",
]  # fmt: skip
ARRAYS = [np.ones(2, d) for d in DTYPES]
SCALARS = [True, 1, 1.0]
WEAK = [lambda np: np.asarray(1), lambda np: np.asarray(1.0), lambda np: np.asarray(2.0) * 1]
OPERANDS = [*(lambda np, a=a: np.asarray(a) for a in ARRAYS), *(lambda np, s=s: s for s in SCALARS), *WEAK]

BINARY = {
    "add": lambda np, x, y: np.add(x, y),
    "operator *": lambda np, x, y: x * y,
    "true division": lambda np, x, y: np.true_divide(x, y),
    "floor division": lambda np, x, y: np.floor_divide(x, y),
    "remainder": lambda np, x, y: np.remainder(x, y),
    "power": lambda np, x, y: np.power(np.atleast_1d(np.asarray(x)), np.atleast_1d(np.asarray(y))),
    "maximum": lambda np, x, y: np.maximum(x, y),
    "where": lambda np, x, y: np.where(True, x, y),
    "comparison": lambda np, x, y: np.less(x, y),
    "concatenate": lambda np, x, y: np.concatenate([np.atleast_1d(np.asarray(x)), np.atleast_1d(np.asarray(y))]),
    "dot": lambda np, x, y: np.dot(x, y),
    "array": lambda np, x, y: np.array([np.sum(np.asarray(x)), np.sum(np.asarray(y))]),
}
UNARY = {
    "sum": lambda np, x: np.sum(x),
    "mean": lambda np, x: np.mean(x),
    "max": lambda np, x: np.max(x),
    "cumsum": lambda np, x: np.cumsum(np.atleast_1d(np.asarray(x))),
    "sin": lambda np, x: np.sin(x),
    "sqrt": lambda np, x: np.sqrt(x),
    "square": lambda np, x: np.square(x),
    "abs": lambda np, x: np.abs(x),
    "sign": lambda np, x: np.sign(x),
    "floor": lambda np, x: np.floor(x),
    "x ** 2": lambda np, x: np.asarray(x) ** 2,
    "x ** 0.5": lambda np, x: np.asarray(x) ** 0.5,
    "2 ** x": lambda np, x: 2 ** np.atleast_1d(np.asarray(x)),
    "x / 2": lambda np, x: np.asarray(x) / 2,
    "x + 1.0": lambda np, x: np.asarray(x) + 1.0,
    "x // 2": lambda np, x: np.asarray(x) // 2,
    "-x + True": lambda np, x: np.asarray(x) + True,
    "argmax": lambda np, x: np.argmax(x),
    "isnan": lambda np, x: np.isnan(x),
    "logical_not": lambda np, x: np.logical_not(x),
    "zeros_like": lambda np, x: np.zeros_like(x),
    "astype": lambda np, x: np.asarray(x).astype(int),
    "reshape": lambda np, x: np.reshape(x, (-1,)),
}


def outcome(f):
    """Shape, dtype and weakness of a result, or that there is none."""
    try:
        y = f()
    except (TypeError, ValueError):
        return "error"
    return tuple(y.shape), np.dtype(y.dtype).name, bool(y.weak_type)


def theirs(functions, bits):
    """What JAX has for each function, all in one trace: one for each would take most of the time."""
    found = []
    with jax.enable_x64(bits == 64):
        jax.eval_shape(lambda: found.extend([outcome(f) for f in functions]))
    return found


@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name):
    f = BINARY[name]
    wrong = []
    pairs = list(product(OPERANDS, OPERANDS))
    if name == "operator *":  # without Python's own products
        pairs = [(a, b) for a, b in pairs if isinstance(a(gnp), graphad.Array) or isinstance(b(gnp), graphad.Array)]
    of_jax = theirs([lambda a=a, b=b: f(jnp, a(jnp), b(jnp)) for a, b in pairs], 64)
    for (a, b), expected in zip(pairs, of_jax, strict=True):
        if name == "dot" and expected == "error":
            continue  # JAX's dot refuses some pairs of an array and a number
        with graphad.config.override(default_dtype_bits=64):
            got = outcome(lambda a=a, b=b: f(gnp, a(gnp), b(gnp)))
        if got != expected:
            wrong.append((a(gnp), b(gnp), got, expected))
    assert not wrong


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name, bits):
    f = UNARY[name]
    wide = {"int64", "uint64", "float64"}  # without x64, JAX has none of these
    wrong = []
    narrow = [a for k, a in enumerate(OPERANDS) if k >= len(ARRAYS) or ARRAYS[k].dtype.name not in wide]
    operands = narrow if bits == 32 else OPERANDS
    for a, expected in zip(operands, theirs([lambda a=a: f(jnp, a(jnp)) for a in operands], bits), strict=True):
        with graphad.config.override(default_dtype_bits=bits):
            got = outcome(lambda a=a: f(gnp, a(gnp)))
        if got != expected:
            wrong.append((a(gnp), got, expected))
    assert not wrong


@pytest.mark.parametrize("bits", [32, 64])
def test_creation(bits):
    makers = {
        "zeros": lambda np: np.zeros(3),
        "ones": lambda np: np.ones((2, 3)),
        "full": lambda np: np.full(2, 7),
        "full float": lambda np: np.full(2, 7.0),
        "arange": lambda np: np.arange(3),
        "arange float": lambda np: np.arange(0, 1, 0.25),
        "linspace": lambda np: np.linspace(0, 1, 3),
        "eye": lambda np: np.eye(3),
        "array": lambda np: np.array([1, 2]),
        "array float": lambda np: np.array([1, 2.0]),
        "array bool": lambda np: np.array([True, False]),
        "array scalar": lambda np: np.array(1.0),
        "asarray scalar": lambda np: np.asarray(1.0),
        "asarray int": lambda np: np.asarray(1),
        "asarray bool": lambda np: np.asarray(True),
        "dtype int": lambda np: np.zeros(3, int),
        "dtype float": lambda np: np.zeros(3, float),
        "dtype bool": lambda np: np.ones(3, bool),
    }
    expected = theirs([lambda make=make: make(jnp) for make in makers.values()], bits)
    with graphad.config.override(default_dtype_bits=bits):
        found = [outcome(lambda make=make: make(gnp)) for make in makers.values()]
    assert dict(zip(makers, found, strict=True)) == dict(zip(makers, expected, strict=True))


def test_wide_arrays_stay_wide_without_a_switch():
    x = np.ones(3)
    for y in (gnp.asarray(x), gnp.sin(x), gnp.asarray(x) * 2, gnp.sum(x), graphad.grad(lambda x: (x * x).sum())(x)):
        assert y.dtype == np.float64
    assert gnp.asarray(np.arange(3)).dtype == np.int64
    assert graphad.jit(lambda x: x * 2)(x).dtype == np.float64
    assert gnp.zeros(3, "float64").dtype == np.float64
    assert gnp.ones(3, np.float32).astype("float64").dtype == np.float64


def test_float64_scalars_are_the_python_floats_that_they_are():
    x = gnp.ones(3, "float32")
    assert (x / np.sqrt(3)).dtype == np.float32
    assert (np.float64(2) * x).dtype == np.float32
    assert graphad.jit(lambda x: x * np.pi * np.float64(1))(x).dtype == np.float32
    assert gnp.asarray(np.float64(2)).weak_type
    alone = (gnp.asarray(np.float64(2)), gnp.sin(np.float64(2)), graphad.grad(lambda x: x * x)(np.float64(3)))
    assert all(y.dtype == np.float64 and y.weak_type for y in alone)


def test_other_scalars_of_numpy_keep_their_dtype():
    x = gnp.ones(3, "float16")
    assert (x * np.float32(2)).dtype == np.float32
    assert not (x * np.float32(2)).weak_type
    assert (gnp.arange(3) * np.int64(2)).dtype == np.int64
    assert graphad.grad(lambda x: x * x)(np.float32(3)).weak_type is False
