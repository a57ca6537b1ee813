"""`gmres` and `bicgstab`: against SciPy's, JAX's, least squares over the Krylov space, and dense solves."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.scipy.sparse.linalg as jax_solvers
import numpy as np
import pytest
import scipy.sparse.linalg as scipy_solvers

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.errors import DifferentiationError
from graphad.scipy.sparse.linalg import bicgstab, gmres
from tests.compose.tools import close, count, f64
from tests.thinned import every

RNG = np.random.default_rng(0)
N = 8
MATRIX = f64(RNG.normal(size=(N, N))) + 4 * np.eye(N)
RIGHT = f64(RNG.normal(size=N))
SOLUTION = np.linalg.solve(MATRIX, RIGHT)
#: Near the inverse, and no symmetric matrix either.
NEAR = np.linalg.inv(MATRIX + 0.3 * f64(RNG.normal(size=(N, N))))

SOLVERS = {
    "bicgstab": bicgstab,
    "batched": gmres,
    "incremental": partial(gmres, solve_method="incremental"),
    "restarted": partial(gmres, restart=4),
    "restarted incremental": partial(gmres, restart=4, solve_method="incremental"),
}
every_solver = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


@every_solver
@pytest.mark.parametrize("form", every(2, ["matrix", "function"]))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_solves(solver, form, dtype, preconditioned):
    A, b = MATRIX.astype(dtype), RIGHT.astype(dtype)
    M = NEAR.astype(dtype) if preconditioned else None
    x, info = solver(A if form == "matrix" else lambda x: gnp.asarray(A) @ x, b, M=M, tol=2e-6)
    assert info is None or (info.dtype, int(info)) == (np.int32, 0)
    assert x.dtype == dtype
    assert np.linalg.norm(A @ np.asarray(x) - b) <= 3e-6 * np.linalg.norm(b)
    close(x, SOLUTION, 1e-4 if dtype is np.float32 else 1e-5)


@every_solver
def test_tells_a_matrix_from_its_transpose(solver):
    """Of a right side that is differentiated, the transpose is solved, with the transpose of the preconditioner."""
    for M in (None, NEAR, lambda x: gnp.matmul(NEAR, x)):
        found = graphad.grad(lambda b: gnp.vdot(solver(MATRIX, b, M=M, tol=1e-12)[0], RIGHT))(RIGHT)
        close(found, np.linalg.solve(MATRIX.T, RIGHT), 1e-9)


@pytest.mark.parametrize("form", ["matrix", "function"])
def test_the_transpose_is_preconditioned_by_the_transpose(form):
    """With the inverse, one step is enough, there and back; with that of the other it is not."""
    inverse = np.linalg.inv(MATRIX)
    M = inverse if form == "matrix" else lambda x: gnp.matmul(inverse.astype(np.float32), x.astype("float32"))
    tolerance = 1e-10 if form == "matrix" else 1e-5
    for solver in (partial(bicgstab, maxiter=1), partial(gmres, restart=1, maxiter=1)):
        close(solver(MATRIX, RIGHT, M=M, tol=1e-12)[0], SOLUTION, tolerance)
        found = graphad.grad(lambda b: gnp.vdot(solver(MATRIX, b, M=M, tol=1e-12)[0], RIGHT))(RIGHT)
        close(found, np.linalg.solve(MATRIX.T, RIGHT), tolerance)


# ---------------------------------------------------------------------------------------------------------------------
# Step by step


def krylov_minimum(A, b, steps, x0=None):
    """The least residual over the Krylov space, by NumPy's least squares."""
    start = np.zeros_like(b) if x0 is None else x0
    r = b - A @ start
    space = [r / np.linalg.norm(r)]
    for _ in range(steps - 1):
        w = A @ space[-1]
        basis = np.array(space)
        for _ in range(2):
            w = w - basis.T @ (basis @ w)
        space.append(w / np.linalg.norm(w))
    K = np.array(space).T
    return start + K @ np.linalg.lstsq(A @ K, r, rcond=None)[0]


@pytest.mark.parametrize("solve_method", ["batched", "incremental"])
def test_cycles_have_the_least_residual(solve_method):
    options = {"tol": 0.0, "solve_method": solve_method}
    for steps in range(1, N + 1):
        x, _ = gmres(MATRIX, RIGHT, restart=steps, maxiter=1, **options)
        close(x, krylov_minimum(MATRIX, RIGHT, steps), 1e-9)
    twice, _ = gmres(MATRIX, RIGHT, restart=3, maxiter=2, **options)
    close(twice, krylov_minimum(MATRIX, RIGHT, 3, krylov_minimum(MATRIX, RIGHT, 3)), 1e-9)


