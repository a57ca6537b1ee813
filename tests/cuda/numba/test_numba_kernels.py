"""Kernels from Numba source, compiled by numba-cuda or numba-cuda-mlir, on the emulator: asked what PTX is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import pytest
from graphad_kernels.cuda import gemm
from graphad_kernels.cuda.compiler import COMPILERS, compile_ptx
from numba import cuda

from graphad.backends.cuda.emulator import Memory, Module, launch
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.ir.types import DTYPES
from tests.backends.loop_harness import run_llvm
from tests.cuda.emit import test_emit_atomics as atomics
from tests.cuda.emit import test_emit_bundles as bundles
from tests.cuda.emit import test_emit_elementwise as elementwise
from tests.cuda.emit import test_emit_groups as groups
from tests.cuda.emit import test_emit_scalar as scalars
from tests.cuda.emit import test_emit_scans as scans
from tests.cuda.emit import test_emit_whiles as whiles
from tests.cuda.loops import statements
from tests.cuda.numba.harness import run
from tests.cuda.programs import for_device_of, lowered_of, programs

if not any(find_spec(package) for package, _ in COMPILERS.values()):
    pytest.skip("needs numba-cuda or numba-cuda-mlir", allow_module_level=True)

#: Tests of `ptx.emit` that look at nothing but results.
BORROWED = [
    (atomics, atomics.test_every_combination),
    (atomics, atomics.test_nan_wins),
    (atomics, atomics.test_a_histogram_in_shared_memory),
    (bundles, bundles.test_parts_of_many_sizes_and_dtypes),
    (bundles, bundles.test_parts_that_work_in_groups),
    (bundles, bundles.test_a_bundle_of_one),
    (bundles, bundles.test_nobody_has_any_points),
    (elementwise, elementwise.test_lanes),
    (elementwise, elementwise.test_masks_and_computed_positions),
    (elementwise, elementwise.test_loops_of_one_thread),
    (groups, groups.test_softmax_of_rows),
    (groups, groups.test_reductions_of_every_dtype),
    (groups, groups.test_nan_wins_and_zeros_keep_their_sign_in_sums),
    (groups, groups.test_long_sums_are_accurate),
    (groups, groups.test_running_sums),
    (groups, groups.test_scans_of_every_kind),
    (groups, groups.test_two_scans_and_a_sum_in_one_loop),
    (scans, scans.test_recurrences),
    (scans, scans.test_recurrences_of_every_kind),
    (scans, scans.test_zeros_stay_zeros_where_products_of_decays_overflow),
    (scans, scans.test_infinite_decays_leave_nothing_finite_behind),
    (scans, scans.test_log_sum_exps),
    (groups, groups.test_values_go_from_thread_to_thread_through_memory),
    (groups, groups.test_shared_memory_beyond_what_a_kernel_can_declare),
    (groups, groups.test_empty_loops_and_grids),
    (scalars, scalars.test_integer_operators),
    (scalars, scalars.test_literal_divisors_and_shifts),
    (scalars, scalars.test_bool_operators),
    (scalars, scalars.test_float_operators),
    (scalars, scalars.test_casts),
    (scalars, scalars.test_rounding_of_doubles_to_16_bits_happens_once),
    (scalars, scalars.test_bitcasts),
    (scalars, scalars.test_select),
    (scalars, scalars.test_elementary_functions_have_the_bits_of_the_cpu),
    (scalars, scalars.test_pairs_of_random_words),
    (whiles, whiles.test_each_thread_takes_as_many_turns_as_its_point_needs),
    (whiles, whiles.test_stores_in_a_loop_and_a_loop_in_it),
    (whiles, whiles.test_a_group_runs_it_alike_and_one_thread_stores),
    (whiles, whiles.test_threads_of_a_group_take_different_numbers_of_turns),
    (whiles, whiles.test_positions_in_it_are_those_of_the_loops_around),
]
Case = tuple[Any, Callable[..., None], dict[str, Any]]


def cases() -> Iterator[list[Case]]:
    """Every case of each borrowed test."""
    for module, test in BORROWED:
        marks = [m for m in getattr(test, "pytestmark", ()) if m.name == "parametrize"]
        found = []
        for values in product(*[m.args[1] for m in marks]):
            arguments: dict[str, Any] = {}
            for mark, value in zip(marks, values, strict=True):
                names = [name.strip() for name in mark.args[0].split(",")]
                arguments |= dict(zip(names, value if len(names) > 1 else (value,), strict=True))
            found.append((module, test, arguments))
        yield found


def case_id(case: Case) -> str:
    return "-".join([case[1].__name__.removeprefix("test_"), *map(str, case[2].values())])


FAST = [case for found in cases() for case in (found[0], *found[-1:])[: 1 + (len(found) > 1)]]
SLOW = [case for found in cases() for case in found[1:-1]]


def check(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    module, test, arguments = case
    monkeypatch.setattr(module, "run", run)
    test(**arguments)


@pytest.mark.parametrize("case", FAST, ids=case_id)
def test_kernels(case, monkeypatch):
    check(case, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=case_id)
def test_kernels_in_every_case(case, monkeypatch):
    check(case, monkeypatch)


FIRST = ("gelu", "softmax", "layer_norm_gradient", "cumulative_product", "sum", "scatter_add", "scatter_max", "normals")


def check_program(function: Any, args: Sequence[Any]) -> None:
    program, flat = lowered_of(function, args)
    _, want = run_llvm(program, flat)
    for got, expected in zip(run(schedule(for_device_of(function, args)[0]), flat), want, strict=True):
        scale = max(1.0, float(np.max(np.abs(expected), initial=0.0)))
        # The CPU adds up one after the other, and is the less exact one in long sums.
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("name", FIRST)
def test_programs(name):
    check_program(*programs()[name])


@pytest.mark.parametrize("name", ["while", "newtons", "scans with conds", "nested, batched", "batch of small arrays"])
def test_loops(name):
    check_program(*statements("float64")[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in programs() if name not in FIRST])
def test_all_programs(name):
    check_program(*programs()[name])


@pytest.mark.parametrize(
    ("dtype", "result", "transposed"),
    [("f32", "f32", False), ("f64", "f64", True), ("f16", "f16", False), ("f16", "f32", True), ("bf16", "f32", False)],
)
def test_products(dtype, result, transposed):
    """The kernel alone, over blocks of two axes."""
    m, n, k = 20, 37, 19
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, shape).astype(DTYPES[dtype].numpy) for shape in ((m, k), (k, n)))
    c, bias = (rng.integers(-3, 4, shape).astype(DTYPES[result].numpy) for shape in ((m, n), (n,)))
    arrays = [a, b.T if transposed else b, c, bias]
    body = cuda.jit(device=True)(gemm.tiled(cuda, dtype, result, bias=True, relu=True).py_func)
    b_row, b_column = (1, k) if transposed else (n, 1)

    def example(a, b, c, bias):
        body(m, n, k, a, k, 1, b, b_row, b_column, c, n, bias)

    kinds = ["uint16" if x.dtype.itemsize == 2 else x.dtype.name for x in arrays]
    sizes = [x.size for x in arrays]
    text = compile_ptx(cuda.jit(example), "example", list(zip(kinds, sizes, strict=True)), "sm_90")
    memory = Memory()
    addresses = [memory.allocate(x.nbytes) for x in arrays]
    for x, address in zip(arrays, addresses, strict=True):
        memory.view(address, x.nbytes)[:] = np.ascontiguousarray(x).reshape(-1).view(np.uint8)
    blocks = (-(-n // gemm.TILE), -(-m // gemm.TILE), 1)
    launch(Module(text).kernels["example"], memory, blocks, (gemm.TILE, gemm.TILE, 1), 0, tuple(addresses))
    got = memory.view(addresses[2], c.nbytes).view(c.dtype).reshape(m, n)
    a, b, bias = (x.astype(np.float64) for x in (a, b, bias))
    np.testing.assert_array_equal(got, np.maximum(a @ b + bias, 0).astype(c.dtype))


def test_barriers_of_part_of_a_warp(monkeypatch):
    monkeypatch.setattr(groups, "run", run)
    groups.test_values_go_from_thread_to_thread_through_memory(8, 64)
