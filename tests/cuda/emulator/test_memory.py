"""Global, shared, local and constant memory: accesses, atomics, and what is reported of bad ones."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from graphad.backends.cuda.emulator import EmulatorError, Memory, Module, launch
from tests.cuda.emulator.harness import HEAD, download, entry, run, same, upload

THREAD = """
.reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<30>; .reg .b64 %rd<30>; .reg .f32 %f<9>; .reg .f64 %fd<5>;
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.s32 %r4, %r2, %r3, %r1;
ld.param.u64 %rd1, [p0]; mul.wide.u32 %rd2, %r4, 4; add.s64 %rd3, %rd1, %rd2;
"""


def test_variables_go_with_their_module():
    memory = Memory()
    for factor in (2, 3, 4):
        table = f".global .align 4 .b32 table[1024] = {{{factor}, {factor + 1}}};"
        body = f"{THREAD} mov.u64 %rd5, table; ld.global.u32 %r5, [%rd5+4]; st.global.u32 [%rd3], %r5;"
        arrays, _ = run(body, [np.zeros(32, np.uint32)], before=table, memory=memory)
        same(arrays[0], np.full(32, factor + 1, np.uint32))
        gc.collect()
        assert not memory.modules
        assert memory.allocated_bytes < 2 * 4096  # of one table, and the small arrays
    memory.free_unused()
    assert memory.allocated_bytes < 4096


def test_memory_keeps_what_is_copied_and_knows_its_bounds():
    memory = Memory()
    a, b, empty = memory.allocate(10), memory.allocate(300), memory.allocate(0)
    assert a % 256 == b % 256 == 0
    assert a != b
    assert memory.allocated_bytes == 310
    assert (memory.view(a, 10) == 0xFF).all()
    memory.view(b + 4, 8).view("u4")[:] = [7, 9]
    assert memory.view(b, 300)[4:12].view("u4").tolist() == [7, 9]
    assert memory.view(empty, 0).size == 0
    with pytest.raises(EmulatorError, match="2 bytes behind the 10 bytes"):
        memory.view(a + 12, 1)
    with pytest.raises(EmulatorError, match="cannot copy 11 bytes"):
        memory.view(a, 11)
    with pytest.raises(EmulatorError, match="no allocation is near"):
        memory.view(0, 1)
    memory.free(a)
    with pytest.raises(EmulatorError, match=r"byte 3 of the 10 bytes .* freed"):
        memory.view(a + 3, 1)
    with pytest.raises(EmulatorError, match=r"cannot free .* freed"):
        memory.free(a)
    with pytest.raises(ValueError, match=r"cannot be written|read-only"):
        memory.view(b, 4, read_only=True)[0] = 1
    with pytest.raises(ValueError, match="-1 bytes"):
        memory.allocate(-1)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 97])
def test_words_of_all_widths_are_extended(n):
    data = np.arange(-3, n - 3, dtype="i1")
    code = """
    cvt.u64.u32 %rd5, %r4; add.s64 %rd6, %rd1, %rd5;
    ld.global.s8 %r5, [%rd6]; ld.global.u8 %r6, [%rd6]; ld.global.s8 %h1, [%rd6]; ld.global.b8 %rd7, [%rd6];
    cvt.s32.s16 %r7, %h1; cvt.u32.u64 %r8, %rd7; sub.s32 %r9, %r6, %r8; add.s32 %r10, %r5, %r7; add.s32 %r10, %r10, %r9;
    ld.param.u64 %rd8, [p1]; add.s64 %rd9, %rd8, %rd2; st.global.u32 [%rd9], %r10; st.global.b8 [%rd6], %r10;
    """
    (small, wide), report = run(THREAD + code, [data, np.zeros(n, "i4")], block=(n, 1, 1))
    np.testing.assert_array_equal(wide, 2 * data.astype("i4"))
    same(small, (2 * data.astype("i4")).astype("i1"))
    assert report.global_read_bytes == 4 * n
    assert report.distinct_read_bytes == n
    assert report.distinct_written_bytes == 5 * n


def test_vectors():
    data = np.arange(64 * 4, dtype="f4")
    code = """
    mul.wide.u32 %rd4, %r4, 16; add.s64 %rd5, %rd1, %rd4;
    ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%f1, %f2, %f3, %f4}, [%rd5];
    ld.global.v2.b64 {%rd6, %rd7}, [%rd5];
    mov.b64 {%r5, %r6}, %rd7; mov.b32 %f5, %r6; add.f32 %f4, %f4, %f5;
    ld.param.u64 %rd8, [p1]; add.s64 %rd9, %rd8, %rd4; st.global.v4.f32 [%rd9], {%f4, %f3, %f2, %f1};
    """
    (_, out), report = run(THREAD + code, [data, np.zeros_like(data)], block=(64, 1, 1))
    expected = data.reshape(-1, 4)[:, ::-1].copy()
    expected[:, 0] *= 2
    same(out, expected.ravel())
    assert report.read_transactions == 64
    assert report.write_transactions == 32


@pytest.mark.parametrize(("stride", "sectors"), [(1, 4), (2, 8), (8, 32), (0, 1)])
def test_transactions_count_sectors_of_each_warp(stride, sectors):
    data = np.arange(64 * 8 + 1, dtype="f4")
    code = f"""
    mul.lo.u32 %r5, %r4, {stride}; mul.wide.u32 %rd4, %r5, 4; add.s64 %rd5, %rd1, %rd4; ld.global.f32 %f1, [%rd5];
    """
    _, report = run(THREAD + code, [data], block=(64, 1, 1))
    assert report.read_transactions == 2 * sectors
    assert report.global_read_bytes == 64 * 4
    backwards = code.replace("%r5, %r4,", "%r5, %r6,").replace("mul.lo", "sub.u32 %r6, 63, %r4; mul.lo")
    assert run(THREAD + backwards, [data], block=(64, 1, 1))[1].read_transactions == 2 * sectors


def test_shared_memory_static_and_dynamic_and_through_generic_addresses():
    before = ".shared .align 16 .b8 table[256];\n.extern .shared .align 16 .b8 more[];"
    code = """
    shl.b32 %r5, %r1, 2; mov.u32 %r6, table; add.s32 %r7, %r6, %r5; mov.u32 %r8, more; add.s32 %r9, %r8, %r5;
    st.shared.u32 [%r7], %r4; st.shared.u32 [%r9], %r1; bar.sync 0;
    xor.b32 %r10, %r5, 4; mov.u64 %rd5, table; cvta.shared.u64 %rd6, %rd5; cvt.u64.u32 %rd7, %r10;
    add.s64 %rd8, %rd6, %rd7;
    ld.u32 %r11, [%rd8]; mov.u64 %rd9, more; add.s64 %rd9, %rd9, %rd7; ld.shared.u32 %r12, [%rd9];
    mad.lo.s32 %r13, %r12, 1000, %r11; st.global.u32 [%rd3], %r13; isspacep.shared %p1, %rd8; @!%p1 trap;
    cvta.to.shared.u64 %rd10, %rd8; ld.shared.u32 %r14, [%rd10]; setp.ne.u32 %p2, %r14, %r11; @%p2 trap;
    """
    (out,), report = run(
        THREAD + code, [np.zeros(3 * 64, "u4")], grid=(3, 1, 1), block=(64, 1, 1), shared=256, before=before
    )
    thread = np.arange(3 * 64)
    np.testing.assert_array_equal(out, (thread % 64 ^ 1) * 1000 + (thread ^ 1))
    assert report.barriers == 3


def test_local_memory_is_each_threads_own():
    code = """
    .local .align 16 .b8 depot[32]; .reg .b64 %SP; .reg .b64 %SPL;
    mov.u64 %SPL, depot; cvta.local.u64 %SP, %SPL; st.u32 [%SP+4], %r4; st.local.u32 [%SPL+8], %r1;
    and.b32 %r5, %r4, 1; shl.b32 %r5, %r5, 2; cvt.u64.u32 %rd5, %r5; add.s64 %rd6, %SPL, %rd5;
    ld.local.u32 %r6, [%rd6+4];
    st.global.u32 [%rd3], %r6;
    """
    (out,), _ = run(THREAD + code, [np.zeros(66, "u4")], grid=(2, 1, 1), block=(33, 1, 1))
    thread = np.arange(66)
    np.testing.assert_array_equal(out, np.where(thread % 2, thread % 33, thread))


def test_a_generic_access_may_go_to_several_spaces_at_once():
    before = ".shared .align 4 .b8 table[128];"
    code = """
    .local .align 4 .b8 mine[4];
    mov.u64 %rd5, table; cvta.shared.u64 %rd5, %rd5; add.s64 %rd5, %rd5, %rd2; mov.u64 %rd6, mine;
    cvta.local.u64 %rd6, %rd6;
    rem.u32 %r5, %r4, 3; setp.eq.u32 %p1, %r5, 0; setp.eq.u32 %p2, %r5, 1;
    selp.b64 %rd7, %rd5, %rd6, %p1; selp.b64 %rd7, %rd3, %rd7, %p2;
    add.s32 %r6, %r4, 100; st.u32 [%rd7], %r6; ld.u32 %r7, [%rd7]; setp.ne.u32 %p3, %r6, %r7; @%p3 trap;
    @%p1 ld.shared.u32 %r8, [table]; @!%p2 st.global.u32 [%rd3], 5;
    """
    (out,), _ = run(THREAD + code, [np.zeros(32, "u4")], before=before, checks=False)
    np.testing.assert_array_equal(out, np.where(np.arange(32) % 3 == 1, np.arange(32) + 100, 5))


def test_a_pointer_table_leads_to_several_allocations():
    memory = Memory()
    parts = [upload(memory, np.full(32, 10 * i, "u4")) for i in range(3)]
    table = upload(memory, np.array(parts, "u8"))
    code = """
    rem.u32 %r5, %r4, 3; mul.wide.u32 %rd5, %r5, 8; add.s64 %rd6, %rd1, %rd5; ld.global.u64 %rd7, [%rd6];
    add.s64 %rd8, %rd7, %rd2; ld.global.u32 %r6, [%rd8]; add.s32 %r6, %r6, %r4; st.global.u32 [%rd8], %r6;
    """
    kernel = Module(entry(THREAD + code)).kernels["k"]
    launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (table,))
    for i, part in enumerate(parts):
        thread = np.arange(32)
        expected = np.where(thread % 3 == i, 10 * i + thread, 10 * i).astype("u4")
        same(download(memory, part, expected), expected)


def test_variables_of_a_module():
    before = """
    .const .align 8 .f64 table[4] = {0d3FF0000000000000, 2.5, 3, 0d4010000000000000};
    .global .align 4 .u32 counter = 5;
    .visible .global .align 8 .u64 where[2] = {counter, generic(bytes)+1};
    .global .align 1 .b8 bytes[4] = {1, 2, 255};
    """
    code = """
    and.b32 %r5, %r4, 3; mul.wide.u32 %rd5, %r5, 8; mov.u64 %rd6, table; add.s64 %rd7, %rd6, %rd5;
    ld.const.f64 %fd1, [%rd7];
    cvt.rzi.u32.f64 %r6, %fd1; ld.global.u32 %r7, [counter]; ld.global.u64 %rd8, [where+8]; ld.u8 %r8, [%rd8+1];
    ld.global.u64 %rd9, [where]; ld.u32 %r9, [%rd9]; add.s32 %r10, %r7, %r9;
    mad.lo.s32 %r11, %r10, 1000, %r8; mad.lo.s32 %r11, %r6, 100000, %r11; st.global.u32 [%rd3], %r11;
    setp.ne.u32 %p1, %r4, 0; @%p1 bra END; red.global.add.u32 [counter], 0; END:
    """
    (out,), _ = run(THREAD + code, [np.zeros(32, "u4")], before=before, checks=False)
    np.testing.assert_array_equal(out, np.array([1, 2, 3, 4] * 8) * 100000 + 10 * 1000 + 255)


@pytest.mark.parametrize("space", ["global", "shared", "generic"])
@pytest.mark.parametrize(
    ("op", "start", "expected", "old"),
    [
        ("add.u32", 5, lambda v: 5 + v.sum(), lambda v: 5 + np.cumsum(v) - v),
        ("max.u32", 5, lambda v: max(5, v.max()), lambda v: np.maximum.accumulate(np.append(5, v))[:-1]),
        ("min.s32", 5, lambda v: min(5, v.min()), lambda v: np.minimum.accumulate(np.append(5, v))[:-1]),
        ("or.b32", 1, lambda v: 1 | np.bitwise_or.reduce(v), lambda v: np.bitwise_or.accumulate(np.append(1, v))[:-1]),
        ("and.b32", 255, lambda v: 255 & np.bitwise_and.reduce(v), None),
        ("xor.b32", 9, lambda v: 9 ^ np.bitwise_xor.reduce(v), None),
        ("exch.b32", 77, lambda v: v[-1], lambda v: np.append(77, v)[:-1]),
        ("inc.u32", 0, lambda v: None, None),
        ("dec.u32", 3, lambda v: None, None),
    ],
)
def test_atomics(space, op, start, expected, old):
    name = "" if space == "generic" else "." + space
    n, address = 45, "%rd1"
    setup = f"""
    setp.ne.u32 %p1, %r1, 0; @%p1 bra AFTER; st.shared.u32 [cell], {start}; AFTER: bar.sync 0;
    mul.lo.u32 %r5, %r4, 7; rem.u32 %r5, %r5, 11; add.s32 %r5, %r5, 2;
    """
    if space == "shared":
        setup, address = setup + "mov.u64 %rd5, cell;", "%rd5"
    code = f"""{setup}
    atom{name}.{op} %r6, [{address}], %r5; ld.param.u64 %rd6, [p1]; add.s64 %rd7, %rd6, %rd2; st.global.u32 [%rd7], %r6;
    bar.sync 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra END;
    ld{name if space == "shared" else ".global"}.u32 %r7, [{address}];
    st.global.u32 [%rd6+{4 * n}], %r7; END:
    """
    cell = np.array([start], "u4")
    (_, out), report = run(THREAD + code, [cell, np.zeros(n + 1, "u4")], block=(n, 1, 1), before=".shared .u32 cell;")
    values = (np.arange(n) * 7 % 11 + 2).astype("i8")
    state, seen = start, []
    for v in values.tolist():
        seen.append(state)
        if op.startswith("inc"):
            state = 0 if state >= v else state + 1
        elif op.startswith("dec"):
            state = v if state == 0 or state > v else state - 1
    if op[:3] in {"inc", "dec"}:
        assert out.tolist() == [*seen, state]
    else:
        assert out[-1] == expected(values)
        if old is not None:
            assert out[:-1].tolist() == old(values).tolist()
    assert report.atomics == n


@pytest.mark.parametrize("type_", ["f32", "f64", "f16", "bf16", "f16x2"])
def test_atomic_sums_of_floats_are_done_in_order(type_, rng):
    import ml_dtypes

    dtype = {"f32": "f4", "f64": "f8", "f16": "f2", "bf16": ml_dtypes.bfloat16, "f16x2": "f2"}[type_]
    lanes = 2 if type_ == "f16x2" else 1
    values = rng.standard_normal((70, lanes)).astype(dtype)
    size = values.itemsize * lanes
    name = "atom.global.add.noftz" if "16" in type_ else "atom.global.add"
    register = {2: "%h1", 4: "%r5", 8: "%rd9"}[size]
    result = {2: "%h2", 4: "%r6", 8: "%rd10"}[size]
    code = f"""
    ld.param.u64 %rd5, [p1]; mul.wide.u32 %rd6, %r4, {size}; add.s64 %rd7, %rd5, %rd6;
    ld.global.b{8 * size} {register}, [%rd7];
    {name}.{type_} {result}, [%rd1], {register};
    """
    for form in (code, code.replace("atom", "red").replace(f"{result}, [", "[")):
        (total, _), _ = run(THREAD + form, [np.zeros((1, lanes), dtype), values], grid=(2, 1, 1), block=(35, 1, 1))
        expected = np.zeros(lanes, dtype)
        for row in values:
            expected = (expected + row).astype(dtype)
        assert total.tobytes() == expected.tobytes()


def test_compare_and_swap_builds_an_atomic_maximum():
    code = """
    ld.param.u64 %rd5, [p1]; add.s64 %rd6, %rd5, %rd2; ld.global.f32 %f1, [%rd6];
    ld.volatile.global.u32 %r5, [%rd1];
    AGAIN: mov.b32 %f2, %r5; max.f32 %f3, %f1, %f2; mov.b32 %r6, %f3; mov.u32 %r7, %r5;
    atom.global.cas.b32 %r5, [%rd1], %r7, %r6; setp.ne.u32 %p1, %r5, %r7; @%p1 bra AGAIN;
    """
    values = np.random.default_rng(3).standard_normal(100).astype("f4")
    (best, _), _ = run(THREAD + code, [np.array([-np.inf], "f4"), values], grid=(2, 1, 1), block=(50, 1, 1))
    assert best[0] == values.max()


def test_parameters_of_all_types():
    code = """
    ld.param.f64 %fd1, [p1]; ld.param.s8 %r5, [p2]; ld.param.f32 %f1, [p3]; ld.param.u16 %h1, [p4];
    cvt.rzi.s32.f64 %r6, %fd1; cvt.rzi.s32.f32 %r7, %f1; cvt.u32.u16 %r8, %h1;
    add.s32 %r9, %r5, %r6; add.s32 %r9, %r9, %r7; add.s32 %r9, %r9, %r8; st.global.u32 [%rd3], %r9;
    """
    scalars = [("f64", 1000.5), ("s8", -3), ("f32", 20.25), ("u16", 65000)]
    (out,), _ = run(THREAD + code, [np.zeros(4, "i4")], block=(4, 1, 1), scalars=scalars)
    assert out.tolist() == [66017] * 4


def test_parameters_at_addresses_that_threads_choose():
    code = """
    setp.lt.u32 %p1, %r4, 3; mov.b64 %rd5, p1; mov.b64 %rd6, p2; selp.b64 %rd7, %rd5, %rd6, %p1;
    ld.param.b32 %r5, [%rd7]; st.global.u32 [%rd3], %r5;
    """
    scalars = [("u32", 7), ("u32", 9)]
    (out,), _ = run(THREAD + code, [np.zeros(5, "u4")], block=(5, 1, 1), scalars=scalars)
    assert out.tolist() == [7, 7, 7, 9, 9]
    with pytest.raises(EmulatorError, match=r"thread \(3, 0, 0\).*outside of the parameters"):
        run(THREAD + code.replace("[%rd7]", "[%rd7+4]"), [np.zeros(5, "u4")], block=(5, 1, 1), scalars=scalars)


BAD = [
    (
        "one word too far",
        "ld.global.u32 %r5, [%rd3+4];",
        r"thread \(31, 0, 0\).*reads 4 bytes at .*0 bytes behind the 128",
    ),
    ("before the first", "ld.global.u32 %r5, [%rd3+-4];", r"thread \(0, 0, 0\).*4 bytes before the 128 bytes"),
    ("store too far", "st.global.u32 [%rd3+400], %r1;", "writes 4 bytes"),
    ("null", "mov.u64 %rd5, 0; ld.global.u32 %r5, [%rd5];", "at 0x0, out of bounds: no allocation is near"),
    ("misaligned", "ld.global.u32 %r5, [%rd1+2];", "no multiple of 4"),
    ("misaligned vector", "ld.global.v2.u32 {%r5, %r6}, [%rd1+4];", "no multiple of 8"),
    ("half of a vector", "ld.global.v2.u32 {%r5, %r6}, [%rd1+128];", "out of bounds"),
    ("shared", "mov.u32 %r5, box; st.shared.u32 [%r5+16], %r1;", "writes 4 bytes at 16 of shared memory, which has 16"),
    ("negative shared", "mov.u32 %r5, box; st.shared.u32 [%r5+-4], %r1;", "of shared memory"),
    ("generic shared", "mov.u64 %rd5, box; cvta.shared.u64 %rd5, %rd5; ld.u32 %r5, [%rd5+16];", "shared memory"),
    ("no space", "mov.u64 %rd5, -8; ld.u32 %r5, [%rd5];", "in no space"),
    ("atomic", "red.global.add.u32 [%rd1+128], 1;", "updates 4 bytes .*out of bounds"),
]


@pytest.mark.parametrize(("code", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_accesses_are_reported_with_the_place(code, message):
    with pytest.raises(EmulatorError, match=message) as caught:
        run(THREAD + code + "// model.py:14", [np.zeros(32, "u4")], before=".shared .align 4 .b8 box[16];")
    assert str(caught.value).startswith("model.py:14: kernel k, block (0, 0, 0), thread (")
    assert "PTX line 11: `" in str(caught.value)


def test_use_after_free_is_reported():
    memory = Memory()
    address = memory.allocate(128)
    kernel = Module(entry(THREAD + "st.global.u32 [%rd3], %r1;")).kernels["k"]
    launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (address,))
    memory.free(address)
    with pytest.raises(EmulatorError, match="have been freed"):
        launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (address,))


def test_reads_of_what_nobody_has_written():
    code = "ld.global.u32 %r5, [%rd3]; setp.lt.u32 %p1, %r1, 40; @!%p1 bra END; st.global.u32 [%rd3], %r1; END:"
    kernel = Module(entry(THREAD + code)).kernels["k"]
    memory = Memory(check_uninitialised=True)
    address = memory.allocate(128)
    with pytest.raises(EmulatorError, match=r"thread \(0, 0, 0\).*reads 4 bytes that nobody has written"):
        launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (address,))
    memory.view(address, 64)[:] = 0
    with pytest.raises(EmulatorError, match=r"thread \(16, 0, 0\)"):
        launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (address,))
    memory.view(address, 128)[:] = 0
    launch(kernel, memory, (1, 1, 1), (32, 1, 1), 0, (address,))
    shared = Module(entry(THREAD + "mov.u32 %r5, box; ld.shared.u32 %r6, [%r5];", before=".shared .u32 box;")).kernels[
        "k"
    ]
    with pytest.raises(EmulatorError, match="nobody has written, at 0 in shared memory"):
        launch(shared, memory, (1, 1, 1), (32, 1, 1), 0, (address,))
    launch(shared, Memory(), (1, 1, 1), (32, 1, 1), 0, (address,))


def test_the_line_of_the_user_comes_from_loc_too():
    body = "\n.loc 1 14 0\nld.param.u64 %rd1, [p0];\n.loc 1 15 3\nld.global.u8 %r1, [%rd1+1];"
    registers = ".reg .b64 %rd<2>; .reg .b32 %r<2>;"
    text = f'{HEAD}.file 1 "model.py"\n.visible .entry k(.param .u64 p0) {{ {registers}{body}\nret; }}'
    memory = Memory()
    with pytest.raises(EmulatorError, match=r"^model.py:15: kernel k, .*PTX line 9"):
        launch(Module(text).kernels["k"], memory, (1, 1, 1), (1, 1, 1), 0, (memory.allocate(1),))


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("writes", ["st.global.f32 [%rd3], %f1;", "red.global.add.f32 [%rd3], %f1;"])
def test_memory_that_is_read_as_constant_must_not_be_written(writes, order):
    reads = "ld.global.nc.f32 %f2, [%rd3];"
    code = THREAD + "mov.f32 %f1, 0f3F800000;" + (reads + writes if order == "after" else writes + reads)
    with pytest.raises(EmulatorError, match=r"thread \(0, 0, 0\).*byte 0 of the 128 bytes at .*\.nc.* may give"):
        run(code, [np.zeros(32, "f4")])
    elsewhere = code.replace("[%rd3], %f1", "[%rd3+128], %f1")
    (array,), _ = run(elsewhere, [np.zeros(64, "f4")])
    np.testing.assert_array_equal(array, np.repeat([0, 1], 32).astype("f4"))


def test_atomic_sums_in_global_memory_know_no_subnormal_numbers():
    small = np.float32(1e-39)
    start = np.array([small, 2.0, np.finfo("f4").tiny], "f4")
    given = np.array([small, small, -1.5 * np.finfo("f4").tiny], "f4")
    code = (
        THREAD
        + """
    ld.param.u64 %rd5, [p1]; add.s64 %rd6, %rd5, %rd2; ld.global.f32 %f1, [%rd6]; red.global.add.f32 [%rd3], %f1;
    """
    )
    (array, _), _ = run(code, [start, given], block=(3, 1, 1))
    same(array, np.array([0, 2, -0.0], "f4"))
    shared = (
        THREAD
        + """
    .shared .align 4 .b8 s[128]; mov.u32 %r6, s; shl.b32 %r7, %r1, 2; add.u32 %r6, %r6, %r7;
    ld.global.f32 %f1, [%rd3]; st.shared.f32 [%r6], %f1; ld.param.u64 %rd5, [p1]; add.s64 %rd6, %rd5, %rd2;
    ld.global.f32 %f1, [%rd6]; red.shared.add.f32 [%r6], %f1; ld.shared.f32 %f1, [%r6]; st.global.f32 [%rd3], %f1;
    """
    )
    (array, _), _ = run(shared, [start, given], block=(3, 1, 1))
    same(array, start + given)


@pytest.mark.parametrize(
    ("target", "most"), [("sm_75", 64), ("sm_80", 163), ("sm_89", 99), ("sm_90", 227), ("sm_52", 227)]
)
def test_dynamic_shared_memory_has_the_limit_of_the_architecture(target, most):
    kernel = Module(entry("").replace("sm_90", target)).kernels["k"]
    memory = Memory()
    launch(kernel, memory, (1, 1, 1), (32, 1, 1), most << 10, (upload(memory, np.zeros(1)),))
    with pytest.raises(EmulatorError, match=f"the most is {most << 10}"):
        launch(kernel, memory, (1, 1, 1), (32, 1, 1), (most << 10) + 1, (upload(memory, np.zeros(1)),))


def test_limits_that_the_assembler_has():
    with pytest.raises(EmulatorError, match="49,156 bytes of static shared memory; the most is 49,152"):
        Module(
            entry("", before=".shared .align 4 .b8 s[49156];").replace("ret;", ".reg .b32 %r1; mov.u32 %r1, s; ret;")
        )
    assert Module(entry("", ["u64"] * 545)).kernels
    with pytest.raises(EmulatorError, match="4,360 bytes of parameters; the most is 4,352"):
        Module(entry("", ["u64"] * 545).replace(".version 8.6", ".version 8.0"))
