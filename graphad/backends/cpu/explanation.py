"""What the CPU's program of a graph does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphad.backends.cpu.compiler import lowered
from graphad.backends.loops import memory
from graphad.backends.loops.costs import StepCost, Tally, costs, total_cost
from graphad.backends.loops.explanation import Explanation, StepExplanation, kind_of, lines_of
from graphad.backends.loops.ir import Buffer, Copy, Counted, GuardStep, LoopNest, Repeat, RepeatWhile
from graphad.backends.loops.visit import walk
from graphad.ir.graph import Graph


def explain(graph: Graph) -> Explanation:
    """What the program of a simplified graph does on the CPU."""
    program = lowered(graph, "", graph.name).program
    cost = costs(program)
    steps = _explained(program.steps, cost.steps, program.buffers)
    temporaries = sum(b.role == "temporary" for b in program.buffers)
    scratch = memory.plan(program).size
    return Explanation(steps, cost.minimum_bytes, program.name, "the CPU", temporaries, scratch)


def _explained(
    steps: Sequence[Any], found: Sequence[StepCost], buffers: Sequence[Buffer]
) -> tuple[StepExplanation, ...]:
    return tuple([_step(step, cost, buffers) for step, cost in zip(steps, found, strict=True)])


def _step(step: Any, cost: StepCost, buffers: Sequence[Buffer]) -> StepExplanation:
    body = walk(step.body) if isinstance(step, LoopNest) else ()
    kind = kind_of(step)
    name = "" if isinstance(step, (LoopNest, Copy, GuardStep)) else cost.name
    inside: tuple[StepExplanation, ...] = ()
    if isinstance(step, (Repeat, RepeatWhile, Counted)):
        one_turn = total_cost(buffers, [(s, Tally(buffers)) for s in step.body])
        inside = _explained(step.body, one_turn.steps, buffers)
    lines = lines_of([step.loc, *[s.loc for s in body]])
    return StepExplanation(name, cost.read_bytes, cost.written_bytes, cost.operations, kind, lines, inside)
