"""`custom_root` and `custom_linear_solve` in every mode: against JAX's, closed forms and the text of the IR."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.errors import DifferentiationError
from graphad.ir.text import format_graph, parse_graph
from tests.compose.tools import close as close_arrays
from tests.compose.tools import count, f64
from tests.thinned import every

OURS = SimpleNamespace(np=gnp, lax=lax, ad=graphad)
THEIRS = SimpleNamespace(np=jnp, lax=jax.lax, ad=jax)

RNG = np.random.default_rng(0)
MATRIX = f64(RNG.normal(size=(3, 3)) * 0.3 + 2 * np.eye(3))
RIGHT = f64(RNG.normal(size=3))
DIRECTION = f64(RNG.normal(size=3))


def close(got, wanted, tolerance=1e-9):
    got, wanted = graphad.tree.leaves(got), graphad.tree.leaves(wanted)
    for a, b in zip(got, wanted, strict=True):
        close_arrays(a, b, tolerance)


def eliminated(m, A, b):
    """Gaussian elimination without pivots, of a few rows."""
    rows = [(A[k], b[k]) for k in range(len(b))]
    for k in range(len(rows)):
        row, y = rows[k][0] / rows[k][0][k], rows[k][1] / rows[k][0][k]
        rows = [(row, y) if j == k else (r - r[k] * row, v - r[k] * y) for j, (r, v) in enumerate(rows)]
    return m.np.stack([y for _, y in rows])


def dense_solve(m):
    def solve(matvec, b):
        columns = m.ad.vmap(matvec, out_axes=1)(m.np.eye(len(b), dtype=b.dtype))
        return eliminated(m, columns, b)

    return solve


# ---------------------------------------------------------------------------------------------------------------------
# Programs: each is a function of a vector


def scalar_root(m, a):
    """The cube root by Newton's method, in a loop that is not differentiated."""

    def newton(f, x):
        def step(state):
            x, k = state
            y, slope = m.ad.jvp(f, (x,), (m.np.ones_like(x),))
            return x - y / slope, k + 1

        return m.lax.while_loop(lambda s: (abs(f(s[0])) > 1e-13) & (s[1] < 100), step, (x, 0))[0]

    def root(a):
        return m.lax.custom_root(lambda x: x**3 - a, m.np.ones_like(a), newton, lambda g, y: y / g(m.np.ones_like(y)))

    return m.np.stack([root(a[0] * a[1] + 3.0), root(m.np.exp(a[2])) * a[0]])


def vector_root(m, a):
    """Of three equations, with containers, an auxiliary result, and a linear solve for tangents."""

    def f(x):
        return {"x": x["x"] + 0.2 * m.np.sin(x["x"] * a), "y": x["y"] * 2 + 0.1 * x["x"][0] - a[1]}

    def solve(f, x):
        def step(_, x):
            r = f(x)
            return {"x": x["x"] - r["x"], "y": x["y"] - r["y"] / 2}

        return m.lax.fori_loop(0, 60, step, x), m.np.ones(3).sum()

    def tangent_solve(g, b):
        def both(v):
            out = g({"x": v[:3], "y": v[3]})
            return m.np.concatenate([out["x"], out["y"][None]])

        x = m.lax.custom_linear_solve(both, m.np.concatenate([b["x"], b["y"][None]]), dense_solve(m), dense_solve(m))
        return {"x": x[:3], "y": x[3]}

    start = {"x": m.np.zeros_like(a), "y": m.np.zeros_like(a[0])}
    x, aux = m.lax.custom_root(f, start, solve, tangent_solve, has_aux=True)
    return m.np.stack([m.np.sum(x["x"] * a), x["y"] * x["x"][0], aux])


def linear(m, a):
    """By the matrix and by the right side."""
    A = m.np.asarray(MATRIX, a.dtype) + a[:, None] * m.np.sin(a)
    x = m.lax.custom_linear_solve(lambda x: A @ x, a * m.np.asarray(RIGHT, a.dtype), dense_solve(m), dense_solve(m))
    return x * a


