"""`graphad.lax`'s loops and branches: arguments, types, structures, and errors that name the user's line."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax
from graphad.errors import TracerBoolError


def test_structures_of_carry_slices_and_results():
    def f(carry, xs):
        a, b = carry["a"], carry["b"][0]
        return {"a": a + xs[0], "b": (b * 2, None)}, {"sum": a + b, "pair": (xs[1], a)}

    xs = (gnp.arange(3.0), gnp.ones((3, 2)))
    carry, ys = lax.scan(f, {"a": 1.0, "b": (2, None)}, xs)
    assert float(carry["a"]) == 4.0
    assert int(carry["b"][0]) == 16
    assert carry["b"][1] is None
    assert ys["sum"].shape == (3,)
    assert ys["pair"][0].shape == (3, 2)


def test_a_weak_start_takes_the_type_that_comes_out():
    carry, _ = lax.scan(lambda c, x: (c + x, None), 0, gnp.ones(3))
    assert carry.dtype == np.float32
    carry = lax.fori_loop(0, 3, lambda i, c: c + np.float64(0.5), 0.0)
    assert carry.dtype == np.float64
    carry = lax.while_loop(lambda c: c < 5, lambda c: c + 1, 0)
    assert carry.dtype == np.int32
    assert carry.weak_type


def test_reverse_keeps_the_places_of_results():
    carry, ys = lax.scan(lambda c, x: (c + x, c), 0.0, gnp.array([1.0, 2.0, 3.0]), reverse=True)
    assert float(carry) == 6.0
    np.testing.assert_array_equal(ys, [5.0, 3.0, 0.0])


def test_length_without_xs():
    _, ys = lax.scan(lambda c, _: (c * 2, c), 1, None, length=4)
    np.testing.assert_array_equal(ys, [1, 2, 4, 8])


def test_map_in_blocks():
    xs = gnp.arange(7.0)
    for size in (None, 1, 3, 7, 10):
        np.testing.assert_allclose(lax.map(lambda x: x * x + 1, xs, batch_size=size), np.arange(7.0) ** 2 + 1)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8, 17])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_of_matrices(n, reverse):
    xs = np.random.default_rng(n).normal(size=(n, 2, 2))
    found = lax.associative_scan(lambda a, b: b @ a if reverse else a @ b, gnp.array(xs), reverse=reverse)
    order = xs[::-1] if reverse else xs
    wanted, total = [], np.eye(2)
    for x in order:
        total = x @ total if reverse else total @ x
        wanted.append(total)
    wanted = np.array(wanted[::-1] if reverse else wanted).reshape(n, 2, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_associative_scan_along_an_axis_of_several_arrays():
    a, b = np.random.default_rng(0).uniform(size=(2, 3, 5))
    combine = lambda p, q: (p[0] * q[0], q[0] * p[1] + q[1])
    _, h = lax.associative_scan(combine, (gnp.array(a), gnp.array(b)), axis=1)
    wanted, state = [], np.zeros(3)
    for t in range(5):
        state = a[:, t] * state + b[:, t]
        wanted.append(state)
    np.testing.assert_allclose(h, np.stack(wanted, 1), rtol=1e-9)


def test_branches_take_weak_results_of_each_other():
    assert lax.cond(True, lambda: 1.0, lambda: np.float64(2.0)).dtype == np.float64
    assert lax.cond(gnp.array(3) > 2, lambda x: x, lambda x: -x, 5.0) == 5.0
    assert lax.cond(2, lambda: 1, lambda: 0) == 1  # a number that is not zero
    assert lax.switch(7, [lambda x: x, lambda x: -x], 2.0) == -2.0
    assert lax.switch(0, [lambda x: x + 1], 2.0) == 3.0
    assert lax.cond(True, lambda x: x + 1, lambda x: x, operand=2) == 3


def test_captured_values_decide_python_branches_before_the_loop():
    @graphad.jit
    def f(flag, xs):
        def step(c, x):
            if flag:  # known before the loop: a path of the compiled function
                return c + x, None
            return c - x, None

        return lax.scan(step, 0.0, xs)[0]

    xs = gnp.ones(3)
    assert float(f(True, xs)) == 3.0
    assert float(f(False, xs)) == -3.0
    assert float(f(True, xs)) == 3.0


def error(kind, call):
    with pytest.raises(kind) as caught:
        call()
    text = str(caught.value)
    assert "test_control_flow.py:" in text, text
    return text


def test_errors_name_the_line_and_what_to_do():
    xs = gnp.ones(3)
    text = error(TypeError, lambda: lax.scan(lambda c, x: (gnp.stack([c, x]), None), gnp.float32(0), xs))
    assert "goes in as f32[] and comes out as f32[2]" in text
    text = error(TypeError, lambda: lax.scan(lambda c, x: ((c, x), None), gnp.float32(0), xs))
    assert "one structure" in text
    text = error(TypeError, lambda: lax.scan(lambda c, x: c + x, 0.0, xs))
    assert "must return a pair (carry, y)" in text
    assert "return carry, None" in text
    text = error(ValueError, lambda: lax.scan(lambda c, x: (c, x), 0.0, (xs, gnp.ones(4))))
    assert "xs[0] has 3, xs[1] has 4" in text
    text = error(ValueError, lambda: lax.scan(lambda c, x: (c, x), 0.0, xs, length=5))
    assert "length is 5" in text
    text = error(ValueError, lambda: lax.scan(lambda c, x: (c, x), 0.0))
    assert "neither xs nor length" in text
    text = error(ValueError, lambda: lax.scan(lambda c, x: (c, x), 0.0, 1.0))
    assert "has no axes" in text
    text = error(TypeError, lambda: lax.while_loop(lambda c: c, lambda c: c, 1.0))
    assert "must return one boolean" in text
    text = error(TypeError, lambda: lax.cond(True, lambda: gnp.ones(2), lambda: gnp.ones(3)))
    assert "result is f32[3] in false_fun and f32[2] in true_fun" in text
    assert "x.reshape(shape)" in text
    text = error(TypeError, lambda: lax.switch(0, [lambda: gnp.float32(1), lambda: gnp.int32(1)]))
    assert "f32[] in branches[0] and i32[] in branches[1]" in text
    assert "x.astype(dtype)" in text
    text = error(TypeError, lambda: lax.cond(True, lambda: (1, 2), lambda: 1))
    assert "same structure" in text
    text = error(TypeError, lambda: lax.cond(gnp.ones(2) > 0, lambda: 1, lambda: 2))
    assert "graphad.numpy.where" in text
    text = error(TypeError, lambda: lax.switch(1.5, [lambda: 1, lambda: 2]))
    assert "by an integer" in text
    text = error(ValueError, lambda: lax.switch(1, []))
    assert "at least one branch" in text


def test_a_python_branch_on_a_carried_value_shows_cond():
    def step(c, x):
        if c > 0:
            return c - x, None
        return c + x, None

    text = error(TracerBoolError, lambda: lax.scan(step, 0.0, gnp.ones(3)))
    assert "    return lax.cond(c > 0, lambda: (c - x, None), lambda: (c + x, None))\n" in text
    assert "lax.scan" in text
    assert "if c > 0:" in text
