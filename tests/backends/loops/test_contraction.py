"""Where fused multiply-adds are placed, rule by rule, and that all emitters compute their bits."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphad.backends.cpu.emit import emit
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.llvm import library, native
from graphad.backends.loops.check import check_program
from graphad.backends.loops.contraction import contracted
from graphad.backends.loops.costs import costs
from graphad.backends.loops.ir import Carry, KernelProgram, Let, Load, Loop, LoopNest, Position, Statement, Store
from graphad.backends.loops.text import format_carry, format_simple
from graphad.backends.loops.visit import walk
from graphad.backends.numba import source as emit_numba
from graphad.ir.types import DType, bf16, f16, f32, f64, i32, i64
from tests.backends.loop_harness import agree, at, buffers, lit, nest, program, run_llvm
from tests.cuda.emit import harness

INPUTS = "abcd"


def lets(*texts: str, dtype: DType = f64) -> list[Let]:
    """``lets("m = mul(a, b)")``; a number is a literal."""
    found: list[Let] = []
    for text in texts:
        name, op, args = re.fullmatch(r"(\w+) = (\w+)\((.*)\)", text).groups()
        operands = [a if a[0].isalpha() else lit(float(a), dtype) for a in args.split(", ")]
        found.append(Let(name, dtype, op, tuple(operands)))
    return found


def loads(dtype: DType = f64) -> list[Statement]:
    return [Load(name, "x", at(k)) for k, name in enumerate(INPUTS)]


def lines(body: Any) -> list[str]:
    """The operators of a body, those in loops too, without dtypes."""
    texts = [format_simple(s) for s in walk(body) if isinstance(s, Let)]
    return [re.sub(r": \w+ =|:f\d\d", lambda m: " =" if "=" in m[0] else "", t) for t in texts]


def placed(*texts: str, dtype: DType = f64, out: str = "y") -> list[str]:
    """The statements after contraction, of straight-line code that stores ``out``."""
    body = (*loads(dtype), *lets(*texts, dtype=dtype), *[Store("z", at(k), name) for k, name in enumerate(out)])
    result = contracted(nest(*body))
    check_program(program(buffers("input", x=(dtype, 4)), buffers("output", z=(dtype, 4)), result))
    return lines(result.body)


# ---- which product


def test_a_sum_takes_its_product() -> None:
    assert placed("m = mul(a, b)", "y = add(m, c)") == ["y = fma(a, b, c)"]
    assert placed("m = mul(a, b)", "y = add(c, m)") == ["y = fma(a, b, c)"]


def test_a_difference_takes_it_on_either_side() -> None:
    assert placed("m = mul(a, b)", "y = sub(m, c)") == ["neg0 = neg(c)", "y = fma(a, b, neg0)"]
    assert placed("m = mul(a, b)", "y = sub(c, m)") == ["neg0 = neg(a)", "y = fma(neg0, b, c)"]


def test_numbers_are_negated_at_once() -> None:
    assert placed("m = mul(a, b)", "y = sub(m, 2.0)") == ["y = fma(a, b, -2.0)"]
    assert placed("m = mul(a, 0.5)", "y = sub(c, m)") == ["y = fma(-0.5, a, c)"]
    assert placed("m = mul(0.5, a)", "y = sub(c, m)") == ["y = fma(-0.5, a, c)"]


def test_of_two_products_the_late_one_is_taken() -> None:
    late = ["s = sqrt(a)", "m = mul(a, b)", "n = mul(s, c)"]
    assert placed(*late, "y = add(m, n)") == ["s = sqrt(a)", "m = mul(a, b)", "y = fma(s, c, m)"]
    assert placed(*late, "y = add(n, m)") == ["s = sqrt(a)", "m = mul(a, b)", "y = fma(s, c, m)"]
    assert placed(*late, "y = sub(m, n)")[-2:] == ["neg0 = neg(s)", "y = fma(neg0, c, m)"]


def test_of_two_that_arrive_together_the_first_is_taken() -> None:
    assert placed("m = mul(a, b)", "n = mul(c, d)", "y = add(n, m)") == ["m = mul(a, b)", "y = fma(c, d, m)"]


def test_what_others_read_is_no_matter() -> None:
    """The product is computed for them as it was, and the sum the same with and without them."""
    alone = placed("m = mul(a, b)", "y = add(m, c)")
    beside = placed("m = mul(a, b)", "y = add(m, c)", "v = sqrt(m)", out="yv")
    assert beside == ["m = mul(a, b)", *alone, "v = sqrt(m)"]
    assert placed("m = mul(a, b)", "y = add(m, c)", "v = add(m, d)", out="yv") == [*alone, "v = fma(a, b, d)"]


def test_a_product_is_not_added_to_what_was_made_of_it() -> None:
    for made in (["t = floor(m)"], ["s = sqrt(m)", "t = add(s, c)"]):
        statements = ["m = mul(a, b)", *made, "y = sub(m, t)"]
        assert placed(*statements) == statements
    assert placed("m = mul(a, b)", "y = add(m, m)") == ["m = mul(a, b)", "y = add(m, m)"]
    assert placed("m = mul(a, b)", "t = floor(m)", "n = mul(t, c)", "y = sub(m, n)")[-1] == "y = fma(neg0, c, m)"


@pytest.mark.parametrize("dtype", [f16, bf16, i32])
def test_other_dtypes_have_none(dtype: DType) -> None:
    assert placed("m = mul(a, b)", "y = add(m, c)", dtype=dtype) == ["m = mul(a, b)", "y = add(m, c)"]


def test_a_nest_without_any_stays_what_it_is() -> None:
    body = nest(*loads(), *lets("m = mul(a, b)", "y = sqrt(m)"), Store("z", at(), "y"))
    assert contracted(body) is body


# ---- loops


def test_a_product_outside_of_the_loop_stays_there() -> None:
    inner = Loop("i", 4, (Load("e", "x", at(i=1)), *lets("y = add(m, e)"), Store("z", at(i=1), "y")), vector=True)
    assert lines(contracted(nest(*loads(), *lets("m = mul(a, b)"), inner)).body) == ["m = mul(a, b)", "y = add(m, e)"]


def loop(*texts: str, **carried: str) -> Loop:
    """A loop with ``last`` carries: name=update."""
    carries = [Carry(name, f64, "last", lit(1.0, f64), update) for name, update in carried.items()]
    return Loop("i", 9, tuple(lets(*texts)), tuple(carries))


def placed_in(loop: Loop) -> list[str]:
    result = contracted(nest(*loads(), loop, Store("z", at(), loop.carries[0].name)))
    check_program(program(buffers("input", x=(f64, 4)), buffers("output", z=(f64, 4)), result))
    return lines(result.body)


def test_what_waits_for_a_carry_is_late() -> None:
    """However deep the other product is, that of the carry comes later: it has to wait for the iteration before."""
    deep = ["s = sqrt(a)", "t = sqrt(s)", "m = mul(t, b)"]
    assert placed_in(loop(*deep, "n = mul(x0, c)", "y = add(m, n)", x0="y")) == [*deep, "y = fma(x0, c, m)"]


def test_a_running_sum_waits_for_an_addition_alone() -> None:
    assert placed_in(loop("m = mul(a, b)", "y = add(x0, m)", x0="y")) == ["m = mul(a, b)", "y = add(x0, m)"]
    assert placed_in(loop("m = mul(x0, b)", "y = add(m, c)", x0="y")) == ["y = fma(x0, b, c)"]


def test_carries_are_late_by_as_much_as_they_wait() -> None:
    """``q`` comes 21 cycles after ``p``, which only the second iteration knows."""
    body = ["m = mul(p, a)", "n = mul(q, b)", "u = add(m, n)", "v = sqrt(u)"]
    assert placed_in(loop(*body, p="u", q="v")) == ["m = mul(p, a)", "u = fma(q, b, m)", "v = sqrt(u)"]
    assert placed_in(loop(*body, p="v", q="u")) == ["n = mul(q, b)", "u = fma(p, a, n)", "v = sqrt(u)"]


def test_an_inner_loop_counts_from_its_own_carries() -> None:
    body = (*lets("m = mul(o, a)", "n = mul(x0, b)", "y = add(m, n)"),)
    inner = Loop("j", 5, body, (Carry("x0", f64, "last", "o", "y"),))
    outer = Loop("i", 9, (inner, *lets("w = mul(x0, c)")), (Carry("o", f64, "last", lit(1.0, f64), "w"),))
    assert placed_in(outer) == ["m = mul(o, a)", "y = fma(x0, b, m)", "w = mul(x0, c)"]


def summed(dtype: DType, size: int, vector: bool = True, combine: Any = "sum") -> KernelProgram:
    body = (Load("a", "x", at(i=1)), Load("b", "w", at(i=1)), Let("m", dtype, "mul", ("a", "b")))
    carry = Carry("s", dtype, combine, lit(0.5, dtype), "m")
    given = buffers("input", x=(dtype, size), w=(dtype, size))
    step = contracted(nest(Loop("i", size, body, (carry,), vector=vector), Store("z", at(), "s")))
    return program(given, buffers("output", z=(dtype, 1)), step)


def test_sums_take_products_as_factors() -> None:
    p = summed(f32, 9)
    (loop, _) = p.steps[0].body
    assert format_carry(loop.carries[0]) == "s: f32 = sum(0.5:f32, a * b)"
    assert lines(loop.body) == []
    assert costs(p).operations == 2 * 9
    for other in (summed(f16, 9), summed(i32, 9), summed(f32, 9, combine="max")):
        assert other.steps[0].body[0].carries[0].factor is None


@pytest.mark.parametrize("vector", [False, True])
@pytest.mark.parametrize("dtype", [f32, f64])
@pytest.mark.parametrize("size", [1, 2, 7, 64, 65, 1000, 20_000])
def test_sums_of_products(size: int, dtype: DType, vector: bool) -> None:
    """Whole numbers, of which every order has one sum; infinities beyond the end would show."""
    p, rng = summed(dtype, size, vector), np.random.default_rng(size)
    x, w = rng.integers(-8, 9, (2, size)).astype(dtype.numpy)
    (got,) = agree(p, [x, w], numba=size < 100)
    assert got[0] == (x.astype(int) * w.astype(int)).sum() + 0.5
    found = harness.run(schedule(p), [x, w])
    assert found[0][0] == got[0]


def test_the_signs_of_sums_of_zeros() -> None:
    p = summed(f64, 3)
    minus = replace(p.steps[0].body[0].carries[0], init=lit(-0.0, f64))
    body = (replace(p.steps[0].body[0], carries=(minus,)), p.steps[0].body[1])
    for sign in (1.0, -1.0):
        _, (got,) = run_llvm(replace(p, steps=(LoopNest(body),)), [np.zeros(3) * sign, np.ones(3)])
        assert np.signbit(got[0]) == (sign < 0)


# ---- the same bits everywhere


@st.composite
def bodies(draw: Any) -> list[Let]:
    names = list(INPUTS)
    found: list[Let] = []
    for k in range(draw(st.integers(2, 12))):
        op = draw(st.sampled_from(["mul", "mul", "add", "sub", "neg"]))
        count = 1 if op == "neg" else 2
        found.append(Let(f"t{k}", f64, op, tuple([draw(st.sampled_from(names)) for _ in range(count)])))
        names.append(f"t{k}")
    return found


def around(body: list[Let], dtype: DType, *, carried: bool) -> KernelProgram:
    """Contracted statements over each element of ``x``; with ``carried`` two of their results run along."""
    body = [replace(s, dtype=dtype) for s in body]
    kinds = {"a": f"t{len(body) - 1}", "b": "t0"} if carried else {}
    given = [Load(name, "x", at(k * 40, i=1)) for k, name in enumerate(INPUTS) if name not in kinds]
    stores = [Store("z", at(k * 40, i=1), s.name) for k, s in enumerate(body)]
    carries = tuple([Carry(n, dtype, "last", lit(0.5, dtype), u) for n, u in kinds.items()])
    step = contracted(nest(Loop("i", 40, (*given, *body, *stores), carries, vector=not carried)))
    return program(buffers("input", x=(dtype, 160)), buffers("output", z=(dtype, 40 * len(body))), step)


@pytest.mark.parametrize("carried", [False, True])
@pytest.mark.parametrize("dtype", [f32, f64])
@settings(max_examples=25, deadline=None)
@given(bodies(), st.integers(0, 2**16))
def test_all_emitters_compute_the_same_bits(dtype: DType, carried: bool, body: list[Let], seed: int) -> None:
    p = around(body, dtype, carried=carried)
    x = np.random.default_rng(seed).uniform(-1, 1, 160).astype(dtype.numpy)
    (want,) = agree(p, [x], numba=seed % 10 == 0)
    device = harness.run(schedule(p), [x], flush_denormals=False)
    np.testing.assert_array_equal(device[0], want)


def test_a_recurrence_is_computed_again_to_the_bit() -> None:
    """``x' = x * (r + k * x)`` from stored ``x``, in lanes and beside another reader of ``k * x``: chaos would show."""
    steps = 60
    step = ["m = mul(k, x0)", "s = add(r, m)", "y = mul(x0, s)"]
    params: list[Statement] = [Load("r", "p", at(0)), Load("k", "p", at(1))]
    carry = Carry("x0", f64, "last", lit(0.3, f64), "y")
    forward = Loop("i", steps, (*lets(*step), Store("after", at(i=1), "y")), (carry,))
    again = [Load("x0", "after", at(i=1)), *lets(*step), Store("product", at(i=1), "m"), Store("next", at(i=1), "y")]
    p = program(
        buffers("input", p=(f64, 2)),
        buffers("output", after=(f64, steps), product=(f64, steps), next=(f64, steps)),
        contracted(nest(*params, forward)),
        contracted(nest(*params, Loop("i", steps - 1, tuple(again), vector=True))),
    )
    assert [op for s in p.steps for op in lines(s.body) if "fma" in op] == ["s = fma(k, x0, r)"] * 2
    after, _, following = agree(p, [np.array([3.9, -3.9])])
    np.testing.assert_array_equal(after[1:], following[: steps - 1])


