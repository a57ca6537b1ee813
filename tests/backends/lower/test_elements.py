"""Scalar replacement: small arrays that are put together from scalars."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad.backends.loops.ir import Let, Load, Loop, Store
from graphad.backends.loops.visit import walk
from graphad.backends.lower.elements import LIMIT
from graphad.backends.lower.fuse import lower


def program_of(f, *args):
    return lower(graphad.make_graph(f)(*args)).program


def statements(program):
    return [s for step in program.steps for s in walk(step.body)]


def temporaries(program):
    return [b for b in program.buffers if b.role == "temporary"]


def pendulum(y):
    return gnp.stack([y[1], -gnp.sin(y[0])])


def midpoint(y):
    for _ in range(3):
        y = y + 0.1 * pendulum(y + 0.05 * pendulum(y))
    return y


def test_the_state_of_a_small_system_is_never_in_memory():
    program = program_of(lambda a, b: gnp.sum(midpoint(gnp.stack([a, b])) ** 2), 0.1, 0.2)
    kinds = [type(s) for s in statements(program)]
    assert not temporaries(program)
    assert Loop not in kinds
    assert kinds.count(Load) == 2, "the two numbers"
    assert kinds.count(Store) == 1, "the result"


def test_nor_is_that_of_its_gradient():
    program = program_of(graphad.grad(lambda y: gnp.sum(midpoint(y) ** 2)), np.array([0.1, 0.2]))
    assert not temporaries(program)
    assert not [s for s in statements(program) if isinstance(s, Loop)]


def test_it_is_the_arithmetic_that_one_writes_by_hand():
    def with_arrays(a, b):
        y = gnp.stack([a, b])
        y = y + 0.5 * gnp.stack([y[1], -y[0]])
        return y[0] * y[1]

    def by_hand(a, b):
        c, d = a + 0.5 * b, b + 0.5 * -a
        return c * d

    left, right = (statements(program_of(f, np.float64(1), np.float64(2))) for f in (with_arrays, by_hand))
    assert sorted(s.op for s in left if isinstance(s, Let)) == sorted(s.op for s in right if isinstance(s, Let))


@pytest.mark.parametrize(
    ("f", "reason"),
    [
        (lambda x: 2 * gnp.stack([x[k] for k in range(LIMIT + 1)]), "too many elements"),
        (lambda x: gnp.tanh(gnp.stack([x[0], x[1], x[2], x[3]])), "costs less in one vector"),
        (lambda x: gnp.cumsum(gnp.stack([x[0], x[1]])), "an operation on arrays"),
    ],
)
def test_the_others_are_arrays(f, reason):
    program = program_of(f, np.ones(LIMIT + 2))
    assert [s for s in statements(program) if isinstance(s, Loop)], reason


def test_an_array_that_several_need_is_laid_out_once():
    def f(a, b, m):
        y = gnp.stack([a, b]) + 1.0
        return m @ y, gnp.cumsum(y), y

    program = program_of(f, np.float64(1), np.float64(2), np.ones((2, 2)))
    stored = [s for s in statements(program) if isinstance(s, Store) and s.buffer == "out2"]
    assert len(stored) == 2
    assert not temporaries(program)


# Random programs on arrays of few elements, put together from parts and taken apart again.

SHAPES = ((), (1,), (2,), (3,), (4,), (5,), (1, 2), (2, 1), (2, 2), (3, 2))
NUMBERS = st.tuples(*[st.integers(0, 11)] * 5)
FORMS = ("stack", "concatenate", "pad", "take", "reshape", "spread", "turn", "total", "map")


def step(np_, form, numbers, values):
    """The next value, out of the latest four, in the namespace ``np_``: NumPy's or ours."""
    i, j, k, m, n = numbers
    a, b = values[-1 - i % min(4, len(values))], values[-1 - j % min(4, len(values))]
    match form:
        case "stack":
            return np_.stack([a, a * 2, a - 1][: 1 + k % 3], axis=m % (a.ndim + 1))
        case "concatenate":
            return np_.concatenate([np_.reshape(a, (-1,)), np_.reshape(b, (-1,))[k % 2 :]])
        case "pad" if a.ndim:
            return np_.pad(a, [(k % 2, m % 2), *[(0, 0)] * (a.ndim - 1)], constant_values=1)
        case "take" if a.ndim and len(a):
            return a[k % len(a)] if m % 2 else a[k % len(a) :: 1 + n % 2]
        case "reshape":
            return np_.reshape(a, [(-1,), (1, -1), (-1, 1)][k % 3]) if a.size else a
        case "spread":
            return np_.broadcast_to(a, (1 + k % 2, *a.shape))
        case "turn" if a.ndim:
            return a[::-1] if k % 2 else np_.transpose(a)
        case "total" if a.ndim and a.shape[m % a.ndim]:
            axis = m % a.ndim
            return [np_.max, np_.min][n % 2](a, axis) if k % 2 else [np_.sum, np_.prod][n % 2](a, axis, dtype=a.dtype)
        case _:
            return a + b * 3 if a.shape == b.shape or not b.ndim else np_.where(a > 0, a, a * 2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(FORMS), NUMBERS), min_size=1, max_size=8), st.sampled_from(SHAPES), NUMBERS)
def test_random_programs_are_numpys(dtype, program, shape, seed):
    x = np.random.default_rng(seed).integers(-2, 3, size=shape).astype(dtype)

    def run(np_, x):
        values = [x]
        for form, numbers in program:
            values.append(step(np_, form, numbers, values))
        return tuple(values[-3:])

    with np.errstate(all="ignore"):
        expected = run(np, x)
    for got, wanted in zip(graphad.jit(lambda x: run(gnp, x))(x), expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, wanted)
