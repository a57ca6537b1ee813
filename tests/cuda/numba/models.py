"""Programs whose kernels in Numba source are kept as golden files, line numbers included."""

from __future__ import annotations

import numpy as np

import graphad.numpy as gnp
from graphad import nn
from tests.cuda.programs import for_device_of


def gelu(x):
    return nn.gelu(x)


def softmax(x):
    return nn.softmax(x)


def sum_of_squares(x):
    return (x * x).sum()


def greatest_by_label(x, labels):
    return gnp.zeros(50, "float32").at[labels].max(x[:, 0])


def growth(x):
    return gnp.cumprod(x.reshape(-1))


def perceptron(w1, b1, w2, b2, x):
    return nn.relu(x @ w1 + b1) @ w2 + b2


def momentum(w, v, b, c, gw, gb):
    v, c = 0.9 * v + gw, 0.9 * c + gb
    return w - 0.1 * v, v, b - 0.1 * c, c


def arguments():
    """Function -> its arguments."""
    r = np.random.default_rng(0)
    shapes = {gelu: [(64, 48)], softmax: [(64, 48)], sum_of_squares: [(100_003,)], growth: [(50, 100)]}
    shapes[momentum] = [(50, 100), (50, 100), (102,), (102,), (50, 100), (102,)]
    shapes[perceptron] = [(48, 32), (32,), (32, 10), (10,), (64, 48)]
    made = {f: [r.standard_normal(s).astype(np.float32) for s in listed] for f, listed in shapes.items()}
    made[greatest_by_label] = [r.standard_normal((64, 48)).astype(np.float32), r.integers(0, 48, 64).astype(np.int32)]
    return made


def loop_program(function, args):
    """What the compiler makes of a function before it is dealt out."""
    program, _ = for_device_of(function, args)
    return program
