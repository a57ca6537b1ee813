"""Python floats as arguments: carried in float64, rounded once, where they are used."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad import grad, jit, lax
from graphad.ir.evaluate import evaluate

ONES = np.ones(3)
TIMES = np.linspace(0.0, 2.0, 5)


def kind(x):
    return x.dtype.name, x.weak_type


# --- one rule per line: what is computed with the float, and what comes out


@pytest.mark.parametrize("wrap", [jit, lambda f: f], ids=["jit", "eager"])
@pytest.mark.parametrize(
    ("f", "dtype", "weak"),
    [
        (lambda a: a * gnp.asarray(ONES), "float64", False),
        (lambda a: a * gnp.ones(3), "float32", False),
        (lambda a: a * gnp.ones(3, "float16"), "float16", False),
        (lambda a: a * gnp.ones(3, "bfloat16"), "bfloat16", False),
        (lambda a: gnp.exp(a), "float32", True),
        (lambda a: a * gnp.exp(0.0), "float32", True),
        (lambda a: a * gnp.arange(3), "float32", True),
        (lambda a: lax.add(np.zeros(3), a), "float64", False),
        (lambda a: a * np.float64(1) * gnp.ones(3), "float32", False),
        (lambda a: gnp.asarray(a), "float32", True),
    ],
)
def test_beside_an_array_it_takes_the_dtype_of_the_array(wrap, f, dtype, weak):
    result = wrap(f)(0.1)
    assert kind(result) == (dtype, weak)
    scale = np.arange(3) if np.asarray(result).shape and np.asarray(result)[0] == 0 else 1
    if f(0.0).ndim or dtype == "float64":
        np.testing.assert_array_equal(np.asarray(result), np.asarray(0.1, result.dtype) * np.asarray(scale, "f4"))


@pytest.mark.parametrize(
    ("f", "dtype", "weak", "value"),
    [
        (lambda a: a, "float32", True, 0.1),
        (lambda a: a * 2, "float32", True, 0.2),
        (lambda a: a * np.float64(2), "float64", True, 0.2),
        (lambda a: a > 0.05, "bool", True, True),
        (lambda a: divmod(a, 0.03)[0], "float32", True, 3.0),
        (lambda a: gnp.asarray(a, "float64"), "float64", False, 0.1),
        (lambda a: a.astype("float64"), "float64", False, 0.1),
        (lambda a: gnp.where(True, a, np.zeros(())), "float64", False, 0.1),
    ],
)
def test_alone_under_jit(f, dtype, weak, value):
    result = jit(f)(0.1)
    assert kind(result) == (dtype, weak)
    assert result.item() == np.asarray(value, dtype).item()


def test_its_dtype_reads_as_the_default():
    seen = []
    jit(lambda a: seen.append((a.dtype.name, a.weak_type, a.shape, a.ndim, isinstance(a, graphad.Array))))(0.1)
    assert seen == [("float32", True, (), 0, True)]
    with graphad.config.override(default_dtype_bits=64):
        assert kind(jit(lambda a: a)(0.1)) == ("float64", True)


def test_three_kinds_of_floats_have_three_signatures():
    traced = []

    @jit
    def f(a):
        traced.append(1)
        return a * 3.0

    for _ in range(3):
        assert kind(f(0.1)) == kind(f(gnp.asarray(0.1))) == ("float32", True)
        assert kind(f(np.float64(0.1))) == ("float64", True)
        assert f(np.float64(0.1)).item() == 0.1 * 3.0
    assert len(traced) == 3


def test_scalars_of_float64_are_weak_and_exact():
    x32 = np.ones(2, np.float32)
    assert kind(gnp.sin(np.float64(0.5))) == kind(jit(gnp.sin)(np.float64(0.5))) == ("float64", True)
    assert kind(grad(lambda x: x * x)(np.float64(3))) == ("float64", True)
    assert jit(lambda lr, x: lr * x)(np.float64(0.1), x32).dtype == np.float32
    assert (np.float64(0.1) * gnp.asarray(x32)).dtype == np.float32
    assert jit(lambda lr, x: lr * x)(np.asarray(0.1), x32).dtype == np.float64, "arrays without axes are strong"


def test_integers_have_32_bits_where_they_fit():
    assert kind(jit(lambda n: n)(2**31 - 1)) == ("int32", True)
    assert jit(lambda n: n + 1)(2**40).item() == 2**40 + 1
    assert jit(lambda n, x: n + x)(2**40, np.zeros(1, np.int64)).tolist() == [2**40]
    where = lambda n, x: gnp.where(x, n, x)
    functions = [operator.add, operator.mul, operator.floordiv, operator.mod, gnp.maximum, where]
    for f in functions:
        with pytest.raises(OverflowError, match=r"test_exact.py:\d+: .* does not fit in 32 bits"):
            jit(lambda n, x, f=f: f(n, x))(2**40, np.ones(1, np.int32))


# --- graphs stay as narrow as their arrays


def test_a_float_that_meets_float32_alone_is_an_input_of_float32():
    graph = graphad.make_graph(lambda x, a: gnp.sin(x) * a + gnp.cos(x) / a)(gnp.ones(3), 0.5)
    assert "f64" not in str(graph)
    adjoint = graphad.compile_grad(lambda a, x: (gnp.tanh(x) * a).sum()).graph(0.5, gnp.ones(3))
    assert "f64" not in str(adjoint)
    region = graphad.make_graph(lambda x, a: jit(lambda y: y * a)(x))(gnp.ones(3), 0.5)
    assert "f64" not in str(region)


def test_a_float_that_meets_two_dtypes_keeps_its_digits():
    f = jit(lambda a, x, y: (a * x, a * y))
    low, high = f(0.1, np.ones(2, np.float32), np.ones(2))
    assert (low.dtype, high.dtype) == (np.float32, np.float64)
    assert low.tolist() == np.full(2, 0.1, np.float32).tolist()
    assert high.tolist() == [0.1, 0.1]


# --- derivatives: float64 where the float has met float64, else the default

square = graphad.custom_jvp(lambda x: x**2 * ONES)
square.defjvp(lambda primals, tangents: (square(*primals), 2 * primals[0] * tangents[0] * ONES))
cube = graphad.custom_vjp(lambda x: x**3 * ONES)
cube.defvjp(lambda x: (x**3 * ONES, x), lambda x, ct: ((3 * x**2 * ct).sum(),))

FUNCTIONS = {
    "plain": (lambda a: gnp.sum(gnp.exp(-a * TIMES)), lambda a: np.sum(-TIMES * np.exp(-a * TIMES))),
    "jit": (jit(lambda a: gnp.sum(gnp.exp(-a * TIMES))), lambda a: np.sum(-TIMES * np.exp(-a * TIMES))),
    "checkpoint": (graphad.checkpoint(lambda a: (a**3 * ONES).sum()), lambda a: 9 * a**2),
    "custom_jvp": (lambda a: square(a).sum(), lambda a: 6 * a),
    "custom_vjp": (lambda a: cube(a).sum(), lambda a: 9 * a**2),
    "closed over": (lambda a: jit(lambda t: gnp.exp(a * t))(TIMES).sum(), lambda a: np.sum(TIMES * np.exp(a * TIMES))),
    "batched": (lambda a: graphad.vmap(lambda t: a**2 * t)(TIMES).sum(), lambda a: 2 * a * TIMES.sum()),
    "branched": (lambda a: (a**2 * ONES).sum() if a > 0.05 else a, lambda a: 6 * a),
}
FORWARD = {"jvp", "jvp along float32", "linearize", "jacfwd"}
DERIVATIVES = {
    "grad": lambda f: grad(f)(0.1),
    "value_and_grad": lambda f: graphad.value_and_grad(f)(0.1)[1],
    "jit(grad)": lambda f: jit(grad(f))(0.1),
    "compile_grad": lambda f: graphad.compile_grad(f)(0.1),
    "jvp": lambda f: graphad.jvp(f, (0.1,), (1.0,))[1],
    "jvp along float32": lambda f: graphad.jvp(f, (0.1,), (gnp.ones(()),))[1],
    "linearize": lambda f: graphad.linearize(f, 0.1)[1](1),
    "vjp": lambda f: graphad.vjp(f, 0.1)[1](1.0)[0],
    "jacfwd": lambda f: graphad.jacfwd(f)(0.1),
    "jacrev": lambda f: graphad.jacrev(f)(0.1),
    "twice": lambda f: grad(lambda a: grad(f)(a) * a)(0.1) - grad(grad(f))(0.1) * 0.1,
}


@pytest.mark.parametrize("how", DERIVATIVES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives_have_all_digits_beside_float64(name, how):
    if name == "custom_vjp" and how in FORWARD:
        pytest.skip("a custom_vjp function has no forward mode")
    f, expected = FUNCTIONS[name]
    found = DERIVATIVES[how](f)
    assert found.dtype == np.float64
    np.testing.assert_allclose(np.asarray(found), expected(0.1), rtol=4e-15)


@pytest.mark.parametrize("how", [h for h in DERIVATIVES if h != "twice"])
def test_derivatives_are_narrow_where_no_float64_was_met(how):
    found = DERIVATIVES[how](lambda a: gnp.tanh(a) * gnp.ones(()) + a**2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.asarray(found), 1 - np.tanh(0.1) ** 2 + 0.2, rtol=1e-6)


def test_derivatives_are_weak():
    assert kind(grad(gnp.tanh)(2.0)) == kind(grad(lambda x: x**2)(3.0)) == ("float32", True)
    assert kind(grad(lambda a: (a * ONES).sum())(0.1)) == ("float64", True)
    assert kind(grad(lambda a, b: a)(0.1, 0.2)) == kind(grad(lambda a, b: a, 1)(0.1, 0.2)) == ("float32", True)
    assert grad(gnp.tanh)(2.0).item() == np.float32(0.070650816)


def test_a_region_that_is_traced_once_still_says_that_it_met_float64():
    inner = jit(lambda a: (a * ONES).sum())
    for _ in range(2):
        assert grad(lambda a: inner(a) + inner(2 * a))(0.1).dtype == np.float64


# --- against Python itself

NUMBERS = st.sampled_from([-3.0, -1.5, -0.5, 0.1, 0.5, 1.0, 2.5, 7.0])
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    lambda x, _: -x, lambda x, _: abs(x), lambda x, _: +x, lambda x, y: x**2 + y, lambda x, y: divmod(x, y)[1],
    lambda x, y: 3 - x + y, lambda x, y: 2 * x / y, lambda x, y: x // 2 - y,
]  # fmt: skip


@st.composite
def expressions(draw):
    """A function of three floats, made of operators and numbers."""
    steps = draw(st.lists(st.tuples(st.sampled_from(OPERATORS), st.integers(0, 5), st.integers(0, 5)), max_size=6))

    def function(*floats):
        values = [*floats, 2, 0.3, True]
        for op, i, j in steps:
            values.append(op(values[(len(values) - 1 - i)], values[j]))
        return values[-1]

    return function


@given(expressions(), st.tuples(NUMBERS, NUMBERS, NUMBERS))
def test_operators_compute_as_python_does(function, floats):
    try:
        expected = function(*floats)
    except (ZeroDivisionError, OverflowError):
        return
    graph = graphad.make_graph(lambda *xs: gnp.multiply(function(*xs), np.float64(1)))(*floats)
    (found,) = evaluate(graph, [np.asarray(x, a.dtype.numpy) for x, a in zip(floats, graph.in_avals, strict=True)])
    assert found.item() == expected


@pytest.mark.parametrize("op", [operator.lt, operator.le, operator.gt, operator.ge, operator.eq, operator.ne])
def test_comparisons_see_every_digit(op):
    near = np.nextafter(0.1, 1)
    for a, b in [(0.1, 0.1), (0.1, float(near)), (float(near), 0.1)]:
        assert bool(jit(op)(a, b)) == op(a, b)
        assert bool(jit(lambda a, op=op, b=b: op(a, b))(a)) == op(a, b)
        assert bool(jit(lambda a, op=op, b=b: op(b, a))(a)) == op(b, a)
        assert jit(lambda a, op=op, b=b: 1 if op(a, b) else 0)(a).item() == op(a, b)


# --- with SciPy


def test_scipy_fits_curves_as_with_numpy():
    t = np.linspace(0, 4, 50)
    y = 2.5 * np.exp(-1.3 * t) + 0.5
    fitted = scipy.optimize.curve_fit(jit(lambda t, a, b, c: a * gnp.exp(-b * t) + c), t, y, [1.0, 1.0, 0.0])[0]
    np.testing.assert_allclose(fitted, [2.5, 1.3, 0.5], rtol=1e-7)


def test_scipy_integrates_with_as_many_calls():
    def field(lib):
        return lambda t, y: lib.stack([y[1], (1 - y[0] ** 2) * y[1] - y[0] + lib.sin(t)])

    ours = scipy.integrate.solve_ivp(jit(field(gnp)), (0, 10), [2.0, 0.0], rtol=1e-9, atol=1e-9)
    theirs = scipy.integrate.solve_ivp(field(np), (0, 10), [2.0, 0.0], rtol=1e-9, atol=1e-9)
    assert abs(ours.nfev - theirs.nfev) <= 12
    np.testing.assert_allclose(ours.y[:, -1], theirs.y[:, -1], rtol=1e-6)
