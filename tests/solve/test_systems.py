"""Roots of systems: against SciPy's, closed forms and differences; singular Jacobians; and how the search ends."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import root as scipy_root

import graphad
import graphad.numpy as gnp
from graphad.errors import ConvergenceError, SingularJacobianWarning
from graphad.solve import Status, root
from graphad.solve._hybrid import dogleg
from tests.compose.tools import close, count, f64
from tests.thinned import every

METHODS = ("newton", "broyden", "hybrid")
methods = pytest.mark.parametrize("method", METHODS)


#: Systems of Moré, Garbow and Hillstrom 1981, for any library, and where they begin.
def problems(m):
    def helical(x):
        angle = m.arctan2(x[1], x[0]) / (2 * np.pi)
        return [10 * (x[2] - 10 * angle), 10 * (m.hypot(x[0], x[1]) - 1), x[2]]

    def boundary(x):
        h = 1 / (len(x) + 1)
        padded = m.concatenate([m.zeros(1), x, m.zeros(1)])
        t = h * np.arange(1, len(x) + 1)
        return 2 * x - padded[:-2] - padded[2:] + h**2 * (x + t + 1) ** 3 / 2

    def tridiagonal(x):
        padded = m.concatenate([m.zeros(1), x, m.zeros(1)])
        return (3 - 2 * x) * x - padded[:-2] - 2 * padded[2:] + 1

    t = np.arange(1, 6) / 6
    return {
        "rosenbrock": (lambda x: [10 * (x[1] - x[0] ** 2), 1 - x[0]], [-1.2, 1.0]),
        "helical valley": (helical, [-1.0, 0.0, 0.0]),
        "badly scaled": (lambda x: [1e4 * x[0] * x[1] - 1, m.exp(-x[0]) + m.exp(-x[1]) - 1.0001], [0.0, 1.0]),
        "boundary value": (boundary, t * (t - 1)),
        "tridiagonal": (tridiagonal, -np.ones(7)),
        "almost linear": (lambda x: m.concatenate([x[:-1] + m.sum(x) - 6, (m.prod(x) - 1)[None]]), np.full(5, 0.5)),
    }


@methods
@pytest.mark.parametrize("name", every(2, problems(np)))
def test_finds_what_scipy_finds(name, method):
    f, start = problems(gnp)[name]
    reference = scipy_root(lambda x: np.asarray(problems(np)[name][0](x), float), start, tol=1e-13)
    found = root(f, f64(start), method=method)
    assert found.x.dtype == np.float64
    assert found.success
    assert not found.singular
    residual = np.asarray(problems(np)[name][0](np.asarray(found.x)), float)
    close(np.stack([np.asarray(y) for y in found.fun]), residual, 1e-12)
    assert np.max(abs(residual)) < 1e-10
    if name != "almost linear":  # it has three roots
        np.testing.assert_allclose(found.x, reference.x, 1e-8, 1e-10)
    if method == "hybrid":
        assert found.nfev <= 2 * reference.nfev + 10


@methods
def test_in_float32(method):
    f, start = problems(gnp)["helical valley"]
    found = root(f, np.float32(start), method=method)
    assert found.x.dtype == found.condition.dtype == np.float32
    assert found.success
    np.testing.assert_allclose(found.x, [1, 0, 0], 1e-5, 1e-5)


def coupled(x, a):
    """Its Jacobian is not symmetric."""
    return gnp.stack([x[0] ** 3 + a[0] * x[1] - 1, gnp.exp(x[1]) - a[1] * x[0] + x[2], x[2] + a[0] * a[1] * x[0] - 2])


@pytest.mark.parametrize(
    ("method", "options"), [("newton", {}), ("broyden", {}), ("hybrid", {}), ("hybrid", {"derivative": "gmres"})]
)
def test_derivatives(method, options):
    a = f64([0.7, 0.4])
    options = {"method": method, "xtol": 1e-14, "rtol": 1e-14, **options}
    f = lambda a: root(coupled, gnp.ones(3, a.dtype), (a,), **options).x
    x = f(a)
    by_x, by_a = graphad.jacfwd(coupled, (0, 1))(x, a)
    wanted = -np.linalg.solve(by_x, by_a)
    close(graphad.jacfwd(f)(a), wanted, 1e-10)
    close(graphad.jacrev(f)(a), wanted, 1e-10)
    close(graphad.jit(graphad.jacrev(f))(a), wanted, 1e-10)
    graphad.check_grads(f, (a,), order=2)
    graphad.check_vmap(f, (np.stack([a, a * 1.5, a + 1]),))
    graph = graphad.make_graph(graphad.grad(lambda a: gnp.sum(f(a))))(a)
    assert count(graph, "custom_root") == 1
    assert not count(graph, "counted")


def test_derivatives_in_float32_and_hessians():
    a = np.float32([0.7, 0.4])
    f = lambda a: gnp.sum(root(coupled, gnp.ones(3, a.dtype), (a,), rtol=1e-14 if a.dtype == np.float64 else None).x)
    g = lambda a: np.asarray(graphad.grad(f)(a))
    close(g(a), g(f64(a)), 1e-4)
    h = 1e-5
    differences = [(g(f64(a) + h * e) - g(f64(a) - h * e)) / (2 * h) for e in np.eye(2)]
    close(graphad.hessian(f)(f64(a)), np.stack(differences), 1e-6)


@methods
def test_a_batch_stops_one_by_one(method):
    """And finds what each finds alone."""

    def run(c):
        return root(
            lambda x: [x[0] ** 2 + x[1] - c, gnp.log(x[1]) * c + x[0]], f64([1.0, 2.0]), method=method, throw=False
        )

    c = f64([2.0, 3.0, 5.0, np.nan])
    found = graphad.vmap(run)(c)
    assert found.status.tolist() == [0, 0, 0, Status.NOT_FINITE]
    alone = [run(x) for x in c]
    assert found.nit.tolist() == [int(s.nit) for s in alone]
    close(found.x[:3], np.stack([s.x for s in alone[:3]]), 1e-12)
    compiled = graphad.jit(graphad.vmap(run))(c)
    close(compiled.x[:3], found.x[:3], 1e-12)


@methods
def test_containers(method):
    def f(p, c):
        return {"u": p["w"] ** 2 - c, "v": (p["b"] - 1) ** 3 + gnp.sum(p["w"]) - 9}

    found = root(f, {"w": np.ones((2, 2), np.float32), "b": 2.0}, (4.0,), method=method)
    close(found.x["w"], np.full((2, 2), 2, np.float32), 1e-5)
    close(found.x["b"], np.float32(2), 1e-5)
    assert found.fun["u"].shape == (2, 2)
    slope = graphad.jit(graphad.grad(lambda c: root(f, {"w": np.ones((2, 2)), "b": 2.0}, (c,), method=method).x["b"]))
    close(slope(np.float64(4.0)), -1 / 3, 1e-9)  # 3 (b - 1)^2 db = -4 dw, and dw = 1 / 4 there


def test_numbers_and_systems_of_none():
    for method in ("broyden", "hybrid"):
        close(root(lambda x: x**3 - 2, f64(1.0), method=method).x, 2 ** (1 / 3), 1e-12)
    found = root(lambda x: x, np.zeros(0))
    assert (found.x.shape, int(found.nit), bool(found.success)) == ((0,), 0, True)


@methods
def test_where_it_begins_may_be_the_root(method):
    found = root(lambda x: x**2 - 4, f64([2.0, -2.0]), method=method)
    assert (found.nit, found.nfev, found.x.tolist()) == (0, 1, [2, -2])


# ---------------------------------------------------------------------------------------------------------------------
# Singular Jacobians


def redundant(x, a):
    """Two of its three equations say the same: x + y = a, z = a^2."""
    return gnp.stack([x[0] + x[1] - a, 3 * (x[0] + x[1] - a), x[2] - a * a])


@methods
def test_an_equation_too_many(method):
    """Derivatives are the shortest ones; the pseudoinverse gives the same."""
    a = f64(0.3)
    f = lambda a, **o: root(redundant, gnp.zeros(3, a.dtype), (a,), method=method, throw=False, **o)
    with pytest.warns(SingularJacobianWarning, match=r"test_systems\.py:\d+: solve\.root .* follows from the others"):
        found = f(a)
    assert found.success
    assert found.singular
    assert found.condition > 1e15
    close(found.x, [0.15, 0.15, 0.09], 1e-7)
    curve = lambda x: [gnp.exp(x[0]) - x[1], 7 * (gnp.exp(x[0]) - x[1])]
    with pytest.warns(SingularJacobianWarning):
        curved = root(curve, f64([0.3, 0.1]), method=method)
    close(np.exp(curved.x[0]), curved.x[1], 1e-12)
    by_x, by_a = graphad.jacfwd(redundant, (0, 1))(found.x, a)
    wanted = -np.linalg.pinv(by_x) @ by_a
    close(wanted, [0.5, 0.5, 0.6], 1e-12)
    for jac in (graphad.jacfwd, graphad.jacrev):
        close(jac(lambda a: f(a).x)(a), wanted, 1e-7)
        close(graphad.jit(graphad.vmap(jac(lambda a: f(a).x)))(a[None])[0], wanted, 1e-7)
    compiled = graphad.jit(f)(a)
    assert compiled.singular
    assert graphad.vmap(f)(f64([0.3, 0.4])).singular.all()
    regular = root(coupled, np.ones(3), (f64([0.7, 0.4]),))
    assert not regular.singular
    by_x = graphad.jacfwd(coupled)(regular.x, f64([0.7, 0.4]))
    close(regular.condition, np.linalg.cond(by_x, 1), 1e-10)


def test_no_warning_for_regular_ones_or_traces():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        root(coupled, np.ones(3), (f64([0.7, 0.4]),))
        graphad.jit(lambda a: root(redundant, gnp.zeros(3, a.dtype), (a,)).x)(f64(0.3))
    assert root(lambda x: x - 2, 1.0).singular is None
    assert root(coupled, np.ones(3), (f64([0.7, 0.4]),), derivative="gmres").condition is None


@methods
def test_a_singular_root(method):
    """Powell 1962: its Jacobian is singular at the root, and steps halve the distance."""

    def f(x):
        a, b, c, d = x
        return [a + 10 * b, 5**0.5 * (c - d), (b - 2 * c) ** 2, 10**0.5 * (a - d) ** 2]

    found = root(f, f64([3.0, -1.0, 0.0, 1.0]), method=method, throw=False)
    assert np.max(np.abs(found.x)) < 1e-3
    assert max(abs(float(y)) for y in found.fun) < 1e-8


# ---------------------------------------------------------------------------------------------------------------------
# Parts, and ends


def test_the_dogleg(rng):
    """It is as long as it may be, and no worse than the best point down the slope."""
    for _ in range(20):
        J, F, radius = rng.normal(size=(4, 4)), rng.normal(size=4), rng.uniform(0.01, 5)
        newton, g = -np.linalg.solve(J, F), J.T @ F
        downhill = -g * (g @ g) / ((J @ g) @ (J @ g))
        step = np.asarray(dogleg(downhill, newton, radius))
        size = np.linalg.norm(step)
        assert size <= radius * (1 + 1e-12)
        if np.linalg.norm(newton) > radius:
            close(size, radius, 1e-12)
        else:
            close(step, newton, 1e-14)
        short = downhill * min(1, radius / np.linalg.norm(downhill))
        assert np.linalg.norm(F + J @ step) <= np.linalg.norm(F + J @ short) * (1 + 1e-12)


ENDS = {
    "too few steps": (lambda x: [gnp.exp(x[0]) - 2, x[1] ** 3 - x[0]], [9.0, 4.0], {"maxiter": 2}, {Status.MAXITER}),
    "nan at the start": (lambda x: gnp.log(x), [-1.0, 1.0], {}, {Status.NOT_FINITE}),
    "no root": (lambda x: [x[0] ** 2 + 1, x[1] - x[0]], [1.0, 2.0], {}, {Status.FLAT, Status.PRECISION}),
    "flat": (lambda x: [x[0] ** 2 + 1, x[1]], [0.0, 0.0], {}, {Status.FLAT}),
}


@methods
@pytest.mark.parametrize("name", ENDS)
def test_what_is_no_solution(name, method):
    f, start, options, wanted = ENDS[name]
    message = r"test_systems\.py:\d+: solve\.root \(method '" + method + r"'\) stopped after \d+ steps? where f\(x\)"
    with pytest.raises(ConvergenceError, match=message) as caught:
        root(f, f64(start), method=method, **options)
    assert int(caught.value.solution.status) in wanted | ({Status.PRECISION} if method == "broyden" else set())
    compiled = graphad.jit(lambda x: root(f, x, method=method, **options))(f64(start))
    assert compiled.status == caught.value.solution.status
