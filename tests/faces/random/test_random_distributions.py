"""The distributions of `graphad.random` beside JAX's: the same expression, as text, evaluated with either.

JAX compiles each for seconds, so its numbers are kept in `tests/golden/jax_random.npz`. The slow tests draw them anew;
``pytest tests/faces/random/test_random_distributions.py -m "slow or not slow" --update-golden`` writes them.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import graphad
import graphad.numpy as gnp
from graphad import random
from tests.faces.random.test_random import layout
from tests.optimized import optimized

A = np.float32([0.02, 0.3, 1.0, 1.7, 30.0])
B = np.float32([0.5, 4.0, 1.0, 0.1, 7.0])
LOGITS = np.log(np.float32([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]))
ROOT = np.float32([[2.0, 0.0, 0.0], [-0.3, 1.1, 0.0], [0.5, 0.7, 0.4]])
COV, MEAN = ROOT @ ROOT.T, np.float32([1.0, -2.0, 0.5])

# Functions of even and of normal numbers; their results differ from JAX's by the rounding of logarithms and roots.
SMOOTH = [
    "exponential(key)", "exponential(key, (7,))", "exponential(key, (0, 3))", "gumbel(key, (40,))",
    "gumbel(key, (40,), mode='high')", "laplace(key, (41,))", "logistic(key, (9, 3))", "cauchy(key, (60,))",
    "truncated_normal(key, -2.0, 2.0, (80,))", "truncated_normal(key, A, A + 1)",
    "truncated_normal(key, 3.0, 3.5, (9,))",
    "pareto(key, A)", "pareto(key, 2.5, (50,))", "rayleigh(key, B)", "rayleigh(key, 2.0, (3, 5))",
    "weibull_min(key, 2.0, 1.5, (33,))", "weibull_min(key, A, B, (5,))", "lognormal(key)", "lognormal(key, B, (3, 5))",
    "triangular(key, -1.0, 0.5, 2.0, (33,))", "wald(key, B, (9, 5))", "maxwell(key, (31,))",
    "double_sided_maxwell(key, 1.0, 2.0, (12,))", "double_sided_maxwell(key, A, B, (2,))",
]  # fmt: skip

# Integers, signs and choices: equal.
EXACT = [
    "rademacher(key)", "rademacher(key, (31,))", "rademacher(key, (8,), 'float32')", "geometric(key, 0.3, (60,))",
    "geometric(key, A[:2])", "categorical(key, L)", "categorical(key, L, shape=(20, 2))", "categorical(key, L, axis=0)",
    "categorical(key, L[0], shape=(9,))", "categorical(key, L, 0, (4, 5, 3))", "categorical(key, L, mode='high')",
    "categorical(key, L, replace=False)", "categorical(key, L, shape=(3, 2), replace=False)",
    "categorical(key, L[1], shape=(3,), replace=False)", "choice(key, 5, (4,), False, B * 0.1)",
    "choice(key, A, (2, 2), False, B)", "choice(key, A[None], (3,), False, B, 1)", "choice(key, A, (9,), True, B)",
    "permutation(key, 9)", "poisson(key, 4.0, (50,))", "poisson(key, A)", "poisson(key, 0.0, (3,))",
    "poisson(key, 30.0, (40,))", "poisson(key, 1000.0, (50,))",
]  # fmt: skip

# Drawn again until accepted, and functions of those.
REJECTION = [
    "gamma(key, 3.0)", "gamma(key, A)", "gamma(key, A, (12, 5))", "gamma(key, 1.0, (60,))", "gamma(key, B, (0, 5))",
    "loggamma(key, A, (12, 5))", "beta(key, A, B, (8, 5))", "beta(key, 2.0, 3.0)", "dirichlet(key, A)",
    "dirichlet(key, B, (6,))", "t(key, B, (8, 5))", "t(key, 3.0)", "chisquare(key, B, (8, 5))", "f(key, B, B + 1)",
    "generalized_normal(key, 1.5, (33,))", "generalized_normal(key, 2.0)", "ball(key, 3)", "ball(key, 4, 1.0, (9,))",
]  # fmt: skip

MATRICES = [
    "multivariate_normal(key, M, C)", "multivariate_normal(key, M, C, (20,))", "orthogonal(key, 3)",
    "multivariate_normal(key, M, np.stack([C, 2 * C]), (5, 2))", "orthogonal(key, 4, (3,))", "orthogonal(key, 2, m=5)",
    "orthogonal(key, 5, m=2)",
]  # fmt: skip


ALL = {**dict.fromkeys([*SMOOTH, *REJECTION], 1e-5), **dict.fromkeys(MATRICES, 5e-5), **dict.fromkeys(EXACT, 0)}
WIDE = [*SMOOTH[::3], *REJECTION[::3], "poisson(key, 30.0, (20,))"]  # drawn in float64 as well
GOLDEN = Path(__file__).parents[2] / "golden" / "jax_random.npz"


@pytest.fixture(params=[False, True], ids=["older", "newer"], autouse=True)
def partitionable(request):
    with layout(request.param):
        yield request.param


#: For what is compared with `graphad.random` itself or with a distribution: `test_random` compiles both layouts.
one_layout = pytest.mark.parametrize("partitionable", [True], ids=["newer"], indirect=True)


@pytest.fixture(scope="module")
def jax_numbers(request):
    """What JAX gave, and what it gives if the golden file is being written."""
    update = request.config.getoption("--update-golden")
    numbers = {} if update else dict(np.load(GOLDEN))
    yield numbers
    if update:
        np.savez_compressed(GOLDEN, allow_pickle=False, **numbers)


@pytest.fixture
def jax_as_for_its_users():
    with optimized():
        yield


def drawn(expression, library):
    """The numbers that `expression` gives for one key."""
    named = {"np": np, "A": A, "B": B, "L": LOGITS, "M": MEAN, "C": COV}
    if library is jax:
        named = {k: v if k == "np" else jnp.asarray(v) for k, v in named.items()}
        named["key"], module = jax.random.PRNGKey(11), jax.random
    else:
        named["key"], module = random.key(11), random
    return np.asarray(eval(expression, {**vars(module), **named}))


def close(mine, theirs, rtol):
    mine, theirs = np.asarray(mine), np.asarray(theirs)
    assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("expression", ALL)
def test_like_jax(expression, partitionable, jax_numbers):
    close(drawn(expression, random), jax_numbers[f"{partitionable} {expression}"], ALL[expression])


@pytest.mark.parametrize("expression", WIDE)
def test_like_jax_in_64_bits(expression, partitionable, jax_numbers):
    """Normal numbers are as far off as JAX's inverse error function is."""
    with graphad.config.override(default_dtype_bits=64):
        close(drawn(expression, random), jax_numbers[f"{partitionable} 64 {expression}"], 1e-6)


