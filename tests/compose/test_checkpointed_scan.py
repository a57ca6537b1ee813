"""Loops that store few states: the derivatives of the plain loop, in the memory that was asked for."""

from __future__ import annotations

from functools import partial
from math import comb

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.api.checkpoints import BLOCK, schedule
from graphad.api.stages import simplify
from graphad.backends.loops.memory import plan
from graphad.backends.lower.fuse import lower
from graphad.errors import DifferentiationError

RNG = np.random.default_rng(0)


def recurrence(reverse=False, **options):
    """A function of a number, an array that is carried, and one that is run over."""

    def f(a, start, xs):
        def turn(carry, x):
            c, k = carry
            c = gnp.sin(c) * a + x * 0.5
            return (c, k + 1), (gnp.sum(c) * k, c[0])

        (c, k), (sums, firsts) = lax.scan(turn, (start, 0), xs, reverse=reverse, **options)
        return gnp.sum(c * c) + gnp.sum(sums[::3]) / (k + 1) + gnp.sum(gnp.cos(firsts))

    return f


def arguments(turns, dtype=np.float64):
    return np.asarray(0.7, dtype), RNG.normal(size=3).astype(dtype), RNG.normal(size=(turns, 3)).astype(dtype)


def close(got, wanted, tolerance=1e-11):
    for a, b in zip(graphad.tree.leaves(got), graphad.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(np.asarray(b)).max(initial=1e-300))


TURNS = [0, 1, 7, 8, 9, 47, 48, 81, 237]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("checkpoint", [4, 5, "sqrt", 1000])
@pytest.mark.parametrize("turns", TURNS)
def test_it_is_the_plain_loop(turns, checkpoint, reverse):
    args = arguments(turns)
    f, g = recurrence(reverse, checkpoint=checkpoint), recurrence(reverse)
    got = graphad.jit(graphad.value_and_grad(f, (0, 1, 2)))(*args)
    wanted = graphad.jit(graphad.value_and_grad(g, (0, 1, 2)))(*args)
    close(got, wanted)


def test_batches_and_eager_calls():
    f = recurrence(checkpoint=3)
    a, start, xs = arguments(50)
    batch = (np.stack([a, a + 0.1]), np.stack([start, -start]), np.stack([xs, xs[::-1]]))
    together = graphad.jit(graphad.vmap(graphad.grad(f, (0, 1, 2))))(*batch)
    for k in range(2):
        one = graphad.grad(recurrence(), (0, 1, 2))(*[x[k] for x in batch])
        close([x[k] for x in together], one)
        close(graphad.grad(f, (0, 1, 2))(*[x[k] for x in batch]), one)


def test_second_derivatives():
    args = arguments(41)

    def slope(f):
        return graphad.grad(lambda a, *others: gnp.sum(graphad.grad(f, 2)(a, *others) ** 2), (0, 1))

    close(graphad.jit(slope(recurrence(checkpoint=2)))(*args), graphad.jit(slope(recurrence()))(*args), 1e-9)


def test_narrow_dtypes_and_numbers_keep_their_types():
    args = arguments(50, np.float32)
    got = graphad.value_and_grad(recurrence(checkpoint=3), (0, 1, 2))(*args)
    close(got, graphad.value_and_grad(recurrence(), (0, 1, 2))(*args), 1e-5)


def test_closed_over_values_and_containers():
    def loss(w, checkpoint):
        def turn(state, _):
            return {"x": gnp.tanh(w @ state["x"]), "n": state["n"] + 1.0}, None

        end, nothing = lax.scan(turn, {"x": w[0], "n": 0.0}, length=100, checkpoint=checkpoint)
        assert nothing is None
        return gnp.sum(end["x"]) * end["n"]

    w = RNG.normal(size=(5, 5))
    close(graphad.grad(loss)(w, 4), graphad.grad(loss)(w, None))


