"""Corners of the device path, each against the CPU: odd sizes, special values, thresholds, state after errors."""

from __future__ import annotations

import gc

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad import lax, nn
from graphad.backends.cuda.program.ir import Atomic, Kernel
from graphad.backends.cuda.runtime.runtimes import allocator
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Loop
from graphad.backends.loops.visit import walk
from graphad.device import parse
from tests.thinned import every
from tests.threads import side_by_side

EMULATED = parse("cuda:emulated")
r = np.random.default_rng(0)


def special(shape, dtype=np.float32):
    """Normal numbers, and among them every value that is none."""
    x = r.standard_normal(shape).astype(dtype)
    flat = x.reshape(-1)
    places = r.permutation(flat.size)[: max(flat.size // 11, min(flat.size, 1))]
    flat[places] = r.choice([np.nan, np.inf, -np.inf, 0.0, -0.0], size=places.size)
    return x


def check(function, *args, rtol=1e-5, device=EMULATED):
    want = graphad.tree.leaves(graphad.jit(function)(*args))
    got = graphad.tree.leaves(graphad.jit(function, device=device)(*args))
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a), np.asarray(b)
        if b.dtype.kind not in "fV":
            np.testing.assert_array_equal(a, b)
            continue
        tolerance = max(rtol, 4 * float(ml_dtypes.finfo(b.dtype).eps))
        a, b = a.astype(np.float64), b.astype(np.float64)
        scale = np.max(np.abs(b), initial=0, where=np.isfinite(b))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


# ---- reductions, scans and sorts

REDUCTIONS = {
    "max": gnp.max, "min": gnp.min, "prod": gnp.prod, "sum": gnp.sum, "logsumexp": nn.logsumexp,
    "any": lambda x, axis: gnp.any(x > 1, axis=axis), "all": lambda x, axis: gnp.all(x > -2, axis=axis),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize(
    ("shape", "axes"), [((7, 5, 3), (0, 2)), ((5, 3, 7, 2), (1, 3)), ((33, 17), None), ((0, 5), 1)]
)
def test_reductions_over_any_axes(name, shape, axes):
    check(lambda x: REDUCTIONS[name](x, axis=axes), special(shape))


@pytest.mark.parametrize("n", [1, 31, 32, 33, 1023, 1025, 8191, 8193, 16385])
def test_sizes_about_the_thresholds(n):
    x = r.standard_normal(n).astype(np.float32)
    check(lambda x: (x.sum(), x.max(), gnp.argmax(x), nn.softmax(x), gnp.cumsum(x)), x, rtol=3e-5)
    check(graphad.grad(lambda x: (nn.softmax(x) ** 2).sum()), x, rtol=3e-5)
    for dtype in (np.int8, np.bool_, np.int64):
        check(lambda x: (gnp.sum(x), gnp.cumsum(x[::-1])), r.integers(0, 2, n).astype(dtype))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])