@pytest.mark.parametrize("maxiter", [1, 2, 5])
def test_cycles_as_scipy_and_jax(maxiter):
    wanted, _ = scipy_solvers.gmres(MATRIX, RIGHT, rtol=1e-14, restart=3, maxiter=maxiter)
    for solve_method in ("batched", "incremental"):
        options = {"tol": 1e-14, "restart": 3, "maxiter": maxiter, "solve_method": solve_method}
        close(gmres(MATRIX, RIGHT, **options)[0], wanted, 1e-9)
        with jax.enable_x64(True):
            close(jax_solvers.gmres(MATRIX, RIGHT, **options)[0], wanted, 1e-6)


def test_stabilized_steps_as_scipy_and_jax():
    """It stops at the same step: after one less, neither is there."""
    steps = []
    scipy_solvers.bicgstab(MATRIX, RIGHT, rtol=1e-3, callback=steps.append)
    for n in range(1, len(steps) + 3):
        wanted = scipy_solvers.bicgstab(MATRIX, RIGHT, rtol=1e-3, maxiter=n)[0]
        close(bicgstab(MATRIX, RIGHT, tol=1e-3, maxiter=n)[0], wanted, 1e-9)
        with jax.enable_x64(True):
            close(jax_solvers.bicgstab(MATRIX, RIGHT, tol=1e-3, maxiter=n)[0], wanted, 1e-9)
    assert len(steps) > 2
    # with a preconditioner
    wanted = scipy_solvers.bicgstab(MATRIX, RIGHT, rtol=1e-12, maxiter=2, M=NEAR)[0]
    close(bicgstab(MATRIX, RIGHT, tol=1e-12, maxiter=2, M=NEAR)[0], wanted, 1e-9)


def test_a_cycle_ends_where_its_residual_is_small_enough():
    x, info = gmres(np.diag([1.0, 1.0, 2.0, 2.0]), np.ones(4), solve_method="incremental", maxiter=1, tol=1e-12)
    close(x, [1, 1, 0.5, 0.5], 1e-12)  # two values of the matrix: two steps
    assert int(info) == 0
    loose, _ = gmres(MATRIX, RIGHT, solve_method="incremental", tol=0.3)
    steps = next(
        n for n in range(1, N) if np.linalg.norm(RIGHT - MATRIX @ krylov_minimum(MATRIX, RIGHT, n)) <= 0.3 * norm(RIGHT)
    )
    assert 0 < steps < N
    close(loose, krylov_minimum(MATRIX, RIGHT, steps), 1e-9)
    close(gmres(MATRIX, RIGHT, tol=0.3)[0], SOLUTION, 1e-9)  # all steps at once


def norm(x):
    return np.linalg.norm(np.asarray(x))


# ---------------------------------------------------------------------------------------------------------------------
# Derivatives


def solved(m, solver, a, b, **options):
    A = MATRIX + m.exp(a)[:, None] * m.cos(a)
    return solver(lambda x: A @ x, b, tol=1e-13, **options)[0]


def everything(m, ad, solver):
    a, d = f64(np.linspace(-1, 0.5, N)), f64(np.cos(np.arange(N)))
    f = lambda a: m.sum(solved(m, solver, a, a * RIGHT) ** 3)
    return {
        "value": solved(m, solver, a, RIGHT),
        "forward": ad.jvp(lambda a: solved(m, solver, a, a * RIGHT), (a,), (d,)),
        "gradient": ad.grad(f)(a),
        "hessian": ad.hessian(f)(a),
        "batch": ad.vmap(ad.grad(f))(m.stack([a, d, a * 0.5])),
        "compiled": ad.jit(ad.grad(f))(a),
    }


@cache
def densely():
    """By a dense solve, which JAX differentiates by itself."""
    with jax.enable_x64(True):
        return everything(jax.numpy, jax, lambda A, b, tol: (jax.numpy.linalg.solve(jax.jacfwd(A)(b), b), None))


@every_solver
def test_derivatives_as_of_a_dense_solve(solver):
    got = everything(gnp, graphad, solver)
    wanted = densely()
    for mode, found in got.items():
        for x, y in zip(graphad.tree.leaves(found), jax.tree.leaves(wanted[mode]), strict=True):
            np.testing.assert_allclose(np.asarray(x), np.asarray(y), 1e-7, 1e-8, err_msg=mode)


@every_solver
def test_derivatives_by_differences(solver):
    graphad.check_grads(
        lambda a, b: solved(gnp, solver, a, b), (f64(RNG.normal(size=N)) / 3, RIGHT), order=2, rtol=1e-4
    )
    graphad.check_vmap(lambda b: solved(gnp, solver, b, b), (f64(RNG.normal(size=(3, N))) / 3,))


@every_solver
def test_one_solve_for_each_direction(solver):
    graph = graphad.make_graph(graphad.grad(lambda b: solver(MATRIX, b)[0].sum()))(RIGHT)
    assert count(graph, "custom_linear_solve") == 1  # the transpose alone: the value is not asked for


