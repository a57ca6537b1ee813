"""Every scalar operator on every dtype, from PTX, against NumPy and against the CPU's machine code."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from graphad.backends.loops.ir import Let, Load, Loop, Position, Statement, Store
from graphad.errors import LoweringError
from graphad.ir.lowering import ELEMENTARY
from graphad.ir.types import DTYPES, DType, b1, bf16, f16, f32, f64, i32, i64, u8, u32
from tests.backends.llvm import scalar_cases as cases
from tests.backends.loop_harness import nest, run_llvm
from tests.backends.loop_harness import program as loop_program
from tests.cuda.emit.harness import at, axes, buffers, kernel, lit, program, run, same

names = pytest.mark.parametrize
UNARY_FUNCTIONS = sorted(name for name, arity in ELEMENTARY.items() if arity == 1)


def pointwise(lets: list[Let], dtype: DType, a: Any, b: Any, lanes: int = 1, **options: Any) -> dict[str, Any]:
    """Outputs ``out_name`` for every Let over arrays ``a`` and ``b`` of ``dtype``."""
    size = -(-len(a) // lanes) * lanes
    a, b = (np.concatenate([x, x[:1].repeat(size - len(x))]) for x in (a, b))
    loads: list[Statement] = [Load("a", "x", at(i=1)), Load("b", "y", at(i=1))]
    stores = [Store(f"out_{s.name}", at(i=1), s.name) for s in lets]
    outputs = buffers("output", **{f"out_{s.name}": (s.dtype, size) for s in lets})
    p = program(
        buffers("input", x=(dtype, size), y=(dtype, size)),
        outputs,
        kernel(axes(i=size), *loads, *lets, *stores, uses=["x", "y", *[o.name for o in outputs]], lanes=lanes),
    )
    return {s.name: out[: len(a)] for s, out in zip(lets, run(p, [a, b], **options), strict=True)}


def in_lanes(lanes: int, **options: Any) -> cases.Pointwise:
    """`pointwise` with vectors of so many lanes."""
    return lambda lets, dtype, a, b: pointwise(lets, dtype, a, b, lanes, **options)


@names("lanes", [1, 4])
@names("dtype", cases.INTEGERS, ids=str)
def test_integer_operators(dtype: DType, lanes: int) -> None:
    cases.check_integer_operators(in_lanes(lanes), dtype)


@names("dtype", [i32, u8, i64], ids=str)
def test_literal_divisors_and_shifts(dtype: DType) -> None:
    cases.check_literal_divisors_and_shifts(pointwise, dtype)


def test_bool_operators() -> None:
    cases.check_bool_operators(pointwise)


@names("lanes, architecture", [(1, "sm_75"), (1, "sm_90"), (2, "sm_90"), (1, "sm_100"), (2, "sm_100")])
@names("dtype", cases.FLOATS, ids=str)
def test_float_operators(dtype: DType, lanes: int, architecture: str) -> None:
    denormal = float(ml_dtypes.finfo(dtype.numpy).smallest_subnormal)
    exactly = in_lanes(lanes, architecture=architecture, flush_denormals=False)
    cases.check_float_operators(exactly, dtype, more=(denormal, 6e-5))


@names("dtype", [f32, f64, f16], ids=str)
def test_remainders_of_numbers_far_apart(dtype: DType) -> None:
    rng = np.random.default_rng(3)
    bits = rng.integers(0, 1 << dtype.bits, (2, 400), dtype=f"u{dtype.bits // 8}")
    a, b = bits.view(dtype.numpy)
    outs = pointwise([Let("r", dtype, "rem", ("a", "b"))], dtype, a, b, flush_denormals=False)
    with np.errstate(all="ignore"):
        same(outs["r"], np.fmod(a, b))


def test_denormals_of_f16_survive_where_those_of_f32_do_not() -> None:
    tiny = np.array([1, 3, 100, 1023], np.uint16).view(np.float16)
    lets = [Let("s", f16, "add", ("a", "b")), Let("m", f16, "mul", ("a", lit(0.5, f16))), Let("w", f32, "cast", ("a",))]
    outs = pointwise([*lets, Let("t", f16, "tanh", ("a",)), Let("n", f16, "neg", ("a",))], f16, tiny, tiny)
    same(outs["s"], tiny + tiny)
    same(outs["m"], tiny * np.float16(0.5))
    same(outs["w"], tiny.astype(np.float32))
    same(outs["t"], tiny)
    same(outs["n"], -tiny)
    small = np.array([1e-40, -1e-40], np.float32)
    assert pointwise([Let("s", f32, "add", ("a", "b"))], f32, small, small)["s"].tolist() == [0, 0]
    exact = pointwise([Let("s", f32, "add", ("a", "b"))], f32, small, small, flush_denormals=False)
    same(exact["s"], small + small)


@names("dtype", DTYPES.values(), ids=str)
def test_casts(dtype: DType) -> None:
    cases.check_casts(in_lanes(1, flush_denormals=False), dtype)


def test_rounding_of_doubles_to_16_bits_happens_once() -> None:
    cases.check_rounding_of_doubles_to_16_bits(pointwise)


@names("lanes", [1, 2])
@names("of", cases.FLOATS, ids=str)
def test_bitcasts(of: DType, lanes: int) -> None:
    cases.check_bitcasts(in_lanes(lanes), of)


@names("dtype", [b1, u8, i64, f32, bf16], ids=str)
def test_select(dtype: DType) -> None:
    cases.check_select(pointwise, dtype)


def arguments(dtype: DType) -> np.ndarray[Any, Any]:
    """Numbers of every size, so that every path is taken, the slow ones of the trigonometric functions included."""
    rng = np.random.default_rng(7)
    special = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 12.0, -30.0, 1e5, -3e9, 1e30, np.inf, -np.inf, np.nan]
    with np.errstate(over="ignore"):
        return np.array([*special, *rng.normal(size=18), *rng.uniform(-1, 1, 16)]).astype(dtype.numpy)


def by_machine_code(lets: list[Let], dtype: DType, a: Any, b: Any) -> dict[str, Any]:
    """As `pointwise`, on the CPU."""
    loads: list[Statement] = [Load("a", "x", at(i=1)), Load("b", "y", at(i=1))]
    stores = [Store(f"out_{s.name}", at(i=1), s.name) for s in lets]
    p = loop_program(
        buffers("input", x=(dtype, len(a)), y=(dtype, len(a))),
        buffers("output", **{f"out_{s.name}": (s.dtype, len(a)) for s in lets}),
        nest(Loop("i", len(a), (*loads, *lets, *stores))),
    )
    return {s.name: out for s, out in zip(lets, run_llvm(p, [a, b])[1], strict=True)}


@names("dtype", [f32, f64], ids=str)
@names("op", [*UNARY_FUNCTIONS, "pow", "atan2", "hypot", "nextafter", "tanh_slope"])
def test_elementary_functions_have_the_bits_of_the_cpu(op: str, dtype: DType) -> None:
    a = arguments(dtype)
    b = np.roll(a, 5)
    lets = [Let("v", dtype, op, ("a", "b")[: ELEMENTARY[op]])]
    same(pointwise(lets, dtype, a, b, flush_denormals=False)["v"], by_machine_code(lets, dtype, a, b)["v"])


@names("lanes", [2, 4])
def test_elementary_functions_in_lanes(lanes: int) -> None:
    for dtype in (f32, f64, f16, bf16):
        a = arguments(dtype)
        lets = [Let("e", dtype, "tanh", ("a",)), Let("p", dtype, "hypot", ("e", "b")), Let("s", dtype, "sin", ("p",))]
        outs, want = pointwise(lets, dtype, a, a, lanes, flush_denormals=False), by_machine_code(lets, dtype, a, a)
        for name, value in outs.items():
            same(value, want[name])


@names("size, lanes", [(1, 1), (67, 1), (64, 2), (64, 4)])
def test_pairs_of_random_words(size: int, lanes: int) -> None:
    words = [lit(v, u32) for v in (0x13198A2E, 0x03707344)]
    body = [
        Position("n", u32, at(i=1)),
        Let("pair", u32, "threefry2x32", (*words, "n", "n")),
        Let("first", u32, "pair0", ("pair",)),
        Let("second", u32, "pair1", ("pair",)),
        Store("y", at(i=1), "first"),
        Store("z", at(i=1), "second"),
    ]
    outputs = buffers("output", y=(u32, size), z=(u32, size))
    got = run(program(outputs, kernel(axes(i=size), *body, uses=["y", "z"], lanes=lanes)))
    want = run_llvm(loop_program(outputs, nest(Loop("i", size, tuple(body)))), [])[1]
    for g, w in zip(got, want, strict=True):
        same(g, w)


def test_an_operator_that_a_dtype_lacks_is_named() -> None:
    statement = Let("t", b1, "mul", (lit(True, b1), lit(False, b1)), "model.py:3")
    p = program(buffers("output", y=(b1, 1)), kernel(axes(i=1), statement, uses=["y"]))
    with pytest.raises(LoweringError, match=r"model\.py:3: mul is not defined on bool; cast"):
        run(p)


def test_an_architecture_that_nobody_knows_is_named() -> None:
    p = program(buffers("output", y=(f64, 1)), kernel(axes(i=1), Store("y", at(), lit(1.0, f64)), uses=["y"]))
    with pytest.raises(LoweringError, match="'sm_1'; architectures are sm_75"):
        run(p, architecture="sm_1")
