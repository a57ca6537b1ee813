"""Loops and branches for a device, small and large: name, function, arguments."""

from __future__ import annotations

import numpy as np

import graphad
import graphad.numpy as gnp
from graphad import lax


def collatz(n):
    """The number of steps to 1, none for 1 itself."""

    def body(s):
        even = s[0] - 2 * gnp.floor(s[0] / 2) == 0
        return gnp.where(even, s[0] / 2, 3 * s[0] + 1), s[1] + 1

    return lax.while_loop(lambda s: s[0] > 1, body, (n, 0))[1]


def newton(a):
    """The square root, to a few digits."""
    return lax.while_loop(lambda s: abs(s * s - a) > 1e-4 * a, lambda s: 0.5 * (s + a / s), a)


def branch(x):
    """Where it is not chosen, a branch has nan and infinity."""
    return lax.cond(x > 0, lambda x: gnp.log(x) / x, lambda x: x * x, x)


def switched(k, x):
    return lax.switch(k, [gnp.sin, lambda x: x * x, gnp.log, lambda x: -x], x)


def chosen_steps(xs):
    """A scan with a branch in its body."""

    def step(h, x):
        h = lax.cond(h > x, lambda h: gnp.sin(h) * x, lambda h: h + gnp.sqrt(x), h)
        return h, h * x

    h, ys = lax.scan(step, 0.3, xs)
    return h + gnp.sum(ys * ys)


def small_arrays(x):
    """A vector of three that turns and shrinks until it is short, element by element."""

    def body(s):
        v, k = s
        return gnp.stack([v[1] * 0.8, v[2] * 0.7 + 0.01 * k, v[0] * 0.6]), k + 1

    v, k = lax.while_loop(lambda s: gnp.sum(s[0] * s[0]) > 0.05, body, (x, 0))
    return v * k


def nested(n, a):
    """A loop to a bound known as it runs, with a while loop and a branch in it."""

    def body(i, s):
        s = lax.while_loop(lambda t: t > 1.0, lambda t: t * 0.6, s + i)
        return lax.cond(s > 0.8, lambda t: t * a, lambda t: t + a, s)

    return lax.fori_loop(0, n, body, a)


def powers(n, a):
    return lax.fori_loop(0, n, lambda i, s: s * a + i, a)


def halves(matrix, x):
    """A vector multiplied by a matrix until it is short."""
    return lax.while_loop(lambda v: gnp.sum(v * v) > 0.01, lambda v: matrix @ v * 0.9, x)


def recurrent(matrix, a, xs):
    """A scan of products, what it stacks, and windows on what it reads."""

    def step(h, x):
        h = gnp.tanh(matrix @ h + x[0] * a)
        return h, gnp.sum(h * h) * x[1]

    h, ys = lax.scan(step, matrix[0] * a, xs, reverse=True)
    return gnp.sum(h) + gnp.sum(ys * ys)


def turned(matrix, n, a):
    return gnp.sum(lax.fori_loop(0, n, lambda i, h: gnp.sin(matrix @ h) + i * a, matrix[0] * a))


def large_branch(matrix, a):
    return gnp.sum(lax.cond(a > 0, lambda a: matrix @ matrix[0] * a, lambda a: gnp.sqrt(abs(matrix[1])) * a, a))


def outer_steps(matrix, xs):
    """A loop of steps in another, with a branch of steps in that."""

    def inner(h, x):
        return lax.cond(x > 0, lambda h: gnp.tanh(matrix @ h) * x, lambda h: h * 0.5, h), None

    def outer(h, row):
        h, _ = lax.scan(inner, h, row)
        return h, gnp.sum(h)

    h, ys = lax.scan(outer, matrix[0], xs)
    return gnp.sum(h * h) + gnp.sum(ys)