def test_scans_along_any_axis(name, reverse):
    scan = getattr(lax, name)
    x = 1 + r.standard_normal((5, 33, 3)).astype(np.float32) / 30
    check(lambda x: [scan(x, axis=k, reverse=reverse) for k in range(3)], x, rtol=3e-5)
    check(lambda x: scan(x, axis=0, reverse=reverse), special((2000,)), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
def test_long_scans(dtype):
    x = r.integers(0, 3, 20_011).astype(dtype)
    check(lambda x: (lax.cumsum(x, axis=0), lax.cummax(x, axis=0, reverse=True)), x)


@pytest.mark.parametrize(("rows", "n"), [(1, 1), (70, 3), (3, 33), (4, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.bool_])
def test_sorts(rows, n, dtype):
    """Of short rows; `tests.cuda.schedule.test_sorting` has the long ones."""
    x = np.round(special((rows, n))) if dtype == np.float32 else r.integers(0, 2, (rows, n)).astype(dtype)
    check(lambda x: (gnp.sort(x, axis=1), gnp.argsort(x, axis=1)), x)


# ---- scatters

SCATTERS = ["add", "mul", "min", "max", "set"]


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("name", [*SCATTERS, "in a row"])
def test_scatters_with_duplicates_and_positions_outside(name, dtype, deterministic):
    i = r.integers(-13, 14, 67).astype(np.int32)
    x, v = ((1 + r.standard_normal(n) / 50).astype(dtype) for n in (10, 67))
    in_a_row = lambda x, i, v: (x * 2).at[i].add(v).at[i].mul(v).at[i].set(v)
    with graphad.config.override(deterministic=deterministic):
        check(in_a_row if name == "in a row" else lambda x, i, v: getattr(x.at[i], name)(v), x, i, v)


def launches(function, *args, deterministic=False):
    run = graphad.jit(function)
    run(*args)
    (tree,) = run._trees.values()
    (path,) = tree.paths()
    return schedule(path.executable.program, deterministic=deterministic).steps


def test_updates_of_one_place_known_when_it_runs_are_shared_out():
    x, k = np.zeros((100, 1000), np.float32), np.int32(3)
    for function, *args in (
        (lambda x, k, v: lax.dynamic_update_slice(x, v, (k, k)), x, k, np.ones((50, 10), np.float32)),
        (lambda x, k, v: x.at[k].set(v), x, k, np.ones(1000, np.float32)),
        (lambda x, k, v: x.at[:, k].add(v), x, k, np.ones(100, np.float32)),
        (graphad.grad(lambda x, k: lax.dynamic_slice(x, (k, k), (50, 10)).sum()), x, k),
    ):
        steps = launches(function, *args)
        assert len(steps) <= 2  # all elements, then those of the update
        assert all(isinstance(s, Kernel) and s.points * s.group >= 100 for s in steps)
        assert not any(isinstance(s, Atomic) for step in steps for s in walk(step.body))
        check(function, *args)


def test_integers_are_summed_in_any_order():
    i = r.integers(0, 7, 40).astype(np.int32)
    steps = launches(lambda x, i: x.at[i].add(1), np.zeros(7, np.int32), i, deterministic=True)
    assert len(steps) <= 2


def test_sum_into_one_element_in_a_fixed_order():
    def summed(x, i):
        return (x * 2)[:1].at[i].add(x)

    args = r.standard_normal(9), np.zeros(9, np.int32)
    (step,) = launches(summed, *args, deterministic=True)
    loops = [s for s in walk(step.body) if isinstance(s, Loop)]
    assert not any(isinstance(s, Atomic) for loop in loops[:-1] for s in loop.body)  # not before all is sorted
    assert len(loops) > 9
    with graphad.config.override(deterministic=True):
        check(summed, *args)


def test_rows_inside_a_sum_are_shared_out():
    def f(x, y):
        return x.sum(), nn.softmax(x, axis=1), nn.softmax(y, axis=1)

    args = r.standard_normal((131, 67)), r.standard_normal((205, 43))
    assert all(k.points * k.group >= 128 for s in launches(f, *args) for k in s.parts)
    check(f, *args)


def test_a_short_sort_is_shared_out():
    i = r.integers(0, 7, 300).astype(np.int32)
    steps = launches(lambda x, i: x.at[i].add(1.0), np.zeros(7), i, deterministic=True)
    assert len(steps) > 1
    assert all(k.points * k.group >= 128 for s in steps for k in s.parts if len(k.body) > 2)


# ---- convolutions, products, narrow storage


@pytest.mark.parametrize(
    ("strides", "padding", "dilation", "kernel_dilation", "groups"),
    [
        ((2, 1), "VALID", (1, 1), (2, 1), 1),
        ((2, 3), ((1, 2), (0, 3)), (2, 1), (1, 2), 1),
        ((1, 2), "SAME", (1, 2), (2, 2), 4),
    ],
)
def test_convolutions_and_their_gradients(strides, padding, dilation, kernel_dilation, groups):
    def convolved(x, k):
        return lax.conv_general_dilated(
            x, k, strides, padding,
            lhs_dilation=dilation, rhs_dilation=kernel_dilation, feature_group_count=groups,
        )  # fmt: skip

    x = r.standard_normal((3, 4, 9, 7)).astype(np.float32)
    k = r.standard_normal((8, 4 // groups, 3, 2)).astype(np.float32)
    check(convolved, x, k)
    check(graphad.grad(lambda x, k: gnp.sin(convolved(x, k)).sum(), argnums=(0, 1)), x, k, rtol=1e-4)


@pytest.mark.parametrize(
    ("a", "b"),
    [((1, 7), (7, 1)), ((7, 1), (1, 5)), ((3, 0), (0, 4)), ((0, 3), (3, 4)), ((31, 37), (37, 41)),
     ((5, 1, 3, 4), (2, 4, 6)), ((7,), (7, 3)), ((2, 300), (300, 3))],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32], ids=str)
def test_products_of_any_shape(a, b, dtype):
    x, y = ((r.standard_normal(shape) * 3).astype(dtype) for shape in (a, b))
    check(gnp.matmul, x, y)
    if len(a) == len(b) == 2:
        check(lambda x, y: ((y.T @ x.T).T, x.T @ x, x @ x.T + 1), x, y)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint16, np.float16, ml_dtypes.bfloat16], ids=str)
def test_narrow_storage(dtype):
    x = r.integers(0, 2 if dtype == np.bool_ else 100, (5, 33)).astype(dtype)
    check(
        lambda x: (
            x[:, ::-1], x.T + x.T, gnp.where(x > x[0], x, x[:1]), gnp.max(x, 1), gnp.sort(x, 1),
            x[np.array([0, 0, 4])], gnp.concatenate([x, x[1:]]), gnp.pad(x, 2), x.astype(np.float32) * 2,
        ),
        x,
    )  # fmt: skip


# ---- what is around a program


def test_outputs_that_are_inputs_constants_or_twice_there():
    x = r.standard_normal(37).astype(np.float32)
    check(lambda x, y: (x, y, x, x + y, x + y, 1.0, np.float32(2), gnp.zeros(3), x[None], gnp.ones((0, 2)), 3), x, x)
    check(lambda: gnp.arange(5))
    check(lambda x: x, np.zeros(0, np.float32))


def test_random_bits_are_the_cpus():
    key = np.array([0, 3], np.uint32)
    for draw in (lambda k: graphad.random.bits(k, (129,)), lambda k: graphad.random.normal(k, (1001,))):
        on_device = graphad.jit(draw, device=EMULATED)(key)
        np.testing.assert_array_equal(np.asarray(on_device), np.asarray(graphad.jit(draw)(key)))


def test_sums_are_accurate():
    x = r.random(1_000_000).astype(np.float32)
    want = x.sum(dtype=np.float64)
    for f in (gnp.sum, lambda x: x @ gnp.ones(1_000_000, np.float32)):
        assert abs(float(np.asarray(graphad.jit(f, device=EMULATED)(x))) - want) <= 1.2e-7 * want


def test_many_threads_call_one_function():
    x = r.standard_normal(37).astype(np.float32)
    f = graphad.jit(lambda x: (gnp.cumsum(x), nn.softmax(x)), device=EMULATED)
    wrong = []

    def call(k):
        for s in range(5):
            y = x * (k + 1) + s
            total = np.asarray(f(y)[0])
            if not np.allclose(total, np.cumsum(y), rtol=1e-4, atol=1e-4):
                wrong.append((k, s))

    side_by_side(call, 6)
    assert not wrong


def test_memory_is_given_back():
    memory = allocator(EMULATED)
    f = graphad.jit(lambda x: (x * 2, gnp.cumsum(x)), device=EMULATED)

    def loop():
        y = graphad.device_put(np.arange(1000, dtype=np.float32), EMULATED)
        for _ in range(20):
            y, _ = f(y)
        return float(np.asarray((graphad.grad(lambda x: gnp.sum(x**2))(y) + 1).sum()))

    loop()
    gc.collect()
    before = memory.use().in_use
    loop()
    gc.collect()
    assert memory.use().in_use == before


def fails(f, x):
    try:
        f(x)
    except RuntimeError:
        return True
    return False


@graphad.jit(device=EMULATED)
def of_many_launches(x):
    return gnp.sort(x, 0) * 3, gnp.cumsum(x, 0).sum(), x @ x.T


@pytest.mark.parametrize("when", every(3, [3, 1, 8]))
def test_a_launch_that_fails_leaves_nothing_behind(when, monkeypatch):
    memory, f = allocator(EMULATED), of_many_launches
    x = graphad.device_put(r.standard_normal((64, 48)).astype(np.float32), EMULATED)
    f(x)
    gc.collect()
    before, count = memory.use().in_use, 0
    launch = memory.runtime.launch

    def failing(step):
        nonlocal count
        count += 1
        if count == when:
            raise RuntimeError("no launch")
        launch(step)

    monkeypatch.setattr(memory.runtime, "launch", failing)
    failures = sum([fails(f, x) for _ in range(4)])
    assert failures == 1
    gc.collect()
    assert memory.use().in_use == before
    for _ in range(3):
        got = f(x)[0]
    np.testing.assert_array_equal(np.asarray(got), np.sort(np.asarray(x), 0) * np.float32(3))


@pytest.mark.parametrize("flush", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scattered_sums_keep_denormals_where_they_are_to_be_kept(dtype, flush):
    x = np.full(6, np.finfo(dtype).tiny / 4, dtype)
    with graphad.config.override(flush_denormals=flush):
        f = graphad.jit(lambda x: gnp.zeros(2, dtype).at[gnp.arange(6) % 2].add(x), device=EMULATED)
        got = np.asarray(f(x))
    kept = dtype is np.float64 or not flush  # those of float64 are always kept
    np.testing.assert_array_equal(got, 3 * x[:2] if kept else np.zeros(2))
