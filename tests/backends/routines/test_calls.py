"""Which routines programs of linear algebra call, how often, and what stands between the calls."""

from __future__ import annotations

import numpy as np
import pytest
from graphad_kernels.cpu import lapack
from graphad_kernels.routines import ROUTINES

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as linalg
from graphad import lax
from graphad.api import stages
from graphad.backends.loops.ir import LoopNest, Repeat, RoutineCall
from graphad.backends.lower.fuse import lower
from tests.compose.tools import close

N = 12
RNG = np.random.default_rng(5)
X, D, E = RNG.normal(size=(N, N)), RNG.normal(size=N), RNG.normal(size=N - 1)


def program(f, *args):
    """The steps of the compiled program."""
    return lower(stages.simplify(graphad.make_graph(f)(*args))).program.steps


def steps(f, *args):
    """Names of routines, and kinds of other steps that are no loop nests; those of loops of steps too."""

    def named(steps):
        for step in steps:
            if isinstance(step, Repeat):
                yield from named(step.body)
            elif not isinstance(step, LoopNest):
                yield step.routine if isinstance(step, RoutineCall) else type(step).__name__

    return list(named(program(f, *args)))


def turns(x):
    """Singular values in a loop."""
    return lax.scan(lambda c, _: (c / 2, gnp.linalg.svdvals(c)), x, None, length=3)[1]


#: Functions of values that need no vectors, and what gives them; with a derivative too.
VALUES = {
    "svdvals": (lambda x: gnp.linalg.svdvals(x), "svdvals", "svd"),
    "svd": (lambda x: linalg.svd(x, compute_uv=False), "svdvals", "svd"),
    "norm 2": (lambda x: gnp.linalg.norm(x, 2), "svdvals", "svd"),
    "norm nuc": (lambda x: gnp.linalg.norm(x, "nuc"), "svdvals", "svd"),
    "cond": (lambda x: gnp.linalg.cond(x), "svdvals", "svd"),
    "eigvalsh": (lambda x: gnp.linalg.eigvalsh(x), "eigvalsh", "eigh"),
    "of a tall one": (lambda x: gnp.linalg.svdvals(x[:, :4]), "svdvals", "svd"),
    "inside": (lambda x: graphad.jit(gnp.linalg.svdvals)(x), "svdvals", "svd"),
    "batched": (lambda x: graphad.vmap(gnp.linalg.svdvals)(gnp.stack([x, x])), "svdvals", "svd"),
    "tridiagonal": (
        lambda x: linalg.eigh_tridiagonal(x[0], x[1, 1:], eigvals_only=True),
        "eigvalsh_tridiagonal",
        "eigh_tridiagonal",
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_vectors_are_computed_for_derivatives_alone(name):
    """And then once, for the value too; the gradient of values takes one product at most."""
    f, alone, whole = VALUES[name]
    assert steps(f, X) == [alone]
    found = steps(graphad.value_and_grad(lambda x: gnp.sum(f(x))), X)
    assert [s for s in found if s != "Gemm"] == [whole]
    assert len(found) <= 2
    close(graphad.jit(f)(X), f(X), 1e-12)


@pytest.mark.parametrize("name", VALUES)
def test_vectors_are_not_computed_outside_of_programs_either(name, monkeypatch):
    f, _, _ = VALUES[name]
    expected = graphad.jit(f)(X)
    monkeypatch.setattr(np.linalg, "eigh", None)
    of_values = np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda x, compute_uv: of_values(x, compute_uv=compute_uv))
    close(f(gnp.asarray(X)), expected, 1e-12)


def test_a_hessenberg_form_takes_no_orthogonal_matrix():
    assert steps(linalg.hessenberg, X) == ["hessenberg_form"]
    found, expected = graphad.jit(linalg.hessenberg)(X), linalg.hessenberg(X, calc_q=True)[0]
    close(found, expected, 1e-12)
    close(linalg.hessenberg(X), expected, 1e-12)


def test_values_in_loops():
    assert [s for s in steps(turns, X) if s != "Copy"] == ["svdvals"]
    close(graphad.jit(turns)(X), turns(X), 1e-12)
    assert steps(lambda x: gnp.linalg.matrix_rank(x), X) == ["svdvals"]


# ---------------------------------------------------------------------------------------------------------------------
# Factors and solutions

A, B, C = X @ X.T + N * np.eye(N), RNG.normal(size=N), RNG.normal(size=(N, 3))
SOLVE = "triangular_solve"


def number(f):
    return graphad.grad(lambda *xs: gnp.sum(gnp.sin(f(*xs))), (0, 1))


#: Functions of a matrix and a right side, and the routines that they call.
SOLUTIONS = {
    "two solutions": (lambda a, b: (gnp.linalg.solve(a, b), gnp.linalg.solve(a, 2 * b + 1)), ["lu"] + 4 * [SOLVE]),
    "a determinant too": (lambda a, b: (gnp.linalg.slogdet(a), gnp.linalg.solve(a, b)), ["lu", SOLVE, SOLVE]),
    "by a factor": (lambda a, b: linalg.cho_solve(linalg.cho_factor(a), b), ["cholesky", SOLVE, SOLVE]),
    "gradients": (number(gnp.linalg.solve), ["lu"] + 4 * [SOLVE]),
    "of a triangle": (number(lambda a, b: linalg.solve_triangular(a, b, lower=True)), [SOLVE, SOLVE]),
    "of a band": (number(lambda a, b: linalg.solve_banded((1, 2), a[:4], b)), ["banded_solve"] * 2),
    "of three": (number(lambda a, b: linalg.solve_banded((1, 1), a[:3], b)), ["tridiagonal_solve"] * 2),
}


@pytest.mark.parametrize("right", [B, C], ids=["vector", "columns"])
@pytest.mark.parametrize("name", SOLUTIONS)
def test_factors_and_solutions_are_computed_once(name, right):
    """Those of a gradient are of the transposed matrix, and serve both operands."""
    f, wanted = SOLUTIONS[name]
    called = ["lu" if s.startswith("lu") else s for s in steps(f, A, right)]
    assert sorted(s for s in called if s not in ("Gemm", "Copy", "argsort")) == sorted(wanted)
    for one, other in zip(graphad.tree.leaves(graphad.jit(f)(A, right)), graphad.tree.leaves(f(A, right)), strict=True):
        close(one, other, 1e-10)


@pytest.mark.parametrize("lower", [False, True])
def test_a_factor_is_of_the_triangle_that_is_read(lower):
    """No matrix is transposed, before or after."""
    (only,) = program(lambda a: linalg.cholesky(a, lower=lower), A)
    assert only.routine == "cholesky"
    assert len(program(lambda a: gnp.linalg.cholesky(a, upper=not lower, symmetrize_input=False), A)) == 1


def test_factors_are_not_transposed():
    """Neither those that are read as upper triangles, of stacks too."""

    def solved(a, b):
        return linalg.cho_solve((gnp.matrix_transpose(a), False), b)

    first, last = program(solved, A, C)
    assert first.routine == last.routine == SOLVE
    assert first.reads[0] == last.reads[0]
    close(graphad.jit(solved)(A, C), np.linalg.solve(np.tril(A) @ np.tril(A).T, C), 1e-9)
    assert len(program(graphad.vmap(solved), np.stack([A, X]), np.stack([C, C]))) == 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 3), (64, 64), (40, 513), (2000, 3), (1, 700), (1500, 1000)])
