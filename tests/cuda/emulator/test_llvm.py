"""Whole kernels as LLVM's NVPTX back end writes them, on several architectures; mutants must be caught."""

from __future__ import annotations

import functools
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from graphad.backends.cuda.emulator import EmulatorError, Memory, Module, launch
from tests.cuda.emulator.harness import download, same, upload

ARCHITECTURES = {"sm_75": "+ptx70", "sm_80": "+ptx70", "sm_90": "+ptx80", "sm_100": "+ptx86"}

PRELUDE = """
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.y()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.tid.y()
declare float @llvm.nvvm.shfl.sync.down.f32(i32, float, i32, i32)
declare {i32, i1} @llvm.nvvm.shfl.sync.up.i32p(i32, i32, i32, i32)
declare void @llvm.nvvm.barrier0()
declare float @llvm.nvvm.ex2.approx.f(float)
declare float @llvm.fma.f32(float, float, float)
declare double @llvm.fma.f64(double, double, double)
declare <4 x float> @llvm.fma.v4f32(<4 x float>, <4 x float>, <4 x float>)
declare i32 @llvm.ctpop.i32(i32)
declare i128 @llvm.abs.i128(i128, i1)
"""


@functools.cache
def compile_ptx(source, architecture="sm_90"):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple("nvptx64-nvidia-cuda")
    machine = target.create_target_machine(cpu=architecture, features=ARCHITECTURES[architecture], opt=3)
    module = llvm.parse_assembly(PRELUDE + source)
    module.triple, module.data_layout = "nvptx64-nvidia-cuda", str(machine.target_data)
    return machine.emit_assembly(module)


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


def execute(ptx, arrays, grid, block, *scalars):
    memory = Memory()
    addresses = [upload(memory, array) for array in arrays]
    kernel = Module(ptx).kernels["k"]
    report = launch(kernel, memory, grid, block, 0, (*addresses, *scalars))
    return [download(memory, a, array) for a, array in zip(addresses, arrays, strict=True)], report


INDEX = """
  %block = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %size = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %before = mul i32 %block, %size
  %i = add i32 %before, %t
"""

TANH = f"""
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y, i32 %n) {{
  {INDEX}
  %inside = icmp ult i32 %i, %n
  br i1 %inside, label %go, label %end
go:
  %p = getelementptr float, ptr addrspace(1) %x, i32 %i
  %v = load float, ptr addrspace(1) %p
  %a = call float @llvm.fma.f32(float %v, float 0x4007154760000000, float 0.0)
  %e = call float @llvm.nvvm.ex2.approx.f(float %a)
  %d = fadd float %e, 1.0
  %q = fdiv float 2.0, %d
  %r = fsub float 1.0, %q
  %o = getelementptr float, ptr addrspace(1) %y, i32 %i
  store float %r, ptr addrspace(1) %o
  br label %end
end:
  ret void
}}
"""