# ---- what is emitted


def mixed() -> KernelProgram:
    body = [Position("k", i64, at(i=1)), *[Load(n, "x", at(j, i=1)) for j, n in enumerate(INPUTS)]]
    body += lets("m = mul(a, b)", "u = sub(m, c)", "v = div(u, d)", "n = mul(v, a)", "y = sub(b, n)")
    carry = Carry("s", f64, "sum", lit(0.0, f64), "n")
    step = contracted(nest(Loop("i", 97, (*body, Store("z", at(i=1), "y")), (carry,), vector=True)))
    return program(buffers("input", x=(f64, 100)), buffers("output", z=(f64, 97)), step)


def test_no_text_has_the_flag() -> None:
    device = harness.emitted(schedule(mixed()))
    for text in (emit(mixed(), lanes_bytes=64).text, emit_numba.source(mixed()), device.llvm):
        assert "fma" in text
        assert "contract" not in text


def test_machines_negate_for_nothing() -> None:
    if not (library.host().x86 and library.host().fma):
        pytest.skip("the names of the instructions are those of x86")
    text = emit(mixed(), lanes_bytes=library.host().vector_bytes)
    assembly = native.assembly(text.text, text.opt)
    assert "vfmsub" in assembly
    assert "vfnmadd" in assembly
    assert "vxor" not in assembly.replace("vxorpd\t%xmm0, %xmm0", "")
