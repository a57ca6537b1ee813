"""Which routines programs of linear algebra call, how often, and what stands between the calls."""

from __future__ import annotations

import numpy as np
import pytest

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


def steps(f, *args):
    """The steps of the compiled program: names of routines, and kinds of other steps; those of loops too."""

    def named(program_steps):
        for step in program_steps:
            if isinstance(step, Repeat):
                yield from named(step.body)
            elif not isinstance(step, LoopNest):
                yield step.routine if isinstance(step, RoutineCall) else type(step).__name__

    return list(named(lower(stages.simplify(graphad.make_graph(f)(*args))).program.steps))


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


def test_values_in_loops():
    assert [s for s in steps(turns, X) if s != "Copy"] == ["svdvals"]
    close(graphad.jit(turns)(X), turns(X), 1e-12)
    assert steps(lambda x: gnp.linalg.matrix_rank(x), X) == ["svdvals"]
