"""Which kernels share a launch: never those that depend on each other, and in no other order than before."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphad
import graphad.numpy as gnp
from graphad import nn
from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.program.check import check_device_program
from graphad.backends.cuda.program.deduplication import kinds_of
from graphad.backends.cuda.program.independence import MOST_PARAMETERS, independent
from graphad.backends.cuda.program.ir import Bundle, DeviceProgram, Kernel, Spread
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.fission import independent_loops, independent_pieces, is_flat, iterations
from graphad.backends.cuda.schedule.horizontal_fusion import bundled, named
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Buffer, Carry, Copy, Gemm, GuardStep, Let, Load, Loop, Matrix, Store
from graphad.backends.loops.rewrites import Names
from graphad.backends.loops.visit import walk
from graphad.backends.lower.fuse import lower
from graphad.errors import VerifyError
from graphad.ir.types import b1, f32, literal
from tests.backends import loop_harness
from tests.cuda.emit.harness import at, axes, buffers, kernel, lit, program, run, spread
from tests.cuda.programs import for_device, programs
from tests.cuda.schedule.test_schedule_primitives import TINY, compare

APART = replace(LIMITS, crowd=0)


def moved(name, target, source, size=64, to=0, step=1, start=0):
    """``target[to + step * i] = source[start + i]``."""
    body = Load("a", source, at(start, i=1)), Store(target, at(to, i=step), "a")
    return Kernel(name, tuple(dict.fromkeys([source, target])), (), axes(i=size), body)


def names_of(steps):
    """The kernels of each launch."""
    return [[part.name for part in s.parts] for s in steps if isinstance(s, (Kernel, Bundle))]


# ---- what depends on what


def touched(k):
    """The elements that a kernel reads and writes, found by going through all its points."""
    found = set(), set()

    def go(statements, at_):
        for s in statements:
            if isinstance(s, (Loop, Spread)):
                extents = {s.var: s.extent} if isinstance(s, Loop) else {a.var: a.extent for a in s.axes}
                for point in product(*map(range, extents.values())):
                    go(s.body, {**at_, **dict(zip(extents, point, strict=True))})
            elif isinstance(s, (Load, Store)) and s.buffer in k.parameters:
                place = s.index.offset + sum(at_[v] * stride for v, stride in s.index.terms)
                found[isinstance(s, Store)].add((s.buffer, place))

    for point in product(*[range(a.extent) for a in k.grid]):
        go(k.body, dict(zip([a.var for a in k.grid], point, strict=True)))
    return found


@st.composite
def kernels(draw, name="k"):
    """A kernel that goes over two of three buffers, in a grid, a loop or a loop shared out."""
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    strides = st.integers(-3, 6)
    read, write = ({"i": draw(strides), "j": draw(strides)} for _ in range(2))
    offsets = draw(st.integers(12, 30)), draw(st.integers(12, 30))
    source, target = draw(st.sampled_from(["x", "y", "z"])), draw(st.sampled_from(["y", "z"]))
    body = Load("a", source, at(offsets[0], **read)), Store(target, at(offsets[1], **write), "a")
    parameters = tuple(dict.fromkeys([source, target]))
    kind = draw(st.sampled_from(["grid", "loop", "spread"]))
    if kind == "grid":
        return Kernel(name, parameters, (), axes(i=n, j=m), body)
    inner = Loop("j", m, body) if kind == "loop" else spread(body, j=m)
    return Kernel(name, parameters, (), axes(i=n), (inner,), group=1 if kind == "loop" else 32)


@settings(max_examples=200, deadline=None)
@given(kernels(), kernels())
def test_independent_is_exactly_that(a, b):
    (a_reads, a_writes), (b_reads, b_writes) = touched(a), touched(b)
    apart = a_writes.isdisjoint(b_reads | b_writes) and b_writes.isdisjoint(a_reads)
    assert independent(a, b) == independent(b, a) == apart


def test_what_is_computed_when_it_runs_may_be_anywhere():
    body = Load("n", "x", at(i=1)), Store("y", at(), lit(1.0, f32), dynamic="n")
    anywhere = Kernel("k", ("x", "y"), (), axes(i=4), body)
    assert not independent(anywhere, moved("m", "y", "z", 4, to=100))
    assert independent(anywhere, moved("m", "z", "x", 4))


# ---- order


@st.composite
def steps(draw):
    """Kernels, products, copies and guards over few buffers."""
    made = []
    for k in range(draw(st.integers(2, 12))):
        source, target = draw(st.sampled_from("abcdefgh")), draw(st.sampled_from("abcdefgh"))
        match draw(st.sampled_from(["kernel"] * 6 + ["copy", "gemm", "guard"])):
            case "kernel":
                made.append(moved(f"k{k}", target, source, 4, draw(st.sampled_from([0, 4])), start=8))
            case "copy":
                made.append(Copy(target, source))
            case "gemm":
                a, b, c = (Matrix(name, 0, 2) for name in (source, draw(st.sampled_from("abcdefgh")), target))
                made.append(Gemm(f32, 2, 2, 2, a, b, c))
            case _:
                made.append(GuardStep(k, source, literal(True, b1)))
    return made


def uses(step):
    """The buffers that a step reads and writes, whatever the places."""
    match step:
        case Kernel():
            return {s.buffer for s in step.body if isinstance(s, Load)}, {
                s.buffer for s in step.body if isinstance(s, Store)
            }
        case Gemm():
            return {step.a.buffer, step.b.buffer}, {step.c.buffer}
        case Copy():
            return {step.source}, {step.target}
        case _:
            return {step.buffer}, set()


@settings(max_examples=200, deadline=None)
@given(steps())
def test_what_depends_on_each_other_keeps_its_order(given_):
    launched = bundled(given_, LIMITS)
    place = {id(s): k for k, step in enumerate(launched) for s in ([step] if not isinstance(step, Bundle) else [])}
    by_name = {p.name: k for k, step in enumerate(launched) if isinstance(step, (Kernel, Bundle)) for p in step.parts}
    where = [by_name[s.name] if isinstance(s, Kernel) else place[id(s)] for s in given_]
    assert sorted(by_name) == sorted([s.name for s in given_ if isinstance(s, Kernel)])
    for (j, a), (k, b) in combinations(enumerate(given_), 2):
        (a_reads, a_writes), (b_reads, b_writes) = uses(a), uses(b)
        conflict = a_writes & (b_reads | b_writes) or b_writes & a_reads
        both = isinstance(a, Kernel) and isinstance(b, Kernel)
        if isinstance(a, GuardStep) or isinstance(b, GuardStep):
            assert where[j] < where[k]
        elif conflict and not (both and independent(a, b)):
            assert where[j] < where[k], format_steps(launched)
    for bundle in launched:
        if isinstance(bundle, Bundle):
            assert all(independent(a, b) for a, b in combinations(bundle.parts, 2))


def format_steps(launched):
    buffers = tuple([Buffer(name, f32, 64, "output") for name in "abcdefgh"])
    return format_device_program(DeviceProgram("p", buffers, tuple(launched)))


def test_steps_between_are_passed_where_nothing_depends_on_them():
    product_ = Gemm(f32, 2, 2, 2, Matrix("a", 0, 2), Matrix("b", 0, 2), Matrix("c", 0, 2))
    first, second = moved("k0", "y", "x"), moved("k1", "z", "x")
    assert names_of(bundled([first, product_, second], LIMITS)) == [["k0", "k1"]]
    third = moved("k2", "z", "c", 4)
    assert names_of(bundled([first, product_, third], LIMITS)) == [["k0", "k2"]]
    assert [type(s) for s in bundled([first, product_, third], LIMITS)] == [Gemm, Bundle]
    fourth = moved("k3", "a", "y", 4)
    assert names_of(bundled([first, fourth, product_, third], LIMITS)) == [["k0"], ["k3"], ["k2"]]
    assert names_of(bundled([first, second], APART)) == [["k0"], ["k1"]]


def test_nothing_passes_a_guard():
    guard = GuardStep(0, "ok", literal(True, b1))
    assert names_of(bundled([moved("k0", "y", "x"), guard, moved("k1", "z", "x")], LIMITS)) == [["k0"], ["k1"]]


# ---- which kernels suit each other


def test_big_bundles_are_elementwise():
    big, small = moved("k0", "y", "x", 1 << 20), moved("k1", "z", "x", 64)
    rows = kernel(axes(i=64), spread([Load("a", "x", at(j=1)), Store("w", at(i=64, j=1), "a")], j=64), uses=["x", "w"],
                  group=32)  # fmt: skip
    assert names_of(bundled([big, small], LIMITS)) == [["k0", "k1"]]
    assert names_of(bundled([big, rows], LIMITS)) == [["k0"], ["example"]]
    assert names_of(bundled([small, rows], LIMITS)) == [["k1", "example"]]


def test_blocks_are_made_of_one_size():
    first, second = replace(moved("k0", "y", "x"), threads=256), moved("k1", "z", "x")
    (bundle,) = bundled([first, second], LIMITS)
    assert {part.threads for part in bundle.parts} == {256}
    body = (spread([Load("a", "x", at(j=1)), Store("w", at(j=1), "a")], j=64),)
    whole = [kernel((), *body, uses=["x", "w"], group=n, threads=n) for n in (128, 256)]
    whole[1] = replace(
        whole[1], name="other", parameters=("x", "v"), body=(spread([Store("v", at(j=1), lit(1.0, f32))], j=9),)
    )
    assert [len(s.parts) for s in bundled(whole, LIMITS)] == [1, 1]
    assert [len(s.parts) for s in bundled([whole[0], first], LIMITS)] == [2]


def test_a_launch_is_handed_so_many_buffers_at_most():
    found = bundled([moved(f"k{k}", f"y{k}", "x") for k in range(MOST_PARAMETERS + 10)], LIMITS)
    assert [len(s.parameters) for s in found] == [MOST_PARAMETERS, 12]


def test_names():
    launches = named(bundled([moved("a", "y", "x"), moved("b", "z", "x"), moved("c", "w", "z")], LIMITS), "p")
    assert [s.name for s in launches] == ["p_0", "p_1"]
    assert names_of(launches) == [["p_0_0", "p_0_1"], ["p_1"]]


# ---- the verifier


def two(first, second):
    names = ("x", "y", "z")
    listed = [Buffer(n, f32, 64, "input" if n == "x" else "output") for n in names]
    return program(listed, Bundle("both", (first, second)))


def test_dependent_parts_are_found():
    check_device_program(two(moved("a", "y", "x"), moved("b", "z", "x")))
    check_device_program(two(moved("a", "y", "x", 32), moved("b", "y", "x", 32, to=32)))
    for first, second in (
        (moved("a", "y", "x"), moved("b", "z", "y")),
        (moved("b", "z", "y"), moved("a", "y", "x")),
        (moved("a", "y", "x", 33), moved("b", "y", "x", 32, to=32)),
    ):
        with pytest.raises(VerifyError, match=r"bundle both: a and b run at once|bundle both: b and a run at once"):
            check_device_program(two(first, second))


@pytest.mark.parametrize("name", ["mlp_gradient", "mixture_gradient", "sum_of_rows"])
def test_dependent_kernels_forced_together_are_found(name):
    """Each two neighbours that are no bundle, made one."""
    device = schedule(for_device(name)[0], limits=APART)
    found = 0
    for k, (a, b) in enumerate(zip(device.steps, device.steps[1:], strict=False)):
        if not isinstance(a, Kernel) or not isinstance(b, Kernel) or independent(a, b):
            continue
        parts = tuple([replace(part, threads=128) for part in (a, b)])
        if any(part.group not in (1, 2, 4, 8, 16, 32, 128) for part in parts):
            continue
        forced = replace(device, steps=(*device.steps[:k], Bundle("forced", parts), *device.steps[k + 2 :]))
        with pytest.raises(VerifyError, match="run at once"):
            check_device_program(forced)
        found += 1
    assert found


def test_the_emulator_finds_dependent_parts_too():
    with pytest.raises(EmulatorError, match="race"):
        run(two(moved("a", "y", "x"), moved("b", "z", "y")), [np.zeros(64, "f4")])


def test_other_faults_of_bundles():
    first, second = moved("a", "y", "x"), moved("b", "z", "x")
    for bad, message in (
        (Bundle("both", (first, replace(second, threads=256))), "blocks of several sizes"),
        (Bundle("a", (first, second)), "two kernels have one name"),
        (Bundle("both", ()), "it has no parts"),
    ):
        with pytest.raises(VerifyError, match=message):
            check_device_program(replace(two(first, second), steps=(bad,)))


def test_text():
    text = format_device_program(two(moved("a", "y", "x"), moved("b", "z", "x", 500)))
    assert text.splitlines()[1:7] == [
        "  bundle both: 2 kernels in 5 blocks of 128 threads",
        "    kernel a(x, y): 1 block of 128 threads",
        "      for i in 64 at once:",
        "        a = x[i]",
        "        y[i] = a",
        "    kernel b(x, z): 4 blocks of 128 threads",
    ]


# ---- nests taken apart


def loop(var, extent, *body):
    return Loop(var, extent, body)


def test_pieces():
    shared = [Load("n", "count", at()), Let("r", f32, "sqrt", ("n",))]
    first = loop("i", 8, Load("a", "x", at(i=1)), Let("b", f32, "mul", ("a", "r")), Store("y", at(i=1), "b"))
    second = loop("j", 9, Load("c", "y", at()), Let("d", f32, "mul", ("c", "r")), Store("z", at(j=1), "d"))
    third = loop("k", 7, Store("w", at(k=1), "r"))
    pieces = independent_pieces([*shared, first, second, third], Names(["n", "r"]))
    assert [[type(s) for s in p] for p in pieces] == [[Load, Let, Loop, Loop], [Load, Let, Loop]]
    assert pieces[1][1].name != "r"
    assert pieces[1][2].body[0].value == pieces[1][1].name
    assert len(independent_pieces([*shared, first, second], Names([]))) == 1


def test_a_loop_is_taken_apart_where_it_reads_nothing_twice():
    x, y, z = (Load(n, n, at(i=1)) for n in "xyz")
    out = {n: Store(n.upper(), at(i=1), n) for n in "xyz"}
    found = independent_loops(loop("i", 8, x, out["x"], y, out["y"], z, out["z"]), Names(["i"]))
    assert [len(part.body) for part in found] == [2, 2, 2]
    assert len({part.var for part in found}) == 3
    again = Let("u", f32, "neg", ("x",)), Store("U", at(i=1), "u")
    found = independent_loops(loop("i", 8, x, out["x"], *again, y, out["y"]), Names(["i"]))
    assert [len(part.body) for part in found] == [4, 2]
    assert (
        len(independent_loops(loop("i", 8, x, out["x"], Load("v", "x", at(i=1)), Store("V", at(i=1), "v")), Names([])))
        == 1
    )


def test_flat_loops():
    store = Store("y", at(i=1), lit(1.0, f32))
    total = Carry("s", f32, "sum", lit(0.0, f32), lit(1.0, f32))
    for body, flat in (
        ((store,), True),
        ((loop("j", 3, store),), True),
        ((Load("a", "x", at()), loop("j", 3, store)), True),
        ((loop("j", 3, store), store), False),
        ((loop("j", 3, store), loop("k", 3, store)), False),
        ((Loop("j", 3, (), (total,)), store), False),
    ):
        assert is_flat(loop("i", 4, *body)) == flat
    assert not is_flat(Loop("i", 4, (), (total,)))
    assert [iterations(loop("i", 4, *body)) for body in ((store,), (loop("j", 3, store), loop("k", 5, store)))] == [
        4,
        32,
    ]


# ---- what programs become


def updates(count, seed=0):
    """Adam's update of many arrays, and its arguments."""
    r = np.random.default_rng(seed)
    sizes = r.choice([1, 7, 64, 256, 1000, 4096, 65536, 300000], count)
    params = [r.standard_normal(n).astype(np.float32) for n in sizes]
    optimizer = graphad.optim.adam(1e-2)

    def update(params, state, grads):
        changes, state = optimizer.update(grads, state)
        return graphad.optim.apply_updates(params, changes), state

    return update, (params, optimizer.init(params), params)