@one_layout
def test_traced_parameters_draw_the_same_numbers():
    """A fixed number of rounds comes to what as many as it takes come to."""
    key = random.key(8)
    alpha, rates = np.linspace(0.05, 9, 400, dtype=np.float32), np.linspace(0, 60, 400, dtype=np.float32)

    def draw(key, a, rates):
        return random.gamma(key, a), random.loggamma(key, a[:3], dtype="float64"), random.poisson(key, rates)

    for got, expected in zip(graphad.jit(draw)(key, alpha, rates), draw(key, alpha, rates), strict=True):
        close(got, expected, rtol=1e-5)
    half = graphad.jit(lambda key: random.gamma(key, 2.0, (50,), "bfloat16"))(key)
    np.testing.assert_array_equal(half, random.gamma(key, 2.0, (50,), "bfloat16"))


@one_layout
@pytest.mark.parametrize("n", [0, 1, 3, 32])
def test_factors_of_traced_matrices(n):
    key = random.key(9)
    root = np.random.default_rng(0).normal(size=(n, n)).astype(np.float32)
    cov, mean = root @ root.T + np.eye(n, dtype=np.float32), np.arange(n, dtype=np.float32)

    def draw(c):
        return random.multivariate_normal(key, mean, c, (4,))

    close(graphad.jit(draw)(cov), draw(cov), 2e-5)
    if n == 3:
        with jax.threefry_partitionable(graphad.config.threefry_partitionable):
            slopes = jax.jacobian(
                lambda c: jax.random.multivariate_normal(jnp.asarray(np.asarray(random.key_data(key))), mean, c, (4,))
            )(cov)
        close(graphad.jacobian(draw)(cov), slopes, 1e-5)
        np.testing.assert_array_equal(graphad.jit(draw)(-cov), np.full((4, n), np.nan))
    if n:
        square = np.asarray(graphad.jit(lambda key: random.orthogonal(key, n, (2,)))(key))
        close(square, random.orthogonal(key, n, (2,)), 5e-5)
        np.testing.assert_allclose(square @ square.swapaxes(1, 2), np.stack([np.eye(n)] * 2), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("jax_as_for_its_users")
def test_jax_still_gives_these_numbers(request, partitionable, jax_numbers):
    for bits, expressions in ((32, ALL), (64, WIDE)):
        for expression in expressions:
            name = f"{partitionable} {'64 ' if bits == 64 else ''}{expression}"
            with jax.enable_x64(bits == 64):
                now = drawn(expression, jax)
            if request.config.getoption("--update-golden"):
                jax_numbers[name] = now
            close(jax_numbers[name], now, 1e-6)


TRACED = [*SMOOTH[1::3], *EXACT[:19], *EXACT[20:23:2], *REJECTION[1::6], *MATRICES[::4]]


@one_layout
@pytest.mark.parametrize("expression", TRACED)
def test_compiled_and_batched_over_keys(expression):
    def draw(key):
        named = {"np": np, "A": A, "B": B, "L": LOGITS, "M": MEAN, "C": COV, "key": key}
        return eval(expression, {**vars(random), **named})

    keys = random.split(random.key(3), 2)
    expected = np.stack([np.asarray(draw(key)) for key in keys])
    close(graphad.jit(graphad.vmap(draw))(keys), expected, rtol=1e-5)


def test_parameters_have_derivatives():
    """By moving the numbers: d/ds of s * z is z."""
    key = random.key(0)
    z = random.normal(key, (3,))
    slopes = graphad.jacobian(lambda s: random.lognormal(key, s, (3,)))(0.5)
    np.testing.assert_allclose(slopes, z * gnp.exp(0.5 * z), rtol=1e-5)
    mean, root = gnp.array([1.0, 2.0]), gnp.array([[2.0, 0.5], [0.5, 1.0]])
    moved = graphad.jacobian(lambda m: random.multivariate_normal(key, m, root))(mean)
    np.testing.assert_array_equal(moved, np.eye(2))


@one_layout
@pytest.mark.parametrize(
    ("draw", "distribution"),
    [
        (lambda k: random.gamma(k, 0.3, (3000,)), stats.gamma(0.3)),
        (lambda k: random.gamma(k, 8.0, (3000,)), stats.gamma(8.0)),
        (lambda k: random.beta(k, 2.0, 0.5, (3000,)), stats.beta(2.0, 0.5)),
        (lambda k: random.t(k, 4.0, (3000,)), stats.t(4.0)),
        (lambda k: random.chisquare(k, 3.0, (3000,)), stats.chi2(3.0)),
        (lambda k: random.truncated_normal(k, -1.0, 2.0, (3000,)), stats.truncnorm(-1.0, 2.0)),
        (lambda k: random.wald(k, 2.0, (3000,)), stats.invgauss(2.0)),
        (lambda k: random.triangular(k, 0.0, 0.25, 1.0, (3000,)), stats.triang(0.25)),
        (lambda k: random.maxwell(k, (3000,)), stats.maxwell()),
        (lambda k: (random.ball(k, 3, shape=(3000,)) ** 2).sum(-1) ** 1.5, stats.uniform()),
    ],
)
def test_numbers_have_their_distribution(draw, distribution):
    assert stats.kstest(np.asarray(draw(random.key(4)), np.float64), distribution.cdf).pvalue > 1e-3


def test_poisson_numbers_of_rates_that_are_none():
    rates = np.float32([np.nan, np.inf, -np.inf, -1, 0, 2])
    counts = np.asarray(random.poisson(random.key(4), rates))
    np.testing.assert_array_equal(counts[:5], [-1, -1, -1, -1, 0])
    np.testing.assert_array_equal(graphad.jit(random.poisson)(random.key(4), rates), counts)


@one_layout
def test_poisson_numbers_of_all_rates_at_once():
    """Small rates beside large ones: other numbers than JAX's, if any, within the same distribution."""
    rates = np.float32([0.5, 5.0, 9.99, 10.0, 50.0, 1e4])
    counts = np.asarray(random.poisson(random.key(4), rates, (4000, 6)))
    np.testing.assert_allclose(counts.mean(0), rates, rtol=0.06)
    np.testing.assert_allclose(counts.var(0), rates, rtol=0.12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_small_floats_stay_small_and_inside(dtype):
    key = random.key(1)
    x = random.truncated_normal(key, 0.0, 0.25, (3000,), dtype)
    assert x.dtype == np.dtype(dtype)
    assert (x > 0).all()
    assert (x < 0.25).all()
    assert (random.truncated_normal(key, -np.inf, -1.0, (300,), dtype) < -1).all()
    for draw in (
        random.gamma(key, 3.0, (9,), dtype),
        random.orthogonal(key, 2, (), dtype),
        random.laplace(key, (9,), dtype),
    ):
        assert draw.dtype == np.dtype(dtype)
        assert gnp.isfinite(draw).all()
    assert random.multivariate_normal(key, MEAN.astype(dtype), COV.astype(dtype)).dtype == np.dtype(dtype)


def test_orthogonal_in_float64():
    q = np.asarray(random.orthogonal(random.key(0), 5, (3,), "float64"))
    np.testing.assert_allclose(q @ q.swapaxes(-1, -2), np.broadcast_to(np.eye(5), (3, 5, 5)), atol=1e-14)


@one_layout
@pytest.mark.parametrize("method", ["cholesky", "eigh", "svd"])
def test_multivariate_normal_has_its_covariance(method):
    x = np.asarray(random.multivariate_normal(random.key(1), MEAN, COV, (20_000,), method=method))
    np.testing.assert_allclose(np.cov(x.T), COV, atol=0.1)
    np.testing.assert_allclose(x.mean(0), MEAN, atol=0.05)


WRONG = [
    (lambda k: graphad.grad(lambda a: random.beta(k, a, 1.0))(2.0), TypeError, "accepted depends on this parameter"),
    (lambda k: graphad.jit(lambda k: random.orthogonal(k, 33))(k), ValueError, "at most 32 columns, got 33"),
    (
        lambda k: graphad.jit(lambda c: random.multivariate_normal(k, MEAN, c, method="svd"))(COV),
        TypeError, "factors a traced matrix by method='cholesky' only",
    ),
    (lambda k: random.poisson(k, 2.0, dtype="float32"), TypeError, "poisson gives integers, not float32"),
    (lambda k: random.gumbel(k, mode="middle"), ValueError, "mode 'low' or 'high', got 'middle'"),
    (lambda k: random.exponential(k, (2,), "int32"), TypeError, "exponential gives floating-point numbers, not int32"),
    (lambda k: random.gamma(k, A, (3,)), TypeError, "which do not broadcast"),
    (lambda k: random.beta(k, A, 1.0, ()), ValueError, r"beta got shape \(\), to which its parameters"),
    (lambda k: random.dirichlet(k, 1.0), ValueError, "alpha with at least one axis"),
    (lambda k: random.categorical(k, LOGITS, shape=(4, 2), replace=False), ValueError, "cannot draw 4 of 3 categories"),
    (lambda k: random.multivariate_normal(k, MEAN, COV, method="lu"), ValueError, "'eigh' or 'svd', got 'lu'"),
    (lambda k: random.multivariate_normal(k, MEAN[:2], COV), ValueError, r"takes a mean \(..., n\) and a covariance"),
    (lambda k: random.wrap_key_data(gnp.arange(2)), TypeError, r"takes uint32\[..., 2\]"),
]  # fmt: skip


@one_layout
@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_wrong_uses_say_what_to_do(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong(random.key(0))
