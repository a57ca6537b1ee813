"""Sorts of rows short and long: the order of NumPy, in few launches that no barrier can be missing from."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import graphad
import graphad.numpy as gnp
from graphad.backends.cuda import toolkit
from graphad.backends.cuda.emulator import EmulatorError
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.ir import MOST_SHARED, Barrier
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.ptx.assemble import assemble
from graphad.backends.cuda.ptx.emit import emit
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.radix import TILE
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.cuda.schedule.sorting import SHORT
from graphad.backends.loops.ir import Load, Store
from graphad.backends.loops.visit import walk
from graphad.errors import DeviceError
from tests.cuda.emit.harness import run
from tests.cuda.schedule.test_scans import program
from tests.cuda.schedule.test_schedule_primitives import compare
from tests.cuda.test_mutants import with_body
from tests.thinned import every

names = pytest.mark.parametrize
EMULATED = "cuda:emulated"
ARCHITECTURES = every(4, ["sm_90", "sm_75", "sm_80", "sm_100"])
#: Registers of a thread of the largest kernel.
REGISTERS = 64


def elements(shape, dtype, seed=0):
    """Many ties; of floats all that is not a number, and zeros of both signs."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(np.bool_)
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    if kind.kind in "iu":
        info = np.iinfo(kind)
        x = rng.integers(info.min, info.max, shape, kind, endpoint=True)
        few = rng.integers(0, 3, shape).astype(kind)
        return np.where(rng.random(shape) < 0.5, x, few)
    x = np.where(rng.random(shape) < 0.5, np.round(rng.standard_normal(shape) * 3), rng.standard_normal(shape) * 1e4)
    special = rng.choice([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0], shape)
    return np.where(rng.random(shape) < 0.2, special, x).astype(kind)


def order(x):
    return gnp.argsort(x, axis=-1)


def launches(shape, dtype="float32", function=order):
    """The device's program of a sort, and what it costs."""
    device = schedule(program(function, np.zeros(shape, dtype)))
    return device, costs(device)


# ---- results


SHAPES = [
    (3, 1), (2, 2), (5, 31), (40, 32), (3, 97), (2, SHORT), (2, SHORT + 1), (1, 509), (3, TILE), (1, TILE + 1),
    (1, 2 * TILE), (2, 2 * TILE + 1), (1, 5003), (3, 0), (0, 3), (0, 3000),
]  # fmt: skip


@names("dtype", every(2, ["float32", "int64"]))
@names("shape", every(2, SHAPES))
def test_the_order_is_that_of_numpy(shape, dtype):
    x = elements(shape, dtype)
    want = np.argsort(x, axis=-1, kind="stable")
    device = compare(program(order, x), [x], LIMITS)
    if x.size:
        np.testing.assert_array_equal(run(device, [x.reshape(-1)])[0].reshape(shape), want)


@names("dtype", ["bool", "int8", "uint8", "int16", "uint32", "int32", "uint64", "float16", "bfloat16", "float64"])
@names("n", every(2, [11, 2 * TILE + 77, 700]))
def test_every_dtype(n, dtype):
    x = elements((2, n), dtype)
    wide = x.astype(np.float64) if x.dtype.kind in "fV" else x
    got = graphad.jit(order, device=EMULATED)(x)
    np.testing.assert_array_equal(np.asarray(got), np.argsort(wide, axis=-1, kind="stable"))


@names("flush", [True, False])
@names("n", [20, 400, 2500])
def test_denormals_are_zeros_where_comparisons_take_them_for_it(n, flush):
    x = np.random.default_rng(n).choice(np.array([1e-40, -1e-40, 0, -0.0, 2e-40, 1, -1], np.float32), n)
    with graphad.config.override(flush_denormals=flush):
        got = np.asarray(graphad.jit(order, device=EMULATED)(x))
    seen = np.where(np.abs(x) < 1e-30, np.float32(0), x) if flush else x
    np.testing.assert_array_equal(got, np.argsort(seen, kind="stable"))


@names("n", every(2, [50, 2300, 800]))
def test_what_stands_around_a_sort(n):
    """Keys that are computed, padded, or read across; an order that is read at once; several sorts side by side."""
    x, y = np.random.default_rng(0).permutation(4 * n).astype(np.float32).reshape(2, n, 2)

    def function(x, y):
        padded = gnp.sort(gnp.pad(x * 2 - 3, ((5, 0), (0, 1))), axis=0)
        return padded, gnp.sort(x, 0)[::3], gnp.argsort(-y[:, 0]), gnp.lexsort((x[:, 1] > n, y[:, 1] < n))

    for got, want in zip(graphad.jit(function, device=EMULATED)(x, y), graphad.jit(function)(x, y), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))