def statements(dtype):
    """Loops over scalars and small arrays."""
    r = np.random.default_rng(0)
    one = np.asarray(1.7, dtype)
    some = np.linspace(0.5, 20, 19, dtype=dtype)
    signed = np.linspace(-1, 1, 37, dtype=dtype)
    rows = r.uniform(0.1, 1, (5, 13)).astype(dtype)
    turns = np.arange(19, dtype=np.int32) % 7
    threes = r.uniform(0.2, 2, (11, 3)).astype(dtype)
    along = lambda f: lambda *args: graphad.jvp(f, args, args)
    return {
        "while": (collatz, (np.asarray(27, dtype),)),
        "no turns": (collatz, (np.asarray(1, dtype),)),
        "whiles": (graphad.vmap(collatz), (np.arange(1, 34, dtype=dtype),)),
        "newton": (newton, (one,)),
        "newtons": (graphad.vmap(newton), (some,)),
        "newtons forward": (graphad.vmap(along(newton)), (some,)),
        "newton gradient": (graphad.grad(newton), (one,)),
        "newtons gradient": (graphad.vmap(graphad.grad(newton)), (some,)),
        "cond": (branch, (one,)),
        "conds": (graphad.vmap(graphad.value_and_grad(branch)), (signed,)),
        "switch": (graphad.vmap(graphad.value_and_grad(switched, 1)), (turns % 5 - 1, some)),
        "scan with cond": (graphad.value_and_grad(chosen_steps), (rows[0],)),
        "scans with conds": (graphad.vmap(graphad.value_and_grad(chosen_steps)), (rows,)),
        "scans with conds summed": (graphad.grad(lambda x: graphad.vmap(chosen_steps)(x).sum()), (rows,)),
        "small arrays": (small_arrays, (threes[0],)),
        "batch of small arrays": (graphad.vmap(small_arrays), (threes,)),
        "nested": (nested, (5, one)),
        "nested, batched": (graphad.vmap(nested), (turns, some / 20)),
        "run-time bound": (along(lambda a: powers(6, a)), (one,)),
        "no turns at run time": (graphad.value_and_grad(powers, 1), (0, one)),
        "run-time bounds": (graphad.vmap(graphad.value_and_grad(powers, 1)), (turns, some / 20)),
        "two batches": (graphad.vmap(graphad.vmap(graphad.grad(newton))), (threes,)),
        "a loop and what follows": (lambda a, x: gnp.exp(-newton(a) * x) + x.sum(), (one, rows)),
        "a loop of a sum": (lambda x: newton(x.sum()) * x, (rows,)),
    }  # fmt: skip


def steps(dtype):
    """Loops whose bodies hold products and larger arrays."""
    r = np.random.default_rng(0)
    matrix = (r.standard_normal((20, 20)) * 0.2).astype(dtype)
    xs = r.standard_normal((5, 2)).astype(dtype)
    a = np.asarray(0.7, dtype)
    scanned = lambda a, xs: recurrent(matrix, a, xs)
    return {
        "while": (halves, (matrix, matrix[0])),
        "no turns": (halves, (matrix, 0 * matrix[0])),
        "while gradient": (graphad.grad(lambda m: gnp.sum(halves(m, matrix[0]))), (matrix,)),
        "whiles": (graphad.vmap(lambda a: halves(matrix, a * matrix[0])), (xs[:, 0],)),
        "scan": (scanned, (a, xs)),
        "scan gradient": (graphad.value_and_grad(scanned, (0, 1)), (a, xs)),
        "scan forward": (lambda *args: graphad.jvp(scanned, args, args), (a, xs)),
        "scans": (graphad.vmap(graphad.grad(scanned), (0, None)), (xs[:, 0], xs)),
        "branch": (graphad.value_and_grad(large_branch, 1), (matrix, a)),
        "other branch": (graphad.value_and_grad(large_branch, 1), (matrix, -a)),
        "branches": (graphad.vmap(lambda a: large_branch(matrix, a)), (xs[:, 0],)),
        "run-time bound": (graphad.value_and_grad(turned, (0, 2)), (matrix, 3, a)),
        "no turns at run time": (graphad.value_and_grad(turned, (0, 2)), (matrix, 0, a)),
        "nested": (outer_steps, (matrix, xs)),
        "nested gradient": (graphad.grad(outer_steps), (matrix, xs)),
    }  # fmt: skip
