"""Whole programs that users run on a device: name, function, arguments."""

from __future__ import annotations

from functools import cache

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.lower.fuse import lower
from graphad.backends.traits import cuda_traits
from graphad.passes import applied

#: What lowering may assume of the emulated device.
EMULATED_TRAITS = cuda_traits(has_gemm=False, fast_math=False)


def gelu(x):
    return nn.gelu(x)


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / gnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-5)


def cross_entropy(logits, labels):
    return -gnp.mean(gnp.take_along_axis(nn.log_softmax(logits), labels[:, None], 1))


def mlp(params, x, labels):
    (w1, b1), (w2, b2) = params
    return cross_entropy(gnp.tanh(x @ w1 + b1) @ w2 + b2, labels)


def perceptron(params, x):
    (w1, b1), (w2, b2) = params
    return nn.relu(x @ w1 + b1) @ w2 + b2


def attention(q, k, v):
    return nn.softmax(q @ k.T / np.sqrt(q.shape[-1])) @ v


def mixture(means, log_scales, logits, x):
    z = (x[:, None] - means) * gnp.exp(-log_scales)
    parts = nn.log_softmax(logits) - log_scales - 0.5 * z * z - 0.9189385
    return gnp.sum(nn.logsumexp(parts, axis=1))


def nbody(positions):
    d = positions[:, None, :] - positions[None, :, :]
    r2 = gnp.sum(d * d, -1) + 0.01
    return -gnp.sum(1.0 / gnp.sqrt(r2))


def convolved(images, kernels):
    return lax.conv_general_dilated(images, kernels, (1, 1), "SAME")


def lenet(params, images, labels):
    (k1, k2, w, b) = params
    x = nn.relu(lax.conv_general_dilated(images, k1, (1, 1), "SAME"))
    x = lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
    x = nn.relu(lax.conv_general_dilated(x, k2, (1, 1), "VALID"))
    return cross_entropy(x.reshape(x.shape[0], -1) @ w + b, labels)


@cache
def programs():
    """Name -> (function, arguments)."""
    r = np.random.default_rng(0)

    def normal(*shape):
        return r.standard_normal(shape).astype(np.float32)

    x, labels = normal(64, 48), r.integers(0, 48, 64).astype(np.int32)
    layers = ((normal(48, 32), normal(32)), (normal(32, 48), normal(48)))
    images, digits = normal(4, 1, 8, 8), r.integers(0, 10, 4).astype(np.int32)
    net = (normal(3, 1, 3, 3), normal(5, 3, 3, 3), normal(20, 10), normal(10))
    total = lambda f: lambda *a: gnp.sum(f(*a) ** 2)
    return {
        "gelu": (gelu, (x,)),
        "gelu_gradient": (graphad.grad(lambda x: gelu(x).sum()), (x,)),
        "softmax": (nn.softmax, (x,)),
        "softmax_long": (nn.softmax, (normal(30000),)),
        "layer_norm": (layer_norm, (x,)),
        "layer_norm_gradient": (graphad.grad(lambda x: (layer_norm(x) * x).sum()), (x,)),
        "cross_entropy_gradient": (graphad.value_and_grad(cross_entropy), (x, labels)),
        "mlp_gradient": (graphad.value_and_grad(mlp), (layers, x, labels)),
        "perceptron": (perceptron, (layers, x)),
        "attention_gradient": (graphad.grad(total(attention), argnums=(0, 1, 2)), (x, normal(64, 48), normal(64, 48))),
        "mixture_gradient": (
            graphad.value_and_grad(mixture, argnums=(0, 1, 2)), (normal(5), normal(5), normal(5), normal(2000)),
        ),
        "nbody_forces": (graphad.grad(nbody), (normal(50, 3),)),
        "convolution_gradient": (graphad.grad(total(convolved), argnums=(0, 1)), (images, normal(3, 1, 3, 3))),
        "lenet_gradient": (graphad.value_and_grad(lenet), (net, images, digits)),
        "column_sums": (lambda x: x.sum(0), (normal(3000, 7),)),
        "column_sums_wide": (lambda x: x.sum(0), (normal(9, 5000),)),
        "sum": (lambda x: (x * x).sum(), (normal(100_003),)),
        "sum_of_rows": (lambda x: (x.sum(1) ** 2).sum(), (normal(70, 300),)),
        "cumulative": (lambda x: gnp.cumsum(x) + gnp.cumsum(x[::-1])[::-1], (normal(20_011),)),
        "cumulative_rows": (lambda x: gnp.cumsum(x, 1) * gnp.cumsum(x, 0), (x,)),
        "cumulative_product": (lambda x: gnp.cumprod(x), (1 + 1e-3 * normal(5000),)),
        "sort": (lambda x: gnp.sort(x, 1), (x,)),
        "argsort_long": (lambda x: gnp.argsort(x), (normal(5000),)),
        "take": (lambda x, i: x[i], (x, labels)),
        "scatter_add": (lambda x, i: gnp.zeros(50, "float32").at[i].add(x[:, 0]), (x, labels)),
        "take_gradient": (graphad.grad(lambda x, i: (x[i] ** 2).sum()), (x, labels)),
        "embedding_gradient": (graphad.grad(lambda x, i: (x[i, :3] ** 3).sum()), (x, labels)),
        "scatter_set": (lambda x, i: gnp.zeros((50, 48), "float32").at[i].set(x), (x, labels)),
        "scatter_max": (lambda x, i: gnp.zeros(50, "float32").at[i].max(x[:, 0]), (x, labels)),
        "normals": (lambda k: graphad.random.normal(k, (1001,)), (np.array([0, 7], np.uint32),)),
        "recurrences": (
            lambda x: (lax.cumlogsumexp(x), graphad.grad(lambda x: (lax.cummax(x) ** 2).sum())(x)), (normal(9001),),
        ),
        "transposed": (lambda x: (x.T * 2.0).reshape(-1), (x,)),
        "transposed_wide": (lambda x, y: x.T + y, (normal(67, 131), normal(131, 67))),
        "max_gradient": (graphad.grad(lambda x: x.max(1).sum()), (x,)),
    }  # fmt: skip


@cache
def lowered(name):
    """The CPU's loop program of one of `programs`, and its arguments as flat arrays."""
    return lowered_of(*programs()[name])


@cache
def for_device(name):
    """The loop program of one of `programs` for the emulated device, and its arguments as flat arrays."""
    return for_device_of(*programs()[name])


def lowered_of(function, args):
    """The CPU's loop program of a call, and its arguments as flat arrays."""
    return _of_call(function, args, lambda executable: executable.program)


def for_device_of(function, args):
    """The loop program of a call for the emulated device, and its arguments as flat arrays."""
    return _of_call(function, args, lambda e: lower(applied(e.graph, e.passes), e.name, traits=EMULATED_TRAITS).program)


def _of_call(function, args, program_of):
    run = graphad.jit(function)
    run(*args)
    (tree,) = run._trees.values()
    (path,) = tree.paths()
    leaves = graphad.tree.leaves(args)
    program = program_of(path.executable)
    inputs = [b for b in program.buffers if b.role == "input"]
    given = zip((*leaves, *path.captures), inputs, strict=True)
    return program, [np.ascontiguousarray(a, b.dtype.numpy).reshape(-1) for a, b in given]
