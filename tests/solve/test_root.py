"""Roots of scalar functions: against SciPy's, mpmath, closed forms and differences; and how the search ends."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.optimize import brentq, newton

import graphad
import graphad.numpy as gnp
from graphad.errors import ConvergenceError
from graphad.solve import Solution, Status, root
from tests.compose.tools import close, count, f64


#: Functions of any library, and an interval with one root, most of them hard for the secant.
def problems(m):
    return {
        "cubic": (lambda x: x**3 - 2 * x - 5, 1.0, 3.0),
        "kepler": (lambda x: x - 0.9 * m.sin(x) - 0.1, 0.0, 3.0),
        "steep": (lambda x: m.exp(x) - 1e6, -5.0, 30.0),
        "flat": (lambda x: (x - 1) ** 9, 0.3, 1.9),
        "odd": (lambda x: m.tanh(20 * (x - 0.3)), -5.0, 5.0),
        "pole": (lambda x: 1 / (x - 3) + 6, 0.1, 2.99),
        "falling": (lambda x: m.cos(x) - x, 2.0, -1.0),
        "tiny": (lambda x: x**3 - 1e-12, -1.0, 4.0),
    }


NAMES = tuple(problems(np))
names = pytest.mark.parametrize("name", NAMES)


@names
def test_brent_as_scipy(name):
    f, a, b = problems(gnp)[name]
    found = root(f, bracket=(f64(a), f64(b)), maxiter=200)
    wanted, details = brentq(problems(np)[name][0], a, b, full_output=True, maxiter=200)
    assert found.x.dtype == np.float64
    assert found.success
    assert abs(float(found.x) - wanted) <= 2e-12 + 1e-15 * abs(wanted)
    close(found.fun, f(found.x), 1e-15)
    assert found.nfev == found.nit + 2 == details.function_calls  # it is the same method


@names
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_root_is_between_neighbours(name, dtype):
    """By the loosest tolerances too: f changes its sign within them."""
    f, a, b = problems(gnp)[name]
    for xtol in (1e-3, 1e-6 if dtype is np.float32 else 1e-11):
        x = float(root(f, bracket=(dtype(a), dtype(b)), xtol=xtol, maxiter=200).x)
        width = 2 * xtol + 16 * np.finfo(dtype).eps * abs(x)
        low, high = f(dtype(max(x - width, min(a, b)))), f(dtype(min(x + width, max(a, b))))
        assert low * high <= 0


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 6), (np.float64, 14)])
def test_newton_as_mpmath(dtype, digits):
    for f, of_mpmath, x0 in (
        (lambda x: gnp.exp(x) - 3 * x**2, lambda x: mpmath.exp(x) - 3 * x**2, 1.0),
        (lambda x: gnp.log(x) + x, lambda x: mpmath.log(x) + x, 0.3),
        (lambda x: x**2 - 2e6, lambda x: x**2 - 2e6, 100.0),
        (lambda x: gnp.sin(x), mpmath.sin, 0.5),
    ):
        found = root(f, dtype(x0))
        with mpmath.workdps(30):
            wanted = float(mpmath.findroot(of_mpmath, x0))
        assert found.x.dtype == dtype
        np.testing.assert_allclose(float(found.x), wanted, 10.0**-digits, 1e-12 if dtype is np.float64 else 1e-7)
        assert found.nit < 12
    close(root(lambda x: x**3 - x - 1, f64(1.5)).x, newton(lambda x: x**3 - x - 1, 1.5), 1e-9)


def residual(x, a, b):
    return x**3 + a * x - gnp.exp(b)


def by_brent(a, b):
    return root(residual, bracket=(0.0, 5.0), args=(a, b)).x


def by_newton(a, b):
    return root(lambda x: residual(x, a, b), 1.0).x


@pytest.mark.parametrize("solver", [by_brent, by_newton])
def test_derivatives(solver):
    a, b = f64(0.7), f64(0.4)
    graphad.check_grads(solver, (a, b), order=2)
    graphad.check_vmap(solver, (f64([0.7, 1.5, 3.0]), f64([0.4, 0.1, -2.0])))
    x = float(solver(a, b))
    slope = 3 * x**2 + 0.7
    close(graphad.grad(solver, (0, 1))(a, b)[0], -x / slope, 1e-9)
    close(graphad.jit(graphad.grad(solver, 1))(a, b), np.exp(0.4) / slope, 1e-9)
    second = graphad.grad(graphad.grad(solver))(a, b)
    dx = -x / slope
    close(second, -(2 * dx + 6 * x * dx**2) / slope, 1e-8)
    close(graphad.vmap(graphad.grad(solver), (0, None))(f64([0.7, 0.7]), b), np.stack([dx, dx]), 1e-9)
    close(graphad.grad(solver)(0.7, 0.4), np.float32(dx), 1e-5)


def test_derivatives_do_not_search_again():
    graph = graphad.make_graph(graphad.grad(by_brent))(f64(0.7), f64(0.4))
    assert count(graph, "custom_root") == 1
    assert not count(graph, "counted")
    found = graphad.grad(lambda a, b: root(residual, bracket=(a, b), args=(f64(1.0), f64(0.0))).x, (0, 1))
    close(np.stack(found(f64(0.0), f64(5.0))), np.zeros(2))


def test_a_batch_stops_one_by_one():
    f = lambda a: root(lambda x: x**3 - a, bracket=(-1.0, 20.0), maxiter=200)
    found = graphad.vmap(f)(f64([0.0, 8.0, 1000.0, -8.0]))
    assert found.status.tolist() == [0, 0, 0, Status.NO_SIGN_CHANGE]
    assert found.success.tolist() == [True, True, True, False]
    np.testing.assert_allclose(found.x[:3], [0, 2, 10], atol=1e-11)
    assert np.isnan(found.x[3])
    assert found.message.startswith("3 of 4: converged; 1 of 4: the function has the same sign")
    alone = [int(f(f64(a)).nit) for a in (0.0, 8.0, 1000.0)]
    assert found.nit.tolist()[:3] == alone
    compiled = graphad.jit(graphad.vmap(f))(f64([0.0, 8.0, 1000.0, -8.0]))
    np.testing.assert_array_equal(compiled.nit, found.nit)


def test_where_it_begins_may_be_the_root():
    for ends in ((2.0, 5.0), (0.0, 2.0), (2.0, 2.0)):
        found = root(lambda x: x - 2, bracket=ends)
        assert (found.x, found.nit, found.nfev) == (2, 0, 2)
    found = root(lambda x: x**2 - 4, 2.0)
    assert (found.x, found.nit, found.nfev) == (2, 0, 1)
    found = root(lambda x: x**2, 0.0)  # where the slope is zero too
    assert found.success


def test_an_end_may_be_a_pole():
    close(root(lambda x: gnp.log(x) + 1, bracket=(f64(0.0), f64(3.0))).x, np.exp(-1), 1e-11)
    close(root(lambda x: 1 / x - 1 / (1 - x), bracket=(f64(0.0), f64(1.0))).x, 0.5, 1e-11)


def test_double_roots():
    found = root(lambda x: (x - 1) ** 2, f64(3.0))
    assert found.success
    close(found.x, 1.0, 1e-6)


def test_types():
    assert root(lambda x: x - f64(2.0), 1.0).x.dtype == np.float64
    assert root(lambda x: x - f64(2.0), np.float32(1)).x.dtype == np.float64
    assert root(lambda x: x - 2, 1).x.dtype == np.float32
    assert root(lambda x: x - 2, bracket=(0, 5)).x == 2
    assert root(lambda x: x - 2, gnp.bfloat16(1)).x.dtype == gnp.bfloat16


def test_it_is_a_pytree():
    leaves, treedef = graphad.tree.flatten(root(lambda x: x - 2, 1.0))
    assert len(leaves) == 5
    again = graphad.tree.unflatten(treedef, leaves)
    assert type(again) is Solution
    assert again.success
    assert repr(again).startswith("Solution(x=Array(2.")
    assert "message='converged'" in repr(again)
    assert graphad.jit(lambda s: s.success)(again)
    seen = []
    graphad.jit(lambda a: seen.append(root(lambda x: x - a, 1.0).message))(2.0)
    assert seen == ["not run yet"]


ENDS = {
    "no sign change": (
        lambda one, **o: root(lambda x: one * (x**2 + 1), bracket=(f64(0.0), f64(2.0)), **o),
        Status.NO_SIGN_CHANGE,
        r"with f\(0\) = 1, f\(2\) = 5: the function has the same sign at both ends .* Give ends",
    ),
    "too few steps": (
        lambda one, **o: root(lambda x: one * (gnp.exp(x) - 2), bracket=(f64(0.0), f64(40.0)), maxiter=3, **o),
        Status.MAXITER,
        r"method 'brent'\) stopped after 3 steps at x = .* with f\(x\) = .* allow more by maxiter",
    ),
    "newton goes on": (
        lambda one, **o: root(lambda x: one * gnp.sign(x) * abs(x) ** 0.4, f64(1.0), maxiter=9, **o),
        Status.MAXITER,
        "after 9 steps",
    ),
    "newton far off": (
        lambda one, **o: root(lambda x: one * gnp.log(x), f64(9.0), **o),
        Status.NOT_FINITE,
        "nan or infinite",
    ),
    "nan at an end": (
        lambda one, **o: root(lambda x: one * gnp.log(x), bracket=(f64(-1.0), f64(2.0)), **o),
        Status.NOT_FINITE,
        "after 0 steps .* keep the function finite",
    ),
    "nan within": (
        lambda one, **o: root(lambda x: one * gnp.where(abs(x) < 0.5, np.nan, x), bracket=(f64(-1.0), f64(2.0)), **o),
        Status.NOT_FINITE,
        "nan or infinite",
    ),
    "flat": (
        lambda one, **o: root(lambda x: one * (x**2 + 1), f64(0.0), **o),
        Status.FLAT,
        "slope is zero .* give a bracket",
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_is_no_solution(name):
    call, status, message = ENDS[name]
    with pytest.raises(ConvergenceError, match=r"test_root\.py:\d+: solve\.root .*" + message) as caught:
        call(1.0)
    assert caught.value.solution.status == status
    found = call(1.0, throw=False)
    assert found.status == status
    assert not found.success
    compiled = graphad.jit(call)(1.0)
    assert compiled.status == status
    for name in ("x", "fun", "nit"):
        np.testing.assert_array_equal(getattr(compiled, name), getattr(found, name))
    if status in (Status.NO_SIGN_CHANGE, Status.NOT_FINITE):
        assert np.isnan(found.x) or np.isnan(found.fun)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: root(lambda x: x), ValueError, "give x0, where the search begins, or bracket"),
        (lambda: root(lambda x: x, 1.0, method="brent"), ValueError, r"give bracket=\(a, b\)"),
        (lambda: root(lambda x: x, bracket=(1.0, 2.0), method="newton"), ValueError, "give x0"),
        (lambda: root(lambda x: x, bracket=(1.0, 2.0, 3.0)), ValueError, "two ends"),
        (lambda: root(lambda x: x, 1.0, method="halley"), ValueError, "no method 'halley'"),
        (
            lambda: root(lambda x: x, bracket=np.ones((2, 3))),
            TypeError,
            r"has f64\[3\]\. For many roots at once vmap it",
        ),
        (lambda: root(lambda x: x[:2], np.ones(3)), TypeError, "x0 has 3 numbers, but f gives 2"),
        (lambda: root(lambda x: x, np.ones(3), method="brent"), ValueError, r"give bracket=\(a, b\)"),
        (lambda: root(lambda x: x, np.ones(3), derivative="lu"), ValueError, "'dense' or 'gmres', not 'lu'"),
        (lambda: root(lambda x: gnp.ones(2) * x, 1.0), TypeError, r"one number, but it gives f32\[2\]"),
        (lambda: root(lambda x: (x, x), 1.0), TypeError, r"one number, but it gives f32\[\], f32\[\]"),
    ],
)
def test_wrong_uses(call, error, message):
    with pytest.raises(error, match=message):
        call()
