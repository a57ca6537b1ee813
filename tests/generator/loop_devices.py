"""What must agree on a random program with loops on a device: the program dealt out to threads, and the CPU's.

Schedules are written back as loops, which takes the CPU no time; what is emitted is run in emulation, which does.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np

import graphad
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.lower.fuse import lower
from graphad.passes.pipeline import applied
from tests.backends.loop_harness import run_llvm
from tests.cuda.programs import EMULATED_TRAITS
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY
from tests.generator.checks import _alike, _loss, _scale
from tests.generator.loop_checks import Function, _batch, _floats, _graph
from tests.generator.loop_programs import LoopProgram
from tests.generator.loop_spaces import Rolled
from tests.generator.loops import random_loops

WAYS = {"usual": LIMITS, "tiny": TINY, "joined": JOINED}
#: As far apart as sums in another order are.
TOLERANCES = {"float64": 1e-9, "float32": 1e-4}


def functions(program: LoopProgram, *, smooth: bool) -> Iterator[tuple[str, Function, list[Any]]]:
    """The program, or its value and gradient, and a batch of that: a name, a function, arguments."""
    space = Rolled(program.dtype)
    f = graphad.value_and_grad(_loss(program, space), _floats(program)) if smooth else program.function(space)
    _, axes, stacked = _batch(program)
    yield "one", f, list(program.arguments)
    yield f"a batch of {axes}", graphad.vmap(f, axes), stacked


def schedules(seed: int) -> None:
    """Every way of dealing out a program, and then its gradient, gives its results."""
    for smooth in (False, True):
        program = random_loops(seed, smooth=smooth)
        for name, f, arguments in functions(program, smooth=smooth):
            graph, values = _graph(f, arguments)
            graph = applied(graph, "inline{custom=True},simplify,hoist")
            loops, for_device = lower(graph).program, lower(graph, traits=EMULATED_TRAITS).program
            flat = [np.ascontiguousarray(x).reshape(-1) for x in values]
            _, wanted = run_llvm(loops, flat)
            for way, limits in WAYS.items():
                device = schedule(for_device, limits=limits)
                check_device_program(device)
                _, got = run_llvm(as_loops(device), flat)
                _agree(got, wanted, program, f"{name}, {way}, seed {seed}")


def emulated(seed: int) -> None:
    """What is emitted gives the results of the CPU: a program, or its value and gradient, or a batch of either."""
    rng = Random(seed)
    smooth = rng.random() < 0.5
    program = random_loops(seed, smooth=smooth)
    name, f, arguments = rng.choice(list(functions(program, smooth=smooth)))
    wanted = graphad.tree.leaves(graphad.jit(f)(*arguments))
    got = graphad.tree.leaves(graphad.jit(f, device="cuda:emulated")(*arguments))
    _agree(got, wanted, program, f"{name}, seed {seed}")


def _agree(got: Any, wanted: Any, program: LoopProgram, what: str) -> None:
    got, wanted = ([np.asarray(x) for x in xs] for xs in (got, wanted))
    scale = _scale([x for x in wanted if x.dtype.kind == "f"])
    _alike(got, wanted, f"{what}\n{program.source}", TOLERANCES[program.dtype] * scale)
