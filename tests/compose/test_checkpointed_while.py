"""``while`` loops that store few states: the gradients of the plain loop, in few sweeps and in little memory."""

from __future__ import annotations

import re
from math import comb

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.checkpointed_while import MOST_SWEEPS, turns_reached, while_with_checkpoints
from graphad.api.checkpoints import BLOCK
from graphad.api.residual_limit import FEWEST_STATES, MOST_STATES, bounded
from graphad.api.stages import simplify
from graphad.api.tracing import loop_notes
from graphad.backends.loops.memory import plan
from graphad.backends.lower.fuse import lower
from graphad.primitives.while_loop import Params, while_
from tests.thinned import every


def recurrence(x, a, n, step=lambda x: x):
    """Chaotic, so that one bit of a state makes others of all digits."""

    def turn(state):
        k, x, total = state
        x = step(gnp.sin(x * a) + x / (1 + x * x))
        return k + 1, x, total + x * x

    return lax.while_loop(lambda s: s[0] < n, turn, (0, x, 0.0 * x))


def loss(x, a, n):
    _, x, total = recurrence(x, a, n)
    return gnp.sum(x + 0.5 * total)


def with_slots(f, slots):
    """``f``, the traced ``while`` loop of which stores so many states."""

    def run(*args):
        graph = graphad.make_graph(f)(*args)
        values = dict(enumerate(args))
        for eqn in graph.eqns:
            operands = [values[a] if type(a) is int else a.value for a in eqn.inputs]
            if eqn.primitive is while_:
                made = while_with_checkpoints(eqn.regions, Params(*eqn.params), slots, operands)
            else:
                made = [eqn.primitive(*operands, **eqn.primitive.named(eqn.params))]
            values |= dict(zip(eqn.outputs, made, strict=True))
        (result,) = graph.outputs
        return values[result]

    return run


def gradients(f, *args, **options):
    wanted = tuple(k for k, x in enumerate(args) if np.asarray(x).dtype.kind == "f")
    return leaves(graphad.jit(graphad.value_and_grad(f, wanted, **options))(*args))


def leaves(tree):
    return [np.asarray(x) for x in graphad.tree.leaves(tree)]


