"""Matrix products that take over what is done to their elements, and those that must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import nn
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import DeviceProgram, FusedGemm, reads, writes
from graphad.backends.cuda.program.text import format_device_program, format_product
from graphad.backends.cuda.schedule.gemm_epilogues import with_gemm_epilogues
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import (
    Buffer,
    Carry,
    Copy,
    Gemm,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    Store,
)
from graphad.backends.lower.fuse import lower
from graphad.errors import VerifyError
from graphad.ir.types import b1, f32, literal
from tests.cuda.devices import DEVICES
from tests.cuda.schedule.test_schedule_primitives import TINY, compare


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


X, W, V, B, C = normal(17, 13), normal(13, 11), normal(11, 11), normal(11), normal(17)


def lowered(function, *args):
    return lower(graphad.jit(function).graph(*args)).program


def endings(device):
    """What each product ends in."""
    products = [s for s in device.steps if isinstance(s, Gemm)]
    fused = [(s.bias is not None, s.relu) if isinstance(s, FusedGemm) else (False, False) for s in products]
    return [("bias, " * bias + "relu" * relu).removesuffix(", ") for bias, relu in fused]


#: Function, arguments, and what its products end in; there are no kernels beside them.
FUSED = {
    "bias": (lambda x, w, b: x @ w + b, (X, W, B), ["bias"]),
    "bias first": (lambda x, w, b: b + x @ w, (X, W, B), ["bias"]),
    "bias of the transpose": (lambda x, w, c: w.T @ x.T + c, (X, W, C), ["bias"]),
    "relu": (lambda x, w: nn.relu(x @ w), (X, W), ["relu"]),
    "maximum": (lambda x, w, b: gnp.maximum(x @ w + b, 0), (X, W, B), ["bias, relu"]),
    "maximum of 0": (lambda x, w, b: gnp.maximum(0, x @ w + b), (X, W, B), ["bias, relu"]),
    "float64": (
        lambda x, w, b: nn.relu(x @ w + b), tuple([a.astype(np.float64) for a in (X, W, B)]), ["bias, relu"],
    ),
    "part of a bias": (lambda x, w, b: x @ w + b[3:], (X, W, normal(14)), ["bias"]),
    "batches of rows": (lambda x, w, b: nn.relu(x @ w + b), (normal(2, 9, 13), W, B), ["bias, relu"]),
    "products in batches": (
        lambda x, w, b: nn.relu(x @ w + b), (normal(3, 9, 13), normal(3, 13, 11), B), ["bias, relu"],
    ),
    "one row": (lambda x, w, b: x @ w + b, (normal(1, 200), normal(200, 101), normal(101)), ["bias"]),
    "layers": (
        lambda x, w, b, v: nn.relu(nn.relu(x @ w + b) @ v + b) @ v, (X, W, B, V), ["bias, relu", "bias, relu", ""],
    ),
    "two heads": (lambda x, w, b, v: (x @ w + b, nn.relu(x @ (w @ v))), (X, W, B, V), ["bias", "", "relu"]),
}  # fmt: skip


@pytest.mark.parametrize("limits", [LIMITS, TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize("name", FUSED)
def test_fused(name, limits):
    function, args, wanted = FUSED[name]
    device = compare(lowered(function, *args), args, limits)
    assert sorted(endings(device)) == sorted(wanted), format_device_program(device)
    assert not device.kernels, format_device_program(device)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_an_mlp_runs_as_nothing_but_products(device):
    function, args, _ = FUSED["layers"]
    x = X.copy()
    x[3, 4] = np.nan
    got = np.asarray(graphad.jit(function, device=device)(x, *args[1:]))
    np.testing.assert_allclose(got, graphad.jit(function)(x, *args[1:]), rtol=2e-5, atol=1e-5)
    assert np.isnan(got[3]).all()


#: Function and arguments whose product is left alone.
APART = {
    "bias of rows": (lambda x, w, c: x @ w + c[:, None], (X, W, C)),
    "a number for all": (lambda x, w: x @ w + 1, (X, W)),
    "a matrix": (lambda x, w, y: x @ w + y, (X, W, normal(17, 11))),
    "difference": (lambda x, w, b: x @ w - b, (X, W, B)),
    "more than a sum": (lambda x, w, b: x @ w + 2 * b, (X, W, B)),
    "another function": (lambda x, w, b: gnp.tanh(x @ w + b), (X, W, B)),
    "another bound": (lambda x, w, b: gnp.maximum(x @ w + b, 1), (X, W, B)),
    "relu without nan": (lambda x, w: gnp.where(x @ w > 0, x @ w, 0), (X, W)),
    "read twice": (lambda x, w, b: ((x @ w + b) @ w.T + (x @ w).sum(), (x @ w) @ w.T), (X, W, B)),
    "read by what comes out": (lambda x, w, b: (x @ w, x @ w + b), (X, W, B)),
    "transposed": (lambda x, w, b: (x @ w + b).T, (X, W, B)),
    "both sums": (lambda x, w: x @ w + x @ (w + 1), (X, W)),
    "a part": (lambda x, w, b: (x @ w + b)[1:], (X, W, B)),
    "reversed": (lambda x, w, b: (x @ w)[::-1] + b, (X, W, B)),
    "summed": (lambda x, w, b: (x @ w + b).sum(), (X, W, B)),
}


@pytest.mark.parametrize("name", APART)
def test_left_apart(name):
    function, args = APART[name]
    device = compare(lowered(function, *args), args, LIMITS, rtol=1e-4)
    assert not any(isinstance(s, FusedGemm) for s in device.steps), format_device_program(device)


def test_a_gradient_that_needs_the_product_keeps_it():
    """The mask of relu comes from the sum that relu is taken of, and so does the sum."""

    def loss(w, x, b):
        return (nn.relu(x @ w + b) ** 2).sum()

    device = compare(lowered(graphad.grad(loss), W, X, B), (W, X, B), LIMITS, rtol=1e-4)
    assert endings(device) == ["", ""]


def test_a_library_is_asked_for_what_it_can_do():
    relu, bias = (lowered(FUSED[name][0], *FUSED[name][1]) for name in ("maximum", "bias"))
    assert endings(schedule(bias, has_gemm=True)) == ["bias"]
    assert len(schedule(relu, has_gemm=True).kernels) == 1, "nan must stay nan"
    assert endings(schedule(relu, has_gemm=True, fast_math=True)) == ["bias, relu"]
    for start, fused in ((0, True), (1, False), (2, False), (4, True)):
        program = lowered(lambda x, w, b, at=start: x @ w + b[at : at + 11], X, W, normal(20))
        assert endings(schedule(program, has_gemm=True)) == ["bias" * fused], "a bias starts at a multiple of 16 bytes"


# ---- programs that the compiler would not write

AT, COLUMN, TRANSPOSED = Index(0, (("i", 4), ("j", 1))), Index(0, (("j", 1),)), Index(0, (("i", 1), ("j", 4)))
PRODUCT, ADDED = Load("product", "t", AT), Load("added", "b", COLUMN)
SUM = Let("sum", f32, "add", ("product", "added"))
ZERO, ONE = literal(0.0, f32), literal(1.0, f32)


def nest(*body, carries=()):
    return LoopNest((Loop("i", 4, (Loop("j", 4, tuple(body), carries),)),))


def steps(*between, factors=("x", "w"), bias="b", result="t"):
    """``t = x @ w``, steps between, and then ``y = t + b``."""
    a, b = (Matrix(name, 0, 4) for name in factors)
    ending = nest(PRODUCT, Load("added", bias, COLUMN), SUM, Store("y", AT, "sum"))
    return Gemm(f32, 4, 4, 4, a, b, Matrix(result, 0, 4)), *between, ending


def program(*listed):
    buffers = [Buffer(n, f32, 16, "input") for n in ("x", "w", "b")]
    buffers += [Buffer(n, f32, 16, "output") for n in ("y", "z")] + [Buffer(n, f32, 16, "temporary") for n in "tu"]
    return KernelProgram("p", tuple(buffers), tuple(listed))


def fused(*listed):
    found = with_gemm_epilogues(program(*listed), has_gemm=False, fast_math=False)
    return [type(s) for s in found]


def test_a_product_may_wait_for_steps_that_leave_its_factors_alone():
    assert fused(*steps()) == [FusedGemm]
    assert fused(*steps(Copy("z", "x"))) == [Copy, FusedGemm]
    assert fused(Copy("u", "x"), *steps(Copy("u", "b"), factors=("u", "w"))) == [Copy, Gemm, Copy, LoopNest]
    assert fused(*steps(Copy("z", "t"))) == [Gemm, Copy, LoopNest], "somebody else reads the product"
    assert fused(*steps(), Copy("z", "t")) == [Gemm, LoopNest, Copy]
    assert fused(Copy("t", "x"), *steps()) == [Copy, Gemm, LoopNest], "not the only one that writes there"


def test_a_result_must_not_lie_where_operands_do():
    assert fused(Copy("y", "x"), *steps(factors=("y", "w"))) == [Copy, Gemm, LoopNest]
    assert fused(Copy("y", "x"), *steps(bias="y")) == [Copy, Gemm, LoopNest]


@pytest.mark.parametrize(
    "changed",
    [
        {"c": Matrix("t", 1, 4)},
        {"c": Matrix("t", 0, 5)},
        {"k": 0},
        {"m": 2, "n": 8, "c": Matrix("t", 0, 8)},
        {"batch": 2, "m": 2, "c_step": 4},
    ],
    ids=["elsewhere", "wider rows", "no terms", "other columns", "overlapping"],
)
def test_products_of_another_form(changed):
    gemm, ending = steps()
    values = {name: getattr(gemm, name) for name in Gemm.__slots__}
    assert fused(Gemm(**values | changed), ending) == [Gemm, LoopNest]


BELOW, CUT = Let("below", b1, "le", ("sum", ZERO)), Let("cut", f32, "select", ("below", ZERO, "sum"))
OTHERS = {
    "masked": (PRODUCT, ADDED, SUM, BELOW, CUT, Store("y", AT, "cut", mask="below")),
    "computed position": (PRODUCT, replace(ADDED, dynamic="product"), SUM, Store("y", AT, "sum")),
    "result transposed": (PRODUCT, ADDED, SUM, Store("y", TRANSPOSED, "sum")),
    "product transposed": (replace(PRODUCT, index=TRANSPOSED), ADDED, SUM, Store("y", AT, "sum")),
    "strict": (PRODUCT, ADDED, SUM, replace(BELOW, op="lt"), CUT, Store("y", AT, "cut")),
    "of another": (PRODUCT, ADDED, SUM, replace(BELOW, args=("product", ZERO)), CUT, Store("y", AT, "cut")),
    "another bound": (PRODUCT, ADDED, SUM, replace(BELOW, args=("sum", ONE)), CUT, Store("y", AT, "cut")),
    "of a number": (PRODUCT, Let("sum", f32, "add", ("product", ZERO)), Store("y", AT, "sum")),
    "negative zero": (PRODUCT, Let("cut", f32, "maximum", ("product", literal(-0.0, f32))), Store("y", AT, "cut")),
    "something beside": (PRODUCT, ADDED, SUM, Let("more", f32, "exp", ("sum",)), Store("y", AT, "sum")),
    "nothing stored": (PRODUCT, ADDED, SUM),
    "nothing": (),
}


@pytest.mark.parametrize("name", OTHERS)
def test_endings_of_another_form(name):
    gemm, _ = steps()
    assert fused(gemm, nest(*OTHERS[name])) == [Gemm, LoopNest]


def test_endings_with_a_carry_are_no_endings():
    gemm, ending = steps()
    (outer,) = ending.body
    total = Carry("total", f32, "sum", ZERO, "sum")
    assert fused(gemm, nest(*outer.body[0].body, carries=(total,))) == [Gemm, LoopNest]


def test_where_results_and_biases_start():
    gemm, _ = steps()
    ending = nest(PRODUCT, Load("added", "b", Index(3, COLUMN.terms)), SUM, Store("y", Index(5, AT.terms), "sum"))
    (found,) = with_gemm_epilogues(program(gemm, ending), has_gemm=False, fast_math=False)
    assert (found.c, found.bias, found.bias_offset) == (Matrix("y", 5, 4), "b", 3)
    assert (reads(found), writes(found)) == ({"x", "w", "b"}, {"y"})


def test_a_product_has_one_bias():
    gemm, _ = steps()
    once = nest(PRODUCT, ADDED, SUM, Store("u", AT, "sum"))
    again = nest(replace(PRODUCT, buffer="u"), ADDED, SUM, Store("y", AT, "sum"))
    assert fused(gemm, once, again) == [FusedGemm, LoopNest]


def test_a_single_column_is_not_for_the_library():
    gemm = Gemm(f32, 16, 1, 4, Matrix("x", 0, 4), Matrix("w", 0, 1), Matrix("t", 0, 1))
    column = nest(PRODUCT, replace(ADDED, index=Index(0)), SUM, Store("y", AT, "sum"))
    for has_gemm, kind in ((False, FusedGemm), (True, Gemm)):
        assert type(with_gemm_epilogues(program(gemm, column), has_gemm=has_gemm, fast_math=False)[0]) is kind


def test_the_check_knows_where_a_bias_ends():
    gemm, _ = steps(result="y")
    buffers = program().buffers
    whole = FusedGemm(*[getattr(gemm, name) for name in Gemm.__slots__], bias="b", bias_offset=12, relu=True)
    check_device_program(DeviceProgram("p", buffers, (whole,)))
    assert format_product(whole).endswith("w[4,4; row 4] + b[column + 12], then relu")
    beyond = FusedGemm(*[getattr(gemm, name) for name in Gemm.__slots__], bias="b", bias_offset=13)
    with pytest.raises(VerifyError, match="b"):
        check_device_program(DeviceProgram("p", buffers, (beyond,)))
