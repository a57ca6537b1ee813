"""Routines as graphs, run by NumPy: `eigh` and `svd` of matrices that are hard for Jacobi's method, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cpu.executable import compile_graph
from graphad.errors import LoweringError
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.types import aval, f32, f64
from graphad.passes import run
from graphad.primitives.linalg.cholesky import cholesky
from graphad.primitives.linalg.eigh import eigh
from graphad.primitives.linalg.lu import lu
from graphad.primitives.linalg.matrices import LARGEST
from graphad.primitives.linalg.qr import qr
from graphad.primitives.linalg.svd import svd
from graphad.primitives.linalg.triangular_solve import triangular_solve
from graphad.primitives.linalg.tridiagonal_solve import tridiagonal_solve
from tests.primitives.cases import all_primitives, assert_close, case_id
from tests.primitives.test_engines import all_samples

LEFT = {"left": True, "lower": True, "transposed": False, "unit": False}


def graph_of(primitive, *types, **params):
    builder = Builder()
    found = primitive(*[builder.input_ref(t) for t in types], **params)
    return builder.close([x.atom for x in (found if primitive.multiple else [found])])


def as_graph(primitive, *types, **params):
    graph = run(graph_of(primitive, *types, **params), "routines_as_graphs")
    assert primitive not in {e.primitive for e in graph.eqns}
    return graph


def expanded(graph):
    return run(graph, "routines_as_graphs,unroll_matrices")


def has_graph(primitive):
    """Whether something stands for it where there are no routines."""
    graph, _, _ = all_samples(primitive, f32, 1)
    return expanded(graph) != graph


GRAPHS = [p for p in all_primitives() if "linalg" in getattr(p.type_rule, "__module__", "") and has_graph(p)]


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("primitive", GRAPHS, ids=case_id)
def test_graphs_are_the_reference(primitive, dtype):
    graph, args, names = all_samples(primitive, dtype)
    with np.errstate(all="ignore"):
        found = evaluate(expanded(graph), args)
    for got, expected, sample in zip(found, evaluate(graph, args), names, strict=True):
        assert_close(np.asarray(got), expected, primitive, sample)


def test_these_are_all():
    """Those that stay have no form but LAPACK's."""
    routines = [p for p in all_primitives() if "linalg" in getattr(p.type_rule, "__module__", "")]
    assert {p.name for p in routines if p not in GRAPHS} == {
        "eig",
        "quasi_sqrt",
        "quasi_sylvester",
        "schur",
        "schur_rate",
    }


