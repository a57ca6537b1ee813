"""The tests of loops in every mode, with what they compile run on a device as well."""

from __future__ import annotations

import numpy as np
import pytest

import graphad
from graphad import lax
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from tests.backends.loop_harness import run_llvm
from tests.compose import test_loops as modes
from tests.cuda.devices import DEVICES
from tests.cuda.programs import lowered_of
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY

names = pytest.mark.parametrize
#: Tests that compile what they compare, each with its arguments.
BORROWED = [
    (modes.test_derivatives_through_a_while_loop, ()),
    (modes.test_a_batch_ends_element_by_element, (modes.BATCH,)),
    (modes.test_a_batch_ends_element_by_element, (modes.WIDE,)),
    (modes.test_collatz, ()),
    (modes.test_a_while_loop_of_vectors, ()),
    (modes.test_a_bound_known_when_it_runs, (0,)),
    (modes.test_a_bound_known_when_it_runs, (7,)),
    (modes.test_derivatives_of_the_branch_that_is_taken, ()),
    (modes.test_what_is_not_chosen_is_exactly_zero, ([0.0, -1.0, 9.0, 4.0, -2.0],)),
    (modes.test_branches_of_products, ()),
    (modes.test_switch_and_loops_in_it, ()),
    (modes.test_loops_in_a_branch_that_the_first_member_of_a_batch_does_not_take, ()),
]


@names("device", DEVICES, ids=str)
@names(("test", "arguments"), BORROWED, ids=[f"{test.__name__[5:]}-{k}" for k, (test, _) in enumerate(BORROWED)])
def test_the_device_passes_what_the_cpu_passes(test, arguments, device, monkeypatch):
    tried = []

    def everywhere(f, *args, tolerance=1e-9):
        compiled = graphad.jit(f)(*args)
        modes.close(graphad.jit(f, device=device)(*[np.asarray(x) for x in args]), compiled, tolerance)
        tried.append(f)
        return compiled

    monkeypatch.setattr(modes, "everywhere", everywhere)
    test(*arguments)
    assert tried


@names("name", modes.MODES)
@names("loop", ["scalars", "arrays", "loops in loops"])
def test_a_schedule_keeps_a_loop_in_every_mode(loop, name):
    f = {
        "scalars": modes.pair(lax.scan, reverse=True),
        "arrays": modes.vector_loop(lax.scan),
        "loops in loops": modes.nested(lax.scan),
    }[loop]
    program, given = lowered_of(modes.mode(name)(f), (modes.f64(0.4), modes.XS))
    _, wanted = run_llvm(program, given)
    for limits in (LIMITS, TINY, JOINED):
        device = schedule(program, limits=limits)
        check_device_program(device)
        modes.close(run_llvm(as_loops(device), given)[1], wanted)
