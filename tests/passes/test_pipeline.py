"""Passes and pipelines: their text, what `run` checks, and that passes keep meaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given

from graphad.config import config
from graphad.errors import ParseError, VerifyError
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.text import parse_graph
from graphad.ir.types import b1, f32, i32
from graphad.ir.verify import effects
from graphad.passes.inline import Inline
from graphad.passes.pipeline import PASSES, Pass, format_pipeline, graph_pass, parse_pipeline, run
from graphad.passes.rewrite import RuleSet, rewrite
from graphad.passes.simplify import EXACT_RULES, Simplify
from tests.strategies import arguments, random_graphs

LITTLE = """
graph @f(%x: f32[3]) -> (f32[3]) {
  %1: f32[3] = mul %x, 1.0:f32   ; model.py:1
  %2: f32[3] = neg %1            ; model.py:2
  return %2
}
"""
TO_THE_BIT = RuleSet(r for r in EXACT_RULES if not getattr(r, "reorders_sums", False))
ALGEBRA = (
    "add sub mul neg div select not and or eq lt maximum convert integer_pow broadcast reshape transpose slice rev pad "
    "concatenate reduce_max reduce_and"
)


@pytest.fixture
def registered():
    """Passes registered by a test, forgotten after it."""
    before = dict(PASSES)
    yield graph_pass
    PASSES.clear()
    PASSES.update(before)


def assert_same(before, after, args):
    for x, y in zip(evaluate(before, args), evaluate(after, args), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
        if x.dtype.kind == "f":
            finite = ~np.isnan(x)
            np.testing.assert_array_equal(np.signbit(x[finite]), np.signbit(y[finite]))


def test_text_of_pipelines():
    assert parse_pipeline("simplify") == (Simplify(),)
    assert parse_pipeline(" inline{custom = True} , simplify{} ") == (Inline(custom=True), Simplify())
    assert parse_pipeline("") == ()
    pipeline = (Inline(), Simplify(fast_math=True), Inline(custom=True), Simplify(fast_math=False))
    assert parse_pipeline(format_pipeline(pipeline)) == pipeline
    assert str(Inline()) == "inline"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("simplfy", r"column 1: there is no pass simplfy\. Did you mean 'simplify'\?"),
        ("simplify,", "column 10: expected a pass"),
        ("simplify inline", "column 10: expected , or the end"),
        ("simplify{fast_moth=True}", r"simplify has no option fast_moth\. Did you mean 'fast_math'\?"),
        ("inline{custom=1}", "custom is of type"),
        ("inline{True}", "options have names"),
        ("inline{custom=}", "write {name=value"),
        ("inline{custom=__import__('os')}", "write {name=value"),
    ],
)
def test_wrong_pipelines(text, message):
    with pytest.raises(ParseError, match=message):
        parse_pipeline(text)


def test_run_calls_back_between_passes():
    steps = []
    graph = parse_graph(LITTLE)
    result = run(graph, "simplify,inline", on_step=lambda p, before, after: steps.append((str(p), before, after)))
    assert [s[0] for s in steps] == ["simplify", "inline"]
    assert steps[0][1] is graph
    assert steps[1][1] is steps[0][2]
    assert steps[1][2] is result
    assert len(result.eqns) == 1


def test_passes_see_fast_math():
    graph = parse_graph(LITTLE.replace("mul %x, 1.0:f32", "add %x, 0.0:f32"))
    assert len(run(graph, "simplify").eqns) == 2
    with config.override(fast_math=True):
        assert len(run(graph, "simplify").eqns) == 1
    assert len(run(graph, "simplify{fast_math=True}").eqns) == 1


def test_a_graph_with_nothing_to_inline_stays_that_very_graph():
    plain = parse_graph(LITTLE)
    assert Inline(custom=True).run(plain) is plain
    stopped = parse_graph(LITTLE.replace("neg", "stop_gradient"))
    assert Inline().run(stopped) is stopped
    assert [e.primitive.name for e in Inline(custom=True).run(stopped).eqns] == ["mul"]


def test_a_pass_that_breaks_the_ir_is_caught(registered):
    @registered("forget-outputs")
    @dataclass(frozen=True)
    class ForgetOutputs(Pass):
        def run(self, graph):
            return Graph(graph.avals, graph.n_inputs, graph.eqns, (), (), graph.locs)

    @registered("dangle")
    @dataclass(frozen=True)
    class Dangle(Pass):
        def run(self, graph):
            return Graph(graph.avals, graph.n_inputs, graph.eqns, (99,), (False,), graph.locs)

    with pytest.raises(VerifyError, match="after the pass forget-outputs: inputs or outputs changed their types"):
        run(parse_graph(LITTLE), "forget-outputs", level=1)
    with pytest.raises(VerifyError, match="after the pass dangle: %99 is used before it is defined"):
        run(parse_graph(LITTLE), "dangle,simplify", level=2)
    run(parse_graph(LITTLE), "dangle", level=0)


def test_a_pass_that_changes_values_is_caught_at_level_3(registered):
    @registered("drop-neg")
    @dataclass(frozen=True)
    class DropNeg(Pass):
        def run(self, graph):
            return Graph(graph.avals[:2], 1, graph.eqns[:1], (1,), None, graph.locs[:1])

    run(parse_graph(LITTLE), "drop-neg", level=2)
    with pytest.raises(VerifyError, match="output 0 was"):
        run(parse_graph(LITTLE), "drop-neg", level=3)


def test_a_pass_that_reorders_effects_is_caught(registered):
    @registered("reverse")
    @dataclass(frozen=True)
    class Reverse(Pass):
        def run(self, graph):
            return Graph(graph.avals, graph.n_inputs, graph.eqns[::-1], graph.outputs, graph.weak, graph.locs[::-1])

    text = "graph @f(%x: bool[], %y: bool[]) -> () {{\n  {}\n  {}\n  return\n}}"
    print_, print_2 = "debug_print[fmt='a', batch_axes=0]", "debug_print[fmt='b', batch_axes=0]"
    with pytest.raises(VerifyError, match="dropped or reordered"):
        run(parse_graph(text.format(print_, print_2)), "reverse")
    guard, guard_2 = "guard[expect=True:bool] %x", "guard[expect=False:bool] %y"
    with pytest.raises(VerifyError, match="dropped or reordered"):
        run(parse_graph(text.format(guard, guard_2)), "reverse")


def test_registering_twice_and_plain_classes_are_refused(registered):
    with pytest.raises(ValueError, match="registered twice"):
        registered("simplify")(Simplify)
    with pytest.raises(TypeError, match="must be a frozen dataclass"):
        registered("plain")(type("Plain", (), {}))


class Relu:
    """The rule of a custom derivative."""

    rule_name, n_args = "relu", 1


def test_inlining_forgets_custom_derivatives_only_where_told_to():
    text = """
