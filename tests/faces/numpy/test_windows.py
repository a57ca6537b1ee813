"""Windows, pooling and convolutions against JAX: values and gradients, eagerly and compiled."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from jax import lax

import graphad as ga
import graphad.numpy as gnp
from tests.faces.alike import check, same

X = np.random.default_rng(3).normal(size=(5, 7)).astype(np.float32)
IMAGE = np.random.default_rng(5).normal(size=(2, 8, 7, 3)).astype(np.float32)
WINDOWS = {
    "sum": lambda lax, np, x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 3, 1), (1, 2, 1, 1), "VALID"),
    "sum_same": lambda lax, np, x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 2, 1), (1, 2, 2, 1), "SAME"),
    "sum_same_lower": lambda lax, np, x: lax.reduce_window(x, 0.0, lax.add, (1, 4, 2, 1), (1, 1, 2, 1), "SAME_LOWER"),
    "max": lambda lax, np, x: lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME"),
    "max_overlapping": lambda lax, np, x: lax.reduce_window(x, -np.inf, lax.max, (1, 3, 3, 1), (1, 1, 2, 1), "VALID"),
    "min": lambda lax, np, x: lax.reduce_window(x, np.inf, lax.min, (1, 2, 1, 2), (1, 1, 1, 1), "VALID"),
    "max_ties": lambda lax, np, x: lax.reduce_window(
        np.maximum(x, 0), -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID"
    ),
    "padded": lambda lax, np, x: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 1, 1), [(0, 0), (1, 2), (-1, 0), (0, 0)]
    ),
    "dilated": lambda lax, np, x: lax.reduce_window(
        x, 0.0, lax.add, (1, 2, 2, 1), (1, 1, 2, 1), [(0, 0)] * 4, (1, 2, 3, 1), (1, 3, 2, 1)
    ),
    "dilated_same": lambda lax, np, x: lax.reduce_window(
        x, 0.0, lax.add, (1, 7, 3, 1), (1, 2, 2, 1), "SAME", (1, 2, 2, 1), (1, 1, 2, 1)
    ),
}
#: Computations without a primitive of their own: window, strides, padding, base dilation, window dilation.
COMBINED = {
    "overlapping": ((2, 3), (1, 1), "VALID", None, None),
    "apart": ((1, 2), (2, 3), "VALID", None, None),
    "padded": ((4, 7), (2, 1), "SAME", None, None),
    "cut": ((2, 2), (1, 1), [(1, -1), (0, 2)], None, None),
    "dilated": ((3, 2), (1, 2), [(2, 1), (0, 0)], (2, 1), (1, 3)),
    "none": ((6, 1), (1, 1), "VALID", None, None),
}
W = np.random.default_rng(6).normal(size=(3, 2, 3, 4)).astype(np.float32)
GROUPED = np.random.default_rng(7).normal(size=(3, 2, 1, 6)).astype(np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def general(lax, x, w, strides, padding, *args, **kwargs):
    return lax.conv_general_dilated(x, w, strides, padding, *args, **{"dimension_numbers": NHWC} | kwargs)


CONVOLUTIONS = {
    "same": (lambda lax, np, x, w: general(lax, x, w, (1, 1), "SAME"), W),
    "strided": (lambda lax, np, x, w: general(lax, x, w, (2, 3), "SAME"), W),
    "same_lower": (lambda lax, np, x, w: general(lax, x, w, (2, 1), "SAME_LOWER"), W),
    "dilated": (lambda lax, np, x, w: general(lax, x, w, (1, 2), [(2, 1), (-1, 3)], (2, 1), (1, 2)), W),
    "groups": (lambda lax, np, x, w: general(lax, x, w, (1, 1), "VALID", feature_group_count=3), GROUPED),
    "batch_groups": (
        lambda lax, np, x, w: general(lax, x, w, (1, 1), [(1, 0), (0, 0)], batch_group_count=2),
        W,
    ),
    "other_axes": (
        lambda lax, np, x, w: general(lax, x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "CWNH")),
        W,
    ),
    "default_axes": (
        lambda lax, np, x, w: lax.conv(x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), (1, 2), "SAME"),
        W,
    ),
    "general_padding": (
        lambda lax, np, x, w: lax.conv_with_general_padding(
            x[..., 0][:, None], w[..., :2, 0][None].transpose(0, 3, 1, 2)[:, :1], (2, 1), [(1, 2), (0, 1)], None, (2, 1)
        ),
        W,
    ),
    "one_axis": (
        lambda lax, np, x, w: lax.conv(x[:, :, 0].transpose(0, 2, 1), w[:, 0].transpose(2, 1, 0), (2,), "SAME"),
        W,
    ),
    "transposed": (lambda lax, np, x, w: lax.conv_transpose(x, w, (2, 3), "SAME"), W),
    "transposed_valid": (lambda lax, np, x, w: lax.conv_transpose(x, w, (2, 1), "VALID", (1, 2)), W),
    "transposed_kernel": (
        lambda lax, np, x, w: lax.conv_transpose(x, w.swapaxes(2, 3), (1, 2), "SAME", transpose_kernel=True),
        W,
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name):
    function, filters = CONVOLUTIONS[name]
    check(function, IMAGE, filters, tolerance=1e-4, argnums=(0, 1))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize(("n", "k"), [(7, 3), (3, 7), (6, 6), (5, 1), (8, 4)])
def test_sequences(mode, n, k):
    a, v = np.arange(n, dtype=np.float32), np.cos(np.arange(k, dtype=np.float32))
    same(gnp.convolve(a, v, mode), np.convolve(a, v, mode))
    same(gnp.correlate(a, v, mode), np.correlate(a, v, mode))
    integers = np.arange(n, dtype=np.int32)
    same(gnp.convolve(integers, integers[:k], mode), np.convolve(integers, integers[:k], mode))


def test_batches_of_both_operands():
    """vmap over both operands makes groups of batch elements: forwards, and of the gradient in either operand."""

    def mine(x, w):
        return ga.lax.conv(x, w, (1,), "SAME")

    def theirs(x, w):
        return lax.conv(x, w, (1,), "SAME")

    rng = np.random.default_rng(8)
    x, w = rng.normal(size=(3, 2, 4, 6)).astype(np.float32), rng.normal(size=(3, 5, 4, 3)).astype(np.float32)
    for axes in ((0, 0), (0, None), (None, 0)):
        args = [a if k is not None else a[0] for a, k in zip((x, w), axes)]
        same(ga.vmap(mine, axes)(*args), jax.jit(jax.vmap(theirs, axes))(*args), 1e-4)
        for which in (0, 1):
            got = ga.vmap(ga.grad(lambda *xs: (mine(*xs) ** 2).sum(), which), axes)(*args)
            same(got, jax.jit(jax.vmap(jax.grad(lambda *xs: (theirs(*xs) ** 2).sum(), which), axes))(*args), 1e-4)


def test_wrong_convolutions_say_what_to_do():
    with pytest.raises(ValueError, match="the same spatial ones in all three"):
        general(ga.lax, IMAGE, W, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHXC"))
    with pytest.raises(ValueError, match="Transpose an operand"):
        general(ga.lax, IMAGE, GROUPED, (1, 1), "SAME")
    with pytest.raises(ValueError, match="a positive one for each spatial axis"):
        general(ga.lax, IMAGE, W, (1,), "SAME")
    with pytest.raises(TypeError, match="dtypes must be equal"):
        general(ga.lax, IMAGE, W.astype(np.float64), (1, 1), "SAME")
    with pytest.raises(ValueError, match="only one count may be above 1"):
        general(ga.lax, IMAGE, W, (1, 1), "SAME", batch_group_count=3)
    with pytest.raises(ValueError, match="take 'full', 'same' or 'valid'"):
        gnp.convolve(X[0], X[0], "half")


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name):
    check(WINDOWS[name], IMAGE)


@pytest.mark.parametrize("name", COMBINED)
def test_windows_of_other_computations(name):
    settings = COMBINED[name]
    rounded = np.where(np.abs(X) < 0.3, 0, X)  # the derivative of a product is right where factors are zero
    check(lambda lax, np, x: lax.reduce_window(x, 1.0, lax.mul, *settings), rounded, grad=False)
    bits = np.arange(35, dtype=np.int32).reshape(5, 7) * 1234567
    for init, kind in ((-1, "and"), (0, "or"), (0, "xor")):
        check(
            lambda lax, np, x, init=init, kind=kind: lax.reduce_window(
                x, np.int32(init), getattr(lax, f"bitwise_{kind}"), *settings
            ),
            bits, grad=False,
        )  # fmt: skip
        if kind != "xor":
            got = ga.lax.reduce_window(X > 0, bool(init), getattr(ga.lax, f"bitwise_{kind}"), *settings)
            same(got, lax.reduce_window(X > 0, bool(init), getattr(lax, f"bitwise_{kind}"), *settings))


@pytest.mark.slow
def test_products_of_windows_have_derivatives():
    x = np.float32([1.5, -0.5, 0, 2, 0, 0, 3, -1, 0.5])

    def mine(v):
        return (ga.lax.reduce_window(v, 1.0, ga.lax.mul, (5,), (2,), "SAME") ** 2).sum()

    def theirs(v):
        padded = jax.numpy.pad(v, 2, constant_values=1)
        return sum(jax.numpy.prod(padded[k : k + 5]) ** 2 for k in range(0, 9, 2))

    same(ga.grad(mine)(x), jax.jit(jax.grad(theirs))(x))
    same(ga.jit(ga.hessian(mine))(x), jax.jit(jax.hessian(theirs))(x), 1e-4)
    batch = np.stack([x, x[::-1]])
    same(ga.vmap(ga.grad(mine))(batch), jax.jit(jax.vmap(jax.grad(theirs)))(batch))


def test_any_associative_function_combines_windows():
    """Neighbours stay in order, so the function need not commute."""
    x = X[0]
    logs = ga.lax.reduce_window(x, -np.inf, gnp.logaddexp, (3,), (1,), "VALID")
    same(logs, np.log(np.convolve(np.exp(x), np.ones(3, np.float32), "valid")))
    digits = np.arange(11, dtype=np.int32)
    last = ga.lax.reduce_window(digits, 0, lambda a, b: gnp.where(b != 0, b, a), (6,), (1,), "VALID")
    same(last, np.arange(5, 11, dtype=np.int32))


def test_a_window_starts_from_its_initial_value():
    got = ga.lax.reduce_window(X, 2.0, ga.lax.add, (2, 2), (1, 1), [(1, 0), (0, 0)])
    padded = np.pad(X, ((1, 0), (0, 0)), constant_values=2)
    same(got, 2 + padded[:-1, :-1] + padded[1:, :-1] + padded[:-1, 1:] + padded[1:, 1:])


def test_pooling():
    x = gnp.asarray(IMAGE)
    blocks = IMAGE[:, :, :6].reshape(2, 4, 2, 3, 2, 3)
    same(ga.nn.max_pool(x, (2, 2), (2, 2)), blocks.max((2, 4)))
    same(ga.nn.min_pool(x, (2, 2), (2, 2)), blocks.min((2, 4)))
    same(ga.nn.avg_pool(x, (2, 2), (2, 2)), blocks.mean((2, 4)))
    ones = gnp.ones((5, 1))
    same(ga.nn.avg_pool(ones, (3,), padding="SAME")[:, 0], np.array([2, 3, 3, 3, 2], np.float32) / 3)
    same(ga.nn.avg_pool(ones, (3,), padding=[(1, 1)], count_include_pad=False), np.ones((5, 1), np.float32))


def test_wrong_windows_say_what_to_do():
    with pytest.raises(TypeError, match="one of your own"):
        ga.lax.reduce_window(X, 1.0, "mul", (2, 2), (1, 1), "VALID")
    with pytest.raises(TypeError, match="must work element by element and keep the dtype"):
        ga.lax.reduce_window(X, 1.0, lambda a, b: (a * b).sum(), (2, 2), (1, 1), "VALID")
    with pytest.raises(TypeError, match="takes a scalar init_value"):
        ga.lax.reduce_window(X, np.ones(2), ga.lax.mul, (2, 2), (1, 1), "VALID")
    with pytest.raises(ValueError, match="give a positive one for each"):
        ga.lax.reduce_window(X, 0.0, ga.lax.add, (2,), (1, 1), "VALID")
    with pytest.raises(ValueError, match="take 'SAME', 'VALID'"):
        ga.lax.reduce_window(X, 0.0, ga.lax.add, (2, 2), (1, 1), "HALF")
    with pytest.raises(ValueError, match="add one for the channels"):
        ga.nn.max_pool(X, (2, 2))
