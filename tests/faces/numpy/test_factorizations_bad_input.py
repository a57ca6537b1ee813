"""Functions made of factorizations of what they cannot take: singular matrices, nan and infinity, wrong shapes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.trace.pytree import flatten
from tests.compose.tools import close
from tests.faces.numpy.factorization_cases import CASES, matrices
from tests.faces.oracle import width

RUN = {
    "eager": lambda f: f,
    "jit": graphad.jit,
    "vmap": graphad.vmap,
    "jit of vmap": lambda f: graphad.jit(graphad.vmap(f)),
}
EACH_WAY = pytest.mark.parametrize("way", RUN)
STACKED = [name for name, case in CASES.items() if not case.single]


def arrays(y):
    return [np.asarray(x) for x in flatten(y)[0]]


# ---------------------------------------------------------------------------------------------------------------------
# Elements that are not finite


@EACH_WAY
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", STACKED)
def test_a_matrix_that_is_not_finite_spoils_itself_alone(name, bad, way):
    """The others are the same to the last bit as without it."""
    x = np.stack([matrices(CASES[name].of, (5, 5), seed) for seed in range(4)])
    f = RUN[way](lambda x: CASES[name].function(gnp, x))
    expected = arrays(f(x))
    for at in ((0, 0), (4, 3), (2, 2)):
        spoilt = x.copy()
        spoilt[2][at] = spoilt[2].T[at] = bad
        for found, sound in zip(arrays(f(spoilt)), expected, strict=True):
            for k in (0, 1, 3):
                assert found[k].tobytes() == sound[k].tobytes()
            if np.isnan(bad) and name not in ("slogdet", "cholesky", "cholesky upper"):
                assert np.isnan(found[2]).any()
            if name.startswith(("svd", "eig", "norm")):
                assert np.isnan(found[2]).all()


@pytest.mark.parametrize("way", ["eager", "jit"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", STACKED)
def test_so_do_gradients(name, bad, way):
    x = np.stack([matrices(CASES[name].of, (4, 4), seed) for seed in range(3)])

    def number(x):
        return sum([(y * np.cos(1.0 + np.arange(y.size)).reshape(y.shape)).sum() for y in flatten(f(x))[0]])

    f = lambda x: CASES[name].function(gnp, x)
    gradient = RUN[way](graphad.grad(number))
    expected = np.asarray(gradient(x))
    assert np.isfinite(expected).all()
    spoilt = x.copy()
    spoilt[1, 2, 3] = spoilt[1, 3, 2] = bad
    found = np.asarray(gradient(spoilt))
    assert found[[0, 2]].tobytes() == expected[[0, 2]].tobytes()
    if np.isnan(bad):
        assert np.isnan(found[1]).any()


@EACH_WAY
def test_a_matrix_alone_is_as_in_a_stack(way):
    """To the last bit."""
    for name in STACKED:
        x = np.stack([matrices(CASES[name].of, (5, 5), seed) for seed in range(3)])
        f = graphad.jit if "jit" in way else lambda f: f
        one = f(lambda x, name=name: CASES[name].function(gnp, x))
        whole = arrays(RUN[way](lambda x, name=name: CASES[name].function(gnp, x))(x))
        for k in range(3):
            for found, expected in zip(arrays(one(x[k])), whole, strict=True):
                if name in ("det", "slogdet"):  # sums and products of one diagonal are added up in lanes
                    close(found, expected[k], 1e-15 * 4)
                else:
                    assert found.tobytes() == expected[k].tobytes(), name


@EACH_WAY
def test_matrices_that_are_not_positive_definite(way):
    """Their factors are nan, those of the others are not touched."""
    good = matrices("definite", (4, 4))
    zero, negative, late = np.zeros((4, 4)), -good, good.copy()
    late[3, 3] = -1.0
    holes = good.copy()
    holes[2, 1] = holes[1, 2] = np.nan
    endless = good.copy()
    endless[3, 0] = endless[0, 3] = np.inf
    for dtype in (np.float64, np.float32):
        x = np.stack([good, zero, negative, good, late, holes, endless]).astype(dtype)
        for upper in (False, True):
            found = np.asarray(RUN[way](lambda x, upper=upper: gnp.linalg.cholesky(x, upper=upper))(x))
            triangle = np.triu_indices(4) if upper else np.tril_indices(4)
            for k in (1, 2, 4, 5, 6):
                assert np.isnan(found[k][triangle]).all(), k
                assert np.isfinite(found[k]).sum() == 6
            expected = np.linalg.cholesky(good.astype(dtype))
            for k in (0, 3):
                close(found[k], expected.T if upper else expected, 1e-6)


@EACH_WAY
def test_nothing_finite_is_made_of_nan(way):
    """No function hides a matrix of nan."""
    x = np.full((2, 4, 4), np.nan)
    for name in STACKED:
        for found in arrays(RUN[way](lambda x, name=name: CASES[name].function(gnp, x))(x)):
            triangle = np.tril_indices(4) if name == "cholesky" else np.triu_indices(4)
            if name.startswith(("cholesky", "qr")) and found.shape == (2, 4, 4):
                found = found[(slice(None), *triangle)]
            assert np.isnan(found).all(), name


# ---------------------------------------------------------------------------------------------------------------------
# Singular matrices

SINGULAR = {
    "zeros": np.zeros((3, 3)),
    "equal rows": np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [0.0, 1.0, 1.0]]),
    "no column": np.array([[1.0, 0.0, 3.0], [4.0, 0.0, 3.0], [0.0, 0.0, 1.0]]),
}
LARGER = {name: np.kron(np.eye(2), x) for name, x in SINGULAR.items()}


@pytest.mark.parametrize("way", ["eager", "jit"])
@pytest.mark.parametrize("x", [*SINGULAR.values(), *LARGER.values()], ids=[*SINGULAR, *[f"2 {k}" for k in LARGER]])
def test_functions_of_singular_matrices(x, way):
    """Determinants are 0; inverses and solutions are not finite; what singular values tell is told."""
    run = RUN[way]
    assert float(run(gnp.linalg.det)(x)) == 0
    sign, log = arrays(run(gnp.linalg.slogdet)(x))
    assert (float(sign), float(log)) == (0, -np.inf)
    assert not np.isfinite(run(gnp.linalg.inv)(x)).all()
    assert not np.isfinite(run(lambda x: gnp.linalg.solve(x, x[0] + np.arange(len(x))))(x)).all()
    assert not np.isfinite(run(lambda x: gnp.linalg.matrix_power(x, -1))(x)).all()
    close(run(gnp.linalg.pinv)(x), np.linalg.pinv(x), 1e-12)
    assert int(run(gnp.linalg.matrix_rank)(x)) == np.linalg.matrix_rank(x)
    assert not run(gnp.linalg.cond)(x) < 1e15
    close(run(gnp.linalg.svdvals)(x), np.linalg.svd(x, compute_uv=False), 1e-12)
    q, r = arrays(run(gnp.linalg.qr)(x))
    close(q @ r, x, 1e-12)
    close(q.T @ q, np.eye(len(x)), 1e-12)


def test_singular_matrices_in_a_stack():
    """The others are untouched."""
    x = np.stack([matrices("square", (4, 4)), np.zeros((4, 4)), matrices("square", (4, 4), 1)])
    for function in (gnp.linalg.det, gnp.linalg.inv, lambda x: gnp.linalg.solve(x, x + 1), gnp.linalg.slogdet):
        for way in RUN.values():
            for found, sound in zip(arrays(way(function)(x)), arrays(way(function)(x[[0, 0, 2]])), strict=True):
                for k in (0, 2):
                    assert found[k].tobytes() == sound[k].tobytes()


def cofactors(x):
    """The derivative of the determinant."""
    n = len(x)
    minors = [[np.delete(np.delete(x, i, 0), j, 1) for j in range(n)] for i in range(n)]
    return np.array([[(-1) ** (i + j) * np.linalg.det(minors[i][j]) for j in range(n)] for i in range(n)])


@pytest.mark.parametrize("x", SINGULAR.values(), ids=SINGULAR)
def test_derivatives_of_small_determinants_that_are_zero(x):
    for run in (lambda f: f, graphad.jit):
        close(run(graphad.grad(gnp.linalg.det))(x), cofactors(x), 1e-12)
    graphad.check_grads(gnp.linalg.det, (x,), order=2)


@pytest.mark.parametrize("x", LARGER.values(), ids=LARGER)
def test_derivatives_of_larger_determinants_that_are_zero_are_nan(x):
    """As the docstring says."""
    assert np.isnan(graphad.grad(gnp.linalg.det)(x)).any()


# ---------------------------------------------------------------------------------------------------------------------
# Equal eigenvalues and singular values

ROTATION = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
EQUAL = {
    "identity": np.eye(4),
    "zeros": np.zeros((4, 4)),
    "pairs": np.diag([2.0, 2.0, 5.0, 5.0]),
    "turned": ROTATION @ np.diag([2.0, 2.0, 2.0, 7.0]) @ ROTATION.T,
}


@pytest.mark.parametrize("x", EQUAL.values(), ids=EQUAL)
def test_equal_eigenvalues(x):
    """Smooth functions of eigenvalues alone have their values and first derivatives."""
    for run in (lambda f: f, graphad.jit):
        found = run(gnp.linalg.eigh)(x)
        close(found.eigenvalues, np.linalg.eigvalsh(x), 1e-12)
        v = np.asarray(found.eigenvectors)
        close(v @ np.diag(found.eigenvalues) @ v.T, x, 1e-12)
        close(v.T @ v, np.eye(4), 1e-12)
        close(run(graphad.grad(lambda x: (gnp.linalg.eigvalsh(x) ** 2).sum()))(x), 2 * x, 1e-12)
        w, u = np.linalg.eigh(x)
        close(run(graphad.grad(lambda x: gnp.exp(gnp.linalg.eigvalsh(x)).sum()))(x), (u * np.exp(w)) @ u.T, 1e-11)


@pytest.mark.parametrize("x", EQUAL.values(), ids=EQUAL)
def test_equal_singular_values(x):
    for run in (lambda f: f, graphad.jit):
        found = run(gnp.linalg.svd)(x)
        close((np.asarray(found.U) * found.S) @ found.Vh, x, 1e-12)
        close(run(graphad.grad(lambda x: (gnp.linalg.svdvals(x) ** 2).sum()))(x), 2 * x, 1e-12)
        if x.any():
            close(run(graphad.grad(lambda x: gnp.linalg.norm(x, "nuc")))(x), np.eye(4), 1e-12)


def test_second_derivatives_at_equal_eigenvalues_are_not_finite():
    """Those of the single eigenvalues are infinite."""

    def f(x):
        return (gnp.linalg.eigvalsh(x) ** 2).sum()

    found = graphad.grad(lambda x: (graphad.grad(f)(x) * matrices("symmetric", (4, 4))).sum())(np.eye(4))
    assert not np.isfinite(found).all()


# ---------------------------------------------------------------------------------------------------------------------
# Wrong calls

V, A, B, STACK, S = gnp.ones(3), gnp.ones((3, 4)), gnp.ones((2, 3)), gnp.ones((2, 3, 4)), gnp.eye(3)
LINALG = gnp.linalg
SQUARE_ONLY = {
    name: getattr(LINALG, name) for name in ("cholesky", "eigh", "eigvalsh", "inv", "det", "slogdet", "matrix_power")
}
SQUARE_ONLY["matrix_power"] = lambda x: LINALG.matrix_power(x, -1)
SQUARE_ONLY["cond"] = lambda x: LINALG.cond(x, 1)
SQUARE_ONLY["solve"] = lambda x: LINALG.solve(x, x)
SQUARE_ONLY["pinv"] = lambda x: LINALG.pinv(x, hermitian=True)
SQUARE_ONLY["svd"] = lambda x: LINALG.svd(x, hermitian=True)
MATRICES = {name: getattr(LINALG, name) for name in ("qr", "svd", "svdvals", "pinv", "cond")}


def raised(call, error):
    """The message, which begins with the line of the call in this file."""
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert text.startswith("test_factorizations_bad_input.py:"), text
    assert text.count("test_factorizations_bad_input.py:") == 1
    return text


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", SQUARE_ONLY)
def test_square_matrices_are_asked_for(name, wrap):
    for x in (A, STACK, V, gnp.float32(2.0)):
        text = raised(lambda x=x: wrap(SQUARE_ONLY[name])(x), (TypeError, ValueError))
        assert "square" in text or "takes a matrix" in text or "takes matrices" in text, text


@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("name", MATRICES)
def test_matrices_are_asked_for(name, wrap):
    for x in (V, gnp.float32(2.0)):
        text = raised(lambda x=x: wrap(MATRICES[name])(x), (TypeError, ValueError))
        assert "matri" in text, text


WRONG = [
    (lambda: LINALG.solve(S, gnp.ones(4)), ValueError, "right sides of shape"),
    (lambda: LINALG.solve(S, gnp.ones((4, 2))), ValueError, "(..., 3, k), or one vector of 3 elements"),
    (lambda: LINALG.solve(gnp.ones((2, 3, 3)), gnp.ones((3, 3, 1))), (TypeError, ValueError), "solve got"),
    (lambda: LINALG.solve(S, [1.0, 2.0, 3.0]), TypeError, "write graphad.numpy.array"),
    (lambda: LINALG.solve(S, 2.0), ValueError, "right sides"),
    (lambda: LINALG.qr(A, "full"), ValueError, "takes mode 'reduced', 'complete' or 'r', not 'full'"),
    (lambda: LINALG.eigh(S, "l"), ValueError, "takes UPLO='L' or 'U', not 'l'"),
    (lambda: LINALG.eigvalsh(S, "l"), ValueError, "takes UPLO='L' or 'U', not 'l'"),
    (lambda: LINALG.slogdet(S, method="qr"), ValueError, "takes method='lu', or None"),
    (lambda: LINALG.lstsq(A, gnp.ones(4)), ValueError, "lstsq takes one matrix (m, n) and a right side (m,) or (m, k)"),
    (lambda: LINALG.lstsq(STACK, gnp.ones((2, 3))), ValueError, "lstsq takes one matrix"),
    (lambda: LINALG.tensorinv(A, 0), ValueError, "takes ind from 1 to 2"),
    (lambda: LINALG.tensorinv(A, 1), ValueError, "3 elements, the others 4"),
    (lambda: LINALG.tensorsolve(A, V), ValueError, "must have 3 elements together, but have 4"),
    (lambda: LINALG.cond(S, 3), ValueError, "got 3"),
    (lambda: LINALG.cond(S, "two"), ValueError, "got 'two'"),
    (lambda: graphad.grad(lambda x: LINALG.svd(x)[0].sum())(A), TypeError, "full_matrices=False"),
    (lambda: graphad.grad(lambda x: LINALG.qr(x, "complete")[0].sum())(A.T), TypeError, "mode='reduced'"),
    (lambda: LINALG.norm(gnp.ones((0, 3)), -2), ValueError, "empty"),
    (lambda: LINALG.cholesky("abc"), TypeError, "not str"),
    (lambda: LINALG.inv(None), TypeError, "not NoneType"),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_messages(call, error, message):
    assert message in raised(call, error)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="complex"):
        gnp.linalg.inv(np.eye(2, dtype=complex))


@pytest.mark.parametrize("bits", [32, 64])
def test_singular_inverses_are_finite_nowhere_that_jaxs_are_not(bits):
    x = np.stack([[[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0], [2.0, 3.0]], [[0.0, 0.0], [0.0, 1.0]]]).astype(f"f{bits // 8}")
    with width(bits):
        expected = jax.jit(jnp.linalg.inv)(x)
        for way in RUN.values():
            np.testing.assert_array_equal(np.isfinite(way(gnp.linalg.inv)(x)), np.isfinite(expected))
