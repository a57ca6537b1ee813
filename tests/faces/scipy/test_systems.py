"""Systems of equations in `graphad.scipy.linalg`, against SciPy's and JAX's, with derivatives."""

from __future__ import annotations

import jax.numpy as jnp
import jax.scipy.linalg as jax_linalg
import numpy as np
import pytest
import scipy.linalg as theirs

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as ours
from tests.compose.tools import close, count
from tests.faces.derived import check_like_jax
from tests.thinned import every

RNG = np.random.default_rng(29)
#: Of matrices and right sides.
SYSTEMS = [
    ((3, 3), (3,)), ((3, 3), (3, 2)), ((1, 1), (1,)), ((0, 0), (0,)), ((0, 0), (0, 2)), ((2, 3, 3), (2, 3, 1)),
    ((2, 3, 3), (3, 2)), ((3, 3), (2, 3, 2)), ((2, 1, 2, 2), (3, 2, 4)), ((0, 2, 2), (0, 2, 1)), ((3, 3), (3, 0)),
]  # fmt: skip


def normal(*shape):
    return RNG.normal(size=shape)


def dominant(*shape):
    return normal(*shape) + 3 * np.eye(shape[-1])


def positive(*shape):
    x = normal(*shape)
    return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])


def both(function):
    return lambda *xs: function(ours, *xs), lambda *xs: function(jax_linalg, *xs)


def columns(b):
    return b[:, None] if b.ndim == 1 else b


@pytest.mark.parametrize("shapes", SYSTEMS, ids=str)
def test_solve(shapes):
    a, b = dominant(*shapes[0]), normal(*shapes[1])
    check_like_jax(*both(lambda m, a, b: m.solve(a, b)), a, b)
    expected = np.linalg.solve(a, columns(b))
    close(ours.solve(a, b), expected[..., 0] if b.ndim == 1 else expected, 1e-10)


@pytest.mark.parametrize(("kind", "lower"), [("sym", True), ("her", False), ("pos", False), ("pos", True)])
@pytest.mark.parametrize("shapes", every(2, SYSTEMS[1:]), ids=str)
def test_solve_of_symmetric_matrices(shapes, lower, kind):
    """As the system of the matrix of which one triangle is read."""
    a, b = positive(*shapes[0]), normal(*shapes[1])

    def as_general(a, b):
        triangle = jnp.tril(a) if lower else jnp.triu(a)
        symmetric = triangle + triangle.mT - a * jnp.eye(a.shape[-1])
        return jax_linalg.solve(symmetric, b)

    check_like_jax(lambda a, b: ours.solve(a, b, lower, assume_a=kind), as_general, a, b)


@pytest.mark.parametrize("lower", [True, False])
def test_one_triangle_is_read(lower):
    a, b = positive(3, 3), normal(3)
    spoilt = a + (np.triu if lower else np.tril)(normal(3, 3), 1 if lower else -1)
    for kind in ("sym", "pos"):
        close(ours.solve(spoilt, b, lower, assume_a=kind), theirs.solve(spoilt, b, lower, assume_a=kind), 1e-12)
        graphad.check_grads(lambda a, b, kind=kind: ours.solve(a, b, lower, assume_a=kind), (spoilt, b), order=2)


def test_gradients_of_what_makes_a_matrix_are_as_jax_has_them():
    f = both(lambda m, x, b: m.solve(x @ x.mT + np.eye(3, dtype=x.dtype), b, assume_a="pos"))
    check_like_jax(*f, normal(3, 3), normal(3))


def test_a_factor_is_used_again():
    """Reverse mode, of a symmetric system too, factors a matrix once."""
    a, b = positive(3, 3), normal(3)
    for kind, name in (("gen", "lu"), ("sym", "lu"), ("pos", "cholesky")):
        graph = graphad.make_graph(graphad.grad(lambda a, kind=kind: gnp.sum(ours.solve(a, b, assume_a=kind))))(a)
        assert count(graph, name) == 1


def test_solve_what_has_no_solution():
    singular, indefinite = np.array([[1.0, 2.0], [2.0, 4.0]]), np.array([[1.0, 2.0], [2.0, 1.0]])
    assert not np.isfinite(ours.solve(singular, np.array([1.0, 3.0]))).any()
    assert np.isnan(ours.solve(np.stack([indefinite, np.eye(2)]), np.ones((2, 1)), assume_a="pos")[0]).all()
    close(ours.solve(np.stack([indefinite, np.eye(2)]), np.ones((2, 1)), assume_a="pos")[1], np.ones((2, 1)), 0.0)
    assert np.isnan(ours.solve(np.eye(2) * np.nan, np.ones(2))).all()
    assert np.isnan(ours.solve(np.eye(2), np.array([np.nan, 1.0]))[0])


