"""The rest of `graphad.nn`: more activations, normalisation, attention, dropout and initial values."""

from __future__ import annotations

import itertools
from functools import cache

import jax
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import nn, random
from tests.faces.oracle import check_equal, width

ACTIVATIONS = [
    "identity(x)", "relu6(x)", "celu(x)", "celu(x, 0.7)", "selu(x)", "soft_sign(x)", "hard_tanh(x)", "hard_sigmoid(x)",
    "hard_silu(x)", "hard_swish(x)", "mish(x)", "squareplus(x)", "squareplus(x, 1.5)", "sparse_plus(x)",
    "sparse_sigmoid(x)", "leaky_relu(x, 0.2)", "elu(x, 0.5)", "log1mexp(x * x + 0.1)", "log_sigmoid(x)",
]  # fmt: skip
AXES = ["glu(x)", "glu(x, 0)", "logmeanexp(x)", "logmeanexp(x, 1)", "logmeanexp(x, 0, mask, True)", "standardize(x)"]
STANDARDIZE = [
    "standardize(x, (0, 1))", "standardize(x, 0, algorithm='stable')", "standardize(x, where=mask)",
    "standardize(x, mean=1.0, variance=4.0)", "standardize(x, 1, epsilon=0.1)",
]  # fmt: skip
KINKS = [-3.0, -1.0, -0.5, 0.0, 0.25, 1.0, 3.0, 6.0]
X = np.float32([[-7.0, -3.0, -1.0, -0.0], [0.5, 1.0, 3.0, 9.0]])
MASK = np.array([[True, False, True, True], [True, True, True, False]])


def applied(expression, module, x):
    return eval(expression, {**vars(module), "x": x, "mask": MASK})


def both(expression, library):
    """The function that `expression` is, in either library."""
    return lambda x: applied(expression, jax.nn if library is jax else nn, x)


@cache
def values_by_jax():
    """All of them as one program: JAX takes long to compile each."""
    return jax.jit(lambda x: {e: both(e, jax)(x) for e in [*ACTIVATIONS, *AXES, *STANDARDIZE]})(X)


@pytest.mark.parametrize("expression", [*ACTIVATIONS, *AXES, *STANDARDIZE])
def test_values_like_jax(expression):
    check_equal(both(expression, graphad)(gnp.asarray(X)), values_by_jax()[expression], ulps=8)


@pytest.mark.parametrize("expression", ACTIVATIONS)
@pytest.mark.parametrize("x", [2.0, -0.5])
def test_python_numbers_like_jax(expression, x):
    if expression != "identity(x)":  # of which JAX's is no array
        check_equal(both(expression, graphad)(x), both(expression, jax)(x), ulps=8)


