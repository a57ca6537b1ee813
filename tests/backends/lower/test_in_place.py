"""Arrays that loops update element by element: without copies where that is possible, and right where it is not."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.stages import simplify
from graphad.backends.cpu.executable import compile_graph
from graphad.backends.loops.text import format_program
from graphad.backends.lower.fuse import lower
from graphad.ir.evaluate import evaluate
from graphad.trace.bind import trace_function
from graphad.trace.pytree import flatten

N = 7
XS = gnp.asarray(np.random.default_rng(3).uniform(-1, 1, N))


def lowered(f, *args):
    f = graphad.jit(f)
    f(*args)
    return format_program(lower(simplify(f.graph(*args))).program)


def loop(body):
    return lambda xs: lax.fori_loop(1, N, body, xs)


def rising(i, a):
    return a.at[i].set(gnp.sin(a[i - 1]) + a[i])


def twice(i, a):
    a = a.at[i].add(a[i - 1] * 0.5)
    return a.at[i - 1].set(a[i] - 0.25)


def exchanged(i, a):
    return a.at[i].set(a[i - 1]).at[i - 1].set(a[i])


def block(i, a):
    return lax.dynamic_update_slice(a, lax.dynamic_slice(a, (i,), (2,)) * 1.5, (i - 1,))


def several(i, a):
    where = gnp.array([0, 2, 0])
    return a.at[where + i].add(gnp.cos(a[where]))


def total_first(i, a):
    return a.at[i].set(gnp.sum(a) * 0.1)


def read_behind(i, a):
    new = a.at[i].multiply(0.5)
    return new.at[0].set(a[i] * new[i])


def inner_loop(i, a):
    return lax.fori_loop(0, 3, lambda j, b: b.at[j].set(b[i] * 0.5 + b[j]), a)


def branches(i, a):
    return lax.cond(a[i] > a[i - 1], lambda b: exchanged(i, b), lambda b: b, a)


def sorted_in(i, a):
    """One turn of sorting by insertion."""
    state = lax.while_loop(
        lambda s: (s[0] > 0) & (s[1][s[0] - 1] > s[1][s[0]]), lambda s: (s[0] - 1, exchanged(s[0], s[1])), (i, a)
    )
    return state[1]


IN_PLACE = [rising, twice, exchanged, block, several, total_first, read_behind, inner_loop, branches]


def reads_all_later(i, a):
    new = a.at[i].set(0.5)
    return new.at[i - 1].set(gnp.sum(a * new))


@pytest.mark.parametrize("body", IN_PLACE)
def test_one_buffer_is_carried(body):
    assert "<->" not in lowered(loop(body), XS)


@pytest.mark.parametrize("body", [rising, twice, exchanged, block, inner_loop, branches])
def test_derivatives_are_in_place_as_well(body):
    text = lowered(graphad.grad(lambda xs: gnp.sum(loop(body)(xs) ** 2)), XS)
    assert "repeat" in text
    assert "<->" not in text


def test_sorting():
    agree(loop(sorted_in), XS)
    np.testing.assert_array_equal(loop(sorted_in)(XS), np.sort(XS))


def changed_in_one_branch(i, a):
    return lax.cond(a[i] > 0, lambda b: b.at[i].set(gnp.sum(b)), lambda b: b * 0.5, a)


def test_a_branch_that_makes_a_new_array():
    assert "<->" in lowered(loop(changed_in_one_branch), XS)


def test_what_must_be_read_later_is_copied():
    assert "<->" in lowered(loop(reads_all_later), XS)


def test_two_arrays_that_wait_for_each_other():
    """Neither could be changed first without the other's old element."""

    def body(i, arrays):
        a, b = arrays
        new_a = a.at[i].set(b[i - 1])
        new_b = b.at[i].set(a[i - 1] + new_a[i])
        return new_a.at[0].set(b[i] + new_b[i]), new_b

    agree(lambda xs: lax.fori_loop(1, N, body, (xs, xs * 2.0)), XS)


