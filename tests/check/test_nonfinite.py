"""`config.debug_nans` and `debug_infs`: every planted case is attributed, by whatever way the function is run."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import optim
from graphad.api.finite import Watched
from graphad.api.stages import compiled
from graphad.config import config
from graphad.errors import NonFiniteError
from graphad.train import fit, make_step
from tests.check.nonfinite_cases import CASES, line_of

NAMES = list(CASES)


def derived(f, order):
    """A function whose result is bad, of value or gradient."""
    if order == 2:
        return graphad.grad(lambda x: graphad.grad(f)(x).sum())
    return graphad.grad(f) if order else f


def message_of(name, run):
    with config.override(**{CASES[name].looks: True}), pytest.raises(NonFiniteError) as caught:
        run()
    return str(caught.value)


def check(name, message):
    """The line, the equation, its operands, and what made an infinity among them."""
    c = CASES[name]
    assert message.startswith(f"nonfinite_cases.py:{line_of(name)}: "), message
    side = f", in the {c.side} of this line," if c.side else ""
    value = "nan" if c.looks == "debug_nans" else "-?inf"
    assert re.search(rf" is {value}\. {c.primitive}{side} makes it of {re.escape(c.operands)}", message), message
    assert (f"inf is made by {c.cause}" in message) == bool(c.cause), message


@pytest.mark.parametrize("name", NAMES)
def test_compiled(name):
    c = CASES[name]
    check(name, message_of(name, lambda: graphad.jit(derived(c.function, c.order))(c.x)))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "denormal number"])  # NumPy does not flush those
def test_not_compiled(name):
    c = CASES[name]
    run = derived(c.function, c.order) if c.order else graphad.value_and_grad(c.function)
    check(name, message_of(name, lambda: run(c.x)))


@pytest.mark.parametrize(
    "name", ["difference of infinities", "row of a product", "norm at zero", "entropy", "backward rule", "overflow"]
)
def test_on_a_device(name):
    c = CASES[name]
    f = derived(c.function, c.order)
    x = graphad.device_put(c.x, "cuda:emulated")
    check(name, message_of(name, lambda: graphad.jit(f)(x)))
    if c.order:
        check(name, message_of(name, lambda: f(x)))


@pytest.mark.parametrize("place", ["cpu", "cuda:emulated"])
@pytest.mark.parametrize("wrap", [lambda f: f, graphad.jit], ids=["plain", "jit"])
def test_equal_programs_at_two_lines(place, wrap):
    """Code is shared between equal graphs, and the lines are each one's own."""

    def first(x):
        return gnp.sqrt((x * x).sum())  # the first

    def second(x):
        return gnp.sqrt((x * x).sum())  # the second

    x = graphad.device_put(np.zeros(2, np.float32), place)
    for f, text in ((first, "# the first"), (second, "# the second"), (first, "# the first")):
        with config.override(debug_nans=True), pytest.raises(NonFiniteError) as caught:
            wrap(graphad.grad(f))(x)
        assert f"return gnp.sqrt((x * x).sum())  {text}\n" in str(caught.value)


def test_operations_on_a_device():
    """Each is a program there."""
    x = graphad.device_put(np.float32([1, -1]), "cuda:emulated")
    with config.override(debug_nans=True), pytest.raises(NonFiniteError, match=r"log makes it of "):
        gnp.log(x)


@pytest.mark.parametrize("on_nan", ["raise", "ignore"])
@pytest.mark.parametrize("name", ["logarithm", "within jit", "masked logarithm", "norm at zero", "backward rule"])
def test_training(name, on_nan):
    """`fit` halts and tells by itself, with the setting or without; told to ignore it, the setting still looks."""
    c = CASES[name]

    def train():
        loss = lambda p, _: c.function(p["x"])
        fit(loss, {"x": c.x}, np.ones(1), optim.sgd(0.1), batch_size=1, progress=False, on_nan=on_nan)

    message = message_of(name, train)
    assert message.startswith(f"nonfinite_cases.py:{line_of(name)}: "), message
    assert c.cause in message if c.cause else c.primitive in message and c.operands in message


