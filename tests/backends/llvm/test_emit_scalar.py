"""Every scalar operator on every dtype, at the values where machines and languages differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphad.backends.cpu.emit import emit
from graphad.backends.loops.ir import Let, Load, Loop, Position, Statement, Store
from graphad.errors import LoweringError
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i32, i64, literal, u8
from tests.backends.llvm import scalar_cases as cases
from tests.backends.loop_harness import agree, at, buffers, lit, nest, program, run_llvm, same
from tests.thinned import every

names = pytest.mark.parametrize


def pointwise(lets: list[Let], dtype: DType, a: Any, b: Any) -> dict[str, Any]:
    """Outputs ``out_name`` for every Let over arrays ``a`` and ``b`` of ``dtype``, agreed on by all engines."""
    size = len(a)
    loads: list[Statement] = [Load("a", "x", at(i=1)), Load("b", "y", at(i=1))]
    stores = [Store(f"out_{s.name}", at(i=1), s.name) for s in lets]
    p = program(
        buffers("input", x=(dtype, size), y=(dtype, size)),
        buffers("output", **{f"out_{s.name}": (s.dtype, size) for s in lets}),
        nest(Loop("i", size, (*loads, *lets, *stores), vector=True)),
    )
    return dict(zip((s.name for s in lets), agree(p, [a, b]), strict=True))


@names("dtype", every(2, cases.INTEGERS), ids=str)
def test_integer_operators(dtype: DType) -> None:
    cases.check_integer_operators(pointwise, dtype)


@names("dtype", [i32, u8], ids=str)
def test_literal_divisors_and_shifts(dtype: DType) -> None:
    cases.check_literal_divisors_and_shifts(pointwise, dtype)


def test_bool_operators() -> None:
    cases.check_bool_operators(pointwise)


@names("dtype", cases.FLOATS, ids=str)
def test_float_operators_follow_numpy(dtype: DType) -> None:
    cases.check_float_operators(pointwise, dtype)


@names("dtype", DTYPES.values(), ids=str)
def test_casts(dtype: DType) -> None:
    cases.check_casts(pointwise, dtype)


def test_rounding_of_doubles_to_16_bits_happens_once() -> None:
    cases.check_rounding_of_doubles_to_16_bits(pointwise)


def test_every_16_bit_float_survives_a_round_trip() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    for dtype in (f16, bf16):
        p = program(
            buffers("input", x=(dtype, bits.size)),
            buffers("output", y=(dtype, bits.size), z=(f32, bits.size)),
            nest(
                Loop(
                    "i",
                    bits.size,
                    (
                        Load("a", "x", at(i=1)),
                        Let("w", f32, "cast", ("a",)),
                        Let("n", dtype, "cast", ("w",)),
                        Store("y", at(i=1), "n"),
                        Store("z", at(i=1), "w"),
                    ),
                    vector=True,
                )
            ),
        )
        y, z = agree(p, [bits.view(dtype.numpy)])
        with np.errstate(invalid="ignore"):
            same(z, bits.view(dtype.numpy).astype(np.float32))
        numbers = ~np.isnan(z)
        assert (y.view(np.uint16) == bits)[numbers].all()


@names("of", cases.FLOATS, ids=str)
def test_bitcasts(of: DType) -> None:
    cases.check_bitcasts(pointwise, of)


@names("dtype", [b1, u8, i64, f32, bf16], ids=str)
def test_select(dtype: DType) -> None:
    cases.check_select(pointwise, dtype)


def test_an_operator_that_a_dtype_lacks_is_named() -> None:
    p = program(buffers("output", y=(b1, 1)), nest(Let("t", b1, "mul", (lit(True, b1), lit(False, b1)), "model.py:3")))
    with pytest.raises(LoweringError, match=r"model\.py:3: mul is not defined on bool; cast"):
        emit(p, lanes_bytes=32)


@names("dtype", [f32, f64], ids=str)
@names("size", [1, 3, 64, 131])
def test_elementary_functions_are_called_in_every_width(dtype: DType, size: int) -> None:
    a = np.random.default_rng(size).normal(size=size).astype(dtype.numpy)
    p = program(
        buffers("input", x=(dtype, size), k=(f64, size)),
        buffers("output", y=(dtype, size), w=(dtype, size), z=(f64, size)),
        nest(
            Loop(
                "i",
                size,
                (
                    Load("a", "x", at(i=1)),
                    Load("b", "k", at(i=1)),  # with f64 beside it an f32 function gets half its usual lanes
                    Let("e", dtype, "exp", ("a",)),
                    Let("t", dtype, "pow", ("e", lit(0.5, dtype))),
                    Store("y", at(i=1), "e"),
                    Store("w", at(i=1), "t"),
                    Let("s", f64, "sin", ("b",)),
                    Store("z", at(i=1), "s"),
                ),
                vector=True,
            )
        ),
    )
    inputs = [a, a.astype(np.float64)]
    for native in (16, 32, 64):
        _, (y, w, z) = run_llvm(p, inputs, native)
        same(y, np.exp(a), rtol=1e-6)
        same(w, np.exp(a / 2), rtol=1e-6)
        same(z, np.sin(inputs[1]), rtol=1e-14)
    agree(p, inputs, numba=size == 3)  # one definition: the same bits everywhere


@names("size", [1, 5, 64])
def test_pairs_of_random_words(size: int) -> None:
    u32 = DTYPES["u32"]
    words = [literal(v, u32) for v in (0x13198A2E, 0x03707344)]
    p = program(
        buffers("output", y=(u32, size), z=(u32, size)),
        nest(
            Loop(
                "i",
                size,
                (
                    Position("n", u32, at(i=1)),
                    Let("pair", u32, "threefry2x32", (*words, "n", "n")),
                    Let("first", u32, "pair0", ("pair",)),
                    Let("second", u32, "pair1", ("pair",)),
                    Store("y", at(i=1), "first"),
                    Store("z", at(i=1), "second"),
                ),
                vector=True,
            )
        ),
    )
    agree(p)
