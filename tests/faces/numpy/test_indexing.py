"""Indices that are traced: clamped reads, dropped writes, masks, and their derivatives, compiled and batched."""

from __future__ import annotations

import warnings
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.errors import PrecisionWarning

X = np.arange(12, dtype=np.float32).reshape(3, 4) + 1
K = np.array([1, -1, 0], np.int32)

READS = {
    "x[k]": lambda x, k: x[k],
    "x[:, k]": lambda x, k: x[:, k],
    "x[k, 1:3]": lambda x, k: x[k, 1:3],
    "x[k, ::-2]": lambda x, k: x[k, ::-2],
    "x[k, k]": lambda x, k: x[k, k],
    "x[k[0]]": lambda x, k: x[k[0]],
    "x[k[0], k]": lambda x, k: x[k[0], k],
    "x[k[:, None], k]": lambda x, k: x[k[:, None], k],
    "x[None, k, None, 1]": lambda x, k: x[None, k, None, 1],
}
WRITES = {
    "set row": lambda x, k: x.at[k[0]].set(7.0),
    "set": lambda x, k: x.at[k].set(x[::-1] * 2),
    "add": lambda x, k: x.at[:, k].add(x[:, :3]),
    "add one": lambda x, k: x.at[k[0], k[1]].add(x[1, 1]),
    "multiply": lambda x, k: x.at[k, 1:3].multiply(x[:, :2], unique_indices=True),
    "min": lambda x, k: x.at[k].min(5.5),
    "max": lambda x, k: x.at[k, k].max(5.5),
}
BOTH = READS | WRITES


