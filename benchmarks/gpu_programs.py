"""What `gpu.py` measures: programs in the names that graphad, JAX and PyTorch share, with their arguments.

A program is a function of `Names`, so that all libraries run the same text; where their names differ, `gpu_libraries`
says what they are. Elements are float32, labels int32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Names:
    """The functions of one library: ``numpy`` has those that are called alike everywhere."""

    numpy: Any
    row_max: Callable[[Any], Any]  # along the last axis, which stays as one of extent 1
    pick: Callable[[Any, Any], Any]  # from each row the element of a number
    relu: Callable[[Any], Any]
    conv: Callable[[Any, Any], Any]  # NCHW, OIHW, as large as the image
    pool: Callable[[Any], Any]  # the largest of 2 x 2
    sort: Callable[[Any], Any]


@dataclass(frozen=True)
class Program:
    """One row of the table for each size.

    Attributes
    ----------
    title
        What it is.
    function
        From the names of a library to a function of the arguments.
    sizes
        By what the table calls it, what `arguments` takes.
    quick
        A size for checking results.
    arguments
        From a generator of random numbers and a size to the arguments.
    wrt
        Arguments that the gradient of the function, a scalar, is taken for. Without any, the function itself is run.
    trains
        The function is the loss of a model whose parameters are its first argument: a whole step is run.
    burst
        Calls that are queued before the last is waited for; by default, as many as take two milliseconds.
    """

    title: str
    function: Callable[[Names], Callable[..., Any]]
    sizes: Mapping[str, Any]
    quick: Any
    arguments: Callable[[np.random.Generator, Any], tuple[Any, ...]]
    wrt: tuple[int, ...] = ()
    trains: bool = False
    burst: int | None = None


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.standard_normal(shape, np.float32) * np.float32(scale)


def labels(rng: np.random.Generator, count: int, classes: int) -> np.ndarray:
    return rng.integers(0, classes, count).astype(np.int32)


# ---- elementwise, rows, sums


def gelu(lib: Names):
    return lambda x: (0.5 * x * (1 + lib.numpy.tanh(0.7978845608 * (x + 0.044715 * x**3)))).sum()


def cross_entropy(lib: Names):
    def f(z, y):
        z = z - lib.row_max(z)
        return -(lib.pick(z, y) - lib.numpy.log(lib.numpy.exp(z).sum(1))).mean()

    return f


def layer_norm(lib: Names):
    def f(x, scale, shift, weights):
        d = x - x.mean(1)[:, None]
        y = d / lib.numpy.sqrt((d * d).mean(1)[:, None] + 1e-5) * scale + shift
        return (y * weights).sum()

    return f


def logistic(lib: Names):
    def f(w, x, y):
        z = x @ w
        return (lib.numpy.log1p(lib.numpy.exp(-lib.numpy.abs(z))) + lib.relu(z) - y * z).mean()

    return f


def nbody(lib: Names):
    def f(x):
        d = x[:, None, :] - x[None, :, :]
        return (1 / lib.numpy.sqrt((d * d).sum(2) + 0.01)).sum()

    return f


# ---- models


def perceptron(lib: Names):
    entropy = cross_entropy(lib)

    def f(params, x, y):
        *hidden, (w, b) = params
        for weights, bias in hidden:
            x = lib.relu(x @ weights + bias)
        return entropy(x @ w + b, y)

    return f


def perceptron_arguments(rng: np.random.Generator, size: tuple[int, ...]) -> tuple[Any, ...]:
    batch, *widths = size
    params = [(normal(rng, n, m, scale=(2 / n) ** 0.5), np.zeros(m, np.float32)) for n, m in pairwise(widths)]
    return params, normal(rng, batch, widths[0]), labels(rng, batch, widths[-1])


def lenet(lib: Names):
    entropy = cross_entropy(lib)

    def f(params, images, y):
        (k1, b1), (k2, b2), (w1, c1), (w2, c2) = params
        x = lib.pool(lib.relu(lib.conv(images, k1) + b1[:, None, None]))
        x = lib.pool(lib.relu(lib.conv(x, k2) + b2[:, None, None]))
        x = lib.relu(x.reshape(x.shape[0], -1) @ w1 + c1)
        return entropy(x @ w2 + c2, y)

    return f


def lenet_arguments(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, ...]:
    batch, side = size
    flat = 16 * (side // 4) ** 2
    shapes = ((6, 1, 5, 5), (16, 6, 5, 5), (flat, 120), (120, 10))
    scales = (0.2, 0.08, (2 / flat) ** 0.5, 0.13)
    params = [
        (normal(rng, *s, scale=k), np.zeros(s[0] if len(s) == 4 else s[1], np.float32))
        for s, k in zip(shapes, scales, strict=True)
    ]
    return params, normal(rng, batch, 1, side, side), labels(rng, batch, 10)


def attention(lib: Names, head: int = 64):
    """Self-attention written out: no library is told that it is one."""

    def f(x, wq, wk, wv, wo):
        batch, length, width = x.shape
        width_of_head = min(head, width)

        def heads(w):
            return (x @ w).reshape(batch, length, width // width_of_head, width_of_head).swapaxes(1, 2)

        scores = heads(wq) @ heads(wk).swapaxes(2, 3) / width_of_head**0.5
        weights = lib.numpy.exp(scores - lib.row_max(scores))
        mixed = weights @ heads(wv) / weights.sum(3)[..., None]
        y = mixed.swapaxes(1, 2).reshape(batch, length, width) @ wo
        return (y * y).mean()

    return f


def attention_arguments(rng: np.random.Generator, size: tuple[int, int, int]) -> tuple[Any, ...]:
    width = size[-1]
    return normal(rng, *size), *[normal(rng, width, width, scale=width**-0.5) for _ in range(4)]


# ---- the table


def vector(rng: np.random.Generator, size: int) -> tuple[Any, ...]:
    return (normal(rng, size),)


def matrix(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, ...]:
    return (normal(rng, *size),)


def layer_norm_arguments(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, ...]:
    return normal(rng, *size), normal(rng, size[1]), normal(rng, size[1]), normal(rng, *size)


def logistic_arguments(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, ...]:
    return normal(rng, size[1]), normal(rng, *size), (rng.random(size[0]) < 0.5).astype(np.float32)


def cross_entropy_arguments(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Any, ...]:
    return normal(rng, *size), labels(rng, *size)


_SQUARE = {"4096 x 4096": (4096, 4096)}
_ROWS = {"8192 x 1024": (8192, 1024)}
_PERCEPTRONS = {"128, 784-512-512-10": (128, 784, 512, 512, 10), "1024, 4 x 2048": (1024, 2048, 2048, 2048, 2048)}

PROGRAMS = (
    Program("add 1", lambda lib: lambda x: x + 1, {"1e8": 10**8}, 100, vector),
    Program("GELU, gradient", gelu, {"1e4": 10**4, "1e6": 10**6, "1e8": 10**8}, 1000, vector, (0,)),
    Program("cross entropy, gradient", cross_entropy, _ROWS, (24, 33), cross_entropy_arguments, (0,)),
    Program("layer norm, gradient", layer_norm, _ROWS, (24, 33), layer_norm_arguments, (0, 1, 2)),
    Program("sum of rows", lambda lib: lambda x: x.sum(1), _SQUARE, (24, 33), matrix),
    Program("sum of columns", lambda lib: lambda x: x.sum(0), _SQUARE, (24, 33), matrix),
    Program("sum of all", lambda lib: lambda x: x.sum(), _SQUARE, (24, 33), matrix),
    Program("cumsum", lambda lib: lambda x: lib.numpy.cumsum(x, 0), {"1e6": 10**6, "1e8": 10**8}, 3000, vector),
    Program("cumsum of rows", lambda lib: lambda x: lib.numpy.cumsum(x, 1), _SQUARE, (24, 133), matrix),
    Program("transpose and add", lambda lib: lambda x: x.T + x, _SQUARE, (40, 40), matrix),
    Program("sort", lambda lib: lib.sort, {"1e6": 10**6}, 300, vector),
    Program("sort of rows", lambda lib: lib.sort, {"65536 x 256": (65536, 256)}, (8, 50), matrix),
    Program("MLP, step", perceptron, _PERCEPTRONS, (8, 12, 9, 5), perceptron_arguments, trains=True),
    Program("LeNet, step", lenet, {"256 of 28 x 28": (256, 28)}, (2, 8), lenet_arguments, trains=True),
    Program(
        "attention, gradient", attention, {"8 x 512 x 512": (8, 512, 512)}, (2, 7, 8), attention_arguments,
        (0, 1, 2, 3, 4),
    ),
    Program("N-body, forces", nbody, {"8192": (8192, 3)}, (20, 3), matrix, (0,)),
    Program("logistic regression, gradient", logistic, {"1e5 x 32": (10**5, 32)}, (50, 7), logistic_arguments, (0,)),
    Program("small call, waited for", lambda lib: lambda x: x + 1, {"8": 8}, 8, vector, burst=1),
    Program("small call, queued", lambda lib: lambda x: x + 1, {"8": 8}, 8, vector, burst=500),
    Program(
        "small MLP, step", perceptron, {"16, 16-16-16-4": (16, 16, 16, 16, 4)}, (4, 5, 3), perceptron_arguments,
        trains=True, burst=200,
    ),
)  # fmt: skip
