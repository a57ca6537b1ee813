"""Minima: against SciPy's, closed forms and differences; and how the search ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize
from scipy.optimize import rosen, rosen_der

import graphad
import graphad.numpy as gnp
from graphad.errors import ConvergenceError
from graphad.solve import Status, minimize
from graphad.solve._line_search import step_along
from tests.compose.tools import close, count, f64

RNG = np.random.default_rng(0)
ROOT = f64(RNG.normal(size=(5, 5)))
MATRIX = ROOT @ ROOT.T + np.eye(5)
methods = pytest.mark.parametrize("method", ["bfgs", "l-bfgs", "newton-cg", "trust-ncg"])


def rosenbrock(x):
    return gnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def powell(x):
    """Powell 1962: singular at its minimum, (0, 0, 0, 0)."""
    a, b, c, d = x
    return (a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4


def beale(x):
    a, b = x
    return (1.5 - a + a * b) ** 2 + (2.25 - a + a * b**2) ** 2 + (2.625 - a + a * b**3) ** 2


def badly_scaled(x):
    return (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2) ** 2


def quadratic(x):
    return x @ gnp.asarray(MATRIX) @ x / 2 - gnp.sum(x)


PROBLEMS = {
    "rosenbrock": (rosenbrock, [-1.2, 1.0], [1, 1], 1e-5),
    "rosenbrock, long": (rosenbrock, np.full(12, -0.5), np.ones(12), 1e-5),
    "powell": (powell, [3.0, -1.0, 0.0, 1.0], np.zeros(4), 0.03),
    "beale": (beale, [1.0, 1.0], [3, 0.5], 1e-5),
    "quadratic": (quadratic, np.zeros(5), np.linalg.solve(MATRIX, np.ones(5)), 1e-5),
    "far off": (lambda x: gnp.sum(gnp.sqrt(1 + x**2)), [1e4, -30.0], [0, 0], 2e-5),
    "exponential": (lambda x: gnp.sum(gnp.exp(x) - x), [20.0, -20.0, 0.0], [0, 0, 0], 2e-5),
    "one number": (lambda x: gnp.sum((x - 3) ** 4 + x), [0.0], [3 - 0.25 ** (1 / 3)], 1e-5),
}  # fmt: skip
problems = pytest.mark.parametrize("name", PROBLEMS)


@methods
@problems
def test_finds_the_minimum(name, method):
    f, start, wanted, tolerance = PROBLEMS[name]
    start = f64(start)
    found = minimize(f, start, method=method, maxiter=2000)
    close(found.x, f64(wanted), tolerance)
    assert found.success
    assert np.max(np.abs(found.jac)) <= 1e-5
    close(found.jac, graphad.grad(f)(found.x), 1e-12)
    close(found.fun, f(found.x), 1e-15)
    theirs = scipy_minimize(graphad.jit(f), start, jac=graphad.jit(graphad.grad(f)), method="BFGS")
    assert found.nfev <= (30 if (name, method) == ("far off", "trust-ncg") else 2) * theirs.nfev + 20


@methods
def test_where_the_scales_differ(method):
    """Brown 1970, badly scaled: 1e6 and 2e-6."""
    found = minimize(badly_scaled, f64([1.0, 1.0]), method=method, gtol=1e-4, throw=False)
    np.testing.assert_allclose(found.x, [1e6, 2e-6], 1e-4)


@methods
def test_in_float32(method):
    found = minimize(rosenbrock, np.float32([-1.2, 1.0]), method=method)
    assert found.x.dtype == np.float32
    assert found.success
    close(found.x, np.ones(2), 3e-3)


def test_as_scipy_says():
    found = minimize(rosenbrock, f64([0.4, 1.5, 0.7]))
    theirs = scipy_minimize(rosen, [0.4, 1.5, 0.7], jac=rosen_der, method="BFGS")
    close(found.x, theirs.x, 1e-5)
    assert found.fun < 1e-9
    assert (found.status, found.success) == (theirs.status, theirs.success)


def tilted(x, a):
    """Strictly convex, with a minimum that is no closed form."""
    return gnp.sum(gnp.exp(x) * a) + x @ gnp.asarray(MATRIX, x.dtype) @ x / 2 - gnp.sum(x * a[::-1])


@methods
def test_derivatives(method):
    a = f64(RNG.uniform(0.5, 1.5, size=5))
    f = lambda a: minimize(tilted, gnp.zeros(5, a.dtype), (a,), method, gtol=1e-11 if a.dtype == np.float64 else None).x
    x = np.asarray(f(a))
    hessian = np.diag(np.exp(x) * a) + MATRIX
    mixed = np.diag(np.exp(x)) - np.eye(5)[::-1]
    wanted = -np.linalg.solve(hessian, mixed)
    close(graphad.jacfwd(f)(a), wanted, 1e-9)
    close(graphad.jacrev(f)(a), wanted, 1e-9)
    close(graphad.jit(graphad.jacrev(f))(a), wanted, 1e-9)
    close(graphad.jacrev(f)(np.float32(a)), wanted, 1e-3)
    graphad.check_grads(f, (a,), order=2, rtol=1e-4)
    graphad.check_vmap(f, (np.stack([a, a * 2]),))


def test_the_value_has_the_derivative_of_the_value():
    """The envelope theorem, with second derivatives that know how the minimum moves."""
    f = lambda a: minimize(lambda x: (x - a) ** 2 + x**2 * a, f64(0.0), gtol=1e-12).fun
    a = f64(0.7)  # the minimum is a / (1 + a), and the value a^3 / (1 + a)
    close(f(a), 0.7**3 / 1.7, 1e-12)
    close(graphad.grad(f)(a), (3 * 0.7**2 * 1.7 - 0.7**3) / 1.7**2, 1e-9)
    close(graphad.grad(graphad.grad(f))(a), 2 * 0.7 * (0.7**2 + 3 * 0.7 + 3) / 1.7**3, 1e-8)


def test_derivatives_do_not_search_again():
    f = lambda a: minimize(tilted, np.zeros(5), (a,)).x.sum()
    graph = graphad.make_graph(graphad.grad(f))(np.ones(5))
    assert count(graph, "custom_root") == 1
    assert not count(graph, "counted")


@methods
def test_a_batch_stops_one_by_one(method):
    starts = f64([[-1.2, 1.0], [1.0, 1.0], [5.0, -3.0], [np.nan, 0.0]])
    run = lambda x: minimize(rosenbrock, x, method=method, throw=False)
    found = graphad.vmap(run)(starts)
    assert found.status.tolist() == [0, 0, 0, Status.NOT_FINITE]
    close(found.x[:3], np.ones((3, 2)), 1e-4)
    assert found.nit.tolist()[1] == 0
    assert found.nit.tolist() == [int(run(x).nit) for x in starts]
    assert "3 of 4: converged" in found.message


def test_containers_and_types():
    def f(p, t):
        return gnp.sum((p["w"] - t) ** 2) + (p["b"] - 1) ** 2 * 3

    found = minimize(f, {"w": np.zeros((2, 2)), "b": 0.0}, (f64(2.0),))
    close(found.x["w"], np.full((2, 2), 2.0), 1e-6)
    close(found.x["b"], 1.0, 1e-6)
    assert found.jac["w"].shape == (2, 2)
    assert minimize(lambda x: (x - 2) ** 2, 0).x.dtype == np.float32
    assert minimize(lambda x: (x - f64(2.0)) ** 2, 0.0).x.dtype == np.float64
    for method in ("bfgs", "l-bfgs"):
        assert minimize(lambda x: gnp.sum(x), gnp.zeros(0), method=method).success


@methods
def test_already_there(method):
    found = minimize(rosenbrock, np.ones(3), method=method)
    assert (found.nit, found.nfev) == (0, 1)
    assert found.x.tolist() == [1, 1, 1]


def test_a_step_meets_the_wolfe_conditions():
    for f, x, first in (
        (rosenbrock, f64([-1.2, 1.0]), 1.0),
        (lambda x: gnp.sum(gnp.cosh(x)), f64([30.0, -2.0]), 1e-9),
        (lambda x: -gnp.sum(gnp.exp(-((x - 5) ** 2))), f64([3.0]), 1.0),
        (lambda x: gnp.where(x[0] > 0, -gnp.log(gnp.maximum(x[0], 1e-300)) + x[0], np.inf), f64([9.0]), 100.0),
    ):
        value, gradient = graphad.value_and_grad(f)(x)
        direction = -gradient
        search, is_good = step_along(graphad.value_and_grad(f), x, value, gradient, direction, first)
        t = float(search.trial.t)
        reached, there = graphad.value_and_grad(f)(x + t * direction)
        slope = float(gradient @ direction)
        assert is_good
        assert float(reached) <= float(value) + 1e-4 * t * slope
        assert float(there @ direction) >= 0.9 * slope


ENDS = {
    "too few steps": (lambda x: rosenbrock(x), [-1.2, 1.0], {"maxiter": 3}, Status.MAXITER, "maxiter"),
    "nan at the start": (lambda x: gnp.sum(gnp.log(x)), [-1.0, 1.0], {}, Status.NOT_FINITE, "nan or infinite"),
    "a kink": (lambda x: gnp.sum(abs(x - 1 / 3)), [1.0, 2.0], {}, Status.PRECISION, "no step makes the value less"),
    "falling": (lambda x: -gnp.sum(x), [0.0, 0.0], {"maxiter": 5}, Status.MAXITER, "maxiter"),
    "no minimum": (lambda x: -gnp.sum(gnp.exp(x)), [0.0, 0.0], {}, Status.NOT_FINITE, "nan or infinite"),
}  # fmt: skip


@methods
@pytest.mark.parametrize("name", ENDS)
def test_what_is_no_solution(name, method):
    f, start, options, status, message = ENDS[name]
    where = r"test_minimize\.py:\d+: solve\.minimize \(method '" + method + r"'\) stopped after \d+ steps? where f\(x\)"
    with pytest.raises(ConvergenceError, match=where + ".*" + message) as caught:
        minimize(f, f64(start), method=method, **options)
    assert caught.value.solution.status == status
    found = graphad.jit(lambda x: minimize(f, x, method=method, **options))(f64(start))
    assert found.status == status


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: minimize(rosenbrock, np.ones(2), method="cg"), ValueError, "no method 'cg'"),
        (lambda: minimize(rosenbrock, np.ones(2), maxcor=0), ValueError, "maxcor is 0"),
        (lambda: minimize(lambda x: x, np.ones(2)), TypeError, r"f must give one number, but it gives f64\[2\]"),
        (lambda: minimize(lambda x: (x, x), 1.0), TypeError, "one number"),
    ],
)
def test_wrong_uses(call, error, message):
    with pytest.raises(error, match=message):
        call()
