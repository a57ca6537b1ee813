"""Code does not grow with the size of the arrays: bodies are unrolled only as far as their size allows."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled
from graphad.backends.cpu.emit import emit
from graphad.backends.cpu.executable import Executable
from graphad.backends.llvm import library

SIZES = (1, 2, 3, 5, 8, 9, 15, 16, 17, 20, 24, 25, 31, 32, 33, 48, 49, 63, 64, 65, 70)
_ELEMENT_BITS = {"float": 32, "double": 64, "ptr": 64, "half": 16}


@cache
def _steps(n: int, dtype: str) -> Executable:
    """60 steps in a straight line on a vector, with every operator that machines lack for vectors among them."""

    def f(x: graphad.Array) -> graphad.Array:
        a, b = x, 0.5 * x
        for _ in range(10):
            a, b = gnp.sin(a) + b, a * b - 0.25
            a, b = gnp.floor(a) % (b * b + 1), gnp.where(a > b, a, b)
            k = (8 * a).astype("int32")
            a, b = (k // (k * k + 1)).astype(dtype) + b, gnp.tanh(a)
        return a + b

    return compiled(graphad.jit(f).trace(np.ones(n, dtype)).graph)


def _width(line: str, native: int) -> int:
    """How many native vectors an instruction works on: 1 for scalars."""
    widths = [
        int(count) * (_ELEMENT_BITS.get(element) or int(element[1:])) // (8 * native)
        for count, element in re.findall(r"<(\d+) x (\w+)>", line)
    ]
    return max([1, *widths])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("native", [32, 64])
def test_long_bodies_are_as_much_code_at_any_size(dtype: str, native: int) -> None:
    counts = []
    for n in SIZES:
        text = emit(_steps(n, dtype).program, lanes_bytes=native, comments=False).text
        body = text[text.index("define i64") :].splitlines()
        counts.append(sum(_width(line, native) for line in body))
    assert max(counts) <= 1.5 * min(counts), dict(zip(SIZES, counts, strict=True))


def test_long_bodies_are_as_many_machine_instructions_at_any_size() -> None:
    if library.host().vector_bytes < 32:
        pytest.skip("vectors of 16 bytes have no masked accesses: blocks and tail are two copies")
    sizes = (2, 9, 16, 17, 24, 33, 70)  # a single number is less
    counts = [_steps(n, "float32").asm.count("\n\t") for n in sizes]
    assert max(counts) <= 1.5 * min(counts), dict(zip(sizes, counts, strict=True))


def test_short_bodies_run_in_four_vectors() -> None:
    text = emit(
        compiled(graphad.jit(lambda x: 2 * x + 1).trace(np.ones(1000, "f4")).graph).program, lanes_bytes=32
    ).text
    assert "@llvm.fma.v32f32(<32 x float>" in text


@pytest.mark.parametrize("n", SIZES)
def test_masked_blocks_read_write_and_reduce_nothing_beyond_the_end(n: int) -> None:
    """One copy of a long body: elementwise results, reductions, reversed and strided reads against NumPy."""
    rng = np.random.default_rng(n)
    x = rng.integers(-8, 9, n) / 2.0

    def f(x: Any, np: Any) -> tuple[Any, ...]:
        a, b = x, x[::-1]
        for _ in range(25):
            a, b = np.maximum(a - b, -4.0), np.minimum(a + 0.5, b)
        return a, b, a.sum(), np.max(b), (a * b).min(), np.any(a > b), a[:: 2 if n > 1 else 1] * 2

    with np.errstate(all="raise"):
        expected = f(x, np)
    for result, wanted in zip(graphad.jit(lambda x: f(x, gnp))(x), expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("of", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("to", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_floats_saturate_to_integers_in_lanes(of: str, to: str) -> None:
    dtype = np.dtype(ml_dtypes.bfloat16 if of == "bfloat16" else of)
    edges = [
        sign * 2.0**k * f for k in (0, 7, 8, 15, 16, 31, 32, 63, 64, 100) for sign in (1, -1) for f in (1, 1.5, 0.996)
    ]
    with np.errstate(over="ignore"):
        x = np.array([0.0, -0.0, 0.5, -0.5, -1.5, np.nan, np.inf, -np.inf, *edges]).astype(dtype)
    info = np.iinfo(to)
    exact = [0 if v != v else min(max(v, float(-(2**70))), float(2**70)) for v in x.astype(float).tolist()]
    expected = np.array([min(max(int(v), info.min), info.max) for v in exact], to)
    np.testing.assert_array_equal(np.asarray(graphad.jit(lambda x: x.astype(to))(x)), expected)