@pytest.mark.parametrize("expression", ACTIVATIONS)
def test_derivatives_like_jax_also_at_kinks(expression):
    mine, theirs = both(expression, graphad), both(expression, jax)
    with width(64):
        points = np.array(KINKS)
        by_jax = jax.jit(lambda x: [jax.vmap(f)(x) for f in (jax.grad(theirs), jax.hessian(theirs))])(points)
        for derivative, expected in zip((graphad.grad(mine), graphad.hessian(mine)), by_jax, strict=True):
            np.testing.assert_allclose(graphad.vmap(derivative)(points), expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("expression", [*AXES, *STANDARDIZE])
def test_derivatives_like_jax_along_axes(expression):
    mine, theirs = both(expression, graphad), both(expression, jax)
    weights = np.cos(np.arange(8.0)).reshape(2, 4)

    def weighted(y):
        return (weights.ravel()[: y.size].reshape(y.shape) * y).sum()

    with width(64):
        x = X.astype(np.float64)
        got = graphad.grad(lambda x: weighted(mine(x)))(x)
        np.testing.assert_allclose(got, jax.jit(jax.grad(lambda x: weighted(theirs(x))))(x), rtol=1e-7, atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# Attention

RNG = np.random.default_rng(3)
Q, K, V = (RNG.normal(size=(2, n, h, 4)).astype(np.float32) for n, h in ((5, 6), (7, 2), (7, 2)))
BIAS = RNG.normal(size=(1, 6, 5, 7)).astype(np.float32)
SEEN = RNG.uniform(size=(2, 1, 5, 7)) < 0.7
ATTENTION = {
    "plain": {},
    "bias": {"bias": BIAS},
    "mask": {"mask": SEEN},
    "causal": {"is_causal": True, "scale": 0.3},
    "all": {"bias": BIAS, "mask": SEEN, "is_causal": True, "local_window_size": (2, 1)},
    "window": {"local_window_size": 1},
    "lengths": {"query_seq_lengths": np.int32([5, 2]), "key_value_seq_lengths": np.int32([3, 7])},
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention_like_jax(name):
    options = ATTENTION[name]
    mine = nn.dot_product_attention(Q, K, V, **options)
    check_equal(mine, jax.nn.dot_product_attention(Q, K, V, **options), ulps=16)
    compiled = graphad.jit(lambda q, k, v: nn.dot_product_attention(q, k, v, **options))(Q, K, V)
    np.testing.assert_allclose(compiled, mine, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ATTENTION)
def test_gradients_of_attention(name):
    options = {k: v.astype(np.float64) if k == "bias" else v for k, v in ATTENTION[name].items()}
    arrays = [x[:, :, :2].astype(np.float64) if x is Q else x.astype(np.float64) for x in (Q, K, V)]
    if "bias" in options:
        options["bias"] = options["bias"][:, :2]
    graphad.check_grads(lambda *qkv: nn.dot_product_attention(*qkv, **options), arrays, order=1)


def test_gradients_of_attention_like_jax():
    def loss(module):
        return lambda q, k, v: (module.nn.dot_product_attention(q, k, v, BIAS, SEEN, is_causal=True) ** 2).sum()

    mine, theirs = graphad.grad(loss(graphad), (0, 1, 2))(Q, K, V), jax.jit(jax.grad(loss(jax), (0, 1, 2)))(Q, K, V)
    for x, y in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-5)


def test_attention_without_a_batch_and_in_small_floats():
    check_equal(nn.dot_product_attention(Q[0], K[0], V[0]), jax.nn.dot_product_attention(Q[0], K[0], V[0]), ulps=16)
    small = [x.astype(np.float16) for x in (Q, K, V)]
    check_equal(nn.dot_product_attention(*small), jax.nn.dot_product_attention(*small), ulps=4)


# ---------------------------------------------------------------------------------------------------------------------
# Layers


def test_layer_norm_and_rms_norm():
    x, scale, bias = RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=5)
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * scale + bias
    np.testing.assert_allclose(nn.layer_norm(x, scale, bias), expected, rtol=1e-12)
    expected = x / np.sqrt((x**2).mean(0, keepdims=True) + 1e-6) * scale
    np.testing.assert_allclose(nn.rms_norm(x, scale, axis=0), expected, rtol=1e-12)
    graphad.check_grads(lambda *args: nn.layer_norm(*args, axis=1), (x, scale, bias), order=2)


def test_layer_norm_of_a_large_offset():
    """Where the mean of squares would lose all digits."""
    x = gnp.array([1e4, 1e4 + 1, 1e4 + 2, 1e4 + 3])
    np.testing.assert_allclose(nn.layer_norm(x), (np.arange(4) - 1.5) / np.sqrt(1.25 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((6, 3), -1), ((4, 5, 3), 2), ((4, 3, 2, 2), 1)])
def test_batch_norm(shape, axis):
    x = RNG.normal(2.0, 3.0, size=shape)
    scale, bias = RNG.normal(size=3), RNG.normal(size=3)
    others = tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    y, mean, variance = nn.batch_norm(x, scale, bias, channel_axis=axis)
    np.testing.assert_allclose(mean, x.mean(others), rtol=1e-12)
    np.testing.assert_allclose(variance, x.var(others), rtol=1e-12)
    flat = np.moveaxis(np.asarray(y), axis, -1).reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), bias, rtol=1e-10)
    np.testing.assert_allclose(flat.std(0), abs(scale) * np.sqrt(x.var(others) / (x.var(others) + 1e-5)), rtol=1e-10)
    again, *_ = nn.batch_norm(x, scale, bias, mean=mean, variance=variance, channel_axis=axis)
    np.testing.assert_allclose(again, y, rtol=1e-10)


def test_batch_norm_has_derivatives_through_its_statistics():
    x = RNG.normal(size=(4, 2))
    graphad.check_grads(lambda x: nn.batch_norm(x)[0], (x,), order=2)


@pytest.mark.parametrize(("shape", "axis", "groups"), [((2, 5, 6), -1, 3), ((2, 6, 3, 2), 1, 2), ((3, 4), 1, 4)])
def test_group_norm(shape, axis, groups):
    x = RNG.normal(size=shape)
    scale, bias = RNG.normal(size=shape[axis]), RNG.normal(size=shape[axis])
    channels_last = np.moveaxis(x, axis, -1)
    parts = channels_last.reshape(shape[0], -1, groups, shape[axis] // groups)
    centred = parts - parts.mean((1, 3), keepdims=True)
    normed = centred / np.sqrt((centred**2).mean((1, 3), keepdims=True) + 1e-5)
    expected = np.moveaxis(normed.reshape(channels_last.shape) * scale + bias, -1, axis)
    got = nn.group_norm(x, groups, scale, bias, channel_axis=axis)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-12)


