"""Products of 16-bit floats: what they read and write is not widened, but where somebody wants it wide."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import DeviceProgram
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.check import check_program
from graphad.backends.loops.ir import Buffer, Gemm, KernelProgram, Matrix
from graphad.backends.loops.steps import every_step
from graphad.backends.loops.text import format_gemm
from graphad.backends.lower.fuse import lower
from graphad.backends.traits import cuda_traits
from graphad.errors import VerifyError
from graphad.ir.types import bf16, f32, f64
from graphad.train import make_step
from tests.backends.loop_harness import run_llvm, same
from tests.cuda.programs import cross_entropy
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY

HALVES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def lowered(function, *args, has_gemm=False, fast_math=False):
    traits = cuda_traits(has_gemm=has_gemm, fast_math=fast_math)
    return lower(graphad.jit(function).graph(*args), traits=traits).program


def products(device):
    """Dtypes of factors and result of each product, and what it ends in."""
    found = [s for s in device.steps if isinstance(s, Gemm)]
    return [f"{g.dtype} {g.c_dtype}" + " fused" * g.is_fused for g in found]


def wide(device):
    """The temporaries of f32 that have more than an element for each row."""
    return [b.name for b in device.buffers if b.role == "temporary" and b.dtype is f32 and b.size > 64]


def compare(function, args, rtol):
    """The schedule, which computes what the CPU's program does."""
    flat = [np.ascontiguousarray(a).reshape(-1) for a in args]
    _, want = run_llvm(lower(graphad.jit(function).graph(*args)).program, flat)
    program = lowered(function, *args)
    check_program(program)
    for limits in (LIMITS, TINY, JOINED):
        device = schedule(program, limits=limits)
        check_device_program(device)
        _, got = run_llvm(as_loops(device), flat)
        for a, b in zip(got, want, strict=True):
            same(a, b, rtol)
    return schedule(program)


def mlp(params, x, labels):
    (w1, b1), (w2, b2) = params
    return cross_entropy(nn.relu(x @ w1 + b1) @ w2 + b2, labels)


LAYERS = ((normal(48, 32), normal(32)), (normal(32, 48), normal(48)))
BATCH = normal(64, 48), (np.arange(64) % 48).astype(np.int32)

#: Function and shapes of its arguments; what is found of its products, and how many kernels there are beside them.
ALONE = {
    "product": (lambda x, w: x @ w, [(17, 13), (13, 11)], ["H H"], 0),
    "both transposed": (lambda x, w: lax.dot_general(x, w, (((0,), (1,)), ((), ()))), [(13, 17), (11, 13)], ["H H"], 0),
    "batches": (lambda x, w: x @ w, [(3, 9, 13), (3, 13, 11)], ["H H"], 0),
    "one for all": (lambda x, w: x @ w, [(3, 9, 13), (13, 11)], ["H H"], 0),
    "one row": (lambda x, w: x @ w, [(1, 200), (200, 101)], ["H H"], 0),
    "bias": (lambda x, w, b: x @ w + b, [(17, 13), (13, 11), (11,)], ["H H"], 1),
    "relu": (lambda x, w: nn.relu(x @ w), [(17, 13), (13, 11)], ["H H fused"], 0),
    "layers": (lambda x, w, v: gnp.tanh(x @ w) @ v, [(17, 13), (13, 11), (11, 31)], ["H H", "H H"], 1),
    "chain": (lambda x, w, v: x @ w @ v, [(17, 13), (13, 11), (11, 31)], ["H H", "H H"], 0),
    "square": (lambda x: x.T @ x, [(40, 24)], ["H H"], 0),
    "read as it is, too": (lambda x, w: (x @ w, gnp.tanh(x)), [(17, 13), (13, 11)], ["H H"], 1),
    "both in one buffer": (lambda x: x[:16] @ x[16:], [(32, 16)], ["H H"], 0),
    "told to be wide": (
        lambda x, w: x.astype(np.float32) @ w.astype(np.float32), [(17, 13), (13, 11)], ["H f32"], 0,
    ),
    "wide and narrow": (
        lambda x, w: ((y := x.astype(np.float32) @ w.astype(np.float32)), y.astype(x.dtype)), [(17, 13), (13, 11)],
        ["H f32"], 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ALONE)
def test_products(name, half):
    function, shapes, wanted, n_kernels = ALONE[name]
    args = [normal(*shape, dtype=HALVES[half]) for shape in shapes]
    device = compare(function, args, 2e-2)
    assert sorted(products(device)) == sorted([w.replace("H", half) for w in wanted]), format_device_program(device)
    assert len(device.kernels) == n_kernels, format_device_program(device)
    assert not wide(device), format_device_program(device)


def attention(q, k, v):
    return nn.softmax(q @ k.T) @ v


def convolved(x, w):
    return lax.conv_general_dilated(x, w, (1, 1), "SAME")


#: Function and shapes of its arguments, of which there are the gradients.
ADJOINTS = {
    "product": (lambda x, w: x @ w, [(17, 13), (13, 11)]),
    "transposed": (lambda x, w: x.T @ w.T, [(13, 17), (11, 13)]),
    "batches": (lambda x, w: gnp.tanh(x @ w), [(3, 9, 13), (3, 13, 11)]),
    "layers": (lambda x, w, b, v: nn.relu(x @ w + b) @ v, [(33, 13), (13, 11), (11,), (11, 31)]),
    "attention": (attention, [(32, 16), (32, 16), (32, 16)]),
    "convolution": (convolved, [(2, 3, 8, 8), (5, 3, 3, 3)]),
}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ADJOINTS)
def test_adjoints(name, half):
    function, shapes = ADJOINTS[name]
    args = [normal(*shape, dtype=HALVES[half]) / 4 for shape in shapes]
    gradient = graphad.grad(lambda *a: gnp.sum(function(*a) ** 2), argnums=tuple(range(len(args))))
    device = compare(gradient, args, 0.1 if half == "bf16" else 2e-2)
    found = products(device)
    assert len(found) >= 2
    assert all(p.startswith(f"{half} {half}") for p in found), format_device_program(device)
    in_f32 = 2 if name == "attention" else 0  # what softmax is made of is not rounded
    assert len(wide(device)) <= in_f32, format_device_program(device)


