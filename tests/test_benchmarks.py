"""Benchmarks that reach into the compiler still run: their smallest case, stage by stage."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import graphad

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import checkpoints
import first_call
import growth
import limits
import linear_algebra
import loops
import odes
import summary
import threads
import transforms


def test_stages_of_a_first_call():
    times, equations = first_call.stage_times(first_call.runge_kutta(2), np.array([1.5, 1.0, 3.0, 1.0]))
    assert list(times) == ["trace", "differentiate", "key on disk", "simplify", "lower", "emit", "LLVM"]
    assert equations > 200


def test_straight_lines():
    assert first_call.first_call(10, 4, 0, "float64") > 0
    assert transforms.ours(100) > 0


def test_the_unrolled_program_is_differentiated_right():
    loss = first_call.runge_kutta(3)
    p = np.array([1.5, 1.0, 3.0, 1.0])
    graphad.check_grads(loss, (p,), order=1)


@pytest.fixture
def lines(capsys):
    """What a benchmark prints; the precision that it sets for JAX does not last."""
    before = jax.config.read("jax_enable_x64")

    def printed(benchmark, *names):
        benchmark.main(*names)
        return capsys.readouterr().out.splitlines()

    yield printed
    jax.config.update("jax_enable_x64", before)


def test_growth_of_compilation(monkeypatch, lines):
    monkeypatch.setattr(growth, "UNROLLED", (20,))
    monkeypatch.setattr(growth, "SCANNED", (10, 20))
    monkeypatch.setattr(growth, "ROUNDS", 1)
    monkeypatch.setattr(growth, "LIMIT", 0.01)
    loop, arrays, *scans = [line.split() for line in lines(growth, "compilation")[-4:]]
    assert (loop[:3], loop[-2:]) == (["Python", "loop", "20"], ["over", "0.01"])
    assert arrays[:5] == ["Python", "loop", "of", "arrays", "20"]
    assert [row[:2] for row in scans] == [["scan", "10"], ["scan", "20"]]
    assert float(lines(growth, "unrolled_by_jax", "1")[0]) > 0


def test_growth_of_time_and_memory(monkeypatch, lines):
    monkeypatch.setattr(growth, "TURNS", (50, 100))
    monkeypatch.setattr(growth, "ELEMENTS", (50, 100))
    monkeypatch.setattr(growth, "MOST_ELEMENTS", 50)
    monkeypatch.setattr(growth, "TIMED", 100)
    fifty, hundred = [line.split() for line in lines(growth, "turns")[-2:]]
    assert fifty[3] == hundred[3], "the value stacks nothing"
    assert [len(line.split()) for line in lines(growth, "elements")[-2:]] == [5, 4]


def test_differential_equations(monkeypatch, lines):
    monkeypatch.setattr(odes, "TOLERANCES", (1e-4,))
    rows = [line.split() for line in lines(odes, "oscillator")[-3 - odes.HAS_DIFFRAX :]]
    assert [row[2] for row in rows] == ["scipy", "graphad", "jax", *["diffrax"] * odes.HAS_DIFFRAX]
    assert all([float(row[6]) < 0.1 for row in rows[1:]])


def test_loops_and_checkpoints(monkeypatch, lines):
    assert lines(loops, "kalman")[-1].startswith("kalman")
    monkeypatch.setattr(checkpoints, "TURNS", 2000)
    *_, plain, _, _, _, _, _, plain_while, _, _, _ = lines(checkpoints)
    assert plain.split()[:2] == ["None", "1"]
    assert plain_while.split() == ["None", "1.00"]


def test_threads_limits_and_the_summary(monkeypatch, lines):
    assert lines(threads, "N-body 300")[-1].startswith("N-body 300")
    monkeypatch.setattr(limits, "LARGE", 1 << 16)
    *_, last = lines(limits, "N-body 300")
    assert last.startswith("N-body 300")
    assert last.endswith("%")
    *rows, last = lines(summary, "garch", "N-body 300")
    assert [row.split()[0] for row in rows[-2:]] == ["garch", "N-body"]
    assert last.startswith("2 programs, geometric mean ")


def test_linear_algebra(lines):
    assert lines(linear_algebra, "solve 64")[-1].startswith("solve 64")
