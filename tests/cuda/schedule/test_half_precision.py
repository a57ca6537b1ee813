"""Products of 16-bit floats: what they read and write is not widened, but where somebody wants it wide."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.ir import DeviceProgram, FusedGemm
from graphad.backends.cuda.program.sequential import as_loops
from graphad.backends.cuda.program.text import format_device_program, format_product
from graphad.backends.cuda.schedule.half_precision import with_half_products
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import (
    Buffer,
    Copy,
    Gemm,
    Index,
    KernelProgram,
    Let,
    Load,
    Loop,
    LoopNest,
    Matrix,
    RoutineCall,
    Store,
)
from graphad.backends.loops.rewrites import renamed
from graphad.backends.lower.fuse import lower
from graphad.errors import VerifyError
from graphad.ir.types import b1, bf16, f16, f32, f64, i64, literal
from graphad.train import make_step
from tests.backends.loop_harness import run_llvm, same
from tests.cuda.programs import cross_entropy
from tests.cuda.schedule.test_schedule_primitives import JOINED, TINY

HALVES = {"f16": np.float16, "bf16": ml_dtypes.bfloat16}


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def lowered(function, *args):
    return lower(graphad.jit(function).graph(*args)).program


def products(device):
    """Dtypes of factors and result of each product, and what it ends in."""
    found = [s for s in device.steps if isinstance(s, Gemm)]
    return [f"{g.dtype} {g.c_dtype}" + " fused" * isinstance(g, FusedGemm) for g in found]


def wide(device):
    """The temporaries of f32 that have more than an element for each row."""
    return [b.name for b in device.buffers if b.role == "temporary" and b.dtype is f32 and b.size > 64]


def compare(program, args, rtol):
    """The schedule computes what the program does, as it stands and as it was."""
    flat = [np.ascontiguousarray(a).reshape(-1) for a in args]
    _, want = run_llvm(program, flat)
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
    device = compare(lowered(function, *args), args, 2e-2)
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
    device = compare(lowered(gradient, *args), args, 0.1 if half == "bf16" else 2e-2)
    found = products(device)
    assert len(found) >= 2
    assert all(p.startswith(f"{half} {half}") for p in found), format_device_program(device)
    in_f32 = 2 if name == "attention" else 0  # what softmax is made of is not rounded
    assert len(wide(device)) <= in_f32, format_device_program(device)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_training_step_in_16_bits_moves_less(precision, monkeypatch):
    """Only what float16 takes its scale from again stays in f32: the gradients by which parameters are updated."""
    step = make_step(mlp, graphad.optim.adam(1e-3), donate=False, precision=precision)
    program = lower(step._program.graph(step.init(LAYERS), BATCH)).program
    device = schedule(program)
    assert all("f32" not in p for p in products(device)), format_device_program(device)
    assert len(wide(device)) == (2 if precision == "float16" else 0), format_device_program(device)
    monkeypatch.setattr("graphad.backends.cuda.schedule.schedule.with_half_products", lambda program: program)
    before = schedule(program)
    assert products(before) == ["f32 f32"] * 5
    assert len(device.steps) <= len(before.steps)
    assert costs(device).moved_bytes < 0.75 * costs(before).moved_bytes


def test_a_bias_is_rounded_apart_but_where_speed_counts_more():
    args = [normal(*shape, dtype=np.float16) for shape in ((17, 13), (13, 11), (11,))]
    program = lowered(lambda x, w, b: nn.relu(x @ w + b), *args)
    for has_gemm in (False, True):
        assert products(schedule(program, has_gemm=has_gemm)) == ["f16 f16"]
        assert products(schedule(program, has_gemm=has_gemm, fast_math=True)) == ["f16 f16 fused"]
    device = schedule(program, fast_math=True)
    check_device_program(device)
    assert not device.kernels
    flat = [a.reshape(-1) for a in args]
    same(run_llvm(as_loops(device), flat)[1][0], run_llvm(program, flat)[1][0], 1e-2)


def test_a_library_adds_to_a_wide_result():
    """The bias has the dtype of the result, and its place counts in bytes of that."""
    x, w, b = normal(17, 13, dtype=np.float16), normal(13, 11, dtype=np.float16), normal(30)
    for start, kind in ((0, "f16 f32 fused"), (4, "f16 f32 fused"), (2, "f16 f32")):
        program = lowered(
            lambda x, w, b, at=start: x.astype(np.float32) @ w.astype(np.float32) + b[at : at + 11], x, w, b
        )
        assert products(schedule(program, has_gemm=True)) == [kind]
        compare(program, (x, w, b), 1e-5)


# ---- programs that the compiler would not write

AT, FLAT = Index(0, (("i", 4), ("j", 1))), Index(0, (("k", 1),))
BUFFERS = {
    "input": {"x": bf16, "w": bf16, "v": f32, "p": b1},
    "output": {"y": bf16, "z": f32, "h": bf16},
    "temporary": {"a": f32, "b": f32, "c": f32, "d": f32, "e": bf16},
}


def program(*steps):
    """Over matrices of 4 by 4."""
    buffers = [Buffer(n, dtype, 16, role) for role, names in BUFFERS.items() for n, dtype in names.items()]
    return KernelProgram("p", tuple(buffers), steps)


def nest(*body):
    return LoopNest((Loop("i", 4, (Loop("j", 4, body),)),))


def widened(source, target):
    return nest(Load("t", source, AT), Let("u", f32, "cast", ("t",)), Store(target, AT, "u"))


def rounded(source, target):
    return nest(Load("t", source, AT), Let("u", bf16, "cast", ("t",)), Store(target, AT, "u"))


def gemm(a="a", b="b", c="c", **changes):
    return replace(Gemm(f32, 4, 4, 4, Matrix(a, 0, 4), Matrix(b, 0, 4), Matrix(c, 0, 4)), **changes)


WIDENED = widened("x", "a"), widened("w", "b")


def with_names_of_its_own(step, number):
    """As the compiler gives them to every value of a program."""
    if not isinstance(step, LoopNest):
        return step
    return replace(step, body=renamed(step.body, {n: f"{n}_{number}" for n in "tuqr"}))


def after(*steps):
    """Products of the program, as text, and the other steps that it still has."""
    found = with_half_products(program(*steps))
    check_device_program(schedule(program(*map(with_names_of_its_own, steps, count()))))
    texts = [
        f"{s.dtype} {s.a.buffer} {s.b.buffer} to {s.c_dtype} {s.c.buffer}" for s in found.steps if isinstance(s, Gemm)
    ]
    return texts, [s for s in found.steps if not isinstance(s, Gemm)]


def test_conversions_that_nobody_else_reads_go():
    assert after(*WIDENED, gemm(), rounded("c", "y")) == (
        ["bf16 x w to bf16 c"], [nest(Load("half0", "c", AT), Store("y", AT, "half0"))],
    )  # fmt: skip


def test_what_reads_a_factor_elsewhere_widens_it():
    other = nest(Load("t", "a", AT), Let("u", f32, "exp", ("t",)), Store("z", AT, "u"))
    texts, (last, _) = after(*WIDENED, gemm(), other, rounded("c", "y"))
    assert texts == ["bf16 x w to bf16 c"]
    wide = Let("t", f32, "cast", ("half0",))
    assert last == nest(Load("half0", "x", AT), wide, Let("u", f32, "exp", ("t",)), Store("z", AT, "u"))


def test_a_result_that_is_read_as_it_is_stays_wide():
    whole = nest(Load("t", "c", AT), Store("z", AT, "t"))
    both = nest(Load("t", "c", AT), Let("u", bf16, "cast", ("t",)), Store("y", AT, "u"), Store("z", AT, "t"))
    for others in ([rounded("c", "y"), whole], [both], [Copy("z", "c")]):
        assert after(*WIDENED, gemm(), *others) == (["bf16 x w to f32 c"], others)


def test_one_that_is_read_in_other_ways_than_alone_stays_wide():
    scaled = nest(
        Load("t", "c", AT), Let("u", bf16, "cast", ("t",)), Store("y", AT, "u"),
        Let("q", f32, "mul", ("t", literal(2.0, f32))), Let("r", bf16, "cast", ("q",)), Store("h", AT, "r"),
    )  # fmt: skip
    assert after(*WIDENED, gemm(), scaled)[0] == ["bf16 x w to f32 c"]
    halved = nest(Load("t", "c", AT), Let("u", f16, "cast", ("t",)), Let("q", f32, "cast", ("u",)), Store("z", AT, "q"))
    assert after(*WIDENED, gemm(), halved)[0] == ["bf16 x w to f32 c"]


def test_factors_go_together():
    wide = nest(Load("t", "v", AT), Store("b", AT, "t"))
    first = WIDENED[0], wide
    assert after(*first, gemm(), rounded("c", "y"))[0] == ["f32 a b to f32 c"]
    others = *first, widened("w", "d"), gemm(b="d"), gemm(c="z"), rounded("c", "y")
    assert after(*others)[0] == ["f32 a d to f32 c", "f32 a b to f32 z"], "one that stays wide keeps others so"
    inputs = gemm(b="v"), rounded("c", "y")
    assert after(WIDENED[0], *inputs)[0] == ["f32 a v to f32 c"]


def test_results_may_be_factors_once_they_are_rounded():
    again = nest(Load("t", "c", AT), Let("u", bf16, "cast", ("t",)), Let("q", f32, "cast", ("u",)), Store("d", AT, "q"))
    texts, others = after(*WIDENED, gemm(), again, gemm(a="d", c="z"))
    assert (texts, others) == (["bf16 x w to bf16 c", "bf16 c w to f32 z"], [])
    texts, _ = after(*WIDENED, gemm(), gemm(a="c", c="z"))
    assert texts == ["f32 a b to f32 c", "f32 c b to f32 z"], "nobody rounds it"


@pytest.mark.parametrize(("value", "kind"), [(0.5, "bf16"), (-0.0, "bf16"), (np.inf, "bf16"), (0.1, "f32")])
def test_numbers_that_fit_are_stored_in_16_bits(value, kind):
    first = nest(Store("a", AT, literal(value, f32)))
    middle = LoopNest((Loop("i", 2, (Load("t", "x", Index(5, (("i", 1),))), Let("u", f32, "cast", ("t",)),
                                     Store("a", Index(5, (("i", 1),)), "u"))),))  # fmt: skip
    texts, others = after(first, middle, WIDENED[1], gemm(c="z"))
    assert texts == [f"{kind} a {'b' if kind == 'f32' else 'w'} to f32 z"]
    if kind == "bf16":
        (store,) = others[0].body[0].body[0].body
        assert store.value is literal(value, bf16)


def test_a_buffer_of_numbers_alone_stays():
    assert after(nest(Store("a", AT, literal(0.0, f32))), WIDENED[1], gemm(c="z"))[0] == ["f32 a b to f32 z"]


def test_choices_are_made_in_16_bits():
    chosen = nest(
        Load("t", "x", AT), Let("u", f32, "cast", ("t",)), Load("q", "p", AT),
        Let("r", f32, "select", ("q", "u", literal(0.0, f32))), Store("a", AT, "r"),
    )  # fmt: skip
    texts, (found,) = after(chosen, WIDENED[1], gemm(c="z"))
    assert texts == ["bf16 a w to f32 z"]
    select = Let("half0", bf16, "select", ("q", "t", literal(0.0, bf16)))
    assert found == nest(Load("t", "x", AT), Load("q", "p", AT), select, Store("a", AT, "half0"))


@pytest.mark.parametrize("other", [literal(0.1, f32), "v0"])
def test_choices_that_may_not_fit_are_left(other):
    chosen = nest(
        Load("t", "x", AT), Let("u", f32, "cast", ("t",)), Load("q", "p", AT), Load("v0", "v", AT),
        Let("r", f32, "select", ("q", "u", other)), Store("a", AT, "r"),
    )  # fmt: skip
    assert after(chosen, WIDENED[1], gemm(c="z"))[0] == ["f32 a b to f32 z"]


def test_copies_of_copies():
    copied = nest(Load("t", "x", AT), Store("e", AT, "t"))
    assert after(copied, widened("e", "a"), WIDENED[1], gemm(c="z")) == (["bf16 x w to f32 z"], [])


def test_a_copy_stays_where_its_source_changes():
    changed = nest(Store("e", AT, literal(0.0, bf16)))
    filled = nest(Load("t", "x", AT), Let("u", bf16, "neg", ("t",)), Store("e", AT, "u"))
    copied = widened("e", "a")
    assert after(filled, copied, WIDENED[1], gemm(c="z"))[0] == ["bf16 e w to f32 z"]
    assert after(filled, copied, WIDENED[1], changed, gemm(c="z"))[0] == ["bf16 a w to f32 z"]


def test_a_copy_stays_where_it_lies_otherwise():
    turned = nest(
        Load("t", "x", Index(0, (("i", 1), ("j", 4)))), Let("u", f32, "cast", ("t",)), Store("a", AT, "u")
    )  # fmt: skip
    masked = nest(Load("t", "x", AT), Let("u", f32, "cast", ("t",)), Load("q", "p", AT), Store("a", AT, "u", mask="q"))
    place = Let("q", i64, "cast", (literal(3, i64),))
    computed = nest(place, Load("t", "x", Index(), "q"), Let("u", f32, "cast", ("t",)), Store("a", AT, "u"))
    for first in (turned, masked, computed):
        assert after(first, WIDENED[1], gemm(c="z"))[0] == ["bf16 a w to f32 z"]


@pytest.mark.parametrize(("start", "read"), [(0, "x"), (8, "x"), (4, "a")])
def test_a_copy_stays_where_that_is_better_aligned(start, read):
    """Products read words of 16 bytes: 8 elements."""
    part = LoopNest((Loop("k", 8, (Load("t", "x", Index(start, FLAT.terms)), Let("u", f32, "cast", ("t",)),
                                   Store("a", FLAT, "u"))),))  # fmt: skip
    small = gemm(m=2, n=4, k=4, c="z")
    found = with_half_products(program(part, WIDENED[1], small))
    (g,) = [s for s in found.steps if isinstance(s, Gemm)]
    assert g.a == Matrix(read, start if read == "x" else 0, 4)
    assert after(part, WIDENED[1], small)[0] == [f"bf16 {read} w to f32 z"]


def test_what_is_stored_twice_is_stored_once():
    twice = nest(
        Load("t", "x", AT), Let("r", bf16, "neg", ("t",)), Let("u", f32, "cast", ("r",)),
        Store("y", AT, "r"), Store("a", AT, "u"), Store("d", AT, "u"),
    )  # fmt: skip
    texts, (found, _) = after(twice, WIDENED[1], gemm(), gemm(a="d", c="z"), rounded("c", "h"))
    assert texts == ["bf16 y w to bf16 c", "bf16 y w to f32 z"]
    assert found == nest(Load("t", "x", AT), Let("r", bf16, "neg", ("t",)), Store("y", AT, "r"))
    again = nest(Store("y", AT, literal(0.0, bf16)))
    assert after(twice, WIDENED[1], again, gemm(c="z"))[0] == ["bf16 d w to f32 z"], "y is overwritten"


def test_what_is_stored_beside_in_part_is_no_copy():
    part = nest(
        Load("t", "x", AT), Let("r", bf16, "neg", ("t",)), Let("u", f32, "cast", ("r",)), Load("q", "p", AT),
        Store("y", AT, "r", mask="q"), Store("a", AT, "u"),
    )  # fmt: skip
    assert after(part, WIDENED[1], gemm(c="z"))[0] == ["bf16 a w to f32 z"]


def test_conversions_to_and_fro_are_one_value():
    casts = [Let(f"u{k + 1}", (bf16, f32)[k % 2], "cast", (f"u{k}",)) for k in range(5)]
    ending = nest(Load("u0", "c", AT), *casts, Store("y", AT, "u5"), Store("z", AT, "u4"))
    wide = Let("u4", f32, "cast", ("half0",))
    one = nest(Load("half0", "c", AT), wide, Store("y", AT, "half0"), Store("z", AT, "u4"))
    assert after(*WIDENED, gemm(), ending) == (["bf16 x w to bf16 c"], [one])


def test_copies_that_a_body_or_a_copy_reads_are_made():
    kept = nest(Load("t", "c", AT), Let("u", bf16, "cast", ("t",)), Store("e", AT, "u"))
    half = nest(Load("half0", "c", AT), Store("e", AT, "half0"))
    assert after(*WIDENED, gemm(), kept, Copy("y", "e")) == (["bf16 x w to bf16 c"], [half, Copy("y", "e")])
    negated = nest(Load("t", "e", AT), Let("u", bf16, "neg", ("t",)), Store("y", AT, "u"))
    read = nest(Load("t", "c", AT), Let("u", bf16, "neg", ("t",)), Store("y", AT, "u"))
    assert after(*WIDENED, gemm(), kept, negated) == (["bf16 x w to bf16 c"], [read])


def test_what_is_read_before_it_is_stored_beside_is_kept():
    early = nest(
        Load("t", "x", AT), Let("r", bf16, "neg", ("t",)), Let("u", f32, "cast", ("r",)), Store("a", AT, "u"),
        Load("q", "a", AT), Store("z", AT, "q"), Store("y", AT, "r"),
    )  # fmt: skip
    assert after(early, WIDENED[1], gemm(), rounded("c", "h"))[0] == ["bf16 a w to bf16 c"]


def test_hand_written_bodies_get_what_they_ask_for():
    call = RoutineCall("argsort", f32, ("a",), ("z", "d"), (4, 4))
    found = with_half_products(program(*WIDENED, call, gemm(), rounded("c", "y")))
    assert [s for s in found.steps if isinstance(s, Gemm)] == [gemm()]


def test_programs_without_16_bits_are_left_alone():
    alone = nest(Load("t", "v", AT), Store("a", AT, "t")), nest(Load("t", "v", AT), Store("b", AT, "t")), gemm(c="z")
    same_program = program(*alone)
    assert with_half_products(same_program) is same_program
    without = program(*WIDENED)
    assert with_half_products(without) is without


# ---- the verifier


def device(*steps, **dtypes):
    return DeviceProgram("p", tuple([replace(b, dtype=dtypes.get(b.name, b.dtype)) for b in program().buffers]), steps)


def test_the_check_knows_the_dtypes_of_products():
    half = gemm("x", "w", "h", dtype=bf16)
    check_device_program(device(half))
    check_device_program(device(replace(half, c=Matrix("z", 0, 4), result=f32)))
    assert format_product(half).startswith("gemm bf16 h[4,4; row 4] = x[")
    assert format_product(replace(half, result=f32)).startswith("gemm bf16 to f32 h[")
    fused = FusedGemm(*[getattr(half, name) for name in Gemm.__slots__], bias="w")
    check_device_program(device(fused))
    for wrong, message in (
        (replace(half, b=Matrix("v", 0, 4)), "v is f32"),
        (replace(half, c=Matrix("z", 0, 4)), "z is f32"),
        (replace(half, result=f32), "h is bf16"),
        (replace(fused, bias="v"), "v is f32"),
        (replace(half, a=Matrix("nothing", 0, 4)), "nothing is no buffer"),
        (replace(half, a=Matrix("x", 1, 4)), "leaves x"),
        (replace(half, c=Matrix("x", 0, 4)), "overlaps|input"),
    ):
        with pytest.raises(VerifyError, match=message):
            check_device_program(device(wrong))
    with pytest.raises(VerifyError, match="a product of bf16 is not stored as f64"):
        check_device_program(device(replace(half, result=f64), h=f64))
    with pytest.raises(VerifyError, match="a product of f32 is not stored as bf16"):
        check_device_program(device(gemm("a", "b", "h", result=bf16)))