@every_solver
def test_a_preconditioner_has_no_derivative(solver):
    """It changes how the solution is found, not the solution."""
    f = lambda m: solver(MATRIX, RIGHT, M=lambda x: m * x, tol=1e-10)[0].sum()
    assert float(graphad.grad(f)(0.25)) == 0.0


# ---------------------------------------------------------------------------------------------------------------------
# Operands and corners


@every_solver
def test_containers(solver):
    def A(x):
        return {"u": 2 * x["u"] + x["v"].sum(), "v": 3 * x["v"] - x["u"].sum() * gnp.ones((2, 2))}

    b = {"u": f64([1.0]), "v": f64(RNG.normal(size=(2, 2)))}
    x, _ = solver(A, b, {"u": f64([0.1]), "v": np.zeros((2, 2))}, tol=1e-12)
    for leaf in graphad.tree.leaves(graphad.tree.map(lambda p, q: p - q, A(x), b)):
        close(leaf, np.zeros(leaf.shape), 1e-9)
    grads = graphad.grad(lambda b: gnp.sum(solver(A, b, tol=1e-12)[0]["v"] ** 2))(b)
    assert {k: v.shape for k, v in grads.items()} == {"u": (1,), "v": (2, 2)}
    graphad.check_grads(lambda b: solver(A, b, tol=1e-13)[0], (b,), order=2)


@every_solver
def test_containers_of_several_dtypes(solver):
    def A(x):
        both = x["u"].sum() - x["v"].sum()
        return {"u": (3 * x["u"] + both).astype("float32"), "v": 4 * x["v"] - both}

    b = {"u": np.array([1.0, -2.0], np.float32), "v": f64([0.5, 2.0])}
    x, _ = graphad.jit(lambda b: solver(A, b, tol=1e-6))(b)
    assert {k: v.dtype for k, v in x.items()} == {"u": np.float32, "v": np.float64}
    matrix = f64([[4, 1, -1, -1], [1, 4, -1, -1], [-1, -1, 5, 1], [-1, -1, 1, 5]])
    close(np.concatenate([x["u"], x["v"]]), np.linalg.solve(matrix, [1.0, -2.0, 0.5, 2.0]), 1e-4)


@every_solver
@pytest.mark.parametrize("dtype", [np.float16, "bfloat16"])
def test_few_bits(solver, dtype):
    b = gnp.asarray(RIGHT, dtype)
    x, _ = solver(gnp.asarray(MATRIX, dtype), b, tol=0.02)
    assert x.dtype == b.dtype
    close(x.astype("float64"), SOLUTION, 0.03)


@every_solver
def test_start(solver):
    assert graphad.grad(lambda s: solver(MATRIX, RIGHT, s)[0].sum())(SOLUTION).tolist() == [0.0] * N
    close(solver(MATRIX, RIGHT, SOLUTION, maxiter=0)[0], SOLUTION, 1e-12)  # already there
    close(solver(MATRIX, RIGHT, 1e6 * SOLUTION, maxiter=0)[0], np.zeros(N), 1e-12)  # worse than zeros
    assert solver(MATRIX, np.zeros(N), SOLUTION)[0].tolist() == [0.0] * N
    starts = np.stack([SOLUTION, SOLUTION * 0, RIGHT])
    close(graphad.vmap(lambda s: solver(MATRIX, RIGHT, s, tol=1e-12)[0])(starts), np.stack([SOLUTION] * 3), 1e-9)


@every_solver
def test_corners(solver):
    assert solver(lambda x: x, gnp.zeros(0))[0].shape == (0,)
    close(solver(lambda x: 4 * x, 2)[0], np.float32(0.5))
    assert solver(np.eye(2), np.array([1, 2]))[0].dtype == np.float64
    assert solver(np.eye(2, dtype=int), np.array([1, 2]))[0].dtype == np.float32
    assert solver(lambda x: x, {})[0] == {}
    close(solver(lambda x: -3 * x, f64(RIGHT.reshape(2, 4)), tol=1e-12)[0], RIGHT.reshape(2, 4) / -3, 1e-12)
    assert np.isnan(solver(lambda x: x * np.nan, f64([1.0, 2.0]))[0]).all()
    assert np.isnan(solver(MATRIX, RIGHT * np.nan)[0]).all()
    assert np.isnan(solver(MATRIX, RIGHT * np.inf)[0]).all()
    found = graphad.vmap(lambda b: solver(MATRIX, b, tol=1e-12)[0])(np.stack([RIGHT, RIGHT * np.nan]))
    close(found[0], SOLUTION, 1e-9)
    assert np.isnan(found[1]).all()


