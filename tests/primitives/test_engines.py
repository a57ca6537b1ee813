"""Compiled code against the reference: all samples of a primitive as one program, on both engines."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from graphad.backends.cpu.executable import compile_graph
from graphad.ir.builder import Builder
from graphad.ir.types import b1, f32, f64, i32, u32
from tests.primitives.cases import all_primitives, assert_close, case_id, cases, program, pure, run, samples_of

#: Of each primitive the dtype that it is tried in first.
FIRST = dict(reversed(cases((f32, i32, u32, b1), pure)))
#: How many samples are few: Numba takes a second for a program of all of them, LLVM 10 ms.
FEW = 3


def fast_cases():
    """LLVM in the usual dtypes, and every third primitive by Numba in one.

    Scalar operators in Numba are those of `test_emit_scalar`.
    """
    numba = [("numba", p, d) for p, d in FIRST.items() if not p.elementwise][::3]
    return [("llvm", p, d) for p, d in cases((f32, f64, i32, u32, b1), pure)] + numba


def slow_cases():
    """With every second one of Numba's."""
    numba = [("numba", p, d) for p, d in cases(keep=pure)][::2] + [("numba", p, d) for p, d in FIRST.items()]
    every = {("llvm", p, d) for p, d in cases(keep=pure)} | set(numba)
    tried = {case for case in fast_cases() if case[0] == "llvm"}
    return sorted(every - tried, key=lambda case: [getattr(part, "name", part) for part in case])


def all_samples(primitive, dtype, most=None):
    """One graph that computes every sample, its arguments, and what is in it to say which sample is wrong."""
    builder = Builder()
    args, outputs, names = [], [], []
    for sample in islice(samples_of(primitive, dtype), most):
        graph, values = program(primitive, sample, dtype)
        numbers = [builder.input(a) for a in graph.in_avals]
        outputs.extend(builder.inline(graph, numbers))
        names.extend([f"{graph}\n{sample}"] * len(graph.outputs))
        args.extend(values)
    return builder.close(outputs), args, names


def check(engine, primitive, dtype, most=None):
    graph, args, names = all_samples(primitive, dtype, most)
    compiled = compile_graph(graph, engine=engine, flush_denormals=False)
    for got, expected, name in zip(compiled(*args), run(graph, args), names, strict=True):
        assert_close(np.asarray(got), expected, primitive, f"{engine}: {name}")


@pytest.mark.parametrize(("engine", "primitive", "dtype"), fast_cases(), ids=case_id)
def test_engine_is_the_reference(engine, primitive, dtype):
    check(engine, primitive, dtype, most=FEW if engine == "numba" else None)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "primitive", "dtype"), slow_cases(), ids=case_id)
def test_engine_is_the_reference_in_every_dtype(engine, primitive, dtype):
    check(engine, primitive, dtype, most=FEW if engine == "numba" and dtype is not FIRST[primitive] else None)


def test_every_primitive_is_compiled():
    """Integers and booleans are tried where there is no floating-point sample."""
    tried = {p.name for _, p, _ in fast_cases()}
    assert tried >= {p.name for p in all_primitives() if p.region_rules is None and p.resolve is None and pure(p)}
