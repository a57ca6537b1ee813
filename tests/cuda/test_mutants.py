"""Barriers of scheduled kernels, taken out one by one: the emulator must notice each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.program.ir import Barrier, Bundle, Scan, Spread
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Store
from tests.cuda.emit.harness import run
from tests.cuda.programs import for_device
from tests.cuda.schedule.test_schedule_primitives import JOINED


def mutants(program):
    """The program without one of its barriers, for each that nothing else stands in for.

    A combination over the group before it brings barriers of its own; and in front of a store, which one thread does,
    the compiler may move the load of what is stored to that thread.
    """
    for kernel in program.kernels:
        combined = False
        for k, statement in enumerate(kernel.body):
            if isinstance(statement, Spread):
                combined = combined or bool(statement.carries) or any(isinstance(s, Scan) for s in statement.body)
            elif isinstance(statement, Barrier):
                if not combined and not isinstance(kernel.body[k + 1], Store):
                    yield with_body(program, kernel, kernel.body[:k] + kernel.body[k + 1 :])
                combined = False


def with_body(program, kernel, body):
    """The program with another body for one of its kernels."""

    def changed(step):
        if isinstance(step, Bundle):
            return replace(step, parts=tuple(map(changed, step.parts)))
        return replace(step, body=body) if step is kernel else step

    return replace(program, steps=tuple(map(changed, program.steps)))


SMALL = ("cross_entropy_gradient", "mlp_gradient", "sort")


@pytest.mark.parametrize("name", SMALL)
def test_missing_barriers_are_caught(name):
    program, args = for_device(name)
    device = schedule(program)
    run(device, args)
    found = list(mutants(device))
    assert found, "there is a barrier to take out"
    for mutant in found[:8]:
        with pytest.raises(EmulatorError):
            run(mutant, args)


#: Programs in whose joined form threads hand values to each other between loops (in others each only its own).
JOINED_NAMES = (
    "mixture_gradient", "nbody_forces", "convolution_gradient", "cumulative_rows", "sort", "scatter_add",
    "take_gradient", "embedding_gradient", "scatter_set", "scatter_max", "normals",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINED_NAMES)
def test_missing_barriers_are_caught_where_all_is_one_kernel(name):
    program, args = for_device(name)
    found = list(mutants(schedule(program, limits=JOINED)))
    assert found, "there is a barrier to take out"
    for mutant in found[:12]:
        with pytest.raises(EmulatorError):
            run(mutant, args)