@pytest.mark.parametrize("n", [1, 31, 33, 128, 257, 1009])
def test_elementwise(n, architecture, rng):
    x = rng.standard_normal(n).astype("f4")
    (_, y), report = execute(
        compile_ptx(TANH, architecture), [x, np.zeros_like(x)], (-(-n // 128), 1, 1), (128, 1, 1), n
    )
    np.testing.assert_allclose(y, np.tanh(x.astype("f8")), rtol=0, atol=3e-7)
    assert report.distinct_read_bytes == report.distinct_written_bytes == 4 * n
    assert report.read_transactions == -(-n // 8)


def test_off_by_one_is_out_of_bounds(architecture):
    ptx = compile_ptx(TANH.replace("icmp ult", "icmp ule"), architecture)
    x = np.zeros(100, "f4")
    with pytest.raises(EmulatorError, match=r"thread \(100, 0, 0\).*reads 4 bytes at .*0 bytes behind the 400 bytes"):
        execute(ptx, [x, x], (1, 1, 1), (128, 1, 1), 100)


VECTORS = f"""
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y) {{
  {INDEX}
  %p = getelementptr <4 x float>, ptr addrspace(1) %x, i32 %i
  %v = load <4 x float>, ptr addrspace(1) %p, align 16
  %w = fmul <4 x float> %v, <float 3.0, float 3.0, float 3.0, float 3.0>
  %f = call <4 x float> @llvm.fma.v4f32(<4 x float> %v, <4 x float> %w, <4 x float> %v)
  %o = getelementptr <4 x float>, ptr addrspace(1) %y, i32 %i
  store <4 x float> %f, ptr addrspace(1) %o, align 16
  ret void
}}
"""


def test_vectors(architecture, rng):
    ptx = compile_ptx(VECTORS, architecture)
    if architecture == "sm_100":
        assert "f32x2" in ptx
    x = rng.standard_normal(33 * 4 * 3).astype("f4")
    (_, y), report = execute(ptx, [x, np.zeros_like(x)], (3, 1, 1), (33, 1, 1))
    exact = x.astype("f8") * (x * np.float32(3)).astype("f8") + x
    np.testing.assert_allclose(y, exact, rtol=1.2e-7)
    assert report.read_transactions == 3 * 33 * 4 // 8 + 3  # the last warp of each block has half a sector


SUM = f"""
@parts = internal addrspace(3) global [32 x float] undef, align 16
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) %y, i32 %n) {{
entry:
  {INDEX}
  %inside = icmp ult i32 %i, %n
  br i1 %inside, label %load, label %warp
load:
  %p = getelementptr float, ptr addrspace(1) %x, i32 %i
  %given = load float, ptr addrspace(1) %p
  br label %warp
warp:
  %v = phi float [ %given, %load ], [ 0.0, %entry ]
  SHUFFLES
  %lane = and i32 %t, 31
  %w = lshr i32 %t, 5
  %first = icmp eq i32 %lane, 0
  br i1 %first, label %put, label %all
put:
  %s = getelementptr [32 x float], ptr addrspace(3) @parts, i32 0, i32 %w
  store float %sum1, ptr addrspace(3) %s
  br label %all
all:
  call void @llvm.nvvm.barrier0()
  %zero = icmp eq i32 %t, 0
  br i1 %zero, label %last, label %end
last:
  %j = phi i32 [ 0, %all ], [ %next, %last ]
  %acc = phi float [ 0.0, %all ], [ %more, %last ]
  %g = getelementptr [32 x float], ptr addrspace(3) @parts, i32 0, i32 %j
  %part = load float, ptr addrspace(3) %g
  %more = fadd float %acc, %part
  %next = add i32 %j, 1
  %warps = lshr i32 %size, 5
  %on = icmp ult i32 %next, %warps
  br i1 %on, label %last, label %done
done:
  %old = atomicrmw fadd ptr addrspace(1) %y, float %more monotonic
  br label %end
end:
  ret void
}}
"""
_steps, _value = [], "%v"
for _step in (16, 8, 4, 2, 1):
    _steps.append(f"%o{_step} = call float @llvm.nvvm.shfl.sync.down.f32(i32 -1, float {_value}, i32 {_step}, i32 31)")
    _steps.append(f"%sum{_step} = fadd float {_value}, %o{_step}")
    _value = f"%sum{_step}"
SUM = SUM.replace("SHUFFLES", "\n  ".join(_steps))


@pytest.mark.parametrize("n", [1, 31, 1000, 1009])
def test_sum_with_shuffles_shared_memory_and_an_atomic(n, architecture, rng):
    x = rng.integers(-50, 50, n).astype("f4")
    arrays, report = execute(
        compile_ptx(SUM, architecture), [x, np.zeros(1, "f4")], (-(-n // 256), 1, 1), (256, 1, 1), n
    )
    assert arrays[1][0] == x.sum()
    assert report.atomics == report.barriers == -(-n // 256)


TILE = 8
MATMUL = f"""
@a = internal addrspace(3) global [{TILE * TILE} x float] undef, align 16
@b = internal addrspace(3) global [{TILE * TILE} x float] undef, align 16
define ptx_kernel void @k(
  ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y, ptr addrspace(1) noalias %z, i32 %n
) {{
entry:
  %tx = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %ty = call i32 @llvm.nvvm.read.ptx.sreg.tid.y()
  %bx = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %by = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.y()
  %r0 = mul i32 %by, {TILE}
  %row = add i32 %r0, %ty
  %c0 = mul i32 %bx, {TILE}
  %col = add i32 %c0, %tx
  %rowin = icmp ult i32 %row, %n
  %colin = icmp ult i32 %col, %n
  %mine0 = mul i32 %ty, {TILE}
  %mine = add i32 %mine0, %tx
  %pa = getelementptr float, ptr addrspace(3) @a, i32 %mine
  %pb = getelementptr float, ptr addrspace(3) @b, i32 %mine
  br label %tiles
tiles:
  %k0 = phi i32 [ 0, %entry ], [ %k1, %after ]
  %acc0 = phi float [ 0.0, %entry ], [ %acc2, %after ]
  %ka = add i32 %k0, %tx
  %kain = icmp ult i32 %ka, %n
  %ina = and i1 %rowin, %kain
  br i1 %ina, label %loada, label %puta
loada:
  %ia0 = mul i32 %row, %n
  %ia = add i32 %ia0, %ka
  %ga = getelementptr float, ptr addrspace(1) %x, i32 %ia
  %va = load float, ptr addrspace(1) %ga
  br label %puta
puta:
  %sa = phi float [ %va, %loada ], [ 0.0, %tiles ]
  store float %sa, ptr addrspace(3) %pa
  %kb = add i32 %k0, %ty
  %kbin = icmp ult i32 %kb, %n
  %inb = and i1 %colin, %kbin
  br i1 %inb, label %loadb, label %putb
loadb:
  %ib0 = mul i32 %kb, %n
  %ib = add i32 %ib0, %col
  %gb = getelementptr float, ptr addrspace(1) %y, i32 %ib
  %vb = load float, ptr addrspace(1) %gb
  br label %putb
putb:
  %sb = phi float [ %vb, %loadb ], [ 0.0, %puta ]
  store float %sb, ptr addrspace(3) %pb
  call void @llvm.nvvm.barrier0()
  br label %inner
inner:
  %k = phi i32 [ 0, %putb ], [ %kk, %inner ]
  %acc1 = phi float [ %acc0, %putb ], [ %acc2, %inner ]
  %ja = add i32 %mine0, %k
  %qa = getelementptr float, ptr addrspace(3) @a, i32 %ja
  %xa = load float, ptr addrspace(3) %qa
  %jb0 = mul i32 %k, {TILE}
  %jb = add i32 %jb0, %tx
  %qb = getelementptr float, ptr addrspace(3) @b, i32 %jb
  %xb = load float, ptr addrspace(3) %qb
  %acc2 = call float @llvm.fma.f32(float %xa, float %xb, float %acc1)
  %kk = add i32 %k, 1
  %more = icmp ult i32 %kk, {TILE}
  br i1 %more, label %inner, label %after
after:
  call void @llvm.nvvm.barrier0()
  %k1 = add i32 %k0, {TILE}
  %again = icmp ult i32 %k1, %n
  br i1 %again, label %tiles, label %out
out:
  %in = and i1 %rowin, %colin
  br i1 %in, label %store, label %end
store:
  %iz0 = mul i32 %row, %n
  %iz = add i32 %iz0, %col
  %gz = getelementptr float, ptr addrspace(1) %z, i32 %iz
  store float %acc2, ptr addrspace(1) %gz
  br label %end
end:
  ret void
}}
"""


def multiply(ptx, n):
    rng = np.random.default_rng(n)
    x, y = (rng.integers(-9, 9, (n, n)).astype("f4") for _ in "xy")
    (_, _, z), report = execute(ptx, [x, y, np.zeros_like(x)], (-(-n // TILE), -(-n // TILE), 1), (TILE, TILE, 1), n)
    np.testing.assert_array_equal(z, x @ y)
    return report


@pytest.mark.parametrize("n", [1, 7, 8, 23, 40])
def test_tiled_product(n, architecture):
    report = multiply(compile_ptx(MATMUL, architecture), n)
    tiles = -(-n // TILE)
    assert report.barriers == 2 * tiles**3
    assert report.global_read_bytes == 2 * 4 * n * n * tiles


def test_each_barrier_of_the_product_is_missed(architecture):
    ptx = compile_ptx(MATMUL, architecture)
    barriers = list(re.finditer(r"bar(rier)?\.(cta\.)?sync[^;]*;", ptx))
    assert len(barriers) == 2
    for barrier in barriers:
        with pytest.raises(EmulatorError, match=r"data race at \d+ in shared memory"):
            multiply(ptx[: barrier.start()] + ptx[barrier.end() :], 23)


def test_wrong_opcodes_are_refused(architecture):
    ptx = compile_ptx(MATMUL, architecture)
    for right, wrong in (
        ("fma.rn.f32", "fma.rn.s32"),
        ("ld.shared", "ld.stack"),
        ("setp.", "setq."),
        ("mul.lo", "mul.mid"),
    ):
        assert right in ptx
        with pytest.raises(EmulatorError, match=r"kernel k, PTX line \d+: `.*`: "):
            Module(ptx.replace(right, wrong, 1))


HISTOGRAM = f"""
@counts = internal addrspace(3) global [16 x i32] undef, align 4
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) %y, i32 %n) {{
  {INDEX}
  %few = icmp ult i32 %t, 16
  br i1 %few, label %clear, label %cleared
clear:
  %c = getelementptr i32, ptr addrspace(3) @counts, i32 %t
  store i32 0, ptr addrspace(3) %c
  br label %cleared
cleared:
  call void @llvm.nvvm.barrier0()
  %inside = icmp ult i32 %i, %n
  br i1 %inside, label %count, label %counted
count:
  %p = getelementptr i8, ptr addrspace(1) %x, i32 %i
  %v = load i8, ptr addrspace(1) %p
  %bin = and i8 %v, 15
  %wide = zext i8 %bin to i32
  %h = getelementptr i32, ptr addrspace(3) @counts, i32 %wide
  %old = atomicrmw add ptr addrspace(3) %h, i32 1 monotonic
  br label %counted
counted:
  call void @llvm.nvvm.barrier0()
  br i1 %few, label %give, label %end
give:
  %s = getelementptr i32, ptr addrspace(3) @counts, i32 %t
  %total = load i32, ptr addrspace(3) %s
  %o = getelementptr i32, ptr addrspace(1) %y, i32 %t
  %ignored = atomicrmw add ptr addrspace(1) %o, i32 %total monotonic
  br label %end
end:
  ret void
}}
"""


def count(ptx, n):
    x = np.random.default_rng(n).integers(0, 255, n).astype("u1")
    (_, y), report = execute(ptx, [x, np.zeros(16, "i4")], (-(-n // 96), 1, 1), (96, 1, 1), n)
    np.testing.assert_array_equal(y, np.bincount(x & 15, minlength=16))
    return report


@pytest.mark.parametrize("n", [1, 95, 1009])
def test_histogram(n, architecture):
    assert count(compile_ptx(HISTOGRAM, architecture), n).atomics == n + 16 * -(-n // 96)


def test_each_barrier_of_the_histogram_is_missed(architecture):
    ptx = compile_ptx(HISTOGRAM, architecture)
    barriers = list(re.finditer(r"bar(rier)?\.(cta\.)?sync[^;]*;", ptx))
    assert len(barriers) == 2
    for barrier in barriers:
        with pytest.raises(EmulatorError, match=r"data race at \d+ in shared memory"):
            count(ptx[: barrier.start()] + ptx[barrier.end() :], 200)


_scan, _value = [], "%v"
for _step in (1, 2, 4, 8, 16):
    _scan += [
        f"%pair{_step} = call {{i32, i1}} @llvm.nvvm.shfl.sync.up.i32p(i32 -1, i32 {_value}, i32 {_step}, i32 0)",
        f"%other{_step} = extractvalue {{i32, i1}} %pair{_step}, 0",
        f"%valid{_step} = extractvalue {{i32, i1}} %pair{_step}, 1",
        f"%add{_step} = select i1 %valid{_step}, i32 %other{_step}, i32 0",
        f"%s{_step} = add i32 {_value}, %add{_step}",
    ]
    _value = f"%s{_step}"
SCAN = f"""
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y) {{
  {INDEX}
  %p = getelementptr i32, ptr addrspace(1) %x, i32 %i
  %v = load i32, ptr addrspace(1) %p
  {chr(10).join(_scan)}
  %o = getelementptr i32, ptr addrspace(1) %y, i32 %i
  store i32 %s16, ptr addrspace(1) %o
  ret void
}}
"""


@pytest.mark.parametrize("n", [1, 31, 32, 77])
def test_scan_of_each_warp(n, architecture):
    x = np.arange(3, n + 3, dtype="i4") ** 2
    (_, y), _ = execute(compile_ptx(SCAN, architecture), [x, np.zeros_like(x)], (1, 1, 1), (n, 1, 1))
    np.testing.assert_array_equal(y, np.concatenate([np.cumsum(x[k : k + 32]) for k in range(0, n, 32)]))


CALLS = f"""
define internal double @power(double %x, i32 %n) noinline {{
entry:
  br label %loop
loop:
  %k = phi i32 [ 0, %entry ], [ %k1, %loop ]
  %v = phi double [ 1.0, %entry ], [ %w, %loop ]
  %w = call double @llvm.fma.f64(double %v, double %x, double 1.0)
  %k1 = add i32 %k, 1
  %on = icmp slt i32 %k1, %n
  br i1 %on, label %loop, label %end
end:
  ret double %w
}}
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y) {{
  {INDEX}
  %p = getelementptr double, ptr addrspace(1) %x, i32 %i
  %v = load double, ptr addrspace(1) %p
  %depth = alloca [4 x double], align 8
  %odd = and i32 %i, 3
  %q = getelementptr double, ptr %depth, i32 %odd
  %r = call double @power(double %v, i32 %i)
  store double %r, ptr %q
  %s = load volatile double, ptr %q
  %o = getelementptr double, ptr addrspace(1) %y, i32 %i
  store double %s, ptr addrspace(1) %o
  ret void
}}
"""


def test_functions_and_local_memory(architecture):
    ptx = compile_ptx(CALLS, architecture)
    assert ".func" in ptx
    assert ".local" in ptx
    x = np.linspace(0.1, 0.9, 33)
    (_, y), _ = execute(ptx, [x, np.zeros_like(x)], (1, 1, 1), (33, 1, 1))
    expected = [sum(v**k for k in range(max(i, 1) + 1)) for i, v in enumerate(x.tolist())]
    np.testing.assert_allclose(y, expected, rtol=1e-14)


WIDE = f"""
define ptx_kernel void @k(ptr addrspace(1) noalias %x, ptr addrspace(1) noalias %y) {{
  {INDEX}
  %p = getelementptr i64, ptr addrspace(1) %x, i32 %i
  %v = load i64, ptr addrspace(1) %p
  %a = sext i64 %v to i128
  %b = mul i128 %a, %a
  %c = add i128 %b, 12345678901234567890123
  %d = sub i128 %c, %a
  %e = lshr i128 %d, 37
  %f = trunc i128 %e to i64
  %g = call i128 @llvm.abs.i128(i128 %a, i1 false)
  %h = trunc i128 %g to i64
  %m = xor i64 %f, %h
  %s = sdiv i64 %m, 1000003
  %u = urem i64 %s, 97
  %r = add i64 %u, %f
  %o = getelementptr i64, ptr addrspace(1) %y, i32 %i
  store i64 %r, ptr addrspace(1) %o
  ret void
}}
"""


def test_wide_integers_use_carries(architecture):
    ptx = compile_ptx(WIDE, architecture)
    assert "add.cc" in ptx
    x = np.random.default_rng(1).integers(-(2**63), 2**63 - 1, 77)
    (_, y), _ = execute(ptx, [x, np.zeros_like(x)], (1, 1, 1), (77, 1, 1))
    expected = []
    for v in x.tolist():
        f = ((v * v + 12345678901234567890123 - v) % 2**128 >> 37) % 2**64
        m = (f ^ abs(v)) % 2**64
        m = m - 2**64 if m >= 2**63 else m
        s = abs(m) // 1000003 * (1 if m >= 0 else -1)
        expected.append((s % 2**64 % 97 + f) % 2**64)
    same(y, np.array(expected, "u8").view("i8"))