@every_solver
def test_batches_of_matrices(solver):
    """Each member goes on until it is there by itself."""
    scales = f64([1.0, 0.01, 30.0])
    found = graphad.jit(graphad.vmap(lambda s, b: solver(MATRIX + s * np.diag(np.arange(N)), b, tol=1e-12)[0]))(
        scales, np.stack([RIGHT, -RIGHT, RIGHT**2])
    )
    for s, b, x in zip(scales, [RIGHT, -RIGHT, RIGHT**2], found, strict=True):
        close(x, np.linalg.solve(MATRIX + s * np.diag(np.arange(N)), b), 1e-9)


def test_a_rotation_stops_bicgstab_and_not_gmres():
    turn = f64([[0.0, -1.0], [1.0, 0.0]])
    stopped, _ = bicgstab(turn, f64([1.0, 0.0]))
    assert np.isfinite(stopped).all()
    close(gmres(turn, f64([1.0, 0.0]))[0], [0.0, -1.0], 1e-12)


@pytest.mark.parametrize("solve_method", ["batched", "incremental"])
def test_what_gmres_says_of_its_end(solve_method):
    solve = partial(gmres, solve_method=solve_method)
    assert int(solve(MATRIX, RIGHT)[1]) == 0
    assert int(solve(MATRIX, RIGHT, restart=2, maxiter=3, tol=1e-12)[1]) == 3
    assert int(solve(MATRIX, RIGHT * np.nan)[1]) == -1
    infos = graphad.vmap(lambda b: solve(MATRIX, b)[1])(np.stack([RIGHT, RIGHT * np.nan, RIGHT * 0]))
    assert infos.tolist() == [0, -1, 0]
    # A cyclic shift: the residual of a cycle that is shorter than the matrix is that of its start. It ends at once.
    shift = np.roll(np.eye(6), 1, 0)
    x, info = solve(shift, np.eye(6)[0], restart=5)
    assert (x.tolist(), int(info)) == ([0.0] * 6, 1)
    close(solve(shift, np.eye(6)[0], restart=6)[0], np.eye(6)[5], 1e-12)


@pytest.mark.parametrize("solve_method", ["batched", "incremental"])
def test_singular_systems_have_finite_solutions(solve_method):
    """The least residual there is, and a solution where there is one."""
    flat = np.diag([2.0, 1.0, 0.0])
    x, info = gmres(flat, f64([2.0, 3.0, 0.0]), solve_method=solve_method, tol=1e-12)
    close(x, [1.0, 3.0, 0.0], 1e-9)
    assert int(info) == 0
    x, info = gmres(flat, f64([2.0, 3.0, 1.0]), solve_method=solve_method)
    assert np.isfinite(x).all()
    assert int(info) > 0
    x, info = gmres(np.zeros((2, 2)), np.ones(2), solve_method=solve_method)
    assert (x.tolist(), int(info)) == ([0.0, 0.0], 1)


def test_a_preconditioner_may_be_a_solver():
    """A loop of known length is linear, and can be transposed."""
    D = np.diag(MATRIX)

    def sweeps(r):
        return lax.fori_loop(0, 3, lambda _, x: x + (r - gnp.matmul(MATRIX, x)) / D, r / D)

    for solver in (bicgstab, gmres):
        found = graphad.grad(lambda b: gnp.vdot(solver(MATRIX, b, M=sweeps, tol=1e-12)[0], RIGHT))(RIGHT)
        close(found, np.linalg.solve(MATRIX.T, RIGHT), 1e-9)


@pytest.mark.parametrize("name", ["gmres", "bicgstab"])
def test_errors_say_what_to_do(name):
    solver = {"gmres": gmres, "bicgstab": bicgstab}[name]
    wrong = [
        (lambda: solver(np.ones((2, 3)), np.ones(3)), ValueError, f"{name}: A is a square matrix or a function"),
        (lambda: solver(np.eye(2), np.ones(2), M=np.ones(2)), ValueError, rf"{name}: M is a square .* shape \(2,\)"),
        (lambda: solver(lambda x: x, (1.0, 2.0), 1.0), ValueError, f"{name}: x0 is .* one structure"),
        (lambda: solver(lambda x: x, np.ones(2), np.ones(3)), ValueError, rf"{name}: x0 has shapes \[\(3,\)\]"),
        (lambda: solver(lambda x: x[:1], np.ones(2)), TypeError, r"returns f64\[1\] .* but b is f64\[2\]"),
        (lambda: solver(np.eye(2), np.ones(2), M=lambda x: x * x), DifferentiationError, f"{name}: M must be linear"),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(ValueError, match=r"gmres got solve_method='qr'; it takes 'batched' and 'incremental'"):
        gmres(np.eye(2), np.ones(2), solve_method="qr")
    with pytest.raises(ValueError, match="gmres takes restart >= 1, got 0"):
        gmres(np.eye(2), np.ones(2), restart=0)