def test_workspaces_without_vectors_are_as_large_as_lapack_asks_for(m, n, dtype):
    x, work, integers, info = np.zeros(1, dtype), np.zeros(1, dtype), np.zeros(1, np.int32), np.zeros(1, np.int32)
    lapack.gesdd(lapack.NO, n, m, x, n, x, x, 1, x, 1, work, -1, integers, info)
    assert work[0] <= ROUTINES["svdvals"].extents(1, m, n, 0)[3]
    lapack.syevd(lapack.NO, lapack.LOWER, n, x, n, x, work, -1, integers, -1, info)
    assert work[0] <= ROUTINES["eigvalsh"].extents(1, n)[3]
    assert integers[0] == 1
    for what, name in ((lapack.NO, "eigvalsh_tridiagonal"), (lapack.VALUES, "eigh_tridiagonal")):
        *_, given, whole, _ = ROUTINES[name].extents(1, n)
        lapack.stevd(what, n, x, x, x, n, work, -1, integers, -1, info)
        assert work[0] <= given
        assert integers[0] <= whole


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 15, 16, 33, 64, 75, 76, 138, 513, 3000])
def test_workspaces_of_eigenvalues_are_as_large_as_lapack_asks_for(n, dtype):
    x, work, info = np.zeros(1, dtype), np.zeros(1, dtype), np.zeros(1, np.int32)
    for what, name in ((lapack.NO, "eigvals"), (lapack.VALUES, "eig")):
        *_, given, _ = ROUTINES[name].extents(1, n)
        lapack.geev(what, lapack.NO, n, x, n, x, x, x, n, x, 1, work, -1, info)
        assert work[0] <= given
