"""Control flow, warps, barriers, calls; races and divergence must be caught."""

from __future__ import annotations

import numpy as np
import pytest

from graphad.backends.cuda.emulator import EmulatorError, Memory, Module, launch
from tests.cuda.emulator.harness import HEAD, download, entry, run, same, upload
from tests.cuda.emulator.test_memory import THREAD

SIZES = [1, 31, 32, 33, 97, 128]


def threads(n):
    return np.arange(n, dtype="u4")


def results(code, n, *, blocks=1, before="", dtype="u4", **options):
    """%r20 of each thread."""
    body = THREAD + code + "st.global.u32 [%rd3], %r20;"
    (out,), report = run(
        body, [np.zeros(n * blocks, dtype)], grid=(blocks, 1, 1), block=(n, 1, 1), before=before, **options
    )
    return out, report


@pytest.mark.parametrize("n", SIZES)
def test_loops_run_as_often_as_each_thread_wants(n):
    code = """
    rem.u32 %r5, %r4, 13; mov.u32 %r20, 0; mov.u32 %r6, 0;
    LOOP: setp.ge.u32 %p1, %r6, %r5; @%p1 bra DONE;
    and.b32 %r7, %r6, 1; setp.eq.u32 %p2, %r7, 0; @%p2 bra EVEN;
    mad.lo.s32 %r20, %r6, %r6, %r20; bra.uni NEXT;
    EVEN: setp.gt.u32 %p3, %r4, 50; @!%p3 add.s32 %r20, %r20, 1000; @%p3 sub.s32 %r20, %r20, 1;
    NEXT: add.s32 %r6, %r6, 1; bra LOOP;
    DONE:
    """
    out, _ = results(code, n, blocks=3, dtype="i4")

    def expected(t):
        return sum(i * i if i % 2 else 1000 if t <= 50 else -1 for i in range(t % 13))

    assert out.tolist() == [expected(t) for t in range(3 * n)]


def test_early_returns_and_uniform_branches():
    code = """
    setp.lt.u32 %p1, %r4, 40; mov.u32 %r20, 7; @%p1 ret; setp.eq.u32 %p2, %r2, 5; @%p2 exit; add.s32 %r20, %r4, %r20;
    """
    out, report = results(code, 32, blocks=3)
    np.testing.assert_array_equal(out, np.where(threads(96) < 40, 0, threads(96) + 7))
    # Nine up to the first return, which 40 take; four more for the others.
    assert report.instructions == 96 * 9 + 40 + 56 * 4


def test_tables_of_branches():
    code = """
    rem.u32 %r5, %r4, 4;
    TABLE: .branchtargets A, B, C, A;
    brx.idx %r5, TABLE;
    A: mov.u32 %r20, 10; bra END;
    B: mov.u32 %r20, 20; bra END;
    C: mov.u32 %r20, 30;
    END:
    """
    out, _ = results(code, 33)
    np.testing.assert_array_equal(out, np.array([10, 20, 30, 10])[threads(33) % 4])


FUNCTIONS = """
.func (.param .b32 result) square(.param .b32 x)
{ .reg .b32 %r<3>; ld.param.u32 %r1, [x]; mul.lo.s32 %r2, %r1, %r1; st.param.b32 [result], %r2; ret; }
.func (.param .align 8 .b8 result[8]) twice(.param .b32 x, .param .b32 y)
{
.reg .b32 %r<9>; .reg .pred %p<2>;
ld.param.u32 %r1, [x]; ld.param.u32 %r2, [y]; setp.lt.u32 %p1, %r1, 5; @%p1 bra SMALL;
{ .param .b32 arg; .param .b32 back; st.param.b32 [arg], %r1; call.uni (back), square, (arg);
ld.param.b32 %r3, [back]; }
st.param.v2.b32 [result], {%r3, %r2}; ret;
SMALL: st.param.b32 [result], %r2; st.param.b32 [result+4], %r1; ret;
}
.func nothing() { ret; }
"""