@pytest.mark.parametrize("body", [*IN_PLACE, sorted_in, reads_all_later, changed_in_one_branch])
def test_values_and_derivatives(body):
    f = loop(body)
    agree(f, XS)
    agree(graphad.grad(lambda xs: gnp.sum(f(xs) ** 2)), XS, engines=("llvm",))
    agree(graphad.vmap(f), gnp.stack([XS, XS[::-1], XS * 0.5]), engines=("llvm",))
    unrolled = XS
    for i in range(1, N):
        unrolled = body(i, unrolled)
    np.testing.assert_allclose(f(XS), unrolled, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_the_cotangent_of_what_is_read_by_element_is_written_by_element(dtype):
    def f(xs):
        return lax.fori_loop(
            0, N, lambda i, c: gnp.sin(c + xs[i]) + lax.dynamic_slice(xs, (i,), (2,))[1], gnp.zeros((), xs.dtype)
        )

    text = lowered(graphad.grad(f), gnp.ones(5000, dtype))
    body = text[text.rindex("repeat") :]
    assert "<->" not in body.split("\n", 1)[1]
    assert "for i in 5000" not in body
    agree(graphad.grad(f), XS)


def agree(f, *args, engines=("llvm", "numba")):
    """Compiled by these engines as interpreted."""
    leaves, treedef = flatten(args)
    traced = trace_function(lambda xs: f(*xs), leaves, treedef)
    graph, values = traced.graph, [np.asarray(x) for x in [*leaves, *map(gnp.asarray, traced.captures)]]
    wanted = evaluate(graph, values)
    for engine in engines:
        for got, want in zip(compile_graph(simplify(graph), engine=engine)(*values), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12, err_msg=engine)


# ---------------------------------------------------------------------------------------------------------------------
# Random bodies


KINDS = ("read", "read", "set", "set", "add", "gather", "scatter", "block", "total", "loop", "if")


class Body:
    """The statements of a seed: reads and updates of any version of two carried arrays, in any order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, i, arrays):
        rng = Random(self.seed)
        versions = [[a] for a in arrays]
        numbers = [i * 0.125]

        def version():
            own = rng.choice(versions)
            return own[-1] if rng.random() < 0.8 else rng.choice(own)

        def place():
            return (i + rng.randrange(N)) % N

        def places():
            return (gnp.array([rng.randrange(N) for _ in range(3)]) + i) % N

        for _ in range(rng.randint(2, 6)):
            kind = rng.choice(
                ("read", "read", "set", "set", "add", "gather", "scatter", "block", "total", "loop", "if")
            )
            own = rng.choice(versions)
            target, other, number = version() if rng.random() < 0.2 else own[-1], version(), rng.choice(numbers)
            match kind:
                case "read":
                    numbers.append(gnp.sin(target[place()]) + number)
                case "total":
                    numbers.append(gnp.sum(target * other) * 0.1)
                case "gather":
                    numbers.append(gnp.sum(target[places()]))
                case "set":
                    own.append(target.at[place()].set(number))
                case "add":
                    own.append(target.at[place()].add(other[place()]))
                case "scatter":
                    own.append(target.at[places()].add(gnp.tanh(other[places()])))
                case "loop":
                    at, by = place(), other[place()]
                    own.append(lax.fori_loop(0, 2, lambda j, x, at=at, by=by: x.at[j].set(x[at] + by), target))
                case "if":
                    at, by = place(), other[place()]
                    often = rng.random() < 0.8
                    own.append(
                        lax.cond(
                            number > 0,
                            lambda x, at=at, by=by: x.at[at].set(x[0] * by),
                            lambda x, often=often: x if often else x + 0.5,
                            target,
                        )
                    )
                case "block":
                    piece = lax.dynamic_slice(other, (place(),), (3,)) * 0.5
                    own.append(lax.dynamic_update_slice(target, piece, (place(),)))
        ends = [own[-1] if rng.random() < 0.9 else rng.choice(own) for own in versions]
        return tuple(ends[::-1] if rng.random() < 0.1 else ends), rng.choice(numbers)


def outcome(seed):
    def f(a, b):
        def step(arrays, i):
            arrays, y = Body(seed)(i, arrays)
            return tuple([gnp.tanh(x) if seed % 5 == 0 else x for x in arrays]), y

        return lax.scan(step, (a, b), gnp.arange(4))

    g = graphad.grad(lambda a, b: sum([gnp.sum(gnp.sin(x)) for x in graphad.tree.leaves(f(a, b))]), (0, 1))
    for h in (f, g):
        agree(h, XS, XS[::-1] * 0.5, engines=("llvm", "numba") if seed % 8 == 3 else ("llvm",))


@pytest.mark.parametrize("seed", range(4))
def test_random_bodies(seed):
    outcome(seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4, 204))
def test_more_random_bodies(seed):
    outcome(seed)
