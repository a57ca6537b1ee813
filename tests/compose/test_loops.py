"""Loops and branches in every mode: against the same Python loop, differences, and NumPy's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.stages import simplify
from graphad.errors import ConcretizationError
from graphad.experimental import io_callback
from graphad.ir.evaluate import evaluate
from graphad.ir.text import parse_graph
from tests.compose.tools import close as close_arrays
from tests.compose.tools import f64

RNG = np.random.default_rng(0)
XS = f64(RNG.normal(size=(6, 2)))
MATRIX = f64(RNG.normal(size=(20, 20)) * 0.2)
BATCH = f64(RNG.uniform(0.5, 2.0, size=5))
WIDE = f64(RNG.uniform(0.5, 2.0, size=19))


def close(got, wanted, tolerance=1e-9):
    for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(wanted), strict=True):
        close_arrays(a, b, tolerance)


def python_scan(f, carry, xs, reverse=False):
    ys = []
    for k in reversed(range(len(xs))) if reverse else range(len(xs)):
        carry, y = f(carry, xs[k])
        ys.append(y)
    return carry, gnp.stack(ys[::-1] if reverse else ys)


def pair(loop, reverse=False):
    """A function of a number and an array, by way of a loop over the rows of the array."""

    def f(a, xs):
        def step(c, x):
            c = gnp.sin(c) * a + x[0] * x[1]
            return c, c * x[0] + a

        c, ys = loop(step, a * 2.0, xs, reverse=reverse)
        return gnp.sum(ys * ys) + c

    return f


def mode(name):
    return {
        "value": lambda f: f,
        "gradient": lambda f: graphad.grad(f, (0, 1)),
        "forward": lambda f: lambda a, xs: graphad.jvp(f, (a, xs), (a, xs + 1.0)),
        "twice": lambda f: graphad.grad(lambda a, xs: gnp.sum(graphad.grad(f, 1)(a, xs) ** 2), (0, 1)),
        "thrice": lambda f: graphad.grad(graphad.grad(graphad.grad(f))),
        "hessian": lambda f: graphad.jacfwd(graphad.grad(f, 1), 1),
        "batch": lambda f: lambda a, xs: graphad.vmap(graphad.grad(f, (0, 1)), (0, None))(a * BATCH, xs),
        "wide batch": lambda f: lambda a, xs: graphad.vmap(graphad.value_and_grad(f), (0, None))(a * WIDE, xs),
        "of a batch": lambda f: graphad.grad(lambda a, xs: gnp.sum(graphad.vmap(f, (0, None))(a * BATCH, xs)), (0, 1)),
        "two batches": lambda f: (
            lambda a, xs: graphad.vmap(lambda b: graphad.vmap(graphad.grad(f, 1), (0, None))(b * BATCH, xs))(
                a * WIDE[:3]
            )
        ),
    }[name]


MODES = (
    "value",
    "gradient",
    "forward",
    "twice",
    "thrice",
    "hessian",
    "batch",
    "wide batch",
    "of a batch",
    "two batches",
)


def everywhere(f, *args, tolerance=1e-9):
    """What ``f`` gives, which is the same compiled and by NumPy, equation by equation."""
    compiled = graphad.jit(f)(*args)
    close(f(*args), compiled, tolerance)
    with graphad.config.override(disable_jit=True):
        close(f(*args), compiled, tolerance)
    return compiled


@pytest.mark.parametrize("name", MODES)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_the_loop_in_python(name, reverse):
    wanted = mode(name)(pair(python_scan, reverse))(f64(0.7), XS)
    close(everywhere(mode(name)(pair(lax.scan, reverse)), f64(0.7), XS), wanted, 1e-9)


def vector_loop(loop):
    def f(a, xs):
        def step(h, x):
            h = gnp.tanh(MATRIX @ h + x[0] * a)
            return h, gnp.sum(h * h)

        h, ys = loop(step, MATRIX[0] * a, xs)
        return gnp.sum(h) + gnp.sum(ys * ys)

    return f


@pytest.mark.parametrize("name", ["value", "gradient", "forward", "twice", "batch", "of a batch"])
def test_a_scan_of_products(name):
    scanned = vector_loop(lambda step, c, xs: lax.scan(step, c, xs))
    close(everywhere(mode(name)(scanned), f64(0.7), XS), mode(name)(vector_loop(python_scan))(f64(0.7), XS), 1e-9)


def nested(loop):
    def f(a, xs):
        def outer(c, x):
            def inner(d, z):
                d = gnp.cos(d) * z + c
                return d, d * a

            d, ys = loop(inner, c, xs[:, 0] * a)
            return d + x[1], gnp.sum(ys)

        c, ys = loop(outer, a, xs)
        return c + gnp.sum(ys * ys)

    return f


@pytest.mark.parametrize("name", ["value", "gradient", "twice", "batch", "wide batch"])
def test_a_scan_inside_a_scan(name):
    inside = nested(lambda step, c, xs: lax.scan(step, c, xs))
    close(everywhere(mode(name)(inside), f64(0.4), XS), mode(name)(nested(python_scan))(f64(0.4), XS), 1e-8)


# ---- loops that end when they are done


TENTH = f64(0.1)


def newton(a):
    return lax.while_loop(lambda x: gnp.abs(x * x - a) > 1e-10, lambda x: 0.5 * (x + a / x), a)


def test_derivatives_through_a_while_loop():
    a = f64(2.0)
    close(everywhere(newton, a), np.sqrt(2.0), 1e-9)
    close(everywhere(graphad.grad(newton), a), 0.5 / np.sqrt(2.0), 1e-9)
    close(everywhere(graphad.grad(graphad.grad(newton)), a), -0.25 * 2**-1.5, 1e-8)
    close(everywhere(graphad.jacfwd(graphad.grad(newton)), a), -0.25 * 2**-1.5, 1e-8)


@pytest.mark.parametrize("batch", [BATCH, WIDE])
def test_a_batch_ends_element_by_element(batch):
    values = np.asarray(batch)
    close(everywhere(graphad.vmap(newton), batch), np.sqrt(values), 1e-9)
    close(everywhere(graphad.vmap(graphad.grad(newton)), batch), 0.5 / np.sqrt(values), 1e-9)
    close(everywhere(graphad.vmap(graphad.grad(graphad.grad(newton))), batch), -0.25 * values**-1.5, 1e-6)
    close(everywhere(graphad.grad(lambda v: gnp.sum(graphad.vmap(newton)(v))), batch), 0.5 / np.sqrt(values), 1e-9)


def test_collatz():
    def f(x, n):
        def step(state):
            n, x = state
            return gnp.where(n % 2 == 0, n // 2, 3 * n + 1), x * 0.99 + gnp.sin(x) * gnp.where(
                n % 2 == 0, TENTH, 2 * TENTH
            )

        return lax.while_loop(lambda s: s[0] != 1, step, (n, x))[1]

    def unrolled(x, n):
        while n != 1:
            x, n = x * 0.99 + gnp.sin(x) * (0.1 if n % 2 == 0 else 0.2), n // 2 if n % 2 == 0 else 3 * n + 1
        return x

    for n in (1, 6, 27):
        close(
            everywhere(graphad.grad(lambda x, n=n: f(x, n)), f64(0.3)),
            graphad.grad(lambda x, n=n: unrolled(x, n))(f64(0.3)),
        )
    together = graphad.vmap(graphad.grad(f), (None, 0))(f64(0.3), gnp.array([1, 6, 27]))
    close(together, np.stack([graphad.grad(unrolled)(f64(0.3), n) for n in (1, 6, 27)]))


def test_a_while_loop_of_vectors():
    def f(m, x):
        return gnp.sum(lax.while_loop(lambda c: gnp.sum(c * c) > 1.0, lambda c: gnp.sin(m @ c), x))

    def unrolled(m, x):
        while gnp.sum(x * x) > 1.0:
            x = gnp.sin(m @ x)
        return gnp.sum(x)

    start = f64(RNG.normal(size=20) * 2)
    close(everywhere(graphad.grad(f, (0, 1)), MATRIX, start), graphad.grad(unrolled, (0, 1))(MATRIX, start), 1e-9)
    starts = f64(RNG.normal(size=(3, 20)) * 2)
    close(
        everywhere(graphad.vmap(graphad.grad(f, 1), (None, 0)), MATRIX, starts),
        np.stack([graphad.grad(unrolled, 1)(MATRIX, x) for x in starts]),
        1e-9,
    )


def test_what_a_while_loop_repeats_for_each_turn_is_as_long_as_the_loop():
    """Simplified, what the backward loop reads is a constant in every turn and element: two loops that are one product.

    One of them is of a length known only when it runs, so they may not become one loop.
    """
    chosen = lambda u, c: gnp.where(u < 5.0, c, graphad.stop_gradient(c))

    def loss(c, n):
        step = lambda s: (s[0] + 1, s[1] * chosen(s[1], c))
        return gnp.sum(lax.while_loop(lambda s: s[0] < n, step, (np.int32(0), gnp.ones(65)))[1])

    value, slope = graphad.jit(graphad.value_and_grad(loss))(0.5, 3)
    np.testing.assert_allclose([value, slope], [65 * 0.5**3, 65 * 3 * 0.5**2], rtol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 7])
def test_a_bound_known_when_it_runs(n):
    f = lambda x, n: lax.fori_loop(0, n, lambda i, x: gnp.cos(x) * (i + 1), x)
    fixed = lambda x: lax.fori_loop(0, n, lambda i, x: gnp.cos(x) * (i + 1), x)
    close(everywhere(f, f64(0.5), n), fixed(f64(0.5)))
    close(everywhere(graphad.grad(f), f64(0.5), n), graphad.grad(fixed)(f64(0.5)))
    close(everywhere(graphad.grad(graphad.grad(f)), f64(0.5), n), graphad.grad(graphad.grad(fixed))(f64(0.5)))


def test_one_program_serves_all_bounds():
    f = graphad.jit(graphad.grad(lambda x, n: lax.fori_loop(0, n, lambda _, x: gnp.sin(x), x)))
    for n in (3, 5, 1000, 0):
        close(f(f64(0.5), n), graphad.grad(lambda x, n=n: lax.fori_loop(0, n, lambda _, x: gnp.sin(x), x))(f64(0.5)))


# ---- branches


def root(x):
    return lax.cond(x > 0, lambda x: gnp.sqrt(x), lambda x: x * x * x, x)


def test_derivatives_of_the_branch_that_is_taken():
    for x, d, dd in ((4.0, 0.25, -1 / 32), (-3.0, 27.0, -18.0)):
        close(everywhere(graphad.grad(root), f64(x)), d)
        close(everywhere(graphad.grad(graphad.grad(root)), f64(x)), dd)


@pytest.mark.parametrize("points", [[4.0, -3.0], [0.0, -1.0, 9.0, 4.0, -2.0]])
def test_what_is_not_chosen_is_exactly_zero(points):
    xs = f64(points)
    values = np.asarray(points)
    wanted = np.where(values > 0, 0.5 / np.sqrt(np.abs(values) + (values == 0)), 3 * values**2)
    close(everywhere(graphad.vmap(graphad.grad(root)), xs), wanted)
    close(everywhere(graphad.grad(lambda v: gnp.sum(graphad.vmap(root)(v))), xs), wanted)
    # Of an operand that all members share, too.
    shared = lambda w, v: gnp.sum(graphad.vmap(lambda x: lax.cond(x > 0, lambda: gnp.sqrt(x) * w, lambda: w * x))(v))
    close(everywhere(graphad.grad(shared), f64(2.0), xs), np.sum(np.where(values > 0, np.sqrt(np.abs(values)), values)))


def test_branches_of_products():
    f = lambda x: gnp.sum(lax.cond(x[0] > 0, lambda: gnp.sin(MATRIX @ x), lambda: MATRIX.T @ x))
    for x in (f64(np.ones(20)), f64(-np.ones(20))):
        plain = graphad.grad(lambda x: gnp.sum(gnp.sin(MATRIX @ x)) if x[0] > 0 else gnp.sum(MATRIX.T @ x))
        close(everywhere(graphad.grad(f), x), plain(x))
    xs = f64(np.stack([np.ones(20), -np.ones(20)]))
    close(everywhere(graphad.vmap(graphad.grad(f)), xs), np.stack([graphad.grad(f)(x) for x in xs]))


def test_switch_and_loops_in_it():
    branches = [
        lambda x: lax.fori_loop(0, 3, lambda i, x: gnp.sin(x), x),
        lambda x: lax.while_loop(lambda y: y < 10.0, lambda y: y * 2.0, x),
        lambda x: x * x,
    ]
    f = lambda k, x: lax.switch(k, branches, x)
    for k in (-1, 0, 1, 2, 5):
        g = branches[min(max(k, 0), 2)]
        close(
            everywhere(lambda x, k=k: graphad.value_and_grad(lambda y: f(k, y))(x), f64(0.9)),
            graphad.value_and_grad(g)(f64(0.9)),
        )
    ks = gnp.array([0, 1, 2, 1, 0])
    together = everywhere(graphad.vmap(graphad.grad(f, 1)), ks, BATCH)
    close(together, np.stack([graphad.grad(branches[int(k)])(x) for k, x in zip(ks, BATCH, strict=True)]))


def test_branches_that_look_at_different_values_outside():
    def function(i, a, b):
        def one(x):
            return x + 1 if a > 0 else x + 2

        def two(x):
            y = x * 10 if b > 0 else x * 20
            return y + (100 if a > 5 else 200)

        return lax.switch(i, [one, two], 1.0)

    compiled = graphad.jit(function)
    for a in (-1.0, 1.0, 6.0):
        for b in (-1.0, 1.0):
            wanted = (2.0 if a > 0 else 3.0), (10.0 if b > 0 else 20.0) + (100 if a > 5 else 200)
            assert (compiled(0, a, b), compiled(1, a, b)) == wanted


def test_a_test_and_a_body_that_look_at_different_values_outside():
    def function(a, b):
        return lax.while_loop(
            lambda s: s < (10.0 if a > 0 else 20.0), lambda s: s + 1.0 if b > 0 else s + 3.0, gnp.float32(0.0)
        )

    compiled = graphad.jit(function)
    found = [float(compiled(a, b)) for a in (-1.0, 1.0) for b in (1.0, -1.0)]
    assert found == [20.0, 21.0, 10.0, 12.0]


def test_loops_in_a_branch_that_the_first_member_of_a_batch_does_not_take():
    def looped(x):  # as many turns for all members
        return lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, gnp.tanh(c[1] * x)), (np.int32(0), x))[1]

    f = lambda k, x: gnp.sin(lax.switch(k, [lambda x: x * 0.5, looped], x))
    ks = gnp.array([0, 1, 1, 0, 1])
    together = everywhere(graphad.vmap(graphad.grad(f, 1)), ks, BATCH)
    close(together, np.stack([graphad.grad(f, 1)(k, x) for k, x in zip(ks, BATCH, strict=True)]))


# ---- what is kept, hoisted and pruned


def test_what_does_not_change_is_not_stacked():
    f = lambda a, xs: lax.scan(lambda c, x: (gnp.sin(c) * gnp.exp(a) + x, None), 0.0, xs)[0]
    graph = simplify(graphad.make_graph(graphad.grad(f))(f64(0.3), XS[:, 0]))
    scans = [e for e in graph.eqns if e.primitive.name == "scan"]
    inside = [e.primitive.name for s in scans for e in s.regions[0].eqns]
    assert "exp" not in inside
    assert len(scans) == 2


def test_dead_results_and_operands_are_dropped():
    def f(x):
        (c, _), _ = lax.scan(lambda c, y: ((gnp.sin(c[0]), c[1] * y), (c[0] * 2.0, c[1])), (x, x), XS[:, 0])
        return c

    graph = graphad.make_graph(f)(f64(0.3))
    (eqn,) = [e for e in graph.eqns if e.primitive.name == "scan"]
    assert eqn.primitive.named(eqn.params) == {"length": 6, "reverse": False, "n_consts": 0, "n_carry": 1}
    assert len(eqn.outputs) == 1


def test_graphs_with_loops_read_back():
    for f in (pair(lax.scan), lambda a, xs: newton(a) + xs[0, 0], lambda a, xs: root(a) * xs[0, 0]):
        graph = graphad.make_graph(graphad.grad(f))(f64(0.7), XS)
        assert parse_graph(repr(graph)) == graph
        close(evaluate(graph, [np.asarray(f64(0.7)), np.asarray(XS)])[0], graphad.grad(f)(f64(0.7), XS))


def test_a_loop_compiles_to_one_program_for_any_length():
    sizes = []
    for n in (1000, 10_024, 65_000):  # the same number of turns over, behind blocks of them
        compiled = graphad.jit(
            graphad.grad(lambda x, n=n: lax.scan(lambda c, _: (gnp.sin(c), None), x, None, length=n)[0])
        )
        compiled(f64(0.5))
        sizes.append(len(compiled.kernel_source(f64(0.5)).splitlines()))
    assert len(set(sizes)) == 1


def test_an_eager_loop_is_compiled_once_for_all_numbers():
    from graphad.api.stages import first_equal

    run = lambda k: lax.fori_loop(0, 5, lambda i, x: x * (0.5 + k) + 0.25 * k, f64(1.0))
    run(0.1)
    before = first_equal.cache_info().misses
    for k in (0.2, 0.3, 0.7):
        wanted = f64(1.0)
        for _ in range(5):
            wanted = wanted * (0.5 + k) + 0.25 * k
        close(run(k), wanted)
    assert first_equal.cache_info().misses == before


def test_no_turns():
    f = lambda x: lax.scan(lambda c, y: (c * y, c), x, f64(np.zeros(0)))
    carry, ys = everywhere(f, f64(2.0))
    assert carry == 2.0
    assert ys.shape == (0,)
    close(everywhere(graphad.grad(lambda x: f(x)[0]), f64(2.0)), 1.0)


# ---- effects


def doubled_three_times(x, say):
    def turn(i, c):
        say(i, c)
        return c * 2.0

    return lax.fori_loop(0, 3, turn, x)


@pytest.mark.parametrize("compiled", [True, False])
def test_prints_in_every_turn(capfd, compiled):
    f = lambda x: doubled_three_times(x, lambda i, c: graphad.debug.print("turn {}: {}", i, c))
    wanted = "turn 0: 1.0\nturn 1: 2.0\nturn 2: 4.0\n"
    for g, value in ((f, 8.0), (graphad.grad(f), 8.0), (lambda x: graphad.value_and_grad(f)(x)[0], 8.0)):
        close((graphad.jit(g) if compiled else g)(f64(1.0)), value)
        assert capfd.readouterr().out == wanted


def test_prints_between_loops_and_in_them_are_in_order(capfd):
    @graphad.jit
    def f(x):
        graphad.debug.print("before")
        y = doubled_three_times(x, lambda i, c: graphad.debug.print("turn {}", i))
        graphad.debug.print("between {}", y)
        return lax.cond(y > 5.0, lambda: (graphad.debug.print("large"), y)[1], lambda: y)

    close(f(f64(1.0)), 8.0)
    assert capfd.readouterr().out.split("\n")[:-1] == ["before", "turn 0", "turn 1", "turn 2", "between 8.0", "large"]


@pytest.mark.parametrize("engine", ["llvm", "numba"])
def test_callbacks_in_loops(engine):
    seen = []

    def host(c):
        seen.append(float(c))
        return np.asarray(c) + 1.0

    shape = graphad.ShapeDtypeStruct((), np.float64)

    def f(x, n):
        body = lambda i, c: lax.cond(i % 2 == 0, lambda: io_callback(host, shape, c), lambda: c * 2.0)
        return lax.fori_loop(0, n, body, x)

    with graphad.config.override(engine=engine):
        close(graphad.jit(f)(f64(1.0), 4), 10.0)
    assert seen == [1.0, 4.0]


def test_an_exception_in_a_turn_ends_the_loop():
    def host(c):
        if c > 3.0:
            raise ValueError("too much")
        return np.asarray(c) * 2.0

    shape = graphad.ShapeDtypeStruct((), np.float64)
    f = graphad.jit(lambda x: lax.while_loop(lambda c: c < 100.0, lambda c: graphad.pure_callback(host, shape, c), x))
    with pytest.raises(ValueError, match="too much"):
        f(f64(1.0))


def test_a_choice_for_each_element_has_no_effects():
    f = lambda x: lax.cond(x > 0, lambda: (graphad.debug.print("positive"), x)[1], lambda: x)
    with pytest.raises(ConcretizationError, match=r"test_loops\.py:\d+.*another way for each element.*by lax\.map"):
        graphad.vmap(f)(BATCH)


def test_branches_take_a_python_float_in_dtypes_of_their_own():
    x32, x64 = np.float32([1.0, 2.0]), f64([3.0, 4.0])

    def f(a, p):
        return lax.cond(p, lambda: a * x32, lambda: gnp.astype(a * x64, np.float32)).sum()

    for p, slope in ((True, 3.0), (False, 7.0)):
        for g in (graphad.value_and_grad(f), graphad.jit(graphad.value_and_grad(f))):
            close(g(2.0, p), (np.float32(2 * slope), slope))