MIXED = {
    "computed": lambda x, y: gnp.argsort(x.astype("float32") * 1.1),
    "rounded": lambda x, y: gnp.argsort(y.astype("float16") - x),
    "joined": lambda x, y: gnp.argsort(gnp.concatenate([x.astype("float32"), y])),
    "filled": lambda x, y: gnp.argsort(gnp.where(y > 0, x.astype("float32"), 1.1)),
    "chosen": lambda x, y: gnp.argsort(gnp.where(y > 0, x.astype("float32"), y)),
}


@names("name", MIXED)
@names("dtype", every(2, ["float16", ml_dtypes.bfloat16]))
def test_bits_are_left_out_only_where_all_elements_had_16(name, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(2500).astype(dtype), (1 + rng.standard_normal(2500) / 1e5).astype(np.float32)
    got, want = (np.asarray(graphad.jit(MIXED[name], device=d)(x, y)) for d in (EMULATED, "cpu"))
    np.testing.assert_array_equal(got, want)


@names("size", [1, 5, 300, 70_001])
def test_scattered_sums_are_sorted_by_the_bits_that_places_have(size):
    rng = np.random.default_rng(size)
    i, v = rng.integers(-size, size + 3, 3000).astype(np.int32), rng.integers(-9, 9, 3000).astype(np.float32)

    def function(i, v):
        return gnp.zeros(size, "float32").at[i].add(v)

    with graphad.config.override(deterministic=True):
        got = graphad.jit(function, device=EMULATED)(i, v)
    np.testing.assert_array_equal(np.asarray(got), np.asarray(graphad.jit(function)(i, v)))
    device = schedule(program(function, i, v), deterministic=True)
    digits = -(-size.bit_length() // 8)
    assert sum(b.name.startswith("totals") for b in device.buffers) == 1
    assert (
        sum({"totals0"} <= {s.buffer for s in walk(k.body) if isinstance(s, Store)} for k in device.kernels) == digits
    )


# ---- launches, memory, registers


LAUNCHES = [
    ((1000, 100), "float32", 1), ((1000,), "float32", 1), ((2 * TILE,), "float32", 1), ((TILE,), "float64", 1),
    ((1_000_000,), "float32", 12), ((1_000_000,), "int32", 12), ((1_000_000,), "float64", 24),
    ((64, 5000), "int16", 6), ((1_000_000,), "bool", 4),
    ((1_000_000,), "float16", 10), ((1_000_000,), ml_dtypes.bfloat16, 7),
]  # fmt: skip


@names(("shape", "dtype", "count"), LAUNCHES)
def test_number_of_launches(shape, dtype, count):
    device, _ = launches(shape, dtype)
    assert len(device.steps) <= count, format_device_program(device)


def test_a_long_sort_moves_every_pair_once_for_each_digit():
    _, cost = launches((1_000_000,))
    each = cost.moved_bytes / 1e6
    assert each < 4 * (4 + 8 + 8) + 4 * 5 * 4 * 256 / TILE  # a key, then a pair and its place; tables


def test_neighbours_read_neighbours():
    """Keys and positions are read by threads side by side, whatever the digit; so are the places in shared memory."""
    device, _ = launches((100 * TILE,))
    seen = 0
    for kernel in device.kernels:
        own = {b.name for b in kernel.shared}
        for spread in kernel.body:
            for s in walk((spread,)):
                if isinstance(s, Load) and s.buffer not in own and s.buffer.startswith(("in", "key", "order")):
                    assert dict(s.index.terms)[spread.axes[-1].var] == 1
                    seen += 1
                elif isinstance(s, Load) and s.buffer.startswith(("key", "order")):
                    assert dict(s.index.terms)[spread.axes[0].var] == 1
    assert seen == 1 + 1 + 3 * (1 + 2)


@names("shape", every(3, [(1000, 100), (3, SHORT), (1000,), (100_000,), (2 * TILE,), (70, 3000)]))
@names("architecture", ARCHITECTURES)
def test_registers(shape, architecture):
    try:
        toolkit.nvjitlink()
    except DeviceError:
        pytest.skip("NVIDIA's assembler (nvidia-nvjitlink) is not installed")
    for dtype in ("float32", "float64"):
        device, _ = launches(shape, dtype)
        assert all(k.shared_bytes <= MOST_SHARED for k in device.kernels)
        for kernel in assemble(emit(device, architecture=architecture, comments=False).ptx, architecture).kernels:
            assert kernel.spill_stores == kernel.spill_loads == 0, kernel
            assert kernel.registers <= REGISTERS, kernel


# ---- barriers


@names(("n", "count"), every(3, [(100, 29), (300, 17), (TILE * 2 + 900, 24)], several=True))
def test_every_barrier_is_needed(n, count):
    x = elements((n,), "float32")
    device = schedule(program(order, x))
    run(device, [x])
    places = [(k, at) for k in device.kernels for at, s in enumerate(k.body) if isinstance(s, Barrier)]
    assert len(places) >= count
    for kernel, at in [*places[:8], places[-1]]:
        with pytest.raises(EmulatorError):
            run(with_body(device, kernel, kernel.body[:at] + kernel.body[at + 1 :]), [x])