WIDE = {
    "transposed": (lambda x, w: x.T @ w, [(13, 17), (13, 11)], ["H f32"], 0),
    "with a bias": (lambda x, w: x @ w + x[0, :11], [(17, 13), (13, 11)], ["H f32"], 1),
    "rounded": (lambda x, w: [x @ w], [(17, 13), (13, 11)], ["H H"], 0),
    "cut off and rounded": (lambda x, w: [nn.relu(x @ w)], [(17, 13), (13, 11)], ["H H fused"], 0),
    "rounded to another shape": (lambda x, w: [(x @ w).reshape(-1)], [(17, 13), (13, 11)], ["H H"], 0),
    "of a product": (lambda x, w, v: x @ w @ v, [(17, 13), (13, 11), (11, 31)], ["H f32", "f32 f32"], 1),
    "padded": (lambda x, w: gnp.pad(x, ((1, 2), (0, 0))) @ w, [(17, 13), (13, 11)], ["H f32"], 1),
    "put together": (lambda x, w: gnp.concatenate([x, x[:3]]) @ w, [(17, 13), (13, 11)], ["H f32"], 1),
    "chosen": (lambda x, w: gnp.where(x > 0, x, 0) @ w, [(17, 13), (13, 11)], ["H f32"], 1),
    "padded by what does not fit": (
        lambda x, w: gnp.pad(x, ((1, 2), (0, 0)), constant_values=0.1) @ w, [(17, 13), (13, 11)], ["f32 f32"], 1,
    ),
    "computed": (lambda x, w: (2.5 * x) @ w, [(17, 13), (13, 11)], ["f32 f32"], 1),
    "summed": (lambda x, w: gnp.cumsum(x, 0) @ w, [(17, 13), (13, 11)], ["f32 f32"], 1),
}  # fmt: skip


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", WIDE)
def test_what_was_widened_before(name, half):
    """Factors that were widened by the user, and then moved, are multiplied as they were before."""
    of_wide, shapes, wanted, n_kernels = WIDE[name]

    def function(*halves):
        found = of_wide(*[x.astype(np.float32) for x in halves])
        return found[0].astype(HALVES[half]) if isinstance(found, list) else found

    args = [normal(*shape, dtype=HALVES[half]) for shape in shapes]
    device = compare(function, args, 2e-2 if "rounded" in name else 1e-4)
    assert products(device) == [w.replace("H", half) for w in wanted], format_device_program(device)
    assert len(device.launches) <= n_kernels, format_device_program(device)


@pytest.mark.parametrize("half", HALVES)
def test_rows_at_indices(half):
    x, w, k = normal(17, 13, dtype=HALVES[half]), normal(13, 11, dtype=HALVES[half]), np.arange(9) ** 2 % 19
    as_they_lie = lambda x, w, k: x.astype(np.float32)[k] @ w.astype(np.float32)
    turned = lambda x, w, k: x.T.astype(np.float32)[k % 13, :9] @ w[:9].astype(np.float32)
    for function, kind in ((as_they_lie, f"{half} f32"), (turned, None)):
        device = compare(function, (x, w, k), 1e-4)
        assert kind is None or products(device) == [kind], format_device_program(device)


