"""Matrix products that take over what is done to their elements, and those that must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Buffer, Gemm, KernelProgram, Matrix
from graphad.backends.loops.steps import buffers_read, buffers_written, every_step
from graphad.backends.loops.text import format_gemm
from graphad.backends.lower.fuse import lower
from graphad.backends.traits import cuda_traits
from graphad.errors import VerifyError
from graphad.ir.types import f32
from tests.cuda.devices import DEVICES
from tests.cuda.schedule.test_schedule_primitives import TINY, compare


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


X, W, V, B, C = normal(17, 13), normal(13, 11), normal(11, 11), normal(11), normal(17)


def lowered(function, *args, has_gemm=False, fast_math=False):
    traits = cuda_traits(has_gemm=has_gemm, fast_math=fast_math)
    return lower(graphad.jit(function).graph(*args), traits=traits).program


def dealt_out(function, args, limits=LIMITS, rtol=1e-5):
    """The schedule, which computes what the CPU's program does."""
    program = lower(graphad.jit(function).graph(*args)).program
    return compare(program, args, limits, rtol, for_device=lowered(function, *args))


def endings(device):
    """What each product ends in."""
    fused = [(s.bias is not None, s.relu) for s in device.steps if isinstance(s, Gemm)]
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
    device = dealt_out(function, args, limits)
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
    "twice itself": (lambda x, w: (p := x @ w) + p, (X, W)),
    "difference": (lambda x, w, b: x @ w - b, (X, W, B)),
    "more than a sum": (lambda x, w, b: x @ w + 2 * b, (X, W, B)),
    "another function": (lambda x, w: gnp.tanh(x @ w), (X, W)),
    "another bound": (lambda x, w: gnp.maximum(x @ w, 1), (X, W)),
    "negative zero": (lambda x, w: gnp.maximum(x @ w, -0.0), (X, W)),
    "strict": (lambda x, w: gnp.where((p := x @ w) < 0, 0, p), (X, W)),
    "chosen by another": (lambda x, w, y: gnp.where(y <= 0, 0, x @ w), (X, W, normal(17, 11))),
    "relu without nan": (lambda x, w: gnp.where(x @ w > 0, x @ w, 0), (X, W)),
    "a mask that is a result": (lambda x, w: (gnp.where((p := x @ w) <= 0, 0, p), p <= 0), (X, W)),
    "read twice": (lambda x, w, b: ((x @ w + b) @ w.T + (x @ w).sum(), (x @ w) @ w.T), (X, W, B)),
    "read by what comes out": (lambda x, w, b: (x @ w, x @ w + b), (X, W, B)),
    "both sums": (lambda x, w: x @ w + x @ (w + 1), (X, W)),
    "reversed": (lambda x, w, b: (x @ w)[::-1] + b, (X, W, B)),
    "reversed bias": (lambda x, w, b: x @ w + b[::-1], (X, W, B)),
    "a bias for each of a batch": (lambda x, w, b: x @ w + b, (normal(3, 9, 13), normal(3, 13, 11), normal(3, 1, 11))),
    "shorter than a row": (lambda x, w, b: (x @ w).reshape(17, 2, 6) + b, (X, normal(13, 12), normal(6))),
    "across rows": (lambda x, w, b: (x @ w).reshape(6, 33) + b, (normal(18, 13), W, normal(33))),
}


@pytest.mark.parametrize("name", APART)
def test_left_apart(name):
    function, args = APART[name]
    device = dealt_out(function, args, rtol=1e-4)
    assert not any(endings(device)), format_device_program(device)


#: Function, arguments, what products end in, and how many kernels there are beside them.
PARTLY = {
    "another function": (lambda x, w, b: gnp.tanh(x @ w + b), (X, W, B), ["bias"], 1),
    "another bound": (lambda x, w, b: gnp.maximum(x @ w + b, 1), (X, W, B), ["bias"], 1),
    "another bias": (lambda x, w, b: (x @ w + b) + b, (X, W, B), ["bias"], 1),
    "bias of what is cut off": (lambda x, w, b: nn.relu(x @ w) + b, (X, W, B), ["relu"], 1),
    "transposed": (lambda x, w, b: (x @ w + b).T, (X, W, B), ["bias"], 1),
    "a part": (lambda x, w, b: (x @ w + b)[1:], (X, W, B), ["bias"], 1),
    "summed": (lambda x, w, b: (x @ w + b).sum(), (X, W, B), ["bias"], 1),
    "what is cut off is a result, too": (lambda x, w, b: ((h := x @ w + b), nn.relu(h)), (X, W, B), ["bias"], 1),
    "a bias that is a result": (lambda x, w, b: ((b := 2 * b), x @ w + b), (X, W, B), ["bias"], 1),
    "rows and columns of several axes": (
        lambda x, w, b: nn.relu(gnp.tensordot(x, w, 1) + b), (normal(2, 9, 13), normal(13, 3, 5), normal(3, 5)),
        ["bias, relu"], 0,
    ),
    "other shapes": (
        lambda x, w, b: nn.relu((x @ w).reshape(17, 2, 6) + b.reshape(2, 6)).reshape(-1),
        (X, normal(13, 12), normal(12)), ["bias, relu"], 0,
    ),
    "an axis of one": (lambda x, w, b: (x @ w).reshape(17, 1, 11)[:, 0] + b, (X, W, B), ["bias"], 0),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTLY)
