"""Products of 16-bit floats are multiplied as such on a GPU: with the CPU's results, which widens them first."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn, optim
from graphad.train import make_step

HALVES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
#: Neighbours of a number are so far from it at most.
ULP = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def normal(dtype, *shapes):
    r = np.random.default_rng(7)
    return [np.asarray(r.standard_normal(shape) / 4, HALVES[dtype]) for shape in shapes]


def agree(function, args, device, tolerance):
    want, got = (graphad.tree.leaves(graphad.jit(function, device=d)(*args)) for d in (None, device))
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = (np.asarray(x).astype(np.float64) for x in (a, b))
        scale = np.max(np.abs(b), initial=0.0, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize(
    ("m", "n", "k", "batch"), [(1, 97, 131, ()), (7, 13, 17, (3,)), (67, 65, 19, ()), (64, 64, 32, ())]
)
def test_products(m, n, k, batch, left, right, dtype, gpu):
    """Either way round, in batches, and of sizes that fit nothing."""
    x, y = normal(dtype, (*batch, *((k, m) if left else (m, k))), (*batch, *((n, k) if right else (k, n))))

    def function(x, y):
        return (gnp.swapaxes(x, -1, -2) if left else x) @ (gnp.swapaxes(y, -1, -2) if right else y)

    agree(function, (x, y), gpu, ULP[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_sizes_without_elements_and_terms(dtype, gpu):
    for shapes in (((0, 5), (5, 4)), ((3, 0), (0, 4)), ((2, 0, 5), (2, 5, 3))):
        agree(lambda x, y: x @ y, normal(dtype, *shapes), gpu, 0)


@pytest.mark.parametrize("dtype", HALVES)
def test_nan_and_what_is_too_large(dtype, gpu):
    x, y = normal(dtype, (33, 17), (17, 40))
    x[3, 4], x[5, 6], x[7, :], y[:, 8] = np.nan, np.inf, 240, 240  # 17 times 240 * 240 is too large for float16
    agree(lambda x, y: (x @ y, nn.relu(x @ y)), (x, y), gpu, ULP[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_wide_results_and_what_else_is_read(dtype, gpu):
    x, y = normal(dtype, (33, 17), (17, 40))

    def function(x, y):
        product = x.astype(np.float32) @ y.astype(np.float32)
        return product, product.astype(x.dtype), gnp.exp(x.astype(np.float32)), (x @ y).sum(0)

    agree(function, (x, y), gpu, ULP[dtype])


def layers(w, b, v, x):
    return gnp.tanh(x @ w + b) @ v


def attention(q, k, v):
    return nn.softmax(q @ k.T) @ v


def convolved(x, w):
    return lax.conv_general_dilated(x, w, (2, 1), "SAME")


ADJOINTS = {
    "layers": (layers, [(13, 31), (31,), (31, 11), (37, 13)]),
    "attention": (attention, [(33, 16), (40, 16), (40, 16)]),
    "convolution": (convolved, [(2, 3, 8, 8), (5, 3, 3, 3)]),
}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", ADJOINTS)
def test_adjoints(name, dtype, gpu):
    function, shapes = ADJOINTS[name]
    args = normal(dtype, *shapes)
    gradient = graphad.value_and_grad(lambda *a: gnp.sum(function(*a) ** 2), argnums=tuple(range(len(args))))
    agree(gradient, args, gpu, 4 * ULP[dtype])


@pytest.mark.parametrize("dtype", HALVES)
def test_training_steps(dtype, gpu):
    """What is computed in 16 bits updates parameters in float32."""
    x, w, b, v = (a.astype(np.float32) for a in normal(dtype, (37, 13), (13, 31), (31,), (31, 11)))
    wanted = np.tanh(x @ w + b) @ v + 1

    def loss(params, x, y):
        return gnp.mean((layers(*params, x) - y) ** 2)

    def train(device):
        step = make_step(loss, optim.sgd(0.25), precision=dtype)
        state, batch = (graphad.device_put(t, device) for t in (step.init((w, b, v)), (x, wanted)))
        losses = []
        for _ in range(4):
            state, value = step(state, batch)
            losses.append(float(value))
        return losses, [np.asarray(p) for p in state.params]

    (losses, params), (expected, on_cpu) = train(gpu), train("cpu")
    np.testing.assert_allclose(losses, expected, rtol=4 * ULP[dtype])
    assert losses[-1] < losses[0] / 2
    for got, want in zip(params, on_cpu, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, rtol=4 * ULP[dtype], atol=ULP[dtype] / 4)