def equal(got, wanted):
    for a, b in zip(got, wanted, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        np.testing.assert_array_equal(a, b)


TURNS = [0, 1, 7, 8, 9, 16, 17, 24, 25, 47, 48, 49, 81, 237, 1000]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("slots", every(2, [2, 3, 5, 40]))
def test_gradients_are_those_of_the_plain_loop_to_the_last_bit(slots, dtype):
    args = dtype(0.3), dtype(1.9)
    plain = graphad.jit(graphad.value_and_grad(loss, (0, 1)))
    for n in TURNS:
        equal(gradients(with_slots(loss, slots), *args, n), leaves(plain(*args, n)))


@pytest.mark.parametrize("slots", [2, 5])
@pytest.mark.parametrize("n", every(2, [0, 1, 8, 9, 30, 200]))
@pytest.mark.parametrize("size", [0, 7])
def test_arrays(size, n, slots):
    x = np.linspace(-1, 1, size)
    equal(gradients(with_slots(loss, slots), x, np.float64(1.3), n), gradients(loss, x, np.float64(1.3), n))


@pytest.mark.parametrize(
    ("slots", "n"), every(2, [(2, 40), (3, 100), (4, 2000), (8, 400), (8, 2600), (30, 237), (5, 4000)], several=True)
)
def test_turns_run_in_as_few_sweeps_as_were_promised(slots, n):
    runs = 0

    def counted(x):
        nonlocal runs
        runs += 1
        return x

    def counting(x):
        return x + 0 * graphad.pure_callback(counted, x, graphad.stop_gradient(x))

    def f(x, a, n):
        _, x, total = recurrence(x, a, n, counting)
        return x + total

    gradients(with_slots(f, slots), np.float64(0.3), np.float64(1.9), n)
    blocks = -(-n // BLOCK)
    sweeps = next(r for r in range(1, 50) if comb(slots + r - 1, r) >= blocks)
    if sweeps <= MOST_SWEEPS:
        assert runs <= (sweeps + 1) * n  # each block once more while it is reversed
        assert runs >= 2 * n
    else:
        parts = -(-blocks // comb(slots + MOST_SWEEPS - 2, MOST_SWEEPS))
        assert runs <= (MOST_SWEEPS + 2 + parts / 2) * n


def test_batches():
    x, a, n = np.linspace(-1, 1, 5), np.linspace(1, 2, 5), np.array([0, 3, 8, 61, 200])
    one_by_one = [gradients(loss, *args) for args in zip(x, a, n, strict=True)]
    wanted = [np.stack(xs) for xs in zip(*one_by_one, strict=True)]
    inner = graphad.jit(graphad.vmap(graphad.value_and_grad(loss, (0, 1), max_residual_bytes=1000)))
    equal(leaves(inner(x, a, n)), wanted)

    def total(*args):
        return gnp.sum(graphad.vmap(loss)(*args))

    equal(gradients(total, x, a, n, max_residual_bytes=4000), gradients(total, x, a, n))


def test_unchosen_elements_have_gradients_of_zero():
    """Where an element has stopped, the body would give nan."""

    def f(x):
        return lax.while_loop(lambda c: c > 0.1, lambda c: c * gnp.sqrt(c - 0.05), x)

    def total(xs):
        return gnp.sum(graphad.vmap(f)(xs))

    xs = np.array([0.04, 0.5, 0.97, 0.9999])
    got = graphad.grad(total, max_residual_bytes=2000)(xs)
    assert np.isfinite(got).all()
    equal([np.asarray(got)], [np.asarray(graphad.grad(total)(xs))])


# ---------------------------------------------------------------------------------------------------------------------
# Loops in loops


def newton(a):
    return lax.while_loop(lambda c: abs(c * c - a) > 1e-9 * a, lambda c: 0.5 * (c + a / c), a)


def while_in_scan(a, n):
    return lax.scan(lambda c, _: (newton(c + a), c * a), a, None, 20)[0]


def while_in_while(a, n):
    return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, newton(s[1] + a)), (0, a))[1]


def scan_in_while(a, n):
    def turn(state):
        return state[0] + 1, lax.scan(lambda c, _: (gnp.sin(c) * a, None), state[1], None, 100)[0]

    return lax.while_loop(lambda s: s[0] < n, turn, (0, a))[1]


def in_regions(a, n):
    inner = graphad.jit(lambda a: recurrence(a, a, n)[1])
    return lax.cond(a > 0, lambda a: graphad.checkpoint(inner)(a) * a, lambda a: a, a)


def two_whiles(a, n):
    return recurrence(newton(a), a, n)[1]


NESTS = [while_in_scan, while_in_while, scan_in_while, in_regions, two_whiles]


@pytest.mark.parametrize("f", NESTS)
@pytest.mark.parametrize("limit", every(2, [1_000, 100_000]))
def test_loops_in_loops(f, limit):
    equal(gradients(f, np.float64(1.7), 37, max_residual_bytes=limit), gradients(f, np.float64(1.7), 37))


@pytest.mark.parametrize("f", NESTS)
def test_of_each_loop_it_is_said_what_is_stored(f):
    with loop_notes() as found:
        graphad.make_graph(graphad.grad(f, max_residual_bytes=3_000))(np.float64(1.7), 37)
    text = " ".join(found)
    states = re.findall(r"while loop \(test_checkpointed_while.py:\d+\): .*?stores ([\d,]+) states", text)
    assert len(states) == {"while_in_while": 2, "two_whiles": 2}.get(f.__name__, 1)
    assert all(FEWEST_STATES <= int(n.replace(",", "")) <= MOST_STATES for n in states)


def test_what_is_left_of_the_limit_goes_to_more_states():
    def states(limit):
        with loop_notes() as found:
            graphad.make_graph(graphad.grad(loss, max_residual_bytes=limit))(np.float64(0.3), np.float64(1.9), 9)
        return int(re.findall(r"stores ([\d,]+) states", found[0])[0].replace(",", ""))

    few, more, most = states(1_000), states(3_000), states(10**9)
    assert more - few == (3_000 - 1_000) // 20  # two numbers of float64, and a counter
    assert most == MOST_STATES
    assert turns_reached(few) > 10_000


def test_too_little_says_how_much_works():
    args = np.float64(0.3), np.float64(1.9), 9
    with pytest.raises(ValueError, match=r"the largest is the while loop \(.*\)\. Allow [\d,]+ bytes") as error:
        graphad.grad(loss, max_residual_bytes=10)(*args)
    least = int(re.findall(r"Allow ([\d,]+) bytes at least", str(error.value))[0].replace(",", ""))
    equal(gradients(loss, *args, max_residual_bytes=least), gradients(loss, *args))


# ---------------------------------------------------------------------------------------------------------------------
# Memory, order, effects


def test_temporaries_are_those_of_the_limit():
    args, state, limit = (np.ones(1000), np.float64(1.9), 10_000), 16_000, 800_000
    f = graphad.jit(graphad.grad(loss, (0, 1), max_residual_bytes=limit))
    assert plan(lower(simplify(f.graph(*args))).program).size <= limit + 25 * state


def test_derivatives_of_gradients():
    def slope(**options):
        return lambda x: graphad.grad(loss, **options)(x, np.float64(1.1), 30)

    x = np.float64(0.3)
    wanted = graphad.grad(slope())(x)
    for derivative in (graphad.grad, graphad.jacfwd):
        np.testing.assert_allclose(derivative(slope(max_residual_bytes=1_000))(x), wanted, rtol=1e-11)


def test_prints_appear_once(capsys):
    def f(x, n):
        def turn(state):
            graphad.debug.print("turn {}", state[0])
            return state[0] + 1, gnp.sin(state[1])

        return lax.while_loop(lambda s: s[0] < n, turn, (0, x))[1]

    graphad.grad(f, max_residual_bytes=1_000)(0.3, 100)
    assert capsys.readouterr().out.split("\n")[:-1] == [f"turn {k}" for k in range(100)]


def test_loops_without_a_derivative_are_left_alone():
    def f(x, n):
        k = lax.while_loop(lambda k: k * k < n, lambda k: k + 1, 0)
        return x * k

    graph = graphad.make_graph(f)(0.3, 50)
    assert bounded(graph, (True, False), 0, "f") == graph


def test_it_names_itself_where_forward_mode_is_asked_for():
    def value(x):
        return with_slots(loss, 3)(x, np.float64(1.1), 30)

    with pytest.raises(TypeError, match="while_with_checkpoint"):
        graphad.jvp(value, (np.float64(0.3),), (np.float64(1.0),))