def test_partly_fused(name):
    function, args, wanted, kernels = PARTLY[name]
    device = dealt_out(function, args, rtol=1e-4)
    assert endings(device) == wanted, format_device_program(device)
    assert len(device.kernels) == kernels, format_device_program(device)


def test_in_loops_of_steps():
    """What the body of a loop stacks, carries and reads through windows."""

    def recurrent(u, h, biases):
        def step(h, b):
            h = nn.relu(h @ u + b)
            return h, h @ u + biases[0]

        return lax.scan(step, h, biases)

    args = V, normal(17, 11), normal(4, 11)
    device = dealt_out(recurrent, args, rtol=1e-4)
    inside = [s for s in every_step(device.steps) if isinstance(s, Gemm)]
    assert [(g.bias is not None, g.relu) for g in inside] == [(True, True), (True, False)]
    assert not device.kernels


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_what_is_changed_in_place_is_read_before(device):
    """The update of a factor or a bias may not write where a product still reads."""

    def f(x, w, b, k):
        changed, bias = w.at[k].set(1.0), b.at[k].add(2.0)
        return x @ w + b, nn.relu(x @ changed + bias), changed.at[0].mul(3.0), bias.at[1].set(0.0)

    got = graphad.jit(f, device=device)(X, W, B, 3)
    for a, b in zip(got, graphad.jit(f)(X, W, B, 3), strict=True):
        np.testing.assert_allclose(np.asarray(a), b, rtol=2e-5, atol=1e-5)


def test_a_gradient_takes_the_sum_from_the_product():
    """The mask of relu comes from the sum that relu is taken of, and so does the sum."""

    def loss(w, x, b):
        return (nn.relu(x @ w + b) ** 2).sum()

    device = dealt_out(graphad.grad(loss), (W, X, B), rtol=1e-4)
    assert endings(device) == ["bias", ""]


def test_a_library_is_asked_for_what_it_can_do():
    def ends(name, **options):
        return endings(schedule(lowered(*FUSED[name][:1], *FUSED[name][1], has_gemm=True, **options)))

    assert ends("bias") == ["bias"]
    assert ends("maximum") == ["bias"], "nan must stay nan"
    assert ends("maximum", fast_math=True) == ["bias, relu"]
    for start, fused in ((0, True), (1, False), (2, False), (4, True)):
        program = lowered(lambda x, w, b, at=start: x @ w + b[at : at + 11], X, W, normal(20), has_gemm=True)
        assert endings(schedule(program)) == ["bias" * fused], "a bias starts at a multiple of 16 bytes"


def test_a_single_column_is_not_for_the_library():
    args = normal(200, 130), normal(130, 1), normal(1)
    for has_gemm, ending in ((False, "bias"), (True, "")):
        program = lowered(lambda x, w, b: x @ w + b, *args, has_gemm=has_gemm)
        assert endings(schedule(program)) == [ending]


def test_a_cpu_has_no_epilogues():
    for name in FUSED:
        program = lower(graphad.jit(FUSED[name][0]).graph(*FUSED[name][1])).program
        assert not any(s.is_fused for s in program.steps if isinstance(s, Gemm))


def test_the_check_knows_where_a_bias_ends():
    buffers = [Buffer(n, f32, 16, "input") for n in ("x", "w", "b")] + [Buffer("y", f32, 16, "output")]
    plain = Gemm(f32, 4, 4, 4, Matrix("x", 0, 4), Matrix("w", 0, 4), Matrix("y", 0, 4))
    whole = replace(plain, bias="b", bias_offset=12, relu=True)
    assert (buffers_read(whole), buffers_written(whole)) == ({"x", "w", "b"}, {"y"})
    assert format_gemm(whole).endswith("w[4,4; row 4] + b[column + 12], then relu")
    for check in (lambda g: check_program(KernelProgram("p", tuple(buffers), (g,))),
                  lambda g: check_device_program(DeviceProgram("p", tuple(buffers), (g,)))):  # fmt: skip
        check(whole)
        with pytest.raises(VerifyError, match="b"):
            check(replace(whole, bias_offset=13))
        with pytest.raises(VerifyError, match="no buffer"):
            check(replace(whole, bias="nothing"))
    with pytest.raises(VerifyError, match="overlaps"):
        check_program(KernelProgram("p", tuple(buffers), (replace(whole, bias="y", bias_offset=0),)))
