"""Random programs with loops, compared as `tests.generator.loop_checks` says."""

from __future__ import annotations

import os
import secrets

import pytest

from tests.generator import loop_devices
from tests.generator.loop_checks import check
from tests.generator.loops import LOOPS, random_loops

#: New in each run; GENERATOR_SEED repeats one, GENERATOR_LOOPS says how many programs.
SEED = int(os.environ.get("GENERATOR_SEED", 0))
COUNT = int(os.environ.get("GENERATOR_LOOPS", 1000))
BATCH = 20


@pytest.mark.parametrize("seed", [*range(1, 12), 16801853342])
def test_programs(seed):
    check(seed)


@pytest.mark.parametrize("seed", [1, 2, 4, 5, 8, 61, 93])
def test_programs_dealt_out_to_the_threads_of_a_device(seed):
    loop_devices.schedules(seed)


@pytest.mark.parametrize("seed", range(1, 6))
def test_programs_on_the_emulated_device(seed):
    loop_devices.emulated(seed)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(10))
def test_programs_on_a_device_that_are_new_in_each_run(batch):
    start = SEED or secrets.randbelow(2**40)
    for seed in range(start + 5 * batch, start + 5 * batch + 5):
        loop_devices.schedules(seed)
    loop_devices.emulated(start + 5 * batch)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(-(-COUNT // BATCH)))
def test_programs_that_are_new_in_each_run(batch):
    start = SEED or secrets.randbelow(2**40)
    for seed in range(start + BATCH * batch, start + BATCH * (batch + 1)):
        check(seed)


@pytest.mark.slow
def test_every_kind_of_loop_is_met_in_every_other():
    sources = [random_loops(seed).source for seed in range(300)]
    for loop in LOOPS:
        indented = [line for source in sources for line in source.splitlines() if f"xp.{loop}" in line]
        assert {(len(line) - len(line.lstrip())) // 4 for line in indented} >= {1, 2, 3}


def test_a_program_is_source_that_runs():
    program = random_loops(3)
    assert program.source.startswith("def program(xp, a0")
    assert program.source == random_loops(3).source
