"""Conjugate gradients: against SciPy's, JAX's and dense solves."""

from __future__ import annotations

import jax
import jax.scipy.sparse.linalg as theirs
import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import cg as scipy_cg

import graphad
import graphad.numpy as gnp
from graphad.scipy.sparse.linalg import cg
from tests.compose.tools import close, count, f64

RNG = np.random.default_rng(0)
ROOT = f64(RNG.normal(size=(6, 6)))
MATRIX = ROOT @ ROOT.T + np.eye(6)
RIGHT = f64(RNG.normal(size=6))
TIGHT = {"tol": 1e-12}


@pytest.mark.parametrize("form", ["matrix", "function"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_solves(form, dtype, preconditioned):
    A, b = MATRIX.astype(dtype), RIGHT.astype(dtype)
    M = np.diag(1 / np.diag(A)).astype(dtype) if preconditioned else None
    x, info = cg(A if form == "matrix" else lambda x: gnp.asarray(A) @ x, b, M=M, tol=1e-6, maxiter=100)
    assert info is None
    assert x.dtype == dtype
    assert np.linalg.norm(A @ np.asarray(x) - b) <= 1.1e-6 * np.linalg.norm(b)
    close(x, np.linalg.solve(MATRIX, RIGHT), 1e-4 if dtype is np.float32 else 1e-5)


def test_takes_as_many_steps_as_scipy():
    """It stops at the same step: after one less, neither is there."""
    steps = []
    scipy_cg(LinearOperator((6, 6), lambda x: MATRIX @ x), RIGHT, rtol=1e-3, callback=steps.append)
    for n in range(1, len(steps) + 3):
        wanted = scipy_cg(MATRIX, RIGHT, rtol=1e-3, maxiter=n)[0]
        close(cg(MATRIX, RIGHT, tol=1e-3, maxiter=n)[0], wanted, 1e-9)
    assert len(steps) > 2


def solved(m, solver, a, b, **options):
    A = MATRIX + m.exp(a)[:, None] * m.exp(a)
    return solver(lambda x: A @ x, b, tol=1e-12, **options)[0]


@pytest.mark.slow
def test_derivatives_as_jax():
    jnp = jax.numpy
    a, d = f64(RNG.normal(size=6)), f64(RNG.normal(size=6))

    def everything(m, ad, solver):
        f = lambda a: m.sum(solved(m, solver, a, a * RIGHT) ** 3)
        return {
            "value": solved(m, solver, a, RIGHT),
            "forward": ad.jvp(lambda a: solved(m, solver, a, a * RIGHT), (a,), (d,)),
            "gradient": ad.grad(f)(a),
            "hessian": ad.hessian(f)(a),
            "batch": ad.vmap(ad.grad(f))(m.stack([a, d, a * 0.5])),
            "compiled": ad.jit(ad.grad(f))(a),
        }

    got = everything(gnp, graphad, cg)
    with jax.enable_x64(True):
        wanted = everything(jnp, jax, theirs.cg)
    for mode, found in got.items():
        for x, y in zip(graphad.tree.leaves(found), jax.tree.leaves(wanted[mode]), strict=True):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), 1e-7, 1e-8, err_msg=mode)


def test_derivatives_by_differences():
    graphad.check_grads(lambda a, b: solved(gnp, cg, a, b), (f64(RNG.normal(size=6)), RIGHT), order=2, rtol=1e-4)
    graphad.check_vmap(lambda b: solved(gnp, cg, b, b), (f64(RNG.normal(size=(3, 6))),))


def test_containers():
    def A(x):
        return {"u": 2 * x["u"] + x["v"].sum(), "v": 3 * x["v"] + x["u"].sum() * gnp.ones((2, 2))}

    b = {"u": f64([1.0]), "v": f64(RNG.normal(size=(2, 2)))}
    x, _ = cg(A, b, {"u": f64([0.1]), "v": np.zeros((2, 2))}, **TIGHT)
    residual = graphad.tree.map(lambda p, q: p - q, A(x), b)
    for leaf in graphad.tree.leaves(residual):
        close(leaf, np.zeros(leaf.shape), 1e-9)


def test_start():
    solution = np.linalg.solve(MATRIX, RIGHT)
    assert graphad.grad(lambda s: cg(MATRIX, RIGHT, s)[0].sum())(solution).tolist() == [0.0] * 6
    close(cg(MATRIX, RIGHT, solution, maxiter=0)[0], solution, 1e-12)  # already there
    close(cg(MATRIX, RIGHT, 1e6 * solution, maxiter=0)[0], np.zeros(6), 1e-12)  # worse than zeros
    # Of a right side of zeros, as tangents may be, the solution is zeros, wherever it begins.
    assert cg(MATRIX, np.zeros(6), solution)[0].tolist() == [0.0] * 6
    starts = np.stack([solution, solution * 0, RIGHT])
    close(graphad.vmap(lambda s: cg(MATRIX, RIGHT, s, **TIGHT)[0])(starts), np.stack([solution] * 3), 1e-9)


def test_corners():
    assert cg(lambda x: x, gnp.zeros(0))[0].shape == (0,)
    close(cg(lambda x: 4 * x, 2)[0], np.float32(0.5))
    assert cg(np.eye(2), np.array([1, 2]))[0].dtype == np.float64
    assert cg(np.eye(2, dtype=int), np.array([1, 2]))[0].dtype == np.float32
    assert cg(lambda x: x, {})[0] == {}
    assert np.isnan(cg(lambda x: x * np.nan, f64([1.0, 2.0]))[0]).all()
    assert np.isnan(cg(MATRIX, RIGHT * np.nan)[0]).all()
    found = graphad.vmap(lambda b: cg(MATRIX, b, **TIGHT)[0])(np.stack([RIGHT, RIGHT * np.nan]))
    close(found[0], np.linalg.solve(MATRIX, RIGHT), 1e-9)
    assert np.isnan(found[1]).all()


def test_one_solve_for_each_direction():
    graph = graphad.make_graph(graphad.grad(lambda b: cg(MATRIX, b)[0].sum()))(RIGHT)
    assert count(graph, "custom_linear_solve") == 1  # the transpose alone: the value is not asked for


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cg(np.ones((2, 3)), np.ones(3)), ValueError, r"A is a square matrix or a function"),
        (lambda: cg(np.eye(2), np.ones(2), M=np.ones(2)), ValueError, r"M is a square matrix .* shape \(2,\)"),
        (lambda: cg(lambda x: x, (1.0, 2.0), 1.0), ValueError, "one structure"),
        (lambda: cg(lambda x: x, np.ones(2), np.ones(3)), ValueError, r"x0 has shapes \[\(3,\)\]"),
        (lambda: cg(lambda x: x[:1], np.ones(2)), TypeError, r"returns f64\[1\] .* but b is f64\[2\]"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()