def symmetric(m, a):
    """One solve for the matrix and its transpose."""
    A = m.np.asarray(MATRIX + MATRIX.T, a.dtype) + a[:, None] * a
    return m.lax.custom_linear_solve(lambda x: A @ x, m.np.exp(a), dense_solve(m), symmetric=True)


PROGRAMS = {f.__name__: f for f in (scalar_root, vector_root, linear, symmetric)}
programs = pytest.mark.parametrize("program", every(2, [*PROGRAMS]))
POINT = f64([0.5, -0.3, 0.8])


def everything(m, program):
    f = lambda a: PROGRAMS[program](m, a)
    weighted = lambda a: m.np.sum(f(a) ** 2)
    batch = m.np.stack([POINT, POINT * 0.5, POINT[::-1] * 1.0])
    return {
        "value": f(POINT),
        "forward": m.ad.jvp(f, (POINT,), (DIRECTION,)),
        "jacfwd": m.ad.jacfwd(f)(POINT),
        "jacrev": m.ad.jacrev(f)(POINT),
        "hessian": m.ad.hessian(weighted)(POINT),
        "grad of grad": m.ad.grad(lambda a: m.np.sum(m.ad.grad(weighted)(a) ** 3))(POINT),
        "batch": m.ad.vmap(f)(batch),
        "batch of gradients": m.ad.vmap(m.ad.grad(weighted))(batch),
        "gradient of a batch": m.ad.grad(lambda b: m.np.sum(m.ad.vmap(f)(b) ** 2))(batch),
        "compiled": m.ad.jit(m.ad.value_and_grad(weighted))(POINT),
    }


@programs
def test_as_jax(program):
    got = everything(OURS, program)
    with jax.enable_x64(True):
        wanted = everything(THEIRS, program)
    for mode, found in got.items():
        for a, b in zip(graphad.tree.leaves(found), jax.tree.leaves(wanted[mode]), strict=True):
            np.testing.assert_allclose(np.asarray(a), np.asarray(b), 1e-8, 1e-9, err_msg=mode)


@programs
def test_in_float32(program):
    for mode, found in everything(OURS, program).items():
        if mode == "jacrev":
            single = graphad.jacrev(lambda a: PROGRAMS[program](OURS, a))(np.float32(POINT))
            close(single, found, 1e-3)


@programs
def test_derivatives_by_differences(program):
    graphad.check_grads(lambda a: PROGRAMS[program](OURS, a), (POINT,), order=2)
    graphad.check_vmap(lambda a: PROGRAMS[program](OURS, a), (np.stack([POINT, POINT / 2]),))


@programs
def test_text_reads_back(program):
    graph = graphad.make_graph(graphad.grad(lambda a: gnp.sum(PROGRAMS[program](OURS, a))))(POINT)
    assert parse_graph(format_graph(graph)) == graph


def test_a_start_and_aux_have_no_derivative():
    def f(start, a):
        solve = lambda f, x: (x - f(x) / 2, start * a)  # one step is exact
        x, aux = lax.custom_root(lambda x: 2 * x - a, start, solve, lambda g, y: y / g(1.0), has_aux=True)
        return x + 100 * aux

    close(graphad.grad(f, (0, 1))(f64(3.0), f64(4.0)), (0.0, 0.5))


def test_aux_of_a_linear_solve():
    def f(a, b):
        x, aux = lax.custom_linear_solve(
            lambda x: a * x, b, lambda f, b: (b / f(1.0), {"of": b}), symmetric=True, has_aux=True
        )
        return x + 100 * aux["of"]

    a, b = f64(2.0), f64(3.0)
    close(f(a, b), 301.5)
    close(graphad.grad(f, (0, 1))(a, b), (-0.75, 0.5))
    close(graphad.jacfwd(graphad.grad(f), 1)(a, b), -0.25)
    close(graphad.vmap(f, (0, None))(f64([1.0, 2.0]), b), f64([303.0, 301.5]))


