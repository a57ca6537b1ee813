"""Small matrices, written out: against the graph that is not, and against NumPy; what is fused, and what is left."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api import stages
from graphad.backends.loops.ir import RoutineCall
from graphad.backends.lower.fuse import lower
from graphad.ir.evaluate import evaluate
from graphad.ir.types import f32, f64
from graphad.ir.verify import verify
from graphad.passes import UnrollMatrices
from graphad.primitives.linalg.cholesky import cholesky
from graphad.primitives.linalg.lu import lu
from graphad.primitives.linalg.matrices import LONG_STACK, SMALL, SMALL_IN_STACKS
from graphad.primitives.linalg.qr import qr
from graphad.primitives.linalg.triangular_solve import triangular_solve
from tests.cuda.devices import DEVICES
from tests.primitives.cases import program, samples_of
from tests.thinned import every

RNG = np.random.default_rng(0)
ROUTINES = (cholesky, lu, qr, triangular_solve)


def unrolled(graph):
    found = UnrollMatrices().run(graph)
    verify(found)
    return found


def remaining(graph):
    """Factorizations that are left, in regions too."""
    return [e.primitive for e in graph.eqns if e.primitive in ROUTINES] + [
        p for e in graph.eqns for r in e.regions for p in remaining(r)
    ]


def same(got, wanted, tolerance=1e-12):
    for a, b in zip(got, wanted, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        scale = np.abs(b[np.isfinite(b)]).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("primitive", ROUTINES, ids=lambda p: p.name)
def test_every_sample_is_the_reference(primitive, dtype):
    tolerance = 1e3 * np.finfo(dtype.numpy).eps
    for sample in samples_of(primitive, dtype):
        graph, args = program(primitive, sample, dtype)
        found = unrolled(graph)
        shape = args[0].shape
        is_small = all(0 < n <= SMALL for x in args for n in x.shape[-2:]) and 0 not in shape
        is_wide = primitive is triangular_solve and 0 < shape[-1] <= SMALL < max(args[1].shape[-2:])
        assert bool(remaining(found)) != (is_small or is_wide)
        same(evaluate(found, args), evaluate(graph, args), tolerance)


def spd(*lead, n=3):
    x = RNG.normal(size=(*lead, n, n))
    return x @ np.swapaxes(x, -1, -2) + n * np.eye(n)


def general(*lead, n=3):
    return RNG.normal(size=(*lead, n, n)) + n * np.eye(n)


def gaussian(a, x):
    """A log-density of vectors, up to a constant."""
    factor = gnp.linalg.cholesky(a)
    z = gnp.linalg.solve(factor, x[..., None])[..., 0]
    return -0.5 * gnp.sum(z * z) - gnp.sum(gnp.log(gnp.linalg.diagonal(factor)))


def mixed(a, x):
    """Slices, padding, concatenations, masks, sums over some axes, products with vectors, transpositions."""
    half = gnp.linalg.cholesky(a[..., :2, :2], symmetrize_input=False)
    both = gnp.concatenate([half, gnp.pad(half * 2.0, [(0, 0)] * (a.ndim - 2) + [(1, 0), (0, 1)])[..., 1:, 1:]], -1)
    inverse = gnp.linalg.inv(a)
    rows = gnp.sum(inverse * a.swapaxes(-1, -2), axis=-1) + gnp.sum(gnp.tril(inverse), axis=-2) * x
    return gnp.sum(rows * gnp.where(x > 0, x, gnp.sum(both, axis=(-2, -1))[..., None])) + gnp.linalg.det(a).sum()


PROGRAMS = {
    "gaussian": (gaussian, spd),
    "mixed": (mixed, spd),
    "inverse": (lambda a, x: gnp.sum(gnp.linalg.inv(a) ** 2 * x[..., None]), general),
    "solve": (lambda a, x: gnp.sum(gnp.linalg.solve(a, x[..., None]) ** 3), general),
    "qr": (
        lambda a, x: gnp.sum(gnp.sin(gnp.linalg.qr(a).Q @ x[..., None])) + gnp.sum(gnp.linalg.qr(a).R ** 2),
        general,
    ),
    "slogdet": (lambda a, x: gnp.sum(gnp.linalg.slogdet(a).logabsdet * x[..., 0]), general),
}


LEADS = [(), (1,), (7,), (2, 3), (20,)]


@pytest.mark.parametrize(("name", "lead", "n"), every(4, product(PROGRAMS, LEADS, [1, 2, 3, 5, 8]), several=True))
def test_programs_and_their_gradients(name, lead, n):
    f, make = PROGRAMS[name]
    if name == "mixed" and n < 2:
        return
    args = make(*lead, n=n), RNG.normal(size=(*lead, n))
    eager = graphad.value_and_grad(f, (0, 1))(*args)
    compiled = graphad.jit(graphad.value_and_grad(f, (0, 1)))(*args)
    same(graphad.tree.leaves(compiled), graphad.tree.leaves(eager), 1e-10)


def test_second_derivatives():
    f, make = PROGRAMS["gaussian"]
    args = make(4), RNG.normal(size=(4, 3))
    of = lambda wrap: wrap(graphad.grad(lambda *xs: gnp.sum(graphad.grad(f)(*xs) ** 2), (0, 1)))(*args)
    same(of(graphad.jit), of(lambda g: g), 1e-9)


def test_one_loop_over_the_stack_and_nothing_in_memory_between():
    f, make = PROGRAMS["solve"]
    made = graphad.jit(graphad.value_and_grad(f, (0, 1))).graph(make(50), RNG.normal(size=(50, 3)))
    program_ = lower(stages.simplify(made)).program
    assert len(program_.steps) == 1
    assert not [b for b in program_.buffers if b.role == "temporary"]


def test_one_failing_matrix_gives_nan_alone():
    a = np.stack([spd(n=3), -spd(n=3), np.full((3, 3), np.nan), spd(n=3), np.zeros((3, 3))])
    factors = np.asarray(graphad.jit(gnp.linalg.cholesky)(a))
    for k in (0, 3):
        np.testing.assert_allclose(factors[k], np.linalg.cholesky(a[k]), rtol=1e-13)
    for k in (1, 2, 4):
        assert np.isnan(factors[k][np.tril_indices(3)]).all()
        assert not factors[k][np.triu_indices(3, 1)].any()


@pytest.mark.parametrize("shape", [(3, 3), (5, 2), (2, 4), (8, 8), (4, 1), (1, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_qr_of_columns_of_every_size(shape, dtype):
    """Zeros, columns that depend on each other, and numbers whose squares are 0 or infinite; by LAPACK's signs."""
    x = RNG.normal(size=(8, *shape)).astype(dtype)
    large = dtype(np.sqrt(np.finfo(dtype).max)) * 8
    x[1] = 0
    x[2, :, 0] = 0
    x[3, 1:, 0] = 0
    x[4, 0, 0] = -0.0
    x[5] *= large
    x[6] /= large
    x[7, :, -1] = 2 * x[7, :, 0]
    f = graphad.jit(gnp.linalg.qr)
    assert not remaining(unrolled(stages.simplify(f.graph(x))))
    tolerance = 100 * np.finfo(dtype).eps
    for a, q, r in zip(x, *map(np.asarray, f(x)), strict=True):
        scale = np.abs(a).max() or 1
        np.testing.assert_allclose(q.T @ q, np.eye(q.shape[1]), atol=tolerance)
        np.testing.assert_allclose((q @ (r / scale)), a / scale, atol=tolerance)
        wanted = np.linalg.qr(a.astype(np.float64))[1] / scale
        sure = np.abs(np.diag(wanted)) > tolerance
        assert (np.sign(np.diag(r)) == np.sign(np.diag(wanted)))[sure].all()
    x[3, 0, 0] = np.nan
    q, r = map(np.asarray, f(x))
    assert np.isnan(r[3]).any()
    assert np.isfinite(r[[0, 1, 2, 4, 5, 6, 7]]).all()