# ---------------------------------------------------------------------------------------------------------------------
# The schedule


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("blocks", [1, 2, 5, 6, 35, 36, 120])
def test_states_and_turns_are_those_of_the_binomial_formula(slots, blocks):
    """What is stored, and how often blocks run, of a reversal walked through in Python."""
    if comb(slots + 5, 6) < blocks:
        with pytest.raises(ValueError, match="cannot be reversed"):
            schedule(blocks * BLOCK, slots)
        return
    found = schedule(blocks * BLOCK, slots)
    reach = lambda s, r: comb(s + r - 1, r)
    most, advanced, order = [0], [0], []

    def walk(start, stop, stored, sweeps, first=False):
        free = found.slots - len(stored)
        most[0] = max(most[0], len(stored) + 1)
        if sweeps == 0:
            assert stop == start + 1
            order.append(start)
            return
        parts = [start]
        while parts[-1] + (step := reach(free - len(parts) + 1, sweeps - 1)) < stop:
            parts.append(parts[-1] + step)
        advanced[0] += 0 if first else parts[-1] - start
        most[0] = max(most[0], len(stored) + len(parts))
        for k in reversed(range(len(parts))):
            walk(parts[k], ([*parts, stop])[k + 1], [*stored, *parts[:k]], sweeps - 1)

    walk(0, blocks, [], found.sweeps, first=True)
    assert order == list(range(blocks))[::-1]
    assert most[0] <= slots
    assert blocks + advanced[0] <= found.sweeps * blocks


def test_a_million_turns():
    """The numbers that the documentation has."""
    assert schedule(1_000_000, 180).sweeps == 3
    assert schedule(1_000_000, 1420).sweeps == 2
    assert schedule(1_000_000, "sqrt") == (125_000, 500, 2)


def test_memory_is_that_of_the_states():
    """Temporaries of the program, of 64,000 turns that carry ten numbers."""

    def used(checkpoint):
        def loss(a, c):
            return gnp.sum(lax.scan(lambda c, _: (gnp.sin(c) * a, None), c, None, 64_000, checkpoint=checkpoint)[0])

        f = graphad.jit(graphad.grad(loss))
        args = np.float64(0.9), np.ones(10)
        f(*args)
        return plan(lower(simplify(f.graph(*args))).program).size

    assert used(None) > 64_000 * 10 * 8
    assert used(50) < 50 * 10 * 8 * 4


# ---------------------------------------------------------------------------------------------------------------------
# Errors


@pytest.mark.parametrize("checkpoint", [0, -1, 1.5, "cbrt", True])
def test_what_is_no_number_of_states(checkpoint):
    with pytest.raises(ValueError, match="checkpoint is a number of states to store, or 'sqrt'"):
        lax.scan(lambda c, _: (c, None), 0.0, None, 100, checkpoint=checkpoint)


def test_too_few_states():
    with pytest.raises(ValueError, match=r"100,000 turns cannot be reversed with checkpoint=3\. Store \d+ states"):
        lax.scan(lambda c, _: (c, None), 0.0, None, 100_000, checkpoint=3)


def test_forward_mode_is_refused():
    with pytest.raises(DifferentiationError, match=r"scan_with_checkpoint .* no forward-mode derivative\. Use grad"):
        graphad.jvp(lambda a: lax.scan(lambda c, _: (c * a, None), 1.0, None, 9, checkpoint=3)[0], (2.0,), (1.0,))


def test_arrays_without_elements():
    def loss(start, xs, **options):
        c, ys = lax.scan(lambda c, x: (c * 2.0 + x, gnp.sum(c)), start, xs, **options)
        return gnp.sum(c) + gnp.sum(ys)

    args = np.zeros((2, 0)), np.zeros((30, 2, 0))
    close(
        graphad.value_and_grad(partial(loss, checkpoint=3), (0, 1))(*args), graphad.value_and_grad(loss, (0, 1))(*args)
    )