def test_batched_by_the_start_alone():
    root = lambda start: lax.custom_root(lambda x: x - 2.0, start, lambda f, x: x - f(x), lambda g, y: y / g(1.0))
    close(graphad.vmap(root)(f64([0.0, 1.0, 5.0])), f64([2.0, 2.0, 2.0]))
    by_a = lambda a, x: lax.custom_linear_solve(lambda v: a * v, x, lambda f, b: b / f(1.0), symmetric=True)
    close(graphad.vmap(by_a, (None, 0))(f64(2.0), f64([1.0, 4.0])), f64([0.5, 2.0]))
    close(graphad.vmap(by_a, (0, None))(f64([2.0, 4.0]), f64(1.0)), f64([0.5, 0.25]))


def test_linear_transpose_of_a_solve():
    """It is the solve of the transpose."""
    f = lambda b: lax.custom_linear_solve(lambda x: MATRIX @ x, b, dense_solve(OURS), dense_solve(OURS))
    close(f(RIGHT), np.linalg.solve(MATRIX, RIGHT))
    close(graphad.linear_transpose(f, RIGHT)(DIRECTION)[0], np.linalg.solve(MATRIX.T, DIRECTION))


def test_the_steps_are_not_differentiated():
    """One solve going forward, one of the transpose coming back, whatever happens in them."""
    f = lambda a: gnp.sum(linear(OURS, a))
    graph = graphad.make_graph(graphad.grad(f))(POINT)
    assert count(graph, "custom_linear_solve") == 2
    graph = graphad.make_graph(graphad.grad(lambda a: scalar_root(OURS, a)[0]))(POINT)
    assert count(graph, "custom_root") == 2
    assert not count(graph, "counted")


def test_nothing_to_solve_for():
    assert lax.custom_root(lambda x: x, {}, lambda f, x: x, lambda g, y: y) == {}
    empty = lax.custom_root(lambda x: x, gnp.zeros(0), lambda f, x: x, lambda g, y: y)
    assert empty.shape == (0,)
    f = lambda a: lax.custom_linear_solve(lambda x: x, gnp.zeros(0) * a, lambda f, b: b, symmetric=True).sum()
    assert graphad.grad(f)(2.0) == 0


def test_numbers_take_the_type_that_they_meet():
    a = f64(2.0)
    root = lax.custom_root(lambda x: x - a, 1.0, lambda f, x: x - f(x), lambda g, y: y / g(1.0))
    assert root.dtype == np.float64
    assert root == 2.0
    assert lax.custom_root(lambda x: x - 2, 1.0, lambda f, x: x - f(x), lambda g, y: y).dtype == np.float32


def test_prints_happen_once(capsys):
    def f(a):
        def residual(x):
            graphad.debug.print("at {}", x)
            return x - a

        return lax.custom_root(residual, 1.0, lambda f, x: x - f(x), lambda g, y: y / g(1.0))

    for run in (f, graphad.grad(f), graphad.jit(graphad.value_and_grad(f))):
        run(2.0)
        assert capsys.readouterr().out == "at 1.0\n"


def test_prints_of_a_linear_solve_are_those_of_the_call(capsys):
    """Its derivatives solve again, and in reverse the transpose; what they solve is nobody's call."""

    def f(a):
        def solve(matvec, b):
            graphad.debug.print("solves for {}", b)
            return b / matvec(1.0)

        return lax.custom_linear_solve(lambda x: a * x, 3.0, solve, solve)

    for run in (f, graphad.grad(f), lambda a: graphad.jvp(f, (a,), (1.0,)), graphad.jit(graphad.grad(f))):
        run(2.0)
        assert capsys.readouterr().out == "solves for 3.0\n"


