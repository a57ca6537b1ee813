"""What the CPU's program of a graph does."""

from __future__ import annotations

from typing import Any

from graphad.backends.llvm.library import host
from graphad.backends.loops import memory
from graphad.backends.loops.costs import StepCost, costs
from graphad.backends.loops.explanation import KINDS, Explanation, StepExplanation, lines_of
from graphad.backends.loops.ir import Copy, GuardStep, LoopNest
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.ir.graph import Graph


def explain(graph: Graph) -> Explanation:
    """What the program of a simplified graph does on the CPU."""
    program = lower(graph, graph.name, fma=host().fma).program
    cost = costs(program)
    steps = tuple([_explained(s, c) for s, c in zip(program.steps, cost.steps, strict=True)])
    temporaries = sum(b.role == "temporary" for b in program.buffers)
    scratch = memory.plan(program).size
    return Explanation(steps, cost.minimum_bytes, program.name, "the CPU", temporaries, scratch)


def _explained(step: Any, cost: StepCost) -> StepExplanation:
    inside = [s for t in every_step((step,)) for s in (t, *(walk(t.body) if isinstance(t, LoopNest) else ()))]
    kind = KINDS[type(step)]
    name = "" if isinstance(step, (LoopNest, Copy, GuardStep)) else cost.name
    lines = lines_of([s.loc for s in inside])
    return StepExplanation(name, cost.read_bytes, cost.written_bytes, cost.operations, kind, lines)