def orthogonal(rng, n):
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def hard(n):
    """Symmetric matrices: clusters, multiple and tiny eigenvalues, low rank, structure."""
    rng, at = np.random.default_rng(n), np.arange(n)
    q = orthogonal(rng, n)
    x = rng.normal(size=(n, n))
    yield from (x + x.T, np.zeros((n, n)), np.eye(n), np.ones((n, n)), np.eye(n)[::-1])
    for w in (np.where(at < n // 2, 1.0, 2.0), 10.0**-at, 1 + 1e-9 * rng.normal(size=n), np.where(at < 2, 1.0, 0.0)):
        yield (q * w) @ q.T
    scales = 10.0 ** -rng.integers(0, 8, n)
    yield scales[:, None] * (x + x.T) * scales
    yield np.exp(-0.5 * ((at[:, None] - at) / 3.0) ** 2)
    yield 1 / (1.0 + at[:, None] + at)
    yield 1e200 * (x + x.T)
    yield 1e-200 * (x + x.T)


def check_unitary(x, eps):
    n = x.shape[-1]
    assert np.abs(np.swapaxes(x, -1, -2) @ x - np.eye(n)).max() <= 8 * (n + 2) * eps


@pytest.mark.parametrize("n", [2, 3, 8, 13, pytest.param(40, marks=pytest.mark.slow)])
def test_eigenvalues_of_hard_matrices(n):
    a = np.stack(list(hard(n)))
    a = (a + np.swapaxes(a, -1, -2)) / 2
    v, w = evaluate(as_graph(eigh, aval(a.shape, f64)), [a])
    eps, size = np.finfo(float).eps, np.linalg.norm(a, 2, axis=(-2, -1))[:, None]
    check_unitary(v, eps)
    assert (np.diff(w) >= 0).all()
    assert (np.abs(w - np.linalg.eigvalsh(a)) <= 8 * (n + 2) * eps * size).all()
    assert (np.abs(a @ v - v * w[:, None]) <= 8 * (n + 2) * eps * size[..., None]).all()


@pytest.mark.parametrize(
    "shape", [(2, 2), (3, 3), (8, 8), (4, 9), (13, 13), pytest.param((40, 40), marks=pytest.mark.slow)]
)
def test_singular_values_of_hard_matrices(shape):
    rng, (m, n) = np.random.default_rng(1), shape
    x = rng.normal(size=shape)
    rows, columns = 10.0 ** -np.arange(m)[:, None], 10.0 ** -np.arange(n)
    others = [x, x * rows, x * columns, rng.normal(size=(m, 1)) * rng.normal(size=n), np.triu(np.ones(shape))]
    without = x.copy()
    without[:, 0] = 0
    a = np.stack([*[h[:m, :n] for h in hard(max(m, n))], *others, without])
    u, s, vt = evaluate(as_graph(svd, aval(a.shape, f64), full=False), [a])
    eps, size = np.finfo(float).eps, np.linalg.norm(a, 2, axis=(-2, -1))[:, None]
    check_unitary(u, eps)
    check_unitary(np.swapaxes(vt, -1, -2), eps)
    assert (np.diff(s) <= 0).all()
    assert (np.abs(s - np.linalg.svd(a, compute_uv=False)) <= 8 * (m + n) * eps * size).all()
    assert (np.abs((u * s[:, None]) @ vt - a) <= 8 * (m + n) * eps * size[..., None]).all()


def test_in_float32():
    a = np.stack(list(hard(9)))[:-2].astype(np.float32)
    v, w = evaluate(as_graph(eigh, aval(a.shape, f32)), [a])
    check_unitary(v.astype(float), np.finfo(np.float32).eps)
    assert np.abs(w - np.linalg.eigvalsh(a.astype(float))).max() < 1e-4


def test_where_pivots_are_zero():
    low = np.array([[0.0, 1, 1], [0, 2, 3], [0, 1, 0]])
    diagonal = np.array([[0.0, 2, 0], [1, 0, 1], [2, 1, 3]])  # the last matrix has two equal rows
    high = np.array([[1.0, 1, 0], [4, 5, 0], [1, 0, 0]])
    low[2, 1], diagonal[2, 1] = 2, 1
    each = zip(low, diagonal, high, strict=True)
    matrices = np.array([np.diag(d) + np.diag(x[1:], -1) + np.diag(h[:2], 1) for x, d, h in each])
    is_regular = np.abs(np.linalg.det(matrices)) > 1e-9
    assert set(is_regular) == {False, True}
    b = np.ones((3, 3, 1))
    graph = as_graph(tridiagonal_solve, *[aval((3, 3), f64)] * 3, aval(b.shape, f64))
    with np.errstate(all="ignore"):
        (x,) = evaluate(graph, [low, diagonal, high, b])
    assert np.isnan(x[~is_regular]).all()
    np.testing.assert_allclose(matrices[is_regular] @ x[is_regular], b[is_regular], atol=1e-12)


@pytest.mark.parametrize(
    ("primitive", "types", "params"),
    [
        (cholesky, [(8, 8)], {"upper": False}),
        (lu, [(3, 8)], {}),
        (qr, [(8, 2)], {"full": True}),
        (triangular_solve, [(8, 8), (8, 200)], LEFT),
    ],
)
def test_what_is_written_out_by_elements_stays(primitive, types, params):
    graph = graph_of(primitive, *[aval(shape, f32) for shape in types], **params)
    assert run(graph, "routines_as_graphs") == graph
    assert primitive not in {e.primitive for e in run(graph, "unroll_matrices").eqns}


def test_only_what_is_read_is_computed():
    values = run(graph_of(eigh, aval((12, 12), f64)), "routines_as_graphs")
    builder = Builder()
    w = eigh(builder.input_ref(aval((12, 12), f64)))[1]
    alone = run(builder.close([w.atom]), "routines_as_graphs")
    carried = [len(e.outputs) for g in (values, alone) for e in g.eqns if e.regions]
    assert carried == [5, 4]  # the vectors are not carried


def test_matrices_that_are_too_large():
    graph = graph_of(eigh, aval((LARGEST + 1, LARGEST + 1), f32))
    with pytest.raises(
        LoweringError, match="'eigh' needs LAPACK for more than 128 rows and columns, and here are 129; run"
    ):
        run(graph, "routines_as_graphs")


def test_one_matrix_is_no_batch_of_its_rows():
    """All axes of what the loop carries are as long as those of a batch could be; one value is made of elements."""
    graph = run(graph_of(svd, aval((5, 4), f64), full=False), "routines_as_graphs,unroll_matrices,simplify")
    a = np.random.default_rng(0).normal(size=(5, 4))
    for got, expected in zip(compile_graph(graph)(a), evaluate(graph, [a]), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected, atol=1e-12)
