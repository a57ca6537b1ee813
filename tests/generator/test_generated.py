"""Random programs, compared as `tests.generator.checks` says."""

from __future__ import annotations

import os
import secrets
import warnings

import pytest

from tests.generator.checks import check
from tests.generator.operations import OPERATIONS
from tests.generator.programs import random_program

#: New in each run; GENERATOR_SEED repeats one, GENERATOR_COUNT says how many programs.
SEED = int(os.environ.get("GENERATOR_SEED", 0))
COUNT = int(os.environ.get("GENERATOR_COUNT", 5000))
BATCH = 50


@pytest.mark.parametrize("seed", range(25))
def test_programs(seed):
    check(seed)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_programs_that_are_new_in_each_run(batch):
    start = SEED or secrets.randbelow(2**40)
    for seed in range(start + BATCH * batch, start + BATCH * (batch + 1)):
        check(seed)


@pytest.mark.slow
def test_every_operation_takes_part():
    seen = {s.operation.name for seed in range(2500) for s in random_program(seed).steps}
    assert {o.name for o in OPERATIONS} <= seen
    smooth = {s.operation.name for seed in range(2500) for s in random_program(seed, smooth=True).steps}
    assert {o.name for o in OPERATIONS if o.domain is not None} <= smooth


def test_a_program_is_source_that_runs():
    program = random_program(3)
    assert program.source.startswith("def program(xp, x0")
    assert program.source == random_program(3).source
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(program.source, "<program>", "exec")
