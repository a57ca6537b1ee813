"""`guard` and `debug_print`: never dropped, merged or reordered; under batching."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.errors import TracerBoolError
from graphad.ir.builder import Builder
from graphad.ir.evaluate import evaluate
from graphad.ir.types import aval, b1, f32, literal
from graphad.primitives.effects import debug_print, guard, printed_lines
from graphad.primitives.elementwise import gt, mul
from graphad.transforms.batch import batch
from graphad.transforms.linearize import jvp_graph


def printing(graph, args):
    """The lines that ``graph`` prints."""
    lines = []

    def on_effect(eqn, _loc, values):
        if eqn.primitive is debug_print:
            lines.extend(printed_lines(values, **debug_print.named(eqn.params)))

    evaluate(graph, args, on_effect=on_effect)
    return lines


def program():
    builder = Builder()
    x = builder.input_ref(aval((), f32))
    debug_print(x, fmt="x = {:.1f}", batch_axes=0)
    debug_print(x, fmt="x = {:.1f}", batch_axes=0)
    y = mul(x, x)
    debug_print(y, literal(7, f32), fmt="y = {}, {}", batch_axes=0)
    return builder.close([x.atom])


def test_prints_stay_in_order_and_are_not_merged():
    assert printing(program(), [np.float32(2)]) == ["x = 2.0", "x = 2.0", "y = 4.0, 7.0"]


def test_a_batched_print_prints_every_element():
    batched = batch(program(), (True,), 2).graph
    x = np.array([2, 3], np.float32)
    assert printing(batched, [x]) == ["x = 2.0", "x = 3.0", "x = 2.0", "x = 3.0", "y = 4.0, 7.0", "y = 9.0, 7.0"]
    twice = batch(batched, (True,), 2).graph
    assert printing(twice, [np.stack([x, x + 2])])[:4] == ["x = 2.0", "x = 3.0", "x = 4.0", "x = 5.0"]


def test_a_print_of_a_differentiated_value():
    joint, _ = jvp_graph(program(), (True,))
    assert len(printing(joint, [np.float32(2), np.float32(1)])) == 3


def test_guards_are_kept_and_take_no_batched_predicate():
    builder = Builder()
    x, y = builder.input_ref(aval((), f32)), builder.input_ref(aval((), f32))
    guard(gt(x, 0.0), expect=literal(True, b1))
    graph = builder.close([y.atom])
    assert [eqn.primitive.name for eqn in graph.eqns] == ["gt", "guard"]
    assert guard in [eqn.primitive for eqn in batch(graph, (False, True), 3).graph.eqns]
    with pytest.raises(TracerBoolError, match=r"numpy\.where"):
        batch(graph, (True, False), 3)