@pytest.mark.parametrize("name", BOTH)
def test_compiled_and_batched_like_jax(name):
    f = BOTH[name]
    rows, pair = np.stack([K, K[::-1], np.zeros_like(K)]), np.stack([X, -X])

    def theirs(x, k, rows, pair):
        return f(x, k), jax.vmap(f, (None, 0))(x, rows), jax.vmap(f, (0, None))(pair, k)

    mine = graphad.jit(f)(X, K), graphad.vmap(f, (None, 0))(X, rows), graphad.vmap(f, (0, None))(pair, K)
    for got, expected in zip(mine, jax.jit(theirs)(X, K, rows, pair), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", BOTH)
def test_derivatives_like_jax(name):
    def weighted(x, module):
        y = BOTH[name](x, K)
        return (y * module.cos(module.arange(y.size, dtype="float32").reshape(y.shape))).sum()

    got = graphad.grad(lambda x: weighted(x, gnp))(X)
    np.testing.assert_allclose(got, jax.jit(jax.grad(lambda x: weighted(x, jnp)))(X), rtol=1e-5, atol=1e-6)


def test_traced_indices_out_of_range():
    x = gnp.arange(3.0)
    read = graphad.jit(lambda k: x[k])
    assert [float(read(k)) for k in (0, 2, 5, -1, -3, -9)] == [0, 2, 2, 2, 0, 0]
    write = graphad.jit(lambda k: x.at[k].set(9.0))
    assert [write(k).tolist() for k in (1, 5, -1, -9)] == [[0, 9, 2], [0, 1, 2], [0, 1, 9], [0, 1, 2]]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32", "int64", "uint64"])
def test_index_dtypes(dtype):
    k = np.array([2, 0, 1], dtype)
    np.testing.assert_array_equal(graphad.jit(lambda k: gnp.asarray(X)[k])(k), X[k])


def test_negative_indices_of_unsigned_kind_do_not_wrap():
    assert gnp.arange(300)[np.uint8(255)] == 255


@pytest.mark.parametrize("method", ["set", "add", "multiply", "max"])
def test_traced_masks_in_writes(method):
    def f(x):
        return getattr(x.at[x > 5], method)(2.0)

    eager = f(gnp.asarray(X))
    np.testing.assert_array_equal(graphad.jit(f)(X), eager)
    rows = graphad.jit(lambda x: getattr(x.at[x[:, 0] > 4], method)(gnp.arange(4.0)))(X)
    np.testing.assert_array_equal(rows, getattr(gnp.asarray(X).at[X[:, 0] > 4], method)(gnp.arange(4.0)))


def test_updates_keep_the_dtype():
    assert gnp.zeros(2, "float16").at[0].set(1.5).dtype == np.float16
    assert gnp.zeros(2, "int8").at[0].add(1).dtype == np.int8
    assert gnp.arange(2).at[0].divide(2).dtype == np.float32
    assert gnp.asarray(1.0).at[()].set(2).weak_type


def test_unpacking_a_traced_array():
    def f(x):
        a, b, c = x
        return a * b + c

    assert graphad.grad(f)(gnp.array([2.0, 3.0, 4.0])).tolist() == [3, 2, 1]


def test_traced_python_integers_index_lists():
    f = graphad.jit(lambda k: gnp.float32([10, 20, 30][k]))
    assert [float(f(k)) for k in (0, 2, -1)] == [10, 30, 30]


#: Indices of which some are out of range, with the array that they are for.
OUTSIDE = [
    *[(np.arange(4, dtype=np.float32) / 2, i) for i in (0, 3, 4, -4, -5, np.array(7), (7, True), (None, 7), True)],
    *[(np.arange(4, dtype=np.int32), i) for i in (-9, 9, (0, True), slice(2, 9), np.array([1, 7, -9]))],
    *[(X, i) for i in ((0, 5), (5, 0), (slice(None), 7), (np.array([0, 7]), 9), (9, slice(0, 2)), (slice(0, 1), 9),
                       (True, slice(None), 9), False, (0, False), (9, None, np.array([0, 1])))],
]  # fmt: skip


def uses_of(index, mode):
    uses = {name: lambda y, name=name: getattr(y.at[index], name)(2, mode=mode) for name in ("set", "add", "max")}
    uses["apply"] = lambda y: y.at[index].apply(lambda part: part + 1, mode=mode)
    if mode != "drop":
        uses["get"] = lambda y: y.at[index].get(mode=mode)
        uses["fill"] = lambda y: y.at[index].get(mode=mode, fill_value=7)
    return uses


@cache
def modes_by_jax(mode):
    """For each of `OUTSIDE`; all as one program, since JAX takes long to compile each."""

    def program(arrays):
        return [
            {name: use(x) for name, use in uses_of(index, mode).items()}
            for x, (_, index) in zip(arrays, OUTSIDE, strict=True)
        ]

    return jax.jit(program)([x for x, _ in OUTSIDE])


@pytest.mark.parametrize("mode", ["drop", "fill", "clip"])
@pytest.mark.parametrize("number", range(len(OUTSIDE)), ids=lambda k: str(OUTSIDE[k][1]))
def test_modes_like_jax(number, mode):
    """A mode says what an index out of range does, whether it is a number or an array."""
    (x, index), expected = OUTSIDE[number], modes_by_jax(mode)[number]
    uses = uses_of(index, mode)
    for name, use in uses.items():
        np.testing.assert_array_equal(use(gnp.asarray(x)), expected[name])
    name = "get" if "get" in uses else "set"
    np.testing.assert_array_equal(graphad.jit(uses[name])(x), expected[name])


#: What is written into arrays of float32 and int32, and whether it loses digits there.
WRITTEN = [
    (np.array(2.0), False), (np.array([0.1, 2.0]), True), (np.float16(0.1), False), (np.arange(2), False),
    (np.array([1, 2**40]), True), (np.array([np.nan, 2.0]), False), (np.array(1, np.uint32), False),
]  # fmt: skip


@pytest.mark.parametrize("transform", [lambda f: f, graphad.jit], ids=["eager", "jit"])
@pytest.mark.parametrize(("values", "loses"), WRITTEN, ids=str)
def test_wider_values_are_cast_like_jax(values, loses, transform):
    dtype = np.float32 if values.dtype.kind == "f" else np.int32
    uses = [lambda x: x.at[:2].set(values), lambda x: x.at[:2].add(values), lambda x: x.at[:2].divide(values)]
    for use in uses if dtype is np.float32 else uses[:2]:
        expected = np.asarray(use(jnp.ones(3, dtype)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            got = transform(use)(gnp.ones(3, dtype))
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)
        assert [w.category for w in caught] == [PrecisionWarning] * loses


def test_lost_digits_are_told_once_a_line():
    wide = np.full(2, 0.1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            gnp.ones(2).at[:].set(wide)
        graphad.jit(lambda x, y: x.at[0].set(y[0]))(gnp.ones(2), wide)
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, THE_LINE), (__file__, THE_LINE + 1)]
    assert "takes digits from them. Write x.astype(float64) first" in str(caught[0].message)


THE_LINE = test_lost_digits_are_told_once_a_line.__code__.co_firstlineno + 5