@pytest.mark.parametrize("trans", every(2, [0, 1, 2, "N", "T", "C"]))
@pytest.mark.parametrize("flags", range(4))
def test_solve_triangular(trans, flags):
    options = {"trans": trans, "lower": bool(flags & 1), "unit_diagonal": bool(flags & 2)}
    for shapes in SYSTEMS[1:] if trans == 1 else SYSTEMS[:1]:
        a, b = dominant(*shapes[0]), normal(*shapes[1])
        check_like_jax(*both(lambda m, a, b: m.solve_triangular(a, b, **options)), a, b)
    close(ours.solve_triangular(dominant(3, 3) * 0 + np.eye(3), b := normal(3), **options), b, 0.0)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("shapes", every(2, SYSTEMS), ids=str)
def test_cho_solve(shapes, lower):
    """Also by the factor, which need have no zeros beside it."""
    a, b = positive(*shapes[0]), normal(*shapes[1])
    check_like_jax(*both(lambda m, a, b: m.cho_solve((a, lower), b)), a, b)
    expected = np.linalg.solve(a, columns(b))
    close(ours.cho_solve(ours.cho_factor(a, lower), b), expected[..., 0] if b.ndim == 1 else expected, 1e-10)


@pytest.mark.parametrize("trans", [0, 1])
@pytest.mark.parametrize("shapes", every(2, SYSTEMS), ids=str)
def test_lu_solve(shapes, trans):
    a, b = normal(*shapes[0]), normal(*shapes[1])
    a = a + 3 * np.eye(shapes[0][-1])[::-1]  # rows are exchanged
    if a.shape[-1]:  # JAX raises of matrices without elements
        check_like_jax(*both(lambda m, a, b: m.lu_solve(m.lu_factor(a), b, trans)), a, b, tolerance=1e-8)
    close(ours.lu_solve(ours.lu_factor(a), b, 2), ours.lu_solve(ours.lu_factor(a), b, 1), 0.0)
    expected = np.linalg.solve(np.swapaxes(a, -1, -2) if trans else a, columns(b))
    close(ours.lu_solve(ours.lu_factor(a), b, trans), expected[..., 0] if b.ndim == 1 else expected, 1e-9)


def test_factors_of_scipy():
    a, b = normal(4, 4), normal(4)
    close(ours.lu_solve(theirs.lu_factor(a), b), np.linalg.solve(a, b), 1e-10)
    spd = positive(4, 4)
    for lower in (True, False):
        close(ours.cho_solve(theirs.cho_factor(spd, lower), b), np.linalg.solve(spd, b), 1e-10)


@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (2, 2), (5, 5), (0, 0), (2, 4, 4), (0, 2, 2)], ids=str)
@pytest.mark.parametrize("name", ["inv", "det"])
def test_inverses_and_determinants(name, shape):
    order = 2 if name == "inv" or shape[-1] else 0  # JAX has no derivatives of the determinant 1
    check_like_jax(*both(lambda m, x: getattr(m, name)(x)), dominant(*shape), order=order)


def test_dtypes():
    x, b = np.array([[4, 1], [1, 3]]), np.ones(2)
    for dtype, wide in ((np.int32, np.float32), (np.float16, np.float16), (np.float32, np.float32)):
        a, right = x.astype(dtype), b.astype(dtype)
        found = (
            ours.solve(a, right),
            ours.solve(a, right, assume_a="pos"),
            ours.solve_triangular(a, right),
            ours.cho_solve(ours.cho_factor(a), right),
            ours.lu_solve(ours.lu_factor(a), right),
            ours.inv(a),
            ours.det(a),
        )
        assert {y.dtype for y in found} == {np.dtype(wide)}
    assert ours.solve(x.astype(np.float32), b).dtype == np.float64


X, B = np.eye(2), np.ones(3)
WRONG = {
    "sizes": (lambda: ours.solve(X, B), ValueError, r"solve got matrices of shape \(2, 2\) .* shape \(3, 1\)"),
    "not square": (lambda: ours.solve(np.ones((2, 3)), B), ValueError, "solve takes square matrices"),
    "a number": (lambda: ours.solve(X, 1.0), ValueError, "solve takes a right side"),
    "a kind": (lambda: ours.solve(X, B[:2], assume_a="diag"), ValueError, "solve takes assume_a='gen', .* not 'diag'"),
    "stacks": (lambda: ours.solve(np.ones((2, 2, 2)), np.ones((3, 2, 1))), TypeError, "which do not broadcast"),
    "a transposition": (lambda: ours.solve_triangular(X, B[:2], trans=3), ValueError, "trans=0, 1, 2, 'N', 'T' or 'C'"),
    "another one": (lambda: ours.lu_solve(ours.lu_factor(X), B[:2], trans=3), ValueError, "trans=0, 1 or 2, not 3"),
    "no pair": (lambda: ours.cho_solve(X[0, 0], B[:2]), TypeError, "the pair that cho_factor gives"),
    "pivots": (lambda: ours.lu_solve((X, np.arange(3)), B[:2]), ValueError, "as lu_factor gives them"),
    "pivots of floats": (lambda: ours.lu_solve((X, B[:2]), B[:2]), TypeError, "takes integers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_uses(case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=r"test_systems.py:\d+: .*" + message):
        call()
