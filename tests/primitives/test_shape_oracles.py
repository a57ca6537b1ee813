"""The references of shape, reduction, contraction and indexing primitives against JAX, NumPy indexing, and plain loops.

Values and conventions at ties and zeros: the generic tests take the references for granted, these do not.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from graphad.ir.builder import Builder
from graphad.ir.types import aval, dtype_of, f32, i32, u8
from graphad.primitives.contract import dot_general
from graphad.primitives.indexing import gather, scatter_add, scatter_max, scatter_min, scatter_mul, scatter_set
from graphad.primitives.layout import iota
from graphad.primitives.reduce import argmax, argmin, cumsum, reduce_max, reduce_min, reduce_prod, reduce_sum
from graphad.primitives.shape import concatenate, pad, rev, slice_
from graphad.transforms.batch import batch
from tests.primitives.cases import program, run, samples_of
from tests.primitives.test_derivatives import vjp_graph

SCATTERS = (scatter_set, scatter_add, scatter_mul, scatter_min, scatter_max)
COMBINE = {
    "scatter_set": lambda old, new: new,
    "scatter_add": lambda old, new: old + new,
    "scatter_mul": lambda old, new: old * new,
    "scatter_min": min,
    "scatter_max": max,
}


def graph_of(primitive, *operands, **params):
    """A program of one equation on inputs like ``operands``."""
    builder = Builder()
    inputs = tuple(builder.input(aval(x.shape, dtype_of(x.dtype))) for x in operands)
    return builder.close(builder.emit(primitive, inputs, tuple(params[n] for n in primitive.params)))


def gradients(primitive, *operands, **params):
    """The cotangents of the float operands for a cotangent of 1, 2, 3, ..."""
    graph = graph_of(primitive, *operands, **params)
    return run(vjp_graph(graph), [*operands, weights(graph.out_avals[0].shape)])


def weights(shape):
    return (1 + np.arange(np.prod(shape, dtype=int))).astype(np.float32).reshape(shape)


def jax_gradients(function, *operands):
    def pulled(*operands):
        out, pull = jax.vjp(function, *operands)
        return pull(weights(out.shape))

    return [np.asarray(g) for g in jax.jit(pulled)(*operands)]


# --- gather and scatter -----------------------------------------------------------------------------------------------


def addresses(shape, indices, axes, batch, mode):
    """(position in indices and updates without the window, index into the operand with slices, in range) in order."""
    for at in np.ndindex(indices.shape[:-1]):
        where = [slice(None)] * len(shape)
        where[:batch] = at[:batch]
        inside = True
        for axis, i in zip(axes, indices[at].tolist(), strict=True):
            inside &= 0 <= i < shape[axis]
            where[axis] = min(max(i, 0), shape[axis] - 1)
        yield at, tuple(where), inside or mode == "clip"


@pytest.mark.parametrize("dtype", [f32, i32, u8], ids=repr)
def test_gather_is_its_definition(dtype):
    fill = {f32: np.nan, i32: np.iinfo(np.int32).min, u8: 255}[dtype]
    for sample in samples_of(gather, dtype):
        (x, indices), params = sample.operands, sample.params
        got = gather(x, indices, **params)
        for at, where, inside in addresses(x.shape, indices, **params):
            expected = x[where] if inside else fill if params["mode"] == "fill" else 0
            np.testing.assert_array_equal(got[at], expected, err_msg=str(sample))


@pytest.mark.parametrize("primitive", SCATTERS, ids=repr)
@pytest.mark.parametrize("dtype", [f32, i32], ids=repr)
def test_scatter_is_its_definition(primitive, dtype):
    combine = np.vectorize(COMBINE[primitive.name], otypes=[dtype.numpy])
    for sample in samples_of(primitive, dtype):
        (x, indices, updates), params = sample.operands, sample.params
        expected = x.copy()
        for at, where, inside in addresses(x.shape, indices, **params):
            if inside and expected[where].size:
                expected[where] = combine(expected[where], updates[at])
        before = x.copy()
        got = primitive(x, indices, updates, **params)
        np.testing.assert_allclose(got, expected, rtol=1e-6, err_msg=str(sample))
        np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("primitive", [gather, *SCATTERS], ids=repr)
def test_samples_reach_outside_in_every_mode(primitive):
    """The tests above would not notice a missing mode otherwise."""
    outside = set()
    for sample in samples_of(primitive, f32):
        shape, indices, params = sample.operands[0].shape, sample.operands[1], sample.params
        if not all(inside for _, _, inside in addresses(shape, indices, **(params | {"mode": ""}))):
            outside.add(params["mode"])
    assert outside == ({"clip", "fill", "zero"} if primitive is gather else {"clip", "drop"})


@pytest.mark.parametrize("k", [0, 1, 2])
def test_gather_does_numpy_indexing(rng, k):
    x = rng.normal(size=(4, 5, 6)).astype(np.float32)
    i, j = rng.integers(0, 4, (2, 3)), rng.integers(0, 4, (2, 3))
    pair = np.stack([i, j], axis=-1)
    got, expected = (
        lambda: (gather(x, i[..., None], axes=(0,), batch=0, mode="clip"), x[i]),
        lambda: (gather(x, pair, axes=(0, 1), batch=0, mode="clip"), x[i, j]),
        lambda: (gather(x, pair, axes=(0, 2), batch=0, mode="clip"), x[i, :, j]),
    )[k]()
    np.testing.assert_array_equal(got, expected)


INDEX = np.array([[2], [0], [2], [2], [4], [0]], np.int32)
AT = {"axes": (0,), "batch": 0, "mode": "drop"}


@pytest.mark.parametrize(
    ("primitive", "method"), [(scatter_set, "set"), (scatter_add, "add"), (scatter_min, "min"), (scatter_max, "max")]
)
def test_scatter_gradients_are_those_of_jax(rng, primitive, method):
    x, updates = rng.normal(size=(5, 3)).astype(np.float32), rng.normal(size=(6, 3)).astype(np.float32)
    x[0], updates[1], updates[2] = 0.5, 0.5, updates[0]  # ties
    got = gradients(primitive, x, INDEX, updates, **AT)
    expected = jax_gradients(lambda x, u: getattr(x.at[INDEX[:, 0]], method)(u), x, updates)
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-6, atol=1e-5)


def test_scatter_mul_gradient_with_repeats_and_zeros():
    """Against the product written out: JAX refuses repeated indices here."""
    x = np.array([2.0, 3.0, 5.0, 7.0, 0.0], np.float32)
    updates = np.array([0.0, 2.0, 3.0, 0.5, 4.0, 0.0], np.float32)

    def written_out(x, u):
        return jnp.stack([x[0] * u[1] * u[5], x[1], x[2] * u[0] * u[2] * u[3], x[3], x[4] * u[4]])

    got = gradients(scatter_mul, x, INDEX, updates, **AT)
    for g, e in zip(got, jax_gradients(written_out, x, updates), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-6)


def test_clip_and_fill_are_those_of_jax(rng):
    x, at = rng.normal(size=(5,)).astype(np.float32), np.array([0, 7, 3], np.int32)
    for mode in ("clip", "fill"):
        got = gather(x, at[:, None], axes=(0,), batch=0, mode=mode)
        np.testing.assert_array_equal(got, jnp.asarray(x).at[at].get(mode=mode))
        (pulled,) = gradients(gather, x, at[:, None], axes=(0,), batch=0, mode=mode)
        np.testing.assert_array_equal(pulled, jax_gradients(lambda x, m=mode: x.at[at].get(mode=m), x)[0])


# --- reductions -------------------------------------------------------------------------------------------------------

ROWS = np.array([[1, 3, 3, 0], [2, 2, 2, 2], [0, -0.0, 1, 0], [4, 0, 5, 0], [0.5, -2, 3, 0]], np.float32)


@pytest.mark.parametrize(
    ("primitive", "function"),
    [(reduce_sum, jnp.sum), (reduce_prod, jnp.prod), (reduce_max, jnp.max), (reduce_min, jnp.min)],
    ids=lambda f: f.__name__ if callable(f) and hasattr(f, "__name__") else repr(f),
)
def test_reductions_are_those_of_jax(primitive, function):
    """Ties share the derivative; products are differentiated rightly where factors are zero."""
    for axes in ((0,), (1,), (0, 1), ()):
        np.testing.assert_allclose(primitive(ROWS, axes=axes), function(ROWS, axis=axes), rtol=1e-6)
        (got,) = gradients(primitive, ROWS, axes=axes)
        (expected,) = jax_gradients(lambda x, a=axes: function(x, axis=a), ROWS)
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_positions_of_extrema_are_those_of_jax():
    x = ROWS.copy()
    x[0, 2] = x[3, 1] = x[3, 3] = np.nan
    for axis in (0, 1):
        np.testing.assert_array_equal(argmax(x, axis=axis, dtype=i32), jnp.argmax(x, axis))
        np.testing.assert_array_equal(argmin(x, axis=axis, dtype=i32), jnp.argmin(x, axis))


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum_is_that_of_jax(reverse):
    np.testing.assert_allclose(cumsum(ROWS, axis=1, reverse=reverse), lax.cumsum(ROWS, 1, reverse), rtol=1e-6)


@pytest.mark.parametrize(
    ("primitive", "expected"), [(reduce_sum, 0), (reduce_prod, 1), (reduce_max, -np.inf), (reduce_min, np.inf)]
)
def test_reductions_of_nothing(primitive, expected):
    assert primitive(np.zeros((0, 2), np.float32), axes=(0,)).tolist() == [expected] * 2


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_pad_is_that_of_jax():
    for sample in samples_of(pad, f32):
        (x, fill), params = sample.operands, sample.params
        config = list(zip(params["low"], params["high"], params["interior"], strict=True))
        expected = lax.pad(jnp.asarray(x), jnp.float32(fill), config)
        np.testing.assert_array_equal(pad(x, fill, **params), expected, err_msg=str(sample))


def test_slices_and_joins_are_those_of_numpy(rng):
    x = rng.normal(size=(5, 7)).astype(np.float32)
    np.testing.assert_array_equal(slice_(x, start=(1, 0), stop=(5, 6), step=(2, 3)), x[1:5:2, 0:6:3])
    np.testing.assert_array_equal(rev(x, axes=(1,)), x[:, ::-1])
    np.testing.assert_array_equal(concatenate(x, x[:, :2], axis=1), np.concatenate([x, x[:, :2]], 1))
    np.testing.assert_array_equal(iota(shape=(2, 3), dtype=i32, axis=1), [[0, 1, 2]] * 2)


# --- contractions -----------------------------------------------------------------------------------------------------


def test_dot_general_is_that_of_jax():
    for sample in samples_of(dot_general, f32):
        (x, y), params = sample.operands, sample.params
        numbers = (params["contract"], params["batch"])

        def function(x, y, numbers=numbers):
            return lax.dot_general(x, y, numbers, precision="highest")

        close = {"rtol": 1e-5, "atol": 1e-5, "err_msg": str(sample)}
        np.testing.assert_allclose(dot_general(x, y, **params), function(x, y), **close)
        expected = jax_gradients(function, np.ascontiguousarray(x), np.ascontiguousarray(y))
        for g, e in zip(gradients(dot_general, x, y, **params), expected, strict=True):
            np.testing.assert_allclose(g, e, **close)


MATVEC = {"contract": ((1,), (0,)), "batch": ((), ())}


@pytest.mark.parametrize("mask", [(True, False), (False, True), (True, True)])
def test_a_batch_of_matrix_vector_products_is_one_product(mask, rng):
    """The new axis comes out in front without a transpose."""
    graph = graph_of(dot_general, rng.normal(size=(3, 5)), rng.normal(size=(5,)), **MATVEC)
    assert [e.primitive.name for e in batch(graph, mask, 4).graph.eqns] == ["dot_general"]


def test_the_cotangents_of_a_matrix_product_need_no_transpose(rng):
    """x @ y: of y the product comes out in order, of x likewise; layouts are for the lowering to choose."""
    graph = graph_of(dot_general, rng.normal(size=(3, 5)), rng.normal(size=(5, 7)), **MATVEC)
    assert [e.primitive.name for e in vjp_graph(graph).eqns] == ["dot_general", "dot_general"]


def test_programs_of_samples_keep_operands(rng):
    """References never write to their operands."""
    for primitive in (*SCATTERS, pad, cumsum, reduce_max):
        for sample in samples_of(primitive, f32):
            graph, args = program(primitive, sample, f32)
            before = [a.copy() for a in args]
            run(graph, args)
            for a, b in zip(args, before, strict=True):
                np.testing.assert_array_equal(a, b)
