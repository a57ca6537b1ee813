"""Value numbering, dead code, literals, equality: what the builder and the graph promise."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphad.primitives  # fills the registry
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.graph import Graph
from graphad.ir.ref import Ref
from graphad.ir.text import parse_graph
from graphad.ir.types import DTYPES, aval, b1, f32, f64, i32, literal
from graphad.primitives.control import jit, remat
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, cos, mul, select, sin, sub, tanh
from tests.strategies import arguments, random_graphs

assert graphad.primitives
VECTOR = aval((3,), f32)


def two_inputs():
    builder = Builder()
    return builder, builder.input_ref(VECTOR), builder.input_ref(VECTOR)


def names(graph):
    return [e.primitive.name for e in graph.eqns]


def inner_graph(outputs=lambda x, y: (sin(x), cos(y)), effect=False):
    builder, x, y = two_inputs()
    results = [r.atom for r in outputs(x, y)]
    if effect:
        debug_print(x, fmt="{}", batch_axes=0)
    return builder.close(results, name="inner")


# -- value numbering


def test_equal_equations_are_one():
    builder, x, y = two_inputs()
    assert tanh(x).atom == tanh(x).atom
    assert add(x, y).atom == add(y, x).atom
    assert sub(x, y).atom != sub(y, x).atom
    assert mul(x, 2.0).atom == mul(2.0, x).atom
    assert mul(x, 2.0).atom != mul(x, -2.0).atom
    assert mul(x, 0.0).atom != mul(x, -0.0).atom
    assert len(builder.eqns) == 8


def test_equations_with_equal_regions_are_one_but_for_effects():
    builder, x, y = two_inputs()
    for region in (inner_graph(), inner_graph()):
        builder.emit(jit, (x.atom, y.atom), ("inner",), (region,))
    assert len(builder.eqns) == 1
    for _ in range(2):
        builder.emit(jit, (x.atom, y.atom), ("inner",), (inner_graph(effect=True),))
        debug_print(x, fmt="{}", batch_axes=0)
    assert len(builder.eqns) == 5


def test_operands_of_another_builder_are_refused():
    _, x, _ = two_inputs()
    _, y, _ = two_inputs()
    with pytest.raises(AssertionError, match="belongs to another builder"):
        add(x, y)


def test_scalars_take_the_dtype_of_their_group():
    builder = Builder()
    c, x = builder.input_ref(aval((3,), b1)), builder.input_ref(aval((3,), f64))
    chosen = select(c, x, 1)
    assert chosen.dtype is f64
    assert builder.eqns[-1].inputs[2] is literal(1.0, f64)


# -- closing


def test_close_drops_what_nobody_reads_and_numbers_densely():
    builder, x, y = two_inputs()
    add(x, y)
    kept = tanh(y)
    sin(kept)
    graph = builder.close([kept.atom])
    assert graph == parse_graph(
        "graph @f(%0: f32[3], %1: f32[3]) -> (f32[3]) {\n  %2: f32[3] = tanh %1\n  return %2\n}"
    )


def test_close_may_reorder_and_narrow_inputs():
    builder, x, y = two_inputs()
    graph = builder.close([sub(x, y).atom], inputs=[y.atom, x.atom])
    (result,) = evaluate(graph, [np.full(3, 1, np.float32), np.full(3, 5, np.float32)])
    np.testing.assert_array_equal(result, [4, 4, 4])
    assert builder.close([tanh(y).atom], inputs=[y.atom]).n_inputs == 1


def test_outputs_may_be_inputs_literals_and_repeats():
    builder, x, _ = two_inputs()
    graph = builder.close([x.atom, literal(2, i32), x.atom], [False, True, False])
    results = evaluate(graph, [np.arange(3, dtype=np.float32), np.zeros(3, np.float32)])
    assert [r.dtype for r in results] == [np.float32, np.int32, np.float32]
    assert graph.out_avals == (VECTOR, aval((), i32), VECTOR)


def test_effects_are_roots_and_keep_their_order():
    builder = Builder()
    p = builder.input_ref(aval((), b1))
    debug_print(p, fmt="first {}", batch_axes=0)
    guard(p, expect=literal(True, b1))
    debug_print(p, fmt="second {}", batch_axes=0)
    graph = builder.close([])
    assert names(graph) == ["debug_print", "guard", "debug_print"]
    seen = []
    evaluate(graph, [np.True_], on_effect=lambda eqn, _loc, values: seen.append((eqn.primitive.name, values)))
    assert [n for n, _ in seen] == names(graph)


def test_regions_are_pruned_of_unread_outputs_and_inputs():
    for primitive, params in ((jit, ("inner",)), (remat, ())):
        builder, x, y = two_inputs()
        first, _ = builder.emit(primitive, (x.atom, y.atom), params, (inner_graph(),))
        graph = builder.close([first])
        (eqn,) = graph.eqns
        assert eqn.inputs == (0,)
        assert names(eqn.regions[0]) == ["sin"]
        assert len(eqn.outputs) == 1


def test_pruning_goes_through_regions_within_regions():
    middle = Builder()
    x, y = middle.input_ref(VECTOR), middle.input_ref(VECTOR)
    outs = middle.emit(jit, (x.atom, y.atom), ("inner",), (inner_graph(),))
    builder, x, y = two_inputs()
    results = builder.emit(jit, (x.atom, y.atom), ("middle",), (middle.close(list(outs)),))
    (eqn,) = builder.close([results[1]]).eqns
    (inner,) = eqn.regions[0].eqns
    assert eqn.inputs == (1,)
    assert names(inner.regions[0]) == ["cos"]


def test_a_region_with_an_effect_stays_though_nobody_reads_it():
    builder, x, y = two_inputs()
    builder.emit(jit, (x.atom, y.atom), ("inner",), (inner_graph(effect=True),))
    graph = builder.close([])
    assert graph.effectful
    assert names(graph) == ["jit"]
    assert names(graph.eqns[0].regions[0]) == ["debug_print"]


def test_inline_keeps_locations():
    inner = Builder()
    x = inner.input_ref(VECTOR)
    inner.loc = "inner.py:3"
    graph = inner.close([tanh(x).atom])
    builder, x, _ = two_inputs()
    builder.loc = "outer.py:1"
    (result,) = builder.inline(graph, [x.atom])
    assert builder.close([result]).locs == ("inner.py:3",)


# -- graphs


def test_equality_is_of_programs_not_of_names_or_places():
    def build(name, loc, number=2.0, weak=False):
        builder, x, y = two_inputs()
        builder.loc = loc
        return builder.close([mul(add(x, y), number).atom], [weak], name=name)

    a, b = build("a", "a.py:1"), build("b", ("transpose", "b.py:2"))
    assert a == b
    assert hash(a) == hash(b)
    assert a != build("a", None, number=3.0)
    assert a != build("a", None, weak=True)
    assert a != "a"


@given(random_graphs(max_steps=5))
def test_graphs_pickle(graph):
    assert pickle.loads(pickle.dumps(graph.eqns)) == graph.eqns


@given(random_graphs())
def test_inlining_a_graph_gives_it_back(graph):
    builder = Builder()
    numbers = [builder.input(a) for a in graph.in_avals]
    assert builder.close(builder.inline(graph, numbers), graph.weak) == graph


@given(random_graphs(effects=False))
def test_evaluation_gives_the_types_on_record(graph):
    args = arguments(graph)
    results = evaluate(graph, args)
    assert [(r.shape, r.dtype) for r in results] == [(a.shape, a.dtype.numpy) for a in graph.out_avals]


def test_memoised_results_belong_to_the_object():
    builder, x, _ = two_inputs()
    graph = builder.close([tanh(x).atom])
    made = [graph.memoize("key", lambda: object()) for _ in range(2)]
    assert made[0] is made[1]
    twin = Graph(graph.avals, graph.n_inputs, graph.eqns, graph.outputs)
    assert twin == graph
    assert twin.memoize("key", lambda: None) is None


# -- literals


@given(st.sampled_from(list(DTYPES.values())), st.data())
def test_literals_are_interned_by_bits(dtype, data):
    width = dtype.numpy.itemsize
    bits = data.draw(st.integers(0, 1 if dtype is b1 else 2**dtype.bits - 1))
    value = np.array(bits, f"u{width}").view(dtype.numpy)[()]
    lit = literal(value, dtype)
    assert lit is literal(value.copy(), dtype)
    assert lit.bits == value.tobytes()
    assert pickle.loads(pickle.dumps(lit)) is lit


def test_literals_of_equal_values_stay_apart():
    assert literal(0.0, f32) is not literal(-0.0, f32)
    assert literal(1, i32) is not literal(1, f32)
    assert literal(True, b1) is literal(1, b1)
    assert literal(float("nan"), f32) is literal(float("nan"), f32)
    assert literal(np.float32(0.1), f64) is not literal(0.1, f64)


def test_a_ref_shows_its_type():
    builder, x, _ = two_inputs()
    assert repr(x) == "Ref(%0: f32[3])"
    assert repr(Ref(builder, literal(1, f32))) == "Ref(1.0:f32: f32[])"