def test_an_infinity_that_the_optimiser_means_is_not_looked_at():
    """The state of a step holds some from the start."""
    with config.override(debug_nans=True, debug_infs=True):
        step = make_step(lambda p, x: gnp.mean((p - x) ** 2), optim.lbfgs())
        state = step.init(np.float32(1.0))
        state, loss = step(state, np.float32([2.0]))
    assert np.isfinite(float(loss))


def test_there_are_enough_cases():
    assert len(CASES) >= 30
    assert sum(c.order > 0 for c in CASES.values()) >= 10


# --- what is not to be complained of, and what it costs


def test_off_it_is_not_there():
    traced = []

    @graphad.jit
    def f(x):
        traced.append(None)
        return gnp.log(x)

    bad, key = np.float32([-1]), config.trace_key
    f(bad)
    (path,) = next(iter(f._trees.values())).paths()
    assert not isinstance(path.executable, Watched)
    assert path.executable is compiled(path.graph)
    with config.override(debug_nans=True):
        assert len(config.trace_key) == len(key) + 1
        for _ in range(2):
            with pytest.raises(NonFiniteError):
                f(bad)
        f(np.float32([1]))
    assert config.trace_key == key
    f(bad)
    assert len(traced) == 2, "once for each setting"


def test_what_reaches_no_result_is_not_looked_at():
    x = np.float32([-1, 0, 4])

    def f(x):
        safe = gnp.where(x > 0, x, 1.0)
        return gnp.where(x > 0, gnp.log(x), 0.0).sum() + gnp.where(x > 0, gnp.sqrt(safe), 0.0).sum()

    with config.override(debug_nans=True, debug_infs=True):
        assert np.isfinite(float(graphad.jit(f)(x)))
        masked = graphad.jit(lambda x: gnp.where(x > 1, x, -gnp.inf))(x)
        np.testing.assert_array_equal(masked, [-np.inf, -np.inf, 4])
        np.testing.assert_array_equal(graphad.jit(lambda x: x * 2)(np.float32([np.inf])), [np.inf])


def test_a_nan_among_the_arguments():
    x = np.ones((3, 2), np.float32)
    x[2, 1] = np.nan

    def f(y, x):
        return (x * y).sum()

    expected = pytest.raises(NonFiniteError, match=r"result of f is nan: input 1 at \[2, 1\] is nan already")
    with config.override(debug_nans=True), expected:
        graphad.jit(f)(np.float32(2), x)


def test_a_function_that_branches():
    def f(x):
        if x.sum() > 0:
            return gnp.sqrt(x)
        return gnp.log(x)  # the other branch

    with config.override(debug_nans=True):
        compiled_f = graphad.jit(f)
        compiled_f(np.float32([1, 2]))
        with pytest.raises(NonFiniteError, match=r"log makes it of -1\.0:\n    return gnp\.log\(x\)  # the other"):
            compiled_f(np.float32([-1, -2]))


def test_what_was_donated_is_still_there():
    x = gnp.array([-1.0])
    with config.override(debug_nans=True), pytest.raises(NonFiniteError):
        graphad.jit(gnp.log, donate_argnums=0)(x)
    assert not x.is_deleted()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(dtype):
    x = gnp.asarray([4.0, -4.0]).astype(dtype)
    with config.override(debug_nans=True), pytest.raises(NonFiniteError, match=r"sqrt makes it of -4\.0"):
        graphad.jit(lambda x: gnp.sqrt(x) + 1)(x)


def test_what_only_the_compiled_program_makes():
    """It is said that NumPy makes another number of it."""

    class Wrong:
        def run(self, operands, answers):
            return (np.float32([1, np.nan]),)

    graph = graphad.jit(lambda x: x + 1).trace(np.float32([1, 2])).graph
    with config.override(debug_nans=True), pytest.raises(NonFiniteError) as caught:
        Watched(Wrong(), graph).run((np.float32([1, 2]),))
    assert re.match(
        r"test_nonfinite\.py:\d+: the result of lambda at \[1\] is nan in the compiled program, and 3\.0",
        str(caught.value),
    )


@pytest.mark.parametrize("name", ["debug_nans", "debug_infs"])
def test_jax_has_the_same_names(name):
    with config.override(**{f"jax_{name}": True}):
        assert getattr(config, name)
        assert config.looks == (name,)