def test_in_the_body_of_a_loop_matrices_are_numbers():
    """A Kalman filter: no step calls a routine, and the loop is one of scalar arithmetic."""

    def f(a, ys):
        def turn(p, y):
            gain = gnp.linalg.solve(p + gnp.eye(2), p)
            return a @ (p - gain @ p) @ a.T + 0.1 * gnp.eye(2), gnp.sum(gain) * y

        return gnp.sum(graphad.lax.scan(turn, gnp.eye(2, dtype=np.float64), ys)[1])

    args = np.array([[0.9, 0.1], [0.0, 0.8]]), RNG.normal(size=30)
    got = graphad.jit(graphad.value_and_grad(f))
    same(graphad.tree.leaves(got(*args)), graphad.tree.leaves(graphad.value_and_grad(f)(*args)), 1e-12)
    assert not remaining(stages.simplify(got.graph(*args)))


def test_larger_matrices_are_left_to_lapack():
    graph = graphad.make_graph(gnp.linalg.inv)(general(2, n=SMALL + 1))
    assert unrolled(stages.simplify(graph)) is stages.simplify(graph)
    assert any(isinstance(s, RoutineCall) for s in lower(stages.simplify(graph)).program.steps)


@pytest.mark.parametrize(
    ("f", "args"),
    [
        (lambda a: gnp.sum(gnp.linalg.cholesky(a) ** 2), [spd(LONG_STACK, n=SMALL_IN_STACKS)]),
        (lambda a, b: gnp.sum(gnp.linalg.solve(a, b) ** 2), [general(LONG_STACK, n=9), RNG.normal(size=(1, 9, 2))]),
    ],
)
def test_larger_matrices_in_long_stacks_are_written_out(f, args):
    args = [args[0], *[np.broadcast_to(b, (LONG_STACK, *b.shape[1:])).copy() for b in args[1:]]]
    gradient = graphad.value_and_grad(f, tuple(range(len(args))))
    got = graphad.jit(gradient)
    assert not remaining(stages.simplify(got.graph(*args)))
    same(graphad.tree.leaves(got(*args)), graphad.tree.leaves(gradient(*args)))
    assert remaining(stages.simplify(got.graph(*[x[1:] for x in args])))


def test_long_stacks_of_larger_matrices_that_are_left_to_lapack():
    for f, n in ((gnp.linalg.qr, SMALL + 1), (gnp.linalg.cholesky, SMALL_IN_STACKS + 1)):
        assert remaining(stages.simplify(graphad.make_graph(f)(spd(LONG_STACK, n=n))))


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("name", PROGRAMS)
def test_on_devices(name, device):
    f, make = PROGRAMS[name]
    args = [x.astype(np.float32) for x in (make(5), RNG.normal(size=(5, 3)))]
    moved = [graphad.device_put(x, device) for x in args]
    got = graphad.jit(graphad.value_and_grad(f, (0, 1)))(*moved)
    same(graphad.tree.leaves(got), graphad.tree.leaves(graphad.value_and_grad(f, (0, 1))(*args)), 1e-3)