def test_dropout():
    x = gnp.ones((400, 50))
    y = np.asarray(nn.dropout(random.key(0), 0.25, x))
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.03
    np.testing.assert_array_equal(nn.dropout(random.key(0), 0.0, x), x)
    np.testing.assert_array_equal(nn.dropout(random.key(0), 1.0, x), 0 * x)
    rows = np.asarray(nn.dropout(random.key(0), 0.5, x, broadcast_axes=1))
    assert (rows == rows[:, :1]).all()
    np.testing.assert_array_equal(graphad.jit(nn.dropout, static_argnums=1)(random.key(0), 0.25, x), y)
    np.testing.assert_array_equal(graphad.grad(lambda x: nn.dropout(random.key(0), 0.25, x).sum())(x), y)


# ---------------------------------------------------------------------------------------------------------------------
# Initial values

SCALINGS = [
    f"variance_scaling(2.0, '{mode}', '{distribution}')"
    for mode, distribution in itertools.product(
        ("fan_in", "fan_out", "fan_avg", "fan_geo_avg"), ("normal", "truncated_normal", "uniform")
    )
]
NAMED = [
    f"{name}_{kind}()"
    for name, kind in itertools.product(("glorot", "xavier", "he", "kaiming", "lecun"), ("normal", "uniform"))
]
INITIALIZERS = [
    *SCALINGS[::2], *NAMED[::2], NAMED[1], NAMED[7], "zeros", "ones", "constant(3)", "uniform()", "uniform(2.0)",
    "normal(0.5)", "truncated_normal(0.5)", "truncated_normal(1.0, lower=-1.0, upper=0.5)", "orthogonal()",
    "orthogonal(2.0, 0)", "he_normal(in_axis=0, out_axis=1)", "lecun_normal(in_axis=(0, 1), out_axis=2)",
    "glorot_uniform(batch_axis=0)",
]  # fmt: skip


@pytest.mark.parametrize("expression", INITIALIZERS)
def test_initializers_like_jax(expression):
    shape = (3, 4, 5)
    mine = eval(expression, dict(vars(nn.initializers)))(random.key(5), shape)
    with jax.threefry_partitionable(False):
        theirs = eval(expression, dict(vars(jax.nn.initializers)))(jax.random.PRNGKey(5), shape)
    assert mine.shape == theirs.shape
    assert mine.dtype == theirs.dtype
    np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)


def test_delta_orthogonal():
    kernel = np.array(nn.initializers.delta_orthogonal()(random.key(0), (3, 5, 2, 4)))
    middle = kernel[1, 2].copy()
    np.testing.assert_allclose(middle @ middle.T, np.eye(2), atol=1e-6)
    kernel[1, 2] = 0
    assert not kernel.any()


def test_initializers_keep_the_dtype():
    for init in (nn.initializers.he_normal(dtype="float64"), nn.initializers.orthogonal(dtype="float64")):
        assert init(random.key(0), (2, 3)).dtype == np.float64
    assert nn.initializers.normal()(random.key(0), (2, 3), "bfloat16").dtype == gnp.bfloat16
    assert nn.initializers.zeros(random.key(0), (0, 3)).shape == (0, 3)


WRONG = [
    (lambda: nn.glu(gnp.ones(3)), "glu halves axis -1, whose size 3 is odd"),
    (lambda: nn.standardize(X, algorithm="slow"), "'fast' or 'stable', got 'slow'"),
    (lambda: nn.group_norm(X, 3), "got 4 channels on axis 1 and 3 groups"),
    (lambda: nn.dropout(random.key(0), 1.5, X), "rate from 0 to 1, got 1.5"),
    (lambda: nn.dot_product_attention(Q, K, V[:1]), r"one dtype, got f32\[2,5,6,4\], f32\[2,7,2,4\], f32\[1,7,2,4\]"),
    (lambda: nn.dot_product_attention(Q[:, :, :5], K, V), "multiple of the 2 heads of the key .* got 5"),
    (lambda: nn.dot_product_attention(Q, K, V, mask=BIAS), "takes a mask of bools, got f32"),
    (lambda: nn.initializers.he_normal()(random.key(0), (3,)), "at least two axes, for inputs"),
    (lambda: nn.initializers.orthogonal()(random.key(0), (3,)), r"orthogonal takes a shape with at least two axes"),
    (lambda: nn.initializers.variance_scaling(1.0, "fan", "normal"), "'fan_avg' or 'fan_geo_avg', got 'fan'"),
    (lambda: nn.initializers.variance_scaling(1.0, "fan_in", "cauchy"), "got 'cauchy'"),
    (lambda: nn.initializers.delta_orthogonal()(random.key(0), (3, 4, 2)), "no more inputs than outputs"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "message"), WRONG)
def test_wrong_uses_say_what_to_do(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