def test_the_update_of_many_arrays_is_a_handful_of_launches():
    function, args = updates(200)
    device = schedule(lower(graphad.jit(function).graph(*args)).program)
    assert len(device.steps) <= 4
    buffers = {b.name: b for b in device.buffers}
    assert all(len(kinds_of(launch, buffers)) <= 16 for launch in device.launches)
    threads = {
        s.buffer: k.blocks * k.threads * k.lanes for k in device.kernels for s in walk(k.body) if isinstance(s, Store)
    }
    assert all(threads[b.name] >= b.size for b in device.buffers if b.role == "output")
    check_device_program(device)


def test_gradients_of_many_columns_are_summed_side_by_side():
    def f(*xs):
        return [x.sum(0) for x in xs]

    args = [np.ones((90 + k, 33 + k), np.float32) for k in range(5)]
    device = compare(lower(graphad.jit(f).graph(*args)).program, args, LIMITS)
    (bundle,) = device.steps
    assert len(bundle.parts) == 5


def test_what_is_shared_decides():
    """A norm of all gradients, which each update waits for: sums side by side, then updates side by side."""

    def clipped(*grads):
        norm = gnp.sqrt(sum([(g * g).sum() for g in grads]))
        return [g / gnp.maximum(norm, 1.0) for g in grads]

    args = [
        np.random.default_rng(k).standard_normal(n).astype(np.float32) for k, n in enumerate([50, 3000, 1, 20000, 7])
    ]
    device = compare(lower(graphad.jit(clipped).graph(*args)).program, args, LIMITS)
    assert len(device.steps) <= 3, format_device_program(device)
    assert len(device.steps[-1].parts) == len(args)


