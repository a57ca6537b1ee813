"""``where=``: what lies behind the mask reaches neither values nor derivatives, whatever it is."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn

#: Every public function with a mask, found by its signature.
MASKED = {
    f"{place}.{name}": function
    for place, module in (("numpy", gnp), ("linalg", gnp.linalg), ("nn", nn), ("lax", lax))
    for name, function in vars(module).items()
    if callable(function) and not name.startswith("_") and not name.endswith("_") and not inspect.isclass(function)
    if "where" in inspect.signature(function).parameters
}
OF_TRUTHS = ("any", "all")
#: Rows of halves and integers: with ties, two elements that count, and none at all.
X = np.array([[1.5, -2.0, 1.5, 0.5], [2.0, 1.0, -1.0, 3.0], [0.5, 1.0, -0.5, 2.5], [-1.0, 3.0, 0.0, 3.0]])
MASK = np.array([[True, False, True, True], [False] * 4, [True, True, False, False], [True, True, True, True]])
HIDDEN = (1e30, -1e300, np.inf, -np.inf, np.nan)
WEIGHTS = np.array([[1.0, -0.5, 2.0, 0.25], [3.0, 1.0, -2.0, 0.5], [-1.0, 0.75, 1.0, 2.0], [0.5, 1.5, -1.0, 1.0]])


def hiding(value):
    return np.where(MASK, X, value)


def options(name):
    bare = name.split(".")[1].removeprefix("nan")
    return (
        {"initial": {"max": -np.inf, "min": np.inf}[bare[-3:]]}
        if bare[-3:] in ("max", "min") and "soft" not in bare
        else {}
    )


def called(name, mask, axis=-1):
    """The function of rows, and a loss of it: what belongs to elements behind the mask does not count."""
    function = MASKED[name]

    def f(x):
        return function(x, axis=axis, where=mask, **options(name))

    def loss(x, weights):
        y = f(x)
        counted = mask if y.shape == mask.shape else mask.any(axis)
        return gnp.sum(gnp.where(counted, y * (weights if y.shape == weights.shape else weights[..., 0]), 0))

    return f, loss


def derivatives(loss):
    gradient = graphad.grad(loss)

    def both(x, weights):
        return gradient(x, weights), graphad.grad(lambda x: gnp.sum(gnp.cos(weights) * gradient(x, weights)))(x)

    return both


def compressed(name):
    """Value and derivatives of the elements that count, row by row and without a mask."""
    values, first, second = [], np.zeros_like(X), np.zeros_like(X)
    for row, mask, weights, k in zip(X, MASK, WEIGHTS, range(4), strict=True):
        if not mask.any():
            continue
        function = MASKED[name]
        few, w = row[mask], weights[mask]

        def loss(x, w):
            y = function(x, axis=-1)
            return gnp.sum(y * w) if y.shape else y * weights[0]

        values.append(np.asarray(function(few, axis=-1)))
        first[k][mask], second[k][mask] = derivatives(loss)(few, w)
    return values, first, second


@pytest.mark.parametrize("name", MASKED)
def test_values(name):
    f, _ = called(name, MASK)
    expected = np.asarray(f(hiding(0.5)))
    counted = MASK if expected.shape == MASK.shape else MASK.any(1)
    for hidden in HIDDEN:
        with np.errstate(all="ignore"):
            got = np.asarray(f(hiding(hidden)))
        np.testing.assert_array_equal(got[counted], expected[counted], str(hidden))
        if expected.shape != MASK.shape or "softmax" in name:
            np.testing.assert_array_equal(got, expected, str(hidden))
    if name.split(".")[1] not in OF_TRUTHS:
        values = np.concatenate([np.ravel(y) for y in compressed(name)[0]])
        np.testing.assert_allclose(expected[counted], values, rtol=1e-14)


@pytest.mark.parametrize("name", [n for n in MASKED if n.split(".")[1] not in OF_TRUTHS])
def test_first_and_second_derivatives(name):
    """Eagerly, compiled, and row by row under `vmap`: 0 behind the mask, elsewhere as if that were not there."""
    both = derivatives(called(name, MASK)[1])
    compiled = graphad.jit(both)
    _, *expected = compressed(name)
    for hidden in HIDDEN:
        x = hiding(hidden)
        with np.errstate(all="ignore"):
            found = {"eager": both(x, WEIGHTS), "compiled": compiled(x, WEIGHTS), "vmap": by_row(name, x)}
        for how, results in found.items():
            for got, want in zip(results, expected, strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14, err_msg=f"{how}, {hidden}")


def by_row(name, x):
    def row(x, mask, weights):
        function = MASKED[name]

        def loss(x, weights):
            y = function(x, axis=-1, where=mask, **options(name))
            if not y.shape:
                return gnp.where(gnp.any(mask), y * weights[0], 0)
            return gnp.sum(gnp.where(mask, y * weights, 0))

        return derivatives(loss)(x, weights)

    return graphad.vmap(row)(x, MASK, WEIGHTS)


def test_the_results_of_rows_without_elements():
    nothing = np.array([False, False])
    for name in MASKED:
        if name.split(".")[1] in OF_TRUTHS:
            continue

        def total(x, name=name):
            return gnp.sum(MASKED[name](x, axis=-1, where=nothing, **options(name)))

        with np.errstate(all="ignore"):
            for x in ([1.0, 2.0], [np.inf, np.nan]):
                np.testing.assert_array_equal(graphad.grad(total)(np.array(x)), [0.0, 0.0], name)


@pytest.mark.parametrize("b", [[1.0, 0.0, 0.5], [0.0, 0.0, 2.0], [3.0, -1.0, 0.0]])
@pytest.mark.parametrize("compiled", [False, True])
def test_logsumexp_in_its_factors(b, compiled):
    """``d log(sum(b exp(x))) / db = exp(x) / sum``, where b is 0 too, and the mixed second derivatives."""
    x, b = np.array([0.5, -1.0, 2.0]), np.array(b)
    total = np.sum(b * np.exp(x))
    share = np.exp(x) / total
    wrap = graphad.jit if compiled else lambda f: f
    f = lambda b, x: nn.logsumexp(x, b=b)
    np.testing.assert_allclose(wrap(f)(b, x), np.log(total), rtol=1e-14)
    np.testing.assert_allclose(wrap(graphad.grad(f))(b, x), share, rtol=1e-14)
    np.testing.assert_allclose(wrap(graphad.grad(f, 1))(b, x), b * share, rtol=1e-14)
    (bb, bx), (xb, xx) = wrap(graphad.hessian(f, (0, 1)))(b, x)
    np.testing.assert_allclose(bb, -np.outer(share, share), rtol=1e-13)
    np.testing.assert_allclose(bx, np.diag(share) - np.outer(share, b * share), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(xb, np.asarray(bx).T, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(xx, np.diag(b * share) - np.outer(b * share, b * share), rtol=1e-13, atol=1e-15)


def test_logsumexp_leaves_out_what_is_counted_0_times():
    for hidden in (500.0, np.inf, np.nan, -np.inf):
        x, b = np.float32([1.0, hidden, 2.0]), np.float32([1.0, 0.0, 1.0])
        np.testing.assert_allclose(nn.logsumexp(x, b=b), np.log(np.exp(1) + np.exp(2)), rtol=1e-6)
        slopes = graphad.grad(lambda x, b=b: nn.logsumexp(x, b=b))(x)
        np.testing.assert_allclose(slopes, [0.26894143, 0.0, 0.7310586], rtol=1e-6)
    np.testing.assert_array_equal(
        graphad.grad(lambda b: nn.logsumexp(np.float32([0, 500]), b=b))(np.float32([1, 0])), [1, np.inf]
    )


@pytest.mark.parametrize("hidden", [1e30, np.inf, np.nan])
@pytest.mark.parametrize("by", ["lengths", "mask"])
def test_padding_of_attention(hidden, by):
    r = np.random.default_rng(5)
    q, k, v = (r.normal(size=(2, 4, 2, 3)) for _ in range(3))
    lengths = np.int32([3, 2])
    beyond = (np.arange(4) >= lengths[:, None])[:, :, None, None]
    keys = {"key_value_seq_lengths": lengths} if by == "lengths" else {"mask": ~np.moveaxis(beyond, 1, 3)}

    def loss(q, k, v):
        return gnp.sum(nn.dot_product_attention(q, k, v, query_seq_lengths=lengths, **keys) ** 2)

    both = graphad.value_and_grad(loss, (0, 1, 2))
    expected, spoiled = both(q, k, v), both(*[np.where(beyond, hidden, x) for x in (q, k, v)])
    np.testing.assert_array_equal(expected[0], spoiled[0])
    for x, y in zip(expected[1], spoiled[1], strict=True):
        np.testing.assert_array_equal(x, y)
        assert not np.any(np.where(beyond, y, 0))


def test_a_mask_of_attention_with_too_many_axes():
    x = np.ones((2, 3, 1, 4))
    with pytest.raises(ValueError, match=r"broadcasts its mask to \(B,N,T,S\), got bool\[1,1,2,2,3\]"):
        nn.dot_product_attention(x, x, x, mask=np.ones((1, 1, 2, 2, 3), bool))