def test_of_two_dtypes():
    """What widens both to f32 multiplies them there."""
    x, w = normal(17, 13, dtype=np.float16), normal(13, 11, dtype=ml_dtypes.bfloat16)
    device = compare(lambda x, w: x.astype(np.float32) @ w.astype(np.float32), (x, w), 1e-4)
    assert products(device) == ["f32 f32"]


def test_a_copy_for_several_products_is_made_once():
    x, w, v = (normal(*shape, dtype=np.float16) for shape in ((17, 13), (13, 11), (17, 11)))

    def f(x, w, v):
        turned = x[::-1]
        return turned @ w, lax.dot_general(turned, v, (((0,), (0,)), ((), ()))), v.T @ x[::-1]

    device = compare(f, (x, w, v), 2e-2)
    assert [b.size for b in device.buffers if b.role == "temporary"] == [x.size], format_device_program(device)


@pytest.mark.parametrize(("start", "copied"), [(0, False), (8, False), (1, True), (4, True)])
def test_factors_are_aligned(start, copied):
    """Products read words of 16 bytes: 8 elements."""
    x, w = normal(40, dtype=np.float16), normal(4, 32, dtype=np.float16)
    device = compare(lambda x, w: x[start : start + 32].reshape(8, 4) @ w, (x, w), 2e-2)
    (g,) = [s for s in device.steps if isinstance(s, Gemm)]
    assert (g.a.buffer, g.a.offset) == (("tmp0", 0) if copied else ("in0", start)), format_device_program(device)


def test_numbers_alone_stay_in_f32():
    """A matrix of two numbers is narrow only beside one that is."""

    def f(x, w):
        mask = gnp.where(x > 0, np.float32(2), np.float32(0.5))
        return mask.T @ mask, mask.T @ w.astype(np.float32)

    device = compare(f, (normal(17, 13), normal(17, 11, dtype=np.float16)), 1e-4)
    assert products(device) == ["f32 f32", "f16 f32"], format_device_program(device)


def test_long_chains_of_choices():
    """They are looked through up to a depth, whatever their length."""

    def f(x, w):
        wide = x.astype(np.float32)
        for k in range(1500):
            wide = gnp.where(x > k, wide, np.float32(k % 7))
        return wide @ w.astype(np.float32)

    graph = graphad.make_graph(f)(normal(9, 13, dtype=np.float16), normal(13, 11, dtype=np.float16))
    program = lower(graph, traits=cuda_traits(has_gemm=False, fast_math=False)).program
    assert [g.dtype for g in program.steps if isinstance(g, Gemm)] == [f32]


def test_in_loops_of_steps():
    u, h, xs = normal(24, 24, dtype=np.float16) / 4, normal(9, 24, dtype=np.float16), normal(5, 9, 24, dtype=np.float16)

    def recurrent(u, h, xs):
        return lax.scan(lambda h, x: (gnp.tanh(h @ u + x), h.astype(np.float32).T @ x.astype(np.float32)), h, xs)

    device = compare(recurrent, (u, h, xs), 2e-2)
    inside = [f"{g.dtype} {g.c_dtype}" for g in every_step(device.steps) if isinstance(g, Gemm)]
    assert sorted(inside) == ["f16 f16", "f16 f32"]


def test_what_was_widened_is_not_stored():
    """Several expensive readers share a sum in 16 bits, and widen it themselves."""
    x = normal(100, 300, dtype=ml_dtypes.bfloat16)

    def f(x):
        wide = (x * x).astype(np.float32)
        return gnp.exp(wide).sum(1), (gnp.sin(wide) * gnp.cos(wide)).sum(0)

    graph = graphad.jit(f).graph(x)
    device = compare(f, (x,), 1e-3)
    assert not [b for b in device.buffers if b.role == "temporary" and b.dtype is f32 and b.size >= x.size]
    before = lower(graph, traits=replace(cuda_traits(has_gemm=False, fast_math=False), free_widening=False)).program
    assert costs(device).moved_bytes <= costs(schedule(before)).moved_bytes


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_training_step_in_16_bits_moves_less(precision):
    """Only what float16 takes its scale from again stays in f32: the gradients by which parameters are updated."""
    step = make_step(mlp, graphad.optim.adam(1e-3), donate=False, precision=precision)
    graph = step._program.graph(step.init(LAYERS), BATCH)
    device = schedule(lower(graph, traits=cuda_traits(has_gemm=False, fast_math=False)).program)
    assert all("f32" not in p for p in products(device)), format_device_program(device)
    assert len(wide(device)) == (2 if precision == "float16" else 0), format_device_program(device)
    before = schedule(lower(graph).program)
    assert products(before) == ["f32 f32"] * 5
    assert len(device.steps) <= len(before.steps)
    assert costs(device).moved_bytes < 0.75 * costs(before).moved_bytes