MIXED = [
    np.float32(3), np.ones(0, np.float32), np.arange(7, dtype=np.int32), np.linspace(0, 1, 101), np.ones((3, 0)),
    np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8).T, np.arange(12, dtype=np.float16), np.float64(-2.5),
    np.array([np.nan, np.inf, -0.0, 1e-40], np.float32),
]  # fmt: skip


@pytest.mark.parametrize("limits", [LIMITS, APART, replace(LIMITS, small=0)], ids=["bundled", "apart", "nothing small"])
def test_arrays_of_no_elements_of_one_and_of_many_dtypes(limits):
    def f(*xs):
        return [(x + x, x.sum(), nn.relu(x)) for x in xs]

    compare(lower(graphad.jit(f).graph(*MIXED)).program, [np.asarray(x) for x in MIXED], limits)


def test_what_is_stored_before_a_loop_is_there_when_the_loop_is_cut():
    least = Carry("s", f32, "min", lit(np.inf, f32), "a")
    p = loop_harness.program(
        buffers("input", x=(f32, 1)),
        [Buffer("y", f32, 1, "output"), Buffer("tmp", f32, 50, "temporary")],
        loop_harness.nest(
            loop("i", 50, Store("tmp", at(i=1), lit(1.0, f32))),
            Load("b", "x", at()),
            Store("tmp", at(), "b"),
            Loop("j", 50, (Load("a", "tmp", at(j=1)),), (least,)),
            Store("y", at(), "s"),
        ),
    )
    for limits in (TINY, LIMITS):
        compare(p, [np.zeros(1, np.float32)], limits)


@pytest.mark.parametrize("name", programs())
def test_results_are_those_of_launches_apart(name):
    """To the bit: what is bundled is summed in the order in which it is summed alone."""
    device, apart = (schedule(for_device(name)[0], limits=limits) for limits in (LIMITS, APART))
    if not any(isinstance(s, Bundle) for s in device.steps) or any(isinstance(s, GuardStep) for s in device.steps):
        assert [k.body for k in device.kernels] == [k.body for k in apart.kernels]
        return
    args = for_device(name)[1]
    for a, b in zip(run(device, args), run(apart, args), strict=True):
        np.testing.assert_array_equal(a, b)