graph @f(%x: f32[3]) -> (f32[3]) {
  %1: f32[3] = custom_jvp[rule=@relu] %x {
    graph @relu(%x: f32[3]) -> (f32[3]) {
      %1: f32[3] = stop_gradient %x     ; model.py:1
      %2: f32[3] = maximum %1, 0.0:f32  ; model.py:2
      return %2
    }
  }
  return %1
}"""
    graph = parse_graph(text, {"relu": Relu()})
    assert [e.primitive.name for e in run(graph, "inline", level=3).eqns] == ["custom_jvp"]
    inlined = run(graph, "inline{custom=True}", level=3)
    assert [e.primitive.name for e in inlined.eqns] == ["maximum"]
    assert inlined.locs == ("model.py:2",)


@given(random_graphs(max_steps=14))
def test_exact_rules_keep_every_bit(graph):
    after = rewrite(graph, TO_THE_BIT)
    for seed in range(2):
        assert_same(graph, after, arguments(graph, seed, special=bool(seed)))


@given(random_graphs(max_steps=20, names=tuple(ALGEBRA.split()), shapes=((3,), (2, 3), ())))
def test_exact_rules_keep_every_bit_where_they_find_much_to_do(graph):
    after = rewrite(graph, TO_THE_BIT)
    for seed in range(2):
        assert_same(graph, after, arguments(graph, seed, special=bool(seed)))


@given(random_graphs(dtypes=(i32, b1), max_steps=14))
def test_rules_that_reorder_sums_keep_every_bit_of_integers(graph):
    assert_same(graph, rewrite(graph, EXACT_RULES), arguments(graph))


@given(random_graphs())
def test_simplify_keeps_effects_and_types_and_is_stable(graph):
    once = run(graph, "simplify", level=3)
    assert [(e.primitive, e.params) for e in effects(once)] == [(e.primitive, e.params) for e in effects(graph)]
    assert len(once.eqns) <= len(graph.eqns)
    twice = run(once, "simplify")
    assert len(twice.eqns) <= len(once.eqns)


@given(random_graphs(dtypes=(f32, i32, b1)))
def test_inline_keeps_every_bit_and_leaves_no_call(graph):
    inlined = run(graph, "inline{custom=True}")
    assert all(e.primitive.name not in ("jit", "stop_gradient") for e in inlined.eqns)
    assert_same(graph, inlined, arguments(graph))