def test_a_bias_is_rounded_apart_but_where_speed_counts_more():
    args = [normal(*shape, dtype=np.float16) for shape in ((17, 13), (13, 11), (11,))]

    def f(x, w, b):
        return nn.relu(x @ w + b)

    for has_gemm in (False, True):
        assert products(schedule(lowered(f, *args, has_gemm=has_gemm))) == ["f16 f16"]
        assert products(schedule(lowered(f, *args, has_gemm=has_gemm, fast_math=True))) == ["f16 f16 fused"]
    device = schedule(lowered(f, *args, fast_math=True))
    check_device_program(device)
    assert not device.kernels
    flat = [a.reshape(-1) for a in args]
    same(run_llvm(as_loops(device), flat)[1][0], run_llvm(lower(graphad.jit(f).graph(*args)).program, flat)[1][0], 1e-2)


def test_a_library_adds_to_a_wide_result():
    """The bias has the dtype of the result, and its place counts in bytes of that."""
    x, w, b = normal(17, 13, dtype=np.float16), normal(13, 11, dtype=np.float16), normal(30)
    for start, kind in ((0, "f16 f32 fused"), (4, "f16 f32 fused"), (2, "f16 f32")):

        def f(x, w, b, at=start):
            return x.astype(np.float32) @ w.astype(np.float32) + b[at : at + 11]

        assert products(schedule(lowered(f, x, w, b, has_gemm=True))) == [kind]
        compare(f, (x, w, b), 1e-5)


def test_a_cpu_multiplies_f32_and_f64():
    for function, shapes, _, _ in ALONE.values():
        program = lower(graphad.jit(function).graph(*[normal(*shape, dtype=np.float16) for shape in shapes])).program
        assert {g.dtype for g in program.steps if isinstance(g, Gemm)} == {f32}


# ---- the verifier

BUFFERS = {"input": {"x": bf16, "w": bf16, "v": f32}, "output": {"y": bf16, "z": f32, "h": bf16}}


def program(*steps, **dtypes):
    """Over matrices of 4 by 4."""
    rows = [(n, dtype, role) for role, names in BUFFERS.items() for n, dtype in names.items()]
    return KernelProgram("p", tuple([Buffer(n, dtypes.get(n, dtype), 16, role) for n, dtype, role in rows]), steps)


def check_both(*steps, **dtypes):
    """As loops, and as the steps of a device, which say the same."""
    loops = program(*steps, **dtypes)
    messages = []
    for check in (check_program, lambda p: check_device_program(DeviceProgram(p.name, p.buffers, p.steps))):
        try:
            check(loops)
        except VerifyError as error:
            messages.append(str(error).splitlines()[0])
    assert len(messages) in (0, 2), messages
    if messages:
        raise VerifyError(" | ".join(messages))


def gemm(a, b, c, **changes):
    return replace(Gemm(bf16, 4, 4, 4, Matrix(a, 0, 4), Matrix(b, 0, 4), Matrix(c, 0, 4)), **changes)


def test_the_check_knows_the_dtypes_of_products():
    half = gemm("x", "w", "h")
    check_both(half)
    check_both(replace(half, c=Matrix("z", 0, 4), result=f32))
    assert format_gemm(half).startswith("gemm bf16 h[4,4; row 4] = x[")
    assert format_gemm(replace(half, result=f32)).startswith("gemm bf16 to f32 h[")
    fused = replace(half, bias="w")
    check_both(fused)
    for wrong, message in (
        (replace(half, b=Matrix("v", 0, 4)), "v is f32.* v is f32"),
        (replace(half, c=Matrix("z", 0, 4)), "z is f32.* z is f32"),
        (replace(half, result=f32), "h is bf16.* h is bf16"),
        (replace(fused, bias="v"), "v is f32.* v is f32"),
        (replace(half, a=Matrix("nothing", 0, 4)), "nothing is no buffer"),
        (replace(half, a=Matrix("x", 1, 4)), "leaves x"),
        (replace(half, c=Matrix("x", 0, 4)), "overlaps|input"),
    ):
        with pytest.raises(VerifyError, match=message):
            check_both(wrong)
    with pytest.raises(VerifyError, match="a product of bf16 is not stored as f64"):
        check_both(replace(half, result=f64), h=f64)
    with pytest.raises(VerifyError, match="a product of f32 is not stored as bf16"):
        check_both(gemm("v", "v", "h", dtype=f32, result=bf16))
