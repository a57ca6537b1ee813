"""Nonlinear least squares: against SciPy's, closed forms and differences; and how the search ends."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import least_squares as scipy_least_squares
from scipy.optimize import root as scipy_root

import graphad
import graphad.numpy as gnp
from graphad.errors import ConvergenceError, SingularJacobianWarning
from graphad.solve import Status, least_squares
from tests.compose.tools import close, count, f64

RNG = np.random.default_rng(3)
T = np.linspace(0.0, 3.0, 9)
methods = pytest.mark.parametrize("method", ["lm", "dogleg"])


#: Problems of Moré, Garbow and Hillstrom 1981, for any library, and where they begin.
def problems(m):
    data = np.array([0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39])
    u = np.arange(1.0, 16.0)
    t = np.arange(1.0, 11.0)

    def freudenstein(x):
        a, b = x
        return m.stack([-13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b])

    def beale(x):
        return m.stack([y - x[0] * (1 - x[1] ** (k + 1)) for k, y in enumerate((1.5, 2.25, 2.625))])

    return {
        "rosenbrock": (lambda x: m.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), [-1.2, 1.0]),
        "bard": (lambda x: data - (x[0] + u / (x[1] * (16 - u) + x[2] * np.minimum(u, 16 - u))), [1.0, 1.0, 1.0]),
        "jennrich and sampson": (lambda x: 2 + 2 * t - (m.exp(t * x[0]) + m.exp(t * x[1])), [0.3, 0.4]),
        "freudenstein and roth": (freudenstein, [0.5, -2.0]),
        "beale": (beale, [1.0, 1.0]),
        "badly scaled": (lambda x: m.stack([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2]), [1.0, 1.0]),
    }  # fmt: skip


@methods
@pytest.mark.parametrize("name", problems(np))
def test_finds_what_scipy_finds(name, method):
    f, start = problems(gnp)[name]
    reference = scipy_least_squares(problems(np)[name][0], start, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    found = least_squares(f, f64(start), method=method)
    assert found.success
    np.testing.assert_allclose(found.x, reference.x, 2e-5)
    np.testing.assert_allclose(gnp.sum(found.fun**2) / 2, reference.cost, 1e-9, 1e-9)
    close(found.fun, f(found.x), 1e-12)
    assert found.jac.shape == (*found.fun.shape, len(start))
    np.testing.assert_allclose(found.jac, graphad.jacfwd(f)(found.x))


@methods
def test_in_float32(method):
    f, start = problems(gnp)["beale"]
    found = least_squares(f, np.float32(start), method=method)
    assert found.x.dtype == np.float32
    close(found.x, np.float32([3, 0.5]), 1e-3)


def misfit(p, y):
    """Two decays, of which the data are far off: residuals and their curvature matter."""
    return p[0] * gnp.exp(-p[1] * T) - y


Y = 2 * np.exp(-0.7 * T) + 0.4 * RNG.normal(size=9)


@methods
def test_derivatives(method):
    """Of a fit with large residuals, for which the derivative of Gauss and Newton is wrong."""
    f = lambda y: least_squares(misfit, gnp.ones(2, y.dtype), (y,), method, gtol=1e-12, ftol=0, xtol=1e-14).x
    p = f(Y)
    slope = lambda p, y: graphad.grad(lambda p: gnp.sum(misfit(p, y) ** 2) / 2)(p)
    by_p, by_y = graphad.jacfwd(slope, (0, 1))(p, Y)
    wanted = -np.linalg.solve(by_p, by_y)
    J = np.asarray(graphad.jacfwd(misfit)(p, Y))
    assert np.max(abs(wanted - np.linalg.pinv(J))) > 1e-3
    close(graphad.jacrev(f)(Y), wanted, 1e-10)
    close(graphad.jit(graphad.jacfwd(f))(Y), wanted, 1e-10)
    by = lambda p: np.stack([np.exp(-p[1] * T), -T * p[0] * np.exp(-p[1] * T)])
    refit = lambda y: scipy_root(lambda p: by(p) @ (p[0] * np.exp(-p[1] * T) - y), np.asarray(p), tol=1e-14).x
    h = 1e-4 * np.eye(9)[2]
    close(graphad.jacfwd(f)(Y)[:, 2], (refit(Y + h) - refit(Y - h)) / 2e-4, 1e-6)
    slope = lambda y: graphad.jacrev(f)(y)[:, 2]
    close(graphad.jacfwd(slope)(Y)[:, 2], (slope(Y + h) - slope(Y - h)) / 2e-4, 1e-6)
    graphad.check_vmap(f, (np.stack([Y, Y + 0.1]),))
    graph = graphad.make_graph(graphad.grad(lambda y: gnp.sum(f(y))))(Y)
    assert count(graph, "custom_root") == 1
    assert not count(graph, "counted")


@methods
def test_a_batch_stops_one_by_one(method):
    starts = f64([[1.0, 1.0], [3.0, 0.1], [np.nan, 0.0]])
    run = lambda p: least_squares(misfit, p, (Y,), method, throw=False)
    found = graphad.jit(graphad.vmap(run))(starts)
    assert found.status.tolist() == [0, 0, Status.NOT_FINITE]
    assert found.nit.tolist() == [int(run(p).nit) for p in starts]
    close(found.x[0], found.x[1], 1e-6)
    assert not found.singular[:2].any()


@methods
def test_containers(method):
    def f(p, y):
        return {"a": p["slope"] * T + p["at"] - y, "b": [0.1 * p["slope"]]}

    fit = least_squares(f, {"slope": 0.0, "at": np.float32(0)}, (np.float32(2 * T + 1),), method=method)
    rows = np.vstack([np.stack([T, np.ones(9)], 1), [[0.1, 0]]])
    slope, at = np.linalg.lstsq(rows, np.append(2 * T + 1, 0), rcond=None)[0]
    close(np.stack([fit.x["slope"], fit.x["at"]]), np.float32([slope, at]), 1e-4)
    assert fit.fun["a"].shape == (9,)
    assert fit.jac.shape == (10, 2)


def test_fewer_observations_than_parameters():
    """The method of Levenberg and Marquardt finds a solution, and its derivatives are the shortest ones."""
    f = lambda x, a: (x[0] + 2 * x[1] - a)[None]
    with pytest.warns(SingularJacobianWarning, match="least_squares .* the Hessian"):
        found = least_squares(f, f64([0.0, 0.0]), (f64(5.0),))
    assert found.singular
    close(found.x[0] + 2 * found.x[1], 5.0, 1e-8)
    slope = graphad.jit(graphad.jacrev(lambda a: least_squares(f, f64([0.0, 0.0]), (a,)).x))(f64(5.0))
    close(slope, np.array([0.2, 0.4]), 1e-7)
    with pytest.raises(ValueError, match=r"1 for 2\. Use method='lm'"):
        least_squares(f, f64([0.0, 0.0]), (f64(5.0),), method="dogleg")


@methods
def test_what_is_no_solution(method):
    with pytest.raises(ConvergenceError, match=r"test_least_squares\.py:\d+: solve.least_squares .* after 2 steps"):
        least_squares(misfit, f64([1.0, 5.0]), (Y,), method, maxiter=2)
    with pytest.raises(ConvergenceError, match="nan or infinite"):
        least_squares(lambda x: gnp.log(x), f64([-1.0]), method=method)
    with pytest.raises(ValueError, match="no method 'trf'"):
        least_squares(misfit, f64([1.0, 5.0]), (Y,), "trf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = least_squares(misfit, f64([2.0, 0.5]), (Y * 0 + 2 * np.exp(-0.5 * T),), method)
    assert (int(found.nit), int(found.nfev)) == (0, 1)
