"""Fixed points: against SciPy's, dense solves, differences and the theory of the acceleration."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import fixed_point as scipy_fixed_point

import graphad
import graphad.numpy as gnp
from graphad.errors import ConvergenceError
from graphad.solve import Status, fixed_point
from graphad.solve._anderson import _least_squares
from tests.compose.tools import close, count, f64

RNG = np.random.default_rng(0)
WEIGHTS = f64(RNG.normal(size=(8, 8)) * 0.3)
BIAS = f64(RNG.normal(size=8))
UNIT = f64(np.linalg.qr(RNG.normal(size=(6, 6)))[0])
#: Linear, with eigenvalues of both signs, some beyond -1: iterated as it stands it diverges.
LINEAR = UNIT @ np.diag([0.9, 0.5, 0.1, -0.3, -0.8, -1.5]) @ UNIT.T


def layer(x, W, b):
    return gnp.tanh(W @ x + b)


@pytest.mark.parametrize("memory", [0, 1, 5])
def test_as_scipy(memory):
    found = fixed_point(lambda x, c: gnp.sqrt(c / (x + 1)), f64([1.2, 1.3]), (f64([10.0, 12.0]),), memory=memory)
    wanted = scipy_fixed_point(lambda x, c: np.sqrt(c / (x + 1)), [1.2, 1.3], (np.array([10.0, 12.0]),), 1e-12)
    close(found.x, wanted, 1e-10)
    assert found.success
    assert found.nfev == found.nit + 1
    close(found.fun, np.sqrt(np.array([10.0, 12.0]) / (np.asarray(found.x) + 1)) - np.asarray(found.x), 1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_acceleration_saves_steps(dtype):
    W, b = WEIGHTS.astype(dtype), BIAS.astype(dtype)
    plain, fast = [fixed_point(layer, np.zeros(8, dtype), (W, b), memory=m) for m in (0, 5)]
    assert fast.nit < 0.7 * plain.nit
    assert fast.x.dtype == dtype
    tolerance = 1e-9 if dtype is np.float64 else 1e-4
    close(plain.x, fast.x, tolerance)
    close(np.tanh(W @ np.asarray(fast.x) + b), fast.x, tolerance)


def test_on_a_linear_problem_it_ends_in_as_many_steps_as_there_are_eigenvalues():
    """It is then GMRES; one step to begin with, and one to arrive (Walker and Ni 2011, corollary 2.10)."""
    found = fixed_point(lambda x: LINEAR @ x + 1.0, np.zeros(6), memory=6, maxiter=50)
    close(found.x, np.linalg.solve(np.eye(6) - LINEAR, np.ones(6)), 1e-8)
    assert found.nit <= 8
    with pytest.raises(ConvergenceError, match=r"nan or infinite|maxiter allows"):
        fixed_point(lambda x: LINEAR @ x + 1.0, np.zeros(6), memory=0)


def test_least_squares():
    rows, r = RNG.normal(size=(4, 9)), RNG.normal(size=9)
    close(_least_squares(gnp.asarray(rows), gnp.asarray(r)), np.linalg.lstsq(rows.T, r)[0], 1e-12)
    rows = np.stack([rows[0], 2 * rows[0], np.zeros(9), rows[1]])  # the newest of those that say the same
    wanted = np.linalg.lstsq(rows[[0, 3]].T, r)[0]
    close(_least_squares(gnp.asarray(rows), gnp.asarray(r)), [wanted[0], 0, 0, wanted[1]], 1e-12)


def value(W, b):
    return fixed_point(layer, gnp.zeros(8, b.dtype), (W, b)).x


@pytest.mark.slow
def test_derivatives():
    weight = f64(RNG.normal(size=8))
    f = lambda W, b: gnp.sum(weight * value(W, b))
    x = np.asarray(value(WEIGHTS, BIAS))
    D = np.diag(1 - x**2)
    adjoint = np.linalg.solve((np.eye(8) - D @ WEIGHTS).T, weight) @ D
    of_W, of_b = graphad.grad(f, (0, 1))(WEIGHTS, BIAS)
    close(of_b, adjoint, 1e-9)
    close(of_W, np.outer(adjoint, x), 1e-9)
    close(graphad.jit(graphad.grad(f, 1))(WEIGHTS, BIAS), adjoint, 1e-9)
    close(graphad.jacfwd(value, 1)(WEIGHTS, BIAS), np.linalg.solve(np.eye(8) - D @ WEIGHTS, D), 1e-9)
    graphad.check_grads(f, (WEIGHTS, BIAS), order=2)
    graphad.check_vmap(lambda b: value(WEIGHTS, b), (np.stack([BIAS, BIAS * 2, BIAS * 0]),))
    single = graphad.grad(f, 1)(WEIGHTS.astype(np.float32), BIAS.astype(np.float32))
    close(single, np.float32(adjoint), 1e-4)


def test_derivatives_where_only_the_acceleration_converges():
    f = lambda b: gnp.sum(fixed_point(lambda x: LINEAR @ x + b, np.zeros(6), memory=6).x ** 2)
    inverse = np.linalg.inv(np.eye(6) - LINEAR)
    b = f64(RNG.normal(size=6))
    close(graphad.grad(f)(b), 2 * inverse.T @ inverse @ b, 1e-7)
    close(graphad.hessian(f)(b), 2 * inverse.T @ inverse, 1e-7)


def test_derivatives_do_not_iterate_again():
    graph = graphad.make_graph(graphad.grad(lambda b: value(WEIGHTS, b).sum()))(BIAS)
    assert count(graph, "custom_root") == 1
    assert not count(graph, "counted")


def test_a_derivative_that_does_not_converge_is_nan():
    """Of x = x + (a - 1) every x is a solution where a is 1, and none is elsewhere."""
    f = lambda a: fixed_point(lambda x: x + (a - 1), f64([0.5, 0.0]), maxiter=9).x
    assert f(f64(1.0)).tolist() == [0.5, 0.0]
    assert np.isnan(graphad.jacfwd(f)(f64(1.0))).all()
    assert np.isnan(graphad.jacrev(f)(f64(1.0))).all()


def test_containers_and_types():
    def f(x, a):
        return {"u": gnp.cos(x["v"][0]) * a, "v": gnp.sin(x["u"]).sum() * gnp.ones((2, 2)) * 0.3}

    start = {"u": f64([0.1, 0.2]), "v": np.zeros((2, 2))}
    found = fixed_point(f, start, (f64(0.8),))
    again = f(found.x, 0.8)
    close(found.x["u"], again["u"], 1e-9)
    close(found.x["v"], again["v"], 1e-9)
    assert found.fun["v"].shape == (2, 2)
    graphad.check_grads(lambda a: fixed_point(f, start, (a,)).x, (f64(0.8),), order=2)
    assert fixed_point(gnp.cos, 1.0).x.dtype == np.float32
    assert fixed_point(gnp.cos, 1).x.shape == ()
    assert fixed_point(lambda x: x / f64(2.0) + 1, 1.0).x.dtype == np.float64
    assert fixed_point(lambda x: x, gnp.zeros(0)).success
    assert fixed_point(lambda x: x, {}).x == {}


def test_already_there():
    found = fixed_point(lambda x: x * x, f64([0.0, 1.0]))
    assert (found.nit, found.nfev) == (0, 1)
    assert found.x.tolist() == [0, 1]


def test_a_batch_stops_one_by_one():
    f = lambda a: fixed_point(lambda x: gnp.cos(a * x), f64(1.0), memory=0, maxiter=200)
    found = graphad.vmap(f)(f64([0.0, 0.5, 1.0, 2.0]))
    assert found.status.tolist() == [0, 0, 0, Status.MAXITER]
    assert found.nit.tolist() == [int(graphad.jit(f)(f64(a)).nit) for a in (0.0, 0.5, 1.0, 2.0)]


def test_what_is_no_solution():
    message = r"test_fixed_point\.py:\d+: solve\.fixed_point stopped after 4 steps where f\(x\) - x is at most \d"
    with pytest.raises(ConvergenceError, match=message) as caught:
        fixed_point(lambda x: x + 1, f64(0.0), maxiter=4, memory=0)
    assert caught.value.solution.status == Status.MAXITER
    found = fixed_point(gnp.exp, f64(3.0), memory=0, throw=False)
    assert found.status == Status.NOT_FINITE
    assert fixed_point(lambda x: x * np.nan, f64([1.0, 2.0]), throw=False).status == Status.NOT_FINITE
    assert graphad.jit(lambda a: fixed_point(lambda x: x + a, 0.0, maxiter=3))(1.0).status == Status.MAXITER


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fixed_point(lambda x: (x, x), 1.0), TypeError, "x0 is .*, but f gives .*one structure"),
        (
            lambda: fixed_point(lambda x: x[:1], gnp.ones(2)),
            TypeError,
            r"x0 has shapes \[\(2,\)\], but f gives \[\(1,\)\]",
        ),
        (lambda: fixed_point(lambda x: x, 1.0, memory=-1), ValueError, "or 0 for none, not -1"),
    ],
)
def test_wrong_uses(call, error, message):
    with pytest.raises(error, match=message):
        call()
