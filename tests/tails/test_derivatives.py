"""First and second derivatives of every elementwise function are right in all digits, over the whole domain."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from graphad.api.abstract import make_graph
from graphad.ir.primitive import PRIMITIVES
from graphad.primitives import elementwise as prims
from tests.tails.accuracy import SPACES, differences, points_of
from tests.tails.functions import CASES, TRIVIAL

EXEMPT = set(TRIVIAL.split())
each_case = pytest.mark.parametrize(
    ("case", "dtype"), [pytest.param(c, d, id=f"{c.names.split()[0]}-{d.__name__}") for c in CASES for d in c.dtypes]
)
STEP = {np.float32: 100, np.float64: 800}


@each_case
def test_two_derivatives(case, dtype):
    points = points_of(case, dtype, STEP[dtype])
    for name in case.names.split():
        found = differences(case, name, dtype, points)
        assert not found, "\n".join(found[:20])


@pytest.mark.slow
@each_case
def test_two_derivatives_at_every_exponent(case, dtype):
    """Every exponent for one operand, every eighth of float32 for two; compiled too."""
    step = 1 if len(case.domain) == 1 else 8
    points = points_of(case, dtype, step if dtype is np.float32 else step * 16)
    for compiled in (False, True):
        found = differences(case, case.names.split()[0], dtype, points, compiled)
        assert not found, "\n".join(found[:20])


# ---------------------------------------------------------------------------------------------------------------------
# None is left out


def equations(graph):
    for eqn in graph.eqns:
        yield eqn
        for region in eqn.regions:
            yield from equations(region)


def is_elementwise(function, n):
    """Its graph for n vectors consists of elementwise equations, and gives vectors of floats."""
    vectors = [np.linspace(0.2, 0.7, 3, dtype=np.float32) + k for k in range(n)]
    try:
        graph = make_graph(function)(*vectors)
    except Exception:  # noqa: BLE001  (whatever it refuses to do, it is not a function of each element)
        return False
    alike = graph.outputs and all(a.shape == (3,) for a in graph.out_avals) and any(a.is_float for a in graph.out_avals)
    around = {"broadcast", "jit", "custom_jvp", "custom_vjp"}
    return alike and all(e.primitive.elementwise or e.primitive.name in around for e in equations(graph))


def names():
    return {name.split("(")[0] for case in CASES for name in case.names.split()}


@pytest.mark.parametrize("space", ["gnp", "lax", "nn"])
@pytest.mark.filterwarnings("ignore")
def test_every_public_elementwise_function_is_here(space):
    module = SPACES[space]
    missing = [
        name
        for name in dir(module)
        if not name.startswith("_") and callable(getattr(module, name)) and not inspect.isclass(getattr(module, name))
        and name not in EXEMPT and f"{space}.{name}" not in names()
        and any(is_elementwise(getattr(module, name), n) for n in (1, 2, 3))
    ]  # fmt: skip
    assert missing == []


def test_every_elementwise_primitive_is_here():
    of_primitives = {getattr(prims, name.split(".")[1]) for name in names() if name.startswith("prims.")}
    missing = {p.name for p in PRIMITIVES.values() if p.elementwise and p.jvp is not None and p not in of_primitives}
    assert missing - EXEMPT == set()
