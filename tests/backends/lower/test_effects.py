"""What stands between the loops of a program: calls of the host, guards, barriers, and their order."""

from __future__ import annotations

import numpy as np

from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import GuardStep, HostCall, LoopNest
from graphad.backends.loops.text import format_program
from graphad.backends.lower.fuse import lower
from graphad.ir.builder import Builder
from graphad.ir.text import format_graph, parse_graph
from graphad.ir.types import aval, b1, f32, literal
from graphad.primitives.barrier import optimization_barrier
from graphad.primitives.callbacks import HostFunction, io_callback, pure_callback
from graphad.primitives.effects import debug_print, guard
from graphad.primitives.elementwise import add, exp, gt, mul
from graphad.primitives.reduce import reduce_sum

ROW = aval((5,), f32)


def host(name):
    return HostFunction(getattr(np, name), lambda f, arrays: [f(*arrays)], None, name=name, vmap_method="sequential")


def called(primitive, name, x, *results):
    return primitive(x, function=host(name), results=results or (x.aval,))


def program(builder, *outputs):
    graph = builder.close([y.atom for y in outputs])
    functions = {}
    assert parse_graph(format_graph(graph, functions), functions) == graph
    lowered = lower(graph)
    check_program(lowered.program)
    return graph, lowered


def kinds(lowered):
    return [type(step) for step in lowered.program.steps]


def test_effects_stay_in_order(golden):
    builder = Builder()
    x = builder.input_ref(ROW)
    debug_print(x, fmt="x = {}", batch_axes=0)
    (y,) = called(io_callback, "cumsum", mul(x, x))
    guard(gt(reduce_sum(y, axes=(0,)), 1.0), expect=literal(True, b1))
    (z,) = called(pure_callback, "sin", add(x, y))
    p, q = optimization_barrier(exp(z), mul(z, y))
    io_callback(q, function=host("sum"), results=())
    graph, lowered = program(builder, add(p, q))
    text = f"{format_graph(graph)}\n\n{format_program(lowered.program)}\n"
    golden("loops_callbacks.txt", text)
    names = [s.name for s in lowered.program.steps if isinstance(s, HostCall)]
    assert names == ["print", "cumsum", "sin", "sum"]
    assert [c.function.rule_name for c in lowered.calls] == names
    assert [c.effect for c in lowered.calls] == [True, True, False, True]
    assert not lowered.prints
    assert kinds(lowered).index(GuardStep) > kinds(lowered).index(HostCall)


def test_prints_alone_wait_for_the_end():
    builder = Builder()
    x = builder.input_ref(ROW)
    debug_print(x, fmt="x = {}", batch_axes=0)
    (y,) = called(pure_callback, "sin", x)
    _, lowered = program(builder, y)
    assert len(lowered.prints) == 1
    assert [c.function.rule_name for c in lowered.calls] == ["sin"]


def test_what_is_behind_a_guard_is_not_called_before_it():
    for primitive in (pure_callback, io_callback):
        builder = Builder()
        x, n = builder.input_ref(ROW), builder.input_ref(aval((), b1))
        guard(n, expect=literal(True, b1))
        (y,) = called(primitive, "sin", x)
        _, lowered = program(builder, y)
        assert kinds(lowered)[-2:] == [GuardStep, HostCall]


def test_inputs_outputs_and_results_are_handed_over_without_copies():
    builder = Builder()
    x = builder.input_ref(ROW)
    (y,) = called(pure_callback, "sin", x)
    _, lowered = program(builder, y)
    (step,) = lowered.program.steps
    assert (step.reads, step.writes) == (("in0",), ("out0",))


def test_results_that_nobody_reads_are_written_somewhere():
    builder = Builder()
    x = builder.input_ref(ROW)
    _, second = called(pure_callback, "modf", x, ROW, ROW)
    _, lowered = program(builder, mul(second, second))
    assert kinds(lowered) == [HostCall, LoopNest]
    assert len(set(lowered.program.steps[0].writes)) == 2