def test_the_transpose_prints_nothing(capsys):
    def solve(matvec, b):
        graphad.debug.print("forward {}", b)
        return b / matvec(1.0)

    def back(vecmat, b):
        graphad.debug.print("back {}", b)
        return b / vecmat(1.0)

    f = lambda b: lax.custom_linear_solve(lambda x: 4 * x, b, solve, back)
    transposed = lambda c: graphad.linear_transpose(f, 1.0)(c)[0]
    for run in (transposed, graphad.jit(transposed)):
        assert run(2.0) == 0.5
        assert not capsys.readouterr().out


def test_batched_where_the_solution_does_not_depend_on_the_batch():
    def f(a, solve=lambda f, x: gnp.full_like(x, 2.0)):
        return lax.custom_root(lambda x: a * (x - 2), f64(1.0), solve, lambda g, y: y / g(1.0))

    batch = f64([1.0, 3.0])
    close(graphad.vmap(f)(batch), f64([2.0, 2.0]))
    close(graphad.vmap(graphad.grad(f))(batch), f64([0.0, 0.0]))
    of_b = lambda a: lax.custom_linear_solve(lambda x: x, a * 0 + 1, lambda f, b: gnp.ones_like(b), symmetric=True)
    close(graphad.grad(lambda a: gnp.sum(graphad.vmap(of_b)(a)))(batch), f64([0.0, 0.0]))


def test_python_branches_on_what_is_closed_over():
    """They become guards around the equation."""

    def f(a):
        def matvec(x):
            return (2.0 if a > 0 else -4.0) * a * x

        solve = lambda f, b: b / f(1.0)
        return lax.custom_linear_solve(matvec, 1.0, solve, solve)

    compiled = graphad.jit(graphad.value_and_grad(f))
    for a in (2.0, -2.0, 3.0):
        scale = 2 if a > 0 else -4
        close(compiled(f64(a)), (1 / (scale * a), -1 / (scale * a**2)), 1e-6)


def identity(f, x):
    return x


NEEDS_FLOATS = r"lax\.custom_root solves for floats, but the initial guess\[1\] is i32\[\]\. Convert it"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lax.custom_root(lambda x: x, (1.0, 2), identity, identity), NEEDS_FLOATS),
        (lambda: lax.custom_root(lambda x: (x, x), 1.0, identity, identity), "lambda returns .*, but the init"),
        (lambda: lax.custom_root(lambda x: x[:1], gnp.ones(2), identity, identity), r"returns f32\[1\] .* x\.reshape"),
        (lambda: lax.custom_root(lambda x: x, 1.0, lambda f, x: (x, x), identity), "one structure"),
        (lambda: lax.custom_root(lambda x: x, 1.0, identity, identity, has_aux=True), r"a pair \(x, aux\)"),
        (lambda: lax.custom_root(lambda x: x, 1.0, identity, lambda g, y: y.astype(np.float64)), "tangent_solve"),
        (lambda: lax.custom_root(3, 1.0, identity, identity), r"custom_root \(f\)"),
        (lambda: lax.custom_linear_solve(lambda x: x, 1, identity), r"but b is i32\[\]"),
        (lambda: lax.custom_linear_solve(lambda x: x, gnp.ones(2), lambda f, x: x.sum()), r"returns f32\[\]"),
    ],
)  # fmt: skip
def test_errors_say_what_to_do(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_reverse_mode_needs_the_transpose():
    f = lambda b: lax.custom_linear_solve(lambda x: 2 * x, b, lambda f, b: b / 2)
    close(graphad.jvp(f, (f64(3.0),), (f64(1.0),)), (1.5, 0.5))
    with pytest.raises(DifferentiationError, match="Give it transpose_solve, or symmetric=True"):
        graphad.grad(f)(3.0)
    with pytest.raises(DifferentiationError, match="linear in b, and not in what its matvec closes over"):
        graphad.linear_transpose(
            lambda a: lax.custom_linear_solve(lambda x: a * x, 1.0, lambda f, b: b, symmetric=True), 1.0
        )(1.0)
