"""Wrong uses, and the message that each must give: where (the user's line), what, and what to do."""

from __future__ import annotations

import re

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.config import config
from graphad.errors import ParseError
from graphad.ir.text import parse_graph
from tests.wrong_uses import of_arrays, of_derivatives, of_tracers, of_transforms

WRONG = {**of_tracers.WRONG, **of_derivatives.WRONG, **of_transforms.WRONG, **of_arrays.WRONG}
VECTOR = gnp.array([1.0, 2.0, 3.0])


def update_inside():
    with config.override(verify=0):
        config.update("verify", 0)


# Settings, texts and comparisons are not on a line of the user's program: these say what and what to do.
ELSEWHERE = {
    "an unknown setting": (
        lambda: config.update("default_dtype_bit", 64),
        AttributeError,
        "Did you mean 'default_dtype_bits'",
    ),
    "a setting's value": (lambda: config.update("default_dtype_bits", 16), ValueError, "cannot be 16; allowed: 32, 64"),
    "a setting by assignment": (lambda: setattr(config, "verify", 0), AttributeError, r"config\.update\('verify', 0\)"),
    "an update inside an override": (update_inside, RuntimeError, "Update before the block"),
    "a text that ends early": (lambda: parse_graph("graph @f(%0: f32[3]) -> (f32[3]) {"), ParseError, r"line 1.*"),
    "an unknown primitive": (
        lambda: parse_graph("graph @f(%0: f32[]) -> (f32[]) {\n  %1: f32[] = sinn %0\n  return %1\n}"),
        ParseError,
        "line 2.*sinn.*Did you mean",
    ),
    "a wrong derivative": (
        lambda: graphad.check_grads(of_derivatives.with_jvp(lambda p, t: (p[0] * 2.0, t[0] * 3.0)), (1.0,), 1),
        AssertionError,
        "forward mode of lambda differs",
    ),
    "NumPy's own function": (
        lambda: graphad.grad(lambda x: np.sin(x))(1.0),
        TypeError,
        r"Write graphad\.numpy\.sin\(x\)",
    ),
}


def message_of(use, error):
    with pytest.raises(error) as caught:
        use()
    return str(caught.value)


@pytest.mark.parametrize("name", WRONG)
def test_message(name):
    use, error, says = WRONG[name]
    message = message_of(use, error)
    assert re.match(r"(\w+\()*of_\w+\.py:\d+\)*: ", message), f"no line of the use at the start of: {message}"
    assert re.search(says, message, re.DOTALL), message


@pytest.mark.parametrize("name", ELSEWHERE)
def test_message_without_a_line(name):
    use, error, says = ELSEWHERE[name]
    assert re.search(says, message_of(use, error), re.DOTALL)


def test_the_table_is_long():
    assert len(WRONG) == sum(len(m.WRONG) for m in (of_tracers, of_derivatives, of_transforms, of_arrays)) >= 100


def test_the_line_is_the_one_that_is_wrong():
    def f(x):
        y = x * 2.0
        return float(y)

    message = message_of(lambda: graphad.grad(f)(1.0), graphad.errors.ConcretizationError)
    assert f"test_error_messages.py:{f.__code__.co_firstlineno + 2}: " in message
    assert "return float(y)" in message


def test_the_line_goes_through_transforms():
    f = of_derivatives.with_vjp(lambda x: (x * 2.0, x), lambda r, ct: (ct,))

    def g(x):
        return gnp.sin(f(x))

    for use in (
        lambda: graphad.jvp(g, (VECTOR,), (VECTOR,)),
        lambda: graphad.jit(lambda x: graphad.jvp(g, (x,), (x,)))(VECTOR),
    ):
        message = message_of(use, graphad.errors.DifferentiationError)
        assert message.startswith(
            f"jvp(test_error_messages.py:{g.__code__.co_firstlineno + 1}): lambda has a custom_vjp"
        )
