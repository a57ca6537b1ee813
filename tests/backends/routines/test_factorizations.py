"""The routines that call LAPACK: what they write and read, that they end, what they give, and in which form."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from graphad_kernels import objects
from graphad_kernels.cpu import lapack
from graphad_kernels.routines import ROUTINES

import graphad
import graphad.numpy as gnp
from graphad.api.stages import compiled
from graphad.backends.loops.ir import RoutineCall
from graphad.ir.types import DTYPES, i32
from tests.backends.routines.guard_zones import FILLS, Guarded, machine_code, random_call, same
from tests.thinned import every

ROOT = Path(__file__).parents[3]
NAMES = [name for name, row in ROUTINES.items() if row.lapack]


def run_guarded(name, dtype, count):
    """In a process of its own: a call may not end, or end the process."""
    command = [sys.executable, "-m", "tests.backends.routines.guard_zones", name, dtype, "0", str(count)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60 + count / 10)
    except subprocess.TimeoutExpired as late:
        last = (late.stdout or b"").decode().splitlines()[-1:]
        pytest.fail(f"does not end: {last}")
    assert done.returncode == 0, f"{done.stdout.splitlines()[-1:]}\n{done.stderr[-3000:]}"
    assert done.stdout.count("\n") == count, "LAPACK has printed"
    assert not done.stderr


@pytest.mark.parametrize(("name", "dtype"), [(name, ("f64", "f32")[k % 2]) for k, name in enumerate(NAMES)])
def test_guard_zones(name, dtype):
    run_guarded(name, dtype, 300)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", NAMES)
def test_guard_zones_of_many_calls(name, dtype):
    run_guarded(name, dtype, 2500)


@pytest.mark.parametrize(("name", "dtype"), every(3, product(NAMES, ["f32", "f64"]), several=True))
def test_numba_gives_the_bits_of_machine_code(name, dtype):
    row, element = ROUTINES[name], DTYPES[dtype].numpy
    rng = np.random.default_rng(7)
    native, jitted = machine_code(name, dtype), objects.jitted(name)
    types = [np.dtype(element) if t == "T" else np.dtype(i32.numpy) for t in row.buffers]
    for _ in range(100):
        call = random_call(name, element, rng)
        guarded = Guarded(types, row.extents(*call.sizes), rng)
        one, other = (guarded.run(f, call.reads, row.results, call.sizes, FILLS[0]) for f in (native, jitted))
        same(one, other, f"{call.sizes}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 3), (64, 64), (40, 513), (2000, 3), (1, 700), (1500, 1000)])
def test_workspaces_are_as_large_as_lapack_asks_for(m, n, dtype):
    """With less it would work in smaller blocks. It asks in the dtype, which may have rounded the number down."""
    x, work, integers, info = np.zeros(1, dtype), np.zeros(1, dtype), np.zeros(1, np.int32), np.zeros(1, np.int32)

    def asked():
        return float(np.nextafter(work[0], np.inf, dtype=dtype)) if work[0] > 1 / np.finfo(dtype).eps else work[0]

    least = min(m, n)
    for k in (least, m):
        *_, given, _ = ROUTINES["qr"].extents(1, m, n, k)
        lapack.geqrf(m, n, x, m, x, work, -1, info)
        assert asked() <= given
        lapack.orgqr(m, k, least, x, m, x, work, -1, info)
        assert asked() <= given
    for letter, rows in ((lapack.ALL, m), (lapack.SOME, least)):
        *_, given, _, _ = ROUTINES["svd"].extents(1, m, n, int(letter == lapack.ALL))
        lapack.gesdd(letter, n, m, x, n, x, x, n, x, rows, work, -1, integers, info)
        assert asked() <= given
    size = max(n, 32)  # smaller matrices are not worked on in blocks
    *_, given, whole, _ = ROUTINES["eigh"].extents(1, size)
    lapack.syevd(lapack.VALUES, lapack.LOWER, size, x, size, x, work, -1, integers, -1, info)
    assert asked() <= given
    assert integers[0] <= whole


@pytest.mark.parametrize("scale", [1.0, 1e-155, 1e-305, 1e-310])
def test_programs_factorize_what_is_very_small(rng, scale):
    """They flush denormals, which LAPACK needs where it scales: it is called with them."""
    a = rng.normal(size=(12, 12)) * scale
    smallest = 2 * float(np.finfo(a.dtype).smallest_subnormal)
    (u, s, vt), (q, r) = graphad.jit(gnp.linalg.svd)(a), graphad.jit(gnp.linalg.qr)(a)
    np.testing.assert_allclose(s, np.linalg.svd(a, compute_uv=False), rtol=1e-12, atol=20 * smallest)
    np.testing.assert_allclose(
        (np.asarray(u) * (s / scale)) @ np.asarray(vt), a / scale, atol=1e-12 + 50 * smallest / scale
    )
    np.testing.assert_allclose(np.asarray(q) @ (r / scale), a / scale, atol=1e-12 + 50 * smallest / scale)
    np.testing.assert_allclose(np.asarray(q).T @ np.asarray(q), np.eye(12), atol=1e-12 + 50 * smallest / scale)


def test_the_rest_of_a_program_flushes_denormals_all_the_same(rng):
    a = rng.normal(size=(12, 12))
    half, _, product = graphad.jit(lambda a, x: (x / 2, gnp.linalg.qr(a), x * 1.5))(a, np.full(3, 3e-308))
    assert np.asarray(half).tolist() == [0.0] * 3
    assert (np.asarray(product) > 0).all()


@pytest.mark.parametrize(("flush", "symmetrize"), [(True, True), (True, False), (False, True)])
def test_symmetric_parts_are_arithmetic_and_flush_denormals(rng, flush, symmetrize):
    x = rng.normal(size=(12, 12))
    a = x @ x.T * 1e-311
    with graphad.config.override(flush_denormals=flush):
        found = graphad.jit(lambda a: gnp.linalg.eigvalsh(a, symmetrize_input=symmetrize))(a)
    expected = np.zeros(12) if flush and symmetrize else np.linalg.eigvalsh(a)
    np.testing.assert_allclose(found, expected, atol=1e-320)


def calls_of(function, *args):
    """The routines that a program calls, and how many of its temporaries are as large as the first argument."""
    kernel = compiled(graphad.jit(function).graph(*args)).program
    large = [b for b in kernel.buffers if b.role == "temporary" and b.size >= args[0].size]
    return [s.routine for s in kernel.steps if isinstance(s, RoutineCall)], len(large)


def test_a_system_and_its_gradient_take_one_factorization_as_the_matrix_lies(rng):
    n = 40
    a, b = rng.normal(size=(n, n)), rng.normal(size=(n, 3))
    gradient = graphad.value_and_grad(lambda a, b: gnp.sum(gnp.linalg.solve(a, b) ** 2), argnums=(0, 1))
    called, n_large = calls_of(gradient, a, b)
    assert called == ["lu_by_columns", *["triangular_solve"] * 4]
    assert n_large == 1
    value, (by_a, by_b) = graphad.jit(gradient)(a, b)
    x = np.linalg.solve(a, b)
    wanted = np.linalg.solve(a.T, 2 * x)
    np.testing.assert_allclose(value, np.sum(x**2), rtol=1e-10)
    np.testing.assert_allclose(by_b, wanted, rtol=1e-8)
    np.testing.assert_allclose(by_a, -wanted @ x.T, rtol=1e-8)
    called, _ = calls_of(graphad.value_and_grad(lambda a: gnp.linalg.slogdet(a)[1]), a)
    assert called == ["lu_by_columns", *["triangular_solve"] * 2]
