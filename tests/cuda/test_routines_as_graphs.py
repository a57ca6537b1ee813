"""Factorizations on the device, where graphs stand for routines: samples, values and gradients, bad input, faces."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
import graphad.scipy.linalg as gsl
from graphad import lax
from graphad.api.stages import default_pipeline
from graphad.backends.cuda.run.executable import compile_graph
from graphad.errors import LoweringError
from graphad.ir.primitive import PRIMITIVES
from graphad.ir.types import DTYPES, f32, f64
from graphad.passes import applied
from tests.cuda.devices import DEVICES
from tests.primitives.cases import assert_close, run
from tests.primitives.test_engines import all_samples

DEVICE = DEVICES[0].name
#: Those that have a graph; each with a function of one square matrix that calls it.
FUNCTIONS = {
    "banded_solve": lambda a: gsl.solve_banded((1, 0), gnp.stack([a[..., 0, :] + 2, a[..., -1, :]], -2), a),
    "cholesky": lambda a: gnp.linalg.cholesky(gnp.matmul(a, gnp.swapaxes(a, -1, -2)) + gnp.eye(a.shape[-1])),
    "cholesky_adjoint": lambda a: graphad.grad(
        lambda x: gnp.sum(gnp.linalg.cholesky(gnp.matmul(x, gnp.swapaxes(x, -1, -2)) + gnp.eye(x.shape[-1])))
    )(a),
    "cholesky_tangent": lambda a: graphad.jvp(
        lambda x: gnp.linalg.cholesky(gnp.matmul(x, gnp.swapaxes(x, -1, -2)) + gnp.eye(x.shape[-1])), (a,), (a * a,)
    )[1],
    "eigh": gnp.linalg.eigh,
    "eigh_tridiagonal": lambda a: gsl.eigh_tridiagonal(gnp.diagonal(a, 0, -2, -1), a[..., 1:, 0] + 1),
    "hessenberg": lambda a: gsl.hessenberg(a, calc_q=True),
    "hessenberg_rate": lambda a: graphad.jvp(lambda x: gsl.hessenberg(x, calc_q=True), (a,), (a * a,))[1],
    "hessenberg_reflectors": lambda a: lax.linalg.hessenberg(graphad.lax.stop_gradient(a)),
    "householder_product": lambda a: lax.linalg.householder_product(a, a[..., 0, :] / (1 + a.shape[-1])),
    "lu": lambda a: lax.linalg.lu(a)[0],
    "lu_by_columns": gnp.linalg.inv,
    "qr": gnp.linalg.qr,
    "svd": lambda a: gnp.linalg.svd(a[..., 1:], full_matrices=False),
    "triangular_solve": lambda a: lax.linalg.triangular_solve(a, a * a, left_side=True, lower=True),
    "tridiagonal_solve": lambda a: lax.linalg.tridiagonal_solve(a[..., 0], a[..., 0] + 4, a[..., -1], a),
}
#: Those whose samples take long to compile, and are made of the others.
SLOW = "banded_solve", "cholesky", "cholesky_adjoint", "cholesky_tangent", "eigh_tridiagonal", "triangular_solve"


def with_sums(function):
    """The results, and the gradient of a sum of them in which no two elements count alike."""

    def weighted(a):
        found = graphad.tree.leaves(function(a))
        total = sum([gnp.sum(x * gnp.cos(gnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)) for x in found])
        return total, found

    return graphad.value_and_grad(weighted, has_aux=True)


def matrices(shape, dtype):
    """Far from singular, with singular values and eigenvalues far from each other."""
    rng = np.random.default_rng(3)
    n = shape[-1]
    return (0.3 * rng.normal(size=shape) / np.sqrt(max(n, 1)) + np.diag(1.0 + np.arange(n))).astype(dtype)


def on_both(function, a):
    return [graphad.tree.leaves(graphad.jit(function, device=d)(a)) for d in (DEVICE, "cpu")]


def check_alike(function, a, rtol):
    got, expected = on_both(function, a)
    assert len(got) == len(expected) > 0
    for x, y in zip(got, expected, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        size = np.max(np.abs(y[np.isfinite(y)]), initial=1.0)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * size)


def check_samples(name, dtype):
    graph, args, names = all_samples(PRIMITIVES[name], dtype)
    compiled = compile_graph(applied(graph, default_pipeline(DEVICES[0])), DEVICES[0], flush_denormals=False)
    for got, expected, sample in zip(compiled(*args), run(graph, args), names, strict=True):
        assert_close(np.asarray(got), expected, PRIMITIVES[name], sample)


@pytest.mark.parametrize("name", [n for n in FUNCTIONS if n not in SLOW])
def test_device_is_the_reference(name):
    check_samples(name, f32)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), [(n, d) for n in FUNCTIONS for d in (f32, f64) if n in SLOW or d is f64])
def test_device_is_the_reference_in_all(name, dtype):
    check_samples(name, dtype)


@pytest.mark.parametrize("name", ["eigh", "hessenberg", "lu_by_columns", "qr", "svd", "tridiagonal_solve"])
def test_values_and_gradients(name):
    check_alike(with_sums(FUNCTIONS[name]), matrices((2, 3, 3), np.float64), 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "dtype"), [((), "f64"), ((3,), "f64"), ((0,), "f64"), ((3,), "f32")], ids=str)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 9, 12])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_of_all_sizes(name, n, batch, dtype):
    check_alike(
        with_sums(FUNCTIONS[name]), matrices((*batch, n, n), DTYPES[dtype].numpy), 2e-3 if dtype == "f32" else 1e-9
    )


@pytest.mark.parametrize("n", [3, pytest.param(9, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["cholesky", "eigh", "qr", "svd", "tridiagonal_solve"])
def test_one_matrix_without_a_result(name, n):
    """Not finite, singular, not positive definite: what the CPU does, and the matrices beside it are as ever."""
    a = matrices((5, n, n), np.float64)
    a[0, 1, 1], a[1, 0, 1], a[2], a[3] = np.nan, np.inf, 0, -a[3]
    function = gnp.linalg.cholesky if name == "cholesky" else FUNCTIONS[name]
    if name == "qr":  # of what is not finite nothing is promised
        a[:2] = a[4]
    if name == "tridiagonal_solve":
        a[1], a[2, :, 0] = a[4], -2.0
        a[2, :, -1] = -2.0
    check_alike(function, a, 1e-10)
    check_alike(function, a.astype(np.float32), 1e-4)


@pytest.mark.parametrize("name", ["eigh", "svd", "tridiagonal_solve"])
def test_small_matrices_are_threads_of_a_kernel(name):
    """No loop is run by the host."""
    text = str(graphad.jit(FUNCTIONS[name], device=DEVICE).explain(matrices((64, 5, 5), np.float32)))
    assert "kernel" in text
    assert "loop" not in text


def test_matrices_that_are_too_large():
    with pytest.raises(LoweringError, match=r"routine 'svd' needs LAPACK for more than 128 .*device='cpu'"):
        graphad.jit(lambda a: gnp.linalg.svd(a)[1], device=DEVICE)(np.eye(129, dtype=np.float32))


def gaussian_process(x):
    """Log density of a regression's data, by its kernel matrix."""
    covariance = gnp.exp(-((x[:, None] - x) ** 2)) + 0.1 * gnp.eye(x.size)
    factor = gnp.linalg.cholesky(covariance)
    return gnp.sum(gsl.cho_solve((factor, True), x) * x) / 2 + gnp.sum(gnp.log(gnp.diagonal(factor)))


@pytest.mark.parametrize(
    "function",
    [
        lambda a: gnp.linalg.lstsq(a[:, :2], a[:, 2])[0],
        lambda a: gnp.linalg.pinv(a[:, :2]),
        lambda a: (gnp.linalg.cond(a), gnp.linalg.matrix_rank(a), gnp.linalg.norm(a, 2), gnp.linalg.norm(a, "nuc")),
        lambda a: (gnp.linalg.slogdet(a), gnp.linalg.solve(a, a[0]), gsl.expm(a / 4)),
        lambda a: graphad.value_and_grad(lambda x: gnp.sum(gnp.linalg.pinv(x) ** 2))(a),
        lambda a: graphad.value_and_grad(gaussian_process)(a.reshape(-1)),
    ],
    ids=["lstsq", "pinv", "norms", "solve", "gradient of pinv", "Gaussian process"],
)
def test_faces(function):
    check_alike(function, matrices((3, 3), np.float64), 1e-9)
