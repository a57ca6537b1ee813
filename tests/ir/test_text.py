"""The text form: what is printed, that it reads back, and what is said of malformed text."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphad.primitives  # fills the registry
from graphad.errors import ParseError
from graphad.ir.builder import Builder
from graphad.ir.graph import Graph
from graphad.ir.text import format_graph, parse_graph
from graphad.ir.types import DTYPES, aval, b1, bf16, f16, f32, f64, i32, literal, u8
from graphad.primitives.custom import custom_jvp
from graphad.primitives.effects import debug_print
from graphad.primitives.elementwise import add, mul, tanh
from tests.strategies import random_graphs
from tests.thinned import every

assert graphad.primitives

MODEL = """\
graph @loss(%0: f32[3], %1: f32[4,3]) -> (weak f32[]) {
  %2: f32[4] = dot_general[contract=((1,),(0,)), batch=((),())] %1, %0   ; model.py:4
  %3: f32[4] = tanh %2                                                   ; model.py:5
  %4: f32[]  = reduce_sum[axes=(0,)] %3                                  ; jvp(model.py:6)
  return %4
}"""


class Rule:
    n_args = 1

    def __init__(self, name):
        self.rule_name = name


def with_rules(*rules):
    """A graph of one custom_jvp equation per rule."""
    inner = Builder()
    region = inner.close([tanh(inner.input_ref(aval((), f32))).atom])
    builder = Builder()
    x = builder.input(aval((), f32))
    return builder.close([builder.emit(custom_jvp, (x,), (r,), (region,))[0] for r in rules])


def test_print_of_parse_is_the_same_text():
    graph = parse_graph(MODEL)
    assert str(graph) == MODEL
    assert graph.name == "loss"
    assert graph.weak == (True,)
    assert graph.locs == ("model.py:4", "model.py:5", "jvp(model.py:6)")


def test_names_spaces_and_blank_lines_mean_nothing():
    text = MODEL.replace("%0", "%w").replace("%1", "%data").replace("%3", "%h_1")
    text = "\n; a comment\n" + text.replace("\n", "\r\n\n").replace(" = ", "=").replace(", ", "  ,  ") + "\n\n"
    graph = parse_graph(text)
    assert graph == parse_graph(MODEL)
    assert str(graph) == MODEL


@given(random_graphs())
def test_round_trip(graph):
    text = format_graph(graph)
    back = parse_graph(text)
    assert back == graph
    assert hash(back) == hash(graph)
    assert (back.name, back.weak) == (graph.name, graph.weak)
    assert format_graph(back) == text


@pytest.mark.parametrize("dtype", every(2, [f16, bf16, u8, b1]), ids=repr)
def test_every_literal_of_a_narrow_dtype_reads_back(dtype):
    all_bits = np.arange(2**dtype.bits if dtype is not b1 else 2).astype(f"u{dtype.numpy.itemsize}")
    literals = [literal(v, dtype) for v in all_bits.view(dtype.numpy)]
    graph = Graph((), 0, (), tuple(literals))
    assert parse_graph(str(graph)).outputs == tuple(literals)


@given(st.data())
def test_literals_of_wide_dtypes_read_back(data):
    for dtype in (f32, f64, *(d for d in DTYPES.values() if d.is_integer)):
        bits = data.draw(st.integers(0, 2**dtype.bits - 1))
        value = np.array(bits, f"u{dtype.numpy.itemsize}").view(dtype.numpy)
        graph = Graph((), 0, (), (literal(value[()], dtype),))
        assert parse_graph(str(graph)).outputs[0] is graph.outputs[0]


@given(st.text().filter(lambda s: "{" not in s and "}" not in s))
def test_strings_in_params_read_back(fmt):
    builder = Builder()
    x = builder.input_ref(aval((), f32))
    debug_print(x, fmt=fmt, batch_axes=0)
    graph = builder.close([])
    assert parse_graph(str(graph)) == graph
    assert "\n" not in str(graph).split("\n")[1]


@given(st.text(), st.text())
def test_odd_names_and_locations_do_not_break_the_text(name, loc):
    builder = Builder()
    x = builder.input_ref(aval((2,), f32))
    builder.loc = loc
    graph = builder.close([add(x, x).atom], name=name)
    assert parse_graph(str(graph)) == graph


def test_many_inputs_go_on_many_lines():
    builder = Builder()
    refs = [builder.input_ref(aval((10, 10), f32)) for _ in range(12)]
    graph = builder.close([r.atom for r in refs])
    text = str(graph)
    assert max(map(len, text.split("\n")[:13])) < 40
    assert parse_graph(text) == graph


def test_rules_get_names_that_are_unique_in_the_text():
    a, b, c = Rule("relu"), Rule("relu"), Rule("my rule!")
    graph = with_rules(a, b, c, a)
    rules = {}
    text = format_graph(graph, rules)
    assert rules == {"relu": a, "relu.1": b, "my_rule_": c}
    assert parse_graph(text, rules) == graph
    assert parse_graph(text, {**rules, "relu.1": a}) != graph
    with pytest.raises(ParseError, match=r"names rule @relu; pass it"):
        parse_graph(text)


def graph_of(*lines, inputs="%0: f32[3]", outputs="f32[3]", result="%0"):
    return "\n".join([f"graph @f({inputs}) -> ({outputs}) {{", *lines, f"  return {result}", "}"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: the text ends where graph"),
        ("grph @f() -> () {", r"line 1, column 1: expected graph @name\("),
        ("graph @f(%0 f32[3]) -> () {", "line 1, column 10: expected %name: type"),
        ("graph @f(%0: f33[3]) -> () {", r"line 1, column 10: 'f33\[3\]' is not a type; write e\.g\. f32\[3,4\]"),
        ("graph @f(%0: f32[3] %1: f32[3]) -> () {", "line 1, column 21: expected , or "),
        ("graph @f(%0: f32[3], %0: f32[3]) -> () {", "line 1, column 22: %0 is defined twice"),
        ("graph @f() -> (strong f32[3]) {", "line 1, column 16: expected a type"),
        ("graph @f()", "column 11: expected ->"),
        ("graph @f(", "the text ends where \\) should follow"),
        ("graph @f() -> () {", "the text ends where an equation or return should follow"),
        ("graph @f() -> () {\n  return\n", "the text ends where } should follow"),
        (graph_of() + "\nmore", "line 4, column 1: the graph has ended"),
        (graph_of(result="%7"), "line 2, column 10: %7 is used before it is defined"),
        (
            graph_of(outputs="f64[3]"),
            r"column 9: the graph returns \(f32\[3\]\), but its first line says \(f64",
        ),
        (graph_of("  %1: f32[3] = tanh %0 %0"), "line 2, column 24: expected the end of the line"),
        (graph_of("  %1: f32[3] = tnah %0"), "line 2, column 16: there is no primitive tnah. Did you mean 'tanh'"),
        (graph_of("  %1: f32[3] tanh %0"), "line 2, column 14: expected ="),
        (graph_of("  %1: f32[3] = "), "line 2, column 16: expected the name of a primitive"),
        (graph_of("  %1: f32[3] = tanh %1"), "line 2, column 21: %1 is used before"),
        (graph_of("  %0: f32[3] = tanh %0"), "line 2, column 3: %0 is defined twice"),
        (graph_of("  %1: f32[3] = add %0,"), "line 2, column 23: expected a value or a literal"),
        (graph_of("  %1: f32[3] = add %0, 1.0"), "line 2, column 24: 1.0 is neither a value nor a literal"),
        (graph_of("  %1: f32[3] = add %0, 1.0:f31"), "neither a value nor a literal"),
        (graph_of("  %1: f32[3] = add %0, one:f32"), "could not convert string to float"),
        (graph_of("  %1: f32[3] = add %0, 0x7fc0:f32"), "only floats are written by their bits, with 8 digits"),
        (graph_of("  %1: f32[3] = add %0, 0xzzzzzzzz:f32"), "line 2, column 24"),
        (graph_of("  %1: f32[3] = add %0, 0x7f:u8"), "only floats are written by their bits"),
        (graph_of("  %1: f32[3] = add %0, 300:u8"), "300 does not fit into u8"),
        (graph_of("  %1: f32[3] = add %0, -1:u8"), "-1 does not fit into u8"),
        (graph_of("  %1: f32[3] = add %0, 1:bool"), "write True:bool or False:bool"),
        (graph_of("  %1: f32[1] = reshape %0"), r"line 2, column 23: reshape has params: expected \[shape=...\]"),
        (graph_of("  %1: f32[1] = reshape[] %0"), r"expected reshape\[shape=...\], got 0 params"),
        (graph_of("  %1: f32[1] = reshape[shape=(1,), dims=()] %0"), "got 2 params"),
        (graph_of("  %1: f32[1] = reshape[dims=(1,)] %0"), "line 2, column 24: expected shape=..., as reshape"),
        (graph_of("  %1: f32[1] = reshape[shape=1] %0"), "shape of reshape is of kind ints, got 1"),
        (graph_of("  %1: f32[1] = reshape[shape=(1.0,)] %0"), "of kind ints"),
        (graph_of("  %1: f32[1] = reshape[shape=(1,] %0"), "of kind ints"),
        (graph_of("  %1: f32[1] = reshape[shape=__import__('os')] %0"), "column 24"),
        (graph_of("  %1: i32[3] = convert[dtype=int] %0"), "dtype of convert is of kind dtype, got int"),
        (graph_of("  guard[expect=1] %0"), "is not a literal"),
        (graph_of("  %1: f32[3] = jit[name='f'] %0 {", "  }", inputs="%0: f32[3]") + " }", "line 5, column 3"),
        (graph_of("  %1: f32[3] = jit[name='f'] %0 {", "    tanh %0", "  }"), "line 3, column 5: expected graph"),
    ],
)
def test_malformed_text(text, message):
    with pytest.raises(ParseError, match=message):
        parse_graph(text)


def test_the_message_shows_the_line_and_a_caret():
    with pytest.raises(ParseError) as raised:
        parse_graph(graph_of("\t%1: f32[3] = add %0, %2   ; model.py:3"))
    assert str(raised.value).split("\n") == [
        "line 2, column 23: %2 is used before it is defined",
        "   %1: f32[3] = add %0, %2   ; model.py:3",
        "  " + " " * 22 + "^",
    ]


@given(st.integers(0, len(MODEL) - 1), st.sampled_from([*"%[](){}=,:;@0fx '\"\\\n", ""]))
def test_damaged_text_is_refused_or_read_but_never_crashes(position, character):
    text = MODEL[:position] + character + MODEL[position + 1 :]
    try:
        graph = parse_graph(text)
    except ParseError:
        return
    assert parse_graph(str(graph)) == graph


def test_regions_nested_beyond_reason_are_refused():
    text = "graph @f(%0: f32[]) -> (f32[]) {\n  %1: f32[] = jit[name='f'] %0 {\n" * 5000
    with pytest.raises(ParseError, match=r"nested too deeply|text ends"):
        parse_graph(text)


def test_a_long_graph_reads_back():
    builder = Builder()
    x = builder.input_ref(aval((3,), f32))
    for k in range(10_000):
        x = mul(x, float(k % 50))
    graph = builder.close([x.atom])
    assert parse_graph(str(graph)) == graph


def test_integers_and_booleans_stay_apart():
    graph = Graph((), 0, (), (literal(1, i32), literal(True, b1), literal(1, f32)))
    assert [o.dtype for o in parse_graph(str(graph)).outputs] == [i32, b1, f32]


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**40])
def test_numbers_beyond_all_sizes_are_refused_with_their_place(number):
    """Each number of a text in turn becomes too large: the text parses, or is refused as a text."""
    places = [found.span() for found in re.finditer(r"(?<=[\[(,])\d+(?=[\]),])", MODEL)]
    refused: list[str] = []
    for start, end in places:
        try:
            parse_graph(MODEL[:start] + str(number) + MODEL[end:])
        except ParseError as error:
            refused.append(str(error))
    assert len(places) >= 8
    assert number < 2**63 or len(refused) >= 5  # all sizes, if not all axes
    assert all(re.match(r"line \d+, column \d+: ", message) for message in refused)


def test_a_product_of_sizes_beyond_64_bits_is_refused():
    with pytest.raises(ParseError, match=r"line 1, column 10: .*fewer than 2\*\*63 elements"):
        parse_graph("graph @f(%0: f32[4294967296,4294967296]) -> (f32[]) {\n  return 1.0:f32\n}")
