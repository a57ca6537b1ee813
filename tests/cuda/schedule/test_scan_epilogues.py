"""What is done to each element of a scan is done where it is made: not a pass more, and not where it must not."""

from __future__ import annotations

import numpy as np
import pytest

import graphad.numpy as gnp
from graphad import lax
from graphad.backends.cuda.inspection.costs import costs
from graphad.backends.cuda.program.text import format_device_program
from graphad.backends.cuda.schedule.limits import LIMITS
from graphad.backends.cuda.schedule.scan_epilogues import with_scan_epilogues
from graphad.backends.cuda.schedule.schedule import schedule
from graphad.backends.loops.ir import Buffer, Carry, Copy, Index, Let, Load, Loop, LoopNest, Store
from graphad.backends.loops.rewrites import Names
from graphad.ir.types import f32, literal
from tests.cuda.schedule.test_scans import CHUNKED, program
from tests.cuda.schedule.test_schedule_primitives import TINY, compare

names = pytest.mark.parametrize

#: Function of ``x``, and how many times the least traffic it takes where the scan is cut into chunks.
FOLLOWED = {
    "scaled": (lambda x: gnp.cumsum(x) * 2, 1.5),
    "compared": (lambda x: gnp.cumsum(x) > x, 1.8),
    "two after each other": (lambda x: gnp.exp(-lax.cummax(x, axis=0) * x), 1.5),
    "backwards": (lambda x: lax.cumprod(x, axis=0, reverse=True) - x, 1.5),
    "half precision": (lambda x: gnp.cumsum(x.astype(np.float16)) * np.float16(2), 1.67),
    "the scan itself as well": (lambda x: (gnp.cumsum(x), gnp.cumsum(x) + 1), 1.34),
}


@names("name", FOLLOWED)
def test_no_pass_is_added(name):
    function, excess = FOLLOWED[name]
    x = np.broadcast_to(np.float32(1), 1_000_003)
    device = schedule(program(function, x))
    assert costs(device).excess <= excess + 0.01, format_device_program(device)


@names("limits", [LIMITS, CHUNKED, TINY], ids=["usual", "chunked", "tiny"])
@names("name", FOLLOWED)
def test_schedule_keeps_the_program(name, limits):
    x = (1 + np.random.default_rng(0).standard_normal(1003) / 1000).astype(np.float32)
    compare(program(FOLLOWED[name][0], x), [x], limits, rtol=1e-4)


ROWS = {
    "rows": (lambda x: gnp.cumsum(x, 1) * x, 1.0),
    "columns": (lambda x: gnp.cumsum(x, 0) * x, 1.0),
    "the middle": (lambda x: lax.cummax(x.reshape(30, 40, -1), axis=1) * 2, 1.0),
}


@names("limits", [LIMITS, CHUNKED, TINY], ids=["usual", "chunked", "tiny"])
@names("name", ROWS)
def test_in_more_than_one_dimension(name, limits):
    function, excess = ROWS[name]
    x = np.random.default_rng(1).standard_normal((60, 140)).astype(np.float32)
    device = compare(program(function, x), [x], limits, rtol=1e-4)
    if limits is LIMITS:
        assert len(device.kernels) == 1, format_device_program(device)
        assert costs(device).excess <= excess + 0.01


@names(
    "function",
    [
        lambda x: gnp.cumsum(x)[::-1] * x,
        lambda x: gnp.cumsum(x)[1:] - gnp.cumsum(x)[:-1],
        lambda x: gnp.cumsum(x) / gnp.cumsum(x)[-1],
        lambda x: gnp.cumsum(gnp.cumsum(x)),
        lambda x: gnp.cumsum(x.reshape(59, 17), 0).T * 2,
        lambda x: gnp.cumsum(x)[gnp.argmax(x)] + 1,
    ],
    ids=["mirrored", "neighbours", "the last", "another scan", "transposed", "gathered"],
)
def test_what_reads_other_elements_is_no_follower(function):
    x = np.random.default_rng(2).random(1003).astype(np.float32)
    for limits in (LIMITS, CHUNKED, TINY):
        compare(program(function, x), [x], limits, rtol=1e-4)


# ---- programs that the compiler would not write

I, J = Index(0, (("i", 1),)), Index(0, (("j", 1),))
SCAN = (Load("a", "x", I), Let("b", f32, "add", ("s", "a")), Store("t", I, "b"))
LEADER = LoopNest((Loop("i", 50, SCAN, (Carry("s", f32, "last", literal(0.0, f32), "b"),)),))
BODY = (Load("c", "t", J), Let("d", f32, "mul", ("c", "c")), Store("y", J, "d"))


def joined(*steps):
    buffers = {n: Buffer(n, f32, 50, r) for n, r in (("x", "input"), ("y", "output"), ("t", "temporary"))}
    return with_scan_epilogues(steps, Names(["a", "b", "c", "d", "s"]), buffers)


def follower(*body, extent=50, **options):
    return LoopNest((Loop("j", extent, body or BODY, **options),))


def test_the_temporary_is_gone():
    (nest,) = joined(LEADER, follower())
    (loop,) = nest.body
    assert [type(s) for s in loop.body] == [Load, Let, Let, Store]
    assert loop.body[-2].args == ("b", "b")


OTHERS = {
    "part of the elements": (follower(extent=49),),
    "further on": (follower(Load("c", "t", Index(1, (("j", 1),))), *BODY[1:], extent=49),),
    "a sum": (follower(*BODY, carries=(Carry("n", f32, "sum", literal(0.0, f32), "d"),)),),
    "in place": (follower(*BODY[:2], Store("t", J, "d")),),
    "over what the scan reads": (follower(*BODY[:2], Store("x", J, "d")),),
    "a second position": (follower(*BODY[:2], Load("e", "t", Index(7)), Store("y", J, "e")),),
    "a computed position": (follower(*BODY[:2], Store("y", J, "d", dynamic="d")),),
    "what is changed between": (Copy("t", "x"), follower()),
    "a result that is read between": (Copy("x", "y"), follower()),
}


@names("name", OTHERS)
def test_no_epilogues(name):
    steps = (LEADER, *OTHERS[name])
    assert joined(*steps) == list(steps)


def test_steps_between_do_not_matter():
    copy = Copy("z", "x")
    assert [type(s) for s in joined(LEADER, copy, follower())] == [LoopNest, Copy]