def test_calls_of_functions_with_divergence_inside():
    code = """
    and.b32 %r5, %r4, 3; setp.eq.u32 %p1, %r5, 3; mov.u32 %r20, 0; @%p1 bra OTHER;
    { .param .b32 a; .param .b32 b; .param .align 8 .b8 c[8]; st.param.b32 [a], %r4; st.param.b32 [b], %r1;
    call (c), twice, (a, b); ld.param.v2.b32 {%r6, %r7}, [c]; }
    mad.lo.s32 %r20, %r6, 1000, %r7; bra END;
    OTHER:
    { .param .b32 a; .param .b32 c; st.param.b32 [a], %r4; call (c), square, (a); ld.param.b32 %r20, [c]; }
    END: call.uni nothing, ();
    """
    out, _ = results(code, 33, before=FUNCTIONS)
    t = threads(33).astype(int)
    both = np.where(t < 5, t * 1000 + t, t * t * 1000 + t)
    np.testing.assert_array_equal(out, np.where(t % 4 == 3, t * t, both))


def test_special_registers_in_three_dimensions():
    code = """
    mov.u32 %r5, %tid.y; mov.u32 %r6, %tid.z; mov.u32 %r7, %ntid.y; mov.u32 %r8, %ctaid.y; mov.u32 %r9, %ctaid.z;
    mov.u32 %r10, %nctaid.x; mov.u32 %r11, %nctaid.y; mad.lo.s32 %r12, %r9, %r11, %r8; mad.lo.s32 %r12, %r12, %r10, %r2;
    mad.lo.s32 %r13, %r6, %r7, %r5; mad.lo.s32 %r13, %r13, %r3, %r1; mov.u32 %r14, %ntid.z; mul.lo.s32 %r15, %r14, %r7;
    mul.lo.s32 %r15, %r15, %r3; mad.lo.s32 %r16, %r12, %r15, %r13; mul.wide.u32 %rd2, %r16, 4; add.s64 %rd3, %rd1, %rd2;
    mov.u32 %r17, %laneid; mov.u32 %r18, %warpid; mad.lo.s32 %r20, %r18, 32, %r17; mov.u32 %r19, %lanemask_lt;
    popc.b32 %r19, %r19; mad.lo.s32 %r20, %r19, 1000, %r20; st.global.u32 [%rd3], %r20;
    """
    (out,), _ = run(THREAD + code, [np.zeros(24 * 30, "u4")], grid=(2, 3, 4), block=(5, 3, 2))
    within = np.tile(np.arange(30), 24)
    np.testing.assert_array_equal(out, within % 32 * 1000 + within)


