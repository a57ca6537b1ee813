"""Benchmarks that reach into the compiler still run: their smallest case, stage by stage."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import graphad

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import first_call
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
