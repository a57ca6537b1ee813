"""Solvers in one another, in loops and branches, in regions, over named axes, and on a GPU in emulation."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.ir.verify import verify
from graphad.scipy.sparse.linalg import cg
from graphad.solve import fixed_point, minimize, root
from tests.compose.tools import close, count, f64


def cubic(c):
    """The x with x^3 + x = c."""
    return root(lambda x: x**3 + x - c, bracket=(-10.0, 10.0)).x


def slope(c):
    return 1 / (3 * np.asarray(cubic(f64(c))) ** 2 + 1)


def test_in_a_scan():
    def implicit_steps(forces):
        def step(x, force):
            x = cubic(force + x)
            return x, x

        return lax.scan(step, f64(0.5), forces)[1].sum()

    forces = f64([0.0, 1.0, 2.0, 3.0])
    x, wanted = f64(0.5), 0.0
    for force in forces:
        x = cubic(force + x)
        wanted += x
    close(implicit_steps(forces), wanted, 1e-11)
    graphad.check_grads(implicit_steps, (forces,), order=2)
    close(graphad.jit(graphad.grad(implicit_steps))(forces), graphad.grad(implicit_steps)(forces), 1e-10)


def test_python_loops_of_solves_become_loops():
    def f(a):
        x = a
        for _ in range(100):
            right = gnp.sin(x) + a
            x = lax.custom_linear_solve(lambda v, x=x: (2 + x) * v, right, lambda f, b: b / f(1.0), symmetric=True)
            x = x + a * 0.1
        return x

    graph = graphad.make_graph(graphad.grad(f))(f64(0.3))
    assert count(graph, "scan") == 2
    assert len(graph.eqns) < 30
    graphad.check_grads(f, (f64(0.3),), order=1)


def test_in_branches_and_whiles():
    f = lambda p, c: lax.cond(p > 0, lambda: cubic(c), lambda: c * c)
    close(graphad.jit(graphad.grad(f, 1))(1, f64(2.0)), slope(2.0), 1e-9)
    close(graphad.vmap(graphad.grad(f, 1))(np.array([1, 0]), f64([2.0, 2.0])), np.stack([slope(2.0), 4.0]), 1e-9)
    # Twice, and a number of times known only at run time.
    g = lambda c: lax.while_loop(lambda s: s[1] < 2, lambda s: (cubic(s[0]), s[1] + 1), (c, 0))[0]
    close(graphad.grad(g)(f64(2.0)), slope(2.0) * slope(cubic(f64(2.0))), 1e-9)


def test_in_regions():
    for wrap in (graphad.jit, graphad.checkpoint, lambda f: graphad.jit(graphad.checkpoint(f))):
        f = wrap(cubic)
        close(graphad.grad(f)(f64(2.0)), slope(2.0), 1e-9)
        close(graphad.grad(graphad.grad(f))(f64(2.0)), -6 * np.asarray(cubic(f64(2.0))) * slope(2.0) ** 3, 1e-8)
        close(graphad.vmap(graphad.grad(f))(f64([2.0, -1.0])), np.stack([slope(2.0), slope(-1.0)]), 1e-9)


def test_in_one_another():
    """The minimum of (cubic(x) - a)^2 is at a^3 + a."""
    f = lambda a: minimize(lambda x: (cubic(x) - a) ** 2, f64(0.1), gtol=1e-10).x
    for order, wanted in enumerate([2.0, 4.0, 6.0]):
        close(f(f64(1.0)), wanted, 1e-6)
        f = graphad.grad(f)
        assert order < 3


def test_systems_in_steps():
    """Implicit steps of diffusion and decay: fixed points, each step of which solves a linear system."""
    n = 12

    def diffused(k):
        def A(x):
            padded = gnp.pad(x, 1)
            return x + k * (2 * x - padded[:-2] - padded[2:])

        def step(_, u):
            return fixed_point(lambda v: cg(A, u - 0.1 * v**3, tol=1e-13)[0], u).x

        return lax.fori_loop(0, 5, step, gnp.sin(gnp.arange(n) * f64(0.3)))

    graphad.check_grads(diffused, (f64(0.4),), order=1)


def test_over_named_axes():
    """What a root depends on is summed over the batch."""

    def f(a):
        solve = lambda f, x: x - f(x)
        return lax.custom_root(lambda x: x - lax.psum(a, "i"), a * 0, solve, lambda g, y: y / g(1.0))

    a = f64([0.0, 1.0, 2.0, 3.0])
    over = lambda a: graphad.vmap(f, axis_name="i")(a)
    close(over(a), np.full(4, 6.0))
    close(graphad.grad(lambda a: over(a) @ a)(a), np.full(4, 12.0))


def test_what_nobody_reads_is_dropped():
    """An auxiliary result, what it alone is computed of, and a whole equation."""

    def f(a, b):
        solve = lambda f, x: (x - f(x), gnp.sum(gnp.sin(b)))
        x, _ = lax.custom_root(lambda x: x - a, 1.0, solve, lambda g, y: y / g(1.0), has_aux=True)
        lax.custom_linear_solve(lambda x: x, b, lambda f, b: b, symmetric=True)
        return x

    graph = graphad.make_graph(f)(f64(2.0), f64([1.0, 2.0]))
    assert [e.primitive.name for e in graph.eqns] == ["custom_root"]
    assert len(graph.eqns[0].inputs) == 2
    assert not count(graph, "sin")
    verify(graph, 2)


def test_on_a_gpu():
    """Solvers are loops like any other."""

    def newton(f, x):
        return lax.fori_loop(0, 6, lambda _, x: x - f(x) / (2 * x), x)

    f = lambda a: lax.custom_root(lambda x: x * x - a, 1.0, newton, lambda g, y: y / g(1.0))
    found = graphad.jit(graphad.value_and_grad(f), device="cuda:emulated")(2.0)
    close(np.stack([np.asarray(x) for x in found]), np.float32([2**0.5, 0.5 / 2**0.5]), 1e-6)
    gradient = graphad.value_and_grad(cubic)
    close(graphad.jit(gradient, device="cuda:emulated")(2.0), graphad.jit(gradient)(2.0), 1e-5)
    system = lambda a: gnp.sum(root(lambda x: [x[0] ** 2 + x[1] - a, x[1] - 3 * x[0]], np.ones(2, np.float32)).x)
    found = graphad.jit(graphad.value_and_grad(system), device="cuda:emulated")(np.float32(4))
    close(np.stack([np.asarray(x) for x in found]), np.float32([4, 0.8]), 1e-5)
