"""`graphad.nn` gives what ``jax.nn`` gives, and so do its first and second derivatives."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import graphad
import graphad.numpy as gnp
from graphad import nn
from tests.faces.oracle import check_equal, width

X = np.float32([[-3.0, -0.5, 0.0, 0.25, 8.0], [1.0, 1.0, -20.0, 3.0, 100.0]])
TWICE = np.float32([[2, 0, 2, 2, 2], [2, 2, 2, 0, 0]])
MASK = np.array([[True, False, True, True, True], [True, True, True, False, False]])

ACTIVATIONS = {
    "relu": (nn.relu, jax.nn.relu),
    "relu6": (nn.relu6, jax.nn.relu6),
    "leaky_relu": (nn.leaky_relu, jax.nn.leaky_relu),
    "elu": (nn.elu, jax.nn.elu),
    "sigmoid": (nn.sigmoid, jax.nn.sigmoid),
    "log_sigmoid": (nn.log_sigmoid, jax.nn.log_sigmoid),
    "softplus": (nn.softplus, jax.nn.softplus),
    "silu": (nn.silu, jax.nn.silu),
    "swish": (nn.swish, jax.nn.swish),
    "gelu": (nn.gelu, jax.nn.gelu),
    "gelu exact": (lambda x: nn.gelu(x, approximate=False), lambda x: jax.nn.gelu(x, approximate=False)),
    "tanh": (nn.tanh, jnp.tanh),
}
LOGITS = {
    "softmax": (nn.softmax, jax.nn.softmax),
    "softmax 0": (lambda x: nn.softmax(x, axis=0), lambda x: jax.nn.softmax(x, axis=0)),
    "softmax of all": (lambda x: nn.softmax(x, axis=(0, 1)), lambda x: jax.nn.softmax(x, axis=(0, 1))),
    "softmax where": (lambda x: nn.softmax(x, where=MASK), lambda x: jax.nn.softmax(x, where=MASK)),
    "log_softmax": (nn.log_softmax, jax.nn.log_softmax),
    "log_softmax 0": (lambda x: nn.log_softmax(x, axis=0), lambda x: jax.nn.log_softmax(x, axis=0)),
    "logsumexp": (nn.logsumexp, jax.nn.logsumexp),
    "logsumexp 1": (lambda x: nn.logsumexp(x, axis=1), lambda x: jax.nn.logsumexp(x, axis=1)),
    "logsumexp keepdims": (
        lambda x: nn.logsumexp(x, 0, keepdims=True),
        lambda x: jax.nn.logsumexp(x, 0, keepdims=True),
    ),
    "logsumexp b": (lambda x: nn.logsumexp(x, 1, b=TWICE), lambda x: jax.nn.logsumexp(x, 1, b=TWICE)),
    "logsumexp where": (lambda x: nn.logsumexp(x, 1, where=MASK), lambda x: jax.nn.logsumexp(x, 1, where=MASK)),
}
ALL = ACTIVATIONS | LOGITS


@cache
def values_by_jax(bits):
    """All of them as one program: JAX takes long to compile each."""
    with width(bits):
        return jax.jit(lambda x: {name: theirs(x) for name, (_, theirs) in ALL.items()})(X.astype(f"f{bits // 8}"))


@pytest.mark.parametrize("name", ALL)
def test_values(name):
    ours, _ = ALL[name]
    check_equal(ours(gnp.asarray(X)), values_by_jax(32)[name], ulps=8)


@pytest.mark.parametrize("name", ALL)
def test_values_of_float64(name):
    ours, _ = ALL[name]
    with width(64):
        check_equal(ours(gnp.asarray(X.astype(np.float64))), values_by_jax(64)[name], ulps=64)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("x", [2.0, -1.5, 0.0])
def test_python_numbers(name, x):
    ours, theirs = ACTIVATIONS[name]
    check_equal(ours(x), theirs(x), ulps=8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives(name):
    ours, theirs = ACTIVATIONS[name]
    points = np.array([-3.0, -0.3, 0.0, 0.7, 5.5])
    with width(64):
        by_jax = jax.jit(lambda x: (jax.vmap(jax.grad(theirs))(x), jax.vmap(jax.grad(jax.grad(theirs)))(x)))(points)
        for x, first, second in zip(points.tolist(), *by_jax, strict=True):
            np.testing.assert_allclose(graphad.grad(ours)(x), first, rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(graphad.grad(graphad.grad(ours))(x), second, rtol=1e-8, atol=1e-12)


def test_the_exact_gelu_keeps_its_digits_in_the_tail():
    x = np.array([-37.0, -20.0, -12.0, -6.0, -2.0])
    below, bell = special.ndtr(x), np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
    exact = lambda x: nn.gelu(x, approximate=False)
    slopes = graphad.vmap(graphad.grad(exact))
    np.testing.assert_allclose(exact(x), x * below, rtol=1e-12)
    np.testing.assert_allclose(slopes(x), below + x * bell, rtol=1e-12)
    np.testing.assert_allclose(exact(x[2:].astype("f")), (x * below)[2:], rtol=3e-5)


@pytest.mark.parametrize("name", LOGITS)
def test_derivatives_of_logits(name):
    ours, theirs = LOGITS[name]
    x = X.astype(np.float64)

    def weighted(y):
        return (np.cos(np.arange(float(y.size))).reshape(y.shape) * y).sum()

    with width(64):
        got = graphad.grad(lambda x: weighted(ours(x)))(gnp.asarray(x))
        expected = jax.jit(jax.grad(lambda x: weighted(theirs(x))))(x)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp", "gelu", "relu"])
def test_compiled(name):
    ours, _ = ALL[name]
    np.testing.assert_allclose(graphad.jit(ours)(gnp.asarray(X)), ours(gnp.asarray(X)), rtol=1e-5, atol=1e-6)


def test_extreme_logits():
    inf = gnp.array([[-np.inf, 0.0], [-np.inf, -np.inf]])
    check_equal(nn.logsumexp(inf, axis=1), jax.nn.logsumexp(np.asarray(inf), axis=1), ulps=4)
    assert gnp.isnan(nn.relu(np.nan))
    assert nn.softmax(gnp.zeros((2, 0))).shape == (2, 0)
    np.testing.assert_array_equal(nn.softmax(gnp.array([1e38, -1e38])), [1.0, 0.0])


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("dtype", [None, "int32", "bool"])
def test_one_hot(axis, dtype):
    labels = np.int32([0, 2, 5, -1])
    check_equal(
        nn.one_hot(labels, 3, axis=axis, dtype=dtype), jax.nn.one_hot(labels, 3, axis=axis, dtype=dtype), ulps=0
    )


def test_one_hot_of_a_traced_label():
    np.testing.assert_array_equal(graphad.vmap(lambda k: nn.one_hot(k, 3))(gnp.arange(3)), np.eye(3))


def test_errors():
    with pytest.raises(ValueError, match=r"test_nn.py:\d+: one_hot takes num_classes >= 0"):
        nn.one_hot(0, -1)
    with pytest.raises(TypeError, match=r"test_nn.py:\d+: relu: expected an array or a number, not list: write"):
        nn.relu([1.0])
    with pytest.raises(ValueError, match=r"max got axis 3 for an array of 1 axes"):
        nn.softmax(gnp.ones(2), axis=3)
