"""Every function that has derivatives: two orders of them, forward and reverse, against differences.

Which functions have derivatives is found by ``docs/make_coverage.py``; the arguments are those of the expressions in
`tests.parity.expressions`, most of which are compared with JAX as well.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from tests.parity.corpus import arguments, of_expression
from tests.parity.expressions import CHECKED, variants
from tests.parity.libraries import OURS
from tests.test_coverage_table import script

#: A test checks so many expressions, and names the one that is wrong.
SIZE = 20
#: Further calls of the same functions: every time to the first order, which takes a quarter of the time of two.
VARIANTS = [text for text in CHECKED if text in variants(CHECKED)]
EACH_ONCE = [text for text in CHECKED if text not in VARIANTS]
#: Functions whose derivative is not that of their values.
BY_DEFINITION = {"stop_gradient"}


def in_groups(texts):
    """Arguments of ``pytest.mark.parametrize``: so many expressions at a time, by the name of the first."""
    groups = [texts[k : k + SIZE] for k in range(0, len(texts), SIZE)]
    return {"argnames": "texts", "argvalues": groups, "ids": [group[0] for group in groups]}


def check(texts, order):
    with graphad.config.override(default_dtype_bits=64, threefry_partitionable=True):
        for text in texts:
            case = of_expression(text)
            floats, others = arguments(case, 64)

            def f(floats, case=case, others=others):
                return case.function(OURS, floats, others)

            f.__name__ = text
            graphad.check_grads(f, (floats,), order=order)


@pytest.mark.parametrize(**in_groups(EACH_ONCE))
def test_two_orders(texts):
    check(texts, order=2)


@pytest.mark.parametrize(**in_groups(VARIANTS))
def test_one_order_of_variants(texts):
    check(texts, order=1)


@pytest.mark.slow
@pytest.mark.parametrize(**in_groups(VARIANTS))
def test_two_orders_of_variants(texts):
    check(texts, order=2)


@pytest.mark.parametrize("module", ["numpy", "lax", "nn", "random"])
def test_none_is_left_out(module):
    found = script()
    ours = importlib.import_module(f"graphad.{module}")
    differentiable = {name for name in found.public(ours) if found.derivatives(ours, name)[0] == "any"}
    assert differentiable - found.checked(ours) - BY_DEFINITION == set()
    assert len(differentiable) >= {"numpy": 220, "lax": 80, "nn": 35, "random": 11}[module]


def test_wrong_derivatives_are_found():
    """Such as those of a rule that is right to the first order only."""
    point = np.array(0.7)

    @graphad.custom_jvp
    def flat(x):
        return gnp.sin(x)

    flat.defjvp(
        lambda primals, tangents: (flat(*primals), tangents[0] * graphad.lax.stop_gradient(gnp.cos(primals[0])))
    )
    graphad.check_grads(flat, (point,), order=1)
    with pytest.raises(AssertionError, match="forward mode of jvp of flat differs"):
        graphad.check_grads(flat, (point,), order=2)
    with pytest.raises(AssertionError, match="reverse mode of vjp of flat differs"):
        graphad.check_grads(flat, (point,), order=2, modes=["rev"])


def test_functions_get_arrays():
    """As everywhere else, and not those of NumPy from which the differences are made."""
    graphad.check_grads(lambda x: x.at[0].multiply(x[1]), (np.array([0.5, -2.0]),), order=2)