@pytest.mark.parametrize(
    ("mode", "c", "source"),
    [
        ("down", 31, lambda i, b: np.where(i % 32 + b < 32, i + b, i)),
        ("up", 0, lambda i, b: np.where(i % 32 >= b, i - b, i)),
        ("bfly", 31, lambda i, b: i ^ b),
        ("idx", 31, lambda i, b: i // 32 * 32 + b),
        ("down", 0x181F & ~8, lambda i, b: np.where(i % 8 + b < 8, i + b, i)),
    ],
)
def test_shuffles(mode, c, source):
    if c not in (0, 31):
        c = (24 << 8) | 31  # segments of eight lanes
    for b in (1, 3, 5):
        code = f"""
        add.s32 %r5, %r4, 100; shfl.sync.{mode}.b32 %r6|%p1, %r5, {b}, {c}, -1; selp.u32 %r7, 1000, 0, %p1;
        add.s32 %r20, %r6, %r7;
        """
        out, _ = results(code, 64)
        i = np.arange(64)
        expected = source(i, b)
        inside = (expected != i) | (np.full(64, b) == 0) | (mode == "idx")
        np.testing.assert_array_equal(out, expected + 100 + 1000 * inside)


def test_a_lane_that_is_not_there_gives_poison():
    out, _ = results("shfl.sync.down.b32 %r20, %r4, 1, 31, -1;", 5)
    assert out.tolist() == [1, 2, 3, 4, 0xFFFFFFFF]


@pytest.mark.parametrize("n", SIZES)
def test_votes_matches_and_reductions_of_warps(n):
    code = """
    rem.u32 %r5, %r4, 3; setp.eq.u32 %p1, %r5, 1;
    vote.sync.ballot.b32 %r6, %p1, -1; vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, !%p1, -1;
    vote.sync.uni.pred %p4, %p1, -1; match.any.sync.b32 %r7, %r5, -1; match.all.sync.b32 %r8|%p5, %r5, -1;
    redux.sync.add.u32 %r9, %r5, -1; redux.sync.max.s32 %r10, %r4, -1; redux.sync.xor.b32 %r11, %r4, -1;
    activemask.b32 %r12;
    selp.u32 %r13, 1, 0, %p2; selp.u32 %r14, 2, 0, %p3; selp.u32 %r15, 4, 0, %p4; selp.u32 %r16, 8, 0, %p5;
    add.s32 %r13, %r13, %r14; add.s32 %r15, %r15, %r16; add.s32 %r13, %r13, %r15;
    mul.wide.u32 %rd4, %r4, 32; add.s64 %rd3, %rd1, %rd4; st.global.v4.u32 [%rd3], {%r6, %r7, %r8, %r9};
    st.global.v4.u32 [%rd3+16], {%r10, %r11, %r12, %r13};
    """
    (out,), _ = run(THREAD + code, [np.zeros((n, 8), "u4")], block=(n, 1, 1))
    for t in range(n):
        warp = range(t // 32 * 32, min(t // 32 * 32 + 32, n))
        ballot = sum(1 << (i % 32) for i in warp if i % 3 == 1)
        there = sum(1 << (i % 32) for i in warp)
        equal = sum(1 << (i % 32) for i in warp if i % 3 == t % 3)
        one = equal == there
        kinds = bool(ballot) + 2 * (not ballot) + 4 * (ballot in (0, there)) + 8 * one
        total = sum(i % 3 for i in warp)
        assert out[t].tolist() == [
            ballot,
            equal,
            there * one,
            total,
            max(warp),
            int(np.bitwise_xor.reduce(warp)),
            there,
            kinds,
        ]


def test_lanes_wait_for_those_that_a_mask_names():
    # The threads of the loop come to the shuffle at different times, and the exit lies before the loop.
    code = """
    mov.u32 %r6, 0; rem.u32 %r5, %r4, 7; bra LOOP;
    EXIT: shfl.sync.bfly.b32 %r20, %r6, 1, 31, -1; bra END;
    LOOP: add.s32 %r6, %r6, 1; setp.gt.u32 %p1, %r6, %r5; @!%p1 bra LOOP; bra EXIT;
    END:
    """
    out, _ = results(code, 64)
    np.testing.assert_array_equal(out, (np.arange(64) ^ 1) % 7 + 1)
    # The two halves of each warp reduce on their own.
    code = """
    and.b32 %r5, %r1, 16; setp.eq.u32 %p1, %r5, 0; @%p1 bra LOW;
    redux.sync.add.u32 %r20, %r1, 0xFFFF0000; bra END;
    LOW: redux.sync.add.u32 %r20, %r1, 0xFFFF;
    END:
    """
    out, _ = results(code, 32)
    assert out.tolist() == [120] * 16 + [376] * 16


def test_a_lane_must_be_named_by_its_mask():
    with pytest.raises(EmulatorError, match=r"thread \(16, 0, 0\).*mask 0xffff does not name"):
        results("shfl.sync.bfly.b32 %r20, %r4, 1, 31, 0xFFFF;", 32)
    shuffle = "shfl.sync.bfly.b32 %r20, %r4, 1, 31, -1;"
    code = f"setp.lt.u32 %p1, %r1, 16; @%p1 bra A; {shuffle} bra END; A: {shuffle} END:"
    with pytest.raises(EmulatorError, match=r"not all threads .* reach this instruction of the warp"):
        results(code, 32)


REVERSE = """
shl.b32 %r5, %r1, 2; mov.u32 %r6, box; add.s32 %r7, %r6, %r5; st.shared.u32 [%r7], %r4; BARRIER
sub.s32 %r8, %r3, %r1; shl.b32 %r8, %r8, 2; add.s32 %r9, %r6, %r8; ld.shared.u32 %r20, [%r9+-4]; SECOND
st.shared.u32 [%r7], %r20;
"""


@pytest.mark.parametrize("n", [31, 64, 97])
def test_barriers_order_shared_memory_and_are_missed(n):
    whole = REVERSE.replace("BARRIER", "bar.sync 0;").replace("SECOND", "barrier.sync.aligned 0;")
    out, report = results(whole, n, blocks=3, before=".shared .b8 box[512];")
    t = np.arange(3 * n)
    np.testing.assert_array_equal(out, t // n * n + n - 1 - t % n)
    assert report.barriers == 6
    for mutant in (whole.replace("bar.sync 0;", ""), whole.replace("barrier.sync.aligned 0;", "")):
        with pytest.raises(EmulatorError, match=r"data race at \d+ in shared memory: block .*, and nothing orders"):
            results(mutant, n, before=".shared .b8 box[512];")
        results(mutant, n, before=".shared .b8 box[512];", checks=False)


def test_barriers_of_warps_order_what_warps_do():
    code = REVERSE.replace("BARRIER", "bar.warp.sync -1;").replace("SECOND", "bar.warp.sync -1;")
    out, _ = results(code, 32, before=".shared .b8 box[512];")
    assert out.tolist() == list(range(31, -1, -1))
    with pytest.raises(EmulatorError, match="data race"):
        results(code, 64, before=".shared .b8 box[512];")


def test_a_tree_of_sums_needs_each_of_its_barriers():
    code = """
    shl.b32 %r5, %r1, 2; mov.u32 %r6, box; add.s32 %r7, %r6, %r5; st.shared.u32 [%r7], %r4; mov.u32 %r8, 32;
    LOOP: bar.sync 0; setp.ge.u32 %p1, %r1, %r8; @%p1 bra NEXT;
    shl.b32 %r9, %r8, 2; add.s32 %r10, %r7, %r9; ld.shared.u32 %r11, [%r10]; ld.shared.u32 %r12, [%r7];
    add.s32 %r12, %r12, %r11; st.shared.u32 [%r7], %r12;
    NEXT: shr.u32 %r8, %r8, 1; setp.ne.u32 %p2, %r8, 0; @%p2 bra LOOP;
    bar.sync 0; ld.shared.u32 %r20, [box];
    """
    out, _ = results(code, 64, blocks=2, before=".shared .b8 box[256];")
    assert out.tolist() == [2016] * 64 + [2016 + 4096] * 64
    for count in (1, 2):
        parts = code.split("bar.sync 0;")
        mutant = (
            "bar.sync 0;".join(parts[:count]) + "".join(parts[count:])
            if count == 2
            else parts[0] + "bar.sync 0;".join(parts[1:])
        )
        with pytest.raises(EmulatorError, match="data race"):
            results(mutant, 64, before=".shared .b8 box[256];")


def test_threads_may_write_the_same_to_one_word_but_not_different():
    before = ".shared .u32 box;"
    results("st.shared.u32 [box], 7; bar.sync 0; ld.shared.u32 %r20, [box];", 64, before=before)
    with pytest.raises(EmulatorError, match="other threads write another value at the same time"):
        results("st.shared.u32 [box], %r1;", 64, before=before)
    with pytest.raises(EmulatorError, match="has written another value"):
        results(
            "setp.lt.u32 %p1, %r1, 3; @%p1 st.shared.u32 [box], 1; @!%p1 st.shared.u32 [box], 2;", 64, before=before
        )
    with pytest.raises(EmulatorError, match=r"data race at 0x\w+ in global memory"):
        results("st.global.u32 [%rd1], %r4;", 1, blocks=2)
    octets = "add.s64 %rd5, %rd1, %rd2; shr.u64 %rd6, %rd2, 2; add.s64 %rd5, %rd1, %rd6; st.global.u8 [%rd5], %r4; ret;"
    results(octets, 8)


def test_blocks_may_not_read_what_others_write_in_the_same_launch():
    code = "ld.global.u32 %r20, [%rd1]; add.s32 %r20, %r20, %r2;"
    with pytest.raises(EmulatorError, match=r"block \(0, 0, 0\), thread \(1, 0, 0\) has read|has read there"):
        results(code, 2, blocks=2)
    code = """
    xor.b32 %r5, %r4, 32; mul.wide.u32 %rd4, %r5, 4; add.s64 %rd5, %rd1, %rd4; st.global.u32 [%rd3], %r4; BARRIER
    ld.global.u32 %r20, [%rd5]; ret;
    """
    results(code.replace("BARRIER", "bar.sync 0;"), 64)
    with pytest.raises(EmulatorError, match="has written there"):
        results(code.replace("BARRIER", ""), 64)
    with pytest.raises(EmulatorError, match="has written there"):
        results(code.replace("BARRIER", "bar.sync 0;"), 32, blocks=2)


def test_the_last_block_may_read_the_others_after_fences():
    code = """
    st.global.u32 [%rd3], %r4; FENCE bar.sync 0; setp.ne.u32 %p1, %r1, 0; mov.u32 %r5, 0; @%p1 bra WAIT;
    ld.param.u64 %rd5, [p1]; atom.global.inc.u32 %r5, [%rd5], 1000; st.shared.u32 [ticket], %r5;
    WAIT: bar.sync 0; ld.shared.u32 %r5, [ticket]; mov.u32 %r6, %nctaid.x; sub.s32 %r6, %r6, 1;
    setp.ne.u32 %p2, %r5, %r6; @%p2 ret; setp.ne.u32 %p3, %r1, 0; @%p3 ret; FENCE
    mov.u32 %r7, 0; mov.u32 %r8, 0; mul.lo.s32 %r9, %r3, %r6; add.s32 %r9, %r9, %r3;
    LOOP: ld.global.u32 %r10, [%rd1]; add.s32 %r8, %r8, %r10; add.s64 %rd1, %rd1, 4; add.s32 %r7, %r7, 1;
    setp.lt.u32 %p4, %r7, %r9; @%p4 bra LOOP; st.global.u32 [%rd5+4], %r8;
    """
    arrays = [np.zeros(96, "u4"), np.zeros(2, "u4")]
    options = {"grid": (3, 1, 1), "block": (32, 1, 1), "before": ".shared .u32 ticket;"}
    (_, total), _ = run(THREAD + code.replace("FENCE", "membar.gl;"), arrays, **options)
    assert total.tolist() == [3, 96 * 95 // 2]
    with pytest.raises(EmulatorError, match=r"data race at 0x.* in global memory"):
        run(THREAD + code.replace("FENCE", ""), arrays, **options)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("setp.lt.u32 %p1, %r1, 16; @%p1 ret; bar.sync 0;", "16 have ended"),
        (
            "setp.lt.u32 %p1, %r1, 16; @%p1 bra A; bar.sync 0; bra END; A: bar.sync 0; END:",
            "48 at PTX line .*16 at PTX line",
        ),
        ("setp.lt.u32 %p1, %r1, 16; @%p1 bar.sync 0;", "16 at PTX line 11, 48 have ended"),
        ("bar.sync 1, 32;", "64 at PTX line"),
    ],
)
def test_barriers_that_not_all_threads_reach(code, message):
    with pytest.raises(EmulatorError, match=f"not all threads of the block reach this barrier .*{message}"):
        run(THREAD + code, [np.zeros(64, "u4")], block=(64, 1, 1))


def test_barriers_of_some_of_the_threads_and_with_reductions():
    code = """
    setp.lt.u32 %p1, %r1, 32; mov.u32 %r20, 0; @!%p1 bra REST; st.shared.u32 [box], %r2; bar.sync 1, 32;
    ld.shared.u32 %r20, [box]; REST: setp.lt.u32 %p2, %r1, 5; bar.red.popc.u32 %r6, 0, %p2;
    bar.red.or.pred %p3, 0, !%p2; bar.red.and.pred %p4, 0, %p2; selp.u32 %r7, 100, 0, %p3; selp.u32 %r8, 1000, 0, %p4;
    mad.lo.s32 %r20, %r20, 10000, %r6; add.s32 %r20, %r20, %r7; add.s32 %r20, %r20, %r8;
    """
    out, _ = results(code, 64, blocks=3, before=".shared .u32 box;", checks=False)
    t = np.arange(192)
    np.testing.assert_array_equal(out, np.where(t % 64 < 32, t // 64, 0) * 10000 + 105)


def test_trap_and_loops_without_end(monkeypatch):
    with pytest.raises(EmulatorError, match=r"thread \(0, 0, 0\), PTX line 11: `@%p1 trap`: the kernel gives up"):
        results("setp.lt.u32 %p1, %r1, 5; @%p1 trap;", 32)
    monkeypatch.setattr("graphad.backends.cuda.emulator.interpreter.MOST_BLOCKS_EXECUTED", 1000)
    with pytest.raises(EmulatorError, match="no end"):
        results("A: bra A;", 32)


REFUSED = [
    ("foo.s32 %r1, %r2;", "does not know this instruction"),
    ("wgmma.fence.sync.aligned;", "does not know this instruction"),
    ("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd1,%fd2},{%fd3},{%fd4},{%fd1,%fd2};", "does not know"),
    ("add.foo.s32 %r1, %r2, %r3;", "not supported with .foo"),
    ("add.s32 %r1, %r2;", "another number of operands"),
    ("add.s32 %r1, %r2, %r3, %r4;", "another number of operands"),
    ("add.s32 %r1, %r2, %r999;", "no register, literal or variable"),
    ("add.s64 %rd1, %r2, %rd3;", "does not take the register %r2, which is 32 bits wide, as 64 bits wide"),
    ("add.s32 7, %r2, %r3;", "not a register declared before"),
    ("and.f32 %f1, %f2, %f3;", "does not exist for .f32"),
    ("rem.f32 %f1, %f2, %f3;", "does not exist for .f32"),
    ("sqrt.rn.s32 %r1, %r2;", "does not exist for integers"),
    ("fma.f32 %f1, %f2, %f3, %f4;", "rounding mode"),
    ("div.f32 %f1, %f2, %f3;", "rounding mode"),
    ("cvt.f32.s32 %f1, %r2;", "needs .rn"),
    ("cvt.s32.f32 %r1, %f2;", "needs .rni"),
    ("cvt.f16.f32 %h1, %f2;", "needs .rn"),
    ("mul.s32 %r1, %r2, %r3;", "needs .lo, .hi or .wide"),
    ("setp.lt.s32 %r1, %r2, %r3;", "as a predicate"),
    ("setp.xx.s32 %p1, %r2, %r3;", "needs a comparison"),
    ("bra NOWHERE;", "no label of this function"),
    ("call printf, ();", "no function of this module"),
    ("@%r1 bra A; A:", "as a predicate"),
    ("ld.global.v4.u32 {%r1, %r2}, [%rd1];", "2 registers where 4 are due"),
    ("ld.global.u32 %r1, %rd1;", "has the address"),
    ("ld.param.u32 %r1, [nothing];", "no parameter"),
    ("ld.param.u64 %rd1, [p0+8];", "outside of the parameter"),
    ("st.param.u64 [p0], %rd1;", "writes to a parameter"),
    ("atom.global.min.f32 %f1, [%rd1], %f2;", "not supported with .min of f32"),
    ("shfl.down.b32 %r1, %r2, 1, 31;", "operands|sync"),
    ("tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [t, {%f1,%f2}];", "does not know"),
    ("ex2.f32 %f1, %f2;", "needs .approx"),
]


@pytest.mark.parametrize(("code", "message"), REFUSED, ids=[code.split()[0] for code, _ in REFUSED])
def test_what_is_wrong_or_unknown_is_refused_when_a_module_is_read(code, message):
    with pytest.raises(EmulatorError, match=rf"kernel k, PTX line 11: `.*`: .*({message})"):
        Module(entry(THREAD + code))


def test_labels_are_there_once():
    with pytest.raises(EmulatorError, match="the label A is there twice"):
        Module(entry("A: bra A; A: ret;"))


def test_recursion_and_text_that_is_no_ptx_are_refused():
    again = ".func again() { call.uni again, (); ret; }"
    with pytest.raises(EmulatorError, match="recursion"):
        Module(entry("call.uni again, ();", before=again))
    for text in (
        ".visible .entry k() { add.s32",
        "hello",
        ".global .align 4 .q32 x;",
        ".visible .entry k() { .reg .q5 %r; }",
    ):
        with pytest.raises(EmulatorError, match="PTX line"):
            Module(HEAD + text)


def test_launches_are_checked():
    text = entry(THREAD, ["u64", "f32"]).replace(")\n{", ")\n.maxntid 64, 1, 1\n{", 1)
    kernel = Module(text).kernels["k"]
    assert kernel.name == "k"
    assert kernel.parameters == ("u64", "f32")
    assert kernel.registers > 50
    memory = Memory()
    for grid, block, shared, arguments, message in [
        ((1, 1, 1), (32, 1, 1), 0, (1,), "takes 2 arguments, not 1"),
        ((1, 1, 1), (32, 1, 1), 0, (1.5, 1.0), "1.5 is no u64"),
        ((1, 1, 1), (32, 1, 1), 0, (2**64, 1.0), "is no u64"),
        ((1, 1, 1), (65, 1, 1), 0, (1, 1.0), "64 threads in all"),
        ((0, 1, 1), (32, 1, 1), 0, (1, 1.0), "a grid of"),
        ((1, 65536, 1), (32, 1, 1), 0, (1, 1.0), "a grid of"),
        ((1, 1, 1), (1, 1, 65), 0, (1, 1.0), "blocks of"),
        ((1, 1, 1), (32, 1, 1), 1 << 20, (1, 1.0), "shared memory"),
    ]:
        with pytest.raises(EmulatorError, match=message):
            launch(kernel, memory, grid, block, shared, arguments)
    required = Module(text.replace("maxntid", "reqntid")).kernels["k"]
    with pytest.raises(EmulatorError, match=r"for blocks of \(64, 1, 1\)"):
        launch(required, memory, (1, 1, 1), (32, 1, 1), 0, (1, 1.0))


def test_many_blocks_run_in_several_rounds(monkeypatch):
    code = """
    mov.u32 %r20, %r4; st.shared.u32 [box], %r2; bar.sync 0; ld.shared.u32 %r5, [box]; mad.lo.s32 %r20, %r5, 1000, %r20;
    """
    expected, report = results(code, 33, blocks=17, before=".shared .u32 box;")
    np.testing.assert_array_equal(expected, np.arange(33 * 17) // 33 * 1000 + np.arange(33 * 17))
    monkeypatch.setattr("graphad.backends.cuda.emulator.interpreter.THREADS_AT_ONCE", 70)
    again, same_report = results(code, 33, blocks=17, before=".shared .u32 box;")
    same(again, expected)
    assert report == same_report


def test_a_module_is_launched_on_several_memories():
    before = ".global .u32 counter;"
    kernel = Module(entry("red.global.add.u32 [counter], 1; .reg .b32 %r1; .reg .b64 %rd1;", before=before)).kernels[
        "k"
    ]
    for _ in range(2):
        memory = Memory()
        for _ in range(3):
            launch(kernel, memory, (1, 1, 1), (5, 1, 1), 0, (upload(memory, np.zeros(1, "u4")),))
        address = kernel.module.addresses(memory)["counter"]
        assert download(memory, address, np.zeros(1, "u4"))[0] == 15
