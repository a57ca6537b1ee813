"""The verifier refuses every kind of broken graph, and points at the line."""

from __future__ import annotations

import pytest
from hypothesis import given

import graphad.primitives  # fills the registry
from graphad.config import config
from graphad.errors import VerifyError
from graphad.ir.graph import Graph
from graphad.ir.text import parse_graph
from graphad.ir.types import Aval, Literal, aval, f32
from graphad.ir.verify import effects, verify, verify_effects
from graphad.primitives.elementwise import tanh
from tests.strategies import random_graphs

assert graphad.primitives

GOOD = parse_graph("""
graph @f(%x: f32[3]) -> (f32[3]) {
  %1: f32[3] = mul %x, 2.0:f32   ; model.py:1
  %2: f32[3] = tanh %1           ; model.py:2
  return %2
}
""")
REGION = """
graph @f(%x: f32[3], %p: bool[]) -> (f32[3]) {
  %2: f32[3] = jit[name='g'] %x, %p {   ; model.py:1
    graph @g(%x: f32[3], %p: bool[]) -> (f32[3]) {
      LINE   ; model.py:7
      return %x
    }
  }
  return %2
}
"""


def broken(**changes):
    """A copy of GOOD with other tables."""
    tables = {name: getattr(GOOD, name) for name in ("avals", "n_inputs", "eqns", "outputs", "weak", "locs", "name")}
    return Graph(**(tables | changes))


def with_eqn(k, **changes):
    eqns = list(GOOD.eqns)
    eqns[k] = eqns[k]._replace(**changes)
    return broken(eqns=tuple(eqns))


def forged_aval():
    a = Aval()
    a.shape, a.dtype, a.ndim, a.size, a.is_float = (3,), f32, 1, 3, True
    return a


def forged_literal():
    real = GOOD.eqns[0].inputs[1]
    copy = Literal()
    for slot in set(Literal.__slots__) - {"__weakref__"}:
        setattr(copy, slot, getattr(real, slot))
    return copy


@pytest.mark.parametrize(
    ("graph", "message", "marked"),
    [
        (broken(avals=GOOD.avals[:2]), "the graph has 3 values, but types for 2", "graph @f"),
        (broken(n_inputs=2), "the graph has 4 values, but types for 3", "graph @f"),
        (broken(weak=()), "1 outputs, but weak bits for 0", "graph @f"),
        (broken(locs=()), "2 equations, but locations for 0", "graph @f"),
        (broken(avals=(forged_aval(), *GOOD.avals[1:])), "the type of %0 is no interned Aval", "graph @f"),
        (broken(outputs=(3,)), "%3 is used before it is defined", "return"),
        (broken(outputs=(-1,)), "%-1 is used before it is defined", "return"),
        (broken(outputs=(forged_literal(),)), "no interned Literal", "return"),
        (with_eqn(0, inputs=(2, 0)), "model.py:1: %2 is used before it is defined", "= mul"),
        (with_eqn(0, inputs=(0, forged_literal())), "no interned Literal", "= mul"),
        (with_eqn(0, inputs=(0, 2.0)), "no interned Literal", "= mul"),
        (with_eqn(1, outputs=(1,)), "model.py:2: outputs are numbered (1,), the next value is 2", "= tanh"),
        (with_eqn(1, params=(1,)), "tanh has params (), got 1", "= tanh"),
        (with_eqn(1, regions=(GOOD,)), "tanh takes no regions", "= tanh"),
        (with_eqn(1, inputs=(0, 1)), "model.py:2: tanh takes 1 operand, got 2", "= tanh"),
        (broken(avals=(*GOOD.avals[:2], aval((4,), f32))), "tanh gives f32[3], but f32[4] is recorded", "= tanh"),
    ],
)
def test_broken_graphs(graph, message, marked):
    with pytest.raises(VerifyError) as raised:
        verify(graph)
    text = str(raised.value)
    assert message in text.split("\n")[0]
    (line,) = [line for line in text.split("\n") if line.startswith(">>>")]
    assert marked in line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%2: f32[4] = tanh %x", "model.py:7: tanh gives f32[3], but f32[4] is recorded"),
        ("%2: f32[3] = reshape[shape=(4,)] %x", "model.py:7: reshape got f32[3] for shape (4,)"),
        ("guard[expect=True:bool] %p", "model.py:1: a guard is inside a region"),
    ],
)
def test_regions_are_checked_and_the_whole_graph_is_printed(line, message):
    with pytest.raises(VerifyError) as raised:
        verify(parse_graph(REGION.replace("LINE", line)))
    text = str(raised.value)
    assert text.startswith(message)
    assert "graph @f" in text
    assert sum(row.startswith(">>>") for row in text.split("\n")) == 1


def test_wrong_params():
    graph = parse_graph(REGION.replace("LINE", "%2: f32[1,3] = reshape[shape=(1,3)] %x"))
    region = graph.eqns[0].regions[0]
    eqn = region.eqns[0]
    for shape in ([1, 3], (1.0, 3.0), (True, 3), 3):
        bad = Graph(region.avals, 2, (eqn._replace(params=(shape,)),), region.outputs)
        with pytest.raises(VerifyError, match="shape of reshape is of kind ints, got"):
            verify(bad)


def test_levels():
    graph = broken(outputs=(3,))
    assert verify(graph, 0) is graph
    with config.override(verify=0):
        assert verify(graph) is graph
    with config.override(verify=1), pytest.raises(VerifyError):
        verify(graph)


def test_level_2_reads_the_text_back():
    odd = Graph(GOOD.avals, 1, GOOD.eqns, GOOD.outputs, name="f")
    eqn = GOOD.eqns[1]._replace(primitive=Impostor())
    fooled = Graph(GOOD.avals, 1, (GOOD.eqns[0], eqn), GOOD.outputs)
    assert verify(odd, 2) is odd
    assert verify(fooled, 1) is fooled
    with pytest.raises(VerifyError, match="reads back as another graph"):
        verify(fooled, 2)


class Impostor:
    """Has the name of a registered primitive."""

    name, params, region_rules, effect = "tanh", {}, None, False

    def infer(self, types, params, regions):
        return tanh.infer(types, params, regions)


@given(random_graphs())
def test_what_builders_make_is_valid(graph):
    assert verify(graph, 2) is graph


def printing(*texts):
    lines = [
        f"  debug_print[fmt={t!r}, batch_axes=0]" if t != "guard" else "  guard[expect=True:bool] %p" for t in texts
    ]
    return parse_graph("\n".join(["graph @f(%p: bool[]) -> () {", *lines, "  return", "}"]))


def test_effects_keep_their_order():
    verify_effects(printing("a", "guard", "b"), printing("a", "guard", "b"))
    for after in ("b guard a", "a guard", "guard b", "a b", "guard a b", "a guard c", ""):
        with pytest.raises(VerifyError, match="was dropped or reordered"):
            verify_effects(printing("a", "guard", "b"), printing(*after.split()))
    for more in ("b", "guard"):
        with pytest.raises(VerifyError, match="a new effect"):
            verify_effects(printing("a", "guard", "b"), printing("a", "guard", "b", more))


def test_effects_of_regions_count():
    region = "\n".join(f"      {line.strip()}" for line in str(printing("inner")).split("\n"))
    graph = parse_graph(f"""
graph @f(%p: bool[]) -> () {{
  debug_print[fmt='before', batch_axes=0]
  jit[name='g'] %p {{
{region}
  }}
  debug_print[fmt='after', batch_axes=0]
  return
}}""")
    assert [e.params[0] for e in effects(graph)] == ["before", "inner", "after"]
